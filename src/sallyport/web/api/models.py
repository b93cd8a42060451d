"""What goes in and out of the API: strict models, whose fields are the API's own promise."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

Text = Annotated[str, StringConstraints(max_length=2000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Names = Annotated[list[Name], Field(max_length=64)]


class Model(BaseModel):
    """Strict both ways: an unknown field is an error, and `"1"` is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


# ------------------------------------------------------------------ asked


class TokenRequest(Model):
    """A token to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "nightly report",
                    "subject": "agent-report",
                    "groups": ["agents"],
                    "lifetime": 28800,
                }
            ]
        }
    )

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    subject: Name
    groups: Names = []
    roles: Names = []
    lifetime: Annotated[int, Field(gt=0, le=316_224_000, description="seconds")] = 86_400
    targets: Names | None = None
    sources: Names | None = None
    break_glass: Annotated[bool, Field(description="for emergencies: each use is an alarm")] = False


class RotateRequest(Model):
    """Which token to have anew."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "01h2x3y4", "grace": 600}]})

    id: Name
    lifetime: Annotated[
        int | None, Field(gt=0, le=316_224_000, description="seconds; absent: as the old one had")
    ] = None
    grace: Annotated[
        int, Field(ge=0, le=604_800, description="seconds that the old one still counts")
    ] = 0


class RevokeRequest(Model):
    """Which tokens to revoke: exactly one of the three."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"subject": "agent-report"}]})

    id: Name | None = None
    subject: Name | None = None
    all: bool = False


class CredentialRequest(Model):
    """A credential's new value. It can be set and deleted, and never be read."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"value": "the password"}]})

    value: Annotated[SecretStr, Field(min_length=1, max_length=65_536)]


class AnswerRequest(Model):
    """Why an approval is answered so."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "change 4711"}]})

    reason: Text = ""


class ReasonRequest(Model):
    """Why something is done."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "left the company"}]})

    reason: Text = ""


class CheckRequest(Model):
    """A configuration to be checked; nothing of it comes into force."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "version: 1\n"}]})

    text: Annotated[str, StringConstraints(max_length=1_048_576)]


class ExplainRequest(Model):
    """A statement to be decided as if `subject` had sent it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "subject": "agent-report",
                    "groups": ["agents"],
                    "target": "shop",
                    "statement": "DELETE FROM orders",
                }
            ]
        }
    )

    subject: Name
    groups: Names = []
    target: Name
    login: Name | None = None
    statement: Annotated[str, StringConstraints(min_length=1, max_length=48_000)]


# ------------------------------------------------------------------ answered


class WhoAmI(Model):
    """Who the API takes the caller for."""

    name: str
    groups: list[str]
    roles: list[str]
    issuer: str
    token: str
    owner: str
    expires: float | None


class GivenBack(Model):
    """How many tokens that were in force are revoked now."""

    revoked: int


class TokenView(Model):
    """A token, without its secret. Times are epoch seconds.

    `via` is empty for one that somebody made, else break-glass (its use is an alarm), exchange,
    sign-in or client-credentials; `account` is the service account that it was given to, `actors`
    are those who act for its subject.
    """

    id: str
    name: str
    subject: str
    groups: list[str]
    roles: list[str]
    owner: str
    targets: list[str] | None
    sources: list[str] | None
    created: float
    expires: float
    revoked: float | None
    used: float | None
    state: str
    via: str = ""
    account: str | None = None
    actors: list[str] = []


class TokenMade(Model):
    """A new token; `secret` is shown this once."""

    token: TokenView
    secret: str


class TokenList(Model):
    """A page of tokens, newest first."""

    tokens: list[TokenView]
    next: str | None = None


class Revoked(Model):
    """How many tokens were live and are not any more."""

    revoked: int


class CredentialView(Model):
    """A credential's name and age."""

    name: str
    version: int
    created: float
    updated: float


class CredentialList(Model):
    """A page of credentials, by name."""

    credentials: list[CredentialView]
    next: str | None = None


class Deleted(Model):
    """What is gone."""

    deleted: str


class VoteView(Model):
    """One person's answer."""

    name: str
    yes: bool
    reason: str
    at: float


