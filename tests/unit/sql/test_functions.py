"""The reviewed list of functions against the server's own catalogue."""

from __future__ import annotations

import json
from importlib import resources

import psycopg
import pytest

from sallyport.core.operation import Effect
from sallyport.sql import facts
from sallyport.sql.catalogue import Function
from sallyport.sql.functions import _LISTS, judge
from tests.unit.sql.conftest import Connection
from tools import derive_functions

DATA = json.loads(resources.files("sallyport.sql").joinpath("functions.json").read_text())


def _function(name: str, **changes: object) -> Function:
    fields: dict[str, object] = {
        "schema": "pg_catalog", "name": name, "volatility": "i", "kinds": "f",
        "compiled": True, "builtin": True, **changes,
    }  # fmt: skip
    return Function(**fields)  # type: ignore[arg-type]


def test_no_name_stands_in_two_lists() -> None:
    names = [name for key, known in DATA.items() if "extensions" not in key for name in known]
    assert sorted(set(names)) == sorted(names)


def test_every_list_has_a_meaning() -> None:
    known = {*_LISTS, "pure", "pure_in_spite_of_volatile", "extensions", "dynamic_extensions"}
    assert set(DATA) == known
    assert {fact for _, words in _LISTS.values() for fact in words.split()} <= facts.FACTS.keys()


def test_the_server_has_no_function_that_nobody_reviewed(server: Connection) -> None:
    """A new built-in must be looked at; until then its calls are UNKNOWN."""
    reviewed = {name for known in DATA.values() for name in known}
    found = {str(row[0]) for row in server.execute(derive_functions.CANDIDATES).fetchall()}
    others = {str(row[0]) for row in server.execute(derive_functions.OTHERS).fetchall()}
    assert sorted(found - reviewed) == []
    assert sorted(others - reviewed) == ["plpgsql_validator"]


def test_pure_functions_do_not_write(server: Connection) -> None:
    """What is called pure is volatile only where the list says that it is so in spite of that."""
    rows = server.execute(
        "select distinct proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace"
        " and provolatile = 'v' and oid < 16384"
    ).fetchall()
    assert {str(row[0]) for row in rows} & set(DATA["pure"]) == set()


def test_pure_functions_run_in_a_read_only_transaction(server: Connection) -> None:
    """Every function without arguments that is called harmless is run where writing is an error."""
    rows = server.execute(
        "select distinct proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace"
        " and pronargs = 0 and prokind = 'f' and oid < 16384 and prorettype not in (2279, 3838)"
    ).fetchall()
    harmless = {*DATA["pure"], *DATA["pure_in_spite_of_volatile"], *DATA["volatile"]}
    ran = 0
    for name in sorted({str(row[0]) for row in rows} & harmless):
        try:
            with server.transaction(force_rollback=True):
                server.execute("set transaction read only")
                server.execute(f'select pg_catalog."{name}"()'.encode())
                ran += 1
        except psycopg.errors.ReadOnlySqlTransaction:
            pytest.fail(name)
        except psycopg.Error:
            pass
    assert ran > 80


@pytest.mark.parametrize(
    ("function", "effect"),
    [
        (_function("lower"), None),
        (_function("random"), Effect.READ),
        (_function("nextval"), Effect.WRITE),
        (_function("pg_read_file"), Effect.ADMIN),
        (_function("query_to_xml"), Effect.UNKNOWN),
        (_function("made_up_in_version_99"), Effect.UNKNOWN),
        (_function("lower", builtin=False), Effect.UNKNOWN),
        (_function("lower", schema="public"), Effect.UNKNOWN),
        (_function("similarity", schema="public", builtin=False, extension="pg_trgm"), None),
        (_function("x", schema="public", builtin=False, extension="hstore", compiled=False),
         Effect.UNKNOWN),
        (_function("uuid_generate_v4", builtin=False, extension="uuid-ossp", volatility="v"),
         Effect.READ),
        (_function("dblink", schema="public", builtin=False, extension="dblink"), Effect.UNKNOWN),
        (_function("crosstab", schema="public", builtin=False, extension="tablefunc"),
         Effect.UNKNOWN),
        (_function("ours", schema="public", builtin=False, extension="ours"), Effect.UNKNOWN),
    ],
)  # fmt: skip
def test_judgement(function: Function, effect: Effect | None) -> None:
    assert judge(function).effect is effect
