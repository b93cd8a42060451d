"""Checks of rules: what would never match, match by mistake, or not compile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sallyport.config.document import translate
from sallyport.config.models import TargetSettings
from sallyport.config.problems import Problem, meant, shown
from sallyport.config.rules import (
    AccessRule,
    ApprovalSettings,
    Context,
    MaskSettings,
    Operations,
    Rule,
    Subjects,
    Targets,
    Unless,
)
from sallyport.config.vocabulary import Vocabularies, Vocabulary
from sallyport.config.yaml import Key
from sallyport.core.globs import Globs
from sallyport.masking.documents.jsonpath import problem_of_path
from sallyport.masking.documents.names import MOST_NAMES, problem_of_cookie, problem_of_header
from sallyport.masking.settings import problem_of
from sallyport.policy import document
from sallyport.policy.conditions import FIELDS, Condition, unknown_field
from sallyport.policy.document import PolicyError
from sallyport.policy.matching import ContextMatcher, country, network
from sallyport.policy.overlap import ANY, expand
from sallyport.policy.rules import RuleTemplate

RESERVED: Final = frozenset(
    {"default-deny", "read-only-session", "control", "session", "recording"}
)
"""Names that the gateway itself gives as the rule of a refusal."""

_QUOTAS: Final = (
    "rows_per_hour", "bytes_per_hour", "statements_per_minute", "sessions", "pending_holds",
)  # fmt: skip


class RuleChecker:
    """Checks rules against the words and targets that there are."""

    def __init__(
        self,
        vocabularies: Vocabularies,
        targets: Iterable[TargetSettings],
        approvals: ApprovalSettings,
        detectors: frozenset[str] = frozenset(),
    ) -> None:
        self._words: Vocabulary = vocabularies.joined()
        self._detectors = vocabularies.detectors | detectors
        self._targets = tuple(targets)
        self._approvals = approvals

    def rule(self, path: Key, rule: Rule) -> Iterator[Problem]:
        """Yield what is wrong with a rule."""
        problems = list(self._parts(path, rule))
        yield from problems
        if problems:
            return
        try:
            RuleTemplate(translate(rule, self._approvals))
        except PolicyError as error:
            yield path, error.message

    def access(self, path: Key, rule: AccessRule) -> Iterator[Problem]:
        """Yield what is wrong with an access rule."""
        if rule.name in RESERVED:
            yield (*path, "name"), f"name `{rule.name}` is the gateway's own"
        yield from self._subjects((*path, "subjects"), rule.subjects)
        yield from self._reached((*path, "targets"), rule.targets)
        if rule.context is not None:
            yield from _context((*path, "context"), rule.context)
            if rule.sources and rule.context.sources:
                yield (*path, "sources"), "expected `sources` here or in `context`, not in both"
        yield from _networks((*path, "sources"), rule.sources)
        yield from _globs((*path, "databases"), rule.databases)
        wrong = list(_globs((*path, "logins"), rule.logins))
        yield from wrong
        for index, login in enumerate(() if wrong else rule.logins):
            if not any(Globs((login,)).matches(name) for t in self._targets for name in t.logins):
                yield (*path, "logins", index), f"no target has a login {shown(login)}"

    def _parts(self, path: Key, rule: Rule) -> Iterator[Problem]:
        if rule.name in RESERVED:
            yield (*path, "name"), f"name `{rule.name}` is the gateway's own"
        for key in ("reason", "hint"):
            if not str(getattr(rule, key)).isprintable():
                yield (*path, key), "expected one line of printable text"
        yield from self._blocks(path, rule)
        if rule.subjects is not None:
            yield from self._subjects((*path, "subjects"), rule.subjects)
        yield from self._reached((*path, "targets"), rule.targets)
        if rule.operations is not None:
            yield from self._operations((*path, "operations"), rule.operations)
        if rule.context is not None:
            yield from _context((*path, "context"), rule.context)
        if rule.when is not None:
            yield from _condition((*path, "when"), rule.when)
        if rule.unless is not None:
            yield from self._unless((*path, "unless"), rule.unless)

    def _blocks(self, path: Key, rule: Rule) -> Iterator[Problem]:
        for block in ("hold", "mask", "limit", "record"):
            given = getattr(rule, block) is not None
            if given and rule.effect != block:
                yield (*path, block), f"`{block}` belongs to rules with effect {block}"
            if not given and rule.effect == block:
                yield (*path, "effect"), f"`{block}` is missing: effect {block} needs it"
        if rule.mask is not None:
            yield from self._mask((*path, "mask"), rule)
        if rule.limit is not None:
            yield from _limit((*path, "limit"), rule)

    def _mask(self, path: Key, rule: Rule) -> Iterator[Problem]:
        mask = rule.mask
        if mask is None:
            return
        http = mask.json_ or mask.headers or mask.cookies
        if not mask.columns and not mask.detectors and not mask.tags and not http:
            yield path, "expected `columns`, `tags` or `detectors`, or `json`, `headers`, `cookies`"
        yield from _http(path, mask)
        yield from _globs((*path, "tags"), mask.tags)
        yield from _settings(path, mask)
        for key in ("columns", "unless_columns"):
            for index, glob in enumerate(getattr(mask, key)):
                yield from _dotted((*path, key, index), glob, 2, "schema.table.column")
        for index, name in enumerate(mask.detectors):
            if name not in self._detectors:
                known = ", ".join(sorted(self._detectors))
                yield (
                    (*path, "detectors", index),
                    _unknown("detector", name, self._detectors, f", known: {known}"),
                )

    def _subjects(self, path: Key, subjects: Subjects) -> Iterator[Problem]:
        if subjects.names is None and subjects.groups is None and subjects.claims is None:
            yield path, "expected `names`, `groups` or `claims`"
        yield from _globs((*path, "names"), subjects.names or ())
        yield from _globs((*path, "groups"), subjects.groups or ())
        for claim, values in (subjects.claims or {}).items():
            texts = [value for value in values if isinstance(value, str)]
            yield from _globs((*path, "claims", claim), texts)

    def _reached(self, path: Key, targets: Targets | None) -> Iterator[Problem]:
        if targets is None:
            return
        if targets.names is None and targets.labels is None:
            yield path, "expected `names` or `labels`"
        wrong = list(_globs((*path, "names"), targets.names or ()))
        yield from wrong
        for index, name in enumerate(() if wrong else targets.names or ()):
            if not any(Globs((name,)).matches(target.name) for target in self._targets):
                yield (*path, "names", index), f"no target is named {shown(name)}"
        for label, value in (targets.labels or {}).items():
            wrong = list(_globs((*path, "labels", label), (value,)))
            yield from wrong
            if not wrong and not any(
                label in target.labels and Globs((value,)).matches(target.labels[label])
                for target in self._targets
            ):
                yield (*path, "labels", label), f"no target has label `{label}` {shown(value)}"

    def _operations(self, path: Key, operations: Operations) -> Iterator[Problem]:
        words = self._words
        wrong = list(_globs((*path, "verbs"), operations.verbs or ()))
        yield from wrong
        for index, verb in enumerate(() if wrong else operations.verbs or ()):
            if not any(map(Globs((verb,)).matches, words.verbs)):
                yield (*path, "verbs", index), _unknown("verb", verb, words.verbs)
        for index, fact in enumerate(operations.facts):
            if fact not in words.facts:
                yield (*path, "facts", index), _unknown("fact", fact, words.facts)
        for kind, names in (operations.resources or {}).items():
            if kind not in words.kinds:
                known = f", of {', '.join(sorted(words.kinds))}"
                problem = _unknown("resource kind", kind, words.kinds, known)
                yield (*path, "resources", kind), problem
            for index, name in enumerate(names):
                dots = 1 if kind in words.qualified else 0
                yield from _dotted((*path, "resources", kind, index), name, dots, "schema.name")

    def _unless(self, path: Key, unless: Unless) -> Iterator[Problem]:
        if unless == Unless():
            yield path, "expected at least one matcher: this excepts everything"
        if unless.subjects is not None:
            yield from self._subjects((*path, "subjects"), unless.subjects)
        yield from self._reached((*path, "targets"), unless.targets)
        if unless.operations is not None:
            if unless.operations == Operations():
                yield (
                    (*path, "operations"),
                    "expected at least one matcher: this excepts everything",
                )
            yield from self._operations((*path, "operations"), unless.operations)
        if unless.context is not None:
            if unless.context == Context():
                yield (*path, "context"), "expected at least one matcher: this excepts everything"
            yield from _context((*path, "context"), unless.context)
        if unless.when is not None:
            yield from _condition((*path, "when"), unless.when)


def _settings(path: Key, mask: MaskSettings) -> Iterator[Problem]:
    problem = problem_of(
        mask.transform, mask.keep_start, mask.keep_end, mask.bucket, mask.value, mask.keys
    )
    if problem is not None:
        yield (*path, problem[0]), problem[1]
        return
    if not mask.columns and not mask.tags:
        beside = "is about columns: expected `columns` or `tags` beside it"
        if mask.predicates == "refuse":
            yield (*path, "predicates"), beside
        for name in ("keys", "unless_columns"):
            if not mask.detectors and getattr(mask, name):
                yield (*path, name), beside
    if not mask.detectors:
        return
    for name in ("keep_start", "keep_end", "bucket", "value", "keys"):
        if getattr(mask, name) not in (None, ()):
            yield (*path, name), f"`{name}` is about columns: expected no `detectors` beside it"
            return
    if mask.transform in ("generalise", "constant"):
        reason = f"{mask.transform} is about columns: expected no `detectors` beside it"
        yield (*path, "transform"), reason


def _http(path: Key, mask: MaskSettings) -> Iterator[Problem]:
    """Yield what is wrong with what a mask names in HTTP responses."""
    for key, names, check in (
        ("json", mask.json_, problem_of_path),
        ("headers", mask.headers, problem_of_header),
        ("cookies", mask.cookies, problem_of_cookie),
    ):
        if len(names) > MOST_NAMES:
            yield (*path, key), f"`{key}` are {MOST_NAMES} at most"
            continue
        wrong = () if key == "json" else tuple(_globs((*path, key), names))
        yield from wrong
        for index, name in enumerate(() if wrong else names):
            if (problem := check(name)) is not None:
                yield (*path, key, index), problem


def classes(path: Key, target: TargetSettings) -> Iterator[Problem]:
    """Yield what is wrong with how a target's columns are classified."""
    for tag, globs in target.classify.items():
        for index, glob in enumerate(globs):
            yield from _dotted((*path, tag, index), glob, 2, "schema.table.column")


