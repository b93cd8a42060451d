"""WebSocket: both legs of one connection after its upgrade, as whole messages (RFC 6455).

Theory of operation. What a leg sends is read frame by frame; fragments are joined, and what comes
out are messages that can be inspected. Each message that `receive_*` returned is answered by
`send_*` to the other leg, or by `drop_*`; a close of that leg is passed on behind them, so that no
message is overtaken by it. Nothing that was read is forwarded as bytes: every frame is made anew.
Frames are parsed and written by the library `websockets`; `_whole` says beforehand, and more
strictly, what a frame may look like.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Generator
from typing import Final, NamedTuple, final

from websockets.exceptions import WebSocketException
from websockets.frames import Close, Frame, Opcode

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.http import grammar
from sallyport.protocols.http.message import Fields, get_all, listed

LIMIT: Final = 1024 * 1024
"""Bytes of a message."""
REASON_LIMIT: Final = 123
"""Bytes of a close frame's reason (section 5.5)."""
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
BROKEN: Final = 1002
NO_CODE: Final = 1005
"""Stands for a close frame without a code; never sent."""
NOT_TEXT: Final = 1007
REFUSED: Final = 1008
TOO_LARGE: Final = 1009
UNABLE: Final = 1011

_UUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTROL: Final = frozenset({Opcode.CLOSE, Opcode.PING, Opcode.PONG})
_OPCODES: Final = frozenset(Opcode)
_HANDSHAKE: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Message(NamedTuple):
    """One whole message; of text, `data` is valid UTF-8."""

    binary: bool
    data: bytes


class _Failure(Exception):
    """What a peer did wrong, as the code that it is told."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class _Closing(NamedTuple):
    code: int
    reason: str


@final
class _Leg:
    """One leg. `masked`: frames come in masked and go out plain; otherwise the other way round."""

    __slots__ = (
        "_buffer", "_kind", "_limit", "_masked", "_parts", "answered", "closing", "due", "gone",
        "name", "outstanding", "told",
    )  # fmt: skip

    def __init__(self, name: str, limit: int, *, masked: bool) -> None:
        self.name = name
        self._limit = limit
        self._masked = masked
        self._buffer = bytearray()
        self._parts = bytearray()
        self._kind: Opcode | None = None
        self.due: list[bytes] = []
        self.told = False
        """A close frame went out."""
        self.answered = False
        """A close frame came in."""
        self.gone = False
        """Nothing more is read: it failed, or the stream is over."""
        self.closing: _Closing | None = None
        """What the other leg is told once nothing of this one's is outstanding."""
        self.outstanding = 0

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return not (self.told or self.answered or self.gone)

    @property
    def over(self) -> bool:
        """Whether nothing more comes or goes."""
        return self.gone or (self.told and self.answered)

    def send(self, opcode: Opcode, data: bytes) -> None:
        """Queue one frame."""
        self.due.append(Frame(opcode, data).serialize(mask=not self._masked))

    def close(self, code: int, reason: str) -> None:
        """Queue a close frame, once."""
        if self.told or self.gone:
            return
        self.told = True
        self.send(Opcode.CLOSE, _close_payload(code, reason))

    def receive(self, data: bytes) -> tuple[list[Message], _Failure | None]:
        """Return the messages that are whole now, and what was wrong after them."""
        if self.gone or self.answered:
            return [], None
        self._buffer += data
        found: list[Message] = []
        wrong: _Failure | None = None
        pong: bytes | None = None
        try:
            while not self.answered and (size := _whole(self._buffer, self._masked, self._room)):
                frame = _parse(bytes(self._buffer[:size]), self._masked)
                del self._buffer[:size]
                payload = bytes(frame.data)
                if frame.opcode is Opcode.PING:
                    pong = payload  # section 5.5.3: only the last one has to be answered
                elif frame.opcode is Opcode.CLOSE:
                    self._closed(payload)
                elif frame.opcode is not Opcode.PONG:
                    message = self._data(frame.opcode, payload, frame.fin)
                    if message is not None and not self.told:
                        found.append(message)
        except _Failure as failure:
            wrong = failure
        if pong is not None and not self.told:
            self.send(Opcode.PONG, pong)
        if wrong is not None:
            self.close(wrong.code, wrong.text)
            self.end()
        elif self.answered:
            self._forget()
        return found, wrong

    def end(self) -> None:
        """Read nothing more."""
        self.gone = True
        self._forget()

    # --- inside

    @property
    def _room(self) -> int:
        return self._limit - len(self._parts)

    def _forget(self) -> None:
        self._buffer.clear()
        self._parts.clear()
        self._kind = None

    def _data(self, opcode: Opcode, payload: bytes, fin: bool) -> Message | None:
        if (opcode is Opcode.CONT) == (self._kind is None):
            raise _Failure(BROKEN, "a fragment does not continue what came before")
        if self._kind is None:
            self._kind = opcode
        self._parts += payload
        if not fin:
            return None
        data, binary = bytes(self._parts), self._kind is Opcode.BINARY
        self._parts.clear()
        self._kind = None
        if not binary and not _is_text(data):
            raise _Failure(NOT_TEXT, "a text is not UTF-8")
        return Message(binary, data)

    def _closed(self, payload: bytes) -> None:
        """Take a close frame, and answer it with the same code (section 5.5.1)."""
        try:
            close = Close.parse(payload)
        except UnicodeDecodeError:
            raise _Failure(NOT_TEXT, "a close frame's reason is not UTF-8") from None
        except WebSocketException:
            raise _Failure(BROKEN, "a close frame's code is not valid") from None
        self.answered = True
        self.closing = _Closing(int(close.code), close.reason)
        self.close(int(close.code), close.reason)


