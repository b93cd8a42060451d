"""Whose an event is: on every line that is read, wherever it is read, and never guessed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sallyport.core.event import Audited, LoginRefused, RecordedEvent, SessionOpened
from sallyport.core.subject import LONGEST_STATED
from sallyport.recording import tail as tail_module
from sallyport.recording.encoding import decode
from sallyport.recording.export import export_event, export_line
from sallyport.recording.follow import Follower
from sallyport.recording.journal import Journal
from sallyport.recording.library import Library
from sallyport.recording.places import Places
from sallyport.recording.records import Dropped, Filter
from sallyport.recording.sealed import write_sealed
from sallyport.recording.who import Who, who_said
from sallyport.store.database import Database
from tests.support.recordings import T0, closed, decided, ended, opened, rows, whole
from tests.unit.store.template import place

NAMES = Who.__struct_fields__
NOBODY = dict.fromkeys(NAMES)
MINE = {
    "subject": "ann",
    "issuer": "tokens",
    "actors": ["report-bot", "planner"],
    "task": "JIRA-7",
    "purpose": "quarter end",
    "target": "shop",
}


def acted(session: str, at: float = T0, **more: Any) -> SessionOpened:
    """The opening of a session in which somebody acts for another."""
    said = {
        "subject": "ann",
        "actors": ("report-bot", "planner"),
        "task": "JIRA-7",
        "purpose": "quarter end",
    }
    return msgspec.structs.replace(opened(session, at), **said | more)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    database = Database(place(tmp_path / "store.db"))
    await database.open()
    yield database.engine
    await database.close()


@pytest.fixture
async def world(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[World]:
    made = World(engine, Places(tmp_path / "recordings"))
    yield made
    await made.close()


class World:
    """Workers' journals, and a follower that steps when told."""

    def __init__(self, engine: AsyncEngine, places: Places) -> None:
        self.engine = engine
        self.places = places
        self.journals: list[Journal] = []
        self.restart()

    def restart(self) -> None:
        """Begin with another follower, as after a restart of control."""
        self.follower = Follower(self.engine, self.places)
        self.library = Library(self.follower)

    def journal(self, worker: str = "worker-1", **more: int) -> Journal:
        made = Journal(self.places.journals, worker, reserve=0, **more)
        self.journals.append(made)
        return made

    async def write(self, journal: Journal, *events: RecordedEvent) -> None:
        for event in events:
            journal.record(event)
            journal.flush()
        await self.catch_up()

    async def catch_up(self) -> None:
        while await self.follower.step():
            pass
        await self.follower.seal_finished()

    async def exported(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) async for line in self.library.export(name)]

    async def close(self) -> None:
        for journal in self.journals:
            await journal.close()
        await self.follower.stop()


class Looking:
    """Somebody who looks on, from now."""

    def __init__(self, world: World, wanted: Filter | None = None, backlog: int = 0) -> None:
        self._source = world.library.tail(wanted, backlog)
        self._coming = asyncio.ensure_future(anext(self._source))

    async def lines(self, count: int) -> list[dict[str, Any]]:
        """Return the next lines, as they are sent."""
        found = []
        for _ in range(count):
            one = await asyncio.wait_for(self._coming, 10)
            self._coming = asyncio.ensure_future(anext(self._source))
            assert not isinstance(one, Dropped)
            found.append(export_event(one.event, one.who))
        return found

    async def stop(self) -> None:
        self._coming.cancel()
        await asyncio.gather(self._coming, return_exceptions=True)
        await self._source.aclose()


async def looking(world: World, wanted: Filter | None = None, backlog: int = 0) -> Looking:
    made = Looking(world, wanted, backlog)
    await asyncio.sleep(0)
    return made


def whose(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in NAMES}


def session(name: str, **more: Any) -> list[RecordedEvent]:
    return [acted(name, **more), decided(name), rows(name), ended(name), closed(name)]


# ------------------------------------------------------------------ one value, none guessed


