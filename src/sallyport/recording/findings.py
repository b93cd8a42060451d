"""Findings: what detectors hid in columns that no mask names, added up for each target.

The follower adds what the journals say in the transaction that notes how far they were read, so
each count counts once. Only names, counts and times are kept.

INVARIANT: a target has at most `MOST` names, however many tables are made to be found in.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import Select, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.event import OTHER_COLUMNS, FindingsCounted
from sallyport.recording.part import Row, cut
from sallyport.recording.records import FindingRecord
from sallyport.store.recording_schema import findings

MOST = 2000
"""Columns and detectors of one target that are told apart; the rest counts as `OTHER_COLUMNS`."""
_LONGEST = 256
_TOGETHER = 200

Key = tuple[str, str, str, str]
"""Target, database, column, detector."""

_KEY = (findings.c.target, findings.c.database, findings.c.column, findings.c.detector)


class Sum(Struct):
    """What came of one name. `subject`: who saw it last."""

    hits: int = 0
    cells: int = 0
    first: float = 0.0
    last: float = 0.0
    subject: str = ""

    def more(self, hits: int, cells: int, first: float, last: float, subject: str) -> None:
        """Add to it."""
        self.first = min(first, self.first) if self.hits else first
        if not self.hits or last >= self.last:
            self.last, self.subject = last, subject
        self.hits += hits
        self.cells += cells


Found = dict[Key, Sum]


def note(sums: Found, event: FindingsCounted, session: Row) -> None:
    """Add what an event of a session says. What is of no known target is left out."""
    if not session["target"]:
        return
    for one in event.found:
        key = (
            session["target"], session["database"], cut(one.column, _LONGEST),
            cut(one.detector, 64),
        )  # fmt: skip
        known = sums.setdefault(key, Sum())
        known.more(one.hits, one.cells, event.at, event.at, session["subject"])


UPSERT = (
    'INSERT INTO recording_findings (target, database, "column", detector, hits, cells, '
    '"first", "last", subject) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) '
    'ON CONFLICT (target, database, "column", detector) DO UPDATE SET '
    "hits = hits + excluded.hits, cells = cells + excluded.cells, "
    '"first" = min("first", excluded."first"), '
    'subject = CASE WHEN excluded."last" < "last" THEN subject ELSE excluded.subject END, '
    '"last" = max("last", excluded."last")'
)
"""What adds a row of `fitting` to the store, in the driver's own words."""


async def fitting(connection: AsyncConnection, sums: Found) -> list[tuple[Any, ...]]:
    """Return what is to be added to the store, under the names that it has or has room for."""
    fit: Found = {}
    for target in {key[0] for key in sums}:
        mine = {key: one for key, one in sums.items() if key[0] == target}
        count = select(func.count()).select_from(findings).where(findings.c.target == target)
        room = MOST - int((await connection.execute(count)).scalar_one())
        known = await _known(connection, list(mine)) if room < len(mine) else set(mine)
        for key, one in mine.items():
            if key not in known:
                room -= 1
                if room < 0:
                    key = (target, "", OTHER_COLUMNS, key[3])
            fit.setdefault(key, Sum()).more(one.hits, one.cells, one.first, one.last, one.subject)
    return [
        (*key, one.hits, one.cells, one.first, one.last, one.subject) for key, one in fit.items()
    ]


async def _known(connection: AsyncConnection, keys: list[Key]) -> set[Key]:
    """Return those of `keys` that the store has."""
    found: set[Key] = set()
    for first in range(0, len(keys), _TOGETHER):
        some = select(*_KEY).where(tuple_(*_KEY).in_(keys[first : first + _TOGETHER]))
        for target, database, column, detector in await connection.execute(some):
            found.add((target, database, column, detector))
    return found


def find_findings(
    target: str | None, database: str | None, since: float | None, limit: int, offset: int
) -> Select[Any]:
    """Return the query of the findings of a target and database, most hits first."""
    query = select(findings)
    if target is not None:
        query = query.where(findings.c.target == target)
    if database is not None:
        query = query.where(findings.c.database == database)
    if since is not None:
        query = query.where(findings.c.last >= since)
    return query.order_by(findings.c.hits.desc(), *_KEY).limit(limit).offset(offset)


def finding_record(row: Any) -> FindingRecord:
    """Return a row as a record."""
    return FindingRecord(**{name: row[name] for name in FindingRecord.__struct_fields__})


async def forget(
    connection: AsyncConnection, before: float, target: str | None, but: tuple[str, ...] = ()
) -> None:
    """Delete what was last seen `before`: of one target, or of all `but` some."""
    old = delete(findings).where(findings.c.last < before)
    if target is not None:
        old = old.where(findings.c.target == target)
    elif but:
        old = old.where(findings.c.target.not_in(but))
    await connection.execute(old)
