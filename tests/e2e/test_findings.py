"""What detectors hide in columns that no mask names is counted, against real databases."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import sallyport.supervisor as sallyport_package
from sallyport.cli.client import path
from sallyport.core.visible import visible
from sallyport.demo.server import EmbeddedPostgres
from tests.e2e.test_command_line import sallyport
from tests.support.gateway import EVERYTHING, Gateway
from tests.support.processes import wait_for

SOURCES = Path(sallyport_package.__file__).parents[1]
EMAILS = 312
HOSTILE = "ev\x1b[31mil\nname\u202e*"
DETECTED = {
    "name": "detected",
    "effect": "mask",
    "mask": {"detectors": ["email"], "transform": "redact", "unless_columns": ["*.*.support"]},
}
NAMED = {
    "name": "named",
    "effect": "mask",
    "mask": {"columns": ["public.*.email"], "tags": ["pii.mail"], "transform": "partial"},
}
CLASSES = {"classify": {"pii.mail": ["public.*.tagged"]}}
WAYS = ("simple", "extended", "copy", "viewed", "computed", "joined", "several", "exempt")
TABLE = """
CREATE TABLE {name} (
    id int PRIMARY KEY, name text, email text, tagged text, support text, notes text, more jsonb
);
INSERT INTO {name} SELECT n, 'N' || n, 'person' || n || '@example.org', 't' || n || '@example.org',
    'help@example.org',
    CASE WHEN n <= 312 THEN 'write to someone' || n || '@example.org, soon' ELSE 'nothing' END,
    jsonb_build_object('n', n)
FROM generate_series(1, 1000) n;
"""
SCHEMA = """
CREATE VIEW shown AS SELECT id, notes AS said, upper(notes) AS louder FROM viewed;
CREATE TABLE parted (id int, notes text) PARTITION BY RANGE (id);
CREATE TABLE aaa_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE zzz_high PARTITION OF parted FOR VALUES FROM (10) TO (20);
INSERT INTO parted SELECT n, 'p' || n || '@example.org' FROM generate_series(0, 19) n;
CREATE TABLE killed (id int, notes text, filler text);
INSERT INTO killed SELECT n, 'k' || n || '@example.org', repeat('x', 9000)
FROM generate_series(1, 1000) n;
CREATE TABLE numbered (id int, data jsonb, mails text[]);
INSERT INTO numbered VALUES (1, '{"a": "a@example.org", "b": ["b@example.org", 7]}',
    ARRAY['c@example.org', 'nothing', 'd@example.org and e@example.org']), (2, '{}', NULL);
"""


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE findings OWNER app")
    tables = "".join(TABLE.replace("{name}", name) for name in WAYS)
    postgres.psql(f"SET ROLE app; {tables} {SCHEMA}", "findings")
    with psycopg.connect(postgres.uri("findings"), autocommit=True) as connection:
        name = psycopg.sql.Identifier(HOSTILE)
        connection.execute(psycopg.sql.SQL("CREATE TABLE {0} ({0} text)").format(name))
        connection.execute(
            psycopg.sql.SQL("INSERT INTO {} VALUES ('evil@example.org')").format(name)
        )
        connection.execute(psycopg.sql.SQL("ALTER TABLE {} OWNER TO app").format(name))
    folder = tmp_path_factory.mktemp("findings")
    rules = [*EVERYTHING, DETECTED, NAMED]
    with Gateway(
        folder, postgres, database="findings", rules=rules, target=CLASSES, sources=SOURCES
    ) as running:
        yield running


def run(gateway: Gateway, *words: str) -> str:
    environment = {"SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token}
    done = sallyport(*words, **environment, PYTHONPATH=str(SOURCES))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    return list(gateway.admin.pages("/findings", "findings", 1000, target="db"))


def until(gateway: Gateway, good: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, Any]:
    """Return the findings by column as soon as they are as they should be."""
    deadline = time.monotonic() + 15
    while True:
        found = {one["column"]: one for one in listed(gateway)}
        if good(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def closed(gateway: Gateway, session: str) -> list[dict[str, Any]]:
    """Return a session's events as soon as its end is among them."""

    def ended() -> list[dict[str, Any]] | None:
        events = list(gateway.admin.lines(path("sessions", session, "export")))
        return events if any(event["type"] == "session-closed" for event in events) else None

    return wait_for(ended, "the session's end is recorded")