def test_an_event_that_says_it_itself_says_it_once() -> None:
    event = acted("s-1")
    other = Who("mallory", "x", ("y",), "z", "w", "elsewhere")
    pairs = json.loads(export_line(event, other), object_pairs_hook=list)
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names))
    assert whose(dict(pairs)) == MINE


def test_only_these_events_have_fields_of_their_own_for_it() -> None:
    """Another that has one would hide its session's: its meaning has to be the same."""
    own = {
        kind.__name__: sorted(set(kind.__struct_fields__) & set(NAMES))
        for kind in get_args(RecordedEvent)
    }
    assert {name: fields for name, fields in own.items() if fields} == {
        "SessionOpened": sorted(NAMES),
        "LoginRefused": sorted(NAMES),
        "Audited": ["actors"],
    }


@pytest.mark.parametrize("event", whole("s-1")[1:])
def test_what_is_not_known_is_null_and_there(event: RecordedEvent) -> None:
    assert whose(export_event(event, None)) == NOBODY


# ------------------------------------------------------------------ recordings


async def test_every_line_of_an_export_says_whose_it_is(world: World) -> None:
    journal = world.journal()
    await world.write(journal, *session("s-1"), *whole("s-2", T0 + 10))
    lines = await world.exported("s-1")
    assert [line["type"] for line in lines][-1] == "session-closed"
    assert [whose(line) for line in lines] == [MINE] * 5
    assert {line["subject"] for line in await world.exported("s-2")} == {"agent-1"}


async def test_the_recording_counts_and_not_the_index(world: World) -> None:
    """The index proves nothing: whoever changed it has not changed what was recorded."""
    await world.write(world.journal(), *session("s-1"))
    async with world.engine.begin() as connection:
        await connection.execute(
            text("UPDATE recording_sessions SET subject = 'x', actors = '[]', task = NULL")
        )
    assert [whose(line) for line in await world.exported("s-1")] == [MINE] * 5


async def test_a_session_whose_opening_is_not_known_is_nobodys(world: World) -> None:
    look = await looking(world)
    await world.write(world.journal(), decided("s-1"), ended("s-1"), closed("s-1"))
    assert [whose(line) for line in await look.lines(3)] == [NOBODY] * 3
    assert [whose(line) for line in await world.exported("s-1")] == [NOBODY] * 3
    (found,) = await world.library.search(Filter())
    assert found.who is None
    for wanted in ({"actor": "*"}, {"task": "*"}, {"task": ""}):
        assert await world.library.sessions(Filter(**wanted)) == []
    await look.stop()


async def test_what_the_index_did_not_keep_yet_is_not_known_by_it(world: World) -> None:
    """A session of before the column: the recording has what it said, the index does not."""
    journal = world.journal()
    await world.write(journal, acted("s-1"))
    async with world.engine.begin() as connection:
        await connection.execute(text("UPDATE recording_sessions SET task = NULL, purpose = NULL"))
    world.restart()
    look = await looking(world)
    await world.write(journal, decided("s-1"))
    (line,) = await look.lines(1)
    assert whose(line) == MINE | {"task": None, "purpose": None}
    assert [whose(line) for line in await world.exported("s-1")] == [MINE] * 2
    await look.stop()


async def test_search_says_whose_an_operation_was(world: World) -> None:
    await world.write(world.journal(), *session("s-1"))
    (found,) = await world.library.search(Filter())
    assert found.who == who_said(acted("s-1"))


async def test_a_recording_of_before_the_fields_is_read(world: World) -> None:
    """Events as earlier versions wrote them, in a sealed file: VERSION is the same."""
    event = msgspec.to_builtins(opened("s-1"), builtin_types=(bytes,))
    for name in ("labels", "access", "task", "purpose", "country"):
        del event[name]
    await world.write(world.journal(), *whole("s-1"))
    path = next(world.places.sessions.rglob("s-1.sprec"))
    path.unlink()
    payloads = [msgspec.msgpack.encode(one) for one in (event, *whole("s-1")[1:])]
    write_sealed(path, "s-1", payloads, world.places.sealing_key)
    lines = await world.exported("s-1")
    expected = {"subject": "agent-1", "issuer": "tokens", "actors": [], "task": "", "purpose": ""}
    assert [whose(line) for line in lines] == [expected | {"target": "shop"}] * 5


