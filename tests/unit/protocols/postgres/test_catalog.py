"""The catalogue of real servers, and when it counts as changed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sallyport.core.operation import Effect
from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres import catalog, catalog_queries
from sallyport.protocols.postgres.classify import Classifier
from sallyport.sql.session import SessionState
from tests.unit.sql import shop
from tests.unit.sql.statements import READS, WRITES

Connection = psycopg.Connection[tuple[object, ...]]
BINARIES = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    postgres.psql("create database catalogue")
    with psycopg.connect(postgres.uri("catalogue"), autocommit=True) as connection:
        connection.execute(shop.SCHEMA)
        yield connection
    postgres.psql("drop database catalogue with (force)")


def digest(connection: Connection) -> object:
    row = connection.execute(catalog_queries.DIGEST_QUERY.encode()).fetchone()
    assert row is not None
    return row[0]


CHANGES = [
    "create table fresh (a int)",
    "alter table customers add column more int",
    "alter table customers rename column ssn to other",
    "alter table customers rename to clients",
    "alter table people set schema sales",
    "drop table people",
    "create view fresh as select 1 as x",
    "create or replace view totals as select 1 as id, 'x'::text as email, 1::numeric as total",
    "create function fresh() returns int language sql as 'select 1'",
    "create or replace function touch(int) returns int language sql as 'select 2'",
    "alter function touch(int) stable",
    "create schema fresh",
    "alter schema sales rename to other",
    "grant usage on schema sales to public",
    "create operator + (leftarg = text, rightarg = text, function = textcat)",
    "create cast (address as text) with inout",
    "create type fresh as enum ('a')",
    "alter table dogs no inherit animals",
    "alter table events detach partition events_old",
    "create unique index on customers (ssn)",
    "alter table sales.leads add unique (email)",
    "drop materialized view kept",
    "create role fresh_role",
]


@pytest.mark.parametrize("change", [c for c in CHANGES if "role" not in c])
def test_the_digest_changes_with_the_names(server: Connection, change: str) -> None:
    before = digest(server)
    with server.transaction(force_rollback=True):
        server.execute(change.encode())
        assert digest(server) != before
    assert digest(server) == before


@pytest.mark.parametrize(
    "statement",
    [
        "insert into customers (id, name) values (77, 'x')",
        "analyze customers",
        "create temp table mine (a int primary key, b text unique)",
        "update orders set note = 'x'",
        "select nextval('orders_id_seq')",
    ],
)
def test_the_digest_stays_with_mere_rows(server: Connection, statement: str) -> None:
    before = digest(server)
    with server.transaction(force_rollback=True):
        server.execute(statement.encode())
        assert digest(server) == before


def test_the_snapshot_is_what_the_server_has(server: Connection) -> None:
    snapshot = shop.snapshot(server)
    customers = snapshot.relation(("public", "customers"))
    assert customers is not None
    assert customers.kind == "table"
    assert [c.name for c in customers.columns][:3] == ["id", "name", "email"]
    assert [c.name for c in customers.columns if c.not_null] == ["id", "name"]
    assert [c.name for c in customers.columns if c.guarded] == ["id", "email"]
    assert snapshot.relation_by_oid(customers.oid) is customers
    old = snapshot.relation(("public", "events_old"))
    assert old is not None
    assert snapshot.mask_names(old.oid) == (("public", "events_old"), ("public", "events"))
    touch = snapshot.function(("public", "touch"))
    assert touch is not None
    assert (touch.builtin, touch.volatility, touch.kinds) == (False, "v", "f")
    lower = snapshot.function(("pg_catalog", "lower"))
    assert lower is not None
    assert lower.builtin
    assert snapshot.raw.operators["@+"] == (("public", ("public", "plus_bad")),)
    assert [c.function for c in snapshot.raw.casts] == [("public", "mood_int")]
    assert snapshot.version == 18
    assert snapshot.usable("postgres", "sales") is True
    assert snapshot.usable("nobody like it", "sales") is None


def test_a_lock_under_a_view_hides_its_definition_alone(
    server: Connection, postgres: EmbeddedPostgres
) -> None:
    """The snapshot waits for nobody; of the view that it could not read all columns count."""
    with psycopg.connect(postgres.uri("catalogue"), autocommit=True) as other:
        server.execute("begin")
        server.execute("alter table orders add column more int")
        other.execute("set lock_timeout = 1")
        snapshot = shop.snapshot(other)
        server.execute("rollback")
        unread = catalog_queries.VIEWS_UNREAD.encode()
        views = other.execute(catalog_queries.QUERIES["views"].encode()).fetchall()
        assert other.execute(unread).fetchall() == [(oid, None) for oid, _ in views]
    totals, plain = (
        snapshot.relation(("public", "totals")),
        snapshot.relation(("public", "customer_names")),
    )
    assert totals is not None and plain is not None
    assert totals.definition == ""
    assert plain.definition
    orders = {base.name: base for base in totals.bases}
    assert ("public", "orders") in orders
    origins = snapshot.origins_of(totals, totals.columns[0].name)
    read = {(*base.name, column) for base in totals.bases for column in base.columns or ()}
    assert read <= origins


def test_a_schema_without_usage_is_passed_over(
    server: Connection, postgres: EmbeddedPostgres
) -> None:
    """The server skips it too: the same name then means another table."""
    with server.transaction(force_rollback=True):
        server.execute("create role passed_over login")
        server.execute("grant usage on schema public to passed_over")
        snapshot = shop.snapshot(server)
        assert snapshot.usable("passed_over", "hidden") is False
        state = SessionState.start("catalogue", "passed_over", "hidden, public", 18)
        (statement,) = Classifier().classify("select * from orders", state, snapshot).statements
        assert [r.name for r in statement.resources] == ["catalogue", "public.orders"]
        other = SessionState.start("catalogue", "nobody like it", "hidden, public", 18)
        doubtful = Classifier().classify("select * from orders", other, snapshot)
        assert doubtful.needs == "catalogue"


def test_a_foreign_table_may_have_any_key(server: Connection) -> None:
    """Its checks and keys stand on another server."""
    with server.transaction(force_rollback=True):
        server.execute(
            "create foreign data wrapper far; create server far foreign data wrapper far"
        )
        server.execute("create foreign table far (id int, name text, ssn text) server far")
        snapshot = shop.snapshot(server)
    far = snapshot.relation(("public", "far"))
    assert far is not None
    assert snapshot.is_guarded(far, "ssn")
    assert ("public", "far", "ssn") in snapshot.tied_to(far, "name")


def test_a_broken_answer_is_no_snapshot(server: Connection) -> None:
    with server.transaction(force_rollback=True):
        rows = {name: shop.rows_of(server, sql) for name, sql in catalog_queries.QUERIES.items()}
    for name in catalog_queries.QUERIES:
        with pytest.raises(ValueError):
            catalog.build({**rows, name: [[None]]})
    with pytest.raises(ValueError):
        catalog.build({})


@pytest.fixture(scope="module")
def fifteen() -> Iterator[str]:
    """Debian's PostgreSQL 15."""
    if not BINARIES.exists():
        pytest.skip("Debian's PostgreSQL 15 is not installed")
    folder = Path(tempfile.mkdtemp(prefix="sallyport-fifteen-"))
    shutil.chown(folder, "postgres", "postgres")
    run = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    subprocess.run([*run, BINARIES / "initdb", "-D", data, "-A", "trust", "--no-sync"],
                   check=True, stdout=subprocess.DEVNULL, cwd=folder)  # fmt: skip
    options = f"-c listen_addresses='' -c fsync=off -k {folder} -p 5999"
    control = [*run, BINARIES / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", folder / "log", "-o", options, "start"],
                   check=True, stdout=subprocess.DEVNULL, cwd=folder)  # fmt: skip
    yield f"postgresql://postgres@/postgres?host={folder}&port=5999"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True,
                   stdout=subprocess.DEVNULL, cwd=folder)  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.debian
