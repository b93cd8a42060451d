"""Content: the detectors that apply to one column (or text), with what is done about a match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from sallyport.masking.digits import DigitsDetector, IbanDetector, SeveralDetector
from sallyport.masking.expressions import Prefilter, Span, prefilter
from sallyport.masking.finders import BlockDetector, Detector, Parted, PatternDetector
from sallyport.masking.findings import Tally
from sallyport.masking.locate import Locator, locator
from sallyport.masking.transforms import Transform, redacted, span
from sallyport.masking.words import WordsDetector

_COLON = b'": "'
_PADDED = (9, 11)
_FEW = 4
"""Up to so many detectors it is quicker to ask each than to ask which."""
_MANY = 3
"""From so many texts on it is quicker to look at all of them as one."""
_SHORTEST = 7
"""No number that a detector of Sallyport's own finds has fewer characters."""
_APART = b"\0"
"""Between texts that are looked at as one: no match holds it."""


class Rule(NamedTuple):
    """One detector, whether the column's name speaks for it, and the transform of its matches."""

    detector: Detector
    hinted: bool
    transform: Transform


class Hit(NamedTuple):
    """One match: its bytes, whose it is, and what becomes of it."""

    start: int
    end: int
    name: str
    transform: Transform


def cores(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Return the patterns one of which matches wherever one of `rules` finds anything."""
    out: list[str] = []
    for rule in rules:
        out.extend(rule.detector.core)
        if rule.hinted:
            out.extend(rule.detector.hinted_core)
    return tuple(out)


@final
class Content:
    """Finds and masks what several detectors find in a text."""

    __slots__ = (
        "_every",
        "_key",
        "_locator",
        "_numbers",
        "_owners",
        "_parted",
        "_prefilter",
        "_rules",
        "padded",
        "rules",
        "shortest",
    )

    def __init__(self, rules: Sequence[Rule], key: bytes) -> None:
        self.rules = tuple(rules)
        self._rules = list(rules)
        self._every = list(range(len(self._rules)))
        self._parted = [_parted(rule.detector) for rule in rules]
        self.padded = [
            rule for rule in rules if rule.hinted and _shortest(rule.detector) == _SHORTEST
        ]
        self._numbers = [rule for rule in rules if rule.detector.numbers or rule.hinted]
        self.shortest = min((_shortest(rule.detector) for rule in rules), default=_SHORTEST)
        self._key = key
        self._locator: Locator | None = None
        owners: dict[str, list[int]] = {}
        for index, rule in enumerate(rules):
            for core in cores((rule,)):
                owners.setdefault(core, []).append(index)
        self._owners = list(owners.values())
        self._prefilter: Prefilter | None = None
        if len(self._rules) > _FEW:
            self._prefilter = prefilter(tuple(owners))

    @property
    def finds_numbers(self) -> bool:
        """Whether anything is looked for in numbers."""
        return bool(self._numbers)

    def spans(self, data: bytes) -> list[Span]:
        """Return where something may stand: each match of `hits`, in `data` or in a line of it,
        overlaps one of these, which are in order. Raises: MemoryError.
        """
        if self._locator is None:
            self._locator = locator(cores(self.rules))
        return self._locator.spans(data)

    def hits(self, data: bytes, *, numbers: bool = False) -> list[Hit]:
        """Return what is found in UTF-8 text, in order, without overlaps.

        Matches that overlap become one, under the strongest of their transforms. `numbers`: the
        text is a number's, so only what may be one counts.
        """
        rules = self._numbers
        if not numbers:
            rules = [self._rules[index] for index in self._asked(data)]
        found: list[Hit] = []
        for rule in rules:
            name = rule.detector.name
            for start, end in rule.detector.find(data, rule.hinted):
                found.append(Hit(start, end, name, rule.transform))
        return found if len(found) < 2 else join_hits(found)

    def _asked(self, data: bytes) -> list[int]:
        """Return the indexes of the rules that may find something in `data`."""
        if self._prefilter is None:
            return self._every
        return sorted({i for core in self._prefilter.which(data) for i in self._owners[core]})

    def mask_many(
        self, texts: list[bytes], tally: Tally | None = None, column: int = 0
    ) -> list[bytes | None]:
        """Return what `mask` returns for each of `texts`, the same object where nothing is found.

        They are looked at as one, with a NUL between them, which no match holds; where anything
        comes out that would not be the same for each alone, each is looked at alone. What is found
        is counted in `tally` as the column's.
        """
        together = _APART.join(texts)
        found: list[Hit] | None = None
        if len(texts) >= _MANY and together.count(_APART) == len(texts) - 1:
            found = self._hits_apart(together)
        if found is None:
            return [self._counted(text, tally, column) for text in texts]
        out: list[bytes | None] = list(texts)
        start = place = first = 0
        while first < len(found):
            begin = found[first].start
            end = start + len(texts[place])
            while end <= begin:
                start = end + 1
                place += 1
                end = start + len(texts[place])
            last = first + 1
            while last < len(found) and found[last].start < end:
                last += 1
            if tally is not None:
                if last == first + 1:
                    tally.one(column, found[first].name)
                else:
                    tally.cell(column, [hit.name for hit in found[first:last]])
            out[place] = self._rendered(together, found, first, last, start, end)
            first = last
        return out

    def _counted(self, text: bytes, tally: Tally | None, column: int) -> bytes | None:
        if tally is None:
            return self.mask(text)
        masked = self.mask(text, seen=tally.seen)
        if tally.seen:
            tally.settle(column)
        return masked

    def _rendered(
        self, data: bytes, found: list[Hit], first: int, last: int, start: int, end: int
    ) -> bytes | None:
        """Return `data[start:end]` with the matches `found[first:last]` in it masked."""
        hit = found[first]
        if last == first + 1 and hit.transform is Transform.REDACT:
            word = redacted(hit.name)
            return data[start : hit.start] + word + data[hit.end : end]
        hits = found[first:last]
        if any(hit.transform is Transform.NULL for hit in hits):
            return None
        return self.render(data, hits, start, end)

    def _hits_apart(self, data: bytes) -> list[Hit] | None:
        """Return what `hits` returns for each text of `data`; None when that cannot be told."""
        found: list[Hit] = []
        for index in self._asked(data):
            rule = self._rules[index]
            parted = self._parted[index]
            spans: list[Span] | None = None
            if parted is not None:
                spans = parted.find_apart(data, rule.hinted)
            if spans is None:
                return None
            name, transform = rule.detector.name, rule.transform
            for start, end in spans:
                found.append(Hit(start, end, name, transform))
        return found if len(found) < 2 else join_hits(found)

    def named_hits(self, data: bytes, name: bytes) -> list[Hit]:
        """Return what is found in a value that stands under `name`, as a JSON key names it.

        A word in the name counts like one before the value: `"phone": "030123456"`.
        """
        if not name:
            return self.hits(data)
        offset = len(name) + len(_COLON)
        return [
            Hit(max(hit.start - offset, 0), hit.end - offset, hit.name, hit.transform)
            for hit in self.hits(name + _COLON + data)
            if hit.end > offset
        ]

    def mask(
        self,
        data: bytes,
        *,
        word: bool = False,
        name: bytes = b"",
        seen: list[str] | None = None,
    ) -> bytes | None:
        """Return `data` with each match replaced; `data` itself when there is none.

        None: a match under the null transform, so nothing of the whole may stay. `seen` gets the
        detector's name of each match.
        """
        found = self.named_hits(data, name)
        if not found:
            return data
        if seen is not None:
            seen += [hit.name for hit in found]
        if any(hit.transform is Transform.NULL for hit in found):
            return None
        return self.render(data, found, 0, len(data), word=word)

    def render(
        self, data: bytes, found: Sequence[Hit], start: int, end: int, *, word: bool = False
    ) -> bytes:
        """Return `data[start:end]` with the matches `found` replaced, as far as they lie there."""
        out: list[bytes] = []
        last = start
        for hit in found:
            if hit.end > last and hit.start < end:
                out.append(data[last : hit.start])
                match = data[hit.start : hit.end]
                out.append(span(match, hit.name, hit.transform, self._key, word))
                last = hit.end
        out.append(data[last:end])
        return b"".join(out)

    def verdict(self, data: bytes, seen: list[str] | None = None) -> Transform | None:
        """Return the strongest transform that a match in `data` asks for; None without a match."""
        found = self.hits(data)
        if found and seen is not None:
            seen += [hit.name for hit in found]
        return max((hit.transform for hit in found), default=None)

    def number_verdict(
        self, text: bytes, name: bytes = b"", seen: list[str] | None = None
    ) -> Transform | None:
        """Return the same for a number's text; `name` is the JSON key that it stands under.

        Numbers lose their leading zeros: where the column's name speaks for a detector (`padded`:
        those that come with Sallyport), its numbers are looked at with them too. A detector is seen
        once in a number.
        """
        found = [(hit.name, hit.transform) for hit in self.hits(text, numbers=True)]
        for rule in self.padded if len(text) >= _SHORTEST and text.isdigit() else ():
            padded = (text.zfill(size) for size in _PADDED if len(text) < size)
            one = (rule.detector.name, rule.transform)
            found += [one for each in padded if rule.detector.find(each, True)]
        if name:
            found += [(hit.name, hit.transform) for hit in self.named_hits(text, name)]
        if not found:
            return None
        if seen is not None:
            seen.extend(dict.fromkeys(detector for detector, _ in found))
        return max(transform for _, transform in found)


def _shortest(detector: Detector) -> int:
    """Return how short a number can be that is looked at; a longer one may be all that is left."""
    if isinstance(detector, (PatternDetector, WordsDetector)) and detector.least == 1:
        return 1
    return _SHORTEST


def _parted(detector: Detector) -> Parted | None:
    if isinstance(detector, (PatternDetector, BlockDetector, WordsDetector)):
        return detector
    if isinstance(detector, (DigitsDetector, IbanDetector, SeveralDetector)):
        return detector
    return None


def join_hits(found: list[Hit]) -> list[Hit]:
    """Return matches in order; those that overlap are one, under the strongest transform."""
    found.sort(key=lambda hit: (hit.start, -hit.end))
    out: list[Hit] = []
    for hit in found:
        if out and hit.start < out[-1].end:
            last = out[-1]
            strong = hit if hit.transform > last.transform else last
            end = max(hit.end, last.end)
            out[-1] = Hit(last.start, end, strong.name, strong.transform)
        else:
            out.append(hit)
    return out