def counted(gateway: Gateway, column: str, hits: int) -> dict[str, Any]:
    found = until(gateway, lambda found: found.get(column, {"hits": 0})["hits"] >= hits)[column]
    assert found["hits"] == hits
    return dict(found)


def connect(gateway: Gateway, **more: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(gateway.dsn(), autocommit=True, **more)


def copied(connection: psycopg.Connection[Any], copy: str) -> bytes:
    with connection.cursor().copy(copy) as rows:
        return b"".join(bytes(row) for row in rows)


def test_the_command_says_what_a_column_holds(gateway: Gateway) -> None:
    with connect(gateway, cursor_factory=psycopg.ClientCursor) as connection:
        rows = connection.execute("SELECT * FROM simple").fetchall()
    assert sum("[redacted]" in str(row[5]) or "@" not in str(row[5]) for row in rows) == 1000
    found = counted(gateway, "public.simple.notes", EMAILS)
    assert (found["detector"], found["cells"], found["subject"]) == ("email", EMAILS, "agent-one")
    assert found["first"] <= found["last"] and found["database"] == "findings"
    said = run(gateway, "findings", "db")
    (line,) = [line for line in said.splitlines() if "public.simple.notes" in line]
    assert line.split()[:6] == ["db", "findings", "public.simple.notes", "email", "312", "312"]
    assert "example.org" not in said
    (same,) = [
        one
        for one in map(json.loads, run(gateway, "findings", "--json").splitlines())
        if one["column"] == "public.simple.notes"
    ]
    assert same == found


def test_named_tagged_and_exempt_columns_are_no_findings(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.execute("SELECT email, tagged, support FROM exempt").fetchall()
        copied(connection, "COPY exempt (email, tagged, support) TO STDOUT")
        connection.execute("SELECT notes FROM exempt LIMIT 1").fetchall()
    counted(gateway, "public.exempt.notes", 1)
    columns = {one["column"] for one in listed(gateway)}
    assert not [name for name in columns if name.endswith((".email", ".tagged", ".support"))]


def test_prepared_statements_in_binary_count(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        cursor = connection.cursor(binary=True)
        for _ in range(3):
            cursor.execute("SELECT id, notes, name FROM extended", prepare=True)
            cursor.fetchall()
    assert counted(gateway, "public.extended.notes", 3 * EMAILS)["cells"] == 3 * EMAILS


@pytest.mark.parametrize(
    ("copy", "times"),
    [
        ("COPY copy TO STDOUT", 1),
        ("COPY (SELECT id, notes FROM copy) TO STDOUT (FORMAT csv)", 2),
        ("COPY copy (id, notes) TO STDOUT (FORMAT binary)", 3),
    ],
)
def test_copied_rows_count(gateway: Gateway, copy: str, times: int) -> None:
    with connect(gateway) as connection:
        assert b"someone1@" not in copied(connection, copy)
    counted(gateway, "public.copy.notes", times * EMAILS)


def test_a_views_column_counts_as_the_tables(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.execute("SELECT said FROM shown").fetchall()
        counted(gateway, "public.viewed.notes", EMAILS)
        connection.execute("SELECT louder FROM shown").fetchall()
    counted(gateway, "public.shown.louder", EMAILS)


def test_partitions_count_as_their_parent(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.execute("SELECT notes FROM parted").fetchall()
        connection.execute("SELECT notes FROM aaa_low").fetchall()
        copied(connection, "COPY zzz_high TO STDOUT")
    counted(gateway, "public.parted.notes", 40)
    assert not [one for one in listed(gateway) if one["column"].startswith("public.aaa_low")]


def test_computed_values_count_as_the_relations_or_as_nobodys(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.execute("SELECT lower(notes) FROM computed").fetchall()
        counted(gateway, "public.computed.*", EMAILS)
        connection.execute("SELECT 'a@example.org'").fetchall()
        connection.execute(
            "SELECT a.notes || b.notes FROM joined a JOIN several b USING (id) WHERE id < 3"
        ).fetchall()
    found = until(gateway, lambda found: found.get("", {"hits": 0})["hits"] >= 5)
    assert (found[""]["hits"], found[""]["cells"]) == (5, 3)
    said = run(gateway, "findings", "db")
    assert " (computed) " in said and "public.computed.* (computed)" in said


def test_matches_within_documents_and_arrays_count(gateway: Gateway) -> None:
    for binary in (False, True):
        with connect(gateway) as connection:
            connection.cursor(binary=binary).execute("SELECT data, mails FROM numbered").fetchall()
    found = counted(gateway, "public.numbered.data", 4)
    assert found["cells"] == 2
    assert counted(gateway, "public.numbered.mails", 6)["cells"] == 2


def test_a_column_beside_masked_ones_counts_in_what_is_rewritten(gateway: Gateway) -> None:
    """The statement reads a subselect in the place of the table."""
    with connect(gateway) as connection:
        connection.execute("SELECT notes, email FROM several WHERE email LIKE 'p%'").fetchall()
        copied(connection, "COPY (SELECT notes, email FROM several ORDER BY email) TO STDOUT")
    counted(gateway, "public.several.notes", 2 * EMAILS)


def test_names_that_would_draw_are_shown(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        name = psycopg.sql.Identifier(HOSTILE)
        connection.execute(psycopg.sql.SQL("SELECT * FROM {}").format(name)).fetchall()
    counted(gateway, f"public.{HOSTILE}.{HOSTILE}", 1)
    said = run(gateway, "findings", "db") + run(gateway, "findings", "db", "--json")
    assert visible("public.ev\x1b[31mil") in said
    assert "\u202e" not in said
    assert "\x1b" not in said


def test_a_killed_session_has_reported_what_it_counted(gateway: Gateway) -> None:
    rows: list[object] = []

    def read() -> None:
        with connect(gateway) as connection, pytest.raises(psycopg.Error):
            for row in connection.cursor().stream(
                "SELECT id, notes, filler, pg_sleep(0.02) FROM killed"
            ):
                rows.append(row)  # noqa: PERF402

    reader = threading.Thread(target=read)
    reader.start()
    found = until(gateway, lambda found: "public.killed.notes" in found)
    while len(rows) < 100 and reader.is_alive():
        time.sleep(0.02)
    asked = {"target": "db", "state": "open", "text": "FROM killed"}
    (session,) = [one["id"] for one in gateway.admin.get("/sessions", **asked)["sessions"]]
    gateway.admin.post(path("sessions", session, "kill"), {"reason": "enough"})
    reader.join(20)
    found = until(gateway, lambda found: found["public.killed.notes"]["hits"] >= len(rows))
    hits = found["public.killed.notes"]["hits"]
    assert len(rows) <= hits < 1000
    events = closed(gateway, session)
    batches = [event for event in events if event["type"] == "findings-counted"]
    assert 1 < len(batches) < hits / 4
    assert sum(one["hits"] for event in batches for one in event["found"]) == hits
    (end,) = [event for event in events if event["type"] == "result-ended"]
    assert (end["rows"], end["message"]) == (hits, "unfinished: ended by admin: enough")
    assert [event["type"] for event in events[-2:]] == ["result-ended", "session-closed"]


def test_the_recording_tells_it_without_values(gateway: Gateway) -> None:
    (session, *_) = [
        one["id"]
        for one in gateway.admin.get("/sessions", target="db", text="FROM simple")["sessions"]
    ]
    events = closed(gateway, session)
    batches = [event for event in events if event["type"] == "findings-counted"]
    found = [one for event in batches for one in event["found"]]
    assert {(one["column"], one["detector"]) for one in found} == {("public.simple.notes", "email")}
    assert sum(one["hits"] for one in found) == sum(one["cells"] for one in found) == EMAILS
    (ended,) = [event["operation"] for event in events if event["type"] == "result-ended"]
    assert {event["operation"] for event in batches} == {ended}
    assert "@" not in json.dumps(batches)
    played = run(gateway, "sessions", "replay", session)
    assert re.search(r"hidden by detectors: \d+ email in public\.simple\.notes", played)


def test_the_rules_that_name_a_column_by_now_are_told(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.execute("SELECT notes FROM joined").fetchall()
    assert counted(gateway, "public.joined.notes", EMAILS)["rules"] == []
    later = {**NAMED, "name": "later", "mask": {"columns": ["public.joined.notes"]}}
    rules = gateway.config["policy"]["rules"]
    gateway.config["policy"]["rules"] = [*rules, later]
    try:
        gateway.reload()
        with connect(gateway) as connection:
            connection.execute("SELECT notes FROM joined").fetchall()
            connection.execute("SELECT notes FROM exempt WHERE id = 2").fetchall()
        counted(gateway, "public.exempt.notes", 2)
        assert counted(gateway, "public.joined.notes", EMAILS)["rules"] == ["later"]
    finally:
        gateway.config["policy"]["rules"] = rules
        gateway.reload()
