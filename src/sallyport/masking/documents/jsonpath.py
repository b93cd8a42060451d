"""JSONPath: which values of a document a mask names, told while the document streams by.

A subset of RFC 9535: `$`, `.name`, `['name']`, `[*]`, `.*`, `[n]`, and all of these after `..`.
Negative indexes, slices, filters and unions are not in it: whether they match can be told only
when the document has ended, or takes more than a glance.

Theory of operation. A *place* is the set of (path, segments matched so far) that hold of a value.
One step into an object or array makes the next place; a place where a path is matched to its end
is chosen. Places are few and steps between them are remembered, so that a record like those before
it costs a look into a dictionary for each of its keys.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, final

MOST_SEGMENTS: Final = 32
_LONGEST: Final = 500
_KNOWN: Final = 4096
"""Steps that are remembered, and places."""
_BOUND: Final = 64
"""Bytes of a key that is remembered."""

_NAME: Final = re.compile(r"[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff-]*")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_QUOTED: Final = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(['\"\\/])")


class Segment(NamedTuple):
    """One step of a path. `name` or `place`, or neither: any child. `deep`: at any depth below."""

    name: str | None = None
    place: int | None = None
    deep: bool = False


def parse(text: str) -> tuple[Segment, ...]:
    """Return the segments of a path. Raises: ValueError, which says where it is none."""
    if not text.startswith("$"):
        raise ValueError(f"expected a path such as `$.user.email`, not `{text[:80]}`")
    if len(text) > _LONGEST:
        raise ValueError(f"a path is {_LONGEST} characters at most")
    out: list[Segment] = []
    position = 1
    while position < len(text):
        segment, position = _segment(text, position)
        out.append(segment)
    if len(out) > MOST_SEGMENTS:
        raise ValueError(f"a path has {MOST_SEGMENTS} steps at most: `{text[:80]}`")
    return tuple(out)


def _segment(text: str, position: int) -> tuple[Segment, int]:
    """Return the segment that begins at `position`, and where it ends."""
    deep = text.startswith("..", position)
    dotted = deep or text[position] == "."
    position += 2 if deep else int(dotted)
    if text.startswith("[", position) and (deep or not dotted):
        return _bracketed(text, position + 1, deep)
    if not dotted:
        raise _wrong(text, position, "`.name`, `..name` or `[...]`")
    if text.startswith("*", position):
        return Segment(deep=deep), position + 1
    name = _NAME.match(text, position)
    if name is None:
        raise _wrong(text, position, "a name or `*` (other names as `['a name']`)")
    return Segment(name[0], deep=deep), name.end()


def _bracketed(text: str, position: int, deep: bool) -> tuple[Segment, int]:
    quoted = _QUOTED.match(text, position)
    index = _INDEX.match(text, position)
    if text.startswith("*", position):
        segment, end = Segment(deep=deep), position + 1
    elif quoted is not None:
        inner = quoted[1] if quoted[1] is not None else quoted[2]
        if "\\" in _ESCAPED.sub("", inner):
            raise _wrong(text, position, "no escapes but of quotes and backslashes")
        segment, end = Segment(_ESCAPED.sub(r"\1", inner), deep=deep), quoted.end()
    elif index is not None:
        segment, end = Segment(place=int(index[0]), deep=deep), index.end()
    else:
        raise _wrong(text, position, "`*`, a quoted name or an index from 0")
    if not text.startswith("]", end):
        raise _wrong(text, end, "`]` (one name or index; no slices, filters, unions)")
    return segment, end + 1


def _wrong(text: str, position: int, expected: str) -> ValueError:
    return ValueError(f"expected {expected} at character {position + 1} of path `{text[:80]}`")


def problem_of_path(text: str) -> str | None:
    """Return what is wrong with a path; None: nothing."""
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None


@final
class Place:
    """Where in a document a value stands. `chosen`: the numbers of the paths that name it.

    `indexed`: which of its elements it is counts for what comes next. `names`: those of its members
    that come next on a path; None: any does. `deep`: what is below its other members may be named,
    too. `ends`: nothing below it can be.
    """

    __slots__ = ("chosen", "deep", "ends", "indexed", "names", "states", "steps")

    def __init__(
        self,
        states: frozenset[tuple[int, int]],
        chosen: tuple[int, ...],
        indexed: bool,
        names: frozenset[str] | None,
        deep: bool,
    ) -> None:
        self.states = states
        self.chosen = chosen
        self.indexed = indexed
        self.names = names
        self.deep = deep
        self.ends = len(states) == len(chosen)
        self.steps: dict[bytes | int, Place] = {}


@final
class Paths:
    """Several paths at once. Raises: ValueError for one that is none."""

    __slots__ = ("_paths", "_places", "_remembered", "root")

    def __init__(self, texts: Sequence[str]) -> None:
        self._paths = [parse(text) for text in texts]
        self._places: dict[frozenset[tuple[int, int]], Place] = {}
        self._remembered = 0
        self.root = self._place(frozenset((number, 0) for number in range(len(self._paths))))

    def _place(self, states: frozenset[tuple[int, int]]) -> Place:
        known = self._places.get(states)
        if known is None:
            chosen = sorted(p for p, matched in states if matched == len(self._paths[p]))
            pending = [self._paths[p][m] for p, m in states if m < len(self._paths[p])]
            indexed = any(segment.place is not None for segment in pending)
            names: frozenset[str] | None = None
            if not any(segment.name is None and segment.place is None for segment in pending):
                names = frozenset(one.name for one in pending if one.name is not None)
            deep = any(segment.deep for segment in pending)
            known = Place(states, tuple(chosen), indexed, names, deep)
            if len(self._places) < _KNOWN:
                self._places[states] = known
        return known

    def member(self, place: Place, name: bytes) -> Place:
        """Return the place of an object's member; `name` is its key, decoded, in UTF-8."""
        known = place.steps.get(name)
        if known is None:
            known = self._step(place, name.decode("utf-8", "surrogatepass"), None)
            if len(name) <= _BOUND:
                self._remember(place, name, known)
        return known

    def element(self, place: Place, index: int) -> Place:
        """Return the place of an array's element."""
        key = index if place.indexed else -1
        known = place.steps.get(key)
        if known is None:
            known = self._step(place, None, key)
            self._remember(place, key, known)
        return known

    def _remember(self, place: Place, key: bytes | int, to: Place) -> None:
        if self._remembered >= _KNOWN:
            self._remembered = 0
            for each in (self.root, *self._places.values()):
                each.steps.clear()
        self._remembered += 1
        place.steps[key] = to

    def _step(self, place: Place, name: str | None, index: int | None) -> Place:
        states: set[tuple[int, int]] = set()
        for number, matched in place.states:
            path = self._paths[number]
            if matched == len(path):
                continue
            segment = path[matched]
            if segment.deep:
                states.add((number, matched))
            wanted = segment.name is None and segment.place is None
            if segment.name is not None:
                wanted = segment.name == name
            elif segment.place is not None:
                wanted = segment.place == index
            if wanted:
                states.add((number, matched + 1))
        return self._place(frozenset(states))
