"""Custom detectors: from an operator's definition to the object that finds its content."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sallyport.core.detector import CustomDetector, problems_of, written
from sallyport.core.pattern_classes import literal
from sallyport.masking import checks
from sallyport.masking.expressions import Prefilter, compile_pattern
from sallyport.masking.finders import Check, Detector, PatternDetector, plain
from sallyport.masking.words import WordsDetector

MAX_PROGRAM = 100_000
"""Instructions that RE2 may make of one detector's patterns or words."""

_CHECKS = {
    "luhn": lambda text: text.isdigit() and checks.luhn(text),
    "card": lambda text: text.isdigit() and checks.card(text),
    "iban": checks.iban,
    "mod97": checks.mod97,
}


@lru_cache(maxsize=128)
def made(definition: CustomDetector) -> Detector:
    """Return the detector that a definition stands for, made once.

    Raises: ValueError for a definition that cannot be carried out.
    """
    wrong = next(iter(problems_of(definition)), None)
    if wrong is not None:
        raise ValueError(f"detector `{definition.name}`: {wrong[2]}")
    detector: WordsDetector | PatternDetector
    hint = _hint(definition)
    if definition.words:
        detector = WordsDetector(
            definition.name,
            definition.words.split("\n"),
            fold=definition.ignore_case,
            left=definition.left,
            right=definition.right,
            hint=hint,
        )
    else:
        detector = PatternDetector(
            definition.name,
            tuple(dict.fromkeys(written(pattern).text for pattern in definition.patterns)),
            check=_check(definition.checksum),
            left=_neighbour(definition.left),
            right=_neighbour(definition.right),
            hint=hint,
            numbers=definition.numbers,
            context=_any_of(definition.context),
            least=1,
        )
    if sum(compile_pattern(core).programsize for core in detector.core) > MAX_PROGRAM:
        raise ValueError(f"detector `{definition.name}`: its words or patterns are too large")
    return detector


def _neighbour(name: str) -> str:
    return "" if name == "nothing" else name


def _check(name: str) -> Check | None:
    if not name:
        return None
    check = _CHECKS[name]
    return lambda data: bool(text := plain(data)) and check(text)


def _hint(definition: CustomDetector) -> str:
    """Return what a column's name may hold: what was given, or a word that must stand before."""
    hints = [_any_of(definition.context)] if definition.context else []
    if definition.hint:
        hints.append(f"(?i:{written(definition.hint, anchors=True).text})")
    return "|".join(hints)


def _any_of(words: tuple[str, ...]) -> str:
    if not words:
        return ""
    return f"(?i:{'|'.join(''.join(literal(ord(char)) for char in word) for word in words)})"


def problem_with(definitions: Iterable[CustomDetector], beside: Iterable[str]) -> str | None:
    """Return why detectors cannot look for all of this at once; None: they can.

    `beside`: the patterns of all other detectors. Each definition can be made.
    """
    cores = [core for each in definitions for core in made(each).core]
    try:
        Prefilter(tuple(dict.fromkeys((*beside, *cores)))).which(b"")
    except (MemoryError, ValueError):
        return "all detectors together are too large for one automaton"
    return None
