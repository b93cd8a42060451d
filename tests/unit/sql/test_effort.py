"""Effort: short texts that ask for a lot of work are not understood; long plain ones are."""

from __future__ import annotations

import pytest

from sallyport.core.operation import Effect
from tests.unit.sql.conftest import Reader
from tests.unit.sql.test_grammar import whole

_DOUBLING = ",".join(f"a{n} as (select x.*, y.* from a{n - 1} x, a{n - 1} y)" for n in range(1, 40))
_ITEMS = ",".join(f"orders o{n}" for n in range(1000))
GREEDY = {
    "columns that double": f"with a0 as (select * from orders), {_DOUBLING} select 1 from a39",
    "too many columns": "select " + ",".join(["*"] * 2000) + " from orders a, orders b",
    "names looked for everywhere": f"select 1 from {_ITEMS} where " + " or ".join(["x = 1"] * 2000),
    "natural joins": "select 1 from orders o" + "".join(f" natural join orders o{n}" for n in range(900)),
    "order by many outputs": "select " + ",".join(f"id a{n}" for n in range(1600)) + " from orders order by "
    + ",".join(f"a{n % 1600}" for n in range(1000)),
    "positions": "select " + ",".join(["id"] * 1600) + " from orders group by " + ",".join(["1"] * 1000),
    "conditions in conditions": "delete from orders where "
    + "(id = 1 and (" * 45 + " or ".join(f"id = {n}" for n in range(500)) + " or id = 3))" * 45,
}  # fmt: skip
PLAIN = {
    "a list": "delete from orders where id in (" + ",".join(map(str, range(90_000))) + ")",
    "rows": "insert into orders (id) values " + ",".join(f"({n})" for n in range(60_000)),
    "parameters": "select id from orders where id in ("
    + ",".join(f"${n + 1}" for n in range(60_000))
    + ")",
    "joins": "select count(*) from orders o"
    + "".join(f" join orders o{n} on o{n}.id = o.id" for n in range(200)),
}


@pytest.mark.parametrize("name", [*GREEDY])
def test_what_asks_for_too_much_is_not_understood(read: Reader, name: str) -> None:
    (statement,) = whole(read, GREEDY[name]).statements
    assert (statement.verb, statement.effect) == ("unknown", Effect.UNKNOWN)


@pytest.mark.parametrize("name", [*PLAIN])
def test_a_long_plain_statement_is_understood(read: Reader, name: str) -> None:
    (statement,) = whole(read, PLAIN[name]).statements
    assert statement.effect in (Effect.READ, Effect.WRITE)
    assert "no-where" not in statement.facts
