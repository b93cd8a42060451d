"""The policy document: what control hands to workers, as JSON, and its shape.

Everything is already checked by the configuration's loader, and checked again here: a worker
trusts no bytes. Unknown keys are refused (a newer control's rule must not be half understood).
"""

from __future__ import annotations

import hashlib
import sys
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sallyport.core.detector import CustomDetector, problem_of_all, problems_of

VERSION = 1
"""Version of the document's shape."""

RuleEffect = Literal["allow", "deny", "hold", "mask", "limit", "record"]
OperationEffect = Literal["read", "write", "admin", "unknown"]
ClaimValue = bool | int | str


class PolicyError(Exception):
    """A policy that cannot be used. `rule` is empty where it is not about one."""

    def __init__(self, message: str, rule: str = "", key: tuple[str, ...] = ()) -> None:
        super().__init__(f"rule `{rule}`: {message}" if rule else message)
        self.message = message
        self.rule = rule
        self.key = key


class Subjects(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who asks. None matches everybody; what is given must all match."""

    names: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    claims: dict[str, tuple[ClaimValue, ...]] | None = None


class Targets(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is reached."""

    names: tuple[str, ...] | None = None
    labels: dict[str, str] | None = None


class Operations(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is done: `verbs` and `facts` of the whole, `effects` and `resources` of each part."""

    verbs: tuple[str, ...] | None = None
    effects: tuple[OperationEffect, ...] | None = None
    facts: tuple[str, ...] = ()
    resources: dict[str, tuple[str, ...]] | None = None


class ContextMatch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When, from where, with what."""

    hours: str | None = None
    days: tuple[str, ...] = ()
    timezone: str = "UTC"
    sources: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()


class Unless(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An exception to a rule."""

    subjects: Subjects | None = None
    targets: Targets | None = None
    operations: Operations | None = None
    context: ContextMatch | None = None
    when: str | None = None


class HoldTerms(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who must answer, and how long to wait (seconds)."""

    approvers: tuple[str, ...]
    people: int = 1
    timeout: float = 300.0
    ticket: bool = False
    window: float = 600.0


class MaskTerms(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to hide, and how."""

    columns: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    transform: Literal["redact", "partial", "hash", "null", "generalise", "constant"] = "redact"
    unless_columns: tuple[str, ...] = ()
    keep_start: int | None = None
    keep_end: int | None = None
    bucket: Decimal | None = None
    value: str | None = None
    keys: tuple[str, ...] = ()
    predicates: Literal["masked", "refuse"] = "masked"
    json: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()


class LimitTerms(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much. None: no bound from this rule."""

    rows_per_result: int | None = None
    bytes_per_result: int | None = None
    rows_per_hour: int | None = None
    bytes_per_hour: int | None = None
    statements_per_minute: int | None = None
    sessions: int | None = None
    pending_holds: int | None = None


class Rule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule. `guardrail`: it came with the gateway."""

    name: str
    effect: RuleEffect
    mode: Literal["enforce", "observe"] = "enforce"
    subjects: Subjects | None = None
    targets: Targets | None = None
    operations: Operations | None = None
    context: ContextMatch | None = None
    when: str | None = None
    unless: Unless | None = None
    hold: HoldTerms | None = None
    mask: MaskTerms | None = None
    limit: LimitTerms | None = None
    record: Literal["full", "statements"] | None = None
    reason: str = ""
    hint: str = ""
    guardrail: bool = False


class RequestTerms(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How access is asked for: who answers, for how long it is given, how long it may wait.

    `longest` and `wait` in seconds.
    """

    approvers: tuple[str, ...]
    people: int = 1
    longest: float = 28800.0
    wait: float = 3600.0


class AccessRule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who may reach which target with what login. `max_session` in seconds, None: the product's.

    With `request` it gives nothing by itself: access under it is asked for, and given for a time.
    """

    name: str
    subjects: Subjects
    logins: tuple[str, ...]
    targets: Targets | None = None
    databases: tuple[str, ...] = ()
    context: ContextMatch | None = None
    max_session: float | None = None
    request: RequestTerms | None = None


class Document(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that is decided by. `classes`: by target and tag, globs over columns that have it.

    `detectors`: those that masks may name beside the gateway's own.
    """

    version: int
    access: tuple[AccessRule, ...] = ()
    rules: tuple[Rule, ...] = ()
    classes: dict[str, dict[str, tuple[str, ...]]] = {}
    detectors: tuple[CustomDetector, ...] = ()


def encode(document: Document) -> bytes:
    """Return the document's JSON: the same document always gives the same bytes."""
    return msgspec.json.encode(document, order="sorted")


def decode(document: bytes) -> Document:
    """Return the document. Raises: PolicyError for any other shape or version."""
    try:
        decoded = msgspec.json.decode(document, type=Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyError(f"not a policy document: {error}") from error
    if decoded.version != VERSION:
        raise PolicyError(f"expected policy version {VERSION}, not `{decoded.version}`")
    return decoded


def custom_detectors(document: Document) -> dict[str, CustomDetector]:
    """Return the document's own detectors by name. Raises: PolicyError for what is none."""
    found: dict[str, CustomDetector] = {}
    for detector in document.detectors:
        for key, _, why in problems_of(detector):
            raise PolicyError(f"detector `{detector.name}`: {why}", key=("detectors", key))
        if detector.name in found:
            raise PolicyError(f"detector `{detector.name}` is defined twice", key=("detectors",))
        # The same words are the same text after every reload, so that masks are quick to compare.
        found[detector.name] = replace(detector, words=sys.intern(detector.words))
    if (wrong := problem_of_all(document.detectors)) is not None:
        raise PolicyError(wrong, key=("detectors",))
    return found


def revision_of(document: bytes) -> str:
    """Return what identifies a policy: the hash of its document, 16 hex digits of it."""
    return hashlib.sha256(document).hexdigest()[:16]
