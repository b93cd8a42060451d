"""Index: what the follower writes into the store, in one transaction with how far it read.

So a batch counts once, whatever dies when. Operations are kept in blocks, many a row, and read
when somebody searches (`recording.search`). Where recordings are encrypted the blocks' texts are
too, and what audits tell: what somebody looked for is what the recordings hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Table, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sallyport.recording.blocks import pack
from sallyport.recording.changes import Changes, Numbers
from sallyport.recording.feed import Batch, Place
from sallyport.recording.findings import UPSERT, fitting
from sallyport.recording.part import Row, Session
from sallyport.recording.records import CLOSED, OPEN, Details
from sallyport.store.recording_schema import (
    audit,
    block_shapes,
    blocks,
    journals,
    late,
    sessions,
    shapes,
    touched,
)
from sallyport.store.sealed_text import UNREADABLE, SealedText


class Index:
    """The recordings' tables, as the follower uses them. `key`: texts are encrypted under it."""

    def __init__(self, engine: AsyncEngine, key: bytes | None = None) -> None:
        self.engine = engine
        self.sealed = SealedText(key, "recording_blocks.texts")
        self._details = SealedText(key, "recording_audit.details")
        self.reader = engine.execution_options(sallyport_read_only=True)

    async def load(self) -> tuple[dict[str, Place], dict[str, Session], Numbers]:
        """Return every journal's place, the sessions that are not sealed, and the free numbers."""
        async with self.reader.connect() as connection:
            places = {
                row["name"]: Place(row["offset"], row["chain"], row["state"], row["problem"])
                for row in (await connection.execute(select(journals))).mappings()
            }
            unfinished = select(sessions).where(sessions.c.state.in_((OPEN, CLOSED)))
            live: dict[str, Session] = {
                row["id"]: Session(dict(row), fresh=False)
                for row in (await connection.execute(unfinished)).mappings()
            }
            last = [
                (await connection.execute(select(func.max(table.c.id)))).scalar() or 0
                for table in (blocks, audit, shapes)
            ]
        return places, live, Numbers(*(number + 1 for number in last))

    async def lookup(self, names: Iterable[str]) -> dict[str, Session]:
        """Return the sessions among `names` that the store has."""
        found: dict[str, Session] = {}
        wanted = list(names)
        async with self.reader.connect() as connection:
            for first in range(0, len(wanted), 500):
                some = select(sessions).where(sessions.c.id.in_(wanted[first : first + 500]))
                for row in (await connection.execute(some)).mappings():
                    found[row["id"]] = Session(dict(row), fresh=False)
        return found

    async def apply(self, batches: Iterable[Batch], changes: Changes) -> None:
        """Write a batch's rows and the new places: all of it, or nothing."""
        made, of_shape = self._blocks(changes)
        ended = [
            (*key, *(getattr(one, name) for name in one.__struct_fields__))
            for key, one in changes.late.items()
        ]
        async with self.engine.begin() as connection:
            await _sessions(connection, [changes.live[name] for name in changes.touched])
            await _many(connection, insert(shapes), changes.shapes)
            await _many(connection, insert(touched), changes.resources)
            await _driven(connection, _BLOCK, made)
            await _driven(connection, _BLOCK_SHAPE, of_shape)
            await _driven(connection, _LATE, ended)
            await _many(connection, insert(audit), [self._audited(row) for row in changes.audit])
            await _driven(connection, UPSERT, await fitting(connection, changes.findings))
            await _driven(connection, _PLACE, [_place(batch) for batch in batches])
        for name in changes.touched:
            session = changes.live[name]
            session.fresh = session.told = False

    def _blocks(self, changes: Changes) -> tuple[list[Values], list[Values]]:
        """Return a row for each session that decided something, and which shapes are in it."""
        made: list[Values] = []
        of_shape: list[Values] = []
        for name, part in changes.parts.items():
            columns = part.columns(changes.late)
            if not columns.at:
                continue
            number = changes.numbers.block
            changes.numbers.block += 1
            texts = self.sealed.seal_bytes(pack(list(part.texts)))
            span = (min(columns.at), max(columns.at))
            made.append((number, name, *span, texts, pack(columns)))
            of_shape += [(shape, number) for shape in set(columns.shapes)]
        return made, of_shape

    def _audited(self, row: Row) -> Row:
        if not self._details.seals:
            return row
        return row | {"details": self._details.seal(json.dumps(row["details"]))}

    def open_details(self, stored: Details | str) -> Details:
        """Return what an audit tells. FAILS CLOSED: never what was stored, if it cannot be read."""
        if not isinstance(stored, str):
            return stored
        try:
            found: Details = json.loads(self._details.open(stored))
            return found
        except ValueError:
            return {"details": UNREADABLE}

    async def save(self, some: list[Session]) -> None:
        """Write the rows of some sessions (they were sealed)."""
        for session in some:
            session.told = True
        async with self.engine.begin() as connection:
            await _sessions(connection, some)

    async def set_journal_state(self, name: str, state: str) -> None:
        """Note what became of a journal."""
        async with self.engine.begin() as connection:
            await connection.execute(
                update(journals).where(journals.c.name == name).values(state=state)
            )


