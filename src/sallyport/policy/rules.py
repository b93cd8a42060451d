"""Rules, compiled: which parts of an operation does a rule match?

The answer is a set of the operation's resources, as bits. An allow covers exactly those; every
other effect strikes when there is at least one. `unless` takes resources out of the set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from sallyport.core.detector import CustomDetector, used_by
from sallyport.core.globs import Globs
from sallyport.core.grant import Target
from sallyport.core.operation import ANY_TAG, Effect, Operation, Tags, worst
from sallyport.core.subject import Subject
from sallyport.policy import document
from sallyport.policy.cache import Bounded
from sallyport.policy.conditions import Condition, add_volatile, variables_of
from sallyport.policy.document import PolicyError
from sallyport.policy.matching import ContextMatcher, SubjectMatcher, TargetMatcher
from sallyport.policy.overlap import Below
from sallyport.policy.verdict import Context

CONTAINERS: Final = frozenset({"database", "host", "api", "cluster"})
"""Kinds that stand for the target itself: each operation touches one, whatever else it does."""

_PART: Final = re.compile(r"(?<!\\)\{([A-Za-z0-9_.-]+)\}", re.ASCII)
_WHOLE: Final = re.compile(r"/\*(?=[/,}]|$)")
_TAGGED: Final = 64
"""Targets and their tags for which one rule is kept, compiled."""

_KNOWN: Final = frozenset({Effect.READ, Effect.WRITE, Effect.ADMIN})


Classes = Mapping[str, Mapping[str, tuple[str, ...]]]
"""By target and tag, globs over the columns that have it."""


class Request:
    """One operation in its circumstances, while rules are matched against it.

    `effects` are those of its resources, raised to the operation's own where that is worse than
    any of them. `volatile` becomes true when a rule read time or literals.
    """

    __slots__ = (
        "_subject", "_target", "_variables", "_whole", "all", "containers", "context", "effects",
        "operation", "volatile",
    )  # fmt: skip

    def __init__(
        self, subject: Subject, target: Target, context: Context, operation: Operation
    ) -> None:
        self._subject = subject
        self._target = target
        self._variables: dict[str, Any] | None = None
        self._whole = False
        self.context = context
        self.operation = operation
        self.volatile = False
        resources = operation.resources
        effects = [resource.effect for resource in resources]
        least = operation.effect
        if least.rank > worst(effects).rank:
            effects = [least] * len(effects)
        self.effects = effects
        self.all = (1 << len(resources)) - 1
        self.containers = 0
        for index, resource in enumerate(resources):
            if resource.kind in CONTAINERS and effects[index] is Effect.READ:
                self.containers |= 1 << index

    def holds(self, condition: Condition) -> bool:
        """Whether a CEL condition is true. Raises: RuleError."""
        if self._variables is None:
            self._variables = variables_of(
                self._subject, self._target, self.context, self.operation
            )
        if condition.volatile and not self._whole:
            self.volatile = True
            add_volatile(self._variables, self.context, self.operation)
            self._whole = True
        return condition.holds(self._variables)


LOOSENING: Final = frozenset({"allow", "record"})
"""Effects of rules that take a check or a trace away, so that they must match all of it."""


def _templated(glob: str) -> str:
    """Return a path's glob in which `{id}` stands for itself: the name of a template's part."""
    return _PART.sub(r"\\{\1\\}", glob)


class _AnyCase:
    """Globs that strike whatever the case: some servers do not tell `/Admin` from `/admin`."""

    __slots__ = ("_globs",)

    def __init__(self, globs: Iterable[str]) -> None:
        self._globs = Globs((glob.lower() for glob in globs), "/")

    def matches(self, text: str) -> bool:
        """Whether any of the globs matches all of `text`, in any case."""
        return self._globs.matches(text.lower())


def _path_globs(names: tuple[str, ...], loosens: bool) -> Globs | _AnyCase:
    if loosens:
        return Globs((_templated(_filled(name)) for name in names), "/")
    return _AnyCase(map(_templated, names))


def _filled(glob: str) -> str:
    """Return a path's glob in which `*` as a whole segment is no empty one: what `/users/*` lets
    through is a user, not `/users/`, which servers take for all of them."""
    return _WHOLE.sub("/?*", glob)


class Selector:
    """A rule's `operations`: verbs and facts of the whole, effects and resources of its parts."""

    __slots__ = ("_effects", "_facts", "_resources", "_verbs", "everything")

    def __init__(
        self,
        operations: document.Operations | None,
        default: frozenset[Effect] | None,
        *,
        loosens: bool,
    ) -> None:
        given = operations or document.Operations()
        self._verbs = Globs(given.verbs) if given.verbs is not None else None
        self._facts = frozenset(given.facts)
        self._effects = default
        if given.effects is not None:
            self._effects = frozenset(map(Effect, given.effects))
        self._resources: dict[str, Globs | _AnyCase] | None = None
        if given.resources is not None:
            self._resources = {
                kind: _path_globs(names, loosens) if kind == "path" else Globs(names)
                for kind, names in given.resources.items()
            }
        self.everything = self._effects is None and self._resources is None

    @property
    def lists(self) -> bool:
        """Whether it names the resources that it selects."""
        return self._resources is not None

    @property
    def effects(self) -> frozenset[Effect]:
        """The effects of resources that this selects."""
        return self._effects if self._effects is not None else frozenset(Effect)

    def selects_verbs(self, verbs: tuple[str, ...], *, every: bool) -> bool:
        """Whether operations that do all this can match: by `every` verb of theirs, or by any."""
        if self._verbs is None:
            return True
        matched = map(self._verbs.matches, verbs)
        return all(matched) if every else any(matched)

    def selects_facts(self, facts: frozenset[str]) -> bool:
        """Whether operations with these facts can match: any of the selector's."""
        return not self._facts or not self._facts.isdisjoint(facts)

    def selects(self, verbs: tuple[str, ...], facts: frozenset[str], *, every: bool) -> bool:
        """Whether an operation with these verbs and facts can match."""
        return self.selects_verbs(verbs, every=every) and self.selects_facts(facts)

    def parts(self, request: Request) -> int:
        """Return the resources whose effect and name match."""
        if self.everything:
            return request.all
        parts = 0
        bit = 1
        effects, resources = self._effects, self._resources
        for resource, effect in zip(request.operation.resources, request.effects, strict=True):
            if effects is None or effect in effects:
                if resources is None:
                    parts |= bit
                else:
                    names = resources.get(resource.kind)
                    if names is not None and (
                        names.matches(resource.name)
                        or (resource.template and names.matches(resource.template))
                    ):
                        parts |= bit
            bit <<= 1
        return parts


