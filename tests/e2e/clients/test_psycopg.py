"""psycopg 3: sync, async, pipelines, COPY both ways, cursors of the server, binary, cancelling."""

from __future__ import annotations

import asyncio
import datetime
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

from tests.e2e.clients.conftest import NewDatabase
from tests.support.gateway import Gateway

SCHEMA = """
create type mood as enum ('calm', 'cross');
create type place as (street text, number int);
create table things (id serial primary key, name text, amount numeric, made timestamptz,
    data jsonb, bytes bytea, tags text[], span int4range, mood mood, home place);
create table other (id int references things, note text);
"""

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def dsn(agents: Gateway, new_database: NewDatabase) -> str:
    return agents.dsn(target=f"db/{new_database(SCHEMA)}")


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn) as opened:
        yield opened
        opened.rollback()


@pytest.mark.parametrize("binary", [False, True])
def test_values_of_many_types_go_round(connection: Connection, binary: bool) -> None:
    enum = EnumInfo.fetch(connection, "mood")
    place = CompositeInfo.fetch(connection, "place")
    assert enum is not None and place is not None
    register_enum(enum, connection)
    register_composite(place, connection)
    assert place.python_type is not None and enum.enum is not None
    row = (
        "né", Decimal("12.50"), datetime.datetime(2025, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        {"a": [1, None]}, b"\x00\xff", ["x", None, 'a"b'], Range(1, 5), enum.enum.cross,
        place.python_type("High", 3),
    )  # fmt: skip
    sent = [Jsonb(value) if isinstance(value, dict) else value for value in row]
    cursor = connection.cursor(binary=binary)
    cursor.execute(
        "insert into things (name, amount, made, data, bytes, tags, span, mood, home)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s) returning id",
        sent,
    )
    found = cursor.fetchone()
    cursor.execute(
        "select name, amount, made, data, bytes, tags, span, mood, home from things where id = %s",
        found,
    )
    assert cursor.fetchone() == row


def test_prepared_statements_are_reused(connection: Connection) -> None:
    for number in range(20):
        row = connection.execute("select %s::int + 1", (number,), prepare=True).fetchone()
        assert row == (number + 1,)
    assert connection.execute("select count(*) from pg_prepared_statements").fetchone() == (1,)
    connection.execute("deallocate all")


def test_transactions_nest(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        with connection.transaction():
            connection.execute("insert into things (id, name) values (1000, 'kept')")
            with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
                connection.execute("insert into things (id, name) values (1000, 'twice')")
            with connection.transaction(force_rollback=True):
                connection.execute("update things set name = 'lost' where id = 1000")
        assert connection.execute("select name from things where id = 1000").fetchall() == [
            ("kept",)
        ]
        connection.rollback()
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        connection.read_only = True
        with connection.transaction(), pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("delete from things where id = 1000")


def test_a_pipeline_answers_in_order_and_aborts_whole(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.pipeline() as pipeline:
            first = [connection.execute("select %s::int", (n,)) for n in range(50)]
            pipeline.sync()
            assert [cursor.fetchone() for cursor in first] == [(n,) for n in range(50)]
        with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline() as pipeline:
            connection.execute("insert into things (id) values (2000)")
            broken = connection.execute("select 1 / %s", (0,))
            connection.execute("insert into things (id) values (2001)")
            pipeline.sync()
            broken.fetchone()
        assert connection.execute("select id from things where id >= 2000").fetchall() == []
        with connection.pipeline():
            cursor = connection.cursor()
            cursor.executemany(
                "insert into things (id) values (%s) returning id",
                [(n,) for n in range(3000, 3030)],
                returning=True,
            )
            got = []
            while True:
                got.append(cursor.fetchone())
                if not cursor.nextset():
                    break
        assert got == [(n,) for n in range(3000, 3030)]


@pytest.mark.parametrize("form", ["text", "binary", "csv"])
def test_copy_goes_both_ways(connection: Connection, form: str) -> None:
    rows = [(n, f"né\t{n}\\" if n % 7 else None) for n in range(5000, 7000)]
    cursor = connection.cursor()
    if form == "csv":
        with cursor.copy("copy things (id, name) from stdin (format csv)") as copy:
            for number, name in rows:
                copy.write(f"{number},{'' if name is None else chr(34) + name + chr(34)}\n")
    else:
        with cursor.copy(f"copy things (id, name) from stdin (format {form})") as copy:
            copy.set_types(["int4", "text"])
            for row in rows:
                copy.write_row(row)
    assert cursor.rowcount == len(rows)
    source = "copy (select id, name from things where id >= 5000 order by id) to stdout"
    if form == "binary":
        source += " (format binary)"
    with cursor.copy(source) as copy:
        copy.set_types(["int4", "text"])
        assert list(copy.rows()) == rows
    with pytest.raises(psycopg.errors.BadCopyFileFormat):  # noqa: SIM117
        with cursor.copy("copy things (id, name) from stdin") as copy:
            copy.write("1\t2\t3\n")


def test_cursors_of_the_server(connection: Connection) -> None:
    with connection.cursor("walk", scrollable=True) as cursor:
        cursor.itersize = 30
        cursor.execute("select n, repeat('x', n) from generate_series(1, 100) n")
        assert cursor.fetchmany(3) == [(1, "x"), (2, "xx"), (3, "xxx")]
        cursor.scroll(50, "absolute")
        assert sum(1 for _ in cursor) == 50
    with connection.cursor("kept", withhold=True, row_factory=dict_row) as kept:
        kept.execute("select 1 as one union all select 2")
        connection.commit()
        assert kept.fetchall() == [{"one": 1}, {"one": 2}]


def test_rows_are_streamed(connection: Connection) -> None:
    cursor = connection.cursor()
    query = "select n, repeat('y', 500) from generate_series(1, 20000) n"
    assert sum(number for number, _ in cursor.stream(query)) == 20000 * 20001 // 2
    assert sum(1 for _ in cursor.stream(query, size=100)) == 20000


def test_notices_and_notifications(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as one, psycopg.connect(dsn, autocommit=True) as two:
        heard: list[str | None] = []
        two.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        two.execute("rollback")
        assert heard == ["there is no transaction in progress"]
        one.execute("listen jobs")
        two.execute("notify jobs, 'go'")
        (notify,) = one.notifies(timeout=60, stop_after=1)
        assert (notify.channel, notify.payload) == ("jobs", "go")


def test_a_cancel_reaches_its_own_statement(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        timer = threading.Timer(0.5, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(80)")
        timer.join()
        assert connection.execute("select 1").fetchone() == (1,)


def test_errors_carry_all_their_fields(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
        connection.execute("insert into other (id) values (-1)")
    diagnostic = caught.value.diag
    assert diagnostic.constraint_name == "other_id_fkey"
    assert diagnostic.table_name == "other"
    assert diagnostic.message_detail


async def test_it_is_the_same_async(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        async with connection.pipeline():
            cursors = [await connection.execute("select %s::int", (n,)) for n in range(20)]
        assert [await cursor.fetchone() for cursor in cursors] == [(n,) for n in range(20)]
        cursor = connection.cursor()
        async with cursor.copy("copy things (id, name) from stdin") as copy:
            for number in range(8000, 8100):
                await copy.write_row((number, "async"))
        async with cursor.copy(
            "copy (select id from things where name = 'async') to stdout"
        ) as copy:
            assert len([row async for row in copy.rows()]) == 100
        async with connection.transaction(), connection.cursor("walk") as walk:
            await walk.execute("select generate_series(1, 10)")
            assert len([row async for row in walk]) == 10
        with pytest.raises((TimeoutError, psycopg.errors.QueryCanceled)):
            await asyncio.wait_for(connection.execute("select pg_sleep(80)"), 0.3)
        row = await (await connection.execute("select 'usable'")).fetchone()
        assert row == ("usable",)
