"""The client's login, with the gateway as the server: StartupMessage, answers, and no more.

Theory of operation. Bytes go into `receive`; what is due for the client comes from `take`. The
machine walks STARTUP -> STARTED, or STARTUP -> CANCEL for a CancelRequest. From STARTED each `ask`
sends an authentication request and is ASKED until the client's one answer is whole; what is asked,
and what an answer means, is the mechanism's (`mechanisms`). Nothing is asked where others can
listen. Nothing that a client sends before it is known costs more than a startup packet and answers.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, final

from msgspec import Struct

from sallyport.core.errors import ProtocolViolation
from sallyport.core.subject import Secret, Stated
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.startup import (
    application_of,
    clean_startup,
    refuse,
    settings_of,
    stated_in,
)
from sallyport.protocols.postgres.wire import Reader

MAXIMUM_STARTUP: Final = 10_000
"""Bytes of a StartupMessage (the server's own limit)."""

LATEST_MINOR: Final = 2
"""The newest minor version of protocol 3 that the gateway speaks."""

_UINT32 = struct.Struct(">I")
_OFF: Final = frozenset({"off", "false", "no", "0", "of", "f", "n", "fa", "fal", "fals"})


class Startup(Struct, frozen=True):
    """What a client asked for. `version` is what both speak; `settings` are allowed ones; `stated`
    is what it says of itself."""

    user: str
    database: str
    application: str
    settings: dict[str, str]
    version: int
    stated: Stated = Stated()


class State(enum.Enum):
    """Where a client's login stands: STARTED is the gateway's turn, ASKED the client's."""

    STARTUP = "startup"
    STARTED = "started"
    ASKED = "asked"
    CANCEL = "cancel"


@final
class ClientLogin:
    """Reads one client's login. `private`: encrypted, on loopback, or on a Unix socket.

    FAILS CLOSED: nothing is asked for where it is not private. Every violation carries the
    SQLSTATE that the client should be told.
    """

    def __init__(self, *, private: bool) -> None:
        self.state = State.STARTUP
        self.startup: Startup | None = None
        self.answer: Secret | None = None
        self.cancel: messages.CancelRequest | None = None
        self._private = private
        self._buffer = bytearray()
        self._due: list[bytes] = []

    def take(self) -> bytes:
        """Return what is due for the client, and forget it."""
        due, self._due = b"".join(self._due), []
        return due

    def receive(self, data: bytes) -> None:
        """Take bytes. Raises: ProtocolViolation.

        An answer may come before it is asked for (some clients know what will be); it waits.
        """
        self._buffer += data
        if self.state is State.STARTUP:
            packet = self._packet()
            if packet is not None:
                self._begin(packet)
        elif self.state is State.ASKED:
            self._read_answer()
        early = len(self._buffer) > frames.TOKEN + 1 or self.answer is not None
        if (self.state is State.CANCEL or (self.state is State.STARTED and early)) and self._buffer:
            raise refuse("data before the login is over", "08P01")

    def ask(self, code: int, data: bytes = b"") -> None:
        """Send an authentication request, and wait for its answer. Raises: ProtocolViolation."""
        if self.state is not State.STARTED:
            raise ValueError(f"nothing can be asked in state {self.state.value}")
        self._due.append(replies.authentication(code, data))
        self.answer = None
        self.state = State.ASKED
        self._read_answer()

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
            raise refuse("this listener takes logins over TLS alone; use sslmode=require", "28000")
        self.state = State.STARTED

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
        stated = stated_in(settings)
        application = application_of(settings)
        self.startup = Startup(user, database, application, settings, version, stated)
        if version != code or unknown:
            self._due.append(replies.negotiation(version, unknown))

    def _read_answer(self) -> None:
        """Read a PasswordMessage or a SASL response. Nothing else can come, or may follow it."""
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
        self.answer = Secret(bytes(buffer[5:]))
        self._buffer = bytearray()
        self.state = State.STARTED


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