class Exemption:
    """An `unless`, without its subjects and targets: those were told when it was picked.

    FAILS CLOSED: what an allow loses any verb takes; to lift another rule takes all of them.
    """

    __slots__ = ("_condition", "_context", "_every", "_selector")

    def __init__(self, unless: document.Unless, *, every: bool) -> None:
        self._every = every
        self._selector = Selector(unless.operations, None, loosens=every)
        self._context = ContextMatcher(unless.context) if unless.context is not None else None
        self._condition = Condition(unless.when) if unless.when is not None else None

    def takes(self, request: Request) -> int:
        """Return the resources that it takes out. Raises: RuleError."""
        selector, operation = self._selector, request.operation
        if not selector.selects(operation.verbs, operation.facts, every=self._every):
            return 0
        parts = selector.parts(request)
        if not parts or (self._context is not None and _why_not(self._context, request)):
            return 0
        if self._condition is not None and not request.holds(self._condition):
            return 0
        return parts


class CompiledRule:
    """A rule for one subject and target: those already match, what is left is the operation."""

    __slots__ = (
        "_below", "_columns", "condition", "context", "custom", "effect", "enforced",
        "exemption", "name", "rule", "selector",
    )  # fmt: skip

    def __init__(self, rule: document.Rule, parts: _Parts, exemption: Exemption | None) -> None:
        self.name = rule.name
        self.effect = rule.effect
        self.enforced = rule.mode == "enforce"
        self.rule = rule
        self.selector = parts.selector
        self.context = parts.context
        self.condition = parts.condition
        self.exemption = exemption
        self.custom = parts.custom
        self._columns = parts.columns
        self._below = parts.below

    @property
    def gives_write(self) -> bool:
        """Whether it lets a session write: an allow of the operator's own, never a guardrail."""
        if self.effect != "allow" or not self.enforced or self.rule.guardrail:
            return False
        return bool(self.selector.effects & {Effect.WRITE, Effect.ADMIN})

    @property
    def decides(self) -> bool:
        """Whether a match changes anything about one operation (quotas are counted elsewhere)."""
        limit = self.rule.limit
        if not self.enforced or limit is None:
            return True
        return limit.rows_per_result is not None or limit.bytes_per_result is not None

    def selects(self, verbs: tuple[str, ...], facts: frozenset[str]) -> bool:
        """Whether an operation with these verbs and facts can match.

        What loosens has to name all that an operation does (`WITH ... DELETE`, EXPLAIN ANALYZE);
        for every other rule one of its verbs is enough.
        """
        return self.selector.selects(verbs, facts, every=self.effect in LOOSENING)

    def matches(self, request: Request) -> int:
        """Return the resources that it matches; verbs and facts do. Raises: RuleError."""
        parts = self.selector.parts(request)
        if not parts:
            return 0
        if self.context is not None and _why_not(self.context, request):
            return 0
        if self.condition is not None and not request.holds(self.condition):
            return 0
        if self.exemption is not None:
            return self.exempted(parts, request)
        return parts

    def exempted(self, parts: int, request: Request) -> int:
        """Return what the exception leaves of `parts`. Raises: RuleError.

        An allow loses exactly what is taken. Of the others nothing is left once only the target
        itself (its database, only read) remains beside what was taken.
        """
        if self.exemption is None:
            return parts
        taken = self.exemption.takes(request) & parts
        left = parts & ~taken
        if self.effect == "allow" or not taken & ~request.containers:
            return left
        return left if left & ~request.containers else 0

    def masked_column(self, operation: Operation) -> str:
        """Return an exposed column that this mask hides, or nothing."""
        if self._columns is None or self._below is None:
            return ""
        for resource in operation.resources:
            for column in resource.exposed:
                if column == "*":
                    if self._below.may_match(f"{resource.name}."):
                        return f"{resource.name}.*"
                elif self._columns.matches(f"{resource.name}.{column}"):
                    return f"{resource.name}.{column}"
        return ""


