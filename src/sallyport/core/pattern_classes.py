"""Classes of characters, as patterns have them: read in any of RE2's forms, written in one."""

from __future__ import annotations

from typing import Final, final

SURROGATES: Final = (0xD800, 0xDFFF)
ENDS: Final = (0, 10)
"""What no match holds."""
ENDLESS: Final = r"\x{0}\x{A}"
WIDE: Final = 1300
"""Instructions of a class of Unicode's letters, at most, by case or not."""
NARROW: Final = 20
"""Instructions of what holds all but a few characters, and of a few that are not ASCII."""

POSIX: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": ((48, 57),),
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}


def literal(code: int) -> str:
    """Return a character as RE2 reads it, in a class or beside one."""
    char = chr(code)
    return char if char.isascii() and char.isalnum() else f"\\x{{{code:X}}}"


@final
class Members:
    """What stands in a class."""

    def __init__(self, negated: bool) -> None:
        self._negated = negated
        self._inside: list[str] = []
        self._others: list[str] = []
        self._size = 0
        self.wide = False

    def add(self, low: int, high: int) -> None:
        """Add a range; without the characters that no match may hold."""
        if high < low:
            raise ValueError("a range in a class ends before it begins")
        if low == high and low in ENDS and not self._negated:
            raise ValueError("no match may hold a line end or a NUL: a line is looked at by itself")
        pieces = [(low, high)]
        for gap_low, gap_high in ((0, 0), (10, 10), SURROGATES):
            pieces = [
                part
                for start, end in pieces
                for part in ((start, min(end, gap_low - 1)), (max(start, gap_high + 1), end))
                if part[0] <= part[1]
            ]
        for piece in dict.fromkeys(pieces):
            self._inside.append(between(*piece))
            self._size += 1 if piece[1] < 128 else NARROW

    def among(self, inner: str) -> None:
        """Add what is written so in a class."""
        self._inside.append(inner)
        self._size += 4

    def without(self, inner: str, spelled: str) -> None:
        """Add all but what is written so; RE2 spells it `spelled` in a class."""
        if self._negated:
            self._inside.append(spelled)
        else:
            self._others.append(f"[^{inner}{ENDLESS}]")

    def written(self) -> tuple[str, int]:
        """Return the class as RE2 gets it, and about how large it is."""
        size = (WIDE if self.wide else 0) + self._size + NARROW * len(self._others)
        if self._negated:
            return f"[^{''.join(self._inside)}{ENDLESS}]", size + NARROW
        parts = [f"[{''.join(self._inside)}]"] if self._inside else []
        parts += self._others
        if not parts:
            raise ValueError("a class holds nothing that could match")
        return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})", size


def between(low: int, high: int) -> str:
    """Return a range of characters as it stands in a class."""
    return literal(low) if low == high else f"{literal(low)}-{literal(high)}"
