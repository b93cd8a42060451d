"""Masked columns and what cannot be followed: a sweeping allow of `unknown` is not enough."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.policy.requests import decide, operation, policy_of

SWEEPING = {
    "name": "sweeping",
    "effect": "allow",
    "operations": {"effects": ["read", "write", "admin", "unknown"]},
}
MASK = {"name": "hide", "effect": "mask", "mask": {"columns": ["*.*.ssn"]}}
DETECT = {"name": "find", "effect": "mask", "mask": {"detectors": ["email"]}}
CALL = operation("select", {"function public.report": "unknown", "table public.orders": "read"})


def listing(*names: str) -> dict[str, Any]:
    resources = {"function": list(names)}
    return {
        "name": "listed",
        "effect": "allow",
        "operations": {"effects": ["unknown"], "resources": resources},
    }


def test_without_masks_a_sweeping_allow_is_enough() -> None:
    assert decide(policy_of(SWEEPING), CALL).outcome == "allow"
    assert decide(policy_of(SWEEPING, DETECT), CALL).outcome == "allow"


def test_with_masked_columns_it_is_not() -> None:
    verdict = decide(policy_of(SWEEPING, MASK), CALL)
    assert (verdict.outcome, verdict.rules) == ("deny", ("hide",))
    assert "`public.report`" in verdict.reason


@pytest.mark.parametrize(
    ("names", "outcome"),
    [(("public.report",), "allow"), (("public.*",), "allow"), (("public.other",), "deny")],
)
def test_what_is_listed_is_allowed(names: tuple[str, ...], outcome: str) -> None:
    assert decide(policy_of(SWEEPING, MASK, listing(*names)), CALL).outcome == outcome


def test_what_is_listed_covers_nothing_else() -> None:
    unresolved = operation("select", {"function public.report": "unknown", "table lost": "unknown"})
    compiled = policy_of(SWEEPING, MASK, listing("public.report"))
    assert decide(compiled, unresolved).outcome == "deny"
