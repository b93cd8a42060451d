"""Numbers: the finders of what is told by a checksum, however its digits are grouped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import final

from sallyport.masking import checks, patterns
from sallyport.masking.expressions import Span, compile_pattern, merge
from sallyport.masking.finders import PatternDetector, plain
from sallyport.masking.locate import ANYWHERE, Match, quick

Group = tuple[int, int, str]
"""Digits without a separator: start and end in bytes of a run, and the digits in ASCII."""


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
        "_parted",
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
        self._run: Match = quick(compile_pattern(patterns.D + rest + ",}"))
        self._parted = compile_pattern(separator).search(b"\0") is None

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found: list[Span] = []
        match = self._run
        position = 0
        size = len(data)
        while position < size:
            start, position = match(ANYWHERE, data, position, size)[0]
            if start < 0:
                break
            if not _is_fraction(data, start):
                self._search(data, start, position, found)
        return found

    def find_apart(self, data: bytes, hinted: bool) -> list[Span] | None:
        """Return what `find` returns for each of the texts that NULs keep apart in `data`."""
        return self.find(data, hinted) if self._parted else None

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


_DIGITS = re.compile(rb"[0-9]+")


def _groups(run: bytes) -> list[Group]:
    """Cut a run into its groups of digits: start and end in bytes, and the digits in ASCII."""
    if run.isdigit():
        return [(0, len(run), run.decode("ascii"))]
    if run.isascii():
        return [
            (match.start(), match.end(), match[0].decode("ascii"))
            for match in _DIGITS.finditer(run)
        ]
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

    def find_apart(self, data: bytes, hinted: bool) -> list[Span] | None:
        """Return what `find` returns for each of the texts that NULs keep apart in `data`."""
        one = self._parts[0].find_apart(data, hinted)
        other = self._parts[1].find_apart(data, hinted)
        return None if one is None or other is None else merge(one + other)


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
        self._head: Match = quick(compile_pattern("|".join(self.core)))

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        return self._find(data, False)

    def find_apart(self, data: bytes, hinted: bool) -> list[Span] | None:
        """Return what `find` returns for each of the texts that NULs keep apart in `data`."""
        return self._find(data, True)

    def _find(self, data: bytes, apart: bool) -> list[Span]:
        found: list[Span] = []
        match = self._head
        position = 0
        size = len(data)
        while position < size:
            start = match(ANYWHERE, data, position, size)[0][0]
            if start < 0:
                break
            stop = data.find(b"\0", start) if apart else -1
            end = self._end(data, start, size if stop < 0 else stop)
            if end:
                found.append((start, end))
            position = end or start + 1
        return found

    def _end(self, data: bytes, start: int, stop: int) -> int:
        """Return where the IBAN that begins at `start` ends; 0 when there is none before `stop`."""
        length = checks.IBAN_LENGTHS[data[start : start + 2].decode("ascii").upper()]
        text = ""
        offset = start
        for char in data[start : min(start + 8 * length, stop)].decode("utf-8", "ignore"):
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
