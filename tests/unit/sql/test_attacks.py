"""What an attacker would try, and what the classification must not miss of it."""

from __future__ import annotations

import pytest

from sallyport.core.operation import Effect
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Statement
from tests.unit.sql import shop
from tests.unit.sql.conftest import Connection, Reader

UNKNOWN, ADMIN, WRITE, READ = Effect.UNKNOWN, Effect.ADMIN, Effect.WRITE, Effect.READ


def exposed(statement: Statement, name: str = "public.customers") -> set[str]:
    found = [r for r in statement.resources if r.name == name]
    assert found, [r.name for r in statement.resources]
    return {column for resource in found for column in resource.exposed}


def named(statement: Statement) -> set[str]:
    return {f"{r.kind} {r.name}" for r in statement.resources if r.kind != "database"}


EFFECTS = [
    # code that runs where nobody looks for it
    ("select touch(1)", UNKNOWN, "user-function"),
    ("select * from touch(1)", UNKNOWN, "user-function"),
    ("select 1 where touch(1) > 0", UNKNOWN, "user-function"),
    ("select 1 order by touch(1)", UNKNOWN, "user-function"),
    ("select 1 limit touch(1)", UNKNOWN, "user-function"),
    ("select count(*) filter (where touch(1) = 1)", UNKNOWN, "user-function"),
    ("select sum(1) over (order by touch(1))", UNKNOWN, "user-function"),
    ("values (touch(1))", UNKNOWN, "user-function"),
    ("with x as (select touch(1)) select 1", UNKNOWN, "user-function"),
    ("select case when true then touch(1) end", UNKNOWN, "user-function"),
    ("select array[touch(1)]", UNKNOWN, "user-function"),
    ("select json_array(touch(1))", UNKNOWN, "user-function"),
    ("select xmlelement(name a, touch(1))", UNKNOWN, "user-function"),
    ("select tags[touch(1)] from customers", UNKNOWN, "user-function"),
    ("select * from generate_series(1, touch(1))", UNKNOWN, "user-function"),
    ("select * from orders tablesample system (touch(1))", UNKNOWN, "user-function"),
    ("select * from rows from (touch(1), touch(2)) as t", UNKNOWN, "user-function"),
    ("select 1 group by grouping sets ((touch(1)))", UNKNOWN, "user-function"),
    ("insert into orders (id) values (touch(1))", UNKNOWN, "user-function"),
    ("update orders set id = touch(1) where id = 1", UNKNOWN, "user-function"),
    ("delete from orders where id = touch(1)", UNKNOWN, "user-function"),
    ("delete from orders where id = 1 returning touch(id)", UNKNOWN, "user-function"),
    ("insert into orders (id) values (1) on conflict (id) do update set id = touch(1)",
     UNKNOWN, "user-function"),
    ("explain select touch(1)", UNKNOWN, "user-function"),
    ("prepare p as select touch(1)", UNKNOWN, "user-function"),
    ("declare c cursor for select touch(1)", UNKNOWN, "user-function"),
    ("copy (select touch(1)) to stdout", UNKNOWN, "user-function"),
    ("create temp table t as select touch(1)", UNKNOWN, "user-function"),
    ("create temp table t (a int default touch(1))", UNKNOWN, "user-function"),
    ("create index on orders (touch(id))", UNKNOWN, "user-function"),
    ("create index on orders (id) where touch(id) = 1", UNKNOWN, "user-function"),
    ("alter table orders add column x int default touch(1)", UNKNOWN, "user-function"),
    ("alter table orders alter column total type int using touch(id)", UNKNOWN, "user-function"),
    ("alter table orders add check (touch(id) = 1)", UNKNOWN, "user-function"),
    ("execute nothing(touch(1))", UNKNOWN, "user-function"),
    ("select * from calls", UNKNOWN, "user-function"),
    ("select c.peek from customers c", UNKNOWN, "user-function"),
    ("select (c).peek from customers c", UNKNOWN, "user-function"),
    ("select peek(c) from customers c", UNKNOWN, "user-function"),
    ("select 1 @+ 'x'", UNKNOWN, "user-function"),
    ("select 1 operator(public.@+) 'x'", UNKNOWN, "user-function"),
    ("select feels::int from people", UNKNOWN, "user-function"),
    ("select cast(feels as integer) from people", UNKNOWN, "user-function"),
    ("select int4(feels) from people", UNKNOWN, "user-function"),
    ("select hidden.lower('x')", UNKNOWN, "user-function"),
    ("call work()", UNKNOWN, "user-function"),
    ("do $$ begin delete from orders; end $$", UNKNOWN, "dynamic-sql"),
    ("do language plpython3u 'x'", UNKNOWN, "dynamic-sql"),
    # SQL inside a value
    ("select query_to_xml('delete from orders', true, true, '')", UNKNOWN, "dynamic-sql"),
    ("select table_to_xml('customers', true, true, '')", UNKNOWN, "dynamic-sql"),
    ("select database_to_xml(true, true, '')", UNKNOWN, "dynamic-sql"),
    ("select cursor_to_xml('c', 1, true, true, '')", UNKNOWN, "dynamic-sql"),
    ("select ts_stat('select 1')", UNKNOWN, "dynamic-sql"),
    ("select ('select 1'::text).ts_stat", UNKNOWN, "dynamic-sql"),
    ("select * from ts_stat('select ssn::tsvector from customers')", UNKNOWN, "dynamic-sql"),
    ("select ts_rewrite('a'::tsquery, 'select 1')", UNKNOWN, "dynamic-sql"),
    ("select dblink('x', 'select 1')", UNKNOWN, "unresolved"),
    # the server's own files, programs, other sessions
    ("select pg_read_file('/etc/passwd')", ADMIN, "server-file"),
    ("select ('/etc/passwd'::text).pg_read_file", ADMIN, "server-file"),
    ("select pg_ls_dir('.')", ADMIN, "server-file"),
    ("select * from pg_ls_waldir()", ADMIN, "server-file"),
    ("select lo_import('/etc/passwd')", ADMIN, "server-file"),
    ("select lo_export(1, '/tmp/x')", ADMIN, "large-object"),
    ("select lo_get(1)", READ, "large-object"),
    ("select lo_unlink(1)", WRITE, "large-object"),
    ("copy orders to '/tmp/x'", ADMIN, "server-file"),
    ("copy orders from '/tmp/x'", ADMIN, "server-file"),
    ("copy orders to program 'id'", ADMIN, "server-program"),
    ("copy orders from program 'id'", ADMIN, "server-program"),
    ("copy (delete from orders returning *) to stdout", WRITE, "no-where"),
    ("create foreign table f (a text) server s options (program 'id')", ADMIN, "server-program"),
    ("create foreign table f (a text) server s options (filename '/x')", ADMIN, "server-file"),
    ("alter foreign table orders options (set program 'id')", ADMIN, "server-program"),
    ("load 'evil'", ADMIN, "server-file"),
    ("select pg_terminate_backend(1)", ADMIN, "other-sessions"),
    ("select pg_cancel_backend(pid) from pg_stat_activity", ADMIN, "other-sessions"),
    ("select query from pg_stat_activity", READ, "other-sessions"),
    ("select pg_stat_get_activity(null)", READ, "other-sessions"),
    ("select pg_reload_conf()", ADMIN, "writes-function"),
    ("select pg_advisory_lock(1)", WRITE, "advisory-lock"),
    ("select pg_notify('x', 'y')", WRITE, "notify"),
    ("notify x, 'y'", WRITE, "notify"),
    ("select nextval('orders_id_seq')", WRITE, "writes-function"),
    ("select pg_create_logical_replication_slot('a', 'b')", ADMIN, "replication"),
    # secrets of the catalogue
    ("select * from pg_authid", READ, "secret-catalog"),
    ("table pg_shadow", READ, "secret-catalog"),
    ("select rolpassword from pg_catalog.pg_authid", READ, "secret-catalog"),
    ("copy pg_authid to stdout", READ, "secret-catalog"),
    ("select most_common_vals from pg_stats", READ, "secret-catalog"),
    ("select stavalues1 from pg_statistic", READ, "secret-catalog"),
    ("select data from pg_largeobject", READ, "secret-catalog"),
    ("select umoptions from pg_user_mapping", READ, "secret-catalog"),
    ("select * from pg_user_mapping", READ, "secret-catalog"),
    ("select u from pg_user_mapping u", READ, "secret-catalog"),
    ("select subconninfo from pg_subscription", READ, "secret-catalog"),
    ("select * from pg_hba_file_rules", READ, "secret-catalog"),
    ("select pg_hba_file_rules()", READ, "secret-catalog"),
    ("select * from pg_stat_replication", READ, "secret-catalog"),
    ("show primary_conninfo", READ, "secret-catalog"),
    ("select current_setting('primary_conninfo')", READ, "secret-catalog"),
    ("select * from pg_toast.pg_toast_1255", UNKNOWN, "unresolved"),
    ("update pg_authid set rolsuper = true where rolname = 'app'", ADMIN, "secret-catalog"),
    ("delete from pg_catalog.pg_class where relname = 'x'", ADMIN, "catalog"),
    # writes in the clothes of reads
    ("with x as (delete from orders where id = 1 returning 1) select 1", WRITE, "writable-cte"),
    ("with x as (update orders set note = '' where id = 1) table x", WRITE, "writable-cte"),
    ("select * into copy_of from customers", ADMIN, "select-into"),
    ("select * into temp copy_of from customers", WRITE, "temporary"),
    ("select ssn into copy_of from customers union select 'x'", ADMIN, "select-into"),
    ("(select 1 into copy_of union select 2) except select 3", ADMIN, "select-into"),
    ("explain analyze select 1 into copy_of union select 2", ADMIN, "select-into"),
    ("create table copy_of as select * from customers", ADMIN, "select-into"),
    ("explain analyze delete from orders where id = 1", WRITE, "explain-analyze"),
    ("explain (analyze true) delete from orders where id = 1", WRITE, "explain-analyze"),
    ("explain (analyze 1, costs off) insert into orders default values", WRITE, "explain-analyze"),
    ("explain (analyze) create table x as select 1", ADMIN, "explain-analyze"),
    ("explain delete from orders where id = 1", WRITE, "explain"),
    ("select * from orders for update", WRITE, "lock"),
    ("select * from (select * from orders for share) s", WRITE, "lock"),
    ("lock table orders", WRITE, "lock"),
    ("declare c cursor for select * from orders for update", WRITE, "lock"),
    ("merge into orders o using customers c on true when matched then delete", WRITE, "no-where"),
    ("truncate orders", WRITE, "destructive"),
    # rights and roles
    ("grant all on customers to public", ADMIN, "privilege"),
    ("revoke select on all tables in schema public from app", ADMIN, "privilege"),
    ("grant postgres to app", ADMIN, "role"),
    ("alter default privileges grant all on tables to app", ADMIN, "privilege"),
    ("alter role app superuser", ADMIN, "role"),
    ("alter user app password 'x'", ADMIN, "password"),
    ("create role evil login password 'x'", ADMIN, "password"),
    ("alter role app set default_transaction_read_only = off", ADMIN, "role"),
    ("alter database understanding set search_path = evil", ADMIN, "set-config"),
    ("alter system set archive_command = 'x'", ADMIN, "weakens-gate"),
    ("alter table customers owner to app", ADMIN, "ownership"),
    ("alter view totals owner to app", ADMIN, "ownership"),
    ("reassign owned by app to evil", ADMIN, "ownership"),
    ("drop owned by app", ADMIN, "destructive"),
    ("set role postgres", ADMIN, "role"),
    ("set session authorization postgres", ADMIN, "role"),
    ("set local role none", ADMIN, "role"),
    ("create user mapping for app server s options (password 'x')", ADMIN, "password"),
    ("security label on table customers is 'x'", ADMIN, None),
    # what loses or bends
    ("drop table customers", ADMIN, "destructive"),
    ("drop table if exists no_such_table", ADMIN, "destructive"),
    ("drop schema public cascade", ADMIN, "destructive"),
    ("drop view totals", ADMIN, "destructive"),
    ("drop function touch(int)", ADMIN, "destructive"),
    ("drop database understanding", ADMIN, "destructive"),
    ("alter table customers drop column ssn", ADMIN, "destructive"),
    ("alter table orders alter total type int", ADMIN, "destructive"),
    ("alter table events detach partition events_old", ADMIN, "destructive"),
    ("alter table customers disable trigger all", ADMIN, "intercepts"),
    ("alter table customers disable row level security", ADMIN, "intercepts"),
    ("create rule r as on insert to orders do instead nothing", ADMIN, "intercepts"),
    ("create trigger t before insert on orders execute function touch()", ADMIN, "intercepts"),
    ("create policy p on customers using (true)", ADMIN, "intercepts"),
    ("create event trigger e on ddl_command_start execute function touch()", ADMIN, "intercepts"),
    ("create or replace view totals as select 1", ADMIN, "replaces"),
    ("create or replace function touch(int) returns int language sql as 'select 1'",
     ADMIN, "replaces"),
    ("create or replace trigger t before insert on orders execute function touch()",
     ADMIN, "replaces"),
    ("create publication p for all tables", ADMIN, "replication"),
    ("create subscription s connection 'x' publication p", ADMIN, "replication"),
    ("create extension dblink", ADMIN, None),
    ("prepare transaction 'x'", WRITE, "two-phase"),
    ("commit prepared 'x'", WRITE, "two-phase"),
    ("create schema s create view v as select ssn from customers", UNKNOWN, None),
    # settings
    ("set standard_conforming_strings = off", ADMIN, "weakens-gate"),
    ("set client_encoding = 'SJIS'", ADMIN, "weakens-gate"),
    ("set names 'latin1'", ADMIN, "weakens-gate"),
    ("set session_replication_role = replica", ADMIN, "weakens-gate"),
    ("set log_statement = 'none'", ADMIN, "weakens-gate"),
    ("set local local_preload_libraries = 'x'", ADMIN, "weakens-gate"),
    ("set default_transaction_read_only = off", WRITE, "read-write"),
    ("set transaction_read_only to false", WRITE, "read-write"),
    ("set transaction read write", WRITE, "read-write"),
    ("set session characteristics as transaction read write", WRITE, "read-write"),
    ("begin read write", WRITE, "read-write"),
    ("start transaction isolation level serializable, read write", WRITE, "read-write"),
    ("select set_config('default_transaction_read_only', 'off', false)", WRITE, "read-write"),
    ("select set_config('role', 'postgres', false)", ADMIN, "role"),
    ("select set_config('ro' || 'le', 'postgres', false)", ADMIN, "weakens-gate"),
    ("select set_config(name, 'x', false) from pg_settings", ADMIN, "weakens-gate"),
    ("with x as (select set_config('log_statement', 'none', false)) table x",
     ADMIN, "weakens-gate"),
    ("update pg_settings set setting = 'off' where name = 'default_transaction_read_only'",
     ADMIN, "weakens-gate"),
    # not understood
    ("selec 1", UNKNOWN, "unparsed"),
    ("select 1; selec", UNKNOWN, "unparsed"),
    ("select $1 $2", UNKNOWN, "unparsed"),
    ("select '", UNKNOWN, "unparsed"),
    ("select 1\x00; drop table customers", UNKNOWN, "unparsed"),
    ("select '\ud800'", UNKNOWN, "unparsed"),
    ("select * from nothing_like_it", UNKNOWN, "unresolved"),
    ("select no_column from customers", UNKNOWN, "unresolved"),
    ("select no_function(1)", UNKNOWN, "unresolved"),
    ("select 'x'::no_type", UNKNOWN, "unresolved"),
    ("select * from other.public.customers", UNKNOWN, "unresolved"),
    ("execute no_such", UNKNOWN, "unresolved"),
    ("fetch all from no_such", UNKNOWN, "unresolved"),
    ("select pg_temp.evil()", UNKNOWN, "unresolved"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "effect", "fact"), EFFECTS)
