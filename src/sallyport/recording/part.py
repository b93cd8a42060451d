"""Part: what one batch of events says of one session.

What comes is only put into lists; it is counted, and made into columns, once for all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from sallyport.recording.blocks import Columns
from sallyport.recording.cutting import Extents, extend
from sallyport.recording.feed import Piece
from sallyport.recording.glance import Decided, Ended
from sallyport.recording.sealed import SealedWriter
from sallyport.recording.who import Who, who_in

Row = dict[str, Any]


class Session:
    """One session that is not sealed yet, as its row. `fresh`: the store has no row of it.

    `told`: more of the row changed than its counts. `gathered` holds all its events so far for its
    sealed file, unless they are to be cut from the journals: those of before this process, say.
    `who` is whose it is, once its opening was seen.
    """

    __slots__ = ("fresh", "gathered", "row", "told", "who")

    def __init__(self, row: Row, fresh: bool) -> None:
        self.row = row
        self.fresh = fresh
        self.told = False
        self.gathered: SealedWriter | None = None
        self.who: Who | None = who_in(row)

    @property
    def id(self) -> str:
        """The session's id."""
        return str(self.row["id"])

    @property
    def extents(self) -> Extents:
        """Where its events lie."""
        found: Extents = self.row["extents"]
        return found


class Late(msgspec.Struct):
    """What is said of an operation whose decision came in an earlier batch."""

    approval: str = ""
    tag: str = ""
    code: str = ""
    rows: int = 0
    bytes: int = 0
    elapsed: float = 0.0

    def more(self, end: Ended) -> None:
        """Add an end."""
        self.tag, self.code = clean(end.tag), cut(end.code, 32)
        self.rows += end.rows
        self.bytes += end.bytes
        self.elapsed += end.elapsed


class Part:
    """What came of one session. `shapes` and `places` (of texts) stand beside `decided`; `holds` is
    what became of held operations.
    """

    __slots__ = (
        "bodies", "counted", "decided", "end", "ended", "events", "first", "holds", "journal",
        "last", "like", "over", "places", "session", "shape", "shapes", "start", "texts",
    )  # fmt: skip

    def __init__(self, session: Session) -> None:
        self.session = session
        self.decided: list[Decided] = []
        self.shapes: list[int] = []
        self.places: list[int] = []
        self.ended: list[Ended] = []
        self.holds: dict[int, tuple[str, str]] = {}
        self.texts: dict[str, int] = {}
        self.like: Decided | None = None
        self.shape = 0
        self.bodies: list[bytes] = []
        self.events = self.counted = self.over = 0
        self.journal = ""
        self.start = self.end = 0
        self.first: float | None = None
        self.last = 0.0

    def lies(self, journal: str, piece: Piece) -> None:
        """Begin another stretch of a journal."""
        self._settle()
        self.journal, self.start, self.end = journal, piece.start, piece.end

    def count(self, counts: Counter[tuple[str, str]]) -> None:
        """Count in what came since the last time, for the session's row and the measures."""
        self._settle()
        row = self.session.row
        row["events"] += self.events
        decided, self.counted = self.decided[self.counted :], len(self.decided)
        row["operations"] += len(decided)
        decisions = Counter([one.decision for one in decided])
        row["denied"] += decisions["deny"]
        row["held"] += decisions["hold"]
        ended, self.over = self.ended[self.over :], len(self.ended)
        rows, size = sum([one.rows for one in ended]), sum([one.bytes for one in ended])
        row["rows"] += rows
        row["bytes"] += size
        for decision, number in decisions.items():
            counts["operations", decision] += number
        counts["results", "rows"] += rows
        counts["results", "bytes"] += size
        gathered = self.session.gathered
        if gathered is not None and self.events:
            gathered.add(self.bodies, self.events)
            if self.first is not None:
                gathered.span(self.first, self.last)
        self.bodies = []
        self.events = 0

    def columns(self, late: dict[tuple[str, int, bool], Late]) -> Columns:
        """Return the block's columns; what is said of earlier operations goes into `late`."""
        operations = [one.operation for one in self.decided]
        ends = self._ends(operations, late)
        found = Columns(
            operations,
            [one.at for one in self.decided],
            self.shapes,
            self.places,
            [cut(one.approval, 64) for one in self.decided],
            [one.tag for one in ends],
            [one.code for one in ends],
            [one.rows for one in ends],
            [one.bytes for one in ends],
            [one.elapsed for one in ends],
        )
        if self.holds:
            self._settle_holds(found, late)
        return found

    def _ends(self, operations: list[int], late: dict[tuple[str, int, bool], Late]) -> list[Ended]:
        """Return how each operation ended."""
        last = {
            one.operation: place for place, one in enumerate(self.decided) if one.decision != "hold"
        }
        if len(last) == len(operations) and operations == [one.operation for one in self.ended]:
            return self.ended
        ends = [_NO_END] * len(operations)
        for one in self.ended:
            place = last.get(one.operation)
            if place is None:
                late.setdefault((self.session.id, one.operation, False), Late()).more(one)
            elif ends[place] is _NO_END:
                ends[place] = one
            else:
                ends[place] = _both(ends[place], one)
        return ends

    def _settle_holds(self, columns: Columns, late: dict[tuple[str, int, bool], Late]) -> None:
        held = {
            one.operation: place for place, one in enumerate(self.decided) if one.decision == "hold"
        }
        for operation, (approval, tag) in self.holds.items():
            place = held.get(operation)
            if place is not None:
                columns.approvals[place], columns.tags[place] = approval, tag
            else:
                late[self.session.id, operation, True] = Late(approval, tag)

    def _settle(self) -> None:
        if self.journal:
            extend(self.session.extents, self.journal, self.start, self.end)
            self.journal = ""


_NO_END = Ended("", 0.0, 0, "", 0, 0, 0.0)


def _both(one: Ended, more: Ended) -> Ended:
    return Ended(
        more.session, more.at, more.operation, more.tag, one.rows + more.rows,
        one.bytes + more.bytes, one.elapsed + more.elapsed, more.code,
    )  # fmt: skip


def clean(text: str) -> str:
    """Return `text` as every store takes it."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def cut(text: str, size: int) -> str:
    """Return the beginning of `text`, as every store takes it."""
    return clean(text)[:size] if text else ""
