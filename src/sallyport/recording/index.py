"""Index: what the follower writes into the store, in one transaction with how far it read.

So a batch counts once, whatever dies when. On SQLite the statements' texts are searched through
FTS5 by trigrams, which finds what LIKE would find; elsewhere LIKE itself is used. Where recordings
are encrypted the texts are too: then a search opens every one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, func, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sallyport.recording.changes import Changes, Numbers, Row, Session
from sallyport.recording.feed import Batch, Place
from sallyport.recording.records import CLOSED, OPEN
from sallyport.store.recording_schema import (
    TABLES,
    audit,
    journals,
    operations,
    sessions,
    shapes,
    texts,
    touched,
)
from sallyport.store.schema import metadata
from sallyport.store.sealed_text import SealedText

FULL_TEXT = "recording_text"
"""The FTS5 table over `recording_texts`."""

_FULL_TEXT_DDL = (
    f"CREATE VIRTUAL TABLE {FULL_TEXT} USING fts5("
    "text, content='recording_texts', content_rowid='id', tokenize='trigram')",
    "CREATE TRIGGER recording_text_remove AFTER DELETE ON recording_texts BEGIN "
    f"INSERT INTO {FULL_TEXT}({FULL_TEXT}, rowid, text) VALUES ('delete', old.id, old.text); END",
    f"INSERT INTO {FULL_TEXT}({FULL_TEXT}) VALUES ('rebuild')",
)


SCAN = 1000
"""Texts that a search opens in one go of a thread."""

_ADD_FULL_TEXT = (
    f"INSERT INTO {FULL_TEXT}(rowid, text) SELECT id, text FROM recording_texts "
    "WHERE id BETWEEN ? AND ?"
)
_NO_FULL_TEXT_DDL = (
    "DROP TRIGGER IF EXISTS recording_text_remove",
    f"DROP TABLE IF EXISTS {FULL_TEXT}",
)
"""By the batch: a trigger for each row would cost five times as much."""


class Index:
    """The recordings' tables, as the follower uses them. `key`: texts are encrypted under it."""

    def __init__(self, engine: AsyncEngine, key: bytes | None = None) -> None:
        self.engine = engine
        self.sealed = SealedText(key, "recording_texts.text")
        self.reader = engine.execution_options(sallyport_read_only=True)
        self.full_text = False
        self._add_operations = _insert(operations, engine.dialect.paramstyle)
        self._add_texts = _insert(texts, engine.dialect.paramstyle)

    async def prepare(self) -> None:
        """Make what is missing, and find out whether there is full-text search."""
        async with self.engine.begin() as connection:
            await connection.run_sync(metadata.create_all, tables=list(TABLES))
        if self.engine.dialect.name == "sqlite":
            self.full_text = await self._prepare_full_text()

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
                for table in (operations, audit, shapes, texts)
            ]
        return places, live, Numbers(*(number + 1 for number in last))

    async def texts_with(self, part: str) -> list[int]:
        """Return the numbers of the texts that hold `part`, whatever its case: opens them all."""
        wanted = part.casefold()
        found: list[int] = []
        async with self.reader.connect() as connection:
            query = select(texts.c.id, texts.c.text)
            async for some in (await connection.stream(query)).partitions(SCAN):
                found += await asyncio.to_thread(self._matching, some, wanted)
        return found

    def _matching(self, some: Sequence[Any], wanted: str) -> list[int]:
        return [row.id for row in some if wanted in self.sealed.open(row.text).casefold()]

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
        async with self.engine.begin() as connection:
            await _sessions(connection, [changes.live[name] for name in changes.touched])
            await _many(connection, insert(shapes), changes.shapes)
            await _many(connection, insert(touched), changes.resources)
            if changes.texts:
                stored = changes.texts
                if self.sealed.seals:
                    stored = [(number, self.sealed.seal(text)) for number, text in stored]
                await connection.exec_driver_sql(self._add_texts, stored)
                if self.full_text:
                    span = (changes.texts[0][0], changes.texts[-1][0])
                    await connection.exec_driver_sql(_ADD_FULL_TEXT, span)
            if changes.operations:
                rows = [tuple(row) for row in changes.operations]
                await connection.exec_driver_sql(self._add_operations, rows)
            await _many(connection, insert(audit), changes.audit)
            await _many(connection, _HOLD, changes.holds)
            await _many(connection, _RESULT, changes.results)
            for batch in batches:
                await _place(connection, batch)
        for name in changes.touched:
            changes.live[name].fresh = False

    async def save(self, session: Session) -> None:
        """Write one session's row (it was sealed)."""
        async with self.engine.begin() as connection:
            await _sessions(connection, [session])

    async def set_journal_state(self, name: str, state: str) -> None:
        """Note what became of a journal."""
        async with self.engine.begin() as connection:
            await connection.execute(
                update(journals).where(journals.c.name == name).values(state=state)
            )

    async def _prepare_full_text(self) -> bool:
        there = "SELECT 1 FROM sqlite_master WHERE name = 'recording_text'"
        try:
            async with self.engine.begin() as connection:
                if self.sealed.seals:
                    for statement in _NO_FULL_TEXT_DDL:
                        await connection.exec_driver_sql(statement)
                    return False
                if (await connection.exec_driver_sql(there)).first() is None:
                    for statement in _FULL_TEXT_DDL:
                        await connection.exec_driver_sql(statement)
        except DBAPIError:
            return False
        return True