def test_effect(text: str, effect: Effect, fact: str | None, read: Reader) -> None:
    statements = read.all(text)
    assert max(s.effect.rank for s in statements) == effect.rank, statements
    if fact is not None:
        assert any(fact in statement.facts for statement in statements), statements


EXPOSING = [
    "select c from customers c",
    "select c.* is null from customers c",
    "select row(c.*) from customers c",
    "select to_json(c) from customers c",
    "select c::text from customers c",
    "select ssn || '' from customers",
    "select upper(ssn) from customers",
    "select (select ssn from customers limit 1)",
    "select array(select ssn from customers)",
    "select id from customers where ssn = 'x'",
    "select id from customers c where c.ssn like '1%'",
    "select id from customers order by ssn",
    "select ssn from customers order by 1",
    "select ssn as x from customers order by x",
    "select count(*) from customers group by ssn",
    "select ssn from customers group by 1",
    "select ssn as s from customers group by s",
    "select count(*) from customers having max(ssn) > '1'",
    "select distinct ssn from customers",
    "select distinct on (ssn) id from customers",
    "select ssn from customers union select 'x'",
    "select ssn from customers union all select ssn from customers",
    "select ssn from customers except select 'x'",
    "select id, rank() over (order by ssn) from customers",
    "select id from customers window w as (partition by ssn)",
    "select a.id from customers a join customers b on a.ssn = b.email",
    "select id from customers join (select ssn from customers) x using (ssn)",
    "select id from customers natural join (select ssn, email from customers) x",
    "select x.s from (select ssn as s from customers) x where x.s = 'a'",
    "with x as (select ssn as s from customers) select count(s) from x",
    "with recursive x as (select ssn from customers) select ssn from x",
    "select id from customers c (id, name, email, hidden) where hidden = 'x'",
    "select id from orders where exists (select from customers where ssn = orders.note)",
    "select o.id from orders o, lateral (select 1 from customers where ssn = o.note) x",
    "select json_agg(ssn) from customers",
    "select case when ssn = 'x' then 1 end from customers",
    "select 1 from customers limit (select length(ssn) from customers limit 1)",
    "insert into orders (note) select ssn from customers",
    "update orders set note = ssn from customers where orders.id = 1",
    "update customers set ssn = 'x' where id = 1",
    "update customers set name = ssn where id = 1",
    "delete from customers where ssn = 'x'",
    "delete from orders using customers where ssn = note",
    "create temp table t as select ssn from customers",
    "select ssn into temp t from customers",
    "create view v as select ssn from customers",
    "create index on customers (ssn)",
    "alter table customers rename column ssn to other",
    "alter table customers rename to other",
    "alter table orders add check ((select ssn from customers) is null)",
    "select number from deeper where number = 'x'",
    "select * from customer_names where ssn = 'x'",
    "merge into orders o using customers c on c.ssn = o.note when matched then delete",
    "select unnest(array[ssn]) from customers",
    "select * from customers c, unnest(array[c.ssn]) u",
    "select ssn.* from (select ssn from customers) ssn where ssn.ssn = ''",
    "explain select ssn from customers",
    "explain (costs off, costs on) select ssn from customers",
    "explain (analyze, costs off) select ssn from customers",
]


