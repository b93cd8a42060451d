"""Streams: detectors over text that arrives in pieces, with bounded memory.

Theory of operation. A line is looked at when it is whole, since but for key blocks no pattern
reaches over a line end. Lines in which no pattern matches at all leave many at once. A line longer
than `WINDOW` is looked at in windows: its first part leaves, up to `HOLD` bytes before the window's
end, or to the edge of a match that stands there; the rest waits. What has left is kept a little
longer as context (`CONTEXT`), so that a word before a number still counts. A key block that its
line does not end is swallowed up to its end line.

INVARIANT: what leaves depends on the bytes alone, never on how they were cut into pieces.
A match longer than `HOLD` that shows what it is only at its end (a password in a URL) is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

from sallyport.core.errors import MaskingFailed
from sallyport.masking.content import Hit, Rule
from sallyport.masking.expressions import Span
from sallyport.masking.finders import BlockDetector

WINDOW = 64 << 10
"""Most that is held, in bytes (and what one `feed` brings)."""
HOLD = 4096
CONTEXT = 128
_MARK = 160
"""Longer than any end line of a key block."""
_TOKEN = bytes(byte for byte in range(256) if chr(byte).isalnum() or byte in b"._~%+=/-@")


class Searched(Protocol):
    """What finds and hides in a piece of text: `Content`, or what stands before one."""

    @property
    def rules(self) -> Sequence[Rule]: ...
    def spans(self, data: bytes) -> list[Span]: ...
    def hits(self, data: bytes) -> list[Hit]: ...
    def render(self, data: bytes, found: Sequence[Hit], start: int, end: int) -> bytes: ...


class Masker(Protocol):
    """What has detectors for texts: a `TextMasker`, or what stands in its place."""

    @property
    def content(self) -> Searched: ...


@final
class StreamMasker:
    """One stream of text through the detectors of a `TextMasker`."""

    __slots__ = ("_block", "_blocks", "_content", "_context", "_parts", "_size", "_swallowing")

    def __init__(self, masker: Masker) -> None:
        self._content: Searched = masker.content
        blocks = [rule.detector for rule in self._content.rules]
        self._blocks = [block for block in blocks if isinstance(block, BlockDetector)]
        self._block: tuple[BlockDetector, int] | None = None
        self._context = b""
        self._parts: list[bytes] = []
        self._size = 0
        self._swallowing = False

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now that `data` has come. Raises: MaskingFailed."""
        self._parts.append(data)
        self._size += len(data)
        if b"\n" not in data and self._size < WINDOW and self._block is None:
            return b""
        return self._advance(last=False)

    def finish(self) -> bytes:
        """Return the rest: the stream has ended. Raises: MaskingFailed."""
        return self._advance(last=True)

    def _advance(self, last: bool) -> bytes:
        try:
            return self._emit(b"".join(self._parts), last)
        except Exception as error:
            raise MaskingFailed(f"a stream cannot be masked ({type(error).__name__})") from None

    def _emit(self, data: bytes, last: bool) -> bytes:
        out: list[bytes] = []
        position, size = 0, len(data)
        whole = data.rfind(b"\n") + 1
        spans = self._content.spans(data[:whole]) if whole else []
        place = 0
        while position < size:
            if self._block is not None:
                rest, over = self._within(data[position:], self._block)
                position = size - len(rest)
                if not over:
                    break
                continue
            if self._swallowing:
                position = size - len(data[position:].lstrip(_TOKEN))
                if position == size:
                    break
                self._swallowing = False
            while place < len(spans) and spans[place][1] <= position:
                place += 1
            if not self._context:
                # Nothing can stand in the lines before the next span.
                limit = spans[place][0] if place < len(spans) else whole
                quiet = data.rfind(b"\n", position, max(limit, position)) + 1
                if quiet > position:
                    out.append(data[position:quiet])
                    position = quiet
                    continue
            taken = self._next(data, position, last, out)
            if not taken:
                break
            position += taken
        self._parts = [data[position:]]
        self._size = size - position
        return b"".join(out)

    def _next(self, data: bytes, position: int, last: bool, out: list[bytes]) -> int:
        """Mask the next line or window; return how much was taken, 0: it is not all there."""
        size = len(data) - position
        length = data.find(b"\n", position) + 1 - position
        if 0 < length <= WINDOW or (last and length <= 0 and size <= WINDOW):
            taken = self._line(data[position : position + (length if length > 0 else size)], out)
            self._context = b""
            return taken
        if size >= WINDOW:
            return self._window(data[position : position + WINDOW], out)
        return 0

    def _within(self, data: bytes, opened: tuple[BlockDetector, int]) -> tuple[bytes, bool]:
        """Return what follows the block that is open, and True.

        While it stays open: what may be the beginning of its end, and False.
        """
        block, kind = opened
        end = block.end_of(kind, data)
        if end < 0:
            return data[-_MARK:], False
        self._block = None
        self._context = b""
        return data[end:], True

    def _opened(self, data: bytes, limit: int, out: list[bytes]) -> int:
        """Begin a block that `data` (context and text) leaves open before `limit`.

        Returns how much of the text that took; -1 when there is none.
        """
        offset = len(self._context)
        for block in self._blocks:
            start, body, kind = block.opened(data)
            if offset <= start < limit:
                found = [hit for hit in self._content.hits(data) if hit.start < start]
                out.append(self._content.render(data, found, offset, start))
                out.append(f"[redacted:{block.name}]".encode())
                self._block = (block, kind)
                return body - offset
        return -1

    def _line(self, line: bytes, out: list[bytes]) -> int:
        """Mask a whole line (or the last one); return how much of it was taken."""
        data = self._context + line
        taken = self._opened(data, len(data), out)
        if taken >= 0:
            return taken
        offset = len(self._context)
        out.append(
            self._content.render(data, _clip(self._content.hits(data), offset), offset, len(data))
        )
        return len(line)

    def _window(self, window: bytes, out: list[bytes]) -> int:
        """Mask the beginning of a line that is too long; return how much of it was taken."""
        data = self._context + window
        offset = len(self._context)
        cut = len(data) - HOLD
        taken = self._opened(data, cut, out)
        if taken >= 0:
            return taken
        while cut > offset + 1 and data[cut] & 0xC0 == 0x80:
            cut -= 1
        found = _clip(self._content.hits(data), offset)
        for hit in found:
            if hit.start < cut < hit.end:
                if hit.end < len(data):
                    cut = hit.end
                elif hit.start > offset:
                    cut = hit.start
                else:
                    cut = hit.end
                    self._swallowing = True
        out.append(self._content.render(data, found, offset, cut))
        self._context = data[:cut][-CONTEXT:]
        return cut - offset


def _clip(found: list[Hit], offset: int) -> list[Hit]:
    """Return the matches as far as they lie behind `offset`: what has left cannot be masked."""
    return [
        hit if hit.start >= offset else Hit(offset, hit.end, hit.name, hit.transform)
        for hit in found
        if hit.end > offset
    ]
