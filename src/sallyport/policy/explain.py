"""Explanation: the verdict, and of every rule whether it took part and why not.

It walks the rules step by step with the same matchers that evaluation uses, so that it can name the
first one that failed; a test holds the two against each other.
"""

from __future__ import annotations

import datetime
from typing import Final

import msgspec
from msgspec import Struct

from sallyport.core.decision import Approval, Deny
from sallyport.core.grant import Target
from sallyport.core.operation import Operation, Resource, Tags
from sallyport.core.subject import Subject
from sallyport.policy.conditions import RuleError
from sallyport.policy.policy import Policy
from sallyport.policy.rules import LOOSENING, CompiledRule, Request, RuleTemplate
from sallyport.policy.verdict import Context, Verdict
from sallyport.policy.wording import named

_CLOSED: Final = "none: no rule opens a session for it, from this machine at this hour"


class RuleAccount(Struct, frozen=True):
    """One rule's part. `resources` are those that it matched; `why` says why it took no part."""

    name: str
    effect: str
    mode: str
    guardrail: bool
    matched: bool
    resources: tuple[str, ...] = ()
    why: str = ""


class Coverage(Struct, frozen=True):
    """One resource of the operation, and the allow rules that cover it."""

    resource: str
    effect: str
    columns: tuple[str, ...]
    exposed: tuple[str, ...]
    allowed_by: tuple[str, ...]


class Explanation(Struct, frozen=True):
    """A verdict with all that led to it."""

    subject: str
    target: str
    verb: str
    effect: str
    facts: tuple[str, ...]
    verdict: Verdict
    coverage: tuple[Coverage, ...]
    rules: tuple[RuleAccount, ...]
    revision: str
    at: str
    inner: tuple[str, ...] = ()
    rewritten: str = ""
    """What the target would get in the operation's place."""
    refused: Deny | None = None
    """Why it would not be carried out, though policy lets it pass."""
    access: str | None = None
    """The access rule that lets the subject reach the target; empty: none does; None: not asked."""

    def as_json(self) -> bytes:
        """Return it for programs."""
        return msgspec.json.encode(self)

    def as_text(self, *, every: bool = False) -> str:
        """Return it for people; `every`: with the rules that took no part too."""
        lines = [
            f"subject   {self.subject}",
            f"target    {self.target}",
            *([] if self.access is None else [f"access    {self.access or _CLOSED}"]),
            f"verb      {' with '.join((self.verb, *self.inner))}",
            f"effect    {self.effect}",
            f"facts     {', '.join(self.facts) or 'none'}",
            "resources",
            *(_coverage_line(coverage) for coverage in self.coverage),
            "",
            f"decision  {self.verdict.outcome} by {', '.join(self.verdict.rules) or 'no rule'}",
        ]
        for name, text in (("reason", self.verdict.reason), ("hint", self.verdict.hint)):
            if text:
                lines.append(f"{name:<10}{text}")
        lines.extend(_obligation_lines(self.verdict))
        if self.rewritten:
            lines.append(f"rewrite   {self.rewritten}")
        if self.refused is not None:
            lines.append(f"refused   {self.refused.reason}")
            lines.append(f"hint      {self.refused.hint}")
        shown = [
            rule for rule in self.rules if every or rule.matched or rule.why.startswith("error")
        ]
        lines.extend(["", "rules", *(_rule_line(rule) for rule in shown)])
        hidden = len(self.rules) - len(shown)
        if hidden:
            lines.append(f"  {hidden} more took no part")
        return "\n".join(lines)


def explain(
    policy: Policy,
    subject: Subject,
    target: Target,
    context: Context,
    operation: Operation,
    approval: Approval | None = None,
    tags: Tags = (),
) -> Explanation:
    """Return the verdict on one operation and how it came about. `tags` as in `evaluate`."""
    request = Request(subject, target, context, operation)
    accounts = tuple(
        _account(template, subject, target, tags, request) for template in policy.templates
    )
    names = [_thing(resource) for resource in operation.resources]
    allows = [
        account
        for account in accounts
        if account.matched and account.effect == "allow" and account.mode == "enforce"
    ]
    coverage = tuple(
        Coverage(
            resource=name,
            effect=effect.value,
            columns=resource.columns,
            exposed=resource.exposed,
            allowed_by=tuple(account.name for account in allows if name in account.resources),
        )
        for name, resource, effect in zip(names, operation.resources, request.effects, strict=True)
    )
    return Explanation(
        subject=subject.name,
        target=target.name,
        verb=operation.verb,
        inner=operation.inner,
        effect=operation.effect.value,
        facts=tuple(sorted(operation.facts)),
        verdict=policy.evaluate(subject, target, context, operation, approval, tags),
        coverage=coverage,
        rules=accounts,
        revision=policy.revision,
        at=datetime.datetime.fromtimestamp(context.now, datetime.UTC).isoformat(),
    )