@pytest.mark.parametrize("text", EXPOSING)
def test_a_value_that_could_be_inferred_is_exposed(text: str, read: Reader) -> None:
    (statement,) = read.all(text)
    assert exposed(statement) & {"ssn", "*"}


SHOWN = [
    "select ssn from customers",
    "select * from customers",
    "select c.ssn as x from customers c where id = 1",
    "select x.s from (select ssn as s from customers) x",
    "with x as (select ssn as s, id from customers) select s from x where id = 1",
    "select c.ssn, o.id from customers c join orders o on o.customer_id = c.id",
    "select number from deeper",
    "select ssn from customers order by id limit 3",
    "delete from customers where id = 1 returning ssn",
    "insert into customers (id, name, ssn) values (1, 'a', 'b') returning ssn",
    "update customers set name = 'x' where id = 1 returning *",
    "copy customers to stdout",
    "copy (select id, ssn from customers) to stdout",
    "select ssn from customers for update",
    "explain (costs off) select ssn from customers",
]


@pytest.mark.parametrize("text", SHOWN)
def test_a_plain_column_is_only_shown(text: str, read: Reader) -> None:
    (statement,) = read.all(text)
    found = [r for r in statement.resources if r.name == "public.customers"]
    assert any({"ssn", "*"} & set(r.columns) for r in found)
    assert "ssn" not in exposed(statement)


