"""SCRAM as a server reads it: the RFC's own exchange, and nothing that is only like one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolViolation
from sallyport.core.scram import (
    MAXIMUM_MESSAGE,
    PLAIN,
    PLUS,
    make_verifier,
    outcome,
    parse_final,
    parse_first,
    server_first,
)
from sallyport.core.subject import Secret
from sallyport.protocols.postgres.scram import Scram

# RFC 7677, section 3: user `user`, password `pencil`.
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
CHALLENGE = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
UNPROVEN = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FINAL = UNPROVEN + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
ANSWER = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
VERIFIER = make_verifier(b"pencil", SALT, 4096)
BINDING = b"hash of the server's certificate"


def test_the_exchange_of_rfc_7677() -> None:
    first = parse_first(FIRST, PLAIN, b"")
    assert (first.header, first.flag, first.nonce) == (b"n,,", "n", b"rOprNGfwEbeRWgbNEkqO")
    final = parse_final(FINAL)
    assert outcome(first, CHALLENGE, final, b"", VERIFIER) == (True, ANSWER)


def test_another_password_salt_nonce_or_header_proves_nothing() -> None:
    first, final = parse_first(FIRST, PLAIN, b""), parse_final(FINAL)
    for verifier in (
        make_verifier(b"pencils", SALT, 4096),
        make_verifier(b"pencil", SALT[::-1], 4096),
        make_verifier(b"pencil", SALT, 4097),
    ):
        assert outcome(first, CHALLENGE, final, b"", verifier)[0] is False
    assert outcome(first, CHALLENGE.replace(b"%hv", b"%hw"), final, b"", VERIFIER)[0] is False
    other = parse_first(FIRST.replace(b"n=user", b"n=root"), PLAIN, b"")
    assert outcome(other, CHALLENGE, final, b"", VERIFIER)[0] is False
    could = parse_first(b"y" + FIRST[1:], PLAIN, b"")
    assert outcome(could, CHALLENGE, final, b"", VERIFIER)[0] is False  # `biws` is `n,,`


def client(offered: tuple[str, ...], binding: bytes, password: bytes = b"pencil") -> Scram:
    return Scram(Secret(password), offered, encrypted=bool(binding), binding=binding or None)


@pytest.mark.parametrize(
    ("offered", "binding"), [((PLAIN,), b""), ((PLUS, PLAIN), BINDING), ((PLUS,), BINDING)]
)
def test_our_own_client_and_server_agree(offered: tuple[str, ...], binding: bytes) -> None:
    ours = client(offered, binding)
    first = parse_first(ours.first(), ours.mechanism, binding)
    challenge = server_first(first, b"x" * 18, SALT, 4096)
    proven, answer = outcome(
        first, challenge, parse_final(ours.final(challenge)), binding, VERIFIER
    )
    assert proven
    ours.verify(answer)
    assert ours.verified


def test_a_proof_bound_to_another_certificate_proves_nothing() -> None:
    ours = client((PLUS,), BINDING)
    first = parse_first(ours.first(), PLUS, b"another certificate's hash")
    challenge = server_first(first, b"x" * 18, SALT, 4096)
    final = parse_final(ours.final(challenge))
    assert outcome(first, challenge, final, b"another certificate's hash", VERIFIER)[0] is False


def test_a_changed_nonce_proves_nothing() -> None:
    ours = client((PLAIN,), b"")
    first = parse_first(ours.first(), PLAIN, b"")
    challenge = server_first(first, b"x" * 18, SALT, 4096)
    message = ours.final(challenge)
    nonce = parse_final(message).nonce
    changed = parse_final(message.replace(nonce, nonce[:-1] + b"!"))
    assert outcome(first, challenge, changed, b"", VERIFIER)[0] is False


@pytest.mark.parametrize(
    ("message", "mechanism", "binding", "code", "words"),
    [
        (b"y,,n=,r=abc", PLAIN, BINDING, "28000", "taken it away"),  # the downgrade
        (b"y,,n=,r=abc", PLUS, BINDING, "08P01", "without channel binding"),
        (b"n,,n=,r=abc", PLUS, BINDING, "08P01", "without channel binding"),
        (b"p=tls-unique,,n=,r=abc", PLUS, BINDING, "08P01", "not offered"),
        (b"p=tls-server-end-point,,n=,r=abc", PLAIN, BINDING, "08P01", "does not fit"),
        (b"p=tls-server-end-point,,n=,r=abc", PLUS, b"", "08P01", "not offered"),
        (b"p=,,n=,r=abc", PLUS, BINDING, "08P01", "not offered"),
        (b"n,,n=,r=abc", "SCRAM-SHA-1", b"", "08P01", "not offered"),
        (b"n,a=root,n=,r=abc", PLAIN, b"", "28000", "authorization identity"),
        (b"n,x,n=,r=abc", PLAIN, b"", "28000", "authorization identity"),
        (b"n,,m=ext,n=,r=abc", PLAIN, b"", "28000", "mandatory"),
        (b"n,,n=,r=abc,m=ext", PLAIN, b"", "28000", "mandatory"),
        (b"n,,n=,r=abc,x", PLAIN, b"", "08P01", "extension"),
        (b"n,,n=,r=abc,", PLAIN, b"", "08P01", "extension"),
        (b"n,,n=,r=abc,1=x", PLAIN, b"", "08P01", "extension"),
        (b"n,,r=abc", PLAIN, b"", "08P01", "user name"),
        (b"n,,n=a=b,r=abc", PLAIN, b"", "08P01", "user name"),
        (b"n,,n=\0,r=abc", PLAIN, b"", "08P01", "user name"),
        (b"n,,n=", PLAIN, b"", "08P01", "nonce"),
        (b"n,,n=,r=", PLAIN, b"", "08P01", "printable"),
        (b"n,,n=,r=a b", PLAIN, b"", "08P01", "printable"),
        (b"n,,n=,r=a\x7f", PLAIN, b"", "08P01", "printable"),
        (b"n,,n=,r=\xc3\xa9", PLAIN, b"", "08P01", "printable"),
        (b"n,,n=,r=" + b"x" * 600, PLAIN, b"", "08P01", "too long"),
        (b"n,,n=,r=a,x=" + b"x" * MAXIMUM_MESSAGE, PLAIN, b"", "08P01", "too long"),
        (b"n,,n=user", PLAIN, b"", "08P01", "nonce"),
        (b"N,,n=,r=abc", PLAIN, b"", "08P01", "flag"),
        (b"", PLAIN, b"", "08P01", "no header"),
        (b"n", PLAIN, b"", "08P01", "no header"),
        (b"n,", PLAIN, b"", "08P01", "no header"),
        (b",,n=,r=abc", PLAIN, b"", "08P01", "flag"),
    ],
)
def test_a_first_message_that_does_not_fit_is_refused(
    message: bytes, mechanism: str, binding: bytes, code: str, words: str
) -> None:
    with pytest.raises(ProtocolViolation, match=words) as caught:
        parse_first(message, mechanism, binding)
    assert (caught.value.code, caught.value.side) == (code, "client")


@pytest.mark.parametrize(
    "message",
    [b"n,,n=,r=abc", b"y,,n=*,r=abc", b"n,,n=a=2Cb=3D,r=abc", b"n,,n=,r=abc,x=optional,y=more"],
)
def test_what_the_rfc_allows_is_taken(message: bytes) -> None:
    assert parse_first(message, PLAIN, b"").nonce == b"abc"


PROOF = base64.b64encode(bytes(32))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws,r=abc",
        b"r=abc,c=biws,p=" + PROOF,
        b"c=biws,p=" + PROOF,
        b"c=,r=abc,p=" + PROOF,
        b"c=bi ws,r=abc,p=" + PROOF,
        b"c=biws\n,r=abc,p=" + PROOF,
        b"c=biws,r=,p=" + PROOF,
        b"c=biws,r=a\0c,p=" + PROOF,
        b"c=biws,r=abc,m=ext,p=" + PROOF,
        b"c=biws,r=abc,,p=" + PROOF,
        b"c=biws,r=abc,p=",
        b"c=biws,r=abc,p=" + PROOF[:-1],
        b"c=biws,r=abc,p=" + PROOF + b"=",
        b"c=biws,r=abc,p=" + PROOF + b",x=y",
        b"c=biws,r=abc,p=" + base64.b64encode(bytes(31)),
        b"c=biws,r=abc,p=" + base64.b64encode(bytes(33)),
        b"c=biws,r=abc,p=" + PROOF[:-2] + b"B=",  # bits that no byte has
        b"c=biws,r=abc,p=" + PROOF.replace(b"A", b"_"),
        b"c=biws,r=abc,p=" + PROOF + b"\0",
        b"c=biws,r=abc,x=" + b"x" * MAXIMUM_MESSAGE + b",p=" + PROOF,
    ],
)
def test_a_final_message_that_does_not_fit_is_refused(message: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="scram") as caught:
        parse_final(message)
    assert caught.value.code in ("08P01", "28000")


@given(st.binary(max_size=120), st.sampled_from([PLAIN, PLUS]), st.sampled_from([b"", BINDING]))
def test_any_bytes_are_read_or_a_violation(data: bytes, mechanism: str, binding: bytes) -> None:
    for read in (lambda: parse_first(data, mechanism, binding), lambda: parse_final(data)):
        try:
            read()
        except ProtocolViolation as violation:
            assert violation.side == "client"


@given(st.integers(0, len(FINAL) - 1), st.integers(0, 255))
def test_one_byte_changed_in_the_final_message_proves_nothing(at: int, byte: int) -> None:
    changed = FINAL[:at] + bytes((byte,)) + FINAL[at + 1 :]
    if changed == FINAL:
        return
    first = parse_first(FIRST, PLAIN, b"")
    try:
        final = parse_final(changed)
    except ProtocolViolation:
        return
    assert outcome(first, CHALLENGE, final, b"", VERIFIER)[0] is False
