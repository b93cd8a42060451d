"""What does not use a masked column reads a million rows by the same ways, rewritten or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.masking.worlds import Worlds
from tests.support.gateway import Gateway

SETUP = """
    set role app;
    create table people (id int primary key, city int, email text, joined date);
    insert into people select n, n % 500, 'p' || n || '@example.com', '2020-01-01'::date + n % 1000
        from generate_series(1, 1000000) n;
    create index people_city on people (city);
    create index people_joined on people (joined, id);
    create index people_email on people (email);
    create table visits (id int primary key, person int references people, at date);
    insert into visits select n, n % 1000 + 1, '2024-01-01' from generate_series(1, 20000) n;
    create index visits_person on visits (person);
    analyze people, visits;
"""
RULES: list[dict[str, Any]] = [
    {"name": "all", "effect": "allow", "operations": {"effects": ["read"]}},
    {"name": "hide", "effect": "mask", "mask": {"columns": ["*.email"], "transform": "partial"}},
]


@pytest.fixture(scope="module")
def people(worlds: Worlds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    worlds.server.psql("create database people owner app")
    worlds.server.psql(SETUP, "people")
    folder = tmp_path_factory.mktemp("people") / "gateway"
    gateway = Gateway(folder, worlds.server, database="people", rules=RULES)
    gateway.start()
    yield gateway
    gateway.stop()
    worlds.server.psql("drop database people with (force)")


def ways(plan: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return a plan's nodes from the top; a subquery's own scan stands for nothing."""
    below = [way for one in plan.get("Plans", ()) for way in ways(one)]
    if plan["Node Type"] == "Subquery Scan":
        return below
    own = (plan["Node Type"], plan.get("Relation Name", ""), plan.get("Index Name", ""))
    return [own, *below]


def planned(connection: psycopg.Connection[Any], text: str) -> list[tuple[str, str, str]]:
    row = connection.execute(f"explain (costs off, format json) {text}".encode()).fetchone()
    assert row is not None
    return ways(row[0][0]["Plan"])


@pytest.mark.parametrize(
    "text",
    [
        "select id, upper(email) from people where id = 77777",
        "select upper(email) from people where id between 1000 and 1040 order by id",
        "select lower(email) from people where id in (5, 6, 7)",
        "select upper(email) from people where city = 7 and id < 400000",
        "select id, upper(email) from people order by joined, id limit 20",
        "select joined, max(upper(email)) from people where joined > '2022-09-01' group by joined",
        "select v.id, upper(p.email) from visits v join people p on p.id = v.person where v.id = 9",
        "select upper(p.email), count(*) from people p left join visits v on v.person = p.id"
        " where p.id < 50 group by p.id, p.email",
        "select id from visits v where exists (select from people p where p.id = v.person and"
        " length(p.email) > 3) and v.id < 20",
        "select c.n, upper(p.email) from (values (1), (2)) c (n) join people p on p.id = c.n",
        "with chosen as (select * from people where city = 3) select upper(email) from chosen limit 5",
    ],
)
def test_the_same_ways_to_the_rows(people: Gateway, worlds: Worlds, text: str) -> None:
    asked = {"subject": "somebody", "groups": ["agents"], "target": "db", "statement": text}
    found = people.admin.post("/policy/explain", asked)["detail"]["operations"]
    assert found[0]["refused"] is None
    rewritten = found[0]["rewritten"]
    assert "(SELECT id, city, " in rewritten
    with psycopg.connect(worlds.server.uri("people")) as connection:
        assert planned(connection, rewritten) == planned(connection, text)


def test_a_masked_columns_own_index_is_not_used(people: Gateway, worlds: Worlds) -> None:
    """Else the row that is found would tell what the raw value is."""
    text = "select id from people where email = 'p5@example.com'"
    asked = {"subject": "somebody", "groups": ["agents"], "target": "db", "statement": text}
    found = people.admin.post("/policy/explain", asked)["detail"]["operations"]
    with psycopg.connect(worlds.server.uri("people")) as connection:
        assert ("Index Scan", "people", "people_email") in planned(connection, text)
        assert "people_email" not in str(planned(connection, found[0]["rewritten"]))