def test_search_path_decides_what_a_name_means(read: Reader) -> None:
    read.run("set search_path = hidden, public")
    assert "table hidden.orders" in named(read.one("select * from orders"))
    assert "function hidden.lower" in named(read.one("select lower('x')"))
    assert named(read.one("select pg_catalog.lower('x')")) == set()


def test_search_path_counts_from_the_next_statement_on(read: Reader) -> None:
    _, second = read.all("set search_path = hidden; select * from orders")
    assert "table hidden.orders" in named(second)


def test_a_long_name_in_the_path_is_cut_as_the_server_cuts_it(
    read: Reader, server: Connection
) -> None:
    """A name of 64 bytes and one of 63 are the same schema there."""
    name = "s" * 63
    with server.transaction(force_rollback=True):
        server.execute(f"create schema {name} create table orders (other int)".encode())
        server.execute(f"set local search_path = '{name}x', public".encode())
        row = server.execute("select 'orders'::regclass::text, other from orders").fetchall()
        assert row == []
        fresh = Reader(shop.snapshot(server), read.state)
        fresh.run(f"set search_path = '{name}x', public")
        assert f"table {name}.orders" in named(fresh.one("select * from orders"))


def test_a_temporary_relation_shadows(read: Reader) -> None:
    read.run("create temp table customers (id int, harmless text)")
    both = {"table pg_temp.customers", "table public.customers"}
    assert named(read.one("select * from customers")) == both
    assert named(read.one("select * from pg_temp.customers")) == {"table pg_temp.customers"}
    assert "table public.customers" in named(read.one("select * from public.customers"))
    read.run("set search_path = public, pg_temp")
    assert "table public.customers" in named(read.one("select * from customers"))


