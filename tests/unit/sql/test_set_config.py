"""set_config: judged by the name it sets; what it leaves is known only where it runs for sure."""

from __future__ import annotations

import pytest

from sallyport.core.operation import Effect
from sallyport.sql.statement import Statement
from tests.unit.sql.conftest import Reader

PINNED = "select set_config(name, 'view', false) from pg_settings where name = "


def settings(statement: Statement) -> dict[str, Effect]:
    return {r.name: r.effect for r in statement.resources if r.kind == "setting"}


@pytest.mark.parametrize(
    "text",
    [
        "select set_config('jit', 'off', false)",
        "select set_config('JIT', $1, false)",
        "select pg_catalog.set_config('jit'::text, $1, $2)",
        "select current_setting('jit') as cur, set_config('jit', 'off', false) as new",
        "select set_config('jit', (select 'off'), false)",
        "select n from generate_series(1, 3) n where set_config('jit', 'off', false) = 'off'",
    ],
)
def test_a_harmless_setting_is_a_read(text: str, read: Reader) -> None:
    statement = read.one(text)
    assert settings(statement) == {"jit": Effect.READ}
    assert statement.effect is Effect.READ
    assert "weakens-gate" not in statement.facts


@pytest.mark.parametrize("name", ["restrict_nonsystem_relation_kind", "jit"])
def test_a_name_that_where_pins_is_that_name(name: str, read: Reader) -> None:
    statement = read.one(f"{PINNED}'{name}'")
    assert settings(statement) == {name: Effect.READ}
    assert statement.effect is Effect.READ
    assert {r.name for r in statement.resources if r.kind == "view"} == {"pg_catalog.pg_settings"}


@pytest.mark.parametrize(
    "text",
    [
        f"{PINNED}'role'",
        f"{PINNED}'session_replication_role'",
        f"{PINNED}$1",
        f"{PINNED}'jit' or true",
        f"{PINNED}'jit' union select set_config(name, 'x', false) from pg_settings",
        "select set_config(name, 'x', false) from pg_settings where name <> 'jit'",
        "select set_config(name, 'x', false) from pg_settings where name like 'jit'",
        "select set_config(name, 'x', false) from pg_settings where 'jit' = name",
        "select set_config(name, 'x', false) from pg_settings s where name = 'jit'",
        "select set_config(name, 'x', false) from pg_settings, customers where name = 'jit'",
        "select set_config(name, 'x', false), set_config(name, 'x', false) from pg_settings where name = 'jit'",
        "select set_config(name, 'x', false) from customers where name = 'jit'",
        "select set_config(setting, 'x', false) from pg_settings where name = 'jit'",
        "select set_config($1, 'off', false)",
        "select set_config('ro' || 'le', 'postgres', false)",
        "select set_config('rolex'::varchar(4), 'postgres', false)",
        "select set_config('role', $1, false)",
        "select set_config('ROLE', 'postgres', true)",
        "select set_config('session_authorization', 'postgres', true)",
        "select set_config('standard_conforming_strings', $1, true)",
        "select set_config('client_encoding', $1, true)",
        "select set_config('log_statement', 'none', false)",
        "select 1 where set_config('role', 'postgres', false) is null",
        "select set_config('jit', set_config('role', 'postgres', false), false)",
        "insert into orders (note) values (set_config('role', 'postgres', false))",
        "copy (select set_config('role', 'postgres', false)) to stdout",
        "update pg_settings set setting = 'x' where name = 'role'",
    ],
)
def test_anything_else_weakens_the_gate(text: str, read: Reader) -> None:
    statement = read.one(text)
    assert "weakens-gate" in statement.facts
    assert statement.effect in (Effect.ADMIN, Effect.UNKNOWN)


@pytest.mark.parametrize("value", ["'off'", "$1", "null"])
def test_a_read_only_session_stays_so(value: str, read: Reader) -> None:
    statement = read.one(f"select set_config('transaction_read_only', {value}, false)")
    assert statement.effect is Effect.WRITE
    assert "read-write" in statement.facts


