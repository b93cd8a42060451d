"""Text as a person must see it: nothing in it may hide, reorder or redraw what stands beside it.

What is approved is what runs, so an approver reads the whole text with every control, bidi and
invisible character spelled out; a recorded byte never reaches a terminal as a command.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

_KEPT = frozenset("\n\t ")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")


def visible(text: str) -> str:
    """Return `text` with what would not be seen as it is written as `<U+202E>`.

    Line feeds and tabs stay. Letters of other scripts stay too: they are seen.
    """
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if _shows(c) else f"<U+{ord(c):04X}>" for c in text)


def shows(text: str) -> bool:
    """Whether every character of `text` is seen as it is, line feeds and tabs not counted."""
    return all(_shows(c) and c not in "\n\t" for c in text)


def counted(number: int, what: str) -> str:
    """Return a number with its noun: `1 row`, `2 rows`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def lasting(seconds: float) -> str:
    """Return how long that is, as people write it: `90s`, `45m`, `2h`."""
    for length, unit in ((3600, "h"), (60, "m")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def quoted(text: str) -> str:
    """Return `text` in quotes that nothing in it ends: what somebody says poses as nothing else."""
    return visible(json.dumps(text, ensure_ascii=False))


def acting(subject: str, actors: Sequence[str]) -> str:
    """Return a subject with the chain of those who act for it, the nearest first."""
    return f"{subject} by {', '.join(actors)}" if actors else subject


def person(name: str) -> str:
    """Return the form of `name` in which two spellings of one person are equal.

    FAILS CLOSED: names that differ by case, compatibility forms or kinds of dashes count as one
    person, which can only make a quorum harder to reach.
    """
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join("-" if _is_dash(c) else c for c in plain).strip()


def _is_dash(character: str) -> bool:
    return unicodedata.category(character) == "Pd" or character == "\u2212"


def _shows(character: str) -> bool:
    if character in _KEPT:
        return True
    if character in _INVISIBLE or unicodedata.category(character) in _HIDDEN_CATEGORIES:
        return False
    code = ord(character)
    return not (0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF)
