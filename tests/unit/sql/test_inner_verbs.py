"""What a statement does beside its own verb: a rule that names verbs must see all of it."""

from __future__ import annotations

import pytest

from tests.unit.sql.conftest import Reader

CASES = [
    ("select 1", "select", ()),
    ("with d as (delete from orders where id = 1 returning 1) select 1", "select", ("delete",)),
    ("with d as (delete from orders where id = 1) update orders set id = 1", "update", ("delete",)),
    ("insert into orders(id) values (1)", "insert", ()),
    ("insert into orders(id) select 1", "insert", ()),
    ("insert into orders(id) values (1) on conflict do nothing", "insert", ()),
    (
        "insert into orders(id) values (1) on conflict (id) do update set id = 2",
        "insert",
        ("update",),
    ),
    ("explain select 1", "explain", ("select",)),
    ("explain analyze delete from orders where id = 1", "explain", ("delete",)),
    ("copy orders to stdout", "copy-out", ()),
    ("copy (select 1) to stdout", "copy-out", ("select",)),
    ("copy (delete from orders where id = 1 returning 1) to stdout", "copy-out", ("delete",)),
    ("declare c cursor for select 1", "declare", ("select",)),
    ("prepare p as delete from orders where id = 1", "prepare", ("delete",)),
    (
        "merge into orders o using orders p on o.id = p.id when matched then delete"
        " when not matched then insert (id) values (1)",
        "merge",
        ("delete", "insert"),
    ),
]


@pytest.mark.parametrize(("text", "verb", "inner"), CASES)
def test_what_a_statement_does(read: Reader, text: str, verb: str, inner: tuple[str, ...]) -> None:
    found = read.one(text)
    assert (found.verb, found.inner) == (verb, inner)


def test_what_execute_and_fetch_do(read: Reader) -> None:
    read.run("prepare p as delete from orders where id = 1")
    assert read.one("execute p").inner == ("delete",)
    assert read.one("explain analyze execute p").inner == ("delete", "execute")
    read.run("declare c cursor for select 1")
    assert read.one("fetch c").inner == ("select",)
