"""Locating: where on the wire something may stand, in as few steps as that takes.

A `Prefilter` says which patterns match somewhere in a chunk. Those that ever did make one
expression, which is run over the chunk once: it finds a place under every match of each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import final

import re2

from sallyport.masking.expressions import Prefilter, Span, broadened, prefilter

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

    __slots__ = ("_cores", "_match", "_prefilter", "_seen")

    def __init__(self, cores: tuple[str, ...]) -> None:
        self._cores = cores
        self._prefilter: Prefilter = prefilter(cores)
        self._seen: set[int] = set()
        self._match: Match | None = None

    def spans(self, chunk: bytes) -> list[Span]:
        """Return where: the first byte of every true match lies in one of these, which are in order
        and do not overlap. Raises: MemoryError.

        INVARIANT: the expression only grows, by patterns that hit; so more than those of this chunk
        may be in it, never fewer. It is broadened as the prefilter is (`broadened` says why).
        """
        which = self._prefilter.which(chunk)
        if not which:
            return []
        match = self._match
        if match is None or not self._seen.issuperset(which):
            match = self._grown(which)
        found: list[Span] = []
        position = 0
        size = len(chunk)
        while position < size:
            span = match(ANYWHERE, chunk, position, size)[0]
            start, position = span
            if start < 0:
                break
            found.append(span)
        return found

    def _grown(self, which: list[int]) -> Match:
        """Return the expression of all patterns that have hit, these among them."""
        self._seen.update(which)
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = _MEMORY
        chosen = [f"(?:{broadened(self._cores[index])})" for index in sorted(self._seen)]
        self._match = quick(re2.compile("|".join(chosen), options))
        return self._match


@lru_cache(maxsize=64)
def locator(cores: tuple[str, ...]) -> Locator:
    """Return the locator of `cores`, made once."""
    return Locator(cores)
