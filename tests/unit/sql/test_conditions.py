"""Which conditions narrow a write, and which only look as if they did."""

from __future__ import annotations

import pytest

from tests.unit.sql.conftest import Connection, Reader

EVERYTHING = [
    "true", "1 = 1", "not false", "'t'", "'yes'::boolean", "true::bool", "1 < 2", "2 between 1 and 3",
    "'a' = 'a'", "null is null", "1 is not null", "1 in (1, 2)", "now() is not null", "random() >= 0",
    "id = id", "o.id = o.id", "id >= id", "id is not distinct from id", "id in (1, id)",
    "id between id and id", "id is not null", "not (id is null)", "note is null or note is not null",
    "id = 3 or true", "id = 3 or 1 = 1", "id = 3 or not id = 3", "id = 3 or id <> 3",
    "id > 3 or id <= 3", "(id = 3) or ((id <> 3))", "true and id = id", "note like '%' or note is null",
    "status like '%%'", "coalesce(true, id = 3)", "(id = id) is true", "(id <> id) is not true",
    "exists (select 1)", "exists (select 1 from customers)", "(select true)",
    "exists (select 1 from customers c where c.id = 1)",
    "exists (select 1 from orders o where o.id > 0)", "id in (select id from orders)",
    "id = 3 or exists (select 1)", "case when true then true end", "(1, 2) = (1, 2)",
    "customer_id = customer_id or customer_id is null", "id = any (array(select id from orders))",
    "1 = any (array[1, 2])", "length('x') = 1", "current_user = current_user", "pg_sleep(0) is not null",
]  # fmt: skip
"""Of these all but those below leave every row in."""

UNSEEN = {"id = any (array(select id from orders))"}
"""True of every row, and not seen: the documented floor."""

SOME = [
    "id = 1", "o.id = 1", "id = $1", "id in (1, 2)", "id > 5", "status = 'x' and true",
    "id = 1 or id = 2", "note is null", "id between 1 and 5", "id = 1 and id = id",
    "status like 'a%'", "lower(status) = 'x'", "exists (select 1 from customers c where c.id = o.customer_id)",
    "customer_id in (select id from customers where country = 'NL')", "id = any ($1)", "false",
    "id <> id", "1 = 0", "not true", "null", "current of c", "(id, status) = (1, 'x')", "not id = 3",
    "status is distinct from 'x'", "id = 3 and exists (select 1)", "false or id = 2", "total > 3",
    "id in (select id from orders where total > 3)", "customer_id = (select max(id) from customers)",
]  # fmt: skip


@pytest.mark.parametrize("condition", [c for c in EVERYTHING if c not in UNSEEN])
def test_conditions_that_hold_for_every_row(condition: str, read: Reader) -> None:
    assert "no-where" in read.one(f"delete from orders o where {condition}").facts
    assert "no-where" in read.one(f"update orders o set note = 'x' where {condition}").facts


@pytest.mark.parametrize("condition", SOME)
def test_conditions_that_narrow(condition: str, read: Reader) -> None:
    assert "no-where" not in read.one(f"delete from orders o where {condition}").facts
    assert "no-where" not in read.one(f"update orders o set note = 'x' where {condition}").facts


def test_the_server_agrees_on_conditions_that_hold(server: Connection) -> None:
    """No condition of the list leaves a row out: they are what they are said to be."""
    total = server.execute("select count(*) from orders").fetchone()
    for condition in EVERYTHING:
        query = f"select count(*) from orders o where {condition}"
        assert server.execute(query.encode()).fetchone() == total, condition


@pytest.mark.parametrize(
    ("text", "narrowed"),
    [
        ("delete from orders", False),
        ("delete from orders using customers", False),
        ("delete from orders using customers c where c.id = 1", False),
        ("delete from orders o using customers c where c.id = o.customer_id", True),
        ("update orders set note = c.name from customers c where c.country = 'NL'", False),
        ("update orders o set note = c.name from customers c where c.id = o.customer_id", True),
        ("with x as (delete from orders) select 1", False),
        ("with x as (delete from orders where id = 1) select 1", True),
        ("prepare p as delete from orders", False),
        ("explain analyze update orders set note = ''", False),
        ("merge into orders o using customers c on c.id = o.customer_id when matched then delete",
         True),
        ("merge into orders o using customers c on 1 = 1 when matched then delete", False),
        ("merge into orders o using customers c on 1 = 1 when matched and o.id = 3 then delete",
         True),
        ("merge into orders o using customers c on c.id = 3 when matched then update set note = ''",
         False),
        ("""merge into orders o using customers c on c.id = o.customer_id
            when not matched by source then delete""", False),
        ("merge into orders o using customers c on 1 = 1 when not matched then insert default values",
         True),
        ("insert into orders default values", True),
        ("update orders set note = '' where orders.id = 1", True),
        ("update orders o set note = '' where public.orders.id = 1", False),
    ],
)  # fmt: skip
def test_statements(text: str, narrowed: bool, read: Reader) -> None:
    assert ("no-where" in read.one(text).facts) is not narrowed
