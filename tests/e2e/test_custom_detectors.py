"""Detectors of an operator's own through a real gateway: results, COPY, notices, and a reload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.composite import CompositeInfo

import sallyport.supervisor as sallyport_package
from sallyport.cli.client import CommandError
from sallyport.demo.server import EmbeddedPostgres
from tests.e2e.test_command_line import sallyport
from tests.support.gateway import EVERYTHING, Gateway

SOURCES = Path(sallyport_package.__file__).parents[1]
DETECTORS: list[dict[str, Any]] = [
    {
        "name": "employee-id",
        "patterns": ["EMP-[0-9]{6}", "[0-9]{6}"],
        "left": "word",
        "right": "word",
        "column_hint": "(^|_)emp(loyee)?_?id",
        "context": ["badge"],
    },
    {"name": "project-names", "words": "Bluebird\nNight jar\nStraße", "ignore_case": True},
    {"name": "unnamed", "patterns": ["lot [A-Z]{3}"]},
]
MASK: dict[str, Any] = {
    "name": "hide-own",
    "effect": "mask",
    "mask": {"detectors": ["employee-id", "project-names"]},
}
SCHEMA = """
SET ROLE app;
CREATE TABLE notes (id int PRIMARY KEY, body text, data jsonb, tags text[], emp_id int, raw bytea);
INSERT INTO notes VALUES
    (1, 'badge EMP-123456 went to BLUEBIRD', '{"badge": 654321, "on": ["a \\" bluebird"]}',
        ARRAY['bluebird', 'x "night jar"', 'bluebirds'], 987654, 'night jar'),
    (2, 'EMP-123456 without a word before it, project-bluebird_v2, strasse', '{"n": 654321}',
        ARRAY['plain'], 7, 'plain');
