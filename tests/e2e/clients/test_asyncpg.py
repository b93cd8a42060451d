"""asyncpg: it looks up types by itself, prepares everything, and resets its pooled connections."""

from __future__ import annotations

import asyncio
import datetime
import io
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.e2e.clients.conftest import NewDatabase
from tests.support.gateway import Gateway

SCHEMA = """
create schema inner_types;
create type mood as enum ('calm', 'cross');
create type inner_types.place as (street text, number int, feels mood);
create domain percent as int check (value between 0 and 100);
create type stretch as range (subtype = numeric);
create table things (id serial primary key, name text, amount numeric(10, 2), made timestamptz,
    key uuid, data jsonb, bytes bytea, tags text[], grid int[][], mood mood, moods mood[],
    home inner_types.place, homes inner_types.place[], share percent, span stretch, spans int8range);
"""


@pytest.fixture(scope="module")
def where(agents: Gateway, new_database: NewDatabase) -> dict[str, Any]:
    return {
        "host": "127.0.0.1", "port": agents.port, "user": "app", "password": agents.agent,
        "database": f"db/{new_database(SCHEMA)}", "timeout": 60,
    }  # fmt: skip


@pytest.fixture
async def connection(where: dict[str, Any]) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(**where)
    yield opened
    await opened.close()


async def test_it_finds_out_about_types(connection: asyncpg.Connection) -> None:
    """Arrays, enums, composites, domains and ranges: each needs its look into the catalogue."""
    row = {
        "name": "né", "amount": Decimal("1.50"),
        "made": datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC), "key": uuid.UUID(int=7),
        "data": '{"a": 1}', "bytes": b"\x00\xff", "tags": ["x", None], "grid": [[1, 2], [3, 4]],
        "mood": "calm", "moods": ["calm", "cross"], "home": ("High", 3, "cross"),
        "homes": [("Low", None, "calm")], "share": 50,
        "span": asyncpg.Range(Decimal(1), Decimal(2)), "spans": asyncpg.Range(1, 5),
    }  # fmt: skip
    names = ", ".join(row)
    values = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    found = await connection.fetchrow(
        f"insert into things ({names}) values ({values}) returning {names}", *row.values()
    )
    assert dict(found) == row
    assert found["home"]["street"] == "High"
    await connection.reload_schema_state()
    await connection.set_type_codec(
        "mood", encoder=str.lower, decoder=str.upper, schema="public", format="text"
    )
    assert await connection.fetchval("select mood from things limit 1") == "CALM"


async def test_types_are_found_with_jit_on(where: dict[str, Any]) -> None:
    """With jit on, asyncpg turns it off around its own queries, by set_config."""
    connection = await asyncpg.connect(**where, server_settings={"jit": "on"})
    try:
        assert await connection.fetchval("select 'calm'::mood") == "calm"
        assert await connection.fetchval("show jit") == "on"
    finally:
        await connection.close()


async def test_statements_are_prepared_and_cached(connection: asyncpg.Connection) -> None:
    statement = await connection.prepare("select $1::int + $2::int as sum")
    assert [await statement.fetchval(n, 1) for n in range(200)] == list(range(1, 201))
    assert [a.name for a in statement.get_attributes()] == ["sum"]
    assert "Result" in str(await statement.explain(1, 2))
    for number in range(150):  # more texts than its cache holds
        assert await connection.fetchval(f"select {number}") == number
    await connection.executemany(
        "insert into things (name) values ($1)", [(f"many {n}",) for n in range(100)]
    )
    rows = await connection.fetchmany(
        "insert into things (name) values ($1) returning name", [(f"more {n}",) for n in range(20)]
    )
    assert [row["name"] for row in rows] == [f"more {n}" for n in range(20)]


async def test_transactions_and_cursors(connection: asyncpg.Connection) -> None:
    async with connection.transaction(isolation="repeatable_read"):
        got = [row[0] async for row in connection.cursor("select generate_series(1, 205)")]
        assert got == list(range(1, 206))
        cursor = await connection.cursor("select generate_series(1, $1::int)", 30)
        await cursor.forward(10)
        assert [row[0] for row in await cursor.fetch(3)] == [11, 12, 13]
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with connection.transaction():
                await connection.execute("select 1 / 0")
        assert await connection.fetchval("select 1") == 1
    async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
        assert await connection.fetchval("show transaction_read_only") == "on"


async def test_copy_goes_both_ways(connection: asyncpg.Connection) -> None:
    records = [(n, f"copied {n}") for n in range(100_000, 103_000)]
    done = await connection.copy_records_to_table("things", records=records, columns=["id", "name"])
    assert done == "COPY 3000"
    text = io.BytesIO(b"200000,a\n200001,b\n")
    done = await connection.copy_to_table(
        "things", source=text, columns=["id", "name"], format="csv"
    )
    assert done == "COPY 2"
    out = io.BytesIO()
    await connection.copy_from_query(
        "select id, name from things where id >= $1 order by id", 200_000, output=out, format="csv"
    )
    assert out.getvalue() == text.getvalue()
    out = io.BytesIO()
    await connection.copy_from_table("things", columns=["id"], output=out, format="binary")
    assert out.getvalue().startswith(b"PGCOPY\n\xff\r\n\0")


async def test_listeners_hear(connection: asyncpg.Connection, where: dict[str, Any]) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener("jobs", lambda *call: heard.put_nowait(call[3]))
    other = await asyncpg.connect(**where)
    await other.execute("notify jobs, 'go'")
    await other.close()
    assert await asyncio.wait_for(heard.get(), 60) == "go"


async def test_a_pool_resets_what_it_lends(where: dict[str, Any]) -> None:
    async with asyncpg.create_pool(**where, min_size=2, max_size=4) as pool:

        async def ask(number: int) -> int:
            async with pool.acquire() as connection:
                await connection.execute("set statement_timeout = '50s'")
                return int(await connection.fetchval("select $1::int", number))

        assert await asyncio.gather(*(ask(n) for n in range(40))) == list(range(40))
        async with pool.acquire() as connection:
            assert await connection.fetchval("show statement_timeout") == "0"


async def test_a_timeout_cancels(connection: asyncpg.Connection) -> None:
    with pytest.raises(TimeoutError):
        await connection.fetch("select pg_sleep(80)", timeout=0.3)
    assert await connection.fetchval("select 'usable'") == "usable"
