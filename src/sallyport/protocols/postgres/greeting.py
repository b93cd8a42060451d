"""A client's first bytes: TLS or not, its StartupMessage, and the dialogue of its login.

It moves the bytes of a `ClientLogin`; how long a client may take is the plugin's to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, final

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.base import Connection, Leg
from sallyport.protocols.postgres import messages, replies
from sallyport.protocols.postgres.login import ClientLogin, State, farewell

TLS_RECORD: Final = b"\x16"
"""First byte of a ClientHello: direct TLS."""
ALPN: Final = "postgresql"

Within = Callable[[Awaitable[bytes]], Awaitable[bytes]]
"""Awaits a read for as long as the client still has. Raises: TimeoutError."""


class GoneError(Exception):
    """The client left, or is cut off, before it was known: it is told nothing."""


class ToldError(Exception):
    """The client was told why its login ends; its leg closes once that is sent."""


@final
class LegDialogue:
    """`mechanisms.Dialogue` on a leg. A violation is answered, and raised as ToldError."""

    def __init__(self, leg: Leg, login: ClientLogin, within: Within) -> None:
        self.leg = leg
        self._login = login
        self._within = within

    async def ask(self, code: int, data: bytes = b"") -> bytes:
        """Send an authentication request; return the body of its answer.

        Raises: ProtocolViolation, GoneError, TimeoutError.
        """
        login = self._login
        login.ask(code, data)
        self.leg.write(login.take())
        while login.state is State.ASKED:
            received = await self._within(self.leg.read())
            if not received:
                raise GoneError
            login.receive(received)
        if login.answer is None:
            raise GoneError
        return login.answer.reveal()

    def tell(self, code: int, data: bytes) -> None:
        """Send an authentication message that has no answer."""
        self.leg.write(replies.authentication(code, data))

    def refuse(self, violation: ProtocolViolation) -> None:
        """Tell the client why its login ends."""
        self.leg.write(self._login.take() + farewell(violation))


async def greet(connection: Connection) -> tuple[Leg, ClientLogin, bool]:
    """Read the preamble and the StartupMessage.

    Returns the leg, the login, and whether it is encrypted. A violation is answered, and the leg
    closed. Raises: ToldError, GoneError, EOFError, OSError.
    """
    first = await connection.peek()
    if not first:
        raise GoneError
    if first == TLS_RECORD:
        leg = await connection.open(encrypted=True)
        if leg.tls is None or leg.tls.selected_alpn_protocol() != ALPN:
            raise GoneError
        return leg, await _start(leg, ClientLogin(private=True), b""), True
    head = await _negotiate(connection)
    encrypted = not head
    leg = await connection.open(encrypted=encrypted)
    private = encrypted or (connection.local and not connection.tls_required)
    return leg, await _start(leg, ClientLogin(private=private), head), encrypted


def client_certificate(leg: Leg) -> bytes:
    """Return the certificate that the client showed in its TLS handshake (DER), or b""."""
    return (leg.tls.getpeercert(binary_form=True) or b"") if leg.tls is not None else b""


async def _negotiate(connection: Connection) -> bytes:
    """Answer SSLRequest and GSSENCRequest, each at most once.

    Returns the first 8 bytes of a plain startup packet, or nothing where TLS begins now. Exactly
    8 bytes are consumed: what a client (or somebody in between) put behind an SSLRequest goes
    into the TLS handshake and breaks it, and is never taken for protected.
    """
    answered: set[bytes] = set()
    while True:
        head = await connection.read_exactly(8)
        if head not in (messages.SSL_REQUEST, messages.GSSENC_REQUEST):
            return head
        if head in answered:
            raise GoneError
        answered.add(head)
        if head == messages.SSL_REQUEST and connection.tls is not None:
            await connection.send(b"S")
            return b""
        await connection.send(b"N")


async def _start(leg: Leg, login: ClientLogin, head: bytes) -> ClientLogin:
    """Read a client's startup packet. Raises: ToldError, GoneError."""
    data = head
    try:
        while True:
            if data:
                login.receive(data)
            if login.state in (State.STARTED, State.CANCEL):
                return login
            data = await leg.read()
            if not data:
                raise GoneError
    except ProtocolViolation as violation:
        leg.write(login.take() + farewell(violation))
        leg.close()
        raise ToldError from None
    except BaseException:
        leg.close()
        raise