def waivers(path: Key, target: TargetSettings) -> Iterator[Problem]:
    """Yield what is wrong with what a check of a target's masks may find."""
    yield from _globs(path, target.masks.waive)


def _limit(path: Key, rule: Rule) -> Iterator[Problem]:
    if rule.limit is None:
        return
    given = [name for name, value in rule.limit.model_dump().items() if value is not None]
    if not given:
        yield path, "expected at least one limit"
    unless = rule.unless
    narrowed = (
        rule.operations is not None
        or rule.context is not None
        or rule.when is not None
        or (
            unless is not None
            and not (unless.operations is None and unless.context is None and unless.when is None)
        )
    )
    for name in given:
        if narrowed and name in _QUOTAS:
            yield (
                (*path, name),
                f"`{name}` counts all that a subject does: expected no `operations`, `context`, "
                "`when` beside it",
            )


def _globs(path: Key, globs: Iterable[str]) -> Iterator[Problem]:
    for index, glob in enumerate(globs):
        yield from _dotted((*path, index), glob, 0, "")


def _dotted(path: Key, glob: str, dots: int, shape: str) -> Iterator[Problem]:
    """A glob without enough dots and without `*` never matches: a mask that hides nothing."""
    try:
        Globs((glob,))
        alternatives = expand(glob)
    except ValueError as error:
        yield path, str(error)
        return
    for tokens in alternatives:
        if ANY not in tokens and tokens.count(".") < dots:
            yield path, f"expected `{shape}`, not {shown(glob)}, which can match nothing"
            return


