"""Policy: one document, compiled. Immutable; a reload makes a new one.

Pure: no clock, no socket, no file. What depends on time takes `now`.
"""

from __future__ import annotations

from typing import Final

from sallyport.core.decision import Approval
from sallyport.core.grant import Target
from sallyport.core.operation import Operation, Tags
from sallyport.core.subject import Refused, Subject
from sallyport.policy import document as documents
from sallyport.policy.access import ACCESS_REFUSED, AccessMatcher
from sallyport.policy.cache import Bounded
from sallyport.policy.conditions import RuleError
from sallyport.policy.document import PolicyError, RequestTerms
from sallyport.policy.evaluate import evaluate
from sallyport.policy.rules import CompiledRule, Request, RuleTemplate
from sallyport.policy.verdict import AccessGiven, Context, Quota, Verdict

_SUBJECTS: Final = 4096
_SELECTIONS: Final = 512
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_QUOTAS: Final[tuple[tuple[str, float | None], ...]] = (
    ("statements_per_minute", _MINUTE),
    ("rows_per_hour", _HOUR),
    ("bytes_per_hour", _HOUR),
    ("sessions", None),
    ("pending_holds", None),
)


_Identities = tuple[int, int, int]
_Selection = tuple[tuple[str, ...], frozenset[str]]


class Candidates:
    """The rules that are for one subject and target, by verbs and facts."""

    __slots__ = ("_selected", "rules")

    def __init__(self, rules: tuple[CompiledRule, ...]) -> None:
        self.rules = rules
        self._selected: Bounded[_Selection, tuple[CompiledRule, ...]] = Bounded(_SELECTIONS)

    def select(self, verbs: tuple[str, ...], facts: frozenset[str]) -> tuple[CompiledRule, ...]:
        """Return those that operations with these verbs and facts can match."""
        key = (verbs, facts)
        known = self._selected.get(key)
        if known is None:
            known = tuple(
                rule for rule in self.rules if rule.decides and rule.selects(verbs, facts)
            )
            self._selected.put(key, known)
        return known


class Policy:
    """A compiled policy document."""

    def __init__(self, document: bytes) -> None:
        """Compile. Raises: PolicyError."""
        decoded = documents.decode(document)
        self.document = document
        self.revision = documents.revision_of(document)
        custom = documents.custom_detectors(decoded)
        self.templates = tuple(
            RuleTemplate(rule, decoded.classes, custom) for rule in decoded.rules
        )
        self.access_rules = tuple(AccessMatcher(rule) for rule in decoded.access)
        for names in ([r.name for r in decoded.rules], [r.name for r in decoded.access]):
            for name in names:
                if names.count(name) > 1:
                    raise PolicyError("expected a name of its own", name)
        self._known: Bounded[_Identities, tuple[Subject, Target, Tags, Candidates]] = Bounded(
            _SUBJECTS
        )
        self._shared: Bounded[tuple[int, ...], Candidates] = Bounded(_SUBJECTS)

    def candidates(self, subject: Subject, target: Target, tags: Tags = ()) -> Candidates:
        """Return the rules for this subject and target, whose columns have these tags.

        The entry holds on to all three, so that their identities are theirs alone while it lives.
        """
        key = (id(subject), id(target), id(tags))
        known = self._known.get(key)
        if known is None:
            picked = [template.pick(subject, target, tags) for template in self.templates]
            rules = tuple(rule for rule in picked if rule is not None)
            shape = tuple(map(id, rules))
            shared = self._shared.get(shape)
            if shared is None:
                shared = Candidates(rules)
                self._shared.put(shape, shared)
            known = (subject, target, tags, shared)
            self._known.put(key, known)
        return known[3]

    def evaluate(
        self,
        subject: Subject,
        target: Target,
        context: Context,
        operation: Operation,
        approval: Approval | None = None,
        tags: Tags = (),
    ) -> Verdict:
        """Decide one operation. `approval` answers the holds it names, for its digest alone.

        `tags`: what the target says of its columns, at the moment that the operation is of.
        """
        rules = self.candidates(subject, target, tags).select(operation.verbs, operation.facts)
        return evaluate(rules, Request(subject, target, context, operation), approval)

    def access(
        self,
        subject: Subject,
        target: Target,
        login: str,
        database: str,
        source: str,
        country: str,
        now: float,
        application: str,
        under: str = "",
    ) -> AccessGiven | Refused:
        """Whether this subject may reach `target` as `login`. The longest of its rights counts.

        `under` names the one rule with `request` that a grant was given under; without it, rules
        with `request` give nothing.
        """
        best: AccessMatcher | None = None
        for rule in self.access_rules:
            if (rule.name != under) if under else (rule.request is not None):
                continue
            try:
                why_not = rule.why_not(
                    subject, target, login, database, source, country, now, application
                )
            except RuleError:
                return Refused(ACCESS_REFUSED, rules=(rule.name,))
            if not why_not and (best is None or rule.rank > best.rank):
                best = rule
        if best is None:
            return Refused(ACCESS_REFUSED)
        write = self.may_write(subject, target, source, country, application)
        return AccessGiven(best.name, best.max_session, write)

    def requestable(
        self, subject: Subject, target: Target, login: str, database: str
    ) -> tuple[tuple[str, RequestTerms], ...]:
        """Return the rules under which this access can be asked for, with their terms."""
        found = []
        for rule in self.access_rules:
            if rule.request is None:
                continue
            try:
                if not rule.why_never(subject, target, login, database):
                    found.append((rule.name, rule.request))
            except RuleError:
                continue
        return tuple(found)

    def terms_of(self, rule: str) -> RequestTerms | None:
        """Return how access under a rule is asked for; None: it is not, or there is no rule."""
        return next((one.request for one in self.access_rules if one.name == rule), None)

    def may_write(
        self,
        subject: Subject,
        target: Target,
        source: str | None = None,
        country: str = "",
        application: str | None = None,
    ) -> bool:
        """Whether any allow rule could let this subject write there, whatever the time.

        A hold never grants, so that hold rules say nothing here; nor do guardrails, which allow
        what drivers need. What is allowed as `unknown` alone runs where the server refuses writes.
        """
        for rule in self.candidates(subject, target).rules:
            if not rule.gives_write:
                continue
            if rule.context is not None and source is not None:
                try:
                    if rule.context.why_not(source, country, application or ""):
                        continue
                except RuleError:
                    continue
            return True
        return False

    def quotas(self, subject: Subject, target: Target) -> tuple[Quota, ...]:
        """Return the strictest bound of each kind for this subject and target."""
        limits = [
            rule.rule
            for rule in self.candidates(subject, target).rules
            if rule.effect == "limit" and rule.enforced
        ]
        quotas: list[Quota] = []
        for name, window in _QUOTAS:
            amounts = [
                (amount, rule.name)
                for rule in limits
                if (amount := getattr(rule.limit, name)) is not None
            ]
            if amounts:
                amount, rule_name = min(amounts)
                quotas.append(Quota(name, rule_name, amount, window))
        return tuple(quotas)


def compile(document: bytes) -> Policy:  # noqa: A001
    """Compile a policy document. Raises: PolicyError."""
    return Policy(document)
