"""Models of the policy part: matchers, rules, access rules. Strict: unknown keys are refused.

The list in a matcher is any-of, its keys are all-of. What is left out matches everything; an
empty list where that would be easy to mistake for "nobody" is refused instead of guessed.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from sallyport.config.types import Duration, Names, Size, sequence

RuleEffect = Literal["allow", "deny", "hold", "mask", "limit", "record"]
OperationEffect = Literal["read", "write", "admin", "unknown"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Transform = Literal["redact", "partial", "hash", "null", "generalise", "constant"]
Some = Annotated[Names, Field(min_length=1)]
RuleName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Count = Annotated[int, Field(ge=0)]


def _alone(value: object) -> object:
    return sequence(value) if isinstance(value, list | tuple) else (value,)


def _null_is_a_word(value: object) -> object:
    return "null" if value is None else value


def _decimal(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected a number")
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError("expected a number") from None


def _claim(value: object) -> object:
    if not isinstance(value, bool | int | str):
        raise ValueError("expected text, a whole number, true or false")
    return value


ClaimValue = Annotated[StrictBool | StrictInt | StrictStr, BeforeValidator(_claim)]


class Model(BaseModel):
    """What every part of the configuration shares: strict, closed, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Subjects(Model):
    """Who asks."""

    names: Some | None = Field(default=None, description="globs over the subject's name")
    groups: Some | None = Field(default=None, description="globs over the subject's groups")
    claims: (
        dict[str, Annotated[tuple[ClaimValue, ...], BeforeValidator(_alone), Field(min_length=1)]]
        | None
    ) = Field(
        default=None,
        description="claim to value or values: equal to it, a glob over it, or one of its list",
        min_length=1,
    )


class Targets(Model):
    """What is reached."""

    names: Some | None = Field(default=None, description="globs over the target's name")
    labels: dict[str, str] | None = Field(
        default=None, description="label to a glob over its value; all of them", min_length=1
    )


class Operations(Model):
    """What is done. `verbs` and `facts` select whole operations, the others single resources."""

    verbs: Some | None = Field(default=None, description="globs over the verb")
    effects: (
        Annotated[tuple[OperationEffect, ...], BeforeValidator(sequence), Field(min_length=1)]
        | None
    ) = Field(
        default=None,
        description="effects of a resource; absent: all, but never `unknown` for an allow",
    )
    facts: Names = Field(default=(), description="any of these facts")
    resources: dict[str, Some] | None = Field(
        default=None, description="resource kind to globs over the resolved name", min_length=1
    )


class Context(Model):
    """When, from where and with what."""

    hours: str | None = Field(default=None, description="`HH:MM-HH:MM`; may cross midnight")
    days: Annotated[tuple[Day, ...], BeforeValidator(sequence)] = Field(
        default=(), description="days of the week"
    )
    timezone: str = Field(
        default="UTC", description="IANA name of the zone that hours and days are in"
    )
    sources: Names = Field(default=(), description="networks (CIDR) of the client")
    countries: Names = Field(
        default=(),
        description="countries of the client (ISO 3166-1 alpha-2), as `origin.countries` tells "
        "them; `unknown`: it tells none",
    )
    applications: Names = Field(default=(), description="globs over the client's application name")


class Unless(Model):
    """An exception: the same matchers. Its resources are taken out of what the rule matches."""

    subjects: Subjects | None = None
    targets: Targets | None = None
    operations: Operations | None = None
    context: Context | None = None
    when: str | None = Field(default=None, description="CEL; a true result makes the exception")


class HoldSettings(Model):
    """Who must say yes, and how long to wait."""

    approvers: Some = Field(description="groups whose members may answer")
    people: int = Field(default=1, ge=1, le=20, description="how many distinct people")
    timeout: Duration | None = Field(default=None, description="absent: `approvals.timeout`")
    ticket: bool = Field(
        default=False, description="refuse at once with an id, pass once after the yes"
    )
    window: Duration | None = Field(default=None, description="absent: `approvals.ticket_window`")


