"""Inlining: a view's query means in its place what the view meant, under any session's path."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from sallyport.sql.catalogue import CatalogueSnapshot, Relation
from sallyport.sql.names import Names
from sallyport.sql.rewriting.rewrite import SourceMasks, Unfollowed, rewrite
from sallyport.sql.session import SessionState
from tests.unit.sql.shop import snapshot

VIEWS = {
    "plain": "select id, name as called, upper(name) from people where name like 'A%'",
    "sorted": "select id from people order by name desc nulls last, id limit 2 offset 1",
    "spelled": """select name collate "C" as c, name::varchar(9) as v, '1'::"char" as q, age::numeric(9, 2)
        as n, interval '1 day' as i, at at time zone 'UTC' as z, extract(year from at) as y,
        substring(name from 2 for 1) as s, overlay(name placing 'x' from 1) as o, trim('A' from name) as t,
        position('n' in name) as p, coalesce(name, 'x') as k, greatest(age, 3) as g from people""",
    "compared": """select id, name is distinct from 'Ann' as d, nullif(age, 30) as n, age between 1 and 40
        as b, age in (30, 31) as i, (age, id) < (31, 2) as r, not name ~~* 'a%' as l, -age as m,
        case age when 30 then 'x' else 'y' end as w, age = any (array[30]) as a from people""",
    "joined": """select p.id, q.id as other, name from people p join people q using (name)
        left join lateral (select max(age) as oldest from people x where x.id = p.id) l on true""",
    "queried": """with recursive n (i) as (select 1 union all select i + 1 from n where i < 3), pg_class as
        (select id from people) select i, id from n, pg_class where id in (select id from people)""",
    "grouped": """select age, grouping(age) as g, count(*) filter (where id > 1) as n, array_agg(name order by
        id desc) as l, percentile_cont(0.5) within group (order by age) as m, string_agg(distinct name, ',')
        as s from people group by rollup (age) having count(*) > 0""",
    "windowed": """select id, rank() over w as r, sum(age) over (order by id rows 1 preceding) as t
        from people window w as (partition by age order by name)""",
    "sets": "select id from people union all (select age from people except select 31) order by 1",
    "keyed": "select id, name, age from people group by id",
    "valued": "select v.* from (values (1, 'a'), (2, null)) v (x, y), generate_series(1, 2) g",
    "wide": "select relname from pg_catalog.pg_class where relname = 'people' and relkind = 'r'",
    "jsoned": """select id, doc -> 'a' as a, doc #>> '{b,0}' as b, doc @> '{"a": 1}' as h,
        jsonb_build_object('n', name) as o from people""",
    "over": "select called from plain where id > 0",
    "renamed": 'select id as "Odd ""Name", name as "select" from people',
    "none": "select 1 as one where exists (select from people where age > 100)",
}

REFUSED = {
    "whole": ("create view t.v as select p from t.people p", "takes a row"),
    "whole-json": ("create view t.v as select to_json(p) as j from t.people p", "takes a row"),
    "system": ("create view t.v as select ctid, id from t.people", "system column"),
    "sampled": ("create view t.v as select id from t.people tablesample system (50)", "samples"),
    "locked": ("create view t.v as select id from t.people for update", "locks"),
    "barrier": (
        "create view t.v with (security_barrier) as select id from t.people",
        "security barrier",
    ),
    "barrier-on": (
        "create view t.v with (security_barrier = on) as select id from t.people",
        "security barrier",
    ),
    "stored": ("create materialized view t.v as select id from t.people", "is stored"),
    "rows": ("create view t.v as select id from t.guarded", "row level security"),
    "long": (
        "create view t.v as select id from t.people where name not in ("
        + ",".join(f"'{'x' * 50}{number}'" for number in range(200))
        + ")",
        "longer than",
    ),
    "looked-up": ("create view t.v as select 'pg_class'::regclass as c from t.people", "path"),
    "case": (
        "create view t.v as select case age when 1 then 2 end as c from t.people;"
        "create function t.same(int, int) returns bool language plpgsql immutable as "
        "$$ begin return true; end $$;"
        "create operator t.= (leftarg = int, rightarg = int, function = t.same)",
        "own making",
    ),
}

SCHEMA = """
create schema t;
create table t.people (id int primary key, name text, age int, at timestamptz, doc jsonb);
insert into t.people values (1, 'Ann', 30, '2020-01-02 03:04:05+00', '{"a": 1, "b": ["x"]}'),
    (2, 'Bob', 31, '2021-01-02 03:04:05+00', '{}'), (3, 'Ann', 41, null, null);
create table t.guarded (id int);
alter table t.guarded enable row level security;
"""

HOSTILE = """
create schema h;
create function h.upper(text) returns text language sql immutable as $$ select 'stolen' $$;
create function h.rank() returns bigint language sql immutable as $$ select 0::bigint $$;
create domain h.text as pg_catalog.text;
create domain h.int4 as pg_catalog.int4;
create table h.pg_class (relname name, relkind "char");
create table h.people (id int, name pg_catalog.text);
create operator h.~~ (leftarg = pg_catalog.text, rightarg = pg_catalog.text,
    function = pg_catalog.textnlike);
