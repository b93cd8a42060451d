"""Locating: where on the wire something may stand, in as few steps as that takes.

A `Prefilter` says which patterns match somewhere in a chunk; each of these is run over it, without
groups and without the objects that re2 makes of every match.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import final

import re2

from sallyport.masking.expressions import Prefilter, Span, merge, prefilter

Match = Callable[[object, bytes, int, int], list[Span]]
"""RE2's search: anchor, text, begin, end. The spans of the match and its groups; -1 for none."""
ANYWHERE: object = re2._Anchor.UNANCHORED

_MEMORY = 16 << 20


def quick(expression: re2._Regexp) -> Match:
    """Return RE2's own search, without the generator and the object that re2 makes for each."""
    match: Match = expression._regexp.Match
    return match


@final
class Locator:
    """Finds where any of many patterns may match in a chunk."""

    __slots__ = ("_cores", "_matches", "_prefilter")

    def __init__(self, cores: tuple[str, ...]) -> None:
        self._cores = cores
        self._prefilter: Prefilter = prefilter(cores)
        self._matches: dict[int, Match] = {}

    def spans(self, chunk: bytes) -> list[Span]:
        """Return where: every true match overlaps one of these, which are in order. They do not
        overlap each other. Raises: MemoryError.

        One pattern at a time: an expression of several would have to tell whose match began first,
        and that costs a text of random digits a thousand times as much.
        """
        found: list[Span] = []
        size = len(chunk)
        which = self._prefilter.which(chunk)
        for index in which:
            match = self._matches.get(index) or self._compiled(index)
            position = 0
            while position < size:
                span = match(ANYWHERE, chunk, position, size)[0]
                start, position = span
                if start < 0:
                    break
                found.append(span)
        return merge(found) if len(which) > 1 else found

    def _compiled(self, index: int) -> Match:
        """Return the search for one pattern. Without groups RE2 needs its automaton only."""
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = _MEMORY
        match = self._matches[index] = quick(re2.compile(self._cores[index], options))
        return match


@lru_cache(maxsize=64)
def locator(cores: tuple[str, ...]) -> Locator:
    """Return the locator of `cores`, made once."""
    return Locator(cores)
