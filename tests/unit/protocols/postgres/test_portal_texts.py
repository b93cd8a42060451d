"""What SQL says of a portal of the protocol: its text, and what was bound to it."""

from __future__ import annotations

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from sallyport.sql.catalogue import CatalogueSnapshot
from tests.unit.protocols.postgres.script import Session, bind, execute, parse, query
from tests.unit.sql import shop


@pytest.fixture(scope="module")
def catalogue(postgres: EmbeddedPostgres) -> CatalogueSnapshot:
    postgres.psql("create database portals")
    with psycopg.connect(postgres.uri("portals"), autocommit=True) as connection:
        connection.execute(shop.SCHEMA)
        return shop.snapshot(connection)


def runs(catalogue: CatalogueSnapshot, value: bytes | None) -> tuple[str, bytes]:
    session = Session(real=True)
    session.catalogue = catalogue
    pg = session.dialogue()
    pg.client_sends(query("BEGIN")).release(pg.issued())
    pg.target_sends(b"C\0\0\0\nBEGIN\0", b"Z\0\0\0\5T")
    pg.client_sends(parse("s", "select id from orders where note = $1"), bind("c", "s", (value,)))
    pg.admit(pg.prechecked())
    pg.release(pg.issued())
    pg.client_sends(parse("", "fetch all from c"), bind("", ""), execute(""))
    pg.admit(pg.prechecked())
    operation = pg.issued()
    return operation.runs, operation.digest


def test_a_fetch_shows_what_was_bound_and_is_bound_to_it(catalogue: CatalogueSnapshot) -> None:
    one, first = runs(catalogue, b"it's\nmine")
    assert one.splitlines()[0] == "select id from orders where note = $1"
    assert one.splitlines()[1] == '-- $1 = "it\'s\\nmine"'
    other, second = runs(catalogue, None)
    assert other.endswith("-- $1 = NULL")
    long, third = runs(catalogue, b"x" * 5000)
    assert len(long) < 200
    assert "5000 bytes" in long
    assert len({first, second, third}) == 3
