"""The corpus of `cases.yaml`: every request against its policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sallyport import policy
from sallyport.config.yaml import read_yaml
from sallyport.core.decision import Obligations
from tests.unit.policy.requests import (
    CONNECT,
    TUESDAY_NOON,
    context,
    decide,
    operation,
    policy_of,
    subject,
    target,
)

CORPUS = Path(__file__).with_name("cases.yaml")


def cases() -> Iterator[Any]:
    groups: Any = read_yaml(CORPUS.read_bytes(), CORPUS.name).value
    for group in groups:
        for number, request in enumerate(group["requests"], 1):
            yield pytest.param(group["rules"], request, id=f"{group['policy']} {number}")


def asked(request: dict[str, Any]) -> dict[str, Any]:
    return {
        "op": operation(
            request.get("verb", "select"),
            request.get("resources"),
            tuple(request.get("facts", ())),
            effect=request.get("effect"),
            parameters=tuple(request.get("parameters", ())),
        ),
        "who": subject(
            request.get("subject", "ada"),
            tuple(request.get("groups", ("agents",))),
            **request.get("claims", {}),
        ),
        "where": target("shop", **request.get("labels", {})),
        "now": TUESDAY_NOON + request.get("hours-later", 0) * 3600,
        "source": request.get("source", "127.0.0.1"),
        "application": request.get("application", "psql"),
    }


@pytest.mark.parametrize(("rules", "request_"), list(cases()))
def test_case(rules: list[dict[str, Any]], request_: dict[str, Any]) -> None:
    verdict = decide(policy_of(CONNECT, *rules), **asked(request_))
    assert verdict.outcome == request_["expect"], verdict
    assert sorted(verdict.rules) == sorted(request_["by"]), verdict
    if verdict.outcome != "allow":
        assert verdict.reason
    assert (verdict.hold is not None) == (verdict.outcome == "hold")
    assert sorted(verdict.observed) == sorted(request_.get("observed", ()))
    if "masks" in request_:
        assert [mask.rule for mask in verdict.obligations.masks] == request_["masks"]
    for name in ("approvers", "people", "timeout"):
        if name in request_:
            expected = request_[name]
            given = getattr(verdict.hold, name)
            assert given == (tuple(expected) if isinstance(expected, list) else expected)


@pytest.mark.parametrize(("rules", "request_"), list(cases()))
def test_explanation_agrees_with_evaluation(
    rules: list[dict[str, Any]], request_: dict[str, Any]
) -> None:
    compiled = policy_of(CONNECT, *rules)
    given = asked(request_)
    op, who, where = given.pop("op"), given.pop("who"), given.pop("where")
    told = policy.explain(compiled, who, where, context(**given), op)
    assert told.verdict == compiled.evaluate(who, where, context(**given), op)
    took_part = {account.name for account in told.rules if account.matched}
    failed = {account.name for account in told.rules if account.why.startswith("error")}
    named = set(told.verdict.rules) - {"default-deny", "read-only-session"}
    assert named <= took_part | failed
    assert {name.split(":")[0] for name in told.verdict.observed} <= took_part | failed
    covered = all(coverage.allowed_by for coverage in told.coverage)
    assert covered or told.verdict.outcome == "deny"
    assert told.verdict.outcome in told.as_text(every=True)
    assert all(account.name in told.as_text(every=True) for account in told.rules)
    assert told.as_json().startswith(b"{")
    promised = re.search(
        r"^(mask|limit|record|hold) +\S", told.as_text().split("\nrules\n")[0], re.M
    )
    carries = told.verdict.hold is not None or told.verdict.obligations != Obligations()
    assert bool(promised) is (carries and told.verdict.outcome != "deny")
