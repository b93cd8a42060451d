"""The gate's cache: what shares a decision, and what never does."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from sallyport.core.decision import Allow, Deny
from sallyport.core.event import OperationDecided
from sallyport.core.grant import Grant
from sallyport.core.operation import Effect, Operation, Resource
from sallyport.policy import Policy
from sallyport.protocols.base import OperationIssued
from sallyport.session.gate import PolicyGate
from tests.unit.session.conftest import Desk, NotingRecorder, make_grant, policy

ALL = {"name": "all", "effect": "allow", "operations": {"effects": ["read"]}}


def gate_of(rules: list[dict[str, Any]]) -> PolicyGate:
    gate = PolicyGate(
        link=Desk(),
        recorder=NotingRecorder(),
        stale=lambda *_: None,
        conceal=lambda text, parameters, masks: (text, parameters),
    )
    gate.load(policy(rules), strict=False, in_transaction=5.0)
    return gate


def operation(text: str, resources: tuple[Resource, ...], *facts: str) -> Operation:
    return Operation(
        id=1,
        protocol="line",
        target="store",
        verb="get",
        effect=Effect.READ,
        resources=resources,
        facts=frozenset(facts),
        text=text,
        parameters=(),
        fingerprint=b"",
        digest=text.encode(),
    )


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of operations that no cached verdict answered."""
    seen: list[str] = []
    real = Policy.evaluate

    def evaluate(self: Policy, *given: Any) -> Any:
        seen.append(given[3].text)
        return real(self, *given)

    monkeypatch.setattr(Policy, "evaluate", evaluate)
    return seen


def resources() -> tuple[Resource, ...]:
    return (Resource("key", "a", Effect.READ),)


async def test_texts_of_the_same_meaning_share_a_verdict_and_no_digest(
    evaluated: list[str],
) -> None:
    gate, grant, touched = gate_of([ALL]), make_grant(), resources()
    made = [
        gate.decide(grant, OperationIssued(operation(f"GET {n}", touched))) for n in ("1", "2", "3")
    ]
    assert evaluated == ["GET 1"]
    assert [one.digest for one in made if isinstance(one, Allow)] == [b"GET 1", b"GET 2", b"GET 3"]


async def test_what_the_target_says_of_its_columns_is_part_of_what_a_verdict_depends_on(
    evaluated: list[str],
) -> None:
    hide = {"name": "h", "effect": "mask", "mask": {"tags": ["pii"], "transform": "redact"}}
    gate, grant, touched = gate_of([ALL, hide]), make_grant(), resources()
    said = (("pii", ("public.t.c",)),)
    made = [
        gate.decide(grant, OperationIssued(operation(f"GET {n}", touched), tags=tags))
        for n, tags in enumerate(((), said, (), said, (("pii", ("public.t.d",)),)))
    ]
    assert evaluated == ["GET 0", "GET 1", "GET 4"]
    hidden = [one.obligations.masks for one in made if isinstance(one, Allow)]
    assert [[mask.columns for mask in masks] for masks in hidden] == [
        [], [("public.t.c",)], [], [("public.t.c",)], [("public.t.d",)],
    ]  # fmt: skip


async def test_equal_facts_of_another_statement_are_looked_at_again(evaluated: list[str]) -> None:
    gate, grant, touched = gate_of([ALL]), make_grant(), resources()
    gate.decide(grant, OperationIssued(operation("GET 1", touched)))
    gate.decide(grant, OperationIssued(operation("GET 2", touched, "other")))
    gate.decide(grant, OperationIssued(operation("GET 3", (Resource("key", "b", Effect.READ),))))
    inner = structs.replace(operation("GET 4", touched), inner=("set",))
    gate.decide(grant, OperationIssued(inner))
    assert evaluated == ["GET 1", "GET 2", "GET 3", "GET 4"]


@pytest.mark.parametrize(
    "condition", ['op.text.contains("2")', 'op["text"].contains("2")', "context.session == 'x'"]
)
async def test_a_rule_that_reads_the_text_is_asked_every_time(
    evaluated: list[str], condition: str
) -> None:
    rule = {**ALL, "name": "reads", "effect": "deny", "when": condition, "reason": "no"}
    gate, grant, touched = gate_of([ALL, rule]), make_grant(), resources()
    made = [
        gate.decide(grant, OperationIssued(operation(f"GET {n}", touched))) for n in ("1", "2", "3")
    ]
    assert evaluated == ["GET 1", "GET 2", "GET 3"]
    denied = [isinstance(one, Deny) for one in made]
    assert denied == [False, condition.startswith("op"), False]


def other(grant: Grant, **changed: Any) -> Grant:
    """A second session that differs in one thing."""
    second = make_grant()
    second.session = "ses-2"
    for name, value in changed.items():
        setattr(second, name, value)
    return second


async def test_sessions_share_verdicts_only_where_nothing_tells_them_apart(
    evaluated: list[str],
) -> None:
    gate, grant, touched = gate_of([ALL]), make_grant(), resources()
    subject, target = grant.subject, grant.target
    gate.decide(grant, OperationIssued(operation("same", touched)))
    gate.decide(other(grant), OperationIssued(operation("same", touched)))
    assert evaluated == ["same"]
    cases: tuple[dict[str, Any], ...] = (
        {"subject": structs.replace(subject, groups=("dba",))},
        {"subject": structs.replace(subject, claims={"team": "red"})},
        {"subject": structs.replace(subject, actors=("bot",))},
        {"target": structs.replace(target, labels={"env": "other"})},
        {"login": "else"},
        {"source": "10.1.2.3"},
        {"application": "else"},
        {"write": not grant.write},
    )
    for number, changed in enumerate(cases):
        second = other(grant, session=f"ses-{number + 3}", **changed)
        gate.decide(second, OperationIssued(operation(str(changed), touched)))
    assert len(evaluated) == 9


async def test_a_new_policy_and_an_ended_session_are_remembered_no_more(
    evaluated: list[str],
) -> None:
    gate, grant, touched = gate_of([ALL]), make_grant(), resources()
    gate.decide(grant, OperationIssued(operation("GET 1", touched)))
    gate.load(policy([]), strict=False, in_transaction=5.0)
    assert isinstance(gate.decide(grant, OperationIssued(operation("GET 2", touched))), Deny)
    grant.ended.fire("revoked")
    made = gate.decide(grant, OperationIssued(operation("GET 3", touched)))
    assert isinstance(made, Deny)
    assert "revoked" in made.reason
    assert evaluated == ["GET 1", "GET 2"]


async def test_facts_and_rules_stand_in_every_record() -> None:
    recorder = NotingRecorder()
    gate = PolicyGate(
        link=Desk(), recorder=recorder, stale=lambda *_: None,
        conceal=lambda text, parameters, masks: (text.replace("7", "*"), parameters),
    )  # fmt: skip
    mask = {
        "name": "hide",
        "effect": "mask",
        "mask": {"detectors": ["email"], "transform": "redact"},
    }
    gate.load(policy([ALL, mask]), strict=False, in_transaction=5.0)
    grant, touched = make_grant(), resources()
    for text in ("GET 7", "GET 8"):
        gate.decide(grant, OperationIssued(operation(text, touched, "b", "a")))
    seen = [event for event in recorder.pending if isinstance(event, OperationDecided)]
    assert [(one.text, one.facts, one.masks, one.rules) for one in seen] == [
        ("GET *", ("a", "b"), ("hide",), ("all",)),
        ("GET 8", ("a", "b"), ("hide",), ("all",)),
    ]
