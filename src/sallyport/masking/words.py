"""Words: the finder of what stands in a dictionary, however it is composed, and in any case.

Theory of operation. Each character has a *form*: itself decomposed (NFD), without its case where
that does not count. A text's form is that of its characters, one after the other; a word is found
where a stretch of whole characters has the word's form. `core` is a trie of the words' first
characters, each with everything that has its form, so it matches wherever a word begins. What
stands there is looked up: how many words there are costs next to nothing.

A word's neighbour may be no letter or digit, of any script. Scripts that are written without
blanks between words know no such neighbours.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import final

from sallyport.core.pattern_classes import literal
from sallyport.masking.expressions import Span, compile_pattern
from sallyport.masking.locate import ANYWHERE, Match, quick

_DEPTH = 8
"""Characters of a word's form that `core` knows at most: enough that little else begins so."""
_SPENT = 20_000
"""Instructions that `core` may take, about."""
_LINKED = 10
"""Characters of a form that may be composed in ways that overlap (`ff`, `ffi`); of more, as in a
long row of one letter, `core` knows the first alone."""
_WIDE = 300
"""Instructions that may come next at one place of `core`."""
FORMED = (range(0x3400), range(0xA640, 0x17000), range(0x1AFF0, 0x20000), range(0x2F800, 0x30000))
"""Where all characters are that have another form than their own."""
_UNSPACED = (
    (0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x1950, 0x19FF),
    (0x1A20, 0x1AAF), (0x2E80, 0x31FF), (0x3400, 0xA4CF), (0xA960, 0xA97F), (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0xFF66, 0xFFDC), (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)  # fmt: skip
"""Thai, Lao, Tibetan, Myanmar, Khmer, Tai, Kana, Bopomofo, Han, Yi, Hangul."""

Joins = Callable[[str], bool]
"""Whether a character continues a word."""


def _letters(char: str) -> bool:
    if not char.isalnum():
        return False
    code = ord(char)
    return code < 0x0E00 or not any(low <= code <= high for low, high in _UNSPACED)


def _nothing(char: str) -> bool:
    return False


JOINS: dict[str, Joins] = {"word": _letters, "digit": str.isdecimal, "nothing": _nothing}


@lru_cache(maxsize=8192)
def form_of(char: str, fold: bool) -> str:
    """Return a character's form: at least one character."""
    plain = unicodedata.normalize("NFD", char)
    return unicodedata.normalize("NFD", plain.casefold()) if fold else plain


def forms(word: str, fold: bool) -> set[str]:
    """Return a word's forms: of each spelling of it that Unicode calls the same."""
    if word.isascii():
        return {word.lower() if fold else word}
    spelled = {word, *(unicodedata.normalize(form, word) for form in ("NFC", "NFD"))}
    return {"".join(form_of(char, fold) for char in each) for each in spelled}


def spellings(codes: Iterable[int], fold: bool) -> dict[str, str]:
    """Return by form, of one character or more, the characters that have it; but for itself."""
    out: dict[str, str] = {}
    for code in codes:
        char = chr(code)
        plain = unicodedata.normalize("NFD", char)
        form = unicodedata.normalize("NFD", plain.casefold()) if fold else plain
        if form != char and not 0xD800 <= code < 0xE000:
            out[form] = out.get(form, "") + char
    return out


@lru_cache(maxsize=2)
def _spellings(fold: bool) -> dict[str, str]:
    return spellings(itertools.chain(*FORMED), fold)


@final
class _Speller:
    """Cuts a word's form into units, each with all that may stand for it in a text."""

    def __init__(self, fold: bool) -> None:
        self._fold = fold
        self._known = _spellings(fold)
        self._longest = max(map(len, self._known))
        self._begins = frozenset(form[:2] for form in self._known if len(form) > 1)
        self._written: dict[str, str] = {}

    def unit(self, form: str) -> tuple[str, int]:
        """Return a pattern for what a form begins with, and how many characters of it that is."""
        end = 1
        reached = 0 if form[:2] in self._begins else 1
        while reached < end:
            end = max(end, *(reached + len(each) for each in self._at(form, reached)))
            reached += 1
            if end > _LINKED:
                return _among(self.begin(form)[0]), len(form)
        part = form[:end]
        known = self._written.get(part)
        if known is None:
            known = self._written[part] = self._unit(part)
        return known, end

    def begin(self, form: str) -> tuple[set[str], set[str]]:
        """Return the characters that a text of this form may begin with, and those that may
        follow; among them the empty text, where none has to.
        """
        first: set[str] = set()
        second: set[str] = set()
        for part in self._at(form, 0):
            chars = self._those(part)
            first.update(chars)
            rest = form[len(part) :]
            if chars and rest:
                second.update(*(self._those(each) for each in self._at(rest, 0)))
            elif chars:
                second.add("")
        return first, second

    def _at(self, form: str, start: int) -> list[str]:
        """Return what begins here and is the form of single characters."""
        found = [form[start]]
        if form[start : start + 2] in self._begins:
            found += [
                form[start : start + size]
                for size in range(2, self._longest + 1)
                if start + size <= len(form) and form[start : start + size] in self._known
            ]
        return found

    def _unit(self, form: str) -> str:
        """Return a pattern for a form, over whose end no character reaches."""
        if not form:
            return ""
        branches = [
            _among(self._those(part)) + self._unit(form[len(part) :])
            for part in self._at(form, 0)
            if self._those(part)
        ]
        return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"

    def _those(self, form: str) -> str:
        """Return the characters of this form."""
        itself = form if len(form) == 1 and form_of(form, self._fold) == form else ""
        return itself + self._known.get(form, "")


def _among(chars: Iterable[str]) -> str:
    """Return a pattern for one of these characters."""
    codes = sorted(map(ord, chars))
    if len(codes) == 1:
        return literal(codes[0])
    return f"[{''.join(map(literal, codes))}]"


class _Core:
    """Makes the pattern that matches wherever a text of one of some forms begins.

    RE2 is quick while few things may come next: where there are too many, they are one class.
    """

    def __init__(self, forms: Iterable[str], fold: bool) -> None:
        self._speller = _Speller(fold)
        every = sorted(forms)
        self._depth = _depth(every)
        self.pattern = self._of(every, 0)

    def _of(self, forms: list[str], depth: int) -> str:
        """Return a pattern for the beginning of these forms, of which `depth` characters are read.

        A form that ends here stands for all: nothing more is asked.
        """
        if "" in forms or depth >= self._depth:
            return ""
        branches: dict[str, list[str]] = {}
        for form in forms:
            unit, size = self._speller.unit(form)
            branches.setdefault(unit, []).append(form[size:])
        if sum(map(_cost, branches)) > _WIDE:
            return self._class(forms)
        parts = [
            unit + self._of(rest, depth + 1)  #
            for unit, rest in branches.items()
        ]
        return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"

    def _class(self, forms: list[str]) -> str:
        first: set[str] = set()
        second: set[str] = set()
        for form in forms:
            begins, follows = self._speller.begin(form)
            first |= begins
            second |= follows
        return _among(first) + ("" if "" in second else _among(second))


def _depth(forms: list[str]) -> int:
    """Return how many characters of all forms can be read."""
    depth = spent = 0
    while depth < _DEPTH and spent < _SPENT:
        depth += 1
        spent += sum(map(_cost, {form[:depth] for form in forms}))
    return max(depth - 1, 2) if spent >= _SPENT else depth


def _cost(text: str) -> int:
    """Return about how many instructions what ends so takes: more where it is not ASCII."""
    return 1 if text[-1].isascii() and not text.endswith(("]", "}", ")")) else 4


@final
class WordsDetector:
    """Finds the words of a dictionary: at each place the longest that may stand there.

    `left` and `right` name what must not stand next to one: `word` (letters and digits), `digit`,
    or `nothing` for no condition.
    """

    __slots__ = (
        "_folds", "_forms", "_joins", "_left", "_lengths", "_longest", "_match", "_right", "core",
        "hint", "hinted_core", "least", "name", "numbers",
    )  # fmt: skip

    def __init__(
        self, name: str, words: Iterable[str], *, fold: bool, left: str, right: str, hint: str
    ) -> None:
        """Raises: ValueError for an empty word, and where there is none."""
        self._forms = frozenset(form for word in words for form in forms(word, fold))
        if not self._forms or "" in self._forms:
            raise ValueError("a dictionary holds an empty word, or none")
        lengths = frozenset(map(len, self._forms))
        self._lengths = tuple(sorted(lengths, reverse=True))
        self._longest = self._lengths[0]
        self._folds = fold
        self._left = JOINS[left]
        self._right = JOINS[right]
        self.name = name
        self.core: tuple[str, ...] = (_Core(self._forms, fold).pattern,)
        self.hinted_core: tuple[str, ...] = ()
        self.hint = hint
        self.numbers = False
        self.least = 1
        self._match: Match = quick(compile_pattern(self.core[0]))

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found: list[Span] = []
        match = self._match
        position = 0
        size = len(data)
        while position < size:
            start = match(ANYWHERE, data, position, size)[0][0]
            if start < 0:
                break
            end = self._end(data, start)
            if end > start:
                found.append((start, end))
                position = end
            else:
                position = start + 1
        return found

    def find_apart(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what `find` returns for each of the texts that NULs keep apart in `data`.

        No word holds a NUL, and next to one it is as at the end of a text.
        """
        return self.find(data, hinted)

    def _end(self, data: bytes, start: int) -> int:
        """Return where the longest word ends that begins at `start`; -1 without one."""
        if start and self._joined(data, start):
            return -1
        window = data[start : start + 4 * self._longest + 8]
        if not window.isascii():
            return self._end_of_any(start, window.decode("utf-8", "surrogateescape"))
        form = (window.lower() if self._folds else window).decode("ascii")
        right = self._right
        for length in self._lengths:
            if form[:length] in self._forms and len(form) >= length:
                after = form[length : length + 1]
                if not (after and right(after) and right(form[length - 1])):
                    return start + length
        return -1

    def _end_of_any(self, start: int, text: str) -> int:
        best = -1
        form = ""
        end = start
        for place, char in enumerate(text):
            form += form_of(char, self._folds)
            end += len(char.encode("utf-8", "surrogateescape"))
            if len(form) > self._longest:
                break
            if form in self._forms:
                after = text[place + 1 : place + 2]
                if not (after and self._right(after) and self._right(char)):
                    best = end
        return best

    def _joined(self, data: bytes, start: int) -> bool:
        """Whether a word that begins at `start` began earlier.

        The letter of an escape (`\\n` in a quoted text) is no letter.
        """
        before, first = data[start - 1], data[start]
        if before < 128:
            if not self._left(chr(before)) or data[max(0, start - 2) : start - 1] == b"\\":
                return False
        elif not self._left(data[max(0, start - 4) : start].decode("utf-8", "replace")[-1]):
            return False
        char = chr(first) if first < 128 else data[start : start + 4].decode("utf-8", "replace")[0]
        return self._left(char)
