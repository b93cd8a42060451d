"""Mechanisms as dialogues: what is asked, in which order, and every answer that ends the login."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core import scram as core_scram
from sallyport.core.errors import ProtocolViolation
from sallyport.core.scram import PLAIN, PLUS, make_verifier
from sallyport.core.subject import Challenge, Evidence, Opening, Proven, Refused, Secret, Subject
from sallyport.protocols.base import Authentication
from sallyport.protocols.postgres import messages, replies
from sallyport.protocols.postgres.login import ClientLogin, State
from sallyport.protocols.postgres.mechanisms import Known, Peer, authenticate
from sallyport.protocols.postgres.oauthbearer import error, parse_initial
from sallyport.protocols.postgres.scram import Scram, end_point
from tests.support.authority import Authority

ANN = Subject(name="ann", groups=(), issuer="test", token="tok-1")
NO = Refused("authentication failed", "hint")
PASSWORD = b"sp_secret"
SERVER = Authority().server().der
BINDING = end_point(SERVER)
WANTED = Authentication("oauth", issuer="https://login.example.com/", scope="openid x")


class Gateway:
    """What control would say: one password, whoever claims it."""

    def __init__(self) -> None:
        self.evidence: list[Evidence] = []
        self.openings: list[Opening] = []
        self.verifier = make_verifier(PASSWORD, b"s" * 16, 4096)
        self.answer: Subject | Refused = ANN
        self.refuses = False

    async def authenticate(self, evidence: Evidence) -> Subject | Refused:
        self.evidence.append(evidence)
        return self.answer

    async def challenge(self, opening: Opening) -> Challenge | Refused:
        self.openings.append(opening)
        if self.refuses:
            return NO
        self.first = core_scram.parse_first(opening.message, opening.mechanism, opening.binding)
        self.message = core_scram.server_first(self.first, bytes(18), b"s" * 16, 4096)
        return Challenge(b"h" * 16, self.message)

    async def prove(self, challenge: Challenge, proof: bytes) -> Proven | Refused:
        assert challenge.handle == b"h" * 16
        final = core_scram.parse_final(proof)
        binding = self.openings[-1].binding
        done = core_scram.outcome(self.first, self.message, final, binding, self.verifier)
        return Proven(ANN, done[1]) if done[0] else NO


class Dialogue:
    """A client that answers from a script; `asked` is what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[int, bytes]] = []

    async def ask(self, code: int, data: bytes = b"") -> bytes:
        self.asked.append((code, data))
        answer = self._answers.pop(0)
        return bytes(answer(data) if callable(answer) else answer)

    def tell(self, code: int, data: bytes) -> None:
        self.asked.append((code, data))


def peer(mechanism: str, user: str = "tokenid", **more: Any) -> Peer:
    words: dict[str, Any] = {
        "protocol": "postgres",
        "listener": "pg",
        "source": "127.0.0.1",
        "encrypted": False,
        "user": user,
        "authentication": Authentication(mechanism, certificate=SERVER),
    }
    return Peer(**(words | more))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def login(gateway: Gateway, dialogue: Dialogue, who: Peer) -> Known | Refused:
    return run(authenticate(dialogue, gateway, who))  # type: ignore[arg-type]


def initial(mechanism: str, response: bytes) -> bytes:
    return messages.sasl_initial(mechanism, response)[5:]


class ScramClient:
    """Our own client's messages, as answers of a script."""

    def __init__(self, offered: tuple[str, ...], password: bytes = PASSWORD) -> None:
        bound = PLUS in offered
        self.scram = Scram(
            Secret(password), offered, encrypted=bound, binding=BINDING if bound else None
        )

    def first(self, offer: bytes) -> bytes:
        return initial(self.scram.mechanism, self.scram.first())

    def final(self, challenge: bytes) -> bytes:
        return self.scram.final(challenge)


# --- token


def test_a_token_is_asked_for_and_handed_on() -> None:
    gateway, dialogue = Gateway(), Dialogue(b"sp_x\0")
    assert login(gateway, dialogue, peer("token", "app")) == Known(ANN, "app")
    assert dialogue.asked == [(replies.AUTH_CLEARTEXT, b"")]
    assert [(one.token, one.certificate) for one in gateway.evidence] == [("sp_x", b"")]