class MaskSettings(Model):
    """What to hide, and how."""

    columns: Names = Field(default=(), description="globs over `schema.table.column`")
    tags: Names = Field(
        default=(), description="globs over tags (a target's `classify`, comments of columns)"
    )
    detectors: Names = Field(default=(), description="content detectors for all text that leaves")
    transform: Annotated[Transform, BeforeValidator(_null_is_a_word)] = Field(
        default="redact", description="how it is hidden"
    )
    unless_columns: Names = Field(default=(), description="columns that detectors leave alone")
    keep_start: int | None = Field(
        default=None, description="partial: characters kept at the start, up to 100"
    )
    keep_end: int | None = Field(
        default=None, description="partial: characters kept at the end, up to 100"
    )
    bucket: Annotated[Decimal, BeforeValidator(_decimal)] | None = Field(
        default=None, description="generalise: width of a number's bucket; absent: 10"
    )
    value: str | None = Field(
        default=None, max_length=1000, description="constant: the text of what is shown"
    )
    keys: Names = Field(
        default=(),
        description="paths (`a.b`) inside json: only these are hidden, all else is shown",
    )
    json_: Names = Field(
        default=(),
        alias="json",
        description="JSONPaths (`$..email`): values in JSON of HTTP responses",
    )
    headers: Names = Field(
        default=(), description="globs over names of HTTP response fields, for their values"
    )
    cookies: Names = Field(
        default=(), description="globs over names of cookies in Set-Cookie, for their values"
    )
    predicates: Literal["masked", "refuse"] = Field(
        default="masked",
        description="use of the columns in conditions, orders, functions: on masked values, or not",
    )


class LimitSettings(Model):
    """How much: of one result, of a subject over time, at once."""

    rows_per_result: Count | None = None
    bytes_per_result: Size | None = None
    rows_per_hour: Count | None = None
    bytes_per_hour: Size | None = None
    statements_per_minute: Count | None = None
    sessions: Count | None = None
    pending_holds: Count | None = None


class Rule(Model):
    """One rule. `effect` says what it does; the block of that name says how."""

    name: RuleName
    effect: RuleEffect
    mode: Literal["enforce", "observe"] = Field(
        default="enforce", description="observe: evaluated and recorded, and nothing else"
    )
    subjects: Subjects | None = Field(default=None, description="absent: everybody")
    targets: Targets | None = Field(default=None, description="absent: every target")
    operations: Operations | None = Field(default=None, description="absent: everything")
    context: Context | None = Field(default=None, description="absent: always, from anywhere")
    when: str | None = Field(default=None, description="CEL over subject, target, op and context")
    unless: Unless | None = Field(default=None, description="an exception")
    hold: HoldSettings | None = None
    mask: MaskSettings | None = None
    limit: LimitSettings | None = None
    record: Literal["full", "statements"] | None = None
    reason: str = Field(
        default="", max_length=500, description="told to whoever is refused or held"
    )
    hint: str = Field(default="", max_length=500, description="what to do instead, or how to ask")


class RequestSettings(Model):
    """Access that is not given but asked for: a person says yes, and it ends by itself."""

    approvers: Some = Field(description="groups whose members may answer")
    people: int = Field(default=1, ge=1, le=20, description="how many distinct people")
    longest: Duration = Field(default=28800.0, description="the longest that may be asked for")
    wait: Duration = Field(default=3600.0, description="how long a request waits for its answer")


class AccessRule(Model):
    """Who may reach which target with what login. Default deny."""

    name: RuleName
    subjects: Subjects
    targets: Targets | None = Field(default=None, description="absent: every target")
    logins: Some = Field(description="globs over the target's logins")
    databases: Names = Field(default=(), description="globs; absent: all that the target offers")
    sources: Names = Field(default=(), description="networks (CIDR); absent: anywhere")
    context: Context | None = Field(default=None, description="absent: always")
    max_session: Duration | None = Field(default=None, description="absent: `sessions.max_session`")
    request: RequestSettings | None = Field(
        default=None, description="access by request alone; absent: given at once"
    )


class Guardrails(Model):
    """The rules that ship with the gateway."""

    enabled: bool = True
    except_: Names = Field(
        default=(), alias="except", description="names of guardrails to leave out"
    )


class PolicySettings(Model):
    """All rules."""

    guardrails: Guardrails = Guardrails()
    rules: Annotated[tuple[Rule, ...], BeforeValidator(sequence)] = ()


class ApprovalSettings(Model):
    """Defaults of holds."""

    timeout: Duration = 300.0
    in_transaction: Duration = Field(
        default=30.0, description="a hold inside a transaction keeps locks"
    )
    ticket_window: Duration = Field(
        default=600.0, description="how long an approved ticket can be used"
    )