def _decision_of(held: bool) -> ColumnElement[bool]:
    """The operation's last decision of that kind, found by its own index and no other."""
    inner, shape = operations.alias(), shapes.alias()
    kind = shape.c.decision == "hold" if held else shape.c.decision != "hold"
    newest = select(func.max(inner.c.id)).where(
        inner.c.session == bindparam("of_session"),
        inner.c.operation == bindparam("of_operation"),
        select(shape.c.id).where(shape.c.id == inner.c.shape, kind).exists(),
    )
    return operations.c.id == newest.scalar_subquery()


_HOLD = (
    update(operations)
    .where(_decision_of(held=True))
    .values(approval=bindparam("new_approval"), tag=bindparam("new_tag"))
)
_RESULT = (
    update(operations)
    .where(_decision_of(held=False))
    .values(
        tag=bindparam("new_tag"),
        code=bindparam("new_code"),
        rows=operations.c.rows + bindparam("more_rows"),
        bytes=operations.c.bytes + bindparam("more_bytes"),
        elapsed=operations.c.elapsed + bindparam("more_elapsed"),
    )
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


def _insert(into: Table, paramstyle: str) -> str:
    """Return an INSERT of whole rows for the driver itself: these two are the many ones."""
    count = len(into.c)
    marks = ["?"] * count if paramstyle == "qmark" else [f"${n + 1}" for n in range(count)]
    names = ", ".join(f'"{column.name}"' for column in into.c)
    return f"INSERT INTO {into.name} ({names}) VALUES ({', '.join(marks)})"


async def _many(connection: AsyncConnection, statement: Any, rows: list[Row]) -> None:
    if rows:
        await connection.execute(statement, rows)


async def _sessions(connection: AsyncConnection, changed: list[Session]) -> None:
    await _many(connection, insert(sessions), [one.row for one in changed if one.fresh])
    known = [
        {f"new_{name}": value for name, value in one.row.items() if name not in _KEPT}
        | {"of_id": one.id}
        for one in changed
        if not one.fresh
    ]
    await _many(connection, _SESSION, known)


async def _place(connection: AsyncConnection, batch: Batch) -> None:
    values = {
        "worker": batch.worker,
        "sequence": batch.sequence,
        "offset": batch.offset,
        "chain": batch.chain,
        "state": batch.state,
        "problem": batch.problem,
    }
    known = await connection.execute(
        update(journals).where(journals.c.name == batch.name).values(**values)
    )
    if known.rowcount == 0:
        await connection.execute(insert(journals).values(name=batch.name, **values))