def test_a_mechanism_that_is_not_known_lets_nobody_in() -> None:
    gateway, dialogue = Gateway(), Dialogue()
    with pytest.raises(ProtocolViolation) as caught:
        login(gateway, dialogue, peer("kerberos"))
    assert caught.value.code == "28000"
    assert dialogue.asked == [] and gateway.evidence == []


# --- scram


@pytest.mark.parametrize("encrypted", [False, True])
def test_scram_asks_offers_and_proves_itself(encrypted: bool) -> None:
    offered = (PLUS, PLAIN) if encrypted else (PLAIN,)
    client, gateway = ScramClient(offered), Gateway()
    dialogue = Dialogue(client.first, client.final)
    who = peer("scram", "abc/other", encrypted=encrypted)
    assert login(gateway, dialogue, who) == Known(ANN, "other")
    codes = [code for code, _ in dialogue.asked]
    assert codes == [replies.AUTH_SASL, replies.AUTH_SASL_CONTINUE, replies.AUTH_SASL_FINAL]
    assert dialogue.asked[0][1] == b"".join(name.encode() + b"\0" for name in offered) + b"\0"
    client.scram.verify(dialogue.asked[2][1])
    (opening,) = gateway.openings
    assert (opening.claimed, opening.binding) == ("abc", BINDING if encrypted else b"")


def test_a_certificate_that_names_no_hash_offers_no_binding() -> None:
    bare = Authentication("scram", certificate=Authority(ed=True).server().der)
    client, gateway = ScramClient((PLAIN,)), Gateway()
    who = peer("scram", encrypted=True, authentication=bare)
    dialogue = Dialogue(client.first, client.final)
    assert login(gateway, dialogue, who) == Known(ANN, None)
    assert dialogue.asked[0][1] == b"SCRAM-SHA-256\0\0"


def test_a_wrong_password_ends_without_the_gateways_proof() -> None:
    client = ScramClient((PLAIN,), b"wrong")
    dialogue = Dialogue(client.first, client.final)
    assert login(Gateway(), dialogue, peer("scram")) == NO
    assert replies.AUTH_SASL_FINAL not in [code for code, _ in dialogue.asked]


def test_an_opening_that_control_refuses_ends_the_login() -> None:
    gateway, client = Gateway(), ScramClient((PLAIN,))
    gateway.refuses = True
    dialogue = Dialogue(client.first)
    assert login(gateway, dialogue, peer("scram")) == NO


FIRST = b"n,,n=,r=abcdefghijkl"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no end"),
        (b"SCRAM-SHA-256", "no end"),
        (b"SCRAM-SHA-256\0", "too short"),
        (b"SCRAM-SHA-256\0\xff\xff\xff\xff", "without its first response"),
        (b"SCRAM-SHA-256\0\xff\xff\xff\xfe", "negative"),
        (b"SCRAM-SHA-256\0\0\0\0\x05n,,", "too short"),
        (initial(PLAIN, FIRST) + b"x", "too many"),
        (initial("SCRAM-SHA-1", FIRST), "not offered"),
        (initial("scram-sha-256", FIRST), "not offered"),
        (initial("OAUTHBEARER", FIRST), "not offered"),
        (initial(PLUS, b"p=tls-server-end-point,,n=,r=abc"), "not offered"),  # not without TLS
        (initial(PLAIN, b""), "no header"),
        (FIRST, "no end"),  # a SASLResponse where an initial one belongs
        (b"sp_secret\0", "too short"),  # a plain password
    ],
)
def test_a_malformed_opening_asks_control_nothing(body: bytes, words: str) -> None:
    gateway = Gateway()
    with pytest.raises(ProtocolViolation, match=words):
        login(gateway, Dialogue(body), peer("scram"))
    assert gateway.openings == []


def test_a_client_that_was_robbed_of_the_offer_is_refused() -> None:
    gateway = Gateway()
    robbed = initial(PLAIN, b"y" + FIRST[1:])
    with pytest.raises(ProtocolViolation, match="taken it away") as caught:
        login(gateway, Dialogue(robbed), peer("scram", encrypted=True))
    assert caught.value.code == "28000"
    assert gateway.openings == []


