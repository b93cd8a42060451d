"""Requests and policies from short words, for the tests of this folder."""

from __future__ import annotations

from typing import Any

import msgspec

from sallyport import policy
from sallyport.config.document import guardrail_rules, translate
from sallyport.config.rules import ApprovalSettings, Rule
from sallyport.core.decision import Approval
from sallyport.core.grant import Target, TargetAddress
from sallyport.core.operation import Effect, Operation, Parameter, Resource, digest_of, worst
from sallyport.core.subject import Subject
from sallyport.policy import document

TUESDAY_NOON = 1_700_568_000.0
"""2023-11-21 12:00 UTC."""

DATABASE = {"database shop": "read"}


def subject(name: str = "ada", groups: tuple[str, ...] = ("agents",), **claims: Any) -> Subject:
    return Subject(name, groups, "corp", "token-1", claims=claims)


def target(name: str = "shop", **labels: str) -> Target:
    address = TargetAddress("127.0.0.1", 5432, "disable")
    return Target(name, "postgres", address, "shop", labels or {"env": "demo"})


def context(**changes: Any) -> policy.Context:
    given: dict[str, Any] = {
        "source": "127.0.0.1",
        "application": "psql",
        "now": TUESDAY_NOON,
        "login": "app",
        "database": "shop",
        "write": True,
        "session": "s-1",
        **changes,
    }
    return policy.Context(**given)


def operation(
    verb: str = "select",
    resources: dict[str, Any] | None = None,
    facts: tuple[str, ...] = (),
    *,
    effect: str | None = None,
    text: str = "SELECT 1",
    parameters: tuple[Any, ...] = (),
) -> Operation:
    """`resources` maps `kind name` to an effect, or to a mapping with effect, columns, exposed."""
    things = tuple(
        _resource(named, given) for named, given in {**DATABASE, **(resources or {})}.items()
    )
    return Operation(
        id=1,
        protocol="postgres",
        target="shop",
        verb=verb,
        effect=Effect(effect) if effect else worst(thing.effect for thing in things),
        resources=things,
        facts=frozenset(facts),
        text=text,
        parameters=tuple(
            Parameter(f"${i}", "25", value if isinstance(value, bytes | None) else value.encode())
            for i, value in enumerate(parameters, 1)
        ),
        fingerprint=b"",
        digest=digest_of(text, *(str(value) for value in parameters)),
    )


def _resource(named: str, given: Any) -> Resource:
    kind, name = named.split(" ", 1)
    if isinstance(given, str):
        given = {"effect": given}
    return Resource(
        kind,
        name,
        Effect(given["effect"]),
        tuple(given.get("columns", ())),
        tuple(given.get("exposed", ())),
    )


def rules_of(*rules: dict[str, Any]) -> tuple[document.Rule, ...]:
    approvals = ApprovalSettings()
    return tuple(translate(Rule.model_validate(rule), approvals) for rule in rules)


CONNECT = {
    "name": "connect",
    "effect": "allow",
    "operations": {"effects": ["read"], "resources": {"database": ["*"]}},
}


def policy_of(
    *rules: dict[str, Any],
    access: tuple[document.AccessRule, ...] = (),
    guardrails: bool = False,
) -> policy.Policy:
    shipped = ()
    if guardrails:
        shipped = tuple(
            translate(rule, ApprovalSettings(), guardrail=True) for rule in guardrail_rules()
        )
    return policy.compile(
        document.encode(
            document.Document(document.VERSION, access=access, rules=(*shipped, *rules_of(*rules)))
        )
    )


def decide(
    compiled: policy.Policy,
    op: Operation,
    *,
    who: Subject | None = None,
    where: Target | None = None,
    approval: Approval | None = None,
    **circumstances: Any,
) -> policy.Verdict:
    return compiled.evaluate(
        who or subject(), where or target(), context(**circumstances), op, approval
    )


def access_rule(**given: Any) -> document.AccessRule:
    return msgspec.convert({"subjects": {}, "logins": ["*"], **given}, document.AccessRule)
