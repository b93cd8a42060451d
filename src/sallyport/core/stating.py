"""Stating: what clients say of themselves in the names of their applications, by rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import re2

from sallyport.core.subject import MAXIMUM_STATED, Stated
from sallyport.core.visible import visible

GROUPS: Final = frozenset({"task", "purpose"})


def problem_of(pattern: str) -> str:
    """Return what is wrong with a pattern over the names of applications, or nothing."""
    try:
        compiled = re2.compile(pattern)
    except re2.error as error:
        return f"not a pattern (RE2): {error}"
    names = set(compiled.groupindex)
    if not names or not names <= GROUPS:
        return "expected groups `(?P<task>...)` or `(?P<purpose>...)`, and no others"
    return ""


class Stating:
    """The rules. The first that matches a whole name counts; what a client says itself goes first.

    INVARIANT: what is read is shown and recorded, and gives no right.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile. Raises: ValueError."""
        self._patterns = []
        for pattern in patterns:
            if wrong := problem_of(pattern):
                raise ValueError(wrong)
            self._patterns.append(re2.compile(pattern))

    def read(self, application: str, stated: Stated) -> Stated:
        """Return what a client says: by itself, else in its application's name."""
        if stated.task and stated.purpose:
            return stated
        for pattern in self._patterns:
            found = pattern.fullmatch(application)
            if found is not None:
                said = {name: _short(text) for name, text in found.groupdict().items() if text}
                return Stated(
                    stated.task or said.get("task", ""), stated.purpose or said.get("purpose", "")
                )
        return stated


def _short(text: str) -> str:
    return visible(text[:MAXIMUM_STATED]).replace("\n", " ")
