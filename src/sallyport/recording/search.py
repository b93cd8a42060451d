"""Search: the operations in the index's blocks, newest first.

The store names the blocks that may hold what is asked for (by session, time, verb, table,
decision); they are opened here, some at a time in a thread, until there are enough. A text that
is asked for is looked for in each block's distinct texts: one look for a statement that ran a
thousand times.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.recording.blocks import PLACES, Columns, places, unpack_columns, unpack_texts
from sallyport.recording.index import Index
from sallyport.recording.query import (
    find_blocks,
    find_blocks_of,
    find_sessions,
    of_shape,
    older_than,
    page,
    session_record,
)
from sallyport.recording.records import Filter, OperationRecord, SessionRecord
from sallyport.recording.who import who_in
from sallyport.store.recording_schema import blocks, late, shapes
from sallyport.store.sealed_text import UNREADABLE

SOME = 64
"""Blocks that are opened in one go of a thread."""
SOME_SESSIONS = 100
"""Sessions whose blocks are looked for at once."""


class _Opened(Struct, frozen=True):
    """A block that was read. `texts` None: they cannot be opened."""

    row: Any
    columns: Columns
    texts: list[str] | None


Hit = tuple[float, int, _Opened, int]
"""When, the operation's number, and where it stands. No two have the same number."""


class Search:
    """Reads the index's blocks."""

    def __init__(self, index: Index) -> None:
        self._index = index

    async def operations(self, wanted: Filter) -> list[OperationRecord]:
        """Return the decisions that `wanted` asks for, newest first."""
        limit, offset = page(wanted)
        if not limit:
            return []
        async with self._index.reader.connect() as connection:
            narrow = await self._shapes(connection, wanted)
            hits = await self._hits(connection, wanted, narrow, limit + offset)
            chosen = sorted(hits, reverse=True)[offset:]
            common = await _common(connection, {hit[2].columns.shapes[hit[3]] for hit in chosen})
            ended = await _ended(connection, chosen)
        return _records(chosen, common, ended)

    async def sessions(self, wanted: Filter) -> list[SessionRecord]:
        """Return the sessions that `wanted` asks for, newest first."""
        query = find_sessions(wanted)
        limit, offset = page(wanted)
        async with self._index.reader.connect() as connection:
            if not wanted.text:
                rows = await connection.execute(query.limit(limit).offset(offset))
                return [session_record(row) for row in rows.mappings()]
            narrow = await self._shapes(connection, wanted)
            found: list[SessionRecord] = []
            begin = 0
            while len(found) < limit + offset:
                rows = await connection.execute(query.limit(SOME_SESSIONS).offset(begin))
                some = [session_record(row) for row in rows.mappings()]
                if not some:
                    break
                names = await self._with_text(connection, [one.id for one in some], wanted, narrow)
                found += [one for one in some if one.id in names]
                begin += SOME_SESSIONS
        return found[offset : offset + limit]

    async def _shapes(self, connection: AsyncConnection, wanted: Filter) -> frozenset[int] | None:
        conditions = of_shape(wanted)
        if not conditions:
            return None
        found = await connection.execute(select(shapes.c.id).where(*conditions))
        return frozenset(found.scalars())

    async def _hits(
        self,
        connection: AsyncConnection,
        wanted: Filter,
        narrow: frozenset[int] | None,
        count: int,
    ) -> list[Hit]:
        """Return the newest `count` hits, in no order."""
        best: list[Hit] = []
        query, after = find_blocks(wanted).limit(SOME), None
        while True:
            some = query if after is None else query.where(after)
            rows = (await connection.execute(some)).all()
            if rows and len(best) >= count and best[0][0] > rows[0].last:
                return best
            best = await asyncio.to_thread(self._best, best, rows, wanted, narrow, count)
            if len(rows) < SOME:
                return best
            after = older_than(rows[-1].last, rows[-1].id)

    def _best(
        self,
        best: list[Hit],
        rows: Sequence[Any],
        wanted: Filter,
        narrow: frozenset[int] | None,
        count: int,
    ) -> list[Hit]:
        for row in rows:
            if len(best) >= count and best[0][0] > row.last:
                break
            opened = self._open(row)
            for place in self._found(opened, wanted, narrow, wanted.since, wanted.until):
                hit = (opened.columns.at[place], (row.id << PLACES) + place, opened, place)
                if len(best) < count:
                    heapq.heappush(best, hit)
                elif hit[:2] > best[0][:2]:
                    heapq.heapreplace(best, hit)
        return best

    async def _with_text(
        self,
        connection: AsyncConnection,
        names: list[str],
        wanted: Filter,
        narrow: frozenset[int] | None,
    ) -> set[str]:
        """Return the sessions among `names` with an operation that is asked for."""
        found: set[str] = set()
        query = find_blocks_of(names, wanted).order_by(blocks.c.id)
        async for rows in (await connection.stream(query)).partitions(SOME):
            found |= await asyncio.to_thread(self._sessions_in, rows, wanted, narrow, found)
        return found

    def _sessions_in(
        self, rows: Sequence[Any], wanted: Filter, narrow: frozenset[int] | None, known: set[str]
    ) -> set[str]:
        found: set[str] = set()
        for row in rows:
            if row.session in known or row.session in found:
                continue
            for _ in self._found(self._open(row), wanted, narrow, None, None):
                found.add(row.session)
                break
        return found

    def _open(self, row: Any) -> _Opened:
        stored = self._index.sealed.open_bytes(row.texts)
        texts = unpack_texts(stored) if stored is not None else None
        return _Opened(row, unpack_columns(row.columns), texts)

    def _found(
        self,
        opened: _Opened,
        wanted: Filter,
        narrow: frozenset[int] | None,
        since: float | None,
        until: float | None,
    ) -> Sequence[int]:
        """Return the places of what is asked for in a block."""
        numbers = None
        if wanted.text:
            part = wanted.text.casefold()
            numbers = frozenset(
                number for number, text in enumerate(opened.texts or ()) if part in text.casefold()
            )
            if not numbers:
                return ()
        return list(places(opened.columns, narrow, numbers, since, until))


