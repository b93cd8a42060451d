"""Evaluation: all rules that are for a subject and target, against one operation.

Deny wins over hold wins over allow; the default is deny. INVARIANT: the order of rules changes
nothing but the order in which they are named. See the design's "Fail closed".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sallyport.core.decision import Approval, Hold, Limit, Mask, Obligations
from sallyport.core.detector import CustomDetector
from sallyport.core.operation import Effect, Operation
from sallyport.core.visible import person
from sallyport.policy import document
from sallyport.policy.conditions import RuleError
from sallyport.policy.rules import CompiledRule, Request
from sallyport.policy.verdict import Verdict
from sallyport.policy.wording import masked_use, named, thing, uncovered

DEFAULT_DENY = "default-deny"
"""Named as the rule where nothing allows an operation."""

READ_ONLY_SESSION = "read-only-session"
"""Named as the rule where a session without write rights wants to write."""


@dataclasses.dataclass(slots=True)
class Findings:
    """What the rules made of one operation, before they are weighed against each other."""

    covered: int = 0
    listed: int = 0
    written: int = 0
    allows: list[CompiledRule] = dataclasses.field(default_factory=list)
    denies: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    holds: list[CompiledRule] = dataclasses.field(default_factory=list)
    approved: list[str] = dataclasses.field(default_factory=list)
    masks: list[Mask] = dataclasses.field(default_factory=list)
    exposures: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    """Masks of columns that can be followed only by masking them at the source."""
    limits: list[Limit] = dataclasses.field(default_factory=list)
    record: str = "full"
    observed: list[str] = dataclasses.field(default_factory=list)
    failed: bool = False


def evaluate(rules: Sequence[CompiledRule], request: Request, approval: Approval | None) -> Verdict:
    """Return the verdict of `rules`: those for this subject, target, verb and facts."""
    operation = request.operation
    if not operation.resources:
        return _denied(
            "it touches nothing that a rule could allow", "", (DEFAULT_DENY,), Obligations()
        )
    if approval is not None and approval.digest != operation.digest:
        approval = None
    found = Findings()
    for rule in rules:
        try:
            parts = rule.matches(request)
        except RuleError as error:
            _take_error(rule, error, found)
            continue
        if not parts:
            continue
        if not rule.enforced:
            found.observed.append(f"{rule.name}: {rule.effect}")
        else:
            _take(rule, parts, operation, approval, found)
    return _weigh(found, request)


def _take_error(rule: CompiledRule, error: RuleError, found: Findings) -> None:
    """FAILS CLOSED: a rule that cannot be evaluated denies, whatever it would have done."""
    if not rule.enforced:
        found.observed.append(f"{rule.name}: error")
    else:
        found.denies.append((rule.name, str(error), "tell the operator: the rule needs repair"))
    found.failed = True


def _take(
    rule: CompiledRule, parts: int, operation: Operation, approval: Approval | None, found: Findings
) -> None:
    """Note what one matching rule does."""
    source = rule.rule
    if rule.effect == "allow":
        found.covered |= parts
        if rule.selector.lists:
            found.listed |= parts
        if rule.gives_write:
            found.written |= parts
        found.allows.append(rule)
    elif rule.effect == "deny":
        found.denies.append((rule.name, source.reason or "a rule denies it", source.hint))
    elif rule.effect == "hold":
        if _answers(approval, rule):
            found.approved.append(rule.name)
        else:
            found.holds.append(rule)
    elif source.mask is not None:
        column = rule.masked_column(operation)
        if column:
            reason, hint = masked_use(operation, named(column))
            told = (rule.name, source.reason or reason, source.hint or hint)
            (found.exposures if operation.rewritable else found.denies).append(told)
        found.masks.append(mask_of(source.name, source.mask, rule.custom))
    elif source.limit is not None:
        terms = source.limit
        found.limits.append(Limit(rule.name, terms.rows_per_result, terms.bytes_per_result))
    elif source.record == "statements":
        found.record = "statements"


def _answers(approval: Approval | None, rule: CompiledRule) -> bool:
    """Whether the approval names the rule, and by as many people and whom the rule wants by now.

    FAILS CLOSED: groups that the rule does not name any more answer for nobody.
    """
    hold = rule.rule.hold
    if approval is None or rule.name not in approval.rules or hold is None:
        return False
    if not approval.approvers or not set(approval.approvers) <= set(hold.approvers):
        return False
    return len({person(name) for name in approval.by}) >= hold.people


def mask_of(name: str, terms: document.MaskTerms, custom: tuple[CustomDetector, ...] = ()) -> Mask:
    """Return a rule's mask as it is carried out. `custom`: the definitions that it uses."""
    return Mask(
        name, terms.transform, terms.columns, terms.detectors, terms.unless_columns,
        terms.keep_start, terms.keep_end, terms.bucket, terms.value, terms.keys, custom,
        terms.predicates, terms.json, terms.headers, terms.cookies,
    )  # fmt: skip