def _why_not(context: ContextMatcher, request: Request) -> str:
    given = request.context
    why_not = context.why_not(given.source, given.country, given.application)
    if not why_not and context.timed:
        request.volatile = True
        why_not = context.why_not_now(given.now)
    return why_not


class _Parts:
    """What a rule compiles to, whoever it is asked for."""

    __slots__ = ("below", "columns", "condition", "context", "custom", "selector")

    def __init__(self, rule: document.Rule, custom: tuple[CustomDetector, ...]) -> None:
        self.custom = custom
        default = _KNOWN if rule.effect == "allow" else None
        self.selector = Selector(rule.operations, default, loosens=rule.effect in LOOSENING)
        self.context = ContextMatcher(rule.context) if rule.context is not None else None
        self.condition = Condition(rule.when) if rule.when is not None else None
        self.columns = Globs(rule.mask.columns) if rule.mask is not None else None
        self.below = Below(rule.mask.columns) if rule.mask is not None else None


class RuleTemplate:
    """One rule of the document: gives a `CompiledRule` to those that it is for.

    `tags` are what a target itself says of its columns; `classes` what the document says, and
    `detectors` those that it defines.
    """

    __slots__ = (
        "_classes",
        "_compiled",
        "_custom",
        "_excepted",
        "_subjects",
        "_tagged",
        "_targets",
        "rule",
    )

    def __init__(
        self,
        rule: document.Rule,
        classes: Classes | None = None,
        detectors: Mapping[str, CustomDetector] | None = None,
    ) -> None:
        """Compile. Raises: PolicyError naming the rule."""
        self.rule = rule
        try:
            self._check()
            self._subjects = SubjectMatcher(rule.subjects) if rule.subjects is not None else None
            self._targets = TargetMatcher(rule.targets) if rule.targets is not None else None
            self._excepted = _Excepted(rule.unless) if rule.unless is not None else None
            named = rule.mask.detectors if rule.mask is not None else ()
            self._custom = used_by(named, detectors or {})
            self._compiled = _compiled(rule, self._custom)
            self._classes = classes or {}
            self._tagged: Bounded[tuple[str, Tags], _Compiled] = Bounded(_TAGGED)
            for target in self._classes:
                self._pair(target, ())
        except ValueError as error:
            raise PolicyError(str(error), rule.name) from error

    def _check(self) -> None:
        rule = self.rule
        for effect in ("hold", "mask", "limit", "record"):
            if (getattr(rule, effect) is not None) != (rule.effect == effect):
                raise ValueError(
                    f"`{effect}` belongs to rules with effect {effect}, and only there"
                )
        if rule.unless is not None and rule.unless == document.Unless():
            raise ValueError("`unless` excepts everything")

    def why_not(self, subject: Subject, target: Target, tags: Tags = ()) -> str:
        """Return why the rule is not for this subject and target, or nothing."""
        if self._subjects is not None and (why := self._subjects.why_not(subject)):
            return why
        if self._targets is not None and (why := self._targets.why_not(target)):
            return why
        if self._excepted is not None and self._excepted.wholly(subject, target):
            return "subject or target is excepted"
        if self._only_tags and self._pair(target.name, tags) is self._compiled:
            return f"target `{target.name}` has no column with its tags"
        return ""

    @property
    def _only_tags(self) -> bool:
        mask = self.rule.mask
        if mask is None or not mask.tags:
            return False
        return not (mask.columns or mask.detectors or mask.json or mask.headers or mask.cookies)

    def _pair(self, target: str, tags: Tags) -> _Compiled:
        """Return the rule with the columns that have its tags there. Raises: ValueError."""
        if self.rule.mask is None or not self.rule.mask.tags:
            return self._compiled
        key = (target, tags)
        known = self._tagged.get(key)
        if known is None:
            tagged = with_tags(self.rule, self._classes.get(target, {}), tags)
            known = self._compiled if tagged is None else _compiled(tagged, self._custom)
            self._tagged.put(key, known)
        return known

    def pick(self, subject: Subject, target: Target, tags: Tags = ()) -> CompiledRule | None:
        """Return the rule as it is for this subject and target, or None when it is not."""
        if self.why_not(subject, target, tags):
            return None
        bare, exempted = self._pair(target.name, tags)
        if self._excepted is not None and self._excepted.applies(subject, target):
            return exempted
        return bare