Values = tuple[Any, ...]


def _insert(into: Table) -> str:
    """Return an INSERT of whole rows in the driver's own words."""
    names = ", ".join(f'"{column.name}"' for column in into.c)
    return f"INSERT INTO {into.name} ({names}) VALUES ({', '.join('?' * len(into.c))})"


_BLOCK = _insert(blocks)
_BLOCK_SHAPE = _insert(block_shapes)
_LATE = (
    _insert(late) + " ON CONFLICT (session, operation, held) DO UPDATE SET "
    "approval = excluded.approval, tag = excluded.tag, code = excluded.code, "
    "rows = rows + excluded.rows, bytes = bytes + excluded.bytes, "
    "elapsed = elapsed + excluded.elapsed"
)
_PLACE = (
    _insert(journals) + ' ON CONFLICT (name) DO UPDATE SET "offset" = excluded."offset", '
    "chain = excluded.chain, state = excluded.state, problem = excluded.problem"
)
_KEPT = ("id", "legal_hold")
_SESSION = (
    update(sessions)
    .where(sessions.c.id == bindparam("of_id"))
    .values(
        {
            column.name: bindparam(f"new_{column.name}")
            for column in sessions.c
            if column.name not in _KEPT
        }
    )
)


_COUNTS = ("events", "operations", "denied", "held", "rows", "bytes")
_COUNTED = (
    "UPDATE recording_sessions SET "
    + ", ".join(f'"{name}" = ?' for name in (*_COUNTS, "extents"))
    + " WHERE id = ?"
)
"""All that changes of most sessions, in the driver's own words: there may be thousands."""


async def _many(connection: AsyncConnection, statement: Any, rows: list[Row]) -> None:
    if rows:
        await connection.execute(statement, rows)


async def _sessions(connection: AsyncConnection, changed: list[Session]) -> None:
    await _many(connection, insert(sessions), [one.row for one in changed if one.fresh])
    counted = [
        (*(one.row[name] for name in _COUNTS), json.dumps(one.row["extents"]), one.id)
        for one in changed
        if not (one.fresh or one.told)
    ]
    await _driven(connection, _COUNTED, counted)
    known = [
        {f"new_{name}": value for name, value in one.row.items() if name not in _KEPT}
        | {"of_id": one.id}
        for one in changed
        if one.told and not one.fresh
    ]
    await _many(connection, _SESSION, known)


async def _driven(connection: AsyncConnection, statement: str, rows: list[Values]) -> None:
    """Execute by the driver alone, in its transaction: these are what every batch needs."""
    if rows:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.executemany(statement, rows)


def _place(batch: Batch) -> Values:
    return (
        batch.name, batch.worker, batch.sequence, batch.offset, batch.chain, batch.state,
        batch.problem,
    )  # fmt: skip
