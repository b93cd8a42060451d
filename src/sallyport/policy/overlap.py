"""Could a glob match a name of which only the beginning is known?

For `*` among the exposed columns of a relation: which of them are meant is not known, so that every
mask that could name one of them counts. The globs are those of `core.globs`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

MAXIMUM_LENGTH: Final = 512
MAXIMUM_ALTERNATIVES: Final = 256

ANY: Final = object()
ONE: Final = object()
Token = str | object


def expand(glob: str) -> list[list[Token]]:
    """Return the glob's alternatives, each as its characters, ANY and ONE. Raises: ValueError."""
    if not glob or len(glob) > MAXIMUM_LENGTH:
        raise ValueError(f"expected a glob of 1 to {MAXIMUM_LENGTH} characters, not `{glob[:40]}`")
    patterns, end = _sequence(glob, 0, depth=0)
    if end != len(glob):
        raise ValueError(f"unbalanced `}}` in glob `{glob}`")
    return patterns


def _sequence(glob: str, at: int, depth: int) -> tuple[list[list[Token]], int]:
    """Read up to the end, or to the `,` or `}` that ends this alternative."""
    done: list[list[Token]] = [[]]
    while at < len(glob):
        character = glob[at]
        if character == "{":
            choices, at = _choices(glob, at + 1, depth + 1)
            done = [left + right for left in done for right in choices]
            if len(done) > MAXIMUM_ALTERNATIVES:
                raise ValueError(f"more than {MAXIMUM_ALTERNATIVES} alternatives in glob `{glob}`")
            continue
        if character == "}" or (character == "," and depth):
            return done, at
        if character == "\\":
            at += 1
            if at == len(glob):
                raise ValueError(f"nothing follows the `\\` in glob `{glob}`")
        token = {"*": ANY, "?": ONE}.get(character, glob[at])
        for pattern in done:
            pattern.append(token)
        at += 1
    return done, at


def _choices(glob: str, at: int, depth: int) -> tuple[list[list[Token]], int]:
    """Read `a,b}`; return its alternatives and where it ended."""
    if depth > 8:
        raise ValueError(f"braces too deep in glob `{glob}`")
    choices: list[list[Token]] = []
    while True:
        some, at = _sequence(glob, at, depth)
        choices.extend(some)
        if at == len(glob):
            raise ValueError(f"unbalanced `{{` in glob `{glob}`")
        if glob[at] == "}":
            return choices, at + 1
        at += 1


class Below:
    """Globs of which is asked whether they could match anything under a name."""

    __slots__ = ("_names", "_patterns")

    def __init__(self, globs: Iterable[str]) -> None:
        names: list[str] = []
        self._patterns: list[list[Token]] = []
        for tokens in (tokens for glob in globs for tokens in expand(glob)):
            plain = [token for token in tokens if isinstance(token, str)]
            if len(plain) == len(tokens):
                names.append("".join(plain))
            else:
                self._patterns.append(tokens)
        self._names = sorted(names)

    def may_match(self, prefix: str) -> bool:
        """Whether any name that begins with `prefix` and goes on could match."""
        place = bisect_right(self._names, prefix)
        if place < len(self._names) and self._names[place].startswith(prefix):
            return True
        return any(_continues(tokens, prefix) for tokens in self._patterns)


def _continues(tokens: list[Token], prefix: str) -> bool:
    """Run the pattern over `prefix` alone: is a state left that wants at least one more?"""
    states = _closure({0}, tokens)
    for character in prefix:
        after: set[int] = set()
        for state in states:
            if state == len(tokens):
                continue
            token = tokens[state]
            if token is ANY:
                after.add(state)
            elif token is ONE or token == character:
                after.add(state + 1)
        states = _closure(after, tokens)
        if not states:
            return False
    return any(state < len(tokens) for state in states)


def _closure(states: set[int], tokens: list[Token]) -> set[int]:
    closed = set(states)
    for state in sorted(states):
        while state < len(tokens) and tokens[state] is ANY:
            state += 1
            closed.add(state)
    return closed
