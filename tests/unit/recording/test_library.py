"""The library: lists, search, live tail, export, retention and its holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from sallyport.cli.transcript import recorded
from sallyport.core.event import (
    Audited,
    LoginRefused,
    RecordedEvent,
    SessionClosed,
)
from sallyport.core.operation import Effect, Parameter
from sallyport.recording import tail as tail_module
from sallyport.recording.export import export_line
from sallyport.recording.files import FormatError
from sallyport.recording.follow import Follower
from sallyport.recording.journal import Journal
from sallyport.recording.library import Library
from sallyport.recording.places import Places
from sallyport.recording.records import Dropped, Filter
from sallyport.recording.retention import Keeping, Retention, Rules
from sallyport.recording.verify import verify
from sallyport.recording.who import Attributed, Who
from sallyport.store.database import Database
from tests.support.recordings import (
    T0,
    begun,
    closed,
    decided,
    ended,
    forwarded,
    opened,
    rows,
    whole,
)
from tests.unit.store.template import place


class Desk:
    """A journal, a follower that steps when told, and a library."""

    def __init__(self, database: Database, root: Path) -> None:
        self.places = Places(root)
        self.journal = Journal(self.places.journals, "worker-1", reserve=0)
        self.follower = Follower(database.engine, self.places)
        self.library = Library(self.follower)

    async def write(self, *events: RecordedEvent) -> None:
        for event in events:
            self.journal.record(event)
        self.journal.flush()
        while await self.follower.step():
            pass
        await self.follower.seal_finished()

    async def search(self, **wanted: object) -> list[str]:
        return [one.text for one in await self.library.search(Filter(**wanted))]  # type: ignore[arg-type]

    async def sessions(self, **wanted: object) -> list[str]:
        return [one.id for one in await self.library.sessions(Filter(**wanted))]  # type: ignore[arg-type]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database(place(tmp_path / "store.db"))
    await database.open()
    made = Desk(database, tmp_path / "recordings")
    yield made
    await made.journal.close()
    await made.follower.stop()
    await database.close()


@pytest.fixture
async def filled(desk: Desk) -> Desk:
    await desk.write(
        opened("s-1", T0),
        decided("s-1", 1, T0 + 1, "SELECT name FROM customers"),
        decided("s-1", 2, T0 + 2, "DROP TABLE users", "deny", "drop", Effect.ADMIN, "public.users"),
        closed("s-1", T0 + 3),
        opened("s-2", T0 + 10, "bot_7%", "prod"),
        decided(
            "s-2", 1, T0 + 11, "UPDATE orders SET total = 100%", "hold", "update", Effect.WRITE
        ),
    )
    return desk


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["s-2", "s-1"]),
        ({"subject": "agent-1"}, ["s-1"]),
        ({"subject": "agent*"}, ["s-1"]),
        ({"subject": "bot_7%"}, ["s-2"]),
        ({"subject": "bot_*"}, ["s-2"]),
        ({"subject": "b%"}, []),
        ({"subject": "*"}, ["s-2", "s-1"]),
        ({"own": "*"}, []),
        ({"own": "agent-1"}, ["s-1"]),
        ({"target": "prod"}, ["s-2"]),
        ({"state": "open"}, ["s-2"]),
        ({"state": "sealed"}, ["s-1"]),
        ({"since": T0 + 5}, ["s-2"]),
        ({"since": T0 + 2}, ["s-2", "s-1"]),
        ({"until": T0 + 5}, ["s-1"]),
        ({"decision": "deny"}, ["s-1"]),
        ({"verb": "update"}, ["s-2"]),
        ({"effect": "admin"}, ["s-1"]),
        ({"table": "public.users"}, ["s-1"]),
        ({"table": "public.*"}, ["s-2", "s-1"]),
        ({"table": "public"}, []),
        ({"text": "from customers"}, ["s-1"]),
        ({"text": "FROM CUSTOMERS", "decision": "deny"}, []),
        ({"limit": 1}, ["s-2"]),
        ({"limit": 1, "offset": 1}, ["s-1"]),
        ({"limit": -5}, []),
        ({"rule": "agents-read", "verb": "drop"}, ["s-1"]),
    ],
)
async def test_sessions_are_found(
    filled: Desk, wanted: dict[str, object], found: list[str]
) -> None:
    assert await filled.sessions(**wanted) == found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, 3),
        ({"text": "name FROM cust"}, 1),
        ({"text": "NAME from CUST"}, 1),
        ({"text": "100%"}, 1),
        ({"text": "%"}, 1),
        ({"text": "_"}, 0),
        ({"text": "*"}, 0),
        ({"text": '" OR "'}, 0),
        ({"text": "us"}, 2),
        ({"text": "text:users"}, 0),
        ({"rule": "agents-read"}, 3),
        ({"rule": "agents"}, 0),
        ({"rule": '","'}, 0),
        ({"session": "s-*"}, 0),
        ({"own": "agent-1"}, 2),
        ({"state": "sealed"}, 2),
        ({"application": "psq*"}, 3),
        ({"application": "pgbench"}, 0),
        ({"since": T0 + 2, "until": T0 + 3}, 1),
    ],
)
async def test_operations_are_found(filled: Desk, wanted: dict[str, object], found: int) -> None:
    assert len(await filled.search(**wanted)) == found


async def test_search_tells_what_an_operation_was(filled: Desk) -> None:
    (one,) = await filled.library.search(Filter(decision="deny"))
    assert (one.session, one.operation, one.verb, one.effect) == ("s-1", 2, "drop", "admin")
    assert one.resources == ("database:shop", "table:public.users")
    assert one.rules == ("agents-read",)
    assert one.who == Who("agent-1", "tokens", (), "", "", "shop")


async def test_audit_is_listed_and_belongs_to_no_session(desk: Desk) -> None:
    await desk.write(
        *whole("s-1"),
        Audited("s-1", T0 + 3, "root", "session.view", "s-1", {"ip": "::1", "raw": b"\xff"}),
        LoginRefused("", T0 + 4, "postgres", "10.0.0.9", "shop", "mallory", "unknown token"),
    )
    found = await desk.library.audit(Filter())
    assert [(one.actor, one.action, one.object) for one in found] == [
        ("mallory", "login-refused", "shop"),
        ("root", "session.view", "s-1"),
    ]
    assert found[1].details == {"ip": "::1", "raw": "/w=="}
    assert found[1].session == "s-1"
    assert len(await desk.library.audit(Filter(subject="root"))) == 1
    assert len(await desk.library.audit(Filter(), "session.*")) == 1
    assert [one.event async for one in desk.library.events("s-1")] == whole("s-1")


async def test_an_unknown_session_has_no_events(desk: Desk) -> None:
    assert await desk.library.session("nope") is None
    assert [one async for one in desk.library.events("nope")] == []


async def test_following_an_open_session_misses_nothing_and_ends_with_it(desk: Desk) -> None:
    await desk.write(opened("s-1"), decided("s-1", 1))
    found: list[RecordedEvent] = []

    async def look() -> None:
        async for one in desk.library.events("s-1", follow=True):
            found.extend((one.event,))

    looking = asyncio.create_task(look())
    while len(found) < 2:
        await asyncio.sleep(0.001)
    await desk.write(decided("s-1", 2), *whole("s-2"))
    await desk.write(closed("s-1"))
    await asyncio.wait_for(looking, 10)
    assert found == [opened("s-1"), decided("s-1", 1), decided("s-1", 2), closed("s-1")]


async def test_following_ends_when_the_worker_dies(desk: Desk) -> None:
    await desk.write(opened("s-1"))
    looking = asyncio.create_task(_collect(desk.library.events("s-1", follow=True)))
    await asyncio.sleep(0.05)
    desk.journal.abandon()
    await desk.follower.step()
    found = await asyncio.wait_for(looking, 10)
    assert isinstance(found[-1], SessionClosed)
    assert found[-1].reason == "worker lost"


async def test_tail_is_live_over_sessions_with_a_backlog(desk: Desk) -> None:
    await desk.write(*whole("s-1"))
    source = desk.library.tail(Filter(), backlog=2)
    assert [shown(await anext(source)) for _ in range(2)] == whole("s-1")[-2:]
    coming = asyncio.ensure_future(anext(source))
    await asyncio.sleep(0)
    await desk.write(opened("s-2"))
    assert shown(await asyncio.wait_for(coming, 10)) == opened("s-2")
    await source.aclose()
    assert not desk.follower.tail._looks


async def test_tail_shows_what_was_asked_for_alone(desk: Desk) -> None:
    await desk.write(opened("s-0", subject="other"), *whole("s-1"))
    source = desk.library.tail(Filter(own="agent-1", decision="deny"), backlog=100)
    coming = asyncio.ensure_future(anext(source))
    await asyncio.sleep(0)
    denied = decided("s-1", 5, decision="deny")
    await desk.write(
        decided("s-0", 1, decision="deny"),
        Audited("s-1", T0, "root", "session.view", "s-1"),
        decided("s-1", 4),
        denied,
    )
    assert shown(await asyncio.wait_for(coming, 10)) == denied
    await source.aclose()


async def test_a_slow_tail_is_told_how_much_it_lost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "QUEUE_EVENTS", 10)
    source = desk.library.tail(Filter())
    first = asyncio.ensure_future(anext(source))
    await asyncio.sleep(0)
    await desk.write(opened("s-1"), *[decided("s-1", number) for number in range(30)])
    found = [await first] + [await anext(source) for _ in range(10)]
    dropped = [one for one in found if isinstance(one, Dropped)]
    assert [one.count for one in dropped] == [21]
    assert found.index(dropped[0]) == 10
    await desk.write(closed("s-1"))
    assert shown(await anext(source)) == closed("s-1")
    await source.aclose()


async def test_tails_memory_is_bounded_in_bytes(desk: Desk) -> None:
    await desk.write(
        opened("s-1"), *[rows("s-1", data=b"x" * 1_000_000) for _ in range(20)], closed("s-1")
    )
    assert desk.follower.tail._bytes <= tail_module.BACKLOG_BYTES


async def test_tail_ends_when_control_does(desk: Desk) -> None:
    looking = asyncio.create_task(_collect(desk.library.tail()))
    await asyncio.sleep(0.01)
    await desk.follower.stop()
    assert await asyncio.wait_for(looking, 10) == []


async def test_heads_of_http_are_counted_exported_and_found_by_the_decision(desk: Desk) -> None:
    asked = decided("s-1", 1, T0 + 1, "POST /v1/refunds\nx-ticket: OPS-77\n\n{}", verb="post")
    heads: list[RecordedEvent] = [forwarded("s-1"), begun("s-1")]
    await desk.write(opened("s-1"), asked, *heads, ended("s-1"), closed("s-1"))
    assert await desk.search(text="ops-77") == [asked.text]
    assert await desk.search(text="HttpOnly") == []
    (session,) = await desk.library.sessions(Filter())
    assert (session.events, session.operations, desk.follower.problems) == (6, 1, {})
    assert [one.event async for one in desk.library.events("s-1")][2:4] == heads
    found = [json.loads(line) async for line in desk.library.export("s-1")]
    assert found[2]["type"] == "request-forwarded" and found[3]["type"] == "response-begun"
    assert found[3]["headers"][1] == ["set-cookie", "a=b; Path=/; HttpOnly"]
    assert list(recorded(found))[2:4] == heads


async def test_export_is_json_lines_without_a_raw_byte(desk: Desk) -> None:
    hostile = decided("s-1", 1, T0 + 1, "SELECT '\x1b[31m\u202e\n'")
    events: list[RecordedEvent] = [
        opened("s-1"),
        hostile,
        rows("s-1", data=b"\xff\x00\x1b"),
        ended("s-1"),
        closed("s-1"),
    ]
    await desk.write(*events, *whole("s-2", T0 + 50))
    lines = [line async for line in desk.library.export("s-1")]
    assert all(line.isascii() and line.endswith("\n") and "\x1b" not in line for line in lines)
    found = [json.loads(line) for line in lines]
    assert [one["type"] for one in found] == [
        "session-opened",
        "operation-decided",
        "result-rows",
        "result-ended",
        "session-closed",
    ]
    assert found[1]["text"] == hostile.text
    assert found[1]["digest"] == (b"d" * 32).hex()
    assert found[1]["resources"][1] == {
        "kind": "table",
        "name": "public.customers",
        "effect": "read",
        "columns": ["id"],
        "exposed": [],
        "template": "",
    }
    assert found[2]["data"] == {"base64": "/wAb"}
    assert found[0]["time"] == "2026-09-21T14:13:20.000000+00:00"
    every = [line async for line in desk.library.export(Filter(subject="agent-1"))]
    assert [json.loads(line)["session"] for line in every] == ["s-1"] * 5 + ["s-2"] * 5


def test_export_of_parameters() -> None:
    event = decided("s-1")
    parameters = (
        Parameter("$1", "25", b"caf\xc3\xa9"),
        Parameter("$2", "17", b"\xff\x01", binary=True),
        Parameter("$3", "23", None),
    )
    changed = msgspec.structs.replace(event, parameters=parameters)
    found = json.loads(export_line(changed, None))["parameters"]
    assert [one["value"] for one in found] == [{"text": "café"}, {"base64": "/wE="}, None]


def shown(one: Attributed | Dropped) -> RecordedEvent | Dropped:
    return one if isinstance(one, Dropped) else one.event


async def _collect(source: AsyncIterator[Attributed | Dropped]) -> list[RecordedEvent | Dropped]:
    return [shown(one) async for one in source]


# ------------------------------------------------------------------ retention


def retention(desk: Desk, rules: Rules, now: float) -> tuple[Retention, list[Audited]]:
    told: list[Audited] = []
    return Retention(desk.follower, rules, told.append, clock=lambda: now), told


async def test_what_is_old_goes_with_its_rows_unless_held(desk: Desk) -> None:
    for number in range(4):
        await desk.write(*whole(f"s-{number}", T0 + 100 * number))
    assert await desk.library.hold("s-0", True)
    assert not await desk.library.hold("nope", True)
    work, told = retention(desk, Rules(Keeping(age=150)), T0 + 302 + 100)
    assert sorted(one.session for one in await work.run()) == ["s-1", "s-2"]
    assert await desk.sessions() == ["s-3", "s-0"]
    assert sorted(path.name for path in desk.places.sessions.rglob("*.sprec")) == [
        "s-0.sprec",
        "s-3.sprec",
    ]
    assert len(await desk.search()) == 2
    assert {one.object for one in told} == {"s-1", "s-2"}
    assert await work.run() == []
    assert await desk.library.hold("s-0", False)
    assert [one.session for one in await work.run()] == ["s-0"]


async def test_what_is_too_much_goes_oldest_first(desk: Desk) -> None:
    for number in range(5):
        await desk.write(*whole(f"s-{number}", T0 + number))
    sizes = {one.id: one.size for one in await desk.library.sessions()}
    await desk.library.hold("s-1", True)
    room = sizes["s-1"] + sizes["s-3"] + sizes["s-4"]
    work, _ = retention(desk, Rules(Keeping(size=room)), T0)
    assert [one.session for one in await work.run()] == ["s-0", "s-2"]
    assert await desk.sessions() == ["s-4", "s-3", "s-1"]


async def test_a_target_may_have_rules_of_its_own(desk: Desk) -> None:
    await desk.write(*whole("s-1", T0), *whole("s-2", T0, target="prod"))
    rules = Rules(Keeping(age=10), {"prod": Keeping()})
    work, _ = retention(desk, rules, T0 + 1000)
    assert [one.session for one in await work.run()] == ["s-1"]
    rules = Rules(Keeping(), {"prod": Keeping(age=10)})
    work, _ = retention(desk, rules, T0 + 1000)
    assert [one.session for one in await work.run()] == ["s-2"]


async def test_an_open_session_never_goes(desk: Desk) -> None:
    await desk.write(opened("s-1"))
    work, _ = retention(desk, Rules(Keeping(age=0, size=0)), T0 + 10**9)
    assert await work.run() == []
    assert await desk.sessions() == ["s-1"]


async def test_a_deletion_that_was_cut_off_is_finished(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.write(*whole("s-1"))
    work, _ = retention(desk, Rules(Keeping(age=0)), T0 + 1000)
    monkeypatch.setattr(Path, "unlink", _denied)
    with pytest.raises(PermissionError):
        await work.run()
    monkeypatch.undo()
    assert not await desk.library.hold("s-1", True), "it is leaving: a hold comes too late"
    assert [one.reason for one in await work.run()] == ["unfinished"]
    assert await desk.sessions() == []


def _denied(*_: object, **__: object) -> None:
    raise PermissionError("no")


async def test_nothing_is_deleted_that_cannot_be_put_on_record(desk: Desk) -> None:
    await desk.write(*whole("s-1"))

    def lost(event: Audited) -> None:
        raise OSError("recorder is lost")

    work = Retention(desk.follower, Rules(Keeping(age=0)), lost, clock=lambda: T0 + 1000)
    with pytest.raises(OSError, match="lost"):
        await work.run()
    assert [one.event async for one in desk.library.events("s-1")] == whole("s-1")


# --------------------------------------------------------------------- verify


async def test_a_missing_and_a_replaced_journal_are_found(tmp_path: Path) -> None:
    for number in range(4):
        journal = Journal(tmp_path, "worker-1", reserve=0)
        for event in whole(f"s-{number}"):
            journal.record(event)
        await journal.close()
    assert verify(tmp_path).ok
    second = tmp_path / "worker-1-00000002.journal"
    raw = second.read_bytes()
    second.unlink()
    assert verify(tmp_path).gaps == ("journals of `worker-1` are missing: 2 to 2",)
    other = Journal(tmp_path / "other", "worker-1", reserve=0)
    await other.close()
    again = Journal(tmp_path / "other", "worker-1", reserve=0)
    await again.close()
    again.path.rename(second)
    report = verify(tmp_path)
    assert "journal 2 of `worker-1` does not continue the one before it" in report.gaps
    second.write_bytes(raw)
    (tmp_path / "worker-1-00000009.journal").write_bytes(raw)
    assert "named as another" in (verify(tmp_path / "worker-1-00000009.journal").files[0].problem)


async def test_a_recording_in_the_place_of_another_is_found(desk: Desk) -> None:
    await desk.write(*whole("s-1"), *whole("s-2", T0 + 100))
    await desk.write(*whole("s-3", T0 + 200))
    await desk.write(rows("s-3"), closed("s-3", T0 + 300))
    files = {path.name: path for path in desk.places.sessions.rglob("*.sprec")}
    assert {"s-1.sprec", "s-2.sprec", "s-3.2.sprec"} <= files.keys()
    assert verify(desk.places.sessions).ok
    files["s-1.sprec"].write_bytes(files["s-2.sprec"].read_bytes())
    problems = [found.problem for found in verify(desk.places.sessions).files if found.problem]
    assert problems == ["file is named as another: it holds `s-2`"]
    with pytest.raises(FormatError):
        async for _ in desk.library.events("s-1"):
            pass


async def test_a_seal_that_covers_less_than_is_whole_is_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "worker-1", reserve=0)
    journal.record(opened("s-1"))
    journal.flush()
    journal.abandon()
    await Journal(tmp_path, "worker-1", reserve=0).close()
    assert verify(tmp_path).ok
    seal = journal.path.with_name(journal.path.name + ".sealed")
    found = json.loads(seal.read_bytes())
    seal.write_text(json.dumps(found | {"offset": 56, "chain": "00" * 32}))
    assert "sealed at offset 56" in verify(journal.path).files[0].problem
    seal.write_text("{}")
    assert "is no seal" in verify(journal.path).files[0].problem
    seal.unlink()
    assert "no end and no seal" in verify(journal.path).files[0].problem


async def test_verify_names_the_first_broken_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "worker-1", reserve=0)
    for event in whole("s-1"):
        journal.record(event)
        journal.flush()
    await journal.close()
    raw = bytearray(journal.path.read_bytes())
    raw[raw.index(b"SELECT id")] ^= 1
    journal.path.write_bytes(raw)
    found = verify(tmp_path).first
    assert found is not None
    assert (found.broken, found.records) == (3, 2)


async def test_a_living_journal_is_no_fault(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "worker-1", reserve=0)
    report = verify(tmp_path)
    assert report.ok
    assert report.files[0].note == "still being written"
    await journal.close()


def test_a_path_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "nope")