def _account(
    template: RuleTemplate, subject: Subject, target: Target, tags: Tags, request: Request
) -> RuleAccount:
    why = template.why_not(subject, target, tags)
    rule = template.pick(subject, target, tags)
    parts = 0
    if rule is not None:
        try:
            parts, why = _walk(rule, request)
        except RuleError as error:
            why = f"error: {error}"
    source = template.rule
    return RuleAccount(
        name=source.name,
        effect=source.effect,
        mode=source.mode,
        guardrail=source.guardrail,
        matched=parts != 0,
        resources=tuple(
            _thing(resource)
            for index, resource in enumerate(request.operation.resources)
            if parts >> index & 1
        ),
        why=why,
    )


def _walk(rule: CompiledRule, request: Request) -> tuple[int, str]:
    """Return what the rule matches, or nothing and the first matcher that failed."""
    operation, selector = request.operation, rule.selector
    if not selector.selects_verbs(operation.verbs, every=rule.effect in LOOSENING):
        verbs = "`, `".join(operation.verbs)
        return 0, f"`{verbs}` {'are not all' if operation.inner else 'is not'} among its verbs"
    if not selector.selects_facts(operation.facts):
        return 0, "the operation has none of its facts"
    parts = selector.parts(request)
    if not parts:
        return 0, "no resource matches in kind, name and effect"
    given = request.context
    if rule.context is not None:
        why = rule.context.why_not(given.source, given.country, given.application)
        why = why or rule.context.why_not_now(given.now)
        if why:
            return 0, why
    if rule.condition is not None and not request.holds(rule.condition):
        return 0, f"condition is false: {rule.condition.source}"
    left = rule.exempted(parts, request)
    return left, "" if left else "excepted by its `unless`"


def _thing(resource: Resource) -> str:
    return f"{resource.kind} {named(resource.name)}"


def _coverage_line(coverage: Coverage) -> str:
    columns = f" ({', '.join(map(named, coverage.columns))})" if coverage.columns else ""
    by = ", ".join(coverage.allowed_by) or "nothing"
    return f"  {coverage.effect:<8}{coverage.resource}{columns}: allowed by {by}"


def _obligation_lines(verdict: Verdict) -> list[str]:
    """Return what comes with a yes, and what was only observed. A denied one returns nothing."""
    observed = [f"observed  {name}" for name in verdict.observed]
    if verdict.outcome == "deny":
        return observed
    lines: list[str] = []
    if verdict.hold is not None:
        hold = verdict.hold
        form = "ticket" if hold.ticket else f"within {hold.timeout:g} s"
        lines.append(f"hold      {hold.people} of {', '.join(hold.approvers)}, {form}")
    for mask in verdict.obligations.masks:
        keys = (f"key {path} in {glob}" for glob in mask.columns for path in mask.keys)
        columns = keys if mask.keys else mask.columns
        found = ("all that detectors find" if d == "all" else f"any {d}" for d in mask.detectors)
        fields = (("json", mask.json), ("header", mask.headers), ("cookie", mask.cookies))
        parts = (f"{kind} {name}" for kind, names in fields for name in names)
        what = ", ".join((*columns, *found, *parts))
        lines.append(f"mask      {mask.transform} {what} ({mask.rule})")
    for limit in verdict.obligations.limits:
        bounds = [
            f"{amount} {unit}"
            for amount, unit in ((limit.rows, "rows"), (limit.bytes, "bytes"))
            if amount is not None
        ]
        lines.append(f"limit     {', '.join(bounds)} ({limit.rule})")
    if verdict.obligations.record != "full":
        lines.append(f"record    {verdict.obligations.record}")
    return [*lines, *observed]


def _rule_line(rule: RuleAccount) -> str:
    mode = " (observe)" if rule.mode == "observe" else ""
    origin = " [guardrail]" if rule.guardrail else ""
    detail = f": {rule.why}" if rule.why else f" on {', '.join(rule.resources)}"
    return f"  {rule.effect:<8}{rule.name}{mode}{origin}{detail}"
