"""Globs: the one pattern language of policy and masking, in linear time.

`*` is any run of characters (dots too: an identifier may hold one), `?` is one character,
`{a,b}` is one of several patterns (they nest), and a backslash takes the next character as it is.
Case counts. Everything else stands for itself, `[` as well. Compiled to RE2, so that no pattern of
a user's can take more than linear time on any input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import final

import re2

GLOB_LIMIT = 1024
"""Longest pattern, in characters."""
_DEPTH_LIMIT = 8
_NAME = re.compile(r"(?:[^*?{}\\]|\\.)*", re.DOTALL)
"""A pattern that matches one text alone."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def glob_of(*names: str) -> str:
    """Return a glob that means these very names, with dots between them."""
    return ".".join(re.sub(r"([*?{},\\])", r"\\\1", name) for name in names)


def translate(pattern: str, separators: str = "") -> str:
    """Return the RE2 expression that matches what the glob `pattern` matches, without anchors.

    `*` and `?` match none of `separators`, and `**` does.
    Raises: ValueError for a pattern that is too long, nests too deep or leaves a brace open.
    """
    if len(pattern) > GLOB_LIMIT:
        raise ValueError(f"glob is longer than {GLOB_LIMIT} characters: `{pattern[:40]}...`")
    one = f"[^{''.join(map(_literal, separators))}]" if separators else "."
    out: list[str] = []
    depth = 0
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            rest = pattern[position:].lstrip("*")
            many = len(pattern) - len(rest) > position
            position = len(pattern) - len(rest)
            out.append(".*" if many else f"{one}*")
        elif char == "?":
            out.append(one)
        elif char == "{":
            depth += 1
            if depth > _DEPTH_LIMIT:
                raise ValueError(f"braces nest deeper than {_DEPTH_LIMIT}: `{pattern}`")
            out.append("(?:")
        elif char == "}":
            depth -= 1
            if depth < 0:
                raise ValueError(f"`}}` without `{{` in glob `{pattern}`")
            out.append(")")
        elif char == "," and depth:
            out.append("|")
        elif char == "\\":
            if position == len(pattern):
                raise ValueError(f"glob ends in a backslash: `{pattern}`")
            out.append(_literal(pattern[position]))
            position += 1
        else:
            out.append(_literal(char))
    if depth:
        raise ValueError(f"`{{` without `}}` in glob `{pattern}`")
    return "".join(out)


def _literal(char: str) -> str:
    if (char.isalnum() and char.isascii()) or char == "_":
        return char
    return f"\\x{{{ord(char):x}}}"


@final
class Globs:
    """Several globs as one matcher: whether any of them matches the whole of a text.

    FAILS CLOSED: no pattern matches nothing. Raises: ValueError for a bad pattern.
    """

    __slots__ = ("_exact", "_expression", "patterns")

    def __init__(self, patterns: Iterable[str], separators: str = "") -> None:
        self.patterns = tuple(patterns)
        exact: set[str] = set()
        rest: list[str] = []
        for pattern in self.patterns:
            expression = translate(pattern, separators)
            name = _NAME.fullmatch(pattern)
            if name is None:
                rest.append(f"(?:{expression})")
            else:
                exact.add(_ESCAPE.sub(r"\1", pattern))
        self._exact = frozenset(exact)
        self._expression = None
        if rest:
            options = re2.Options()
            options.log_errors = False
            options.dot_nl = True
            options.never_capture = True
            try:
                self._expression = re2.compile("|".join(rest), options)
            except re2.error as error:
                raise ValueError(f"globs are too large together: `{self.patterns[0]}`") from error

    def matches(self, text: str) -> bool:
        """Whether any of the patterns matches all of `text`."""
        if text in self._exact:
            return True
        if self._expression is None:
            return False
        raw = text.encode("utf-8", "surrogatepass")
        return self._expression.fullmatch(raw) is not None


@final
class Glob:
    """One glob. Raises: ValueError for a bad pattern."""

    __slots__ = ("_globs", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._globs = Globs((pattern,))

    def matches(self, text: str) -> bool:
        """Whether the pattern matches all of `text`."""
        return self._globs.matches(text)