@pytest.mark.parametrize(
    ("event", "gone"),
    [
        (Audited("", T0, "root", "x", "y", {"n": 1}), {"actors"}),
        (
            LoginRefused("", T0, "postgres", "::1", "shop", "ann", "no"),
            {"issuer", "actors", "task", "purpose"},
        ),
    ],
)
def test_events_of_before_the_fields_are_read(event: RecordedEvent, gone: set[str]) -> None:
    before = msgspec.to_builtins(event)
    for name in gone:
        del before[name]
    assert decode(msgspec.msgpack.encode(before)) == event


# ------------------------------------------------------------------ live


async def test_the_live_stream_tells_sessions_apart(world: World) -> None:
    journal = world.journal()
    names = [f"s-{number}" for number in range(300)]
    look = await looking(world)
    await world.write(journal, *[acted(name, task=name) for name in names])
    await world.write(journal, *[decided(name) for name in reversed(names)])
    lines = await look.lines(600)
    assert len(lines) == 600
    assert all(line["task"] == line["session"] for line in lines)
    await look.stop()


async def test_a_session_of_before_the_stream_and_before_the_process(world: World) -> None:
    journal = world.journal()
    await world.write(journal, acted("s-1"))
    for restart in (False, True):
        if restart:
            world.restart()
        look = await looking(world)
        await world.write(journal, decided("s-1", 1 + restart))
        assert whose((await look.lines(1))[0]) == MINE
        await look.stop()


async def test_a_session_that_was_sealed_is_looked_up_again(world: World) -> None:
    """What is known of a session goes with it; a late event finds it in the index."""
    journal = world.journal()
    await world.write(journal, *session("s-1"))
    assert world.follower.live == {}
    look = await looking(world)
    await world.write(journal, rows("s-1", at=T0 + 9))
    assert whose((await look.lines(1))[0]) == MINE
    await look.stop()
    assert world.follower.live == {}


async def test_the_backlog_knows_them_and_stays_small(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "BACKLOG_EVENTS", 20)
    journal = world.journal()
    for number in range(40):
        await world.write(journal, *session(f"s-{number}", task=f"s-{number}"))
    assert len(world.follower.tail._backlog) == 20
    assert world.follower.live == {}
    look = await looking(world, backlog=20)
    lines = await look.lines(20)
    assert [line["task"] for line in lines] == [line["session"] for line in lines]
    assert {line["session"] for line in lines} == {"s-36", "s-37", "s-38", "s-39"}
    await look.stop()


async def test_rotated_journals_go_on_with_it(world: World) -> None:
    journal = world.journal(file_bytes=2000)
    look = await looking(world)
    await world.write(journal, acted("s-1"))
    await world.write(journal, *[decided("s-1", n, text="x" * 300) for n in range(30)])
    assert len(list(world.places.journals.glob("*.journal"))) > 3
    assert [whose(line) for line in await look.lines(31)] == [MINE] * 31
    assert [whose(line) for line in await world.exported("s-1")] == [MINE] * 31
    await look.stop()


async def test_the_end_that_a_dead_worker_could_not_write_has_it_too(world: World) -> None:
    journal = world.journal()
    await world.write(journal, acted("s-1"), decided("s-1"))
    world.restart()
    look = await looking(world)
    journal.abandon()
    await world.catch_up()
    (line,) = await look.lines(1)
    assert (line["type"], line["reason"], whose(line)) == ("session-closed", "worker lost", MINE)
    lines = await world.exported("s-1")
    assert (len(lines), lines[-1]["reason"]) == (3, "worker lost")
    assert [whose(line) for line in lines] == [MINE] * 3
    await look.stop()


async def test_following_one_session_says_it_before_and_after(world: World) -> None:
    journal = world.journal()
    await world.write(journal, acted("s-1"), decided("s-1", 1))
    source = world.library.events("s-1", follow=True)
    found = [await anext(source) for _ in range(2)]
    coming = asyncio.ensure_future(anext(source))
    await asyncio.sleep(0)
    await world.write(journal, decided("s-1", 2), closed("s-1"))
    found += [await asyncio.wait_for(coming, 10), *[one async for one in source]]
    assert [one.who for one in found] == [who_said(acted("s-1"))] * 4


