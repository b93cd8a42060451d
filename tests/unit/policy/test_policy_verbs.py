"""Rules that name verbs, and operations that do more than one thing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.policy.requests import CONNECT, decide, operation, policy_of

ORDERS = {"table orders": "write"}
SELECT_THAT_DELETES = msgspec.structs.replace(operation("select", ORDERS), inner=("delete",))
EVERYTHING = {"name": "everything", "effect": "allow"}


def allowing(*verbs: str) -> dict[str, Any]:
    return {"name": "some", "effect": "allow", "operations": {"verbs": list(verbs)}}


@pytest.mark.parametrize(
    ("verbs", "outcome"),
    [
        (("select",), "deny"),
        (("delete",), "deny"),
        (("select", "delete"), "allow"),
        (("*",), "allow"),
    ],
)
def test_an_allow_names_all_that_is_done(verbs: tuple[str, ...], outcome: str) -> None:
    compiled = policy_of(CONNECT, allowing(*verbs))
    assert decide(compiled, SELECT_THAT_DELETES).outcome == outcome


@pytest.mark.parametrize("verb", ["select", "delete"])
def test_a_deny_matches_any_of_it(verb: str) -> None:
    deny = {"name": "no", "effect": "deny", "operations": {"verbs": [verb]}}
    assert decide(policy_of(EVERYTHING, deny), SELECT_THAT_DELETES).outcome == "deny"


@pytest.mark.parametrize("verb", ["select", "delete"])
def test_a_hold_matches_any_of_it(verb: str) -> None:
    hold = {
        "name": "wait",
        "effect": "hold",
        "operations": {"verbs": [verb]},
        "hold": {"approvers": ["dba"]},
    }
    assert decide(policy_of(EVERYTHING, hold), SELECT_THAT_DELETES).outcome == "hold"


def test_what_lifts_a_deny_names_all_of_it() -> None:
    def lifted_for(*verbs: str) -> str:
        unless = {"operations": {"verbs": list(verbs)}}
        deny = {"name": "no", "effect": "deny", "unless": unless}
        return decide(policy_of(EVERYTHING, deny), SELECT_THAT_DELETES).outcome

    assert lifted_for("select") == "deny"
    assert lifted_for("select", "delete") == "allow"


def test_what_an_allow_loses_is_lost_by_any_of_it() -> None:
    allow = {**EVERYTHING, "unless": {"operations": {"verbs": ["delete"]}}}
    assert decide(policy_of(allow), SELECT_THAT_DELETES).outcome == "deny"


def test_a_rule_that_keeps_fewer_rows_names_all_of_it() -> None:
    def kept(*verbs: str) -> str:
        record = {
            "name": "less",
            "effect": "record",
            "record": "statements",
            "operations": {"verbs": list(verbs)},
        }
        return decide(policy_of(EVERYTHING, record), SELECT_THAT_DELETES).obligations.record

    assert kept("select") == "full"
    assert kept("select", "delete") == "statements"


def test_a_condition_reads_all_verbs() -> None:
    deny = {"name": "no", "effect": "deny", "when": "'delete' in op.verbs"}
    compiled = policy_of(EVERYTHING, deny)
    assert decide(compiled, SELECT_THAT_DELETES).outcome == "deny"
    assert decide(compiled, operation("select", ORDERS)).outcome == "allow"