def test_a_name_after_a_drop_means_what_it_may_have_hidden(
    read: Reader, server: Connection
) -> None:
    name = "dropped_first"
    with server.transaction(force_rollback=True):
        server.execute(f"create schema {name} create table orders (other int)".encode())
        fresh = Reader(shop.snapshot(server), read.state)
        fresh.run(f"set search_path = {name}, public")
        fresh.run("begin")
        assert named(fresh.one("select * from orders")) == {f"table {name}.orders"}
        fresh.run("drop function if exists nothing cascade")
        both = {f"table {name}.orders", "table public.orders"}
        assert named(fresh.one("select * from orders")) == both
        fresh.run("commit")
        assert named(fresh.one("select * from orders")) == {f"table {name}.orders"}


def test_a_temporary_view_shows_what_it_reads(read: Reader) -> None:
    read.run("create temp view orders as select id, ssn as note from customers")
    statement = read.one("select note from orders")
    assert "table public.customers" in named(statement)
    assert "ssn" in exposed(statement)


def test_if_not_exists_changes_nothing_that_exists(read: Reader) -> None:
    read.run("begin")
    read.run("create table if not exists customers (ssn_not text)")
    statement = read.one("select ssn from customers where ssn = 'x'")
    assert exposed(statement) & {"ssn", "*"}


