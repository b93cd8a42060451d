"""Finders: the ways in which a detector finds its content.

Every one has a `core`, patterns without any look at their surroundings, which the prefilter uses;
`find` reports nothing in a text where no core matches. Checksums, number plans and neighbours are
asked by `find` alone. A new detector is an object with the attributes of `Detector`;
`PatternDetector` makes one from RE2 patterns.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Protocol, final

import re2

from sallyport.masking.expressions import Span, check_core, compile_pattern, merge
from sallyport.masking.locate import ANYWHERE, Match, quick

_REJECTED = 32
"""How often, on average, a byte of a text may be part of a match that is rejected."""
_FREE = 4096
"""So many bytes are granted to every text, however short it is."""
_LEAST = 4
"""No match of a detector that comes with Sallyport is shorter, in bytes."""
CONTEXT = 100
"""Bytes before a match in which a word that it needs may stand; less than a stream keeps."""


class Detector(Protocol):
    """Finds one kind of content in UTF-8 text.

    INVARIANT: `find(data, hinted)` is empty unless one of `core` (or, hinted, `hinted_core`)
    matches inside `data`; these hold no assertions and never match empty.
    """

    @property
    def name(self) -> str: ...
    @property
    def core(self) -> tuple[str, ...]: ...
    @property
    def hinted_core(self) -> tuple[str, ...]:
        """What more is looked for in a column whose name speaks for it."""

    @property
    def hint(self) -> str:
        """RE2 on a column's name, in lower case; empty: no name matters."""

    @property
    def numbers(self) -> bool:
        """Whether a column of numbers may hold it, without a hint."""

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""


class Parted(Protocol):
    """A detector that also looks at many texts as one, as those here all do."""

    def find_apart(self, data: bytes, hinted: bool) -> list[Span] | None:
        """Return what `find` returns for each of the texts that NULs keep apart in `data`.

        None when that cannot be told; then each is asked about alone.
        """


Check = Callable[[bytes], bool]


@final
class _Search:
    """One pattern of a detector, and which of its groups is the secret (0: all of it)."""

    __slots__ = ("group", "least", "match")

    def __init__(self, pattern: str, least: int) -> None:
        expression = compile_pattern(pattern)
        self.group = min(int(expression.groups), 1)
        if self.group and pattern.startswith("(") and not pattern.startswith("(?"):
            inner = pattern[1:-1]
            if _balanced(inner):
                # Without a group RE2 needs no more than its automaton.
                expression = compile_pattern(inner)
                self.group = 0
        self.match: Match = quick(expression)
        self.least = least


def _balanced(pattern: str) -> bool:
    """Whether the parentheses of `pattern` are its own."""
    depth = 0
    for char in _NEUTRAL.sub("", pattern):
        depth += (char == "(") - (char == ")")
        if depth < 0:
            return False
    return depth == 0


