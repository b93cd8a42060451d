"""The follower: everything once, whatever dies when; sealing, and letting journals go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from sallyport.core.event import (
    Audited,
    HoldOpened,
    HoldSettled,
    LoginRefused,
    RecordedEvent,
    SessionClosed,
)
from sallyport.recording import feed as feed_module
from sallyport.recording import follow as follow_module
from sallyport.recording.follow import Follower
from sallyport.recording.journal import Journal
from sallyport.recording.library import Library
from sallyport.recording.places import Places
from sallyport.recording.records import Filter
from sallyport.recording.sealed import SealedReader, SealedWriter
from sallyport.recording.torn import journals, read_seal
from sallyport.recording.verify import verify
from sallyport.recording.who import Attributed
from sallyport.store.database import Database
from tests.support.recordings import KEY, T0, closed, decided, ended, opened, rows, whole
from tests.unit.store.template import place


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    database = Database(place(tmp_path / "store.db"))
    await database.open()
    yield database.engine
    await database.close()


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    return Places(tmp_path / "recordings", request.param)


def write(
    places: Places, events: Iterable[RecordedEvent], worker: str = "worker-1", **more: int
) -> Journal:
    journal = Journal(places.journals, worker, key=places.key, reserve=0, **more)  # type: ignore[arg-type]
    for event in events:
        journal.record(event)
        journal.flush()
    return journal


async def catch_up(follower: Follower) -> None:
    while await follower.step():
        pass
    await follower.seal_finished()


async def follow(engine: AsyncEngine, places: Places, keep: float = 600) -> Follower:
    follower = Follower(engine, places, keep=keep)
    await catch_up(follower)
    return follower


async def collect(source: AsyncIterator[Attributed]) -> list[RecordedEvent]:
    return [one.event async for one in source]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_session_is_indexed_while_open_and_sealed_when_over(
    engine: AsyncEngine, places: Places
) -> None:
    events = whole("s-1")
    journal = write(places, events[:-1])
    follower = await follow(engine, places)
    library = Library(follower)
    found = await library.session("s-1")
    assert found is not None
    assert (found.state, found.subject, found.target, found.closed) == (
        "open",
        "agent-1",
        "shop",
        None,
    )
    assert await collect(library.events("s-1")) == events[:-1]
    journal.record(events[-1])
    journal.flush()
    await catch_up(follower)
    found = await library.session("s-1")
    assert found is not None
    assert (found.state, found.reason, found.events) == ("sealed", "client left", 5)
    assert (found.operations, found.rows, found.bytes) == (1, 3, 30)
    assert found.size > 0
    assert await collect(library.events("s-1")) == events
    assert verify(places.root, places.key).ok
    await journal.close()


async def test_a_restart_in_the_middle_counts_nothing_twice(
    engine: AsyncEngine, places: Places
) -> None:
    """The follower is dropped after every batch, as if control had been killed there."""
    events = [decided("s-1", n, T0 + n) for n in range(30)]
    journal = Journal(places.journals, "worker-1", key=places.key, reserve=0)
    journal.record(opened("s-1"))
    for number, event in enumerate(events):
        journal.record(event)
        journal.record(ended("s-1", event.operation))
        journal.flush()
        if number % 3 == 0:
            follower = Follower(engine, places)
            await follower.step()
    follower = await follow(engine, places)
    library = Library(follower)
    found = await library.search(Filter(limit=1000))
    assert [one.operation for one in reversed(found)] == list(range(30))
    assert {(one.rows, one.tag) for one in found} == {(3, "SELECT 3")}
    session = await library.session("s-1")
    assert session is not None
    assert (session.operations, session.rows, session.events) == (30, 90, 61)
    assert len(await collect(library.events("s-1"))) == 61
    await journal.close()


async def test_a_store_that_fails_in_mid_batch_counts_nothing_twice(
    engine: AsyncEngine, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write(places, whole("s-1"))
    follower = Follower(engine, places)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "CREATE TRIGGER gone BEFORE INSERT ON recording_journals "
                "BEGIN SELECT RAISE(ABORT, 'gone'); END"
            )
        )
    for _ in range(3):
        with pytest.raises(Exception, match="gone"):
            await follower.step()
        assert follower.live == {}
    async with engine.begin() as connection:
        await connection.execute(text("DROP TRIGGER gone"))
    await catch_up(follower)
    library = Library(follower)
    assert len(await library.search(Filter())) == 1
    assert await collect(library.events("s-1")) == whole("s-1")
    await journal.close()


async def test_a_locked_store_is_waited_for_and_told_of(
    engine: AsyncEngine, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(engine, places)
    await follower.start()
    real = follower.index.apply

    async def failing(*_: object) -> None:
        raise OperationalError("x", None, Exception("database is locked"))

    monkeypatch.setattr(follower.index, "apply", failing)
    journal = write(places, whole("s-1"))
    follower.wake()
    await until(lambda: "store" in follower.problems)
    monkeypatch.setattr(follower.index, "apply", real)
    library = Library(follower)
    async with asyncio.timeout(20):
        while not await library.sessions(Filter(state="sealed")):
            await asyncio.sleep(0.01)
    await until(lambda: not follower.problems)
    await follower.stop()
    await journal.close()


async def test_sessions_of_a_dead_worker_are_closed_in_their_sealed_file_only(
    engine: AsyncEngine, places: Places
) -> None:
    journal = write(places, [opened("s-1"), decided("s-1"), opened("s-2")])
    follower = await follow(engine, places)
    library = Library(follower)
    assert [one.state for one in await library.sessions()] == ["open", "open"]
    raw = journal.path.read_bytes()
    journal.abandon()
    await catch_up(follower)
    assert {(one.state, one.reason) for one in await library.sessions()} == {
        ("sealed", "worker lost")
    }
    found = await collect(library.events("s-1"))
    assert found[:-1] == [opened("s-1"), decided("s-1")]
    assert isinstance(found[-1], SessionClosed)
    assert (found[-1].reason, found[-1].operations) == ("worker lost", 1)
    assert journal.path.read_bytes() == raw
    assert read_seal(journal.path) is not None
    assert verify(places.root, places.key).ok


async def test_a_restarted_worker_ends_the_sessions_of_the_one_before(
    engine: AsyncEngine, places: Places
) -> None:
    write(places, [opened("s-1")]).abandon()
    journal = write(places, [opened("s-2")])
    follower = await follow(engine, places)
    states = {one.id: one.state for one in await Library(follower).sessions()}
    assert states == {"s-1": "sealed", "s-2": "open"}
    await journal.close()


async def test_sessions_go_on_over_a_rotation(engine: AsyncEngine, places: Places) -> None:
    journal = write(places, [opened("s-1")], file_bytes=2000)
    for number in range(30):
        journal.record(decided("s-1", number, text="x" * 300))
        journal.flush()
    follower = await follow(engine, places)
    library = Library(follower)
    assert len(journals(places.journals)) > 3
    assert [one.state for one in await library.sessions()] == ["open"]
    assert len(await collect(library.events("s-1"))) == 31
    journal.record(closed("s-1"))
    await journal.commit()
    await catch_up(follower)
    assert len(await collect(library.events("s-1"))) == 32
    assert verify(places.root, places.key).ok
    await journal.close()


async def test_a_worker_that_dies_between_two_files_is_noticed(
    engine: AsyncEngine, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write(places, [opened("s-1")], file_bytes=10)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    journal.record(decided("s-1"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "link", dies)  # the next file is not shown
        journal.flush()
    follower = await follow(engine, places)
    library = Library(follower)
    assert [one.state for one in await library.sessions()] == ["open"]
    journal.abandon()
    await catch_up(follower)
    assert [(one.state, one.reason) for one in await library.sessions()] == [
        ("sealed", "worker lost")
    ]


async def test_a_late_event_is_put_into_a_sealed_session_too(
    engine: AsyncEngine, places: Places
) -> None:
    journal = write(places, whole("s-1"))
    follower = await follow(engine, places)
    library = Library(follower)
    late = rows("s-1", at=T0 + 9)
    journal.record(late)
    journal.flush()
    await catch_up(follower)
    assert await collect(library.events("s-1")) == [*whole("s-1"), late]
    files = [path.name for path in places.sessions.rglob("*.sprec")]
    assert files == ["s-1.2.sprec"]
    assert verify(places.root, places.key).ok
    await journal.close()


async def test_interleaved_sessions_come_apart(engine: AsyncEngine, places: Places) -> None:
    expected = {f"s-{n}": whole(f"s-{n}", T0 + n) for n in range(7)}
    journal = write(
        places, [event for step in zip(*expected.values(), strict=True) for event in step]
    )
    follower = await follow(engine, places)
    library = Library(follower)
    for name, events in expected.items():
        assert await collect(library.events(name)) == events
    await journal.close()


async def test_journals_go_when_nothing_of_them_is_needed(
    engine: AsyncEngine, places: Places
) -> None:
    refused = LoginRefused("", T0, "postgres", "10.0.0.1", "shop", "", "unknown token")
    audited = Audited("", T0, "root", "token.create", "tok-1", {"n": 1})
    journal = write(places, [opened("s-2"), *whole("s-1"), refused, audited], file_bytes=1500)
    follower = await follow(engine, places, keep=0)
    assert await follower.tidy() == 0, "a session is still open"
    journal.record(closed("s-2"))
    for number in range(8):
        journal.record(Audited("", T0, "root", "x" * 300, str(number)))
        journal.flush()
    await journal.commit()
    await catch_up(follower)
    names = [path.name for _, _, path in journals(places.journals)]
    gone = await follower.tidy()
    left = [path.name for _, _, path in journals(places.journals)]
    assert gone == len(names) - 1
    assert left == names[-1:], "the newest stays: it carries number and chain on"
    report = verify(places.root, places.key)
    assert report.ok, report
    product = list(places.product.rglob("*.sprec"))
    assert len(product) == gone
    library = Library(follower)
    assert [one.action for one in await library.audit(Filter(), "login-*")] == ["login-refused"]
    assert await collect(library.events("s-1")) == whole("s-1")
    await journal.close()
    after = write(places, whole("s-3"))
    await catch_up(follower)
    assert verify(places.root, places.key).ok
    await after.close()


async def test_a_journal_is_kept_for_its_time(engine: AsyncEngine, places: Places) -> None:
    await write(places, whole("s-1")).close()
    journal = write(places, whole("s-2"))
    follower = await follow(engine, places, keep=600)
    assert await follower.tidy() == 0
    await journal.close()


async def test_a_broken_journal_is_told_of_and_never_deleted(
    engine: AsyncEngine, places: Places
) -> None:
    journal = write(places, [*whole("s-1"), *whole("s-2")])
    await journal.close()
    raw = bytearray(journal.path.read_bytes())
    raw[-400] ^= 1
    journal.path.write_bytes(raw)
    after = write(places, whole("s-3"))
    follower = await follow(engine, places, keep=0)
    assert "broken record" in follower.problems[journal.path.name]
    assert await follower.tidy() == 0
    states = {one.id: one.state for one in await Library(follower).sessions()}
    assert states["s-1"] == states["s-3"] == "sealed"
    await after.close()


async def test_a_foreign_file_does_not_stop_the_rest(engine: AsyncEngine, places: Places) -> None:
    places.journals.mkdir(parents=True)
    (places.journals / "aaa-00000001.journal").write_bytes(b"x" * 500)
    (places.journals / "bbb-00000001.journal").symlink_to("/dev/zero")
    journal = write(places, whole("s-1"))
    follower = Follower(engine, places)
    await follower.start()
    library = Library(follower)
    async with asyncio.timeout(20):
        while not await library.sessions(Filter(state="sealed")):
            await asyncio.sleep(0.01)
    assert set(follower.problems) == {"aaa-00000001.journal", "bbb-00000001.journal"}
    await follower.stop()
    await journal.close()


async def test_holds_carry_their_approval_and_end(engine: AsyncEngine, places: Places) -> None:
    hold = decided("s-1", decision="hold", verb="update", rules=("updates-wait",))
    first: list[RecordedEvent] = [
        opened("s-1"),
        hold,
        HoldOpened("s-1", T0, 1, "apr-1", ("dba",), 1, 300, False),
    ]
    journal = write(places, first)
    follower = await follow(engine, places)
    for event in (
        HoldSettled("s-1", T0, 1, "apr-1", "approved", ("dana",)),
        decided("s-1", verb="update"),
        ended("s-1"),
    ):
        journal.record(event)
    journal.flush()
    await catch_up(follower)
    found = await Library(follower).search(Filter(verb="update"))
    assert [(one.decision, one.approval, one.tag, one.rows) for one in found] == [
        ("allow", "", "SELECT 3", 3),
        ("hold", "apr-1", "approved", 0),
    ]
    session = await Library(follower).session("s-1")
    assert session is not None
    assert session.held == 1
    await journal.close()


async def test_hostile_names_and_texts_do_no_harm(engine: AsyncEngine, places: Places) -> None:
    name = "../../../../tmp/evil\0"
    events = whole(name, subject="a'; DROP TABLE x; --")
    events[1] = decided(name, text="SELECT '\0%_\\\"*'", table="public.\0x" + "y" * 2000)
    journal = write(places, events)
    follower = await follow(engine, places)
    library = Library(follower)
    assert [one.state for one in await library.sessions()] == ["sealed"]
    assert [path.parent.parent.parent.parent for path in places.root.rglob("*.sprec")] == [
        places.sessions
    ]
    assert len(await library.search(Filter(own="a'; DROP TABLE x; --"))) == 1
    await journal.close()


async def test_a_sealed_file_grows_while_its_session_goes_on(
    engine: AsyncEngine, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks, under a name that is not yet its own; and it says what a cut would say."""
    monkeypatch.setattr(follow_module, "BLOCK_BYTES", 2000)
    events = [
        opened("s-1"),
        *[decided("s-1", n, T0 + n) for n in range(50)],
        closed("s-1", T0 + 99),
    ]
    journal = write(places, events[:20])
    follower = await follow(engine, places)
    (growing,) = places.sessions.rglob("*.new")
    assert growing.stat().st_size > 500
    held = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
    assert growing.resolve() not in held, "thousands of sessions may grow"
    for event in events[20:]:
        journal.record(event)
        journal.flush()
        await follower.step()
    await catch_up(follower)
    assert [path.name for path in places.sessions.rglob("*.*")] == ["s-1.sprec"]
    assert await collect(Library(follower).events("s-1")) == events
    made = next(places.sessions.rglob("*.sprec"))
    reader = SealedReader(made, places.key)
    assert len(list(reader.payloads())) == len(events)
    assert reader.frames > 5
    assert reader.summary is not None
    assert (reader.summary.first, reader.summary.last) == (T0, T0 + 99)
    assert verify(places.root, places.key).ok
    await journal.close()


