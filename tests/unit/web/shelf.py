"""A library whose recordings a test puts there; its tail is the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from sallyport.core.event import (
    OperationDecided,
    RecordedEvent,
    ResultEnded,
    SessionClosed,
    SessionOpened,
)
from sallyport.core.operation import Effect, Resource
from sallyport.recording.records import (
    AuditRecord,
    Dropped,
    Filter,
    OperationRecord,
    SessionRecord,
)


class Shelf:
    """Sessions in memory."""

    def __init__(self) -> None:
        self.records: dict[str, SessionRecord] = {}
        self.recorded: dict[str, list[RecordedEvent]] = {}
        self.asked: list[Filter] = []
        self.held: set[str] = set()
        self.live: list[RecordedEvent | Dropped] = []

    def put(self, identifier: str, *, subject: str = "agent-1", text: str = "select 1") -> None:
        self.records[identifier] = session_record(identifier, subject)
        self.recorded[identifier] = events(identifier, subject, text)

    async def sessions(self, filter: Filter) -> Sequence[SessionRecord]:
        self.asked.append(filter)
        found = [r for r in self.records.values() if filter.subject in (None, r.subject)]
        found.sort(key=lambda record: record.id, reverse=True)
        return found[filter.offset : filter.offset + filter.limit]

    async def session(self, identifier: str) -> SessionRecord | None:
        return self.records.get(identifier)

    async def events(
        self, identifier: str, *, follow: bool = False
    ) -> AsyncIterator[RecordedEvent]:
        for event in self.recorded[identifier]:
            yield event

    async def export(self, identifier: str) -> AsyncIterator[str]:
        for event in self.recorded[identifier]:
            yield msgspec.json.encode(event).decode()

    async def search(self, filter: Filter) -> Sequence[OperationRecord]:
        self.asked.append(filter)
        return [
            OperationRecord(
                1, name, 1, 1000.0, record.subject, "shop", "postgres", "select", "read", "allow",
                ("r",), "", "select 1", ("table:public.t",), "", "SELECT 1", "", 1, 10, 0.1,
            )
            for name, record in self.records.items()
        ]  # fmt: skip

    async def audited(self, filter: Filter) -> Sequence[AuditRecord]:
        self.asked.append(filter)
        return [AuditRecord(1, 1000.0, "root", "token-created", "t-1", "", {"roles": ["admin"]})]

    async def tail(
        self, filter: Filter, backlog: int = 0
    ) -> AsyncIterator[RecordedEvent | Dropped]:
        self.asked.append(filter)
        for event in self.live:
            yield event
        import asyncio

        await asyncio.Event().wait()

    async def hold(self, identifier: str, held: bool) -> bool:
        (self.held.add if held else self.held.discard)(identifier)
        return identifier in self.records


def session_record(identifier: str, subject: str) -> SessionRecord:
    return SessionRecord(
        id=identifier, state="sealed", subject=subject, groups=("agents",), issuer="sallyport",
        token="t-1", actors=(), source="127.0.0.1", application="psql", protocol="postgres",
        target="shop", database="shop", login="app", write=False, encrypted=False, opened=1000.0,
        closed=1010.0, reason="client left", worker="w1", events=4, operations=1, denied=0, held=0,
        rows=1, bytes=10, size=100, root="00", legal_hold=False,
    )  # fmt: skip


def events(identifier: str, subject: str, text: str) -> list[RecordedEvent]:
    return [
        SessionOpened(
            identifier, 1000.0, subject, ("agents",), "sallyport", "t-1", (), "127.0.0.1", "psql",
            "postgres", "shop", "shop", "app", False, 2000.0, "r1", False,
        ),
        OperationDecided(
            identifier, 1001.0, 1, "select", "read",
            (Resource("database", "shop", Effect.READ),), (), text, (), b"f", b"d", "allow", ("r",),
        ),
        ResultEnded(identifier, 1001.5, 1, "SELECT 1", 1, 10, b"h", False, 0.5),
        SessionClosed(identifier, 1010.0, "client left", 1, 1),
    ]  # fmt: skip