def _weigh(found: Findings, request: Request) -> Verdict:
    observed = tuple(found.observed)
    cacheable = not request.volatile and not found.failed
    obligations = Obligations(
        tuple(found.masks), tuple(found.limits), found.record, at_source=bool(found.exposures)
    )
    if found.denies:
        _, reason, hint = found.denies[0]
        names = tuple(name for name, _, _ in found.denies)
        return Verdict(
            "deny", names, reason, hint, obligations=obligations, observed=observed,
            cacheable=cacheable,
        )  # fmt: skip
    missing = request.all & ~found.covered
    if not missing and (hidden := next((mask for mask in found.masks if mask.columns), None)):
        unclear = _unknown(request) & ~found.listed
        if unclear:
            reason, hint = _unfollowed(unclear, request)
            return Verdict(
                "deny", (hidden.rule,), reason, hint, obligations=obligations, observed=observed,
                cacheable=cacheable,
            )  # fmt: skip
    if missing:
        reason, hint = _uncovered(missing, request)
        return Verdict(
            "deny", (DEFAULT_DENY,), reason, hint, obligations=obligations, observed=observed,
            cacheable=cacheable,
        )  # fmt: skip
    if not request.context.write and _writes(found.written, request):
        return Verdict(
            "deny", (READ_ONLY_SESSION,), "this session was opened without write rights",
            "connect again: the policy has changed since", obligations=obligations,
            observed=observed, cacheable=cacheable,
        )  # fmt: skip
    if found.holds:
        return _held(found.holds, obligations, observed)
    names = (*(rule.name for rule in found.allows), *found.approved)
    return Verdict(
        "allow", names, obligations=obligations, observed=observed,
        cacheable=cacheable and not found.approved,
    )  # fmt: skip


def _writes(parts: int, request: Request) -> bool:
    return any(
        parts >> index & 1 and effect in (Effect.WRITE, Effect.ADMIN)
        for index, effect in enumerate(request.effects)
    )


def _unknown(request: Request) -> int:
    return sum(
        1 << index for index, effect in enumerate(request.effects) if effect is Effect.UNKNOWN
    )


def _unfollowed(unclear: int, request: Request) -> tuple[str, str]:
    """Say what could show a masked column unseen. A sweeping allow is not meant for that."""
    for index, resource in enumerate(request.operation.resources):
        if unclear >> index & 1:
            return (
                f"columns are masked here, and what {thing(resource)} shows cannot be followed",
                "ask for a rule that allows it by name (`resources`), if it shows none of them",
            )
    return "", ""


def _uncovered(missing: int, request: Request) -> tuple[str, str]:
    """Say which resource no rule allows: the first unknown one, else the first."""
    operation = request.operation
    parts = [
        (resource, effect)
        for index, (resource, effect) in enumerate(
            zip(operation.resources, request.effects, strict=True)
        )
        if missing >> index & 1
    ]
    unknown = [part for part in parts if part[1] is Effect.UNKNOWN]
    return uncovered(operation, *(unknown or parts)[0])


def _held(
    rules: list[CompiledRule], obligations: Obligations, observed: tuple[str, ...]
) -> Verdict:
    """Join holds into one whose answer satisfies each: groups in common, most people, least time.

    FAILS CLOSED: without a group in common nobody could answer for all of them.
    """
    terms = [rule.rule.hold for rule in rules if rule.rule.hold is not None]
    names = tuple(rule.name for rule in rules)
    common = [group for group in terms[0].approvers if all(group in t.approvers for t in terms)]
    if not common:
        return _denied(
            f"held by {len(names)} rules that no one group may answer",
            "ask the operator: these rules need an approver group in common",
            names,
            obligations,
            observed,
        )
    reason = next((rule.rule.reason for rule in rules if rule.rule.reason), "a rule holds it")
    hold = Hold(
        rules=names,
        approvers=tuple(common),
        people=max(term.people for term in terms),
        timeout=min(term.timeout for term in terms),
        ticket=any(term.ticket for term in terms),
        reason=reason,
        window=min(term.window for term in terms),
    )
    return Verdict(
        "hold", names, reason, rules[0].rule.hint, hold=hold, obligations=obligations,
        observed=observed,
    )  # fmt: skip


def _denied(
    reason: str,
    hint: str,
    rules: tuple[str, ...],
    obligations: Obligations,
    observed: tuple[str, ...] = (),
) -> Verdict:
    return Verdict("deny", rules, reason, hint, obligations=obligations, observed=observed)
