"""Detectors of an operator's own: how they are written, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from sallyport.config.problems import Problem, shown
from sallyport.config.rules import Model
from sallyport.config.types import Names
from sallyport.core.detector import CustomDetector, problem_of_all, problems_of
from sallyport.masking.custom import made, problem_with
from sallyport.masking.detectors import BUILTIN

Neighbour = Literal["word", "digit", "nothing"]


def _words(value: object) -> object:
    """Take a text with a word a line, too: it reads much quicker than a long list."""
    if isinstance(value, str):
        return tuple(line.strip() for line in value.splitlines() if line.strip())
    return tuple(value) if isinstance(value, list) else value


class DetectorSettings(Model):
    """A content detector of your own, by `patterns` or by `words`."""

    name: str = Field(description="what mask rules call it, and what stands in a match's place")
    description: str = Field(default="", max_length=500, description="for those who read this")
    patterns: Names = Field(default=(), description="RE2; each match is hidden whole")
    words: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(
        default=(), description="a list, or a text with a word a line; whole words are hidden"
    )
    ignore_case: bool = Field(default=False, description="words: in any case")
    left: Neighbour | None = Field(
        default=None, description="what must not stand before a match; absent: word for `words`"
    )
    right: Neighbour | None = Field(
        default=None, description="what must not stand behind it; absent: word for `words`"
    )
    column_hint: str = Field(
        default="", description="RE2 on a column's name: there numbers are looked at too"
    )
    context: Names = Field(
        default=(),
        description="patterns: one of these stands up to 100 bytes before, or in the column's name",
    )
    checksum: Literal["luhn", "card", "iban", "mod97"] | None = Field(
        default=None, description="patterns: what the letters and digits of a match must fulfil"
    )
    numbers: bool = Field(default=False, description="patterns: look at columns of numbers, too")

    def definition(self) -> CustomDetector:
        """Return it as policy and masks carry it."""
        default: Neighbour = "word" if self.words else "nothing"
        return CustomDetector(
            name=self.name,
            patterns=self.patterns,
            words="\n".join(self.words),
            ignore_case=self.ignore_case,
            left=self.left or default,
            right=self.right or default,
            hint=self.column_hint,
            context=self.context,
            checksum=self.checksum or "",
            numbers=self.numbers,
        )


def check_detectors(
    detectors: Sequence[DetectorSettings], known: frozenset[str]
) -> Iterator[Problem]:
    """Yield what is wrong with detectors. `known`: the names that are taken already."""
    taken = set(known)
    wrong = False
    for index, settings in enumerate(detectors):
        path = ("detectors", index)
        if settings.name in known:
            yield (*path, "name"), f"{shown(settings.name)} is built in: expected another name"
        elif settings.name in taken:
            yield (*path, "name"), f"expected a name of its own, {shown(settings.name)} is taken"
        taken.add(settings.name)
        if any("\n" in word for word in settings.words):
            wrong = True
            yield (*path, "words"), "a word holds a line end"
            continue
        for key, entry, why in problems_of(settings.definition()):
            wrong = True
            yield (*path, key) if entry is None else (*path, key, entry), why
    if not wrong:
        yield from _together([settings.definition() for settings in detectors])


def _together(definitions: Sequence[CustomDetector]) -> Iterator[Problem]:
    """Make them all, as workers will, so that what is handed out is known to work."""
    if (why := problem_of_all(definitions)) is not None:
        yield ("detectors",), why
        return
    for index, definition in enumerate(definitions):
        try:
            made(definition)
        except ValueError as error:
            yield ("detectors", index), str(error)
            return
    builtin = [core for each in BUILTIN.values() for core in (*each.core, *each.hinted_core)]
    if definitions and (why := problem_with(definitions, builtin)) is not None:
        yield ("detectors",), why
