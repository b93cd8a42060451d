"""What a ticket is for: the text that runs, by whatever name it is called, and what it stands on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import EVERYTHING, Gateway

HOLD: dict[str, Any] = {
    "name": "waits",
    "effect": "hold",
    "operations": {"effects": ["write", "unknown"], "resources": {"table": ["public.accounts"]}},
    "hold": {"approvers": ["dba"], "ticket": True},
}
NEVER: dict[str, Any] = {
    "name": "never",
    "effect": "deny",
    "when": "op.text.contains('forbidden')",
}
SMALL = "UPDATE accounts SET balance = balance + 1 WHERE id = 1"
LARGE = "UPDATE accounts SET balance = balance + 1000000 WHERE id = 2"


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE bound OWNER app")
    postgres.psql(
        "SET ROLE app; CREATE TABLE accounts (id int PRIMARY KEY, balance bigint);"
        "CREATE TABLE forbidden (n int);"
        "INSERT INTO accounts VALUES (1, 0), (2, 0);"
        "CREATE FUNCTION bonus(int) RETURNS int LANGUAGE plpgsql AS 'begin return 1; end'",
        "bound",
    )
    folder = tmp_path_factory.mktemp("bound")
    rules = [*EVERYTHING, HOLD, NEVER]
    with Gateway(folder, postgres, database="bound", rules=rules) as running:
        yield running


@pytest.fixture
def session(gateway: Gateway) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(gateway.dsn(), autocommit=True) as opened:
        yield opened
    for left in gateway.approver.get("/approvals", state="pending")["approvals"]:
        gateway.deny(left["id"])


def ticket_for(gateway: Gateway, session: psycopg.Connection[Any], sql: str) -> dict[str, Any]:
    """Ask, and have somebody approve what was shown."""
    with pytest.raises(psycopg.Error, match="needs approval: ticket"):
        session.execute(sql.encode())
    shown: dict[str, Any] = gateway.wait_pending()
    gateway.approve(shown["id"])
    return shown


def balance(postgres: EmbeddedPostgres, number: int) -> str:
    return postgres.psql(f"SELECT balance FROM accounts WHERE id = {number}", "bound").strip()


def prepare_by_protocol(session: psycopg.Connection[Any], name: str, sql: str) -> None:
    answer = session.pgconn.prepare(name.encode(), sql.encode())
    assert not answer.error_message


def test_the_approver_of_an_execute_sees_what_it_runs(
    gateway: Gateway, postgres: EmbeddedPostgres, session: psycopg.Connection[Any]
) -> None:
    prepare_by_protocol(session, "p", SMALL)
    shown = ticket_for(gateway, session, "EXECUTE p")
    assert SMALL in shown["text"]
    before = int(balance(postgres, 1))
    session.execute("EXECUTE p")
    assert int(balance(postgres, 1)) == before + 1


def test_a_ticket_for_an_execute_is_for_what_was_prepared(
    gateway: Gateway, postgres: EmbeddedPostgres, session: psycopg.Connection[Any]
) -> None:
    prepare_by_protocol(session, "q", SMALL)
    ticket_for(gateway, session, "EXECUTE q")
    session.pgconn.exec_(b"DEALLOCATE q")
    prepare_by_protocol(session, "q", LARGE)
    with pytest.raises(psycopg.Error, match="needs approval: ticket"):
        session.execute("EXECUTE q")
    assert balance(postgres, 2) == "0"


def test_there_is_no_ticket_for_what_is_not_all_in_the_text(
    gateway: Gateway, session: psycopg.Connection[Any]
) -> None:
    """A name that an escape hides, rows that are yet to come, the row that a cursor stands on."""
    rules = gateway.config["policy"]["rules"]
    rules.append({**HOLD, "name": "unknown", "operations": {"effects": ["unknown"]}})
    gateway.reload()
    try:
        prepare_by_protocol(session, "r", SMALL)
        hidden = r"EXECUTE U&'\0072'".replace("'", '"')
        moving = "UPDATE accounts SET balance = 7 WHERE CURRENT OF c"
        for text in (hidden, "COPY accounts FROM STDIN", moving):
            with pytest.raises(psycopg.Error, match="no ticket can be given"):
                session.execute(text.encode())
    finally:
        rules.pop()
        gateway.reload()


def test_a_ticket_for_a_fetch_is_for_the_cursor_that_was_open(
    gateway: Gateway, session: psycopg.Connection[Any]
) -> None:
    rules = gateway.config["policy"]["rules"]
    rules.append({**HOLD, "name": "fetches", "operations": {"verbs": ["fetch"]}})
    gateway.reload()
    try:
        session.execute("DECLARE c CURSOR WITH HOLD FOR SELECT 1")
        assert "SELECT 1" in ticket_for(gateway, session, "FETCH c")["text"]
        session.execute("CLOSE c")
        session.execute("DECLARE c CURSOR WITH HOLD FOR SELECT balance FROM accounts")
        with pytest.raises(psycopg.Error, match="needs approval: ticket"):
            session.execute("FETCH c")
    finally:
        rules.pop()
        gateway.reload()


def test_a_ticket_is_for_the_functions_as_they_were(
    gateway: Gateway, postgres: EmbeddedPostgres, session: psycopg.Connection[Any]
) -> None:
    held = "UPDATE accounts SET balance = bonus(1) WHERE id = 2"
    ticket_for(gateway, session, held)
    postgres.psql(
        "CREATE OR REPLACE FUNCTION bonus(int) RETURNS int LANGUAGE plpgsql"
        " AS 'begin return 777; end'",
        "bound",
    )
    with pytest.raises(psycopg.Error, match=r"needs approval: ticket|it names has changed"):
        session.execute(held)
    assert balance(postgres, 2) == "0"


@pytest.mark.parametrize("how", ["SQL", "protocol"])
def test_a_condition_on_the_text_sees_what_an_execute_runs(
    session: psycopg.Connection[Any], how: str
) -> None:
    text = "SELECT n FROM forbidden"
    with pytest.raises(psycopg.Error, match="never"):
        session.execute(text)
    if how == "SQL":
        with pytest.raises(psycopg.Error, match="never"):
            session.execute(f"PREPARE s AS {text}")
        return
    prepare_by_protocol(session, "s", text)
    with pytest.raises(psycopg.Error, match="never"):
        session.execute("EXECUTE s")


def test_a_ticket_is_for_the_table_as_it_was(
    gateway: Gateway, postgres: EmbeddedPostgres, session: psycopg.Connection[Any]
) -> None:
    held = "INSERT INTO accounts (id) VALUES (7)"
    for change in (
        "ALTER TABLE accounts ALTER balance SET DEFAULT 999999",
        "ALTER TABLE accounts RENAME balance TO x; ALTER TABLE accounts RENAME x TO balance",
        "ALTER TABLE accounts ADD more int",
    ):
        ticket_for(gateway, session, held)
        postgres.psql(change, "bound")
        with pytest.raises(psycopg.Error, match=r"needs approval: ticket|it names has changed"):
            session.execute(held)