async def test_the_products_own_events_are_no_sessions(world: World) -> None:
    """Who ended a session is one thing, whose it was another: they are never mixed in one line."""
    journal = world.journal()
    look = await looking(world)
    refused = LoginRefused(
        "", T0, "postgres", "::1", "shop", "ann", "no", "corp", ("bot",), "JIRA-7", "p"
    )
    killed = Audited("s-1", T0 + 1, "root", "session-killed", "s-1", {}, ("ops-bot",))
    await world.write(journal, acted("s-1"), killed, refused)
    lines = {line["type"]: line for line in await look.lines(3)}
    assert whose(lines["audited"]) == NOBODY | {"actors": ["ops-bot"]}
    assert whose(lines["login-refused"]) == {
        "subject": "ann",
        "issuer": "corp",
        "actors": ["bot"],
        "task": "JIRA-7",
        "purpose": "p",
        "target": "shop",
    }
    found = {one.action: one for one in await world.library.audit(Filter())}
    assert found["session-killed"].actors == ("ops-bot",)
    assert found["login-refused"].actors == ("bot",)
    assert found["login-refused"].details["task"] == "JIRA-7"
    await look.stop()


# ------------------------------------------------------------------ found by it

HOSTILE = [
    'a"]\nx',
    "100%",
    "_",
    "a\\b",
    "' OR 1=1 --",
    "\x1b[2J\u202e",
    '["planner"]',
    "\0",
    "x" * 100_000,
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"actor": "report-bot"}, ["s-1"]),
        ({"actor": "planner"}, ["s-1"]),
        ({"actor": "plan*"}, ["s-1"]),
        ({"actor": "plan"}, []),
        ({"actor": "ann"}, []),
        ({"actor": "*"}, ["s-1"]),
        ({"actor": "plan%"}, []),
        ({"actor": 'report-bot", "planner'}, []),
        ({"task": "JIRA-7"}, ["s-1"]),
        ({"task": "JIRA-*"}, ["s-1"]),
        ({"task": "JIRA-_"}, []),
        ({"task": ""}, ["s-2"]),
        ({"task": "*"}, ["s-1", "s-2"]),
        ({"task": "JIRA-7", "actor": "planner", "subject": "ann"}, ["s-1"]),
        ({"task": "JIRA-7", "actor": "other"}, []),
    ],
)
async def test_sessions_operations_and_the_stream_are_found_by_it(
    world: World, wanted: dict[str, Any], found: list[str]
) -> None:
    await world.write(world.journal(), *session("s-1"), *whole("s-2", T0 - 10))
    asked = Filter(**wanted)
    assert [one.id for one in await world.library.sessions(asked)] == found
    assert [one.session for one in await world.library.search(asked)] == found
    one = world.follower.tail.look(asked, 100)
    shown = {item.event.session for item in one._queue if not isinstance(item, Dropped)}
    assert shown == set(found)
    world.follower.tail.leave(one)


@pytest.mark.parametrize("said", HOSTILE)
async def test_what_a_client_says_finds_and_forges_nothing(world: World, said: str) -> None:
    """As it could come from a plugin that cuts and cleans nothing."""
    await world.write(
        world.journal(), *session("s-1", task=said, actors=(said[:256],)), *session("s-2")
    )
    lines = [line async for line in world.library.export("s-1")]
    assert len(lines) == 5
    assert all(line.isascii() and line.count("\n") == 1 for line in lines)
    assert {json.loads(line)["task"] for line in lines} == {said}
    listed = await world.library.session("s-1")
    assert listed is not None and listed.task is not None and len(listed.task) <= LONGEST_STATED
    for wanted in (Filter(task=said), Filter(actor=said)):
        assert "s-2" not in [one.id for one in await world.library.sessions(wanted)]
    (one,) = await world.library.sessions(Filter(task="JIRA-7"))
    assert one.id == "s-2"