def test_a_renamed_table_is_still_the_table(read: Reader) -> None:
    read.run("begin")
    read.run("alter table customers rename to harmless")
    statement = read.one("select ssn from harmless")
    assert {"table public.harmless", "table public.customers"} <= named(statement)
    assert read.one("select * from customers").unresolved


def test_a_function_made_in_the_transaction_is_not_the_built_in(read: Reader) -> None:
    read.run("begin")
    read.run("set search_path = public, pg_catalog")
    read.run("create function lower(text) returns text language sql as 'select 1::text'")
    assert read.one("select lower('x')").effect is UNKNOWN


def test_an_operator_made_in_the_transaction_is_not_the_built_in(read: Reader) -> None:
    read.run("begin")
    read.run("create operator = (leftarg = int, rightarg = text, function = plus_bad)")
    assert read.one("select 1 = 'x'").effect is UNKNOWN


def test_a_schema_made_in_the_transaction_takes_new_tables(read: Reader) -> None:
    read.run("begin")
    read.run("create schema fresh")
    read.run("set search_path = fresh, public")
    read.run("create table customers (ssn text)")
    assert "table fresh.customers" in named(read.one("select * from customers"))
    assert "table public.customers" in named(read.one("select * from public.customers"))


def test_renaming_schemas_leaves_no_name_certain(read: Reader) -> None:
    read.run("begin")
    read.run("alter schema public rename to other")
    assert read.one("select * from sales.leads").effect is UNKNOWN
    read.run("rollback")
    assert read.one("select * from sales.leads").effect is READ


