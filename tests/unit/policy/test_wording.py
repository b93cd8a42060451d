"""What a refusal says fits the operation that it refuses."""

import pytest

from sallyport.core.operation import Effect, Resource
from sallyport.policy.wording import masked_use, uncovered
from tests.unit.policy.requests import operation

EMAIL = "public.customers.email"


@pytest.mark.parametrize(
    ("verb", "facts", "hint"),
    [
        ("select", (), "select the column plainly"),
        ("declare", (), "select the column plainly"),
        ("explain", ("explain",), "EXPLAIN (COSTS OFF)"),
        ("create-table-as", ("select-into",), "select it"),
        ("select", ("select-into",), "select it"),
        ("insert", (), "select it"),
        ("update", (), "other columns"),
        ("create-index", (), "somebody do it who sees"),
        ("select", ("lock",), "leave the lock out"),
    ],
)
def test_a_refused_use_of_a_masked_column_says_what_to_write_for_that_verb(
    verb: str, facts: tuple[str, ...], hint: str
) -> None:
    told = masked_use(operation(verb, facts=facts), EMAIL)
    assert f"`{EMAIL}`" in told[0]
    assert hint in told[1]


def test_all_columns_of_a_table_are_told_as_the_table() -> None:
    reason, _ = masked_use(operation("alter-table"), "public.customers.*")
    assert reason == "`public.customers` has masked columns, and `alter-table` uses it"


@pytest.mark.parametrize(
    ("resource", "facts", "reason", "hint"),
    [
        (Resource("statement", "?", Effect.UNKNOWN), ("unparsed",), "a syntax error", "syntax"),
        (Resource("column", "nme", Effect.UNKNOWN), ("unresolved",), "no column `nme`", "the name"),
        (Resource("function", "f", Effect.UNKNOWN), ("unresolved",), "function `f`", "names this"),
        (Resource("cursor", "c", Effect.UNKNOWN), (), "does to cursor `c`", "`unknown`"),
    ],
)
def test_what_is_not_known_is_told_as_what_it_is(
    resource: Resource, facts: tuple[str, ...], reason: str, hint: str
) -> None:
    told = uncovered(operation(facts=facts), resource, Effect.UNKNOWN)
    assert reason in told[0]
    assert hint in told[1]


def test_what_no_rule_allows_is_told_with_its_effect() -> None:
    table = Resource("table", "hr.staff", Effect.READ)
    told = uncovered(operation(), table, Effect.READ)
    assert told[0] == "no rule allows `select` to read table `hr.staff`"
