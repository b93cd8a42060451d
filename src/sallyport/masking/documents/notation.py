"""Notations: what texts write in another way than they mean, so that it hides nothing.

A text is searched as it stands, and once more with its escapes undone: references of HTML and XML
(`&#64;`, `&commat;`), percent-encoding, and the escapes of JavaScript and JSON (`\\u0040`,
`\\x40`). What is found there is hidden where it stands: the escapes and all. One level is undone:
what was escaped twice is found only where the detectors' own patterns know it.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, final
from urllib.parse import unquote_to_bytes

from sallyport.masking.content import Content, Hit, Rule, join_hits
from sallyport.masking.expressions import Span, merge
from sallyport.masking.transforms import Transform, span

_ESCAPE: Final = re.compile(
    rb"&(?:\#0*[0-9]{1,7};?|\#[xX]0*[0-9a-fA-F]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};?)"
    rb"|%[0-9A-Fa-f]{2}"
    rb"|\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
    rb"|\\u[0-9A-Fa-f]{4}|\\u\{0*[0-9A-Fa-f]{1,6}\}|\\x[0-9A-Fa-f]{2}"
)
_FORM: Final = re.compile(_ESCAPE.pattern + rb"|\+")
_RESERVED: Final = re.compile(rb"[&<>\"'%\\+=#?;,]|[\x00-\x1f]")


def _meaning(match: re.Match[bytes]) -> bytes:
    """Return what an escape stands for."""
    escape = match[0]
    if escape == b"+":
        return b" "
    if escape[:1] == b"&":
        return html.unescape(escape.decode("ascii")).encode("utf-8", "replace")
    if escape[:1] == b"%":
        return bytes((int(escape[1:], 16),))
    if len(escape) == 12:
        high, low = int(escape[2:6], 16), int(escape[8:], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).encode()
    code = int(escape[2:].strip(b"{}"), 16)
    return chr(code).encode("utf-8", "replace") if code < 0x110000 else escape


def undone(data: bytes) -> bytes:
    """Return a text with its escapes undone, to be searched."""
    return _ESCAPE.sub(_meaning, data)


@final
class Notated:
    """Detectors over texts with escapes. `word` as in `transforms.span`; `plus`: `+` is a blank.

    INVARIANT: of a text without escapes it finds what its `Content` finds.
    """

    __slots__ = ("_content", "_escape", "_key", "_word")

    def __init__(
        self, content: Content, key: bytes, *, word: bool = False, plus: bool = False
    ) -> None:
        self._content = content
        self._key = key
        self._word = word
        self._escape = _FORM if plus else _ESCAPE

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules of what is looked for."""
        return self._content.rules

    @property
    def content(self) -> Notated:
        """Itself, as streams ask for it."""
        return self

    def spans(self, data: bytes) -> list[Span]:
        """Return where something may stand, as `Content.spans` does."""
        found = self._content.spans(data)
        if self._escape.search(data) is None:
            return found
        plain, starts, places = self._undo(data)
        return merge(found + [_back(span, starts, places) for span in self._content.spans(plain)])

    def hits(self, data: bytes, name: bytes = b"") -> list[Hit]:
        """Return what is found, in order, without overlaps. `name` as in `Content.named_hits`."""
        found = self._content.named_hits(data, name)
        if self._escape.search(data) is None:
            return found
        plain, starts, places = self._undo(data)
        for hit in self._content.named_hits(plain, name):
            start, end = _back((hit.start, hit.end), starts, places)
            found.append(Hit(start, end, hit.name, hit.transform))
        return join_hits(found)

    def _undo(self, data: bytes) -> tuple[bytes, list[int], list[tuple[int, int, bool]]]:
        """Return the text that is meant, and where its parts begin in it and stand in `data`.

        Of an escape the whole stands for each of its bytes.
        """
        parts: list[bytes] = []
        starts: list[int] = []
        places: list[tuple[int, int, bool]] = []
        size = position = 0
        for match in self._escape.finditer(data):
            start, end = match.span()
            for part, place in (
                (data[position:start], (position, start, False)),
                (_meaning(match), (start, end, True)),
            ):
                if part:
                    parts.append(part)
                    starts.append(size)
                    places.append(place)
                    size += len(part)
            position = end
        parts.append(data[position:])
        starts.append(size)
        places.append((position, len(data), False))
        return b"".join(parts), starts, places

    def render(self, data: bytes, found: Sequence[Hit], start: int, end: int) -> bytes:
        """Return `data[start:end]` with the matches `found` replaced, as far as they lie there."""
        out: list[bytes] = []
        last = start
        for hit in found:
            if hit.end > last and hit.start < end:
                out.append(data[last : hit.start])
                out.append(self._hidden(data[hit.start : hit.end], hit))
                last = hit.end
        out.append(data[last:end])
        return b"".join(out)

    def _hidden(self, match: bytes, hit: Hit) -> bytes:
        """Return what stands for a match: no part of an escape, and none that would be needed."""
        plain = self._escape.sub(_meaning, match)
        made = span(plain, hit.name, hit.transform, self._key, self._word)
        if hit.transform is Transform.PARTIAL and plain != match:
            return _RESERVED.sub(b"*", made)
        return made

    def mask(self, data: bytes, name: bytes = b"") -> bytes:
        """Return a text with each match replaced; `data` itself when there is none."""
        found = self.hits(data, name)
        return self.render(data, found, 0, len(data)) if found else data


def _back(at: Span, starts: list[int], places: list[tuple[int, int, bool]]) -> Span:
    """Return where a span of the text that is meant stands in what was written."""
    begin, _, whole = places[bisect_right(starts, at[0]) - 1]
    first = begin if whole else begin + at[0] - starts[bisect_right(starts, at[0]) - 1]
    begin, last, whole = places[bisect_right(starts, at[1] - 1) - 1]
    return first, last if whole else begin + at[1] - starts[bisect_right(starts, at[1] - 1) - 1]


def unplussed(data: bytes) -> bytes:
    """Return what a part of a form means: percent-encoding undone, and `+` for a blank."""
    return unquote_to_bytes(data.replace(b"+", b" "))