async def test_what_was_gathered_before_a_crash_is_cut_instead(
    engine: AsyncEngine, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "BLOCK_BYTES", 1)
    events = whole("s-1")
    journal = write(places, events[:3])
    await follow(engine, places)
    for event in events[3:]:
        journal.record(event)
        journal.flush()
    follower = await follow(engine, places)
    assert [path.name for path in places.sessions.rglob("*.*")] == ["s-1.sprec"]
    assert await collect(Library(follower).events("s-1")) == events
    await journal.close()


async def test_a_disk_that_is_full_for_a_block_costs_no_event(
    engine: AsyncEngine, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "BLOCK_BYTES", 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SealedWriter, "spill", full)
    journal = write(places, whole("s-1")[:-1])
    follower = await follow(engine, places)
    monkeypatch.undo()
    journal.record(closed("s-1"))
    journal.flush()
    await catch_up(follower)
    assert await collect(Library(follower).events("s-1")) == whole("s-1")
    await journal.close()


class Future(Struct, tag="from-the-future"):
    session: str
    at: float


class Strange(Struct, tag="result-ended"):
    session: str
    at: float
    operation: str


async def test_an_event_that_cannot_be_read_is_told_of_and_stops_nothing(
    engine: AsyncEngine, places: Places
) -> None:
    before, after = decided("s-1", 1), decided("s-1", 2)
    events = [opened("s-1"), before, Future("s-1", T0), Strange("s-1", T0, "x"), after]
    journal = Journal(places.journals, "worker-1", key=places.key, reserve=0)
    for event in events:
        journal.record(event)  # type: ignore[arg-type]
    journal.flush()
    follower = await follow(engine, places)
    assert "Expected `int`" in follower.problems["index"]
    library = Library(follower)
    assert [one.operation for one in await library.search(Filter(limit=9))] == [2, 1]
    session = await library.session("s-1")
    assert session is not None
    assert session.events == 5
    await journal.close()


