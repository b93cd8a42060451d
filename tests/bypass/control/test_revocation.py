"""Class 57: a right that ends while its connection is open, whatever that connection is doing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

import pytest

from sallyport.cli.client import path
from sallyport.demo.server import EmbeddedPostgres
from tests.bypass.postgres import wire
from tests.bypass.postgres.wire import Gone, Wire
from tests.support.gateway import EVERYTHING, Gateway
from tests.support.processes import wait_for

DATABASE = "revoked"
HOLD = {
    "name": "updates-wait", "effect": "hold", "operations": {"verbs": ["update"]},
    "hold": {"approvers": ["dba"], "timeout": "60s"},
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql(f"create database {DATABASE} owner app")
    postgres.psql("set role app; create table t (a text); insert into t values ('x')", DATABASE)
    with Gateway(
        tmp_path_factory.mktemp("revoked"),
        postgres,
        database=DATABASE,
        rules=[*EVERYTHING, HOLD],
        guardrails={"enabled": True, "except": ["limit-results", "limit-hourly"]},
    ) as running:
        yield running


def batch(sql: str) -> bytes:
    return wire.parse("", sql) + wire.bind() + wire.execute() + wire.SYNC


BIG = "select repeat('y', 1000) from generate_series(1, 3000000)"

PHASES: dict[str, bytes] = {
    "idle": b"",
    "idle-in-a-transaction": wire.query("begin; select 1"),
    "in-an-aborted-transaction": wire.query("begin; select 1/0"),
    "amid-a-statement": wire.query("select pg_sleep(60)"),
    "amid-a-statement-of-a-pipeline": batch("select pg_sleep(60)") + batch("select 2") * 5,
    "while-a-hold-waits": wire.query("update t set a = 'y' where a = 'x'"),
    "while-a-hold-waits-in-a-transaction": wire.query("begin")
    + wire.query("update t set a = 'y' where a = 'x'"),
    "while-rows-stream-to-who-does-not-read": wire.query(BIG),
    "while-a-copy-streams-to-who-does-not-read": wire.query(f"copy ({BIG}) to stdout"),
    "while-a-copy-waits-for-rows": wire.query("copy t from stdin") + wire.message("d", b"half"),
    "amid-a-message": wire.query("select 'never finished'")[:9],
    "with-a-suspended-portal": wire.query("begin") + wire.parse("", BIG) + wire.bind("p")
    + wire.execute("p", 10) + wire.FLUSH,
}  # fmt: skip


def by_id(gateway: Gateway, subject: str) -> None:
    tokens = gateway.admin.get("/tokens", subject=subject)["tokens"]
    gateway.admin.post("/tokens/revoke", {"id": tokens[0]["id"]})


def by_subject(gateway: Gateway, subject: str) -> None:
    gateway.admin.post("/tokens/revoke", {"subject": subject})


def by_kill(gateway: Gateway, subject: str) -> None:
    found = wait_for(
        lambda: gateway.admin.get("/sessions", subject=subject, state="open")["sessions"],
        "the session is listed",
    )
    for session in found:
        gateway.admin.post(path("sessions", session["id"], "kill"), {"reason": "enough"})


WAYS: dict[str, Callable[[Gateway, str], None]] = {
    "token": by_id, "subject": by_subject, "kill": by_kill,
}  # fmt: skip


def backends(gateway: Gateway, subject: str) -> int:
    return int(
        gateway.server.psql(
            f"select count(*) from pg_stat_activity where application_name = '{subject}'"
        )
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("phase", PHASES)
def test_it_ends_and_so_does_what_it_ran(gateway: Gateway, phase: str, way: str) -> None:
    subject = f"gone-{secrets.token_hex(4)}"
    token = gateway.token(subject, groups=["agents"])
    parameters = {"user": "app", "database": "db", "application_name": subject}
    with Wire(gateway.port, parameters, token) as session:
        session.send(PHASES[phase])
        if "hold" in phase:
            wait_for(
                lambda: [
                    one
                    for one in gateway.approver.get("/approvals", state="pending")["approvals"]
                    if one["subject"] == subject
                ],
                "it is pending",
            )
        elif "amid-a-statement" in phase:
            wait_for(
                lambda: "active" in gateway.server.psql(
                    f"select state from pg_stat_activity where application_name = '{subject}'"
                ),
                "it runs",
            )  # fmt: skip
        else:
            time.sleep(0.1)
        assert backends(gateway, subject) == 1
        start = time.monotonic()
        WAYS[way](gateway, subject)
        wait_for(lambda: backends(gateway, subject) == 0 or None, "the target's session is over")
        print(f"{phase}, by {way}: over after {time.monotonic() - start:.2f} s")
        with pytest.raises(Gone) as gone:
            while True:
                session.next()
        assert "no answer" not in str(gone.value)
        if way != "kill" and phase == "idle":
            with pytest.raises(Gone):
                Wire(gateway.port, parameters, token)
    pending = gateway.approver.get("/approvals", state="pending")["approvals"]
    assert not [one for one in pending if one["subject"] == subject]
    assert gateway.server.psql("select a from t", DATABASE) == "x\n"


def test_revoking_all_ends_all(gateway: Gateway) -> None:
    tokens = [gateway.token(f"all-{n}", groups=["agents"]) for n in range(5)]
    sessions = [Wire(gateway.port, {"user": "app", "database": "db"}, token) for token in tokens]
    for session in sessions[1:]:
        session.send(wire.query("select pg_sleep(60)"))
    try:
        gateway.admin.post("/tokens/revoke", {"all": True})
        for session in sessions:
            with pytest.raises(Gone) as gone:
                while True:
                    session.next()
            assert "no answer" not in str(gone.value)
    finally:
        for session in sessions:
            session.close()
    with pytest.raises(Gone):
        Wire(gateway.port, {"user": "app", "database": "db"}, tokens[0])
