"""Events to bytes and back: msgpack by msgspec, each a map whose `type` names the event.

What cannot be encoded as it is (a lone surrogate, an integer beyond 64 bits) is put on record in
a visible form instead: no input of a client's makes an event that cannot be recorded.
"""

from __future__ import annotations

import msgspec

from sallyport.core.event import RecordedEvent
from sallyport.recording.files import (
    BLOCK,
    COUNT,
    EVENT,
    EVENTS,
    Cipher,
    FormatError,
    Frame,
    split_events,
)

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(RecordedEvent)


PRODUCT = frozenset({b"audited", b"login-refused", b"journal-started", b"journal-ended"})
"""Kinds of the product's own events: they are in no session's file, even if they name one."""

_TYPE = b"\xa4type"
_count = COUNT.pack


def kind_of(payload: bytes) -> bytes:
    """Return the `type` of an encoded event, which is its first field; empty if it is none."""
    start = 6 if payload[1:6] == _TYPE else 8 if payload[3:8] == _TYPE else 0
    if not start or start >= len(payload) or payload[start] & 0xE0 != 0xA0:
        return b""
    return payload[start + 1 : start + 1 + (payload[start] & 0x1F)]


class Stamp(msgspec.Struct, gc=False):
    """What every event carries: cheap to read where the rest does not matter."""

    session: str
    at: float


_stamps = msgspec.msgpack.Decoder(Stamp)


def encode(event: RecordedEvent) -> bytes:
    """Return `event` as msgpack, whatever it holds."""
    try:
        return _encode(event)
    except (UnicodeEncodeError, OverflowError, TypeError, ValueError, RecursionError):
        return _encode(_plain(_fields(event), 0))


def decode(payload: bytes) -> RecordedEvent:
    """Read one event. Raises: FormatError."""
    try:
        event: RecordedEvent = _decoder.decode(payload)
        return event
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"event cannot be read: {error}") from None


def stamp(payload: bytes) -> Stamp:
    """Read session and time of one event. Raises: FormatError."""
    try:
        return _stamps.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"event cannot be read: {error}") from None


def payloads(frame: Frame, cipher: Cipher | None) -> list[bytes]:
    """Return the encoded events of a journal's frame, one at least. Raises: FormatError."""
    return listed(frame, cipher)[0]


def listed(frame: Frame, cipher: Cipher | None) -> tuple[list[bytes], bytes]:
    """Return the encoded events of a journal's frame, and all as a list: the body of EVENTS.

    Raises: FormatError.
    """
    kind, body = (frame.kind, frame.body) if cipher is None else unwrap(frame, cipher)
    if kind == EVENT:
        return [body], _count(len(body)) + body
    if kind == BLOCK:
        raise FormatError("encrypted frame in a plain file")
    if kind != EVENTS:
        raise FormatError(f"frame of kind {kind} does not belong in a journal")
    found = split_events(body)
    if not found:
        raise FormatError("list of events is empty")
    return found, body


def unwrap(frame: Frame, cipher: Cipher | None) -> tuple[int, bytes]:
    """Return kind and body of a frame, decrypted where the file is. Raises: FormatError.

    FAILS CLOSED: in an encrypted file a frame in the clear is none of ours.
    """
    if cipher is None:
        if frame.kind == BLOCK:
            raise FormatError("encrypted frame in a plain file")
        return frame.kind, frame.body
    if frame.kind != BLOCK:
        raise FormatError("plain frame in an encrypted file")
    kind, body = cipher.open(frame.body, frame.before)
    if kind == BLOCK:
        raise FormatError("encrypted frame within an encrypted frame")
    return kind, body


def _fields(event: RecordedEvent) -> dict[str, object]:
    tag = event.__struct_config__.tag
    fields: dict[str, object] = {"type": tag}
    for name in event.__struct_fields__:
        fields[name] = getattr(event, name)
    return fields


def _plain(value: object, depth: int) -> object:
    """Return `value` in terms that always encode, and that read back as the same event."""
    if depth > 32:
        return "..."
    if value is None or isinstance(value, (bool, float, bytes)):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, dict):
        return {str(_plain(str(k), depth)): _plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        return {name: _plain(getattr(value, name), depth + 1) for name in names}
    return _plain(str(value), depth)
