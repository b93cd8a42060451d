"""A gateway's life: it drains, takes a new policy, loses control or is halted, and goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.cli.client import path
from sallyport.cli.errors import CommandError
from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import EVERYTHING, Gateway
from tests.support.processes import PATIENCE, kill, running, wait_for
from tests.support.sessions import Background, Listener, at_work, connect, connect_soon

HOLD: dict[str, Any] = {
    "name": "updates-wait",
    "effect": "hold",
    "operations": {"verbs": ["update"]},
    "hold": {"approvers": ["dba"]},
}
TICKET: dict[str, Any] = {
    "name": "deletes-need-a-ticket",
    "effect": "hold",
    "operations": {"verbs": ["delete"]},
    "hold": {"approvers": ["dba"], "ticket": True},
}
NO_INSERTS: dict[str, Any] = {
    "name": "no-inserts",
    "effect": "deny",
    "operations": {"verbs": ["insert"]},
    "reason": "inserts are over",
}
RULES = [*EVERYTHING, HOLD, TICKET]
UPDATE = "UPDATE t SET note = 'changed' WHERE id = 1"
DELETE = "DELETE FROM t WHERE id = 2"


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> str:
    postgres.psql("CREATE DATABASE life OWNER app")
    postgres.psql("CREATE TABLE t (id int, note text); ALTER TABLE t OWNER TO app", "life")
    return "life"


@pytest.fixture(scope="module")
def lasting(
    postgres: EmbeddedPostgres, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with Gateway(
        tmp_path_factory.mktemp("life"),
        postgres,
        database=database,
        rules=RULES,
        guardrails={"enabled": True, "except": ["limit-rate", "limit-hourly"]},
    ) as one:
        yield one


@pytest.fixture
def gateway(lasting: Gateway, postgres: EmbeddedPostgres) -> Gateway:
    """The gateway of this module, running and with its first policy."""
    postgres.psql("TRUNCATE t; INSERT INTO t VALUES (1, 'one'), (2, 'two')", "life")
    if lasting.process is None or lasting.process.poll() is not None:
        lasting.launch()
    if lasting.config["policy"]["rules"] != RULES:
        lasting.config["policy"]["rules"] = RULES
        lasting.reload()
    return lasting


def note(postgres: EmbeddedPostgres, number: int) -> str:
    return postgres.psql(f"SELECT note FROM t WHERE id = {number}", "life").strip()


def state(gateway: Gateway, identifier: str) -> str:
    return str(gateway.approver.get(path("approvals", identifier))["state"])


# --- SIGTERM


def test_sigterm_lets_what_runs_finish_and_tells_the_idle(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    idle = Listener(gateway.dsn())
    slow = Background(gateway.dsn(), "SELECT pg_sleep(3), 'slow one'")
    at_work(postgres, "slow one")
    process = gateway.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    wait_for(idle.over, "the idle session is ended")
    assert idle.codes == ["57P01"]
    assert slow.is_alive(), "the idle session was ended only with everything else"
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(gateway)
    assert slow.result().error is None
    assert slow.rows is not None
    assert slow.rows[0][1] == "slow one"
    assert process.wait(PATIENCE) == 0
    log = gateway.log()
    assert "did not stop in time" not in log
    assert "Traceback" not in log


def test_sigterm_waits_for_a_transaction_to_end(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    session = psycopg.connect(gateway.dsn())
    session.execute("INSERT INTO t VALUES (3, 'kept')")
    process = gateway.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    session.execute("INSERT INTO t VALUES (4, 'kept')")
    session.commit()
    assert process.wait(PATIENCE) == 0
    assert [note(postgres, 3), note(postgres, 4)] == ["kept", "kept"]


# --- SIGHUP


def revision(gateway: Gateway) -> dict[str, Any]:
    return dict(gateway.admin.get("/policy"))


def hang_up(gateway: Gateway) -> None:
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)


def test_sighup_decides_open_sessions_and_prepared_statements_anew(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    session = connect(gateway)
    insert = "INSERT INTO t VALUES (%s, 'prepared')"
    session.execute(insert, [10], prepare=True)
    session.execute(insert, [11], prepare=True)
    before = revision(gateway)["revision"]
    gateway.config["policy"]["rules"] = [*RULES, NO_INSERTS]
    gateway.write_config()
    hang_up(gateway)
    wait_for(lambda: revision(gateway)["revision"] != before, "the new policy is in force")

    def refused() -> bool:
        try:
            session.execute(insert, [12], prepare=True)
        except psycopg.errors.InsufficientPrivilege as error:
            return "no-inserts" in str(error)
        return False

    wait_for(refused, "the named statement is decided by the new policy")
    assert session.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no-inserts"):
        session.execute("INSERT INTO t VALUES (13, 'simple')", prepare=False)


def test_a_bad_file_keeps_the_policy_and_says_so(gateway: Gateway) -> None:
    before = revision(gateway)
    session = connect(gateway)
    good = gateway.path.read_text()
    broken = json.loads(good)
    broken["policy"]["rules"][0]["efect"] = "allow"
    gateway.path.write_text(json.dumps(broken, indent=1))
    hang_up(gateway)
    wait_for(lambda: revision(gateway)["failure"], "the failure is shown")
    after = revision(gateway)
    assert after["revision"] == before["revision"]
    assert "efect" in after["failure"]
    assert "the configuration was not taken" in gateway.log()
    assert session.execute("SELECT 1").fetchone() == (1,)
    gateway.path.write_text(good)
    hang_up(gateway)
    wait_for(lambda: not revision(gateway)["failure"], "the good file is taken again")


@pytest.mark.parametrize("name", ["worker", "control"])
def test_what_dies_beside_a_bad_file_comes_back_with_the_policy_in_force(
    gateway: Gateway, name: str
) -> None:
    """A typing error in the file must not wait for the next crash to become an outage."""
    gateway.config["policy"]["rules"] = [*RULES, NO_INSERTS]
    gateway.reload()
    before = revision(gateway)["revision"]
    good = gateway.path.read_text()
    gateway.path.write_text(good + "}")
    try:
        kill(gateway, name)
        gateway.wait_ready()
        session = connect_soon(gateway)
        assert session.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no-inserts"):
            session.execute("INSERT INTO t VALUES (14, 'x')")
        assert revision(gateway)["revision"] == before
    finally:
        gateway.path.write_text(good)


# --- approvals over restarts


def held(gateway: Gateway) -> tuple[Background, str]:
    waiting = Background(gateway.dsn(), UPDATE)
    return waiting, str(gateway.wait_pending()["id"])


@pytest.mark.parametrize("name", ["worker", "control"])
def test_a_live_hold_ends_with_the_process_that_held_it(
    gateway: Gateway, postgres: EmbeddedPostgres, name: str
) -> None:
    waiting, identifier = held(gateway)
    kill(gateway, name)
    assert waiting.result().error is not None
    gateway.wait_ready()
    wait_for(lambda: state(gateway, identifier) != "pending", "the approval is over")
    assert state(gateway, identifier) == "cancelled"
    with pytest.raises(CommandError):
        gateway.approve(identifier)
    assert note(postgres, 1) == "one"


def test_a_live_hold_ends_when_the_gateway_stops(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    waiting, identifier = held(gateway)
    gateway.stop()
    assert waiting.result().error is not None
    gateway.launch()
    assert state(gateway, identifier) == "cancelled"
    assert note(postgres, 1) == "one"


def ticket_for(gateway: Gateway) -> str:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="ticket") as refused:
        connect(gateway).execute(DELETE)
    identifier = str(gateway.wait_pending()["id"])
    assert identifier in str(refused.value)
    return identifier


def restart(gateway: Gateway, what: str) -> None:
    if what == "gateway":
        gateway.stop()
        gateway.launch()
        return
    kill(gateway, what)
    gateway.wait_ready()


@pytest.mark.parametrize("what", ["worker", "control", "gateway"])
def test_a_ticket_survives_a_restart_before_and_after_its_approval(
    gateway: Gateway, postgres: EmbeddedPostgres, what: str
) -> None:
    identifier = ticket_for(gateway)
    restart(gateway, what)
    assert state(gateway, identifier) == "pending"
    gateway.approve(identifier)
    restart(gateway, what)
    session = connect_soon(gateway)
    session.execute(DELETE)
    assert note(postgres, 2) == ""
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="ticket"):
        session.execute(DELETE)
    again = gateway.wait_pending()["id"]
    assert again != identifier
    gateway.deny(str(again))


# --- a silent control, a halted worker


def test_a_silent_control_ends_sessions_and_lets_nobody_in(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    idle = Listener(gateway.dsn())
    slow = Background(gateway.dsn(), "SELECT pg_sleep(60), 'silence'")
    at_work(postgres, "silence")
    control = running(gateway, "control")
    os.kill(control, signal.SIGSTOP)
    try:
        wait_for(idle.over, "the idle session is ended")
        assert idle.codes == ["57P01"]
        assert slow.result().error is not None
        with pytest.raises(psycopg.OperationalError):
            connect(gateway)
    finally:
        os.kill(control, signal.SIGCONT)
    session = connect_soon(gateway)
    assert session.execute("SELECT 1").fetchone() == (1,)
    assert running(gateway, "control") == control


def test_a_worker_that_was_halted_goes_on_where_it_was(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    session = connect(gateway)
    session.execute("INSERT INTO t VALUES (20, 'before')")
    worker = running(gateway, "worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        postgres.psql("SELECT pg_sleep(3)")
    finally:
        os.kill(worker, signal.SIGCONT)
    session.execute("INSERT INTO t VALUES (21, 'after')")
    assert note(postgres, 21) == "after"
    assert running(gateway, "worker") == worker


def test_the_parts_end_with_a_supervisor_that_was_killed(gateway: Gateway) -> None:
    """Nobody would start them again, or tell them to stop; and the next start would find them."""
    assert gateway.process is not None
    parts = [running(gateway, "control"), running(gateway, "worker")]
    os.kill(gateway.process.pid, signal.SIGKILL)
    gateway.process.wait()
    for part in parts:
        wait_for(lambda one=part: not _lives(one), f"{part} ends")
    gateway.launch()
    connect_soon(gateway).execute("SELECT 1")


def _lives(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status
