"""`kill -9` of the gateway's processes at random moments under load.

After each: what is in the database is in the journal, clients met an error and got on, the gateway
is ready again by itself, what the dead process left is sealed and whole, no session stays open.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.core.event import SessionClosed, SessionOpened
from sallyport.demo.server import EmbeddedPostgres
from sallyport.recording.torn import journals, read_seal
from sallyport.recording.verify import verify
from tests.support import evidence
from tests.support.gateway import Gateway
from tests.support.load import Client, Load
from tests.support.processes import kill, wait_for

DATABASE = "crash"


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql(f"CREATE DATABASE {DATABASE} OWNER app")
    postgres.psql("CREATE TABLE load (id text); ALTER TABLE load OWNER TO app", DATABASE)
    with Gateway(
        tmp_path_factory.mktemp("crash"),
        postgres,
        database=DATABASE,
        guardrails={"enabled": True, "except": ["limit-rate", "limit-hourly"]},
    ) as running:
        yield running


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["worker", "control"])
def test_ten_kills_under_load_lose_no_record(
    gateway: Gateway, postgres: EmbeddedPostgres, name: str
) -> None:
    kill_under_load(gateway, postgres, name, 10, random.Random(11))
    report = evidence.verify(gateway.folder / "state")
    assert report["ok"], report


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["worker", "control"])
def test_two_hundred_kills_under_load_lose_no_record(
    gateway: Gateway, postgres: EmbeddedPostgres, name: str
) -> None:
    kill_under_load(gateway, postgres, name, 200, random.Random())


def kill_under_load(
    gateway: Gateway, postgres: EmbeddedPostgres, name: str, times: int, chance: random.Random
) -> None:
    """Kill one part again and again, with the load going on, and check after each."""
    for _ in range(times):
        with Load(gateway) as load:
            for client in load.clients:
                wait_for(lambda one=client: one.done or one.wrong, f"{client.name} works")
            time.sleep(chance.uniform(0, 0.2))
            began = {client: client.sessions for client in load.clients}
            kill(gateway, name)
            for client, sessions in began.items():
                back_at_work(client, sessions)
            load.stop()
        check(gateway, postgres)


def back_at_work(client: Client, sessions: int) -> None:
    """Wait until a client that had begun `sessions` was told of the end and works in a new one."""
    wait_for(lambda: client.sessions > sessions or client.wrong, f"{client.name} is back")
    done = client.done
    wait_for(lambda: client.done > done or client.wrong, f"{client.name} works again")
    assert client.ended, f"{client.name} was not told that its session is over"


def check(gateway: Gateway, postgres: EmbeddedPostgres) -> None:
    """Hold the database against the record, and the record against itself."""
    gateway.wait_ready()
    rows = settled_rows(postgres)
    events = evidence.recorded(gateway.folder / "state")
    text = evidence.allowed(events)
    unrecorded = [row for row in rows if row not in text]
    assert rows
    assert not unrecorded, f"{len(unrecorded)} of {len(rows)} ran unrecorded: {unrecorded[:5]}"
    folder = gateway.folder / "state" / "recording" / "journals"
    _check_sealed(folder)
    report = verify(gateway.folder / "state" / "recording")
    assert report.ok, (report.first, report.gaps)
    wait_for(lambda: not _open_sessions(gateway), "the library shows every session closed")
    postgres.psql("TRUNCATE load", DATABASE)


def settled_rows(postgres: EmbeddedPostgres) -> list[str]:
    """Return the rows once no backend of an ended session is at work any more."""
    busy = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}' AND usename = 'app' AND state <> 'idle'"
    wait_for(lambda: postgres.psql(busy).strip() == "0", "the database is at rest")
    return postgres.psql("SELECT id FROM load", DATABASE).split()


def _check_sealed(folder: Path) -> None:
    """Every journal but a worker's newest has ended in good order or was sealed."""
    found = journals(folder)
    newest = {worker: sequence for worker, sequence, _ in found}
    for worker, sequence, path in found:
        if sequence < newest[worker]:
            events = evidence.journal_events(path)
            ended = type(events[-1]).__name__ == "JournalEnded"
            assert ended or read_seal(path) is not None, path


def _open_sessions(gateway: Gateway) -> list[str]:
    found = gateway.admin.get("/sessions", state="open", limit=500)["sessions"]
    return [one["id"] for one in found]


def test_every_session_of_the_record_is_over(gateway: Gateway) -> None:
    """Sessions of a killed worker have no end in its journal: the library gives them one."""
    folder = gateway.folder / "state" / "recording" / "journals"
    events = [one for _, _, path in journals(folder) for one in evidence.journal_events(path)]
    began = {one.session for one in events if isinstance(one, SessionOpened)}
    ended = {one.session for one in events if isinstance(one, SessionClosed)}
    lost = began - ended
    assert lost
    for session in sorted(lost)[:20]:
        found = gateway.admin.get(f"/sessions/{session}")
        assert found["state"] in ("closed", "sealed")
        assert found["reason"]
