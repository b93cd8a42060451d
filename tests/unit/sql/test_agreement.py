"""The server is the oracle: what it says a statement reads, the classification must say too."""

from __future__ import annotations

import json

import psycopg
import pytest

from sallyport.core.operation import Effect
from sallyport.sql.statement import Statement
from tests.unit.sql.conftest import Connection, Reader
from tests.unit.sql.statements import READS, WRITES

_DEPENDS = """
select distinct n.nspname, c.relname, a.attname
from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
join pg_class c on c.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
join pg_namespace n on n.oid = c.relnamespace
left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.refobjsubid and d.refobjsubid > 0
where r.ev_class = 'pg_temp.oracle'::regclass and d.deptype = 'n'
"""
_COMPOSITES = {"public.address"}
"""Types, which the server keeps as relations."""
_RELATIONS = ("table", "view", "materialized-view", "foreign-table", "sequence")


def _named(statement: Statement) -> dict[str, set[str]]:
    return {r.name: set(r.columns) for r in statement.resources if r.kind in _RELATIONS}


def _behind(read: Reader, names: set[str]) -> set[str]:
    """Return the relations that stand behind the views among `names`, and above partitions."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        schema, _, name = pending.pop().partition(".")
        assert read.catalogue is not None
        relation = read.catalogue.relation((schema, name))
        if relation is None:
            continue
        for base in (*(b.name for b in relation.bases), *relation.parents):
            full = ".".join(base)
            if full not in found:
                found.add(full)
                pending.append(full)
    return found


@pytest.mark.parametrize("text", READS)
def test_reads_name_what_the_server_reads(text: str, read: Reader, server: Connection) -> None:
    """A view made of the query depends on exactly what the query names: the server says so."""
    with server.transaction(force_rollback=True):
        server.execute(f"create temporary view oracle as {text}".encode())
        rows = server.execute(_DEPENDS).fetchall()
    statement = read.one(text)
    assert not statement.unresolved, statement.unresolved
    named = _named(statement)
    used = {f"{schema}.{name}" for schema, name, _ in rows} - _COMPOSITES
    assert used <= set(named)
    own = {name for name in named if not name.startswith(("pg_catalog.", "information_schema."))}
    assert own <= used | _behind(read, used)
    for schema, name, column in rows:
        columns = named.get(f"{schema}.{name}", {"*"})
        assert column is None or column in columns or "*" in columns


@pytest.mark.parametrize("text", WRITES)
def test_writes_name_what_the_server_plans(text: str, read: Reader, server: Connection) -> None:
    with server.transaction(force_rollback=True):
        explained = server.execute(f"explain (verbose, format json) {text}".encode()).fetchone()
    assert explained is not None
    plan = explained[0] if not isinstance(explained[0], str) else json.loads(explained[0])
    planned: set[str] = set()
    pending: list[object] = [plan]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if "Relation Name" in item:
                planned.add(f"{item['Schema']}.{item['Relation Name']}")
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    statement = read.one(text)
    assert not statement.unresolved, statement.unresolved
    named = _named(statement)
    children = {
        child
        for child in planned - set(named)
        if read.catalogue is not None
        and (relation := read.catalogue.relation(tuple(child.split(".", 1)))) is not None  # type: ignore[arg-type]
        and any(".".join(parent) in named for parent in relation.parents)
    }
    assert planned - children <= set(named)
    assert statement.effect is Effect.WRITE


def test_what_is_called_read_changes_nothing(read: Reader, server: Connection) -> None:
    """Whatever effect READ claims, the server agrees: a read-only transaction takes it."""
    refused = []
    for text in READS:
        statement = read.one(text)
        if statement.effect is not Effect.READ:
            continue
        try:
            with server.transaction(force_rollback=True):
                server.execute("set transaction read only")
                server.execute("set local statement_timeout = 500")
                server.execute(text.encode())
        except psycopg.errors.ReadOnlySqlTransaction:
            refused.append(text)
        except psycopg.Error:
            pass
    assert refused == []
