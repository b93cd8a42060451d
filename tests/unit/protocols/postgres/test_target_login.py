"""The login at the target, against scripted servers: honest ones, and those after the credential."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolViolation, SallyportError
from sallyport.core.subject import Secret
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.login import _pairs
from sallyport.protocols.postgres.scram import Scram, end_point, prepare
from sallyport.protocols.postgres.target_login import (
    Floor,
    TargetLogin,
    TargetRefused,
    VersionRefused,
)

PASSWORD = b"hunter2-credential"
OK = replies.authentication(replies.AUTH_OK)
SETTINGS = replies.parameter_status("client_encoding", "UTF8") + replies.parameter_status(
    "standard_conforming_strings", "on"
)
READY = replies.ready("I")
BOTH = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"


def target(
    floor: Floor = Floor.LOCAL,
    *,
    credential: bytes = PASSWORD,
    write: bool = True,
    encrypted: bool = False,
    binding: bytes | None = None,
    md5: bool = False,
    settings: dict[str, str] | None = None,
    version: int = messages.PROTOCOL_3_2,
) -> TargetLogin:
    return TargetLogin(
        target="orders",
        login="app",
        database="shop",
        credential=Secret(credential),
        settings=settings or {},
        write=write,
        floor=floor,
        encrypted=encrypted,
        binding=binding,
        md5=md5,
        version=version,
    )


class ScramServer:
    """An honest server's part of SCRAM, or with `password` a dishonest one's that guesses."""

    def __init__(self, password: bytes = PASSWORD, iterations: int = 4096) -> None:
        self.salt = b"0123456789abcdef"
        self.iterations = iterations
        self.salted = hashlib.pbkdf2_hmac("sha256", password, self.salt, iterations)
        self.header = b""
        self.signed = b""

    def challenge(self, initial: bytes, nonce: bytes = b"server-nonce") -> bytes:
        head, _, bare = initial.partition(b",,")
        self.header = head + b",,"
        client = bare.split(b"r=")[1]
        salt = base64.b64encode(self.salt)
        first = b"r=" + client + nonce + b",s=" + salt + b",i=" + str(self.iterations).encode()
        self.signed = bare + b"," + first
        return first

    def outcome(self, response: bytes, binding: bytes = b"") -> bytes:
        without, _, proof = response.rpartition(b",p=")
        signed = self.signed + b"," + without
        assert base64.b64decode(without[2:].split(b",")[0]) == self.header + binding
        key = hmac.digest(self.salted, b"Client Key", "sha256")
        stored = hashlib.sha256(key).digest()
        mask = hmac.digest(stored, signed, "sha256")
        self.accepted = (
            bytes(a ^ b for a, b in zip(base64.b64decode(proof), mask, strict=True)) == key
        )
        server_key = hmac.digest(self.salted, b"Server Key", "sha256")
        return b"v=" + base64.b64encode(hmac.digest(server_key, signed, "sha256"))


def sasl(mechanisms: bytes = b"SCRAM-SHA-256\0\0") -> bytes:
    return replies.authentication(replies.AUTH_SASL, mechanisms)


def initial_of(message: bytes) -> tuple[str, bytes]:
    name, _, rest = message[5:].partition(b"\0")
    return name.decode(), rest[4:]


def through_scram(
    login: TargetLogin, server: ScramServer, mechanisms: bytes, binding: bytes = b""
) -> str:
    name, initial = initial_of(login.receive(sasl(mechanisms)))
    challenge = server.challenge(initial)
    response = login.receive(replies.authentication(replies.AUTH_SASL_CONTINUE, challenge))
    outcome = server.outcome(response[5:], binding)
    assert login.receive(replies.authentication(replies.AUTH_SASL_FINAL, outcome)) == b""
    return name


def finish(login: TargetLogin, *, key: bytes = b"1234") -> None:
    login.receive(OK + SETTINGS + replies.key_data(7, key) + READY)
    assert login.done


# --- what is sent


def test_enforced_settings_go_over_what_the_client_asked_for() -> None:
    login = target(
        write=False,
        settings={
            "client_encoding": "LATIN1",
            "default_transaction_read_only": "off",
            "geqo": "on",
        },
    )
    assert dict(_pairs(login.start()[8:])) == {
        "user": "app",
        "database": "shop",
        "client_encoding": "UTF8",
        "standard_conforming_strings": "on",
        "default_transaction_read_only": "on",
        "geqo": "on",
    }


def test_a_writer_is_not_read_only() -> None:
    assert b"read_only" not in target().start()


# --- honest servers


def test_trust() -> None:
    login = target(credential=b"")
    finish(login)
    assert login.method == "trust"
    assert login.key == (7, b"1234")
    assert login.parameters["client_encoding"] == "UTF8"


def test_cleartext_on_loopback() -> None:
    login = target()
    assert login.receive(replies.authentication(replies.AUTH_CLEARTEXT)) == messages.password(
        PASSWORD
    )
    finish(login)


def test_md5_as_the_server_computes_it() -> None:
    login = target()
    answer = login.receive(replies.authentication(replies.AUTH_MD5, b"salt"))
    inner = hashlib.md5(PASSWORD + b"app").hexdigest().encode()
    assert answer == messages.password(b"md5" + hashlib.md5(inner + b"salt").hexdigest().encode())


@pytest.mark.parametrize(
    ("encrypted", "binding", "mechanisms", "expected", "bound"),
    [
        (False, None, b"SCRAM-SHA-256\0\0", "SCRAM-SHA-256", b""),
        (True, b"hash", BOTH, "SCRAM-SHA-256-PLUS", b"hash"),
        (True, b"hash", b"SCRAM-SHA-256\0\0", "SCRAM-SHA-256", b""),
        (True, None, BOTH, "SCRAM-SHA-256", b""),
        (False, None, BOTH, "SCRAM-SHA-256", b""),
    ],
)
def test_scram(
    encrypted: bool, binding: bytes | None, mechanisms: bytes, expected: str, bound: bytes
) -> None:
    login = target(Floor.UNVERIFIED, encrypted=encrypted, binding=binding)
    server = ScramServer()
    assert through_scram(login, server, mechanisms, bound) == expected
    assert server.accepted
    finish(login)
    assert login.method == expected.lower()


def test_a_client_that_could_bind_says_so_when_it_was_not_offered() -> None:
    def header(encrypted: bool, binding: bytes | None) -> bytes:
        login = target(encrypted=encrypted, binding=binding)
        return initial_of(login.receive(sasl()))[1][:3]

    assert header(True, b"hash") == b"y,,"  # an honest server finds the stripped offer
    assert header(True, None) == b"n,,"
    assert header(False, None) == b"n,,"


def test_an_older_minor_version_is_taken() -> None:
    login = target(credential=b"")
    login.receive(replies.negotiation(messages.PROTOCOL_3_0, []))
    assert login.version == messages.PROTOCOL_3_0
    finish(login)


def test_a_long_key_needs_protocol_3_2() -> None:
    finish(target(credential=b""), key=b"k" * 32)
    with pytest.raises(ProtocolViolation, match="key of 32"):
        finish(target(credential=b"", version=messages.PROTOCOL_3_0), key=b"k" * 32)


def test_a_server_that_does_not_know_the_version_is_tried_with_an_older_one() -> None:
    error = replies.error("08P01", "unsupported frontend protocol", severity="FATAL")
    with pytest.raises(VersionRefused):
        target().receive(error)
    with pytest.raises(TargetRefused) as caught:
        target(version=messages.PROTOCOL_3_0).receive(error)
    assert not isinstance(caught.value, VersionRefused)


@given(st.lists(st.integers(0, 400), max_size=12))
def test_any_chunking_logs_in_the_same(cuts: list[int]) -> None:
    login = target(credential=b"")
    stream = replies.notice("00000", "hello") + OK + SETTINGS + replies.key_data(1, b"abcd") + READY
    ends = [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    start = 0
    for end in ends:
        login.receive(stream[start:end])
        start = end
    assert login.done


# --- rogue servers: nothing of the credential leaves


ASKS = {
    "cleartext": replies.authentication(replies.AUTH_CLEARTEXT),
    "md5": replies.authentication(replies.AUTH_MD5, b"salt"),
    "kerberos": replies.authentication(2),
    "gss": replies.authentication(7),
    "sspi": replies.authentication(9),
    "unknown": replies.authentication(99),
    "negative": replies.authentication(-1),
}


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("encrypted", [False, True])
def test_an_unverified_server_gets_the_credential_by_scram_alone(ask: str, encrypted: bool) -> None:
    with pytest.raises(TargetRefused):
        target(Floor.UNVERIFIED, encrypted=encrypted, md5=True).receive(ASKS[ask])


def test_an_unverified_server_that_just_accepts_is_refused() -> None:
    with pytest.raises(TargetRefused, match="prove itself"):
        target(Floor.UNVERIFIED).receive(OK)


def test_md5_off_loopback_needs_the_setting() -> None:
    with pytest.raises(TargetRefused, match="md5"):
        target(Floor.VERIFIED).receive(ASKS["md5"])
    assert target(Floor.VERIFIED, md5=True).receive(ASKS["md5"])


def test_a_password_that_is_not_there_is_not_sent() -> None:
    for ask in ("cleartext", "md5"):
        with pytest.raises(TargetRefused, match="has none"):
            target(credential=b"").receive(ASKS[ask])
    with pytest.raises(TargetRefused, match="has none"):
        target(credential=b"").receive(sasl())


def test_a_downgrade_in_the_midst_of_scram_is_refused() -> None:
    for code in (replies.AUTH_CLEARTEXT, replies.AUTH_MD5, replies.AUTH_SASL):
        login = target()
        login.receive(sasl())
        with pytest.raises(ProtocolViolation):
            login.receive(replies.authentication(code, b"salt" if code == 5 else b""))


@pytest.mark.parametrize("steps", [1, 2])
def test_a_server_that_skips_its_proof_is_refused(steps: int) -> None:
    login = target()
    server = ScramServer()
    _, initial = initial_of(login.receive(sasl()))
    if steps == 2:
        challenge = server.challenge(initial)
        login.receive(replies.authentication(replies.AUTH_SASL_CONTINUE, challenge))
    with pytest.raises(ProtocolViolation, match="before it proved itself"):
        login.receive(OK)
    assert not login.done


def test_a_server_that_does_not_know_the_password_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="does not know the password"):
        through_scram(target(), ScramServer(b"a guess"), b"SCRAM-SHA-256\0\0")


@pytest.mark.parametrize("outcome", [b"", b"v=", b"v=AAAA", b"e=other-error", b"v=!!", b"x=AAAA"])
def test_a_final_message_without_the_right_signature_is_refused(outcome: bytes) -> None:
    login = target()
    _, initial = initial_of(login.receive(sasl()))
    challenge = ScramServer().challenge(initial)
    login.receive(replies.authentication(replies.AUTH_SASL_CONTINUE, challenge))
    with pytest.raises(ProtocolViolation):
        login.receive(replies.authentication(replies.AUTH_SASL_FINAL, outcome))


@pytest.mark.parametrize(
    "change",
    [
        lambda first: first.replace(b"r=", b"r=other", 1),
        lambda first: first[: first.index(b"server")] + first[first.index(b",s=") :],
        lambda first: first.replace(b"i=4096", b"i=1"),
        lambda first: first.replace(b"i=4096", b"i=4095"),
        lambda first: first.replace(b"i=4096", b"i=999999999"),
        lambda first: first.replace(b"i=4096", b"i=-4096"),
        lambda first: first.replace(b"i=4096", b"i=+4096"),
        lambda first: first.replace(b"i=4096", b"i=04096"),
        lambda first: first.replace(b"i=4096", b"i="),
        lambda first: first.replace(b"s=", b"s=!!"),
        lambda first: first.replace(b",s=" + base64.b64encode(b"0123456789abcdef"), b",s="),
        lambda first: b"m=mandatory," + first,
        lambda first: first.replace(b"server-nonce", b"server\x01nonce"),
        lambda first: first + b"," + b"x=" + b"y" * 5000,
        lambda first: b"",
    ],
)
def test_a_challenge_that_is_not_one_is_refused(change: object) -> None:
    assert callable(change)
    login = target()
    _, initial = initial_of(login.receive(sasl()))
    challenge = change(ScramServer().challenge(initial))
    with pytest.raises(ProtocolViolation):
        login.receive(replies.authentication(replies.AUTH_SASL_CONTINUE, challenge))


@pytest.mark.parametrize(
    "mechanisms", [b"\0", b"PLAIN\0\0", b"SCRAM-SHA-1\0\0", b"SCRAM-SHA-256\0"]
)
def test_other_mechanisms_are_refused(mechanisms: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        target().receive(sasl(mechanisms))


def test_plus_alone_without_tls_is_refused() -> None:
    with pytest.raises(ProtocolViolation):
        target().receive(sasl(b"SCRAM-SHA-256-PLUS\0\0"))


@pytest.mark.parametrize(
    "early",
    [
        READY,
        SETTINGS,
        replies.key_data(1, b"abcd"),
        replies.data_row([b"x"]),
        replies.command_complete("SELECT 1"),
        replies.row_description([]),
        replies.copy_response(frames.COPY_IN, replies.CopyHeader(0, ())),
        messages.copy_data(b"x"),
        replies.notification(1, "a", "b"),
    ],
)
def test_what_does_not_belong_before_authentication_is_refused(early: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        target(credential=b"").receive(early)


@pytest.mark.parametrize("count", [1, 2])
def test_rows_in_the_login_are_refused(count: int) -> None:
    with pytest.raises(ProtocolViolation):
        target(credential=b"").receive(OK + SETTINGS + replies.data_row([b"x"]) * count)


def test_a_session_that_begins_in_a_transaction_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="transaction"):
        target(credential=b"").receive(OK + SETTINGS + replies.ready("T"))


def test_a_second_key_is_refused() -> None:
    key = replies.key_data(1, b"abcd")
    with pytest.raises(ProtocolViolation):
        target(credential=b"").receive(OK + key + key)


@pytest.mark.parametrize("version", [messages.PROTOCOL_3_2, 2 << 16, 0, -1, 4 << 16])
def test_a_negotiation_that_is_none_is_refused(version: int) -> None:
    with pytest.raises(ProtocolViolation):
        target().receive(replies.negotiation(version, []))


def test_a_negotiation_of_options_never_asked_for_is_refused() -> None:
    with pytest.raises(ProtocolViolation):
        target().receive(replies.negotiation(messages.PROTOCOL_3_0, ["_pq_.x"]))


def test_a_flood_is_cut_off() -> None:
    login = target(credential=b"")
    login.receive(OK)
    with pytest.raises(ProtocolViolation, match="more than"):
        for number in range(10_000):
            login.receive(replies.parameter_status(f"p{number}", "x" * 200))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_encoding", "LATIN1"),
        ("client_encoding", None),
        ("standard_conforming_strings", "off"),
    ],
)
def test_a_server_that_does_not_keep_what_is_enforced_is_refused(
    name: str, value: str | None
) -> None:
    reported = {"client_encoding": "UTF8", "standard_conforming_strings": "on"}
    reported.pop(name)
    if value is not None:
        reported[name] = value
    stream = OK + b"".join(replies.parameter_status(*pair) for pair in reported.items()) + READY
    with pytest.raises(TargetRefused, match=name):
        target(credential=b"").receive(stream)


def test_a_server_that_is_not_read_only_where_it_must_be_is_refused() -> None:
    login = target(credential=b"", write=False)
    with pytest.raises(TargetRefused, match="read_only"):
        login.receive(
            OK + SETTINGS + replies.parameter_status("default_transaction_read_only", "off") + READY
        )


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("3D000", "3D000"),
        ("53300", "53300"),
        ("57P03", "57P03"),
        ("28P01", "08004"),
        ("28000", "08004"),
        ("XX000", "08004"),
        ("\x1b[2J", "08004"),
        ("", "08004"),
    ],
)
def test_what_the_server_says_of_the_login_goes_no_further(code: str, told: str) -> None:
    secret = f"password authentication failed for user app with {PASSWORD.decode()}"
    error = replies.error(code, secret, detail=secret, hint=secret, severity="FATAL")
    with pytest.raises(TargetRefused) as caught:
        target().receive(error)
    assert caught.value.code == told
    assert PASSWORD.decode() not in str(caught.value)
    assert "app" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@given(st.binary(max_size=300))
def test_garbage_raises_only_what_is_declared(garbage: bytes) -> None:
    for login in (target(), target(Floor.UNVERIFIED)):
        try:
            login.receive(garbage)
        except SallyportError as error:
            assert PASSWORD.decode() not in str(error)
        assert not login.done


# --- scram's own


def test_the_exchange_of_rfc_7677() -> None:
    scram = Scram(
        Secret(b"pencil"),
        ("SCRAM-SHA-256",),
        encrypted=False,
        binding=None,
        nonce="rOprNGfwEbeRWgbNEkqO",
    )
    # the RFC's user is `user`; ours is always empty, so the proof differs from the RFC's: the
    # keys are checked against its salt and iterations by an honest server below
    assert scram.first() == b"n,,n=,r=rOprNGfwEbeRWgbNEkqO"
    server = ScramServer(b"pencil")
    server.salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    server.salted = hashlib.pbkdf2_hmac("sha256", b"pencil", server.salt, 4096)
    first = server.challenge(scram.first(), b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    scram.verify(server.outcome(scram.final(first)))
    assert server.accepted
    assert scram.verified


def test_nonces_are_never_the_same() -> None:
    made = {
        Scram(Secret(b"p"), ("SCRAM-SHA-256",), encrypted=False, binding=None).first()
        for _ in range(50)
    }
    assert len(made) == 50


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        (b"plain", b"plain"),
        ("I\u00adX".encode(), b"IX"),  # soft hyphen
        ("\u2168".encode(), b"IX"),  # roman numeral nine
        ("a\u00a0b".encode(), b"a b"),  # no-break space
        ("\u00aa".encode(), b"a"),
        (b"\xff\xfe", b"\xff\xfe"),  # no UTF-8
        ("a\u0627\u0628".encode(), "a\u0627\u0628".encode()),  # mixed directions: as it is
        ("x\u0007\u00e9".encode(), "x\u0007\u00e9".encode()),  # a control character: as it is
    ],
)
def test_saslprep(password: bytes, prepared: bytes) -> None:
    assert prepare(password) == prepared


def test_a_certificate_that_does_not_parse_binds_nothing() -> None:
    assert end_point(b"no certificate") is None
