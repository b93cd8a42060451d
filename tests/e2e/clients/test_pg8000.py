"""pg8000: a driver in pure Python with its own ideas of the protocol."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pg8000.dbapi
import pg8000.native
import pytest

from tests.e2e.clients.conftest import NewDatabase
from tests.support.gateway import Gateway

SCHEMA = """
create table things (id serial primary key, name text, amount numeric, made timestamptz,
    data jsonb, bytes bytea, tags text[], grid int[][]);
"""


@pytest.fixture(scope="module")
def where(agents: Gateway, new_database: NewDatabase) -> dict[str, Any]:
    return {
        "host": "127.0.0.1", "port": agents.port, "user": "app", "password": agents.agent,
        "database": f"db/{new_database(SCHEMA)}", "timeout": 60,
    }  # fmt: skip


@pytest.fixture
def connection(where: dict[str, Any]) -> Iterator[pg8000.native.Connection]:
    opened = pg8000.native.Connection(**where)
    yield opened
    opened.close()


def test_values_go_round(connection: pg8000.native.Connection) -> None:
    row = {
        "name": "né", "amount": Decimal("1.50"), "bytes": b"\x00\xff", "data": {"a": 1},
        "made": datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC), "tags": ["x", 'a"b'],
        "grid": [[1, 2], [3, 4]],
    }  # fmt: skip
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    (got,) = connection.run(
        f"insert into things ({names}) values ({values}) returning {names}", **row
    )
    assert got == list(row.values())
    assert [column["name"] for column in connection.columns] == list(row)


def test_prepared_statements(connection: pg8000.native.Connection) -> None:
    statement = connection.prepare("select cast(:a as int) + 1")
    assert [statement.run(a=n)[0][0] for n in range(20)] == list(range(1, 21))
    statement.close()


def test_several_statements_in_one(connection: pg8000.native.Connection) -> None:
    assert connection.run("select 1; select 2") in ([[1], [2]], [[2]])


def test_copy_goes_both_ways(connection: pg8000.native.Connection) -> None:
    source = io.BytesIO(b"1000\tcopied\n1001\t\\N\n")
    connection.run("copy things (id, name) from stdin", stream=source)
    out = io.BytesIO()
    connection.run("copy (select id, name from things where id >= 1000) to stdout", stream=out)
    assert out.getvalue() == source.getvalue()


def test_errors_and_transactions(where: dict[str, Any]) -> None:
    connection = pg8000.dbapi.connect(**where)
    cursor = connection.cursor()
    cursor.execute("insert into things (id) values (%s)", (2000,))
    with pytest.raises(pg8000.dbapi.DatabaseError) as caught:
        cursor.execute("insert into things (id) values (%s)", (2000,))
    assert caught.value.args[0]["C"] == "23505"
    with pytest.raises(pg8000.dbapi.DatabaseError) as caught:
        cursor.execute("select 1")
    assert caught.value.args[0]["C"] == "25P02"
    connection.rollback()
    cursor.execute("select count(*) from things where id = 2000")
    assert cursor.fetchone()[0] == 0
    cursor.executemany("insert into things (id) values (%s)", [(n,) for n in range(3000, 3010)])
    connection.commit()
    cursor.execute("select id from things where id >= 3000 order by id")
    assert [row[0] for row in cursor.fetchall()] == list(range(3000, 3010))
    connection.close()


def test_notifications(where: dict[str, Any]) -> None:
    connection = pg8000.native.Connection(**where)
    connection.run("listen jobs")
    connection.run("notify jobs, 'go'")
    connection.run("select 1")
    assert [(channel, payload) for _, channel, payload in connection.notifications] == [
        ("jobs", "go")
    ]
    connection.close()
