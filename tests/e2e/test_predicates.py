"""`predicates: refuse`: masked columns are shown masked, and used for nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import EVERYTHING, Gateway

Session = psycopg.Connection[tuple[Any, ...]]
MASKS: list[dict[str, Any]] = [
    {
        "name": "refusing",
        "effect": "mask",
        "mask": {"columns": ["public.people.ssn"], "predicates": "refuse"},
    },
    {"name": "hidden", "effect": "mask", "mask": {"columns": ["public.people.email"]}},
]


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("DROP DATABASE IF EXISTS refusing")
    postgres.psql("CREATE DATABASE refusing OWNER app")
    postgres.psql(
        "SET ROLE app; CREATE TABLE people (id int PRIMARY KEY, ssn text, email text);"
        "CREATE TABLE staff (rank int) INHERITS (people);"
        "CREATE VIEW listed AS SELECT id, ssn AS number FROM people;"
        "CREATE VIEW chosen AS SELECT id FROM people WHERE ssn LIKE '2%';"
        "INSERT INTO people VALUES (1, '219-09-9999', 'ada@acme.test')",
        "refusing",
    )
    folder: Path = tmp_path_factory.mktemp("refusing")
    with Gateway(folder, postgres, database="refusing", rules=[*EVERYTHING, *MASKS]) as running:
        yield running


@pytest.fixture
def session(gateway: Gateway) -> Iterator[Session]:
    with psycopg.connect(gateway.dsn(), autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ssn FROM people WHERE id = 1",
        "SELECT number FROM listed",
        "SELECT ssn FROM people",
        "UPDATE people SET id = id WHERE id = 1 RETURNING ssn",
    ],
)
def test_it_is_shown_masked(session: Session, text: str) -> None:
    assert session.execute(text.encode()).fetchall() == [("[redacted]",)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM people WHERE ssn = '219-09-9999'",
        "SELECT upper(ssn) FROM people",
        "SELECT id FROM people ORDER BY ssn",
        "SELECT people FROM people",
        "SELECT ssn FROM people GROUP BY ssn",
        "SELECT id FROM listed WHERE number > '2'",
        "SELECT count(*) FROM chosen",
        "SELECT id FROM staff WHERE ssn > '2'",
        "COPY (SELECT ssn || '' FROM people) TO STDOUT",
        "UPDATE people SET id = id WHERE id = 1 RETURNING upper(ssn)",
        "PREPARE p AS SELECT id FROM people WHERE ssn = $1",
        "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM people ORDER BY ssn",
        "EXPLAIN (COSTS OFF) SELECT id FROM people WHERE ssn > '2'",
    ],
)
def test_whatever_else_uses_it_is_refused(session: Session, text: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="masked"):
        session.execute(text.encode())


def test_columns_of_other_rules_are_worked_on_masked(session: Session) -> None:
    told: list[str] = []
    session.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    text = "SELECT id FROM people WHERE email = '[redacted]'"
    assert session.execute(text).fetchall() == [(1,)]
    assert len(told) == 1
    assert told[0].startswith("masked here: ssn, email of public.people; ")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"public\.people\.ssn"):
        session.execute(f"{text} AND ssn IS NULL".encode())


def test_explain_tells(gateway: Gateway) -> None:
    body = {
        "subject": "ada", "groups": ["engineers"], "target": "db",
        "statement": "SELECT id FROM people WHERE ssn IS NULL",
    }  # fmt: skip
    found = gateway.admin.post("/policy/explain", body)
    (operation,) = found["detail"]["operations"]
    assert operation["rewritten"] == ""
    assert "public.people.ssn" in operation["refused"]["reason"]
