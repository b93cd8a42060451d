"""What shows beside the data what masks hide in it: statistics, and texts with hash keys."""

from __future__ import annotations

import psycopg
import pytest

from sallyport.core.decision import Mask
from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres.masks.telling import telling
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import SessionState
from tests.unit.sql import shop
from tests.unit.sql.conftest import Reader

NAMED = (Mask("hide", "redact", ("public.customers.ssn",)),)
HASHED = (Mask("tokens", "hash", ("public.customers.ssn",)),)
FOUND = (Mask("look", "redact", detectors=("email",)),)


@pytest.fixture(scope="module")
def catalogue(postgres: EmbeddedPostgres) -> CatalogueSnapshot:
    postgres.psql("create database telling")
    with psycopg.connect(postgres.uri("telling"), autocommit=True) as connection:
        connection.execute(shop.SCHEMA)
        return shop.snapshot(connection)


@pytest.fixture
def reader(catalogue: CatalogueSnapshot) -> Reader:
    return Reader(catalogue, SessionState.start("telling", "postgres", "public", 18))


@pytest.mark.parametrize(
    "text",
    [
        "select most_common_vals from pg_stats",
        "select count(*) from pg_stats where histogram_bounds::text like '%5%'",
        "select n_distinct, avg_width from pg_stats",
        "select s from pg_stats s",
        "table pg_stats_ext",
        "select * from pg_stats_ext_exprs",
        "select stavalues1 from pg_statistic",
        "select stxdmcv from pg_statistic_ext_data",
        "copy pg_statistic to stdout",
        "select attmissingval from pg_attribute",
    ],
)
def test_statistics_of_columns_are_refused_where_columns_are_masked(
    reader: Reader, text: str
) -> None:
    statement = reader.one(text)
    denied = telling(statement, NAMED)
    assert denied is not None
    assert denied.rules == ("hide",)
    assert telling(statement, FOUND) is None
    assert telling(statement, ()) is None


@pytest.mark.parametrize(
    "text",
    [
        "select schemaname, tablename, attname from pg_stats",
        "select relname, reltuples from pg_class",
        "select attname, atttypid from pg_attribute",
        "select ssn from customers",
    ],
)
def test_names_are_not(reader: Reader, text: str) -> None:
    assert telling(reader.one(text), NAMED) is None


def test_texts_with_keys_are_refused_while_there_are_hashes(reader: Reader) -> None:
    statement = reader.one("select statement from pg_prepared_statements")
    assert telling(statement, NAMED) is None
    assert telling(statement, HASHED) is not None
    assert telling(statement, (), ("tokens",)) is not None
    assert telling(reader.one("select name from pg_prepared_statements"), HASHED) is None
    assert telling(reader.one("select ident from pg_backend_memory_contexts"), HASHED) is not None
    called = reader.one("select * from pg_get_backend_memory_contexts()")
    assert telling(called, HASHED) is not None