create operator h.-> (leftarg = jsonb, rightarg = pg_catalog.text, function = jsonb_object_field_text);
"""

Server = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def uri(postgres: EmbeddedPostgres) -> Iterator[str]:
    postgres.psql("create database inlining")
    uri = postgres.uri("inlining")
    with psycopg.connect(uri, autocommit=True) as server:
        server.execute(SCHEMA)
        server.execute("set search_path = t")
        for name, query in VIEWS.items():
            server.execute(f'create view "{name}" as {query}')
        server.execute(HOSTILE)
    yield uri
    postgres.psql("drop database inlining with (force)")


@pytest.fixture
def server(uri: str) -> Iterator[Server]:
    with psycopg.connect(uri, autocommit=True, prepare_threshold=None) as server:
        yield server


def names(catalogue: CatalogueSnapshot, user: str = "postgres") -> Names:
    return Names(SessionState.start("inlining", user, None, 18), catalogue)


def views(relation: Relation) -> SourceMasks:
    """Every view of a user is taken apart; nothing is masked."""
    return SourceMasks({}, inlined=relation.schema == "t" and "view" in relation.kind)


@pytest.mark.parametrize("path", ["", "h, pg_catalog", "pg_catalog, h, t"])
def test_it_means_the_same(server: Server, path: str) -> None:
    catalogue = snapshot(server)
    server.execute(f"set search_path = {path or chr(39) * 2}")
    for name in VIEWS:
        direct = f'select * from t."{name}"'
        found = rewrite(direct, names(catalogue), views)
        assert f"t.{name}" not in found.text.replace('"', "")
        one, other = server.execute(direct), server.execute(found.text)
        assert one.description is not None
        assert other.description is not None
        described = [
            [(each.name, each.type_code, each._fmod) for each in cursor.description]
            for cursor in (one, other)
            if cursor.description is not None
        ]
        assert described[0] == described[1], name
        assert one.fetchall() == other.fetchall(), found.text


def test_what_is_around_a_view_sees_it_as_before(server: Server) -> None:
    catalogue = snapshot(server)
    for text in (
        "select v.called, plain.id from t.plain v join t.plain on plain.id = v.id order by 2",
        "select t.plain.called from t.plain order by 1",
        "select a, b from t.plain v (a, b) order by 1",
        "with plain as (select 7 as id) select plain.id, v.id from plain, t.plain v order by 2",
        "select (select max(v.id) from t.sorted v where v.id < p.id) from t.people p order by p.id",
        'select "Odd ""Name" from t.renamed order by 1',
        "select upper from t.plain where upper > 'A' order by id",
    ):
        found = rewrite(text, names(catalogue), views)
        assert server.execute(text).fetchall() == server.execute(found.text).fetchall(), found.text


@pytest.mark.parametrize(("made", "says"), REFUSED.values(), ids=REFUSED)
def test_what_would_not_be_the_same_is_refused(server: Server, made: str, says: str) -> None:
    server.execute(made)
    try:
        server.execute("set search_path = t")
        catalogue = snapshot(server)
        start = SessionState.start("inlining", "postgres", "t", 18)
        with pytest.raises(Unfollowed, match=says):
            rewrite("select * from t.v", Names(start, catalogue), views)
    finally:
        kind = "materialized view" if "materialized" in made else "view"
        server.execute(f"drop {kind} t.v; drop operator if exists t.= (int, int)")


def test_the_login_needs_the_rights_itself(server: Server) -> None:
    server.execute("create role narrow; grant usage on schema t to narrow")
    try:
        server.execute("grant select on t.plain, t.over to narrow; set role narrow")
        catalogue = snapshot(server)
        for view in ("plain", "over"):
            with pytest.raises(Unfollowed, match=r"may not read `t\.people`"):
                rewrite(f"select * from t.{view}", names(catalogue, "narrow"), views)
        with pytest.raises(Unfollowed, match="not known"):
            rewrite("select * from t.plain", names(catalogue), views)
    finally:
        server.execute("reset role; drop owned by narrow; drop role narrow")


def test_views_that_double_each_other_have_a_bound(server: Server) -> None:
    server.execute("set search_path = t; create view d0 as select id from people")
    try:
        for number in range(1, 12):
            below = f"d{number - 1}"
            server.execute(
                f"create view d{number} as select a.id from {below} a, {below} b where a.id = b.id"
            )
        catalogue = snapshot(server)
        assert rewrite("select * from t.d3", names(catalogue), views)
        for deep in ("t.d6", "t.d9", "t.d11"):
            with pytest.raises(Unfollowed, match=r"taken apart|too often"):
                rewrite(f"select * from {deep}", names(catalogue), views)
    finally:
        server.execute("drop view d0 cascade")