def test_execute_is_what_its_names_mean_now(read: Reader) -> None:
    read.run("prepare p as select * from orders")
    read.run("set search_path = hidden")
    assert "table hidden.orders" in named(read.one("execute p"))


def test_prepare_and_cursor_carry_what_they_run(read: Reader) -> None:
    read.run("prepare p (int) as delete from orders")
    statement = read.one("execute p (1)")
    assert statement.effect is WRITE
    assert "no-where" in statement.facts
    read.run("begin")
    read.run("declare c cursor for select ssn from customers where email = 'x'")
    assert exposed(read.one("fetch 1 from c")) == {"email"}
    assert read.one("move all in c").effect is READ
    read.run("deallocate p")
    assert read.one("execute p (1)").effect is UNKNOWN


def test_a_prepared_statement_that_prepares_itself_ends(read: Reader) -> None:
    read.state = read.state.with_prepared("p", "execute p", (0, ""))
    assert read.one("execute p").effect is UNKNOWN


def test_statements_of_the_wire_protocol_can_be_executed(read: Reader) -> None:
    read.state = read.state.with_prepared("p", "delete from orders", (0, ""))
    assert "no-where" in read.one("execute p").facts
    read.state = read.state.with_cursor("q", "select ssn from customers", (0, ""))
    assert "table public.customers" in named(read.one("fetch q"))


@pytest.mark.parametrize(
    "text",
    [
        "select set_config('search_path', 'hidden', false) limit 0",
        "select set_config('search_path', 'hidden', false) where false",
        "select set_config('search_path', 'hidden', false) from pg_settings where name = 'no'",
        "create temp table t as select set_config('search_path', 'hidden', false)",
        "copy (select set_config('search_path', 'hidden', false)) to stdout",
        "select set_config('search_path', p, false) from (select 'hidden') x (p)",
        "select case when random() < 2 then set_config('search_path', 'hidden', false) end",
        "update pg_settings set setting = 'hidden' where name = 'search_path'",
        "declare c cursor with hold for select set_config('search_path', 'hidden', false)",
        "with x as (select set_config('search_path', 'hidden', false)) select 1",
        "values (set_config('search_path', 'hidden', false))",
        "select touch(1)",
        "do 'begin end'",
        "call work()",
    ],
)
def test_what_may_have_set_the_path_leaves_it_unknown(text: str, read: Reader) -> None:
    read.state = SessionState.start("understanding", "postgres", None, 15)
    read.run(text)
    read.state = read.state.ready("I")
    assert read.state.search_path is None
    assert read.one("select * from orders").effect is UNKNOWN
    assert "table public.orders" in named(read.one("select * from public.orders"))


