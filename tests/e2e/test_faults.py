"""A kernel that fails and lies under the worker's journal, and a power cut after it.

What the design promises (`durability: grouped`): a statement that is not a mere read is released
only after its decision is synced. So for whatever the database holds, the statement that put it
there is before the last true sync; behind it there are only reads, results, and rows that a COPY
(itself on record) was bringing in.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sallyport.core.event import OperationDecided
from sallyport.demo.server import EmbeddedPostgres
from sallyport.recording.torn import journals
from sallyport.recording.verify import verify
from tests.support import evidence
from tests.support.gateway import Gateway
from tests.support.load import Load
from tests.support.processes import running, wait_for
from tests.support.sessions import connect, connect_soon
from tests.support.tracing import Tracer, syncs

DATABASE = "faults"


@pytest.fixture(scope="module")
def lasting(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql(f"CREATE DATABASE {DATABASE} OWNER app")
    postgres.psql("CREATE TABLE load (id text); ALTER TABLE load OWNER TO app", DATABASE)
    with Gateway(
        tmp_path_factory.mktemp("faults"),
        postgres,
        database=DATABASE,
        guardrails={"enabled": True, "except": ["limit-rate", "limit-hourly"]},
    ) as running_one:
        yield running_one


@pytest.fixture
def gateway(lasting: Gateway, postgres: EmbeddedPostgres) -> Gateway:
    postgres.psql("TRUNCATE load", DATABASE)
    lasting.wait_ready()
    return lasting


def journal(gateway: Gateway) -> Path:
    """Return the journal that the worker writes to now."""
    folder = gateway.folder / "state" / "recording" / "journals"
    return [path for worker, _, path in journals(folder) if worker == "worker-0"][-1]


def rows(postgres: EmbeddedPostgres) -> list[str]:
    busy = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}' AND usename = 'app' AND state <> 'idle'"
    wait_for(lambda: postgres.psql(busy).strip() == "0", "the database is at rest")
    return postgres.psql("SELECT id FROM load", DATABASE).split()


@pytest.mark.parametrize("fault", ["write:error=ENOSPC", "write:error=EIO", "fdatasync:error=EIO"])
def test_a_failing_disk_stops_sessions_and_nothing_runs_unrecorded(
    gateway: Gateway, postgres: EmbeddedPostgres, tmp_path: Path, fault: str
) -> None:
    worker = running(gateway, "worker")
    with Load(gateway) as load:
        for client in load.clients:
            wait_for(lambda one=client: one.done > 2 or one.wrong, f"{client.name} works")
        with Tracer(worker, journal(gateway), tmp_path / "log", fault):
            for client in load.clients:
                wait_for(lambda one=client: one.ended or one.wrong, f"{client.name} is stopped")
            wait_for(lambda: running(gateway, "worker") != worker, "the worker is replaced")
        for client in load.clients:
            began = client.done
            wait_for(lambda one=client, was=began: one.done > was or one.wrong, "it works again")
    assert "the journal is lost" in gateway.log()
    text = evidence.allowed(evidence.recorded(gateway.folder / "state"))
    found = rows(postgres)
    unrecorded = [row for row in found if row not in text]
    assert found
    assert not unrecorded
    report = verify(gateway.folder / "state" / "recording")
    assert report.ok, (report.first, report.gaps)


def test_a_write_that_cannot_be_recorded_never_reaches_the_database(
    gateway: Gateway, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """One statement alone, and its own sync fails: the client gets an error, the table nothing."""
    session = connect(gateway)
    session.execute("INSERT INTO load VALUES ('before')")
    worker = running(gateway, "worker")
    with (
        Tracer(worker, journal(gateway), tmp_path / "log", "fdatasync:error=EIO"),
        pytest.raises(psycopg.OperationalError),
    ):
        session.execute("INSERT INTO load VALUES ('not-on-record')")
    assert rows(postgres) == ["before"]
    connect_soon(gateway).execute("INSERT INTO load VALUES ('after')")
    assert rows(postgres) == ["before", "after"]


def test_a_power_cut_loses_no_record_of_a_write(
    gateway: Gateway, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Cut the journal to what the last true sync covers: every row is before that."""
    path, log = journal(gateway), tmp_path / "log"
    size = traffic(gateway, log)
    done = syncs(log, size)
    assert done and all(one.true for one in done)
    held = cut(path, done[-1].covers, tmp_path)
    found = rows(postgres)
    assert found
    assert not [row for row in found if statement_of(row) not in held]


def test_a_sync_that_lies_costs_what_came_after_it_and_no_more(
    gateway: Gateway, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """No gateway can see such a lie; what was synced truly before it is whole and verifies."""
    path, log = journal(gateway), tmp_path / "log"
    size = traffic(gateway, log, "fdatasync:retval=0:when=8+")
    done = syncs(log, size)
    true = [one for one in done if one.true]
    assert len(true) == 7
    assert len(done) > 8
    held = cut(path, true[-1].covers, tmp_path)
    found = rows(postgres)
    lost = [row for row in found if statement_of(row) not in held]
    everything = evidence.allowed(evidence.journal_events(path))
    assert not [row for row in found if row not in everything]
    assert lost, "the lie cost nothing, so the test shows nothing"
    assert len(lost) < len(found)


def traffic(gateway: Gateway, log: Path, *inject: str) -> int:
    """Let the load run with the worker's syncs written down, and kill the worker amid it.

    Return the journal's size before that.
    """
    worker = running(gateway, "worker")
    with Tracer(worker, journal(gateway), log, *inject):
        size = journal(gateway).stat().st_size
        with Load(gateway) as load:
            for client in load.clients:
                wait_for(lambda one=client: one.done > 4 or one.wrong, f"{client.name} works")
            for client in load.clients:
                client.stopping.set()
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: running(gateway, "worker") != worker, "the worker is replaced")
    gateway.wait_ready()
    return size


def statement_of(row: str) -> str:
    """Return what the statement that brought a row holds: its value, or a COPY's remark."""
    return f"/* {row.rpartition('-')[0]} */" if row.startswith("copy-") else row


def cut(path: Path, size: int, folder: Path) -> str:
    """Return the statements in the first `size` bytes of a journal, which are whole records."""
    copied = folder / path.name
    copied.write_bytes(path.read_bytes()[:size])
    events = evidence.journal_events(copied)
    assert any(isinstance(event, OperationDecided) for event in events)
    return evidence.statements(events)