_NEUTRAL = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""What holds parentheses that group nothing: escapes and classes."""


def plain(data: bytes) -> str:
    """Return the letters (upper case) and digits of `data`, those of other scripts as ASCII."""
    if data.isascii():
        return "".join(filter(str.isalnum, data.decode("ascii"))).upper()
    out: list[str] = []
    for char in data.decode("utf-8", "replace"):
        digit = unicodedata.decimal(char, -1)
        if digit >= 0:
            out.append(chr(48 + digit))
        elif char.isascii() and char.isalnum():
            out.append(char.upper())
    return "".join(out)


def _joined(data: bytes, start: int) -> bool:
    """Whether an ASCII letter or digit stands before `start`, so that a token began earlier.

    The letter of an escape (`\\n` in a quoted text) is no letter.
    """
    if start == 0 or not data[start - 1 : start].isalnum():
        return False
    return data[start - 2 : start - 1] != b"\\" if start > 1 else True


def _before(data: bytes, start: int) -> bytes:
    """Return what stands shortly before `start`, on its line and in its text."""
    near = data[max(0, start - CONTEXT) : start]
    return near[max(near.rfind(b"\n"), near.rfind(b"\0")) + 1 :]


@final
class PatternDetector:
    """Finds what one of its patterns matches and `check` accepts.

    The first group that took part is what is sensitive; without groups the whole match is. `left`
    and `right` name what must not stand next to the span: `word` (ASCII letters and digits),
    `digit`, or empty for no condition. `context`: a pattern which has to match shortly before the
    span, on its line, but where the column's name speaks for it. `least`: no match is shorter than
    that, in bytes.

    FAILS CLOSED: where so much was rejected for its neighbours that looking on would take more than
    linear time, the rest is accepted without that question.
    """

    __slots__ = (
        "_check",
        "_context",
        "_expression",
        "_free",
        "_hinted",
        "_left",
        "_right",
        "core",
        "hint",
        "hinted_core",
        "least",
        "name",
        "numbers",
    )

    def __init__(
        self,
        name: str,
        core: Sequence[str],
        *,
        check: Check | None = None,
        left: str = "",
        right: str = "",
        hint: str = "",
        hinted_core: Sequence[str] = (),
        numbers: bool = False,
        context: str = "",
        least: int = _LEAST,
    ) -> None:
        for pattern in (*core, *hinted_core):
            check_core(pattern)
        self.name = name
        self.core = tuple(core)
        self.hint = hint
        self.hinted_core = tuple(hinted_core)
        self.numbers = numbers
        self._check = check
        self._left = left
        self._right = right
        self.least = least
        self._context = compile_pattern(context) if context else None
        self._free = check is None and not left and not right
        self._expression = [_Search(pattern, least) for pattern in core]
        self._hinted = self._expression + [_Search(pattern, least) for pattern in hinted_core]

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found: list[Span] = []
        for search in self._hinted if hinted else self._expression:
            self._search(search, data, found, hinted)
        return merge(found) if len(found) > 1 else found

    def find_apart(self, data: bytes, hinted: bool) -> list[Span] | None:
        """Return what `find` returns for each of the texts that NULs keep apart in `data`.

        None when it cannot be told: a match holds a NUL, or is so short or so much was rejected
        that how long the one text is would have counted.
        """
        found: list[Span] = []
        for search in self._hinted if hinted else self._expression:
            if not self._search_apart(search, data, found, hinted):
                return None
        return merge(found) if len(found) > 1 else found

    def _search_apart(self, search: _Search, data: bytes, found: list[Span], hinted: bool) -> bool:
        match, group, least = search.match, search.group, search.least
        context = None if hinted else self._context
        free = self._free and context is None
        position = 0
        size = len(data)
        budget = _REJECTED * _FREE
        while position < size:
            spans = match(ANYWHERE, data, position, size)
            begin, after = spans[0]
            if begin < 0:
                return True
            if after - begin < least or data.find(b"\0", begin, after) >= 0:
                return False
            start, end = spans[group]
            if free or self._accepts(data, start, end, context):
                found.append((start, end))
                position = after
            else:
                position = begin + 1
                budget -= after - begin
                if budget < 0:
                    return False
        return True

    def _search(self, search: _Search, data: bytes, found: list[Span], hinted: bool) -> None:
        match, group = search.match, search.group
        context = None if hinted else self._context
        position = 0
        size = len(data)
        last = size - search.least
        budget = _REJECTED * (size + _FREE)
        while position <= last:
            spans = match(ANYWHERE, data, position, size)
            begin, after = spans[0]
            if begin < 0:
                return
            start, end = spans[group]
            if self._accepts(data, start, end, context) or budget < 0:
                found.append((start, end))
                position = after
            else:
                position = begin + 1
                budget -= after - begin

    def _accepts(self, data: bytes, start: int, end: int, context: re2._Regexp | None) -> bool:
        if self._left == "word" and _joined(data, start):
            return False
        if self._left and start and data[start - 1 : start].isdigit():
            return False
        after = data[end : end + 1]
        if self._right and (after.isdigit() or (self._right == "word" and after.isalpha())):
            return False
        if context is not None and context.search(_before(data, start)) is None:
            return False
        return self._check is None or self._check(data[start:end])


@final
class BlockDetector:
    """Finds what reaches from a begin line to an end line; without one, to the end of the text."""

    __slots__ = ("_begin", "_ends", "_lines", "core", "hint", "hinted_core", "name", "numbers")

    def __init__(self, name: str, blocks: Sequence[tuple[str, str]], lines: Sequence[str]) -> None:
        self.name = name
        self.core = (*(begin for begin, _ in blocks), *lines)
        self.hint = ""
        self.hinted_core: tuple[str, ...] = ()
        self.numbers = False
        self._begin = [compile_pattern(begin) for begin, _ in blocks]
        self._ends = [compile_pattern(end) for _, end in blocks]
        self._lines = PatternDetector(name, lines)

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found = self._lines.find(data, hinted)
        for begin, end in zip(self._begin, self._ends, strict=True):
            position = 0
            while True:
                opened = begin.search(data, position)
                if opened is None:
                    break
                closed = end.search(data, opened.end())
                position = len(data) if closed is None else closed.end()
                found.append((opened.start(), position))
        return merge(found)

    def find_apart(self, data: bytes, hinted: bool) -> list[Span] | None:
        """Return what `find` returns for each of the texts that NULs keep apart in `data`.

        None when a block begins, since it may reach to the end of its text.
        """
        if any(begin.search(data) is not None for begin in self._begin):
            return None
        return self._lines.find_apart(data, hinted)

    def opened(self, data: bytes) -> tuple[int, int, int]:
        """Return where the first block begins that `data` does not end, where its begin line ends,
        and which kind it is; -1 for all when there is none."""
        first = (-1, -1, -1)
        for kind, (begin, end) in enumerate(zip(self._begin, self._ends, strict=True)):
            position = 0
            while True:
                opened = begin.search(data, position)
                if opened is None:
                    break
                closed = end.search(data, opened.end())
                if closed is None:
                    if first[0] < 0 or opened.start() < first[0]:
                        first = (int(opened.start()), int(opened.end()), kind)
                    break
                position = closed.end()
        return first

    def end_of(self, kind: int, data: bytes) -> int:
        """Return where a block of this kind ends in `data`; -1 when it does not."""
        match = self._ends[kind].search(data)
        return -1 if match is None else int(match.end())
