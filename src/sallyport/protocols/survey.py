"""Surveys: what an operator asks of a target's data and structure, to know what to mask.

A survey is taken in pages, so that one answer never takes long: each says where the next begins.
INVARIANT: no value of the target's data is in any of these, only names, counts and words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from msgspec import Struct

from sallyport.core.decision import Mask
from sallyport.core.detector import CustomDetector
from sallyport.core.operation import Tags
from sallyport.protocols.inspecting import SideDoor

MasksFor = Callable[[Tags], tuple[Mask, ...]]
"""What the rules in force hide at a target which says that of its columns."""


class Page(Struct, frozen=True):
    """What is looked at: relations after the one numbered `after` (0: from the first).

    `rows`: looked at of each relation. `database`: empty is the target's own. `detectors`: what is
    looked for beside what the gateway knows.
    """

    database: str = ""
    after: int = 0
    rows: int = 200
    detectors: tuple[CustomDetector, ...] = ()


class Found(Struct, frozen=True):
    """A column that holds, or is said to hold, what should be hidden.

    `hits` of `rows` values that are not NULL hold `what` (a detector's name); where a comment says
    so (`source`), both are 0 and `what` is the tag. `covered` is `column`, `content` or nothing:
    how a mask rule hides it already. `proposed` is a transform, or nothing. `glob` names it in a
    rule.
    """

    relation: str
    column: str
    glob: str
    source: str
    what: str
    hits: int
    rows: int
    covered: str
    proposed: str


class Discovery(Struct, frozen=True):
    """A page of what samples and comments show. `next` is 0 at the end.

    `done` of `relations` are looked at; `unread` are those of this page that could not be read.
    """

    database: str
    relations: int
    done: int
    next: int
    unread: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()


class Exposure(Struct, frozen=True):
    """A way round a mask, or a mask that cannot be kept. `remedy`: what to name or change.

    `kind` is copy, index, partition-key, function, view or column. `name` is what a waiver matches.
    """

    kind: str
    name: str
    text: str
    remedy: str


class Examination(Struct, frozen=True):
    """A page of what stands round the masks of a target. `masked` columns are covered by rules."""

    database: str
    masked: int
    relations: int
    done: int
    next: int
    unread: tuple[str, ...] = ()
    found: tuple[Exposure, ...] = ()


@runtime_checkable
class Surveyor(Protocol):
    """What a plugin offers that can survey its targets."""

    async def discover(self, door: SideDoor, target: str, masks: MasksFor, page: Page) -> Discovery:
        """Look at samples and comments. Changes nothing. Raises: TargetUnavailable."""

    async def examine(
        self, door: SideDoor, target: str, masks: MasksFor, page: Page
    ) -> Examination:
        """Look for what stands round the masks. Changes nothing. Raises: TargetUnavailable."""

    async def setup(
        self, door: SideDoor, target: str, masks: MasksFor, database: str, role: str
    ) -> str:
        """Return SQL of a login that sees masked views alone. Runs nothing of it.

        Raises: TargetUnavailable; ValueError for a role's name that cannot be taken.
        """

    def close(self) -> None:
        """End what the answers left open at the target."""
