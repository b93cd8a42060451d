"""IF EXISTS of what is not there: a notice of the server's, so no reason to refuse."""

from __future__ import annotations

import pytest

from sallyport.core.operation import Effect
from tests.unit.sql.conftest import Reader


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("alter table if exists only public.absent drop constraint if exists k", "public.absent"),
        ("alter table if exists absent add column a int", "public.absent"),
        ("alter view if exists sales.absent set (security_barrier)", "sales.absent"),
        ("drop policy if exists p on public.absent", "public.absent"),
        ("drop trigger if exists t on absent", "public.absent"),
        ("drop rule if exists r on sales.absent", "sales.absent"),
        ("drop table if exists absent", "public.absent"),
        ("drop view if exists sales.absent", "sales.absent"),
    ],
)
def test_it_is_named_and_looked_for_again(text: str, resource: str, read: Reader) -> None:
    whole = read.whole(text)
    (statement,) = whole.statements
    assert whole.needs == "catalogue"
    assert statement.effect is Effect.ADMIN
    assert resource in {r.name for r in statement.resources}


@pytest.mark.parametrize(
    "text",
    [
        "alter table absent add column a int",
        "drop table absent",
        "drop policy p on absent",
        "alter table if exists other_database.public.orders add column a int",
    ],
)
def test_what_must_exist_stays_unknown(text: str, read: Reader) -> None:
    assert read.one(text).effect is Effect.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "alter table if exists orders drop column note",
        "drop policy if exists p on orders",
        "drop table if exists orders",
    ],
)
def test_what_is_there_is_what_it_is(text: str, read: Reader) -> None:
    whole = read.whole(text)
    assert whole.needs == ""
    assert "public.orders" in {r.name for r in whole.statements[0].resources}


def test_without_a_search_path_nothing_is_guessed(read: Reader) -> None:
    read.run("select set_config('search_path', $1, false)")
    assert read.one("drop table if exists absent").effect is Effect.UNKNOWN