async def _common(connection: AsyncConnection, numbers: set[int]) -> dict[int, Any]:
    """Return the shapes with these numbers."""
    found: dict[int, Any] = {}
    wanted = list(numbers)
    for first in range(0, len(wanted), 500):
        query = select(shapes).where(shapes.c.id.in_(wanted[first : first + 500]))
        for row in await connection.execute(query):
            found[row.id] = row
    return found


async def _ended(
    connection: AsyncConnection, hits: Sequence[Hit]
) -> dict[tuple[str, int], list[Any]]:
    """Return what was said later of these operations."""
    keys = list({(hit[2].row.session, hit[2].columns.operations[hit[3]]) for hit in hits})
    found: dict[tuple[str, int], list[Any]] = {}
    for first in range(0, len(keys), 200):
        some = tuple_(late.c.session, late.c.operation).in_(keys[first : first + 200])
        for row in await connection.execute(select(late).where(some)):
            found.setdefault((row.session, row.operation), []).append(row)
    return found


def _records(
    hits: Sequence[Hit], common: dict[int, Any], ended: dict[tuple[str, int], list[Any]]
) -> list[OperationRecord]:
    found: list[OperationRecord] = []
    told: set[tuple[str, int, bool]] = set()
    for at, number, opened, place in hits:
        columns, row = opened.columns, opened.row
        shape = common[columns.shapes[place]]
        operation = columns.operations[place]
        key = (row.session, operation, shape.decision == "hold")
        # what was said later is of the operation's last decision of that kind
        more = [] if key in told else ended.get(key[:2], [])
        told.add(key)
        later = next((one for one in more if one.held == key[2]), None)
        found.append(
            OperationRecord(
                number, row.session, operation, at, who_in(row._mapping), row.protocol,
                shape.verb, shape.effect, shape.decision, tuple(shape.rules), shape.reason,
                opened.texts[columns.texts[place]] if opened.texts is not None else UNREADABLE,
                tuple(shape.resources),
                later.approval if later and key[2] else columns.approvals[place],
                later.tag if later else columns.tags[place],
                later.code if later else columns.codes[place],
                columns.rows[place] + (later.rows if later else 0),
                columns.bytes[place] + (later.bytes if later else 0),
                columns.elapsed[place] + (later.elapsed if later else 0.0),
            )
        )  # fmt: skip
    return found
