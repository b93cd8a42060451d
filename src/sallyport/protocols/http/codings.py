"""Codings: a body's Content-Encoding undone, piece by piece (RFC 9110, section 8.4).

Theory of operation. However much a body grows when it is decoded, no piece is larger than `PIECE`,
and no decoder holds more than its window and one piece: zlib and brotli are asked for so much at a
time; zstd, which gives all that its input holds, is given one block at a time (128 KiB decoded, by
its format). How much comes in all is for whoever takes the pieces to bound.

FAILS CLOSED: a body that is cut off, that something follows, or that is no such coding is a
MaskingFailed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol, final

import brotli  # type: ignore[import-untyped,unused-ignore]
import zstandard

from sallyport.core.errors import MaskingFailed

PIECE: Final = 64 << 10
"""Most bytes of one piece."""
_SLICE: Final = 4 << 10
"""Bytes that zlib is given at once: what it leaves is copied each time."""
_WINDOW: Final = 8 << 20
"""The largest window of zstd, in bytes (RFC 9659)."""
_BLOCK: Final = 128 << 10
_SKIPPED: Final = b"\x2a\x4d\x18"
_MOST: Final = 3
"""Codings on top of each other."""
_AUTO_GZIP: Final = 16 + zlib.MAX_WBITS


class Decoder(Protocol):
    """Undoes the coding of one body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to, in pieces; it has to be read to its end.

        Raises: MaskingFailed.
        """

    def finish(self) -> None:
        """The body has ended. Raises: MaskingFailed where it is cut off."""


def decoders(coding: str) -> Decoder | None:
    """Return what undoes a Content-Encoding; None: it is not known, or too many are listed."""
    names = [name.strip().lower() for name in coding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > _MOST or not all(name in _KNOWN for name in names):
        return None
    made = [_KNOWN[name]() for name in reversed(names)]
    return made[0] if len(made) == 1 else _Chain(made)


@final
class _Chain:
    """Several codings, the one that was applied last first; of none, nothing is done."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to. Raises: MaskingFailed."""
        return self._through(data, 0)

    def _through(self, data: bytes, number: int) -> Iterator[bytes]:
        if number == len(self._decoders):
            for start in range(0, len(data), PIECE):
                yield data[start : start + PIECE]
            return
        for piece in self._decoders[number].feed(data):
            yield from self._through(piece, number + 1)

    def finish(self) -> None:
        """The body has ended. Raises: MaskingFailed where it is cut off."""
        for each in self._decoders:
            each.finish()