_Compiled = tuple[CompiledRule, CompiledRule]


def _compiled(rule: document.Rule, custom: tuple[CustomDetector, ...]) -> _Compiled:
    """Return a rule for those whom no exception is about, and for the others."""
    parts = _Parts(rule, custom)
    exemption = None
    if rule.unless is not None:
        exemption = Exemption(rule.unless, every=rule.effect not in LOOSENING)
    return CompiledRule(rule, parts, None), CompiledRule(rule, parts, exemption)


def with_tags(
    rule: document.Rule, classes: Mapping[str, tuple[str, ...]], tags: Tags
) -> document.Rule | None:
    """Return a mask with the columns that have its tags on one target; None: there are none.

    `classes` are what the document says of them, `tags` what the target does. A tag can only add
    columns to a mask.
    """
    if rule.mask is None or not rule.mask.tags:
        return None
    wanted = Globs(rule.mask.tags)
    every = (*classes.items(), *tags)
    found = tuple(
        glob for tag, globs in every if tag == ANY_TAG or wanted.matches(tag) for glob in globs
    )
    if not found:
        return None
    columns = tuple(dict.fromkeys((*rule.mask.columns, *found)))
    return replace(rule, mask=replace(rule.mask, columns=columns))


class _Excepted:
    """Who and what an `unless` is about."""

    __slots__ = ("_alone", "_subjects", "_targets")

    def __init__(self, unless: document.Unless) -> None:
        self._subjects = SubjectMatcher(unless.subjects) if unless.subjects is not None else None
        self._targets = TargetMatcher(unless.targets) if unless.targets is not None else None
        self._alone = unless.operations is None and unless.context is None and unless.when is None

    def applies(self, subject: Subject, target: Target) -> bool:
        """Whether the exception is for this subject and target."""
        return not (
            (self._subjects is not None and self._subjects.why_not(subject))
            or (self._targets is not None and self._targets.why_not(target))
        )

    def wholly(self, subject: Subject, target: Target) -> bool:
        """Whether it says nothing further, so that the rule is not for them at all."""
        return self._alone and self.applies(subject, target)
