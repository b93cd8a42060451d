"""Findings in the store: each count once, bounded for each target, forgotten in time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.event import OTHER_COLUMNS, FindingCount, FindingsCounted
from sallyport.recording import findings
from sallyport.recording import index as index_module
from sallyport.recording.export import export_event
from sallyport.recording.follow import Follower
from sallyport.recording.journal import Journal
from sallyport.recording.library import Library
from sallyport.recording.places import Places
from sallyport.recording.records import FindingRecord
from sallyport.recording.retention import Keeping, Retention, Rules
from sallyport.store.database import Database
from sallyport.store.recording_schema import findings as table
from tests.support.recordings import T0, closed, opened
from tests.unit.store.template import place

NOTES = "public.customers.notes"


def event(
    session: str, at: float, *found: tuple[str, int, int], detector: str = "email"
) -> FindingsCounted:
    counts = tuple(FindingCount(column, detector, hits, cells) for column, hits, cells in found)
    return FindingsCounted(session, at, 1, counts)


class Desk:
    def __init__(self, database: Database, root: Path) -> None:
        self.engine = database.engine
        self.places = Places(root)
        self.journal = Journal(self.places.journals, "worker-1", reserve=0)
        self.follower = Follower(database.engine, self.places)
        self.library = Library(self.follower)

    def write(self, events: Iterable[object]) -> None:
        for one in events:
            self.journal.record(one)  # type: ignore[arg-type]
        self.journal.flush()

    async def step(self) -> None:
        while await self.follower.step():
            pass


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database(place(tmp_path / "store.db"))
    await database.open()
    made = Desk(database, tmp_path / "recordings")
    yield made
    await made.journal.close()
    await made.follower.stop()
    await database.close()


async def test_counts_add_up_over_batches_and_sessions(desk: Desk) -> None:
    desk.write([opened("s-1"), event("s-1", T0 + 5, (NOTES, 300, 200), ("", 1, 1))])
    desk.write([event("s-1", T0 + 6, (NOTES, 12, 12))])
    await desk.step()
    later = opened("s-2", T0, "bot")
    desk.write([later, event("s-2", T0 + 9, (NOTES, 1, 1)), event("s-2", T0 + 3, (NOTES, 1, 1))])
    desk.write([opened("s-3", target="other"), event("s-3", T0, (NOTES, 7, 7), detector="card")])
    await desk.step()
    notes = FindingRecord("shop", "shop", NOTES, "email", 314, 214, T0 + 3, T0 + 9, "bot")
    assert await desk.library.findings("shop") == [
        notes, FindingRecord("shop", "shop", "", "email", 1, 1, T0 + 5, T0 + 5, "agent-1")
    ]  # fmt: skip
    assert [one.target for one in await desk.library.findings()] == ["shop", "other", "shop"]
    assert await desk.library.findings("shop", since=T0 + 6) == [notes]
    assert await desk.library.findings("shop", "elsewhere") == []
    assert await desk.library.findings("shop", limit=1) == [notes]
    assert len(await desk.library.findings(limit=10, offset=1)) == 2


async def test_a_late_batch_does_not_become_the_last(desk: Desk) -> None:
    desk.write([opened("s-1"), event("s-1", T0 + 9, (NOTES, 1, 1))])
    await desk.step()
    desk.write([opened("s-2", T0, "bot"), event("s-2", T0 + 1, (NOTES, 1, 1))])
    await desk.step()
    (one,) = await desk.library.findings()
    assert (one.hits, one.first, one.last, one.subject) == (2, T0 + 1, T0 + 9, "agent-1")


async def test_a_batch_that_could_not_be_written_counts_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store fails after the findings were added: they go with the rest."""
    desk.write([opened("s-1"), event("s-1", T0, (NOTES, 5, 5))])
    whole = index_module._driven

    async def fails(connection: AsyncConnection, statement: str, rows: list[object]) -> None:
        if statement == index_module._PLACE:
            raise OperationalError("no", {}, Exception())
        await whole(connection, statement, rows)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(index_module, "_driven", fails)
        with pytest.raises(OperationalError):
            await desk.step()
    assert await desk.library.findings() == []
    await desk.step()
    assert [one.hits for one in await desk.library.findings()] == [5]
    again = Follower(desk.engine, desk.places)
    await again.step()
    assert [one.hits for one in await desk.library.findings()] == [5]
    await again.stop()


async def test_names_of_a_target_are_bounded_and_nothing_is_left_uncounted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "MOST", 50)
    for session in range(10):
        name = f"s-{session}"
        columns = [(f"public.t{session}.c{n}", 2, 1) for n in range(20)]
        desk.write([opened(name), event(name, T0 + session, *columns)])
        if session % 3 == 0:
            await desk.step()
    desk.write([opened("s-o", target="other"), event("s-o", T0, (NOTES, 1, 1))])
    desk.write([event("s-0", T0 + 99, ("public.t0.c3", 1, 1), ("public.new.c", 4, 4))])
    await desk.step()
    found = await desk.library.findings("shop", limit=1000)
    assert len(found) == 51
    assert sum(one.hits for one in found) == 10 * 20 * 2 + 5
    rest = found[0]
    assert (rest.column, rest.database, rest.detector) == (OTHER_COLUMNS, "", "email")
    assert (rest.hits, rest.first, rest.last) == (304, T0 + 2, T0 + 99)
    assert next(one.hits for one in found if one.column == "public.t0.c3") == 3
    assert [one.column for one in await desk.library.findings("other")] == [NOTES]


async def test_names_as_long_and_odd_as_they_may_be(desk: Desk) -> None:
    odd = "\ud800\x00" + "é" * 300
    desk.write([opened("s-1"), event("s-1", T0, (odd, 1, 1))])
    await desk.step()
    (one,) = await desk.library.findings()
    assert len(one.column) <= 256
    assert not desk.follower.problems


async def test_what_is_of_no_known_session_is_left_out(desk: Desk) -> None:
    desk.write([event("s-9", T0, (NOTES, 1, 1))])
    await desk.step()
    assert await desk.library.findings() == []


async def test_an_event_that_is_no_such_event_stops_nothing(desk: Desk) -> None:
    wrong = FindingsCounted("s-1", T0, 1, ("no count",))  # type: ignore[arg-type]
    desk.write([opened("s-1"), wrong, event("s-1", T0, (NOTES, 1, 1)), closed("s-1", T0)])
    await desk.step()
    assert [one.hits for one in await desk.library.findings()] == [1]


async def test_what_is_not_found_again_is_forgotten_like_recordings(desk: Desk) -> None:
    for target in ("shop", "kept", "short"):
        name = f"s-{target}"
        desk.write([opened(name, T0, target=target), event(name, T0 + 100, (NOTES, 1, 1))])
    await desk.step()
    rules = Rules(Keeping(age=500), {"kept": Keeping(), "short": Keeping(age=50)})

    async def left(now: float) -> set[str]:
        await Retention(desk.follower, rules, lambda _: None, clock=lambda: now).run()
        return {one.target for one in await desk.library.findings()}

    assert await left(T0 + 140) == {"shop", "kept", "short"}
    assert await left(T0 + 200) == {"shop", "kept"}
    assert await left(T0 + 700) == {"kept"}
    async with desk.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(table)) == 1


def test_what_is_exported_is_names_and_counts() -> None:
    line = export_event(event("s-1", T0, (NOTES, 3, 2)), None)
    assert {key: line[key] for key in ("type", "session", "operation", "found")} == {
        "type": "findings-counted",
        "session": "s-1",
        "operation": 1,
        "found": [{"column": NOTES, "detector": "email", "hits": 3, "cells": 2}],
    }
