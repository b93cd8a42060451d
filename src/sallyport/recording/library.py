"""Library: what was recorded, for whoever may see it: lists, search, events, live tail, export.

It only reads; nothing but retention deletes. Who may ask, and that asking is itself audited, is
the API's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from sqlalchemy import select, update

from sallyport.core.event import RecordedEvent, SessionClosed, SessionOpened
from sallyport.recording.cutting import extent_payloads
from sallyport.recording.encoding import decode
from sallyport.recording.export import export_line
from sallyport.recording.files import FormatError
from sallyport.recording.findings import find_findings, finding_record
from sallyport.recording.follow import Follower
from sallyport.recording.query import audit_record, find_audit
from sallyport.recording.records import (
    LEAVING,
    OPEN,
    AuditRecord,
    Dropped,
    Filter,
    FindingRecord,
    OperationRecord,
    SessionRecord,
)
from sallyport.recording.sealed import SealedReader
from sallyport.recording.search import Search
from sallyport.recording.tail import weight
from sallyport.recording.who import Attributed, Who, who_in, who_said
from sallyport.store.recording_schema import sessions

TURN_EVENTS = 500
TURN_BYTES = 2 * 1024 * 1024
"""What is read in one go of the thread."""


class Library:
    """The recordings that `follower` follows."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._index = follower.index
        self._search = Search(follower.index)
        self._places = follower.places

    async def sessions(self, wanted: Filter | None = None) -> list[SessionRecord]:
        """Return the sessions that `wanted` asks for, newest first."""
        return await self._search.sessions(wanted or Filter())

    async def session(self, name: str) -> SessionRecord | None:
        """Return one session, or None."""
        found = await self.sessions(Filter(session=name, limit=1))
        return found[0] if found else None

    async def search(self, wanted: Filter) -> list[OperationRecord]:
        """Return the decisions that `wanted` asks for, newest first."""
        return await self._search.operations(wanted)

    async def audit(self, wanted: Filter, action: str | None = None) -> list[AuditRecord]:
        """Return what was done to the product, newest first.

        `wanted.subject` is the actor, `wanted.target` the object; `action` may hold `*`.
        """
        query = find_audit(wanted, action)
        async with self._index.reader.connect() as connection:
            rows = (await connection.execute(query)).mappings()
            return [audit_record(row, self._index.open_details) for row in rows]

    async def findings(
        self,
        target: str | None = None,
        database: str | None = None,
        since: float | None = None,
        *,
        limit: int = 100,
        offset: int = 0,
    ) -> list[FindingRecord]:
        """Return what detectors found in columns that no mask names, most hits first.

        `since`: only what was found at or after it.
        """
        query = find_findings(target, database, since, limit, offset)
        async with self._index.reader.connect() as connection:
            return [finding_record(row) for row in (await connection.execute(query)).mappings()]

    async def events(self, name: str, *, follow: bool = False) -> AsyncIterator[Attributed]:
        """Yield one session's events in order, nothing for an unknown one.

        Whose they are the recording says itself; the index, as far as the opening is not in it.
        `follow`: of a session that is still open, go on until it is closed. Raises: LookupError
        when a live reader was too slow for it; OSError, FormatError when the file is not whole.
        """
        look = None
        async with self._follower.lock:
            live = self._follower.live.get(name)
            if follow and live is not None and live.row["state"] == OPEN:
                look = self._follower.tail.look(Filter(session=name))
            source, who = await self._source(name)
        try:
            ended = False
            async for event in _in_thread(source):
                ended = isinstance(event, SessionClosed)
                if isinstance(event, SessionOpened):
                    who = who_said(event)
                yield Attributed(event, who)
            if look is None or ended:
                return
            async for item in look.items():
                if isinstance(item, Dropped):
                    raise LookupError(f"session `{name}` went on faster than it was read")
                yield item
                if isinstance(item.event, SessionClosed):
                    return
        finally:
            if look is not None:
                self._follower.tail.leave(look)

    async def tail(
        self, wanted: Filter | None = None, backlog: int = 0
    ) -> AsyncGenerator[Attributed | Dropped, None]:
        """Yield events of all sessions as they are recorded, beginning `backlog` events back.

        Where `wanted` speaks of operations only decisions are shown. `Dropped` stands where the
        reader was too slow. Ends when control does.
        """
        look = self._follower.tail.look(wanted or Filter(), backlog)
        try:
            async for item in look.items():
                yield item
        finally:
            self._follower.tail.leave(look)

    async def export(self, wanted: str | Filter) -> AsyncIterator[str]:
        """Yield JSON Lines of one session, or of all that `wanted` asks for, oldest first."""
        if isinstance(wanted, str):
            names = [wanted]
        else:
            names = [found.id for found in reversed(await self.sessions(wanted))]
        for name in names:
            async for item in self.events(name):
                yield export_line(item.event, item.who) + "\n"

    async def hold(self, name: str, on: bool) -> bool:
        """Exempt a session from retention, or end that; False if there is no such session."""
        change = (
            update(sessions)
            .where(sessions.c.id == name, sessions.c.state != LEAVING)
            .values(legal_hold=on)
        )
        async with self._follower.lock, self._index.engine.begin() as connection:
            found = (await connection.execute(change)).rowcount > 0
            live = self._follower.live.get(name)
            if found and live is not None:
                live.row["legal_hold"] = on
        return found

    async def _source(self, name: str) -> tuple[Iterator[RecordedEvent], Who | None]:
        """Return what reads a session's events as they are now, and what the index knows of it."""
        query = select(sessions).where(sessions.c.id == name)
        async with self._index.reader.connect() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            return iter(()), None
        return self._read(name, row["path"], row["extents"]), who_in(row)

    def _read(
        self, name: str, path: str, extents: list[list[str | int]]
    ) -> Iterator[RecordedEvent]:
        if path:
            sealed = SealedReader(self._places.root / path, self._places.key)
            for payload in sealed.payloads():
                event = decode(payload)
                if event.session != name:  # FAILS CLOSED: another file in its place
                    raise FormatError(f"`{path}` holds another session than `{name}`")
                yield event
        for payload in extent_payloads(self._places, name, extents):
            yield decode(payload)


async def _in_thread(source: Iterator[RecordedEvent]) -> AsyncIterator[RecordedEvent]:
    """Run a blocking iterator in a thread, some events at a time."""
    while True:
        some = await asyncio.to_thread(_turn, source)
        if not some:
            return
        for event in some:
            yield event


def _turn(source: Iterator[RecordedEvent]) -> list[RecordedEvent]:
    some: list[RecordedEvent] = []
    size = 0
    for event in source:
        some.append(event)
        size += weight(event)
        if len(some) >= TURN_EVENTS or size >= TURN_BYTES:
            break
    return some