def _networks(path: Key, sources: Iterable[str]) -> Iterator[Problem]:
    for index, source in enumerate(sources):
        if source != "unix":
            try:
                network(source)
            except ValueError as error:
                yield (*path, index), str(error)


def _countries(path: Key, countries: Iterable[str]) -> Iterator[Problem]:
    for index, one in enumerate(countries):
        try:
            country(one)
        except ValueError as error:
            yield (*path, index), str(error)


def _context(path: Key, context: Context) -> Iterator[Problem]:
    yield from _networks((*path, "sources"), context.sources)
    yield from _countries((*path, "countries"), context.countries)
    yield from _globs((*path, "applications"), context.applications)
    for key, part in (
        ("hours", document.ContextMatch(hours=context.hours)),
        ("timezone", document.ContextMatch(timezone=context.timezone)),
    ):
        try:
            ContextMatcher(part)
        except ValueError as error:
            yield (*path, key), str(error)


def _condition(path: Key, source: str) -> Iterator[Problem]:
    try:
        Condition(source)
    except ValueError as error:
        yield path, f"not a condition: {error}"
        return
    if found := unknown_field(source):
        variable, field = found
        fields = FIELDS[variable]
        known = ", ".join(sorted(fields))
        name = shown(f"{variable}.{field}")
        yield path, f"unknown field {name}{meant(field, fields)}, expected one of {known}"


def _unknown(what: str, word: str, words: Iterable[str], known: str = "") -> str:
    return f"unknown {what} {shown(word)}{meant(word, words)}{known}"