@final
class WebSocketCodec:
    """Both legs of one connection: no await, socket or clock. Nothing raises, whatever the bytes.

    `limit`: bytes of a message, fragments joined. `reasons`: the target's reason for a close goes
    on to the client; the client's own goes nowhere, since nobody decides about it. `failed` is the
    first thing that a peer did wrong, with its close code; None: nothing. FAILS CLOSED: after that
    nothing of it is read.
    """

    def __init__(self, limit: int = LIMIT, *, reasons: bool = True) -> None:
        self._client = _Leg("client", limit, masked=True)
        self._target = _Leg("target", limit, masked=False)
        self._reasons = reasons
        self.failed: ProtocolViolation | None = None

    @property
    def client_open(self) -> bool:
        """Whether messages can be sent to the client."""
        return self._client.open

    @property
    def target_open(self) -> bool:
        """Whether messages can be sent to the target."""
        return self._target.open

    @property
    def client_over(self) -> bool:
        """Whether the client's stream can be closed, once what is due was written."""
        return self._client.over

    @property
    def target_over(self) -> bool:
        """Whether the target's stream can be closed, once what is due was written."""
        return self._target.over

    @property
    def over(self) -> bool:
        """Whether both legs are closed: write what is due, and close both streams."""
        return self._client.over and self._target.over

    def receive_client(self, data: bytes) -> list[Message]:
        """Take bytes of the client; return the messages that are whole now, in order."""
        return self._receive(self._client, self._target, data)

    def receive_target(self, data: bytes) -> list[Message]:
        """Take bytes of the target; return the messages that are whole now, in order."""
        return self._receive(self._target, self._client, data)

    def eof_client(self) -> None:
        """The client sends no more."""
        self._eof(self._client, self._target)

    def eof_target(self) -> None:
        """The target sends no more."""
        self._eof(self._target, self._client)

    def send_target(self, message: Message) -> bool:
        """Queue the client's next message, as it is to go on. False: the target is closed."""
        return self._send(self._client, self._target, message)

    def send_client(self, message: Message) -> bool:
        """Queue the target's next message, as it is to go on. False: the client is closed."""
        return self._send(self._target, self._client, message)

    def drop_client(self) -> None:
        """The client's next message does not go on."""
        self._settle(self._client, self._target)

    def drop_target(self) -> None:
        """The target's next message does not go on."""
        self._settle(self._target, self._client)

    def close_client(self, code: int, reason: str = "") -> None:
        """Close the client's leg. `reason` is cut to what a frame holds."""
        self._client.close(code, reason)

    def close_target(self, code: int, reason: str = "") -> None:
        """Close the target's leg. `reason` is cut to what a frame holds."""
        self._target.close(code, reason)

    def refused(self, code: int, reason: str) -> None:
        """The gateway ends it: the client is told why, the target that the client goes away."""
        self._client.close(code, reason)
        self._target.close(GOING_AWAY, "")

    def take_client(self) -> bytes:
        """Return what is due for the client, and forget it."""
        return _take(self._client)

    def take_target(self) -> bytes:
        """Return what is due for the target, and forget it."""
        return _take(self._target)

    # --- inside

    def _receive(self, leg: _Leg, other: _Leg, data: bytes) -> list[Message]:
        found, wrong = leg.receive(data)
        if wrong is not None:
            leg.closing = self._lost(leg)
            if self.failed is None:
                self.failed = ProtocolViolation(leg.name, wrong.text, str(wrong.code))
        leg.outstanding += len(found)
        self._pass_on(leg, other)
        return found

    def _eof(self, leg: _Leg, other: _Leg) -> None:
        if leg.gone:
            return
        if leg.closing is None:
            leg.closing = self._lost(leg)
        leg.end()
        self._pass_on(leg, other)

    def _lost(self, leg: _Leg) -> _Closing:
        """Return what the other leg is told when this one ends without a close (1006)."""
        if leg is self._client:
            return _Closing(GOING_AWAY, "")
        return _Closing(UNABLE, "the target has gone")

    def _send(self, source: _Leg, leg: _Leg, message: Message) -> bool:
        sent = leg.open
        if sent:
            leg.send(Opcode.BINARY if message.binary else Opcode.TEXT, message.data)
        self._settle(source, leg)
        return sent

    def _settle(self, leg: _Leg, other: _Leg) -> None:
        leg.outstanding = max(0, leg.outstanding - 1)
        self._pass_on(leg, other)

    def _pass_on(self, leg: _Leg, other: _Leg) -> None:
        if leg.closing is not None and not leg.outstanding:
            code, reason = leg.closing
            other.close(code, reason if self._reasons and leg is self._target else "")