def test_an_older_server(fifteen: str) -> None:
    """PostgreSQL 15: the same queries, and what it can run is understood all the same."""
    with psycopg.connect(fifteen, autocommit=True) as connection:
        connection.execute(shop.SCHEMA)
        snapshot = shop.snapshot(connection)
        digest(connection)
    assert snapshot.version == 15
    classifier = Classifier()
    state = SessionState.start("understanding", "postgres", None, 15)
    newer = ("json_", "merge_action", "old.note", "any_value", "json(")
    for text in [*READS, *WRITES]:
        if any(word in text for word in newer):
            continue
        (statement,) = classifier.classify(text, state, snapshot).statements
        assert not statement.unresolved, text


@pytest.mark.debian
def test_what_an_extension_has_in_sql_stays_pure(fifteen: str) -> None:
    """citext has its own `replace`, `split_part` and so on: they must not spoil the server's."""
    calls = "select replace('a', 'b', 'c'), split_part('a', 'b', 1), regexp_replace('a', 'b', 'c')"
    with psycopg.connect(fifteen, autocommit=True) as connection:
        connection.execute("create extension citext")
        assert _read(connection, calls) is Effect.READ
        connection.execute("create role owner; grant create on schema public to owner")
        connection.execute("alter function public.replace(citext, citext, citext) owner to owner")
        assert _read(connection, calls) is Effect.UNKNOWN
        connection.execute("drop extension citext; drop owned by owner; drop role owner")


def _read(connection: Connection, text: str) -> Effect:
    state = SessionState.start("postgres", "postgres", "public", 15)
    (statement,) = Classifier().classify(text, state, shop.snapshot(connection)).statements
    return statement.effect
