"""From the configuration's models to the policy document that workers decide from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

import msgspec
from pydantic import TypeAdapter

from sallyport.config.rules import AccessRule, ApprovalSettings, Context, PolicySettings, Rule
from sallyport.config.yaml import read_yaml
from sallyport.core.detector import CustomDetector
from sallyport.policy import document


@cache
def guardrail_rules() -> tuple[Rule, ...]:
    """Return the rules that ship with the gateway, as its own file has them."""
    source = resources.files("sallyport.policy").joinpath("guardrails.yaml")
    tree = read_yaml(source.read_bytes(), "guardrails.yaml")
    return TypeAdapter(tuple[Rule, ...]).validate_python(tree.value)


def rules_in_force(policy: PolicySettings) -> tuple[tuple[Rule, bool], ...]:
    """Return every rule with whether it is a guardrail; those in `except` are left out."""
    guardrails = policy.guardrails
    shipped = guardrail_rules() if guardrails.enabled else ()
    return (
        *((rule, True) for rule in shipped if rule.name not in guardrails.except_),
        *((rule, False) for rule in policy.rules),
    )


def build_document(
    access: Sequence[AccessRule],
    policy: PolicySettings,
    approvals: ApprovalSettings,
    classes: Mapping[str, Mapping[str, tuple[str, ...]]],
    detectors: tuple[CustomDetector, ...] = (),
) -> bytes:
    """Return the document of a configuration: the same policy always gives the same bytes."""
    return document.encode(
        document.Document(
            version=document.VERSION,
            access=tuple(_access(rule) for rule in access),
            rules=tuple(
                translate(rule, approvals, guardrail=shipped)
                for rule, shipped in rules_in_force(policy)
            ),
            classes={target: dict(tags) for target, tags in classes.items()},
            detectors=detectors,
        )
    )


def translate(rule: Rule, approvals: ApprovalSettings, *, guardrail: bool = False) -> document.Rule:
    """Return one rule in the document's words, its defaults filled in."""
    plain = rule.model_dump(exclude_none=True, by_alias=True)
    if rule.hold is not None:
        hold = plain["hold"]
        hold.setdefault("timeout", approvals.timeout)
        hold.setdefault("window", approvals.ticket_window)
    return msgspec.convert({**plain, "guardrail": guardrail}, document.Rule)


def _access(rule: AccessRule) -> document.AccessRule:
    plain = rule.model_dump(exclude_none=True, exclude={"sources", "context"})
    context = rule.context
    if rule.sources:
        context = (context or Context()).model_copy(update={"sources": rule.sources})
    if context is not None:
        plain["context"] = context.model_dump(exclude_none=True)
    return msgspec.convert(plain, document.AccessRule)


def revision_of(text: bytes) -> str:
    """Return what identifies a policy document."""
    return document.revision_of(text)
