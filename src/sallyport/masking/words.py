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

import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import final

from sallyport.core.pattern import literal
from sallyport.masking.expressions import Span, compile_pattern
from sallyport.masking.locate import ANYWHERE, Match, quick

_DEPTH = 8
"""Characters of a word's form that `core` knows: enough that little else begins so."""
_LAST = 0x33480
"""No character from here on has another form than its own (planes 4 to 16 hold none)."""
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
    spelled = {word, *(unicodedata.normalize(form, word) for form in ("NFC", "NFD"))}
    return {"".join(form_of(char, fold) for char in each) for each in spelled}


@lru_cache(maxsize=2)
def _spellings(fold: bool) -> dict[str, str]:
    """Return by form, of one character or more, the characters that have it; but for itself."""
    out: dict[str, str] = {}
    for code in range(_LAST):
        char = chr(code)
        if not 0xD800 <= code < 0xE000 and (form := form_of.__wrapped__(char, fold)) != char:
            out[form] = out.get(form, "") + char
    return out


@final
class _Trie:
    """Patterns of single characters, in the order of a word; `ends` where one is over."""

    __slots__ = ("ends", "next")

    def __init__(self) -> None:
        self.ends = False
        self.next: dict[str, _Trie] = {}

    def add(self, units: Iterable[str]) -> None:
        node = self
        for unit in units:
            node = node.next.setdefault(unit, _Trie())
        node.ends = True

    def pattern(self) -> str:
        """Return what matches the beginning of all that was added. A word that is the beginning
        of another stands for both.
        """
        if self.ends:
            return ""
        branches = [unit + node.pattern() for unit, node in self.next.items()]
        return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


@final
class _Speller:
    """Cuts a word's form into units, each with all that may stand for it in a text."""

    def __init__(self, fold: bool) -> None:
        self._fold = fold
        self._known = _spellings(fold)
        self._longest = max(map(len, self._known))
        self._begins = frozenset(form[0] for form in self._known if len(form) > 1)

    def units(self, form: str) -> Iterable[str]:
        """Yield the patterns of a form's first characters, up to `_DEPTH`."""
        start = 0
        while start < min(len(form), _DEPTH):
            end = start + 1
            reached = start
            while reached < end:
                end = max(end, *(reached + len(each) for each in self._at(form, reached)))
                reached += 1
            yield self._unit(form, start, end)
            start = end

    def _at(self, form: str, start: int) -> list[str]:
        """Return what begins here and is the form of single characters."""
        found = [form[start]]
        if form[start] in self._begins:
            found += [
                form[start : start + size]
                for size in range(2, self._longest + 1)
                if start + size <= len(form) and form[start : start + size] in self._known
            ]
        return found

    def _unit(self, form: str, start: int, end: int) -> str:
        """Return a pattern for `form[start:end]`, over whose ends no character reaches."""
        if start == end:
            return ""
        branches = [
            _among(self._those(part)) + self._unit(form, start + len(part), end)
            for part in self._at(form, start)
            if start + len(part) <= end and self._those(part)
        ]
        return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"

    def _those(self, form: str) -> str:
        itself = form if len(form) == 1 and form_of(form, self._fold) == form else ""
        return itself + self._known.get(form, "")


def _among(chars: str) -> str:
    """Return a pattern for one of these characters."""
    if len(chars) == 1:
        return literal(ord(chars))
    return f"[{''.join(literal(ord(char)) for char in chars)}]"


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
        speller, trie = _Speller(fold), _Trie()
        for form in sorted(self._forms):
            trie.add(speller.units(form))
        self.name = name
        self.core: tuple[str, ...] = (trie.pattern(),)
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
        window = data[start : start + 4 * self._longest + 8]
        if not window.isascii():
            return self._end_of_any(data, start, window.decode("utf-8", "surrogateescape"))
        text = window.decode("ascii")
        if self._joined(data, start, text[0]):
            return -1
        form = text.lower() if self._folds else text
        right = self._right
        for length in self._lengths:
            if form[:length] in self._forms and len(form) >= length:
                after = form[length : length + 1]
                if not (after and right(after) and right(form[length - 1])):
                    return start + length
        return -1

    def _end_of_any(self, data: bytes, start: int, text: str) -> int:
        if self._joined(data, start, text[0]):
            return -1
        best = -1
        form = ""
        end = start
        for place, char in enumerate(text):
            form += form_of(char, self._folds)
            end += 1 if "\udc80" <= char <= "\udcff" else len(char.encode("utf-8", "replace"))
            if len(form) > self._longest:
                break
            if form in self._forms:
                after = text[place + 1 : place + 2]
                if not (after and self._right(after) and self._right(char)):
                    best = end
        return best

    def _joined(self, data: bytes, start: int, first: str) -> bool:
        """Whether the word that begins at `start` with `first` began earlier.

        The letter of an escape (`\\n` in a quoted text) is no letter.
        """
        if start == 0 or not self._left(first):
            return False
        if data[start - 1] < 128:
            return self._left(chr(data[start - 1])) and data[start - 2 : start - 1] != b"\\"
        before = data[max(0, start - 4) : start].decode("utf-8", "replace")
        return self._left(before[-1])