@pytest.mark.parametrize("final", [b"", b"c=biws", b"\x01", FIRST, b"c=biws,r=abc,p=AAAA"])
def test_a_malformed_final_message_proves_nothing(final: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="scram"):
        login(Gateway(), Dialogue(initial(PLAIN, FIRST), final), peer("scram"))


# --- oauth


def bearer(token: bytes) -> bytes:
    return b"n,,\x01auth=Bearer " + token + b"\x01\x01"


def oauth(gateway: Gateway, *answers: bytes) -> tuple[Known | Refused, Dialogue]:
    dialogue = Dialogue(*answers)
    return login(gateway, dialogue, peer("oauth", "app", authentication=WANTED)), dialogue


def test_a_bearer_token_is_handed_on() -> None:
    gateway = Gateway()
    known, dialogue = oauth(gateway, initial("OAUTHBEARER", bearer(b"a.b.c")))
    assert known == Known(ANN, "app")
    assert dialogue.asked == [(replies.AUTH_SASL, b"OAUTHBEARER\0\0")]
    assert gateway.evidence[0].token == "a.b.c"


def test_discovery_is_answered_and_then_fails() -> None:
    gateway = Gateway()
    answers = (initial("OAUTHBEARER", b"n,,\x01auth=\x01\x01"), b"\x01")
    refused, dialogue = oauth(gateway, *answers)
    assert isinstance(refused, Refused) and "bearer" in refused.reason
    assert gateway.evidence == []
    assert json.loads(dialogue.asked[1][1]) == {
        "status": "invalid_token",
        "openid-configuration": "https://login.example.com/.well-known/openid-configuration",
        "scope": "openid x",
    }


def test_a_wrong_token_hears_the_error_before_it_fails() -> None:
    gateway = Gateway()
    gateway.answer = NO
    refused, dialogue = oauth(gateway, initial("OAUTHBEARER", bearer(b"x")), b"\x01")
    assert refused == NO
    assert dialogue.asked[1][0] == replies.AUTH_SASL_CONTINUE


@pytest.mark.parametrize("answer", [b"", b"\x01\x01", b"x", bearer(b"a.b.c")])
def test_the_error_can_only_be_dismissed(answer: bytes) -> None:
    gateway = Gateway()
    gateway.answer = NO
    with pytest.raises(ProtocolViolation, match="not dismissed"):
        oauth(gateway, initial("OAUTHBEARER", bearer(b"x")), answer)
    assert len(gateway.evidence) == 1


@pytest.mark.parametrize(
    ("message", "token"),
    [
        (bearer(b"a.b.c"), "a.b.c"),
        (b"y,,\x01auth=bearer   sp_a~+/-==\x01\x01", "sp_a~+/-=="),
        (b"n,,\x01host=x\x01port=5432\x01auth=Bearer t\x01\x01", "t"),
        (b"n,,\x01auth=\x01\x01", ""),
    ],
)
def test_what_the_rfc_allows_is_read(message: bytes, token: str) -> None:
    assert parse_initial(message) == token


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01",
        b"n,,",
        b"n,,\x01",
        b"n,,\x01\x01",
        b"n,,\x01auth=Bearer t\x01",
        b"n,,\x01auth=Bearer t\x01\x01x",
        b"n,,\x01auth=Bearer t\x01\x01\x01",
        b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
        b"n,,\x01auth=Bearer\x01\x01",
        b"n,,\x01auth=Bearer \x01\x01",
        b"n,,\x01auth=Bearer a b\x01\x01",
        b"n,,\x01auth=Bearer a=b\x01\x01",
        b"n,,\x01auth=Basic dXNlcg==\x01\x01",
        b"n,,\x01auth=Bearer \xc3\xa9\x01\x01",
        b"n,,\x01auth=Bearer t\0\x01\x01",
        b"n,,\x01auth\x01\x01",
        b"n,,\x01=x\x01auth=Bearer t\x01\x01",
        b"n,,\x01a1=x\x01auth=Bearer t\x01\x01",
        b"n,,\x01" + b"k=v\x01" * 9 + b"auth=Bearer t\x01\x01",
        b"n,,\x01auth=Bearer " + b"t" * 30_000 + b"\x01\x01",
        b"n,a=root,\x01auth=Bearer t\x01\x01",
        b"n,\x01auth=Bearer t\x01\x01",
        b"p=tls-server-end-point,,\x01auth=Bearer t\x01\x01",
        b"x,,\x01auth=Bearer t\x01\x01",
        b"n,,auth=Bearer t\x01\x01",
    ],
)
def test_a_malformed_bearer_is_refused(message: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="oauthbearer"):
        parse_initial(message)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_token_or_a_violation(data: bytes) -> None:
    for message in (data, b"n,,\x01" + data + b"\x01\x01", bearer(data)):
        try:
            token = parse_initial(message)
        except ProtocolViolation as violation:
            assert violation.side == "client"
        else:
            assert token.isascii() and " " not in token


