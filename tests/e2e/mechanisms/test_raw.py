"""Clients that speak SASL to a real gateway byte by byte, out of order, twice, or half."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator

import pytest

from sallyport.core.scram import PLAIN, PLUS
from sallyport.core.subject import Secret
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.scram import Scram, end_point
from tests.e2e.mechanisms.conftest import House


class Raw:
    """A socket that reads whole messages."""

    def __init__(self, house: House, listener: str, user: str = "", *, size: int = 0) -> None:
        self._size = size
        self.binding: bytes | None = None
        plain = socket.create_connection(("127.0.0.1", house.ports[listener]), timeout=20)
        self.socket: socket.socket = plain
        if listener.endswith("-tls"):
            plain.sendall(messages.SSL_REQUEST)
            assert plain.recv(1) == b"S"
            context = ssl.create_default_context(cafile=str(house.ca))
            encrypted = context.wrap_socket(plain, server_hostname="localhost")
            self.binding = end_point(encrypted.getpeercert(binary_form=True) or b"")
            self.socket = encrypted
        self.send(messages.startup({"user": user, "database": "db"}))

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), self._size or len(data)):
            self.socket.sendall(data[at : at + (self._size or len(data))])

    def read(self) -> tuple[int, bytes]:
        """One message: its type and body; (0, b"") at the end."""
        head = self._exactly(5)
        if not head:
            return 0, b""
        kind, length = struct.unpack(">BI", head)
        return kind, self._exactly(length - 4)

    def offered(self) -> list[str]:
        kind, body = self.read()
        assert (kind, body[:4]) == (frames.AUTHENTICATION, b"\0\0\0\x0a"), body
        return [name.decode() for name in body[4:].split(b"\0") if name]

    def challenge(self) -> bytes:
        kind, body = self.read()
        assert (kind, body[:4]) == (frames.AUTHENTICATION, b"\0\0\0\x0b"), body
        return body[4:]

    def error(self) -> dict[str, str]:
        """The error that is all that is left."""
        kind, body = self.read()
        assert kind == frames.ERROR_RESPONSE, (kind, body)
        assert self.read()[0] == 0
        fields = replies.parse_fields(body)
        assert fields["S"] == "FATAL"
        return fields

    def scram(self, secret: str, *, bound: bool = False) -> Scram:
        return Scram(
            Secret(secret.encode()), (PLUS,) if bound else (PLAIN,),
            encrypted=bound, binding=self.binding if bound else None,
        )  # fmt: skip

    def begin(self, client: Scram) -> bytes:
        """Offer, first message, challenge; return the final message."""
        self.offered()
        self.send(messages.sasl_initial(client.mechanism, client.first()))
        return client.final(self.challenge())

    def welcomed(self) -> bytes:
        """Read to ReadyForQuery; return the gateway's proof."""
        proof = b""
        while True:
            kind, body = self.read()
            assert kind not in (0, frames.ERROR_RESPONSE), body
            if kind == frames.AUTHENTICATION and body[:4] == b"\0\0\0\x0c":
                proof = body[4:]
            if kind == frames.READY_FOR_QUERY:
                return proof

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            try:
                more = self.socket.recv(count - len(got))
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                return b""
            got += more
        return got


@contextlib.contextmanager
def raw(house: House, listener: str, user: str = "", *, size: int = 0) -> Iterator[Raw]:
    client = Raw(house, listener, user, size=size)
    try:
        yield client
    finally:
        client.socket.close()


@pytest.mark.parametrize(("listener", "bound"), [("scram", False), ("scram-tls", True)])
@pytest.mark.parametrize("size", [0, 1])
def test_a_whole_login_in_any_pieces(house: House, listener: str, bound: bool, size: int) -> None:
    identifier, secret = house.token()
    with raw(house, listener, identifier, size=size) as client:
        ours = client.scram(secret, bound=bound)
        final = client.begin(ours)
        client.send(messages.sasl_response(final))
        ours.verify(client.welcomed())
        client.send(messages.query("select 1"))
        assert client.read()[0] == frames.ROW_DESCRIPTION


def test_what_is_offered(house: House) -> None:
    expected = {"scram": [PLAIN], "scram-tls": [PLUS, PLAIN], "oauth": ["OAUTHBEARER"]}
    for listener, names in expected.items():
        with raw(house, listener, "x") as client:
            assert client.offered() == names


def test_a_downgrade_is_noticed(house: House) -> None:
    """Somebody in between hides PLUS: the client says `y`, and the gateway knows better."""
    identifier, _ = house.token()
    with raw(house, "scram-tls", identifier) as client:
        client.offered()
        client.send(messages.sasl_initial(PLAIN, b"y,,n=,r=abcdefghijklmnop"))
        error = client.error()
    assert error["C"] == "28000" and "taken it away" in error["M"]


