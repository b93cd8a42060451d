"""A strict reader of message bodies, and what every builder needs.

Bodies come whole from a `Splitter`. Whatever does not fit exactly (a missing NUL, a negative
count, a byte too many, a name that is not UTF-8) is a violation of the side that sent it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NoReturn, final

from sallyport.core.errors import ProtocolViolation

_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")
_UINT32 = struct.Struct(">I")
_HEADER = struct.Struct(">Bi")


@final
class Reader:
    """Reads one body from front to back. Every method raises ProtocolViolation where it ends."""

    __slots__ = ("_body", "_position", "_side", "_what")

    def __init__(self, body: bytes, side: str, what: str) -> None:
        self._body = body
        self._position = 0
        self._side = side
        self._what = what

    def fail(self, why: str) -> NoReturn:
        """Blame the side that sent this. Raises: ProtocolViolation."""
        raise ProtocolViolation(self._side, f"malformed `{self._what}`: {why}")

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._body) - self._position

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        start = self._skip(count)
        return self._body[start : start + count]

    def _skip(self, count: int) -> int:
        """Consume the next `count` bytes; return where they begin."""
        start = self._position
        if count < 0 or count > len(self._body) - start:
            self.fail("it is too short")
        self._position = start + count
        return start

    def int8(self) -> int:
        """Return one byte."""
        return self._body[self._skip(1)]

    def int16(self) -> int:
        """Return a signed 16-bit number."""
        number: int = _INT16.unpack_from(self._body, self._skip(2))[0]
        return number

    def int32(self) -> int:
        """Return a signed 32-bit number."""
        number: int = _INT32.unpack_from(self._body, self._skip(4))[0]
        return number

    def uint32(self) -> int:
        """Return an unsigned 32-bit number (an oid, a process id)."""
        number: int = _UINT32.unpack_from(self._body, self._skip(4))[0]
        return number

    def count(self, width: int) -> int:
        """Return a 16-bit number of items of at least `width` bytes each, that can be here."""
        count = self.int16()
        if count < 0:
            self.fail(f"negative count `{count}`")
        if count * width > self.left:
            self.fail(f"count `{count}` is more than its bytes hold")
        return count

    def raw(self) -> bytes:
        """Return bytes up to the next NUL, which is consumed."""
        end = self._body.find(0, self._position)
        if end < 0:
            self.fail("a string has no end")
        raw = self._body[self._position : end]
        self._position = end + 1
        return raw

    def text(self) -> str:
        """Return a NUL-terminated UTF-8 string."""
        try:
            return self.raw().decode("utf-8")
        except UnicodeDecodeError:
            self.fail("a string is not UTF-8")

    def value(self) -> bytes | None:
        """Return an int32 length and that many bytes; None for -1."""
        length = self.int32()
        if length < 0:
            if length == -1:
                return None
            self.fail(f"negative length `{length}`")
        return self.take(length)

    def formats(self) -> tuple[int, ...]:
        """Return a counted list of format codes, each 0 (text) or 1 (binary)."""
        count = self.count(2)
        if not count:
            return ()
        formats = tuple([self.int16() for _ in range(count)])
        for code in formats:
            if code not in (0, 1):
                self.fail(f"unknown format code `{code}`")
        return formats

    def end(self) -> None:
        """Demand that nothing is left."""
        if self.left:
            self.fail(f"{self.left} bytes too many")


def message(type: int, body: bytes = b"") -> bytes:
    """Return a whole message of `type`."""
    return _HEADER.pack(type, len(body) + 4) + body


def string(text: str) -> bytes:
    """Return `text` as the protocol's NUL-terminated string.

    FAILS CLOSED: a NUL inside would end it early and make the rest mean something else.
    Raises: ValueError.
    """
    raw = text.encode("utf-8")
    if 0 in raw:
        raise ValueError("a NUL cannot stand inside a string")
    return raw + b"\0"


def int16(number: int) -> bytes:
    """Return a signed 16-bit number."""
    return _INT16.pack(number)


def int32(number: int) -> bytes:
    """Return a signed 32-bit number."""
    return _INT32.pack(number)


def uint32(number: int) -> bytes:
    """Return an unsigned 32-bit number."""
    return _UINT32.pack(number)


def value(raw: bytes | None) -> bytes:
    """Return a length and bytes; None becomes -1."""
    return b"\xff\xff\xff\xff" if raw is None else _INT32.pack(len(raw)) + raw


def formats(codes: Sequence[int]) -> bytes:
    """Return a counted list of format codes."""
    return int16(len(codes)) + b"".join(int16(code) for code in codes)