def test_an_issuer_is_named_by_its_discovery() -> None:
    for issuer in ("https://i.example", "https://i.example/"):
        url = json.loads(error(issuer, "openid"))["openid-configuration"]
        assert url == "https://i.example/.well-known/openid-configuration"
    known = "https://i.example/.well-known/oauth-authorization-server"
    assert json.loads(error(known, "openid"))["openid-configuration"] == known


# --- certificate


def test_a_certificate_is_handed_on_and_nothing_is_asked() -> None:
    gateway, dialogue = Gateway(), Dialogue()
    who = peer("certificate", "app", encrypted=True, certificate=b"DER")
    assert login(gateway, dialogue, who) == Known(ANN, "app")
    assert dialogue.asked == []
    assert [(one.token, one.certificate) for one in gateway.evidence] == [("", b"DER")]


@pytest.mark.parametrize("more", [{"encrypted": True}, {"certificate": b"DER"}, {}])
def test_without_a_certificate_control_is_not_asked(more: dict[str, Any]) -> None:
    gateway = Gateway()
    with pytest.raises(ProtocolViolation, match="sslcert and sslkey") as caught:
        login(gateway, Dialogue(), peer("certificate", **more))
    assert caught.value.code == "28000"
    assert gateway.evidence == []


def test_a_certificate_is_shown_to_no_other_mechanism() -> None:
    gateway = Gateway()
    login(gateway, Dialogue(b"sp_x\0"), peer("token", encrypted=True, certificate=b"DER"))
    assert gateway.evidence[0].certificate == b""


# --- framing


class Wire:
    """A dialogue on the sans-IO login, fed one byte at a time."""

    def __init__(self, size: int, *answers: Any) -> None:
        self.login = ClientLogin(private=True)
        self.login.receive(messages.startup({"user": "tokenid"}))
        self._size = size
        self._answers = list(answers)
        self.sent = b""

    async def ask(self, code: int, data: bytes = b"") -> bytes:
        self.login.ask(code, data)
        self.sent += self.login.take()
        answer = self._answers.pop(0)
        raw = messages.sasl_response(answer(data) if callable(answer) else answer)
        for at in range(0, len(raw), self._size):
            assert self.login.state is State.ASKED
            self.login.receive(raw[at : at + self._size])
        assert self.login.state is State.STARTED
        assert self.login.answer is not None
        return self.login.answer.reveal()

    def tell(self, code: int, data: bytes) -> None:
        self.sent += replies.authentication(code, data)


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_any_chunking_makes_the_same_exchange(size: int) -> None:
    nonce = "n" * 24
    sent = set()
    for chunk in (size, 4096):
        client = ScramClient((PLAIN,))
        client.scram = Scram(Secret(PASSWORD), (PLAIN,), encrypted=False, binding=None, nonce=nonce)
        wire = Wire(chunk, client.first, client.final)
        assert run(authenticate(wire, Gateway(), peer("scram"))) == Known(ANN, None)  # type: ignore[arg-type]
        sent.add(wire.sent)
    assert len(sent) == 1
    assert base64.b64encode(bytes(18)) in sent.pop()