@final
class _Zlib:
    """`gzip` (of several members, too), and `deflate`, with zlib's head or without one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._head = b""
        self._decoder: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to. Raises: MaskingFailed."""
        for start in range(0, len(data), _SLICE):
            yield from self._slice(data[start : start + _SLICE])

    def _slice(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._decoder is None:
                self._head += data
                if len(self._head) < 2:
                    return
                data, self._head = self._head, b""
                self._decoder = zlib.decompressobj(self._bits(data))
            elif self._decoder.eof:
                if self._name != "gzip":
                    raise _bad(self._name, "has something behind it")
                self._decoder = None
                continue
            try:
                piece = self._decoder.decompress(data, PIECE)
            except zlib.error:
                raise _bad(self._name, "does not decode") from None
            if piece:
                yield piece
            decoder = self._decoder
            data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            while not data and not decoder.eof and len(piece) == PIECE:
                # It may hold more than it was asked for, though it has taken all.
                piece = decoder.decompress(b"", PIECE)
                data = decoder.unused_data if decoder.eof else b""
                if piece:
                    yield piece

    def _bits(self, head: bytes) -> int:
        if self._name == "gzip":
            return _AUTO_GZIP
        wrapped = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
        return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS

    def finish(self) -> None:
        """The body has ended. Raises: MaskingFailed where it is cut off."""
        if self._head or (self._decoder is not None and not self._decoder.eof):
            raise _bad(self._name, "is cut off")


@final
class _Brotli:
    """`br` (RFC 7932)."""

    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to. Raises: MaskingFailed."""
        for start in range(0, len(data), _SLICE):
            yield from self._slice(data[start : start + _SLICE])

    def _slice(self, data: bytes) -> Iterator[bytes]:
        self._begun = True
        decoder = self._decoder
        while True:
            if decoder.is_finished():
                raise _bad("br", "has something behind it")
            try:
                piece = decoder.process(data, output_buffer_limit=PIECE)
            except brotli.error:
                raise _bad("br", "does not decode") from None
            data = b""
            for begin in range(0, len(piece), PIECE):
                yield piece[begin : begin + PIECE]
            if decoder.is_finished():
                return
            if decoder.can_accept_more_data() and len(piece) < PIECE:
                return

    def finish(self) -> None:
        """The body has ended. Raises: MaskingFailed where it is cut off."""
        if self._begun and not self._decoder.is_finished():
            raise _bad("br", "is cut off")


@final
class _Zstd:
    """`zstd` (RFC 8878): frames, each of blocks, whose sizes are read so that no more is given."""

    def __init__(self) -> None:
        self._held = b""
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._left = 0
        self._final = False
        self._checked = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to. Raises: MaskingFailed."""
        for start in range(0, len(data), _SLICE):
            yield from self._slice(data[start : start + _SLICE])

    def _slice(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._left:
                part, data = data[: self._left], data[self._left :]
                self._left -= len(part)
            else:
                taken = self._wanted() - len(self._held)
                self._held += data[:taken]
                data = data[taken:]
                if len(self._held) < self._wanted():
                    continue
                part, self._held = self._held, b""
                self._head(part)
            yield from self._decoded(part)
            if self._final and not self._left:
                self._end()

    def _wanted(self) -> int:
        """Return how many bytes the head has that comes next, as far as that can be told."""
        held = self._held
        if self._frame is not None:
            return 3
        if len(held) < 5:
            return 5
        if held[1:4] == _SKIPPED and held[0] & 0xF0 == 0x50:
            return 8
        mark = held[4]
        single = mark >> 5 & 1
        size = (single, 2, 4, 8)[mark >> 6]
        return 5 + (1 - single) + (0, 1, 2, 4)[mark & 3] + size

    def _head(self, head: bytes) -> None:
        """The head of a frame or block has come."""
        if self._frame is not None:
            word = int.from_bytes(head, "little")
            kind, size = word >> 1 & 3, word >> 3
            if kind == 3 or size > _BLOCK:
                raise _bad("zstd", "does not decode")
            self._final = bool(word & 1)
            self._left = 1 if kind == 1 else size
            if self._final and self._checked:
                self._left += 4
        elif head[1:4] == _SKIPPED and head[0] & 0xF0 == 0x50:
            self._left = int.from_bytes(head[4:8], "little")
        elif head[:4] == zstandard.FRAME_HEADER:
            self._checked = bool(head[4] & 4)
            self._frame = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        else:
            raise _bad("zstd", "does not decode")

    def _decoded(self, part: bytes) -> Iterator[bytes]:
        if self._frame is None:
            return
        try:
            made = self._frame.decompress(part)
        except zstandard.ZstdError:
            raise _bad("zstd", "does not decode") from None
        for start in range(0, len(made), PIECE):
            yield made[start : start + PIECE]

    def _end(self) -> None:
        if self._frame is not None and not self._frame.eof:
            raise _bad("zstd", "does not decode")
        self._frame = None
        self._final = False

    def finish(self) -> None:
        """The body has ended. Raises: MaskingFailed where it is cut off."""
        if self._held or self._left or self._frame is not None:
            raise _bad("zstd", "is cut off")


def _bad(coding: str, what: str) -> MaskingFailed:
    return MaskingFailed(f"a body in `{coding}` {what}")


_KNOWN: Final[dict[str, Callable[[], Decoder]]] = {
    "gzip": lambda: _Zlib("gzip"),
    "x-gzip": lambda: _Zlib("gzip"),
    "deflate": lambda: _Zlib("deflate"),
    "br": _Brotli,
    "zstd": _Zstd,
}
