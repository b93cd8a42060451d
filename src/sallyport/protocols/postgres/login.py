"""The client's login, with the gateway as the server: StartupMessage, token, and no more.

Theory of operation. Bytes go into `receive`; what is due for the client comes from `take`. The
machine walks STARTUP -> TOKEN -> DONE, or STARTUP -> CANCEL for a CancelRequest. The token travels
as AuthenticationCleartextPassword, so it is asked for only where nobody can listen. Nothing that
a client sends before it is known costs more than a startup packet and a token.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, final

from msgspec import Struct

from sallyport.core.errors import ProtocolViolation
from sallyport.core.subject import Secret
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.startup import (
    application_of,
    clean_startup,
    refuse,
    settings_of,
)
from sallyport.protocols.postgres.wire import Reader

MAXIMUM_STARTUP: Final = 10_000
"""Bytes of a StartupMessage (the server's own limit)."""

LATEST_MINOR: Final = 2
"""The newest minor version of protocol 3 that the gateway speaks."""

_UINT32 = struct.Struct(">I")
_OFF: Final = frozenset({"off", "false", "no", "0", "of", "f", "n", "fa", "fal", "fals"})


class Startup(Struct, frozen=True):
    """What a client asked for. `version` is what both speak; `settings` are allowed ones."""

    user: str
    database: str
    application: str
    settings: dict[str, str]
    version: int


class State(enum.Enum):
    """Where a client's login stands."""

    STARTUP = "startup"
    TOKEN = "token"  # noqa: S105
    DONE = "done"
    CANCEL = "cancel"


@final
class ClientLogin:
    """Reads one client's login. `private`: encrypted, on loopback, or on a Unix socket.

    FAILS CLOSED: a token is never asked for where it is not private. Every violation carries the
    SQLSTATE that the client should be told.
    """

    def __init__(self, *, private: bool) -> None:
        self.state = State.STARTUP
        self.startup: Startup | None = None
        self.token: Secret | None = None
        self.cancel: messages.CancelRequest | None = None
        self._private = private
        self._buffer = bytearray()
        self._due: list[bytes] = []

    def take(self) -> bytes:
        """Return what is due for the client, and forget it."""
        due, self._due = b"".join(self._due), []
        return due

    def receive(self, data: bytes) -> None:
        """Take bytes. Raises: ProtocolViolation."""
        self._buffer += data
        if self.state is State.STARTUP:
            packet = self._packet()
            if packet is not None:
                self._begin(packet)
        if self.state is State.TOKEN:
            self._read_token()
        elif self.state in (State.DONE, State.CANCEL) and self._buffer:
            raise refuse("data before the login is over", "08P01")

    def _packet(self) -> bytes | None:
        """Return a startup packet without its length, once it is whole."""
        if len(self._buffer) < 4:
            return None
        length = _UINT32.unpack_from(self._buffer)[0]
        if not 8 <= length <= MAXIMUM_STARTUP:
            raise refuse("invalid length of startup packet", "08P01")
        if len(self._buffer) < length:
            return None
        packet = bytes(self._buffer[4:length])
        del self._buffer[:length]
        return packet

    def _begin(self, packet: bytes) -> None:
        """Read a startup packet: a CancelRequest or a StartupMessage of protocol 3."""
        code = _UINT32.unpack_from(packet)[0]
        if code == messages.CANCEL_CODE:
            self.cancel = messages.parse_cancel(packet[4:])
            self.state = State.CANCEL
            return
        if code in (messages.SSL_CODE, messages.GSSENC_CODE):
            raise refuse("an encryption request out of turn", "08P01")
        if code >> 16 != 3:
            raise refuse(
                f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}: "
                f"the gateway speaks 3.0 to 3.{LATEST_MINOR}",
                "0A000",
            )
        self._read_startup(code, packet[4:])
        if not self._private:
            raise refuse("this listener takes a token over TLS alone; use sslmode=require", "28000")
        self._due.append(replies.authentication(replies.AUTH_CLEARTEXT))
        self.state = State.TOKEN

    def _read_startup(self, code: int, body: bytes) -> None:
        """Read a StartupMessage's parameters, and negotiate the version where it needs that."""
        parameters = clean_startup(_pairs(body))
        version = min(code, messages.PROTOCOL_3_0 | LATEST_MINOR)
        unknown = [name for name in parameters if name.startswith("_pq_.")]
        for name in unknown:
            del parameters[name]
        if parameters.pop("replication", "off").lower() not in _OFF:
            raise refuse("replication is refused by the gateway", "42501")
        user = parameters.pop("user", "")
        database = parameters.pop("database", "") or user
        settings = settings_of(parameters)
        application = application_of(settings)
        self.startup = Startup(user, database, application, settings, version)
        if version != code or unknown:
            self._due.append(replies.negotiation(version, unknown))

    def _read_token(self) -> None:
        """Read the PasswordMessage. Nothing else can come, and nothing may follow it."""
        buffer = self._buffer
        if not buffer:
            return
        if buffer[0] != frames.PASSWORD:
            raise refuse(f"expected a password, got message type {buffer[0]}", "08P01")
        if len(buffer) < 5:
            return
        length = _UINT32.unpack_from(buffer, 1)[0]
        if not 5 <= length <= frames.TOKEN:
            raise refuse("invalid length of password packet", "08P01")
        if len(buffer) < length + 1:
            return
        if len(buffer) > length + 1:
            raise refuse("data before the login is over", "08P01")
        self.token = Secret(messages.parse_password(bytes(buffer[5:])))
        self._buffer = bytearray()
        self.state = State.DONE


def _pairs(body: bytes) -> list[tuple[str, str]]:
    """Read a StartupMessage's pairs, up to the empty name that ends them."""
    reader = Reader(body, "client", "StartupMessage")
    pairs = []
    while name := reader.text():
        pairs.append((name, reader.text()))
    reader.end()
    return pairs


def farewell(violation: ProtocolViolation) -> bytes:
    """Return the FATAL error that tells a client why its login ends."""
    return replies.error(violation.code, violation.message, severity="FATAL")