class ApprovalView(Model):
    """An approval. `text` and `parameters` are whole, with what would not be seen spelled out.

    `rewritten` is what the target would get in their place, or nothing: the text itself.
    """

    id: str
    state: str
    ticket: bool
    session: str
    subject: str
    issuer: str
    owner: str
    actors: list[str]
    groups: list[str]
    target: str
    database: str
    login: str
    source: str
    application: str
    protocol: str
    verb: str
    effect: str
    resources: list[str]
    facts: list[str]
    text: str
    parameters: list[str]
    rewritten: str
    digest: str
    rules: list[str]
    reason: str
    approvers: list[str]
    people: int
    votes: list[VoteView]
    window: float
    opened: float
    expires: float
    settled: float | None
    settled_reason: str
    spent: float | None
    task: str
    purpose: str


class ApprovalList(Model):
    """A page of approvals, newest first."""

    approvals: list[ApprovalView]
    next: str | None = None


class SessionView(Model):
    """A session. `state` is open, closed or sealed; `closed` is None while it is open.

    `operations`, `denied` and `held` count decisions; `legal_hold` exempts it from retention.
    `task` and `purpose` are what the client said: null where that was not kept.
    """

    id: str
    state: str
    subject: str
    groups: list[str]
    issuer: str
    token: str
    actors: list[str]
    source: str
    application: str
    protocol: str
    target: str
    database: str
    login: str
    write: bool
    encrypted: bool
    opened: float
    closed: float | None
    reason: str
    events: int
    operations: int
    denied: int
    held: int
    rows: int
    bytes: int
    size: int
    root: str
    legal_hold: bool
    task: str | None
    purpose: str | None


class SessionList(Model):
    """A page of sessions, newest first."""

    sessions: list[SessionView]
    next: str | None = None


class OperationView(Model):
    """One operation that a search found, with how it ended. `resources` are `kind:name`.

    Whose it is, `subject` to `target`, is null where the session's opening is not known.
    """

    session: str
    operation: int
    at: float
    subject: str | None
    issuer: str | None
    actors: list[str] | None
    task: str | None
    purpose: str | None
    target: str | None
    protocol: str
    verb: str
    effect: str
    decision: str
    rules: list[str]
    reason: str
    text: str
    resources: list[str]
    approval: str
    tag: str
    code: str
    rows: int
    bytes: int
    elapsed: float


class OperationList(Model):
    """A page of operations, newest first."""

    operations: list[OperationView]
    next: str | None = None


class AuditView(Model):
    """Something that was done to the product itself. `actors` act for `actor`."""

    at: float
    actor: str
    actors: list[str]
    action: str
    object: str
    session: str
    details: dict[str, Any]


class AuditList(Model):
    """A page of audit events, newest first."""

    audit: list[AuditView]
    next: str | None = None


class SessionChanged(Model):
    """A session that was ended, held or released."""

    id: str
    state: str


class FindingView(Model):
    """One thing that a look at a target brought up: ok, warning or failed."""

    state: str
    text: str


class TargetView(Model):
    """A target as its configuration says."""

    name: str
    protocol: str
    address: str
    database: str
    labels: dict[str, str]
    logins: list[str]
    tls: str


class TargetList(Model):
    """All targets."""

    targets: list[TargetView]


class TargetReport(Model):
    """What a look at a target found."""

    name: str
    reachable: bool
    facts: dict[str, str]
    findings: list[FindingView]


class PolicyView(Model):
    """The policy in force. `failure`: why the last reload was not taken."""

    revision: str
    loaded: float
    failure: str
    document: dict[str, Any]


class Reloaded(Model):
    """The revision in force after a reload."""

    revision: str


class CheckProblem(Model):
    """One error of a configuration."""

    message: str
    line: int | None


class CheckResult(Model):
    """What is wrong with a configuration."""

    valid: bool
    problems: list[CheckProblem]


class Explanation(Model):
    """A decision with every rule that took part, for programs and as text for people."""

    detail: dict[str, Any]
    text: str


class Status(Model):
    """The gateway at a glance."""

    version: str
    ready: bool
    checks: dict[str, str]
    revision: str
    policy_failure: str
    live_sessions: int
    pending_approvals: int