def test_explain_analyze_runs_what_sets_the_path(read: Reader) -> None:
    read.run("explain analyze select set_config('search_path', 'hidden', false)")
    assert "table hidden.orders" in named(read.one("select * from orders"))
    read.run("explain select set_config('search_path', 'public', false)")
    assert "table hidden.orders" in named(read.one("select * from orders"))


def test_a_cursor_may_set_the_path_late_or_never(read: Reader) -> None:
    read.run("begin")
    read.run("declare c cursor for select set_config('search_path', 'hidden', false)")
    read.state = read.state.ready("T")
    read.run("fetch 0 from c")
    assert read.state.search_path is None


@pytest.mark.parametrize(
    "text",
    ["set standard_conforming_strings = off", "set client_encoding = 'LATIN1'", "do 'begin end'"],
)
def test_texts_are_not_read_under_other_rules(text: str, read: Reader) -> None:
    read.run(text)
    assert read.one("select 1").effect is UNKNOWN
    assert read.one("select 1").facts == {"unparsed"}


def test_without_a_catalogue_nothing_resolves(read: Reader) -> None:
    blind = Reader(None, read.state)
    for text in ("select * from customers", "select lower('x')", "insert into orders values (1)"):
        found = blind.whole(text)
        assert found.needs == "catalogue"
        assert found.statements[0].effect is UNKNOWN
    for text in ("begin", "set work_mem = '1MB'", "show search_path", "commit", "select 1"):
        assert blind.one(text).effect is READ


def test_a_view_is_what_stands_behind_it(read: Reader) -> None:
    assert named(read.one("select mail from deeper")) == {
        "view public.deeper",
        "view public.customer_names",
        "table public.customers",
    }


def test_a_write_through_a_view_is_one_to_its_table(read: Reader) -> None:
    statement = read.one("update customer_names set name = 'x' where id = 1")
    effects = {r.name: r.effect for r in statement.resources}
    assert effects["public.customers"] is WRITE


def test_a_partition_counts_as_its_parent_too(read: Reader) -> None:
    statement = read.one("select body from events_old where kind = 'x'")
    assert exposed(statement, "public.events") == {"kind"}


def test_a_system_column_tells_of_all_columns_of_its_rows(read: Reader) -> None:
    catalogue = read.catalogue
    assert catalogue is not None

    def ctid(name: str) -> set[str] | None:
        relation = catalogue.relation(("public", name))
        assert relation is not None
        found = catalogue.origin(relation.oid, -1)
        return None if found is None else {".".join(each) for each in found}

    assert {"public.customers.ssn", "public.customers.email"} <= (ctid("customers") or set())
    assert "public.events_old.body" in (ctid("events") or set())
    assert not any(name.startswith("public.customers.") for name in ctid("totals") or {"none"})
    assert ctid("deeper") is None
    assert catalogue.origin(1259, -1) is None


def test_origins_reach_through_views_and_partitions(read: Reader) -> None:
    catalogue = read.catalogue
    assert catalogue is not None

    def origin(schema: str, name: str, column: str) -> set[str]:
        relation = catalogue.relation((schema, name))
        assert relation is not None
        number = next(c.number for c in relation.columns if c.name == column)
        found = catalogue.origin(relation.oid, number)
        assert found is not None
        return {".".join(each) for each in found}

    assert "public.customers.ssn" in origin("public", "deeper", "number")
    assert "public.customers.email" in origin("public", "deeper", "mail")
    assert "public.customers.ssn" not in origin("public", "deeper", "mail")
    assert "public.events.body" in origin("public", "events_old", "body")
    assert "public.customers.email" in origin("public", "kept", "email")
    assert "public.customers.ssn" in origin("public", "whole", "row")
    assert origin("public", "totals", "total") == {"public.totals.total", "public.orders.total"}
    assert catalogue.origin(999999999, 1) is None
    assert catalogue.origin(1259, 999) is None
