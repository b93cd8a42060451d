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

from sallyport.masking import checks, patterns
from sallyport.masking.expressions import Span, check_core, compile_pattern, merge

Group = tuple[int, int, str]
"""Digits without a separator: start and end in bytes of a run, and the digits in ASCII."""

_REJECTED = 32
"""How often, on average, a byte of a text may be part of a match that is rejected."""


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


Check = Callable[[bytes], bool]


@final
class _Search:
    """One pattern of a detector, and which of its groups is the secret (0: all of it)."""

    __slots__ = ("expression", "group", "least")

    def __init__(self, pattern: str) -> None:
        expression = compile_pattern(pattern)
        self.group = min(int(expression.groups), 1)
        if self.group and pattern.startswith("(") and not pattern.startswith("(?"):
            inner = pattern[1:-1]
            if _balanced(inner):
                # Without a group RE2 needs no more than its automaton.
                expression = compile_pattern(inner)
                self.group = 0
        self.expression = expression
        self.least = 4


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


@final
class PatternDetector:
    """Finds what one of its patterns matches and `check` accepts.

    The first group that took part is what is sensitive; without groups the whole match is. `left`
    and `right` name what must not stand next to the span: `word` (ASCII letters and digits),
    `digit`, or empty for no condition.

    FAILS CLOSED: where so much was rejected for its neighbours that looking on would take more than
    linear time, the rest is accepted without that question.
    """

    __slots__ = (
        "_check",
        "_expression",
        "_hinted",
        "_left",
        "_right",
        "core",
        "hint",
        "hinted_core",
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
        self._expression = [_Search(pattern) for pattern in core]
        self._hinted = self._expression + [_Search(pattern) for pattern in hinted_core]

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found: list[Span] = []
        for search in self._hinted if hinted else self._expression:
            self._search(search, data, found)
        return merge(found) if len(found) > 1 else found

    def _search(self, search: _Search, data: bytes, found: list[Span]) -> None:
        expression = search.expression
        group = search.group
        position = 0
        last = len(data) - search.least
        budget = _REJECTED * (len(data) + 4096)
        while position <= last:
            match = expression.search(data, position)
            if match is None:
                return
            begin, after = match.span()
            start, end = match.span(group)
            if self._accepts(data, start, end) or budget < 0:
                found.append((start, end))
                position = after
            else:
                position = begin + 1
                budget -= after - begin

    def _accepts(self, data: bytes, start: int, end: int) -> bool:
        if self._left == "word" and _joined(data, start):
            return False
        if self._left and start and data[start - 1 : start].isdigit():
            return False
        after = data[end : end + 1]
        if self._right and (after.isdigit() or (self._right == "word" and after.isalpha())):
            return False
        return self._check is None or self._check(data[start:end])


@final
class DigitsDetector:
    """Finds numbers with a checksum among digits, however they are grouped.

    A run of digits with separators is cut into its groups; every stretch of whole groups with as
    many digits as `sizes` allows is put to `check`. `shapes` are the groupings that count (empty:
    any), so that a date before a number is not taken for its beginning. `core`: a plainer pattern
    for the prefilter than what follows from these.
    """

    __slots__ = (
        "_check",
        "_hinted_only",
        "_run",
        "_shapes",
        "_sizes",
        "core",
        "hint",
        "hinted_core",
        "name",
        "numbers",
    )

    def __init__(
        self,
        name: str,
        sizes: tuple[int, int],
        check: Callable[[str], bool],
        *,
        shapes: Sequence[tuple[int, ...]] = (),
        separator: str = patterns.S,
        core: Sequence[str] = (),
        hint: str = "",
        numbers: bool = True,
    ) -> None:
        rest = f"(?:{separator}{{0,3}}{patterns.D}){{{sizes[0] - 1}"
        self.name = name
        self.core = (
            tuple(core)
            or tuple(
                f"{separator}{{1,3}}".join(f"{patterns.D}{{{size}}}" for size in shape)
                for shape in shapes
            )
            or (patterns.D + rest + "}",)
        )
        self.hint = hint
        self.hinted_core: tuple[str, ...] = ()
        self.numbers = numbers
        self._sizes = sizes
        self._check = check
        self._shapes = tuple(shapes)
        self._run = compile_pattern(patterns.D + rest + ",}")

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found: list[Span] = []
        position = 0
        while True:
            match = self._run.search(data, position)
            if match is None:
                return found
            start, position = match.span()
            if not _is_fraction(data, start):
                self._search(data, start, position, found)

    def _search(self, data: bytes, start: int, end: int, found: list[Span]) -> None:
        groups = _groups(data[start:end])
        first = 0
        while first < len(groups):
            last = self._shaped(groups, first) if self._shapes else self._free(groups, first)
            if last >= 0:
                found.append((start + groups[first][0], start + groups[last][1]))
                first = last
            first += 1

    def _shaped(self, groups: list[Group], first: int) -> int:
        """Return the last group of a number that begins with this one; -1 without one."""
        size = len(groups[first][2])
        for shape in self._shapes:
            if shape[0] != size or first + len(shape) > len(groups):
                continue
            taken = groups[first : first + len(shape)]
            if any(len(group[2]) != count for group, count in zip(taken, shape, strict=True)):
                continue
            if self._check("".join(group[2] for group in taken)):
                return first + len(shape) - 1
        return -1

    def _free(self, groups: list[Group], first: int) -> int:
        least, most = self._sizes
        digits = ""
        best = -1
        for last in range(first, len(groups)):
            digits += groups[last][2]
            if len(digits) > most:
                break
            if len(digits) >= least and self._check(digits):
                best = last
        return best


def _is_fraction(data: bytes, start: int) -> bool:
    """Whether the digits at `start` are the decimals of a number: `0.52345...`."""
    if start < 2 or data[start - 1] != 46 or not 48 <= data[start - 2] <= 57:
        return False
    before = data[max(0, start - 13) : start - 1]
    return not (len(before) == 12 and before.isdigit())


def _groups(run: bytes) -> list[Group]:
    """Cut a run into its groups of digits: start and end in bytes, and the digits in ASCII."""
    groups: list[Group] = []
    start = offset = 0
    digits = ""
    for char in run.decode("utf-8", "replace"):
        value = ord(char) - 48 if char.isascii() else unicodedata.decimal(char, -1)
        size = 1 if char.isascii() else len(char.encode())
        if 0 <= value <= 9:
            if not digits:
                start = offset
            digits += chr(48 + value)
        elif digits:
            groups.append((start, offset, digits))
            digits = ""
        offset += size
    if digits:
        groups.append((start, offset, digits))
    return groups


@final
class SeveralDetector:
    """A detector made of two: what either finds."""

    __slots__ = ("_parts", "core", "hint", "hinted_core", "name", "numbers")

    def __init__(self, first: DigitsDetector, second: PatternDetector) -> None:
        self._parts = (first, second)
        self.name = first.name
        self.core = first.core + second.core
        self.hint = first.hint
        self.hinted_core = second.hinted_core
        self.numbers = first.numbers

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        first, second = self._parts
        return merge(first.find(data, hinted) + second.find(data, hinted))


@final
class IbanDetector:
    """Finds IBANs, in one piece or in groups, upper or lower case."""

    __slots__ = ("_head", "core", "hint", "hinted_core", "name", "numbers")

    def __init__(self) -> None:
        # What follows the two check digits: the first eight characters, by the registry.
        countries = "|".join(checks.IBAN_LENGTHS)
        body = f"(?:{patterns.S}{{0,3}}[A-Za-z0-9])"
        digit = f"(?:{patterns.S}{{0,3}}{patterns.D})"
        head = f"{patterns.S}{{0,3}}{patterns.D}{{2}}"
        lettered = "(?i:" + "|".join(_LETTERED) + ")"
        plain_countries = "(?i:" + "|".join(c for c in countries.split("|") if c not in _LETTERED)
        self.name = "iban"
        self.core = (
            f"{plain_countries}){head}{digit}{{5}}{body}{{6}}",
            f"{lettered}{head}{body}{{11}}",
        )
        self.hint = ""
        self.hinted_core: tuple[str, ...] = ()
        self.numbers = False
        self._head = compile_pattern("|".join(self.core))

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found: list[Span] = []
        position = 0
        while True:
            match = self._head.search(data, position)
            if match is None:
                return found
            end = self._end(data, match.start())
            if end:
                found.append((match.start(), end))
            position = end or match.start() + 1

    def _end(self, data: bytes, start: int) -> int:
        """Return where the IBAN that begins at `start` ends; 0 when there is none."""
        length = checks.IBAN_LENGTHS[data[start : start + 2].decode("ascii").upper()]
        text = ""
        offset = start
        for char in data[start : start + 8 * length].decode("utf-8", "ignore"):
            offset += len(char.encode())
            text += plain(char.encode())
            if len(text) == length:
                return offset if checks.iban(text) else 0
        return 0


_LETTERED = tuple(
    "AZ BG BH BY CR DO GB GE GI GT IE IQ IT JO KW KZ LB LC LV MD MK MT MU NI NL OM PK PS QA RO RU "
    "SA SC SM SV TR UA VG".split()
)
"""Countries whose first five characters after the check digits may be letters."""


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
