"""Bounds: memory beside a slow reader, what is recorded of a result, and quotas over restarts."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.core.event import ResultEnded, ResultRows
from sallyport.demo.server import EmbeddedPostgres
from tests.support import evidence
from tests.support.gateway import EVERYTHING, Gateway
from tests.support.processes import kill, running, unique_memory, wait_for
from tests.support.sessions import Background, connect, connect_soon

MEBIBYTE = 1024 * 1024
RECORDED = 256 * 1024
"""Bytes that are kept of one result here."""

LIMITS: list[dict[str, Any]] = [
    {
        "name": "few-statements",
        "effect": "limit",
        "subjects": {"names": ["hasty"]},
        "limit": {"statements_per_minute": 20},
    },
    {
        "name": "few-rows",
        "effect": "limit",
        "subjects": {"names": ["greedy"]},
        "limit": {"rows_per_hour": 1000},
    },
    {
        "name": "few-sessions",
        "effect": "limit",
        "subjects": {"names": ["crowd"]},
        "limit": {"sessions": 2},
    },
    {
        "name": "few-holds",
        "effect": "limit",
        "subjects": {"names": ["asker"]},
        "limit": {"pending_holds": 2},
    },
    {
        "name": "updates-wait",
        "effect": "hold",
        "operations": {"verbs": ["update"]},
        "hold": {"approvers": ["dba"]},
    },
]


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE limits OWNER app")
    postgres.psql("CREATE TABLE t (id int); ALTER TABLE t OWNER TO app", "limits")
    with Gateway(
        tmp_path_factory.mktemp("limits"),
        postgres,
        database="limits",
        rules=[*EVERYTHING, *LIMITS],
        guardrails={"enabled": True, "except": ["limit-results"]},
        extra={"recording": {"result_bytes": "256KiB"}},
    ) as running_one:
        yield running_one


# --- memory


def startup(gateway: Gateway) -> socket.socket:
    """Log in by hand, so that nobody reads what comes unless the test does."""
    sock = socket.create_connection(("127.0.0.1", gateway.port))
    words = b"user\0app\0database\0db\0\0"
    sock.sendall(struct.pack(">II", len(words) + 8, 196608) + words)
    assert sock.recv(1) == b"R"
    sock.recv(8)
    secret = gateway.agent.encode() + b"\0"
    sock.sendall(b"p" + struct.pack(">I", len(secret) + 4) + secret)
    tail = b""
    while not tail.endswith(b"Z\0\0\0\5I"):
        got = sock.recv(65536)
        assert got, tail
        tail += got
    return sock


def test_a_slow_reader_costs_a_bounded_amount(gateway: Gateway, postgres: EmbeddedPostgres) -> None:
    """100 MB wait for a client that does not read: they wait in the database, not in the gateway."""
    connect(gateway).execute("SELECT 1")
    worker = running(gateway, "worker")
    folder = gateway.folder / "state" / "recording" / "journals"
    before, journal = unique_memory(worker), size_of(folder)
    with startup(gateway) as sock:
        text = b"SELECT repeat('x', 1000) FROM generate_series(1, 100000)\0"
        sock.sendall(b"Q" + struct.pack(">I", len(text) + 4) + text)
        stuck = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite' "
            "AND query LIKE '%generate_series(1, 100000)%' AND pid <> pg_backend_pid()"
        )
        wait_for(lambda: postgres.psql(stuck).strip() == "1", "the database has to wait")
        assert unique_memory(worker) - before < 24 * MEBIBYTE
        assert size_of(folder) - journal < RECORDED + MEBIBYTE
        assert connect(gateway).execute("SELECT 1").fetchone() == (1,)
        total = 0
        while total < 100_000_000:
            got = sock.recv(MEBIBYTE)
            assert got
            total += len(got)
    assert unique_memory(worker) - before < 24 * MEBIBYTE


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.journal"))


def test_of_a_big_result_only_the_beginning_is_kept(gateway: Gateway) -> None:
    session = connect(gateway)
    rows = session.execute(
        "SELECT 'kept-' || i || repeat('y', 100) FROM generate_series(1, 20000) i"
    ).fetchall()
    assert len(rows) == 20000
    session.close()

    def recorded() -> list[ResultEnded]:
        events = evidence.recorded(gateway.folder / "state")
        return [one for one in events if isinstance(one, ResultEnded) and one.rows == 20000]

    ended = wait_for(recorded, "the result's end is on record")[0]
    assert ended.truncated
    assert ended.bytes > 20000 * 100
    assert ended.digest
    events = evidence.recorded(gateway.folder / "state")
    kept = [
        one
        for one in events
        if isinstance(one, ResultRows)
        and (one.session, one.operation) == (ended.session, ended.operation)
    ]
    size = sum(len(one.data) for one in kept)
    assert 0 < size <= RECORDED
    assert b"kept-1y" in kept[0].data


# --- quotas


def spend(connection: psycopg.Connection[Any], statement: str, times: int) -> int:
    """Run a statement up to `times`; return how often it was let through."""
    for done in range(times):
        try:
            connection.execute(statement.encode()).fetchall()
        except psycopg.errors.InsufficientPrivilege as error:
            assert "quota" in str(error)
            return done
    return times


def restart(gateway: Gateway, what: str) -> None:
    if what != "nothing":
        kill(gateway, what)
        gateway.wait_ready()


@pytest.mark.parametrize("what", ["nothing", "worker", "control"])
def test_statements_per_minute_survive_reconnecting_and_restarts(
    gateway: Gateway, what: str
) -> None:
    gateway.config["policy"]["rules"][1]["subjects"]["names"] = [f"hasty-{what}"]
    gateway.reload()
    token = gateway.token(f"hasty-{what}", groups=["agents"])
    first = spend(connect(gateway, token), "SELECT 1", 40)
    assert 0 < first <= 20
    restart(gateway, what)
    other = gateway.token(f"hasty-{what}", groups=["agents"])
    total = first  # a slow control refuses early, for want of a lease: what counts is the sum
    for secret in (token, other, token):
        with connect_soon(gateway, secret) as session:
            total += spend(session, "SELECT 1", 5)
    assert total <= 20


@pytest.mark.parametrize("what", ["nothing", "worker", "control"])
def test_rows_per_hour_survive_reconnecting_and_restarts(gateway: Gateway, what: str) -> None:
    gateway.config["policy"]["rules"][2]["subjects"]["names"] = [f"greedy-{what}"]
    gateway.reload()
    token = gateway.token(f"greedy-{what}", groups=["agents"])
    rows = 0
    with connect(gateway, token) as session:
        for _ in range(40):
            try:
                rows += len(session.execute("SELECT generate_series(1, 100)").fetchall())
            except psycopg.Error as error:
                assert "quota" in str(error)
                break
    assert 0 < rows <= 1300
    restart(gateway, what)
    with connect_soon(gateway, token) as session:
        got = 0
        for _ in range(5):
            try:
                got += len(session.execute("SELECT generate_series(1, 100)").fetchall())
            except psycopg.Error as error:
                assert "quota" in str(error)
        assert rows + got <= 1300


def test_sessions_at_once_are_counted_over_a_restart(gateway: Gateway) -> None:
    token = gateway.token("crowd", groups=["agents"])
    for _ in range(2):
        held = [connect_soon(gateway, token), connect_soon(gateway, token)]
        with pytest.raises(psycopg.OperationalError, match="2 sessions of yours"):
            connect(gateway, token)
        held[0].close()
        held[0] = connect_soon(gateway, token)
        for session in held:
            session.close()
        kill(gateway, "worker")
        gateway.wait_ready()


def test_pending_holds_are_counted_per_subject(gateway: Gateway) -> None:
    token = gateway.token("asker", groups=["agents"])
    waiting = [
        Background(gateway.dsn(token), f"UPDATE t SET id = 0 WHERE id = {number}")
        for number in (1, 2)
    ]
    wait_for(
        lambda: len(gateway.approver.get("/approvals", state="pending")["approvals"]) == 2,
        "two wait",
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="wait for approval already"):
        connect(gateway, token).execute("UPDATE t SET id = 0 WHERE id = 3")
    for found in gateway.approver.get("/approvals", state="pending")["approvals"]:
        gateway.deny(found["id"])
    for one in waiting:
        assert "denied" in one.result().why