def test_a_proof_for_another_certificate_is_refused(house: House) -> None:
    identifier, secret = house.token()
    with raw(house, "scram-tls", identifier) as client:
        client.binding = bytes(32)
        final = client.begin(client.scram(secret, bound=True))
        client.send(messages.sasl_response(final))
        assert client.error()["C"] == "28P01"


@pytest.mark.parametrize(
    "first",
    [
        messages.query("select 1"),
        messages.sasl_response(b"c=biws,r=abc,p=" + b"A" * 43 + b"="),
        messages.sasl_response(b"n,,n=,r=abcdefgh"),
        messages.password(b"sp_secret"),
        messages.sasl_initial("SCRAM-SHA-1", b"n,,n=,r=abcdefgh"),
        messages.sasl_initial(PLUS, b"p=tls-server-end-point,,n=,r=abcdefgh"),
        messages.sasl_initial(PLAIN, b"n,a=root,n=,r=abcdefgh"),
        messages.sasl_initial(PLAIN, b"n,,m=x,n=,r=abcdefgh"),
        messages.sasl_initial(PLAIN, b"n,,n=,r=abcdefgh") + messages.query("select 1"),
        b"p\x7f\xff\xff\xff",
    ],
)
def test_what_does_not_belong_there_ends_the_login(house: House, first: bytes) -> None:
    with raw(house, "scram", "0" * 16) as client:
        client.offered()
        client.send(first)
        assert client.error()["C"] in ("08P01", "28000")


def test_out_of_order_after_the_challenge(house: House) -> None:
    identifier, _ = house.token()
    for second in (
        messages.sasl_initial(PLAIN, b"n,,n=,r=abcdefgh"),
        messages.query("select 1"),
        messages.sasl_response(b"n,,n=,r=abcdefgh"),
        messages.sasl_response(b""),
    ):
        with raw(house, "scram", identifier) as client:
            client.offered()
            client.send(messages.sasl_initial(PLAIN, b"n,,n=,r=abcdefgh"))
            client.challenge()
            client.send(second)
            assert client.error()["C"] == "08P01"


def test_a_final_message_counts_once_and_in_its_own_exchange(house: House) -> None:
    identifier, secret = house.token()
    with raw(house, "scram", identifier) as client:
        final = client.begin(client.scram(secret))
        client.send(messages.sasl_response(final))
        client.welcomed()
    with raw(house, "scram", identifier) as client:
        client.begin(client.scram(secret))
        client.send(messages.sasl_response(final))  # replayed: another nonce
        assert client.error()["C"] == "28P01"
    with raw(house, "scram", identifier) as client:
        good = client.begin(client.scram(secret))
        client.send(messages.sasl_response(final))
        with contextlib.suppress(OSError):
            client.send(messages.sasl_response(good))  # a second try in one exchange
        assert client.error()["C"] in ("28P01", "08P01")
    with raw(house, "scram", identifier) as client:
        final = client.begin(client.scram(secret))
        nonce = final.split(b",")[1]
        client.send(messages.sasl_response(final.replace(nonce, nonce[:-1] + b"!")))
        assert client.error()["C"] == "28P01"


def test_a_token_revoked_between_the_two_messages(house: House) -> None:
    identifier, secret = house.token("agent-late")
    with raw(house, "scram", identifier) as client:
        final = client.begin(client.scram(secret))
        house.gateway.admin.post("/tokens/revoke", {"id": identifier})
        client.send(messages.sasl_response(final))
        assert client.error()["C"] == "28P01"


def test_an_unknown_id_hears_what_a_known_one_does(house: House) -> None:
    identifier, _ = house.token()
    heard = []
    for user in (identifier, "0" * 16, "0" * 16):
        with raw(house, "scram", user) as client:
            client.offered()
            client.send(messages.sasl_initial(PLAIN, b"n,,n=,r=abcdefgh"))
            heard.append(client.challenge())
    shapes = [[len(part) for part in one.split(b",")] for one in heard]
    assert shapes[0] == shapes[1] == shapes[2]
    salts = [one.split(b",")[1] for one in heard]
    assert salts[0] != salts[1] == salts[2]


def test_a_thousand_half_open_exchanges_keep_nobody_out(house: House) -> None:
    identifier, secret = house.token()
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            client = stack.enter_context(raw(house, "scram", f"{number:016}"))
            client.offered()
            client.send(messages.sasl_initial(PLAIN, b"n,,n=,r=abcdefgh"))
            if number % 2:
                client.challenge()
        began = time.monotonic()
        assert house.ask("scram", user=identifier, password=secret) == "app"
        assert time.monotonic() - began < 10


def test_discovery_by_hand(house: House) -> None:
    with raw(house, "oauth-tls", "app") as client:
        assert client.offered() == ["OAUTHBEARER"]
        client.send(messages.sasl_initial("OAUTHBEARER", b"n,,\x01auth=\x01\x01"))
        assert b'"openid-configuration"' in client.challenge()
        client.send(messages.sasl_response(b"\x01"))
        assert "bearer token" in client.error()["M"]
