"""Detectors of an operator's own: their definitions, as values, and what may stand in one.

A definition travels with the policy and in each mask that uses it, so that whoever carries a mask
out needs to know nothing else, and a change of it is a change of the mask.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

from sallyport.core.pattern import MAX_SIZE, Written, write

MAX_DETECTORS: Final = 64
MAX_PATTERNS: Final = 32
"""Patterns of one detector."""
MAX_WORDS: Final = 10_000
"""Words of one detector, and of all together."""
MAX_WORD: Final = 200
"""Bytes of one word."""
MAX_WORDS_SIZE: Final = 1 << 20
"""Bytes of all words of all detectors."""
MAX_CONTEXT: Final = 16
"""Words that may have to stand before a match."""
MAX_CONTEXT_WORD: Final = 32
"""Bytes of one of them."""
MAX_ALL_PLACES: Final = 1000
"""Places of all patterns of all detectors, as `core.pattern` counts them."""
MAX_ALL_SIZE: Final = 3 * MAX_SIZE
"""Instructions of all patterns of all detectors, as `core.pattern` estimates them."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)

Neighbour = Literal["word", "digit", "nothing"]
"""What must not stand next to a match; `nothing`: anything may."""
Checksum = Literal["", "luhn", "card", "iban", "mod97"]


class CustomDetector(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One detector: by `patterns` (RE2) or by `words`, which are one text with a word a line.

    `hint` is RE2 on a column's name. `context`: a match of a pattern counts only where one of these
    words stands shortly before it. `numbers`: columns of numbers are looked at too.
    """

    name: str
    patterns: tuple[str, ...] = ()
    words: str = ""
    ignore_case: bool = False
    left: Neighbour = "nothing"
    right: Neighbour = "nothing"
    hint: str = ""
    context: tuple[str, ...] = ()
    checksum: Checksum = ""
    numbers: bool = False


Wrong = tuple[str, int | None, str]
"""Which key of a definition is wrong, which entry of it, and why."""


def problems_of(detector: CustomDetector) -> Iterator[Wrong]:
    """Yield what is wrong with one definition."""
    if not _NAME.fullmatch(detector.name):
        yield "name", None, "expected a name of `a-z`, `0-9` and `-`, up to 63 characters"
    if bool(detector.patterns) == bool(detector.words):
        yield "name", None, "expected `patterns` or `words`, and not both"
        return
    yield from _of_words(detector) if detector.words else _of_patterns(detector)
    if detector.hint:
        try:
            written(detector.hint, anchors=True)
        except ValueError as error:
            yield "column_hint", None, str(error)


def _of_patterns(detector: CustomDetector) -> Iterator[Wrong]:
    if detector.ignore_case:
        yield "ignore_case", None, "`ignore_case` is about words: write `(?i)` before a pattern"
    if len(detector.patterns) > MAX_PATTERNS:
        yield "patterns", None, f"expected {MAX_PATTERNS} patterns at most"
        return
    for index, pattern in enumerate(detector.patterns):
        try:
            written(pattern)
        except ValueError as error:
            yield "patterns", index, str(error)
    if len(detector.context) > MAX_CONTEXT:
        yield "context", None, f"expected {MAX_CONTEXT} words at most"
    for index, word in enumerate(detector.context):
        if (why := _not_a_word(word, MAX_CONTEXT_WORD)) is not None:
            yield "context", index, why


def _of_words(detector: CustomDetector) -> Iterator[Wrong]:
    for key in ("context", "checksum", "numbers"):
        if getattr(detector, key):
            yield key, None, f"`{key}` is about patterns: expected no `words` beside it"
    words = detector.words.split("\n")
    if len(words) > MAX_WORDS:
        yield "words", None, f"expected {MAX_WORDS} words at most"
        return
    for index, word in enumerate(words):
        if (why := _not_a_word(word, MAX_WORD)) is not None:
            yield "words", index, why


def _not_a_word(word: str, most: int) -> str | None:
    """Return why a word cannot be looked for; None: it can."""
    if not word or word != word.strip():
        return "expected a word, without blanks at its ends"
    try:
        size = len(word.encode())
    except UnicodeEncodeError:
        return "half a character (a surrogate) is in no text"
    if size > most:
        return f"expected a word of {most} bytes at most"
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in word):
        return "a word holds a control character or a line end"
    if not any(map(str.isprintable, word)) or unicodedata.category(word[0]).startswith("M"):
        return "a word begins with a character that can be seen"
    return None


def problem_of_all(detectors: Iterable[CustomDetector]) -> str | None:
    """Return what is wrong with all definitions together; None: nothing. Each is right alone."""
    every = tuple(detectors)
    if len(every) > MAX_DETECTORS:
        return f"expected {MAX_DETECTORS} detectors at most"
    lists = [one.words for one in every if one.words]
    if sum(words.count("\n") + 1 for words in lists) > MAX_WORDS:
        return f"expected {MAX_WORDS} words at most, in all detectors together"
    if sum(len(words.encode()) for words in lists) > MAX_WORDS_SIZE:
        return f"expected {MAX_WORDS_SIZE >> 20} MiB of words at most, in all detectors together"
    patterns = [written(pattern) for one in every for pattern in one.patterns]
    if sum(one.size for one in patterns) > MAX_ALL_SIZE:
        return "the patterns of all detectors together are too large"
    if sum(one.places for one in patterns) > MAX_ALL_PLACES:
        return "the patterns of all detectors together are too large"
    return None


@lru_cache(maxsize=4096)
def written(pattern: str, *, anchors: bool = False) -> Written:
    """Return a pattern as `core.pattern.write` does, made once. Raises: ValueError."""
    return write(pattern, anchors=anchors)


def used_by(
    names: Iterable[str], known: Mapping[str, CustomDetector]
) -> tuple[CustomDetector, ...]:
    """Return the definitions that `names` stand for, each once; other names are built in."""
    return tuple(known[name] for name in dict.fromkeys(names) if name in known)