def accept_key(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that answers a key (section 4.2.2)."""
    digest = hashlib.sha1(key + _UUID, usedforsecurity=False).digest()
    return base64.b64encode(digest)


def check_request(fields: Fields) -> None:
    """See that a client's upgrade is one of this version. Raises: ProtocolViolation."""
    if get_all(fields, b"sec-websocket-version") != [b"13"]:
        raise ProtocolViolation("client", "Sec-WebSocket-Version is not 13", "400")
    keys = get_all(fields, b"sec-websocket-key")
    if len(keys) != 1 or len(keys[0]) != 24 or _decoded(keys[0]) != 16:
        raise ProtocolViolation("client", "Sec-WebSocket-Key is not one key", "400")
    for protocol in offered(fields):
        if grammar.NAME.fullmatch(protocol) is None:
            raise ProtocolViolation("client", "Sec-WebSocket-Protocol is malformed", "400")


def offered(fields: Fields) -> tuple[bytes, ...]:
    """Return the subprotocols that a client offers, in their own case."""
    values = get_all(fields, b"sec-websocket-protocol")
    return tuple(part.strip(b" \t") for value in values for part in value.split(b","))


def target_fields(fields: Fields) -> tuple[Fields, bytes]:
    """Return an upgrade's fields for the target, and their key: our own. No extension is offered.

    INVARIANT: of the client's handshake the subprotocols alone go on.
    """
    key = base64.b64encode(secrets.token_bytes(16))
    made = [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", key),
    ]
    return [*(field for field in fields if _goes_on(field[0])), *made], key


def check_response(fields: Fields, key: bytes, protocols: tuple[bytes, ...]) -> bytes | None:
    """Return the subprotocol that a target's 101 chose; None: none. Raises: ProtocolViolation.

    `key` is what it was asked with, `protocols` what it was offered. FAILS CLOSED: an extension
    would change what frames mean, so there is none.
    """
    upgrade = [value.lower() for value in get_all(fields, b"upgrade")]
    if upgrade != [b"websocket"] or b"upgrade" not in listed(fields, b"connection"):
        raise ProtocolViolation("target", "its upgrade is not to WebSocket", "502")
    if get_all(fields, b"sec-websocket-accept") != [accept_key(key)]:
        raise ProtocolViolation("target", "Sec-WebSocket-Accept does not answer the key", "502")
    if get_all(fields, b"sec-websocket-extensions"):
        raise ProtocolViolation("target", "it uses an extension that it was not offered", "502")
    chosen = get_all(fields, b"sec-websocket-protocol")
    if len(chosen) > 1 or not set(chosen) <= set(protocols):
        raise ProtocolViolation("target", "it chose a subprotocol that it was not offered", "502")
    return chosen[0] if chosen else None


def client_fields(fields: Fields, key: bytes) -> Fields:
    """Return the fields of the 101 that answers a client's `key`, made of a target's."""
    made = [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-accept", accept_key(key)),
    ]
    return [*(field for field in fields if _goes_on(field[0])), *made]


def _goes_on(name: bytes) -> bool:
    if name == b"sec-websocket-protocol":
        return True
    return name not in _HANDSHAKE and not name.startswith(b"sec-websocket-")


def _decoded(key: bytes) -> int:
    try:
        return len(base64.b64decode(key, validate=True))
    except binascii.Error:
        return -1


def _take(leg: _Leg) -> bytes:
    due, leg.due = leg.due, []
    return b"".join(due)


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _close_payload(code: int, reason: str) -> bytes:
    """Return a close frame's payload. FAILS CLOSED: a code that may not be sent becomes 1011."""
    if code == NO_CODE:
        return b""
    text = reason.encode("utf-8", "replace")[:REASON_LIMIT].decode("utf-8", "ignore")
    try:
        return Close(code, text).serialize()
    except WebSocketException:
        return Close(UNABLE, text).serialize()


def _whole(buffer: bytearray, masked: bool, room: int) -> int:
    """Return the size of the frame that the buffer begins with; 0: it is not whole yet.

    Raises: _Failure as soon as its head is here, so that no payload is waited for in vain.
    """
    if len(buffer) < 2:
        return 0
    first, length = buffer[0], buffer[1] & 0x7F
    opcode = first & 0x0F
    if first & 0x70:
        raise _Failure(BROKEN, "a frame uses an extension")
    if opcode not in _OPCODES:
        raise _Failure(BROKEN, "a frame's opcode is not known")
    if bool(buffer[1] & 0x80) != masked:
        raise _Failure(BROKEN, "a frame is masked where it must not be, or plain where it must")
    if opcode in _CONTROL and (length > 125 or not first & 0x80):
        raise _Failure(BROKEN, "a control frame is too long, or in fragments")
    size = 2
    if length > 125:
        wide, least = (2, 126) if length == 126 else (8, 65536)
        if len(buffer) < 2 + wide:
            return 0
        size, length = 2 + wide, int.from_bytes(buffer[2 : 2 + wide], "big")
        if length < least or length >> 63:
            raise _Failure(BROKEN, "a frame's length is not told in its shortest form")
    if opcode not in _CONTROL and length > room:
        raise _Failure(TOO_LARGE, "a message is too large")
    size += length + (4 if masked else 0)
    return size if len(buffer) >= size else 0


def _parse(data: bytes, masked: bool) -> Frame:
    """Return the frame that `data` is. Raises: _Failure."""

    position = 0

    def read(count: int) -> Generator[None, None, bytes]:
        nonlocal position
        position += count
        return data[position - count : position]
        yield  # what makes it a generator, as the library wants it

    try:
        next(Frame.parse(read, mask=masked))
    except StopIteration as done:
        frame: Frame = done.value
        return frame
    except WebSocketException as error:
        raise _Failure(BROKEN, str(error)) from None
    raise _Failure(BROKEN, "a frame is cut off")