async def test_a_full_batch_with_nothing_behind_it_is_not_asked_for_more(
    engine: AsyncEngine, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write(places, whole("s-1"))
    monkeypatch.setattr(feed_module, "BATCH_EVENTS", 6)
    follower = Follower(engine, places)
    looks = 0
    real = feed_module.Feed.poll

    def poll(feed: feed_module.Feed) -> list[feed_module.Batch]:
        nonlocal looks
        looks += 1
        return real(feed)

    monkeypatch.setattr(feed_module.Feed, "poll", poll)
    await follower.start()
    await asyncio.sleep(1)
    assert len(await Library(follower).sessions(Filter(state="sealed"))) == 1
    assert looks < 10
    await follower.stop()
    await journal.close()


async def test_a_lost_store_costs_no_recording(tmp_path: Path, places: Places) -> None:
    """The store is gone, and so is the journal that held the session's first half."""
    first = Database(tmp_path / "first.db")
    await first.open()
    events = whole("s-1")
    journal = write(places, events[:3], file_bytes=10)
    for event in events[3:]:
        journal.record(event)
        journal.flush()
    await follow(first.engine, places)
    await first.close()
    sealed = next(places.sessions.rglob("*.sprec"))
    raw = sealed.read_bytes()
    for _, _, path in journals(places.journals)[:2]:
        path.unlink()
    second = Database(tmp_path / "second.db")
    await second.open()
    follower = await follow(second.engine, places)
    assert not follower.problems
    assert sealed.read_bytes() == raw
    await second.close()
    await journal.close()


async def test_a_cut_that_was_made_before_a_crash_is_not_made_again(
    engine: AsyncEngine, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write(places, whole("s-1"))
    follower = Follower(engine, places)

    async def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follower.index, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        await catch_up(follower)
    sealed = next(places.sessions.rglob("*.sprec"))
    inode = sealed.stat().st_ino
    follower = await follow(engine, places)
    assert [path.stat().st_ino for path in places.sessions.rglob("*.sprec")] == [inode]
    assert await collect(Library(follower).events("s-1")) == whole("s-1")
    await journal.close()
