"""Expressions: RE2 for detectors, one at a time and many at once.

A *prefilter* looks at a whole chunk of wire bytes at once, for everything that any detector may
find. Only where it hits is a cell cut out and each detector asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import final

import re2

Span = tuple[int, int]
"""Start and end of what was found, in bytes."""

_MEMORY = 16 << 20
"""Bound of one automaton, in bytes. Reached, RE2 starts its cache anew; it gives nothing up."""


def compile_pattern(pattern: str) -> re2._Regexp:
    """Compile RE2 for bytes that hold UTF-8. Raises: ValueError."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    options.dot_nl = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"pattern does not compile: `{pattern[:80]}`") from error


def check_core(pattern: str) -> None:
    """Refuse a pattern that the prefilter cannot use. Raises: ValueError."""
    position = 0
    in_class = False
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            if pattern[position + 1 : position + 2] in ("b", "B", "A", "z", "C", ""):
                raise ValueError(f"pattern looks around itself: `{pattern[:80]}`")
            position += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
            position += pattern.startswith("^", position + 1)
            position += pattern.startswith("]", position + 1)
        elif char in "^$":
            raise ValueError(f"pattern looks around itself: `{pattern[:80]}`")
        position += 1
    if compile_pattern(pattern).search(b"") is not None:
        raise ValueError(f"pattern matches nothing at all: `{pattern[:80]}`")


def merge(spans: list[Span]) -> list[Span]:
    """Sort spans and join those that overlap."""
    spans.sort()
    out: list[Span] = []
    for start, end in spans:
        if out and start < out[-1][1]:
            if end > out[-1][1]:
                out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return out


_TOKEN = re.compile(
    r"\\[px]\{[^}]*\}|\\x[0-9A-Fa-f]{2}|\\.|\{[0-9,]+\}|\(\?[^:)]*[:)]"
    r"|(?P<set>\[\^?\]?(?:\\[px]\{[^}]*\}|\\.|[^\]\\])*\])|(?P<digit>[0-9])",
    re.DOTALL,
)
_DIGIT = re.compile("[0-9]", re.ASCII)
_ESCAPES = re.compile(r"\\[px]\{[^}]*\}|\\x[0-9A-Fa-f]{2}|\\.", re.DOTALL)


def broadened(core: str) -> str:
    """Return a pattern that matches wherever `core` does, and treats all ASCII digits alike.

    Each pattern that tells one digit from another multiplies the states that an automaton of many
    counting patterns has: random digits then cost seconds a megabyte, and so they cost nothing.
    """

    def widen(match: re.Match[str]) -> str:
        if match["digit"]:
            return "[0-9]"
        found = match["set"]
        if not found or "0-9" in found or found.startswith(("[^", "[]")):
            return match[0]
        return "[0-9" + found[1:] if _DIGIT.search(_ESCAPES.sub("", found)) else found

    return _TOKEN.sub(widen, core)


_PROBE = "\x00\x01probe\x02\x00"


@final
class Prefilter:
    """One automaton for many patterns: which of them, and where, may stand in a chunk."""

    __slots__ = ("_expressions", "_last", "_probe", "_set")

    def __init__(self, cores: Sequence[str]) -> None:
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = _MEMORY
        self._set = re2.Set.SearchSet(options)
        for core in cores:
            self._set.Add(broadened(core))
        self._set.Add(re2.escape(_PROBE))
        self._set.Compile()
        self._probe = _PROBE.encode()
        self._last = len(cores)
        self._expressions = [compile_pattern(core) for core in cores]

    def which(self, chunk: bytes) -> list[int]:
        """Return the indexes of the patterns that match somewhere in `chunk`.

        FAILS CLOSED: an automaton that runs out of memory says "nothing"; so each time a text that
        must match goes along. Raises: MemoryError when that was not found.
        """
        found = self._set.Match(chunk + self._probe)
        if found is None or self._last not in found:
            raise MemoryError("the automaton of the detectors ran out of memory")
        return [index for index in found if index != self._last]

    def hits(self, chunk: bytes) -> bool:
        """Whether anything in `chunk` may be sensitive."""
        return bool(self.which(chunk))

    def spans(self, chunk: bytes) -> list[Span]:
        """Return where: every true match overlaps one of these, which are in order."""
        found = [
            match.span()
            for index in self.which(chunk)
            for match in self._expressions[index].finditer(chunk)
        ]
        return merge(found) if found else found


@lru_cache(maxsize=64)
def prefilter(cores: tuple[str, ...]) -> Prefilter:
    """Return the prefilter of `cores`, made once."""
    return Prefilter(cores)
