"""Server-sent events (`text/event-stream`), event by event, as the HTML standard reads them.

Theory of operation. Lines end in CR, LF or CRLF; a blank line sends an event off. Its `data` lines
are joined by line feeds; what comes of it is looked at as JSON where it is one document, else as
text. All other lines are looked at as text, one by one. An event in which nothing is found leaves
byte for byte, and as soon as its blank line has come; of another its `data` lines stand, masked,
where the first of them stood.

FAILS CLOSED: an event of more than `LONGEST` bytes ends the stream, and so does one whose data
begins like JSON and is none, where masks name values of JSON.
What stands in two events (a model's answer, word by word) is looked at apart.
"""

from __future__ import annotations

import re
from typing import Final, final

from sallyport.core.errors import MaskingFailed
from sallyport.masking.documents.json_stream import JsonMasker
from sallyport.masking.documents.notation import Notated
from sallyport.masking.documents.terms import Terms

LONGEST: Final = 1 << 20
"""Bytes of one event."""
_LINE_COST: Final = 16
"""What a line counts for beside its bytes, since it takes more memory than these."""
_LINE: Final = re.compile(rb"([^\r\n]*+)(\r\n|\n|\r)")
_STRUCTURED: Final = re.compile(rb"\s*[\[{]")
_WORD: Final = re.compile(rb"\s*\[[A-Za-z_ ]{0,32}\]\s*")
"""What ends a stream (`[DONE]`): no JSON, and nothing that a path could name."""
_MARK: Final = b"\xef\xbb\xbf"


@final
class EventBody:
    """One stream of events."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._notated: Notated | None = terms.notated()
        self._held: list[bytes] = []
        self._size = 0
        self._lines: list[tuple[bytes, bytes]] = []
        self._event = 0
        self._first = True
        self._returned = False

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now that `data` has come. Raises: MaskingFailed."""
        out: list[bytes] = []
        if self._returned and data:
            # The line feed of a line that its return has ended already.
            self._returned = False
            if data[:1] == b"\n":
                out.append(b"\n")
                data = data[1:]
        if self._held and b"\n" not in data and b"\r" not in data and self._held[-1][-1:] != b"\r":
            self._hold(data)
            return b"".join(out)
        data = b"".join((*self._held, data))
        self._held.clear()
        self._size = 0
        position = 0
        while (line := _LINE.match(data, position)) is not None:
            text, end = line.groups()
            if text and end == b"\r" and line.end() == len(data):
                break  # a line feed may follow
            position = line.end()
            self._take(text, end, out)
            if not text and end == b"\r":
                self._returned = position == len(data)
        self._hold(data[position:])
        return b"".join(out)

    def finish(self) -> bytes:
        """Return the rest: the stream has ended, amid an event maybe. Raises: MaskingFailed."""
        rest = b"".join(self._held)
        self._held.clear()
        if rest:
            end = rest[-1:] if rest.endswith(b"\r") else b""
            self._lines.append((rest[: len(rest) - len(end)], end))
        return self._sent_off()

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._size += len(data)
        if self._size + self._event > LONGEST:
            raise _too_long()

    def _take(self, text: bytes, end: bytes, out: list[bytes]) -> None:
        self._lines.append((text, end))
        self._event += len(text) + len(end) + _LINE_COST
        if self._event > LONGEST:
            raise _too_long()
        if not text:
            out.append(self._sent_off())

    def _sent_off(self) -> bytes:
        """Return the event whose lines have come."""
        lines, self._lines, self._event = self._lines, [], 0
        mark = b""
        if self._first and lines and lines[0][0].startswith(_MARK):
            text, end = lines[0]
            lines[0] = (text[len(_MARK) :], end)
            mark = _MARK
        self._first = False
        values = [value for text, _ in lines if (value := _data(text)) is not None]
        joined = b"\n".join(values)
        masked = self._data(joined)
        out: list[tuple[bytes, bytes]] = []
        written = False
        for text, end in lines:
            if _data(text) is None:
                out.append((self._text(text), end))
            elif masked is joined:
                out.append((text, end))
            elif not written:
                written = True
                out += [(b"data: " + line, end or b"\n") for line in masked.split(b"\n")]
        return mark + (_joined(out) if written else b"".join(map(b"".join, out)))

    def _data(self, text: bytes) -> bytes:
        """Return an event's data as it may leave; the same object where nothing is found."""
        if not text:
            return text
        json = JsonMasker(self._terms, several=False)
        try:
            masked = json.feed(text) + json.finish()
        except MaskingFailed:
            named = self._terms.paths is not None
            if named and _STRUCTURED.match(text) and not _WORD.fullmatch(text):
                raise
            return self._text(text)
        return text if masked == text else masked

    def _text(self, text: bytes) -> bytes:
        if self._notated is None or not text:
            return text
        try:
            return self._notated.mask(text)
        except Exception as error:
            raise MaskingFailed(f"an event cannot be masked ({type(error).__name__})") from None


def _data(line: bytes) -> bytes | None:
    """Return what a line adds to its event's data; None: it is another field, or a comment."""
    name, _, value = line.partition(b":")
    if name != b"data":
        return None
    return value.removeprefix(b" ")


def _joined(lines: list[tuple[bytes, bytes]]) -> bytes:
    """Return lines as they are written: no return of one may meet the line feed of another."""
    out: list[bytes] = []
    for number, (text, end) in enumerate(lines):
        if end == b"\r" and lines[number + 1 : number + 2] == [(b"", b"\n")]:
            end = b"\n"
        out += (text, end)
    return b"".join(out)


def _too_long() -> MaskingFailed:
    return MaskingFailed(f"an event has more than {LONGEST} bytes")