def test_a_shadow_of_pg_settings_pins_nothing(read: Reader) -> None:
    read.run("create temporary table pg_settings as select 'role'::text as name")
    assert "weakens-gate" in read.one(f"{PINNED}'jit'").facts


def test_an_own_equals_pins_nothing(read: Reader) -> None:
    read.run("create operator = (leftarg = text, rightarg = text, procedure = texteq)")
    assert read.one(f"{PINNED}'jit'").effect is Effect.UNKNOWN


def test_what_runs_for_sure_is_known(read: Reader) -> None:
    read.run("select set_config('search_path', 'sales', false)")
    assert read.state.search_path == ("sales",)
    read.run("explain analyze select set_config('search_path', 'public', false)")
    assert read.state.search_path == ("public",)


@pytest.mark.parametrize(
    "text",
    [
        "select set_config('search_path', 'sales', false) limit 0",
        "select set_config('search_path', 'sales', false) where false",
        "select set_config('search_path', $1, false)",
        "select set_config('search_path', 'sales', id > 3) from customers",
        "select case when true then set_config('search_path', 'sales', false) end",
        "explain (analyze) select set_config('search_path', 'sales', false) where true",
        "explain analyze declare c cursor for select set_config('search_path', 'sales', false)",
        "declare c cursor with hold for select set_config('search_path', 'sales', false)",
        "create temporary table t as select set_config('search_path', 'sales', false) as x",
        "update pg_settings set setting = 'sales' where name = 'search_path'",
    ],
)
def test_what_may_run_leaves_names_unknown(text: str, read: Reader) -> None:
    read.run(text)
    assert read.state.search_path is None
    assert read.one("select * from orders").effect is Effect.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "explain select set_config('search_path', 'sales', false)",
        "prepare p as select set_config('search_path', 'sales', false)",
    ],
)
def test_what_does_not_run_changes_nothing(text: str, read: Reader) -> None:
    before = read.state.search_path
    read.run(text)
    assert read.state.search_path == before


def test_a_fetch_may_run_nothing(read: Reader) -> None:
    read.run("begin")
    read.run("declare c cursor for select set_config('search_path', 'sales', false)")
    read.run("set search_path to public")
    read.run("fetch 0 from c")
    assert read.state.search_path is None


@pytest.mark.parametrize("clause", ["order by (select max(email) from customers)", "group by (select max(email) from customers)", "limit (select count(*) from customers)"])  # fmt: skip
def test_clauses_beside_a_call_are_read(clause: str, read: Reader) -> None:
    statement = read.one(f"select set_config('jit', 'off', false) {clause}")
    assert "public.customers" in {r.name for r in statement.resources}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("select srvname, usename from pg_user_mappings", False),
        ("select umoptions from pg_user_mappings", True),
        ("select * from pg_user_mappings", True),
        ("select m from pg_user_mappings m", True),
        ("select m.* from pg_user_mappings m join pg_user_mapping u using (umuser)", True),
        ("table pg_user_mapping", True),
        ("select row_to_json(m) from pg_user_mappings m", True),
        ("select srvname from pg_user_mappings m where m::text like '%secret%'", True),
        ("select srvname from pg_user_mappings order by umoptions", True),
        ("copy pg_user_mapping to stdout", True),
        ("copy pg_user_mapping (umuser) to stdout", False),
        ("select x from pg_user_mappings as m (a, b, c, d, e, x)", True),
        ("select setrole, setdatabase from pg_db_role_setting", False),
        ("select setconfig from pg_db_role_setting", True),
        ("select count(*) from pg_subscription", False),
        ("select subname from pg_subscription natural join pg_subscription s", True),
        ("select subconninfo from pg_subscription", True),
    ],
)
def test_secrets_of_the_catalogue_are_columns(text: str, secret: bool, read: Reader) -> None:
    assert ("secret-catalog" in read.one(text).facts) is secret
