"""A differential: the same statements, direct and through the gateway, answered the same.

Compared are results (names, types, type modifiers, formats, every cell), tags, errors with all
their fields, notices and transaction states; simple and extended protocol, text and binary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import pq

from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import Gateway

CORPUS = Path(__file__).parent / "corpus" / "statements.sql"
STATEMENTS = [block.strip("\n") for block in CORPUS.read_text().split("\n----\n")]
ERROR_FIELDS = [
    pq.DiagnosticField.SEVERITY,
    pq.DiagnosticField.SQLSTATE,
    pq.DiagnosticField.MESSAGE_PRIMARY,
    pq.DiagnosticField.MESSAGE_DETAIL,
    pq.DiagnosticField.MESSAGE_HINT,
    pq.DiagnosticField.STATEMENT_POSITION,
    pq.DiagnosticField.CONTEXT,
    pq.DiagnosticField.CONSTRAINT_NAME,
]
OWN_OIDS = ("select m, p, c, (c).a, ms", "select tableoid::regclass")
"""Statements whose binary form holds an oid that is this database's own."""
# What differs between two runs, or two databases.
VOLATILE = re.compile(rb"actual time=\S+|\bpg_temp_\d+\b")


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with Gateway(
        tmp_path_factory.mktemp("differential"),
        postgres,
        database="app",
        guardrails={"enabled": False},
    ) as running:
        yield running


@pytest.fixture
def pair(postgres: EmbeddedPostgres, gateway: Gateway) -> Iterator[tuple[pq.PGconn, pq.PGconn]]:
    """Two connections to two new databases: one direct, one through the gateway."""
    for name in ("diff_direct", "diff_through"):
        postgres.psql(f"drop database if exists {name} with (force)")
        postgres.psql(f"create database {name} owner app")
    base = f"host=127.0.0.1 port={postgres.port} user=app password=app-password"
    direct = connect(f"{base} dbname=diff_direct")
    through = connect(gateway.dsn(target="db/diff_through"))
    yield direct, through
    direct.finish()
    through.finish()


def connect(dsn: str) -> pq.PGconn:
    connection = pq.PGconn.connect(dsn.encode())
    assert connection.status == pq.ConnStatus.OK, connection.get_error_message()
    return connection


def describe(result: pq.abc.PGresult) -> dict[str, Any]:
    found: dict[str, Any] = {
        "status": pq.ExecStatus(result.status).name,
        "tag": result.command_status,
        "columns": [
            (
                result.fname(i),
                result.ftype(i) if result.ftype(i) < 16384 else "own",
                result.fmod(i),
                result.fsize(i),
                result.fformat(i),
            )
            for i in range(result.nfields)
        ],
        "rows": [
            [
                VOLATILE.sub(b"", result.get_value(r, c) or b"")
                if result.get_value(r, c) is not None
                else None
                for c in range(result.nfields)
            ]
            for r in range(result.ntuples)
        ],
    }
    if result.status == pq.ExecStatus.FATAL_ERROR:
        found["error"] = {field.name: result.error_field(field) for field in ERROR_FIELDS}
    return found


def run(connection: pq.PGconn, statement: str, extended: bool, binary: bool) -> dict[str, Any]:
    notices: list[Any] = []
    connection.notice_handler = lambda r: notices.append(
        [r.error_field(field) for field in ERROR_FIELDS]
    )
    if extended:
        connection.send_query_params(statement.encode(), [], result_format=pq.Format(int(binary)))
    else:
        connection.send_query(statement.encode())
    results: list[dict[str, Any]] = []
    while (result := connection.get_result()) is not None:
        found = describe(result)
        if result.status == pq.ExecStatus.COPY_OUT:
            found["copy"] = []
            while True:
                size, data = connection.get_copy_data(0)
                if size < 0:
                    break
                found["copy"].append(bytes(data))
        results.append(found)
    notified = []
    while (notify := connection.notifies()) is not None:
        notified.append((notify.relname, notify.extra))
    return {
        "results": results,
        "notices": notices,
        "notified": notified,
        "transaction": pq.TransactionStatus(connection.transaction_status).name,
    }


@pytest.mark.parametrize(
    ("extended", "binary"), [(False, False), (True, False), (True, True)],
    ids=["simple", "extended-text", "extended-binary"],
)  # fmt: skip
def test_every_statement_answers_the_same(
    pair: tuple[pq.PGconn, pq.PGconn], extended: bool, binary: bool
) -> None:
    direct, through = pair
    different: list[str] = []
    for statement in STATEMENTS:
        expected = run(direct, statement, extended, binary)
        got = run(through, statement, extended, binary)
        if statement.startswith("select current_database()"):
            continue  # the two databases have two names
        if binary and statement.startswith(OWN_OIDS):
            continue
        if expected != got:
            different.append(f"{statement}\n  direct:  {expected}\n  through: {got}")
    assert not different, f"{len(different)} of {len(STATEMENTS)} differ\n" + "\n".join(
        different[:8]
    )