CREATE TYPE pair AS (who text, n int);
"""
FIRST = (
    1,
    "badge [redacted:employee-id] went to [redacted:project-names]",
    {"badge": 0, "on": ['a " [redacted:project-names]']},
    ["[redacted:project-names]", 'x "[redacted:project-names]"', "bluebirds"],
    0,
    b"[redacted:project-names]",
)
SECOND = (
    2,
    "EMP-123456 without a word before it, project-[redacted:project-names]_v2,"
    " [redacted:project-names]",
    {"n": 654321},
    ["plain"],
    7,
    b"plain",
)


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE own OWNER app")
    postgres.psql(SCHEMA, "own")
    folder = tmp_path_factory.mktemp("own")
    with Gateway(
        folder,
        postgres,
        database="own",
        rules=[*EVERYTHING, MASK],
        extra={"detectors": [dict(one) for one in DETECTORS]},
        sources=SOURCES,
    ) as running:
        yield running


@pytest.fixture
def session(gateway: Gateway) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(gateway.dsn(), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_results_of_the_extended_protocol(session: psycopg.Connection[Any], binary: bool) -> None:
    cursor = session.cursor(binary=binary)
    rows = cursor.execute("SELECT * FROM notes WHERE id < %s ORDER BY id", (9,)).fetchall()
    assert rows == [FIRST, SECOND]


def test_results_of_the_simple_protocol(gateway: Gateway) -> None:
    with psycopg.connect(
        gateway.dsn(), autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as session:
        rows = session.execute("SELECT * FROM notes ORDER BY id; SELECT 1").fetchall()
    assert rows == [FIRST, SECOND]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_what_stands_in_rows_and_under_other_names(
    session: psycopg.Connection[Any], binary: bool
) -> None:
    CompositeInfo.fetch(session, "pair")
    cursor = session.cursor(binary=binary)
    (row,) = cursor.execute(
        "SELECT lower(body), ROW('Night jar', 5)::pair::text, ARRAY[emp_id] AS emp_id, emp_id AS n"
        " FROM notes WHERE id = %s",
        (1,),
    ).fetchall()
    assert row[0] == "badge emp-[redacted:employee-id] went to [redacted:project-names]"
    assert row[1:3] == ('("[redacted:project-names]",5)', [0])
    assert row[3] == 0  # by the name of the column that it comes from


def test_copied_rows(session: psycopg.Connection[Any]) -> None:
    for source in ("notes (id, body)", "(SELECT id, body FROM notes)"):
        for form in ("text", "csv", "binary"):
            with session.cursor().copy(f"COPY {source} TO STDOUT (FORMAT {form})") as copy:
                copied = b"".join(bytes(part) for part in copy)
            assert b"123456 went" not in copied and b"BLUEBIRD" not in copied
            assert copied.count(b"[redacted:employee-id]") == 1
            assert copied.count(b"[redacted:project-names]") == 3


def test_notices_and_errors(session: psycopg.Connection[Any]) -> None:
    heard: list[str] = []
    session.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
    session.execute('CREATE TABLE IF NOT EXISTS "badge EMP-123456, Night Jar" (n int)')
    session.execute('CREATE TABLE IF NOT EXISTS "badge EMP-123456, Night Jar" (n int)')
    hidden = "badge [redacted:employee-id], [redacted:project-names]"
    assert heard == [f'relation "{hidden}" already exists, skipping']
    session.execute("LISTEN news")
    session.execute("NOTIFY news, 'BLUEBIRD'")
    (news,) = session.notifies(timeout=10, stop_after=1)
    assert news.payload == "[redacted:project-names]"
    with pytest.raises(psycopg.Error) as caught:
        session.execute("SELECT CAST(tags[1] AS int) FROM notes WHERE id = 1")
    assert "bluebird" not in str(caught.value)
    assert "[redacted:project-names]" in str(caught.value)


def test_samples_are_looked_at_by_every_detector_that_there_is(gateway: Gateway) -> None:
    with psycopg.connect(gateway.server.uri("own"), autocommit=True) as direct:
        direct.execute("CREATE TABLE lots (what text)")
        direct.execute("INSERT INTO lots VALUES ('lot ABC'), ('lot XYZ'), (NULL)")
        direct.execute("ALTER TABLE lots OWNER TO app")
    environment = {"SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token}
    done = sallyport("discover", "db", "--json", **environment, PYTHONPATH=str(SOURCES))
    assert done.returncode == 0, done.stderr
    found = {
        (one["relation"], one["column"], one["what"]): one
        for one in json.loads(done.stdout)["found"]
    }
    lots = found["public.lots", "what", "unnamed"]
    assert (lots["hits"], lots["rows"], lots["covered"]) == (2, 2, "")
    assert lots["proposed"] == "redact"
    body = found["public.notes", "body", "project-names"]
    assert (body["hits"], body["rows"], body["covered"]) == (2, 2, "content")
    assert found["public.notes", "emp_id", "employee-id"]["hits"] == 1
    assert found["public.notes", "data", "employee-id"]["hits"] == 1


def test_an_explanation_knows_them(gateway: Gateway) -> None:
    environment = {"SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token}
    words = ("--subject", "ada", "--group", "agents", "--target", "db")
    done = sallyport(
        "explain", *words, "SELECT body FROM notes", **environment, PYTHONPATH=str(SOURCES)
    )
    assert done.returncode == 0, done.stderr
    assert "any employee-id" in done.stdout and "any project-names" in done.stdout


def test_a_changed_definition_takes_effect_in_sessions_that_are_open(gateway: Gateway) -> None:
    sql = "SELECT 'Bluebird, Nightingale'"
    with psycopg.connect(gateway.dsn(), autocommit=True) as session:
        assert session.execute(sql).fetchall() == [("[redacted:project-names], Nightingale",)]
        gateway.config["detectors"][1]["words"] = ["Nightingale"]
        gateway.reload()
        assert session.execute(sql).fetchall() == [("Bluebird, [redacted:project-names]",)]
        gateway.config["detectors"][1]["words"] = ["Nightingale", ""]
        with pytest.raises(CommandError, match="without blanks"):
            gateway.reload()
        assert session.execute(sql).fetchall() == [("Bluebird, [redacted:project-names]",)]
        gateway.config["detectors"][1] = dict(DETECTORS[1])
        gateway.reload()
        assert session.execute(sql).fetchall() == [("[redacted:project-names], Nightingale",)]
