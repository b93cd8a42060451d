"""Services: all that the API asks of the rest of control, as small interfaces.

`app` fills `WebServices` with the real objects; the API itself decides nothing but who may ask.
Whoever changes something audits it; what is only looked at is audited here, before it is shown.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from sallyport.approvals.access import AccessRequest, AccessState
from sallyport.approvals.requests import ApprovalRequest, State
from sallyport.approvals.watch import Dropped as Missed
from sallyport.core.event import Audited
from sallyport.core.subject import Refused, Subject
from sallyport.identity.accounts import Account, AccountKey
from sallyport.identity.browser_sessions import BrowserSession
from sallyport.identity.oauth import Issued
from sallyport.identity.sign_in import Begun, SignedIn, SignInSettings
from sallyport.identity.token_records import Given, TokenRecord
from sallyport.recording.records import (
    AuditRecord,
    Dropped,
    Filter,
    FindingRecord,
    OperationRecord,
    SessionRecord,
)
from sallyport.recording.who import Attributed
from sallyport.vault.credentials import CredentialRecord
from sallyport.web.authentication import Identity


class Tokens(Protocol):
    """The gateway's own tokens (`identity.tokens.TokenService`)."""

    async def create(
        self,
        name: str,
        subject: str,
        groups: Sequence[str] = (),
        roles: Sequence[str] = (),
        lifetime: float = 86400.0,
        owner: str = "",
        targets: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        *,
        given: Given | None = None,
    ) -> tuple[TokenRecord, str]:
        """Make a token. Raises: ValueError that says what cannot be taken."""

    async def list(
        self, *, subject: str | None = None, owner: str | None = None, live: bool = False
    ) -> list[TokenRecord]:
        """Return the tokens, newest first."""

    async def revoke(self, what: str, value: str, actor: str, actors: tuple[str, ...] = ()) -> int:
        """Revoke by `id`, `subject` or `all`; return how many were live."""

    async def give_back(self, subject: Subject) -> int:
        """Revoke what `subject` came with itself; return how many were live."""


class TokenRotation(Protocol):
    """Has tokens anew (`identity.rotation.Rotation`)."""

    async def rotate(
        self, identifier: str, owner: str, lifetime: float | None = None, grace: float = 0.0
    ) -> tuple[TokenRecord, str]:
        """Return a new token in the place of one. Raises: ValueError that says why not."""


class Accounts(Protocol):
    """Service accounts (`identity.accounts.ServiceAccounts`)."""

    async def create(
        self,
        name: str,
        groups: Sequence[str],
        keys: Sequence[str],
        actor: str,
        targets: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
    ) -> Account:
        """Make one with public keys. Raises: ValueError that says what cannot be taken."""

    async def list(self) -> list[Account]:
        """Return all of them, by name."""

    async def remove(self, name: str, actor: str, actors: tuple[str, ...] = ()) -> int | None:
        """Forget one; return how many of its tokens were live, None: there is none."""

    async def add_key(self, name: str, text: str, actor: str) -> AccountKey | None:
        """Register one more key; None: no account. Raises: ValueError."""

    async def remove_key(
        self, name: str, key: str, actor: str, actors: tuple[str, ...] = ()
    ) -> int | None:
        """Forget a key; return how many tokens were live that it gave, None: there is none."""


class TokenGiver(Protocol):
    """The token endpoint (`identity.oauth.TokenEndpoint`)."""

    async def give(
        self, form: Mapping[str, Sequence[str]], source: str, *, encrypted: bool
    ) -> Issued:
        """Return a token for what the form shows. Raises: OAuthRefused."""


class LogoutTaker(Protocol):
    """Takes logout tokens of issuers (`identity.logouts.Logouts`)."""

    async def take(self, token: str, source: str) -> int:
        """End what the token names; return how many tokens were live. Raises: LogoutRefused."""


class SignIns(Protocol):
    """Browsers that sign in (`identity.sign_in.SignIns`)."""

    settings: SignInSettings

    def names(self) -> tuple[str, ...]:
        """Return the providers where people sign in."""

    async def begin(self, name: str, back: str) -> Begun:
        """Return where to send a browser. Raises: SignInRefused."""

    async def finish(self, name: str, query: str, cookie: str, source: str) -> SignedIn:
        """Begin a session by what a browser came back with. Raises: SignInRefused."""

    async def authenticate(self, cookie: str, source: str) -> Subject | None:
        """Return whose session this is, or None."""

    async def replace(self, cookie: str) -> BrowserSession | None:
        """End a session here alone, for another of the same browser; return it."""

    async def end(self, cookie: str) -> str:
        """End a session; return where the provider ends it, or ""."""


class LoginProvider(Struct, frozen=True):
    """Where people log in, by a public client: nothing of it is secret.

    `ca`: the PEM of who vouches for its https; empty: the system's authorities. `public_secret`:
    what some issuers demand of public clients; empty: nothing.
    """

    name: str
    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    flow: str
    ca: str = ""
    public_secret: str = ""


class ListenerState(Struct, frozen=True):
    """Where clients connect. `tls` is none, offered or required; `path` of a Unix socket.

    `issuer`: where a client without a token is sent, by the mechanism `oauth`; `client_id` and
    `scope`: by which public client (empty: none is named), and what it asks for.
    """

    name: str
    protocol: str
    host: str
    port: int
    path: str
    mechanism: str
    tls: str
    issuer: str = ""
    client_id: str = ""
    scope: str = ""


class ReachedLogin(Struct, frozen=True):
    """One login of one target that somebody may use (`given`), or ask for.

    `ends` (epoch seconds) is a grant's; `longest` (seconds) is what can be asked for.
    """

    target: str
    protocol: str
    database: str
    login: str
    default: bool
    given: bool
    write: bool
    ends: float | None
    longest: float | None


class Reach(Protocol):
    """Tells what a subject may reach (`control.control.Control.reach`)."""

    async def __call__(
        self, subject: Subject, source: str, selector: str | None
    ) -> Sequence[ReachedLogin]:
        """Return it by target and login; `selector`: of `target` or `target/database` alone."""


class Credentials(Protocol):
    """The credential store (`vault.credentials.Vault`), without any way to read one."""

    async def set(
        self, name: str, value: bytes, actor: str, actors: tuple[str, ...] = ()
    ) -> CredentialRecord:
        """Seal a new version. Raises: VaultError."""

    async def list(self) -> list[CredentialRecord]:
        """Return what there is, by name."""

    async def delete(self, name: str, actor: str, actors: tuple[str, ...] = ()) -> bool:
        """Forget one; return whether there was one."""


class Approvals(Protocol):
    """Approval requests (`approvals.service.ApprovalService`)."""

    async def list(
        self,
        states: Sequence[State] = (),
        *,
        subject: str | None = None,
        groups: Sequence[str] | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[ApprovalRequest]:
        """Return requests, newest first, older than the one with the id `before`."""

    async def show(self, identifier: str) -> ApprovalRequest | None:
        """Return one, or None."""

    async def answer(
        self, identifier: str, actor: Subject, yes: bool, reason: str = ""
    ) -> ApprovalRequest | Refused:
        """Count one person's answer."""

    def watch(self) -> AsyncIterator[ApprovalRequest | Missed]:
        """Yield each request as it opens and as it changes."""


class AccessRequests(Protocol):
    """Requests for access, and the grants that come of them (`approvals.grants.AccessService`)."""

    async def list(
        self,
        states: Sequence[AccessState] = (),
        *,
        subject: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[AccessRequest]:
        """Return requests, newest first, older than the one with the id `before`."""

    async def show(self, identifier: str) -> AccessRequest | None:
        """Return one, or None."""

    async def answer(
        self, identifier: str, actor: Subject, yes: bool, reason: str = ""
    ) -> AccessRequest | Refused:
        """Count one person's answer."""

    async def withdraw(self, identifier: str, actor: Subject) -> AccessRequest | Refused:
        """Ask no more."""

    async def revoke(
        self, identifier: str, actor: Subject, reason: str = ""
    ) -> AccessRequest | Refused:
        """Take a grant back."""


class AskAccess(Protocol):
    """Asks for access in somebody's name (`control.control.Control.ask_access`)."""

    async def __call__(
        self, subject: Subject, selector: str, login: str | None, why: str, duration: float
    ) -> AccessRequest | Refused:
        """Return the request as it stands; `duration` in seconds."""


class Registry(Protocol):
    """The live sessions (`control.sessions.SessionRegistry`)."""

    def kill(self, identifier: str, reason: str, actor: str, actors: tuple[str, ...] = ()) -> bool:
        """End a live session; return whether there was one."""

    def live(self) -> Sequence[str]:
        """Return the ids of the sessions that are live."""


class Library(Protocol):
    """The recordings (`recording.library.Library`)."""

    async def sessions(self, wanted: Filter | None = None) -> list[SessionRecord]:
        """Return sessions, newest first."""

    async def session(self, name: str) -> SessionRecord | None:
        """Return one, or None."""

    async def search(self, wanted: Filter) -> list[OperationRecord]:
        """Return operations, newest first."""

    async def audit(self, wanted: Filter, action: str | None = None) -> list[AuditRecord]:
        """Return what was done to the product itself (`subject`: the actor), newest first."""

    async def findings(
        self,
        target: str | None = None,
        database: str | None = None,
        since: float | None = None,
        *,
        limit: int = 100,
        offset: int = 0,
    ) -> list[FindingRecord]:
        """Return what detectors found in columns that no mask names, most hits first."""

    def events(self, name: str, *, follow: bool = False) -> AsyncIterator[Attributed]:
        """Yield a session's events in order, with whose they are; `follow`: until it ends."""

    def tail(
        self, wanted: Filter | None = None, backlog: int = 0
    ) -> AsyncIterator[Attributed | Dropped]:
        """Yield events as they are recorded, with whose they are, after the last `backlog`."""

    async def hold(self, name: str, on: bool) -> bool:
        """Exempt a session from retention, or no longer; return whether it is there."""


class TargetState(Struct, frozen=True):
    """A target as its configuration says; `credentials` maps a login to its reference."""

    name: str
    protocol: str
    address: str
    database: str
    labels: dict[str, str]
    logins: tuple[str, ...]
    tls: str


class Finding(Struct, frozen=True):
    """One thing that a look at a target brought up. `state` is ok, warning or failed."""

    state: str
    text: str


class TargetCheck(Struct, frozen=True):
    """What `target check` found: `facts` in words, `findings` in order of weight."""

    name: str
    reachable: bool
    facts: dict[str, str]
    findings: tuple[Finding, ...] = ()


class Surveys(Protocol):
    """What operators ask of a target's data and structure (`protocols.survey`), page by page.

    Each raises ValueError in words, where the target cannot be surveyed.
    """

    async def discover(
        self, target: str, database: str, after: int, rows: int
    ) -> dict[str, object]:
        """Return a page of what samples and comments show."""

    async def examine(self, target: str, database: str, after: int) -> dict[str, object]:
        """Return a page of what stands round the masks."""

    async def setup(self, target: str, database: str, role: str) -> str:
        """Return the SQL of a login that sees masked views alone."""


class PolicyProblem(Struct, frozen=True):
    """One error of a configuration. `line` is 1-based."""

    message: str
    line: int | None = None


class PolicyState(Struct, frozen=True):
    """The policy in force. `document` is its JSON."""

    revision: str
    loaded: float
    document: bytes
    failure: str = ""
    """Why the last reload was not taken, or empty."""


class Explained(Struct, frozen=True):
    """One explanation, for programs (`detail`: JSON of an object) and for people (`text`)."""

    detail: bytes
    text: str


class PolicyTools(Protocol):
    """What can be asked of policy without a session."""

    async def check(self, text: str) -> Sequence[PolicyProblem]:
        """Return what is wrong with a configuration; nothing of it comes into force."""

    async def explain(
        self, subject: str, groups: Sequence[str], target: str, statement: str, login: str | None
    ) -> Explained:
        """Decide a statement as if it had come from `subject`. Raises: ValueError in words."""

    def state(self) -> PolicyState:
        """Return the policy in force."""


class Readiness(Struct, frozen=True):
    """Whether work can be done; `checks` maps each part to `ok` or what is wrong with it."""

    ready: bool
    checks: dict[str, str]


class Measure(Struct, frozen=True):
    """One number for Prometheus. `kind` is gauge or counter; names begin with `sallyport_`."""

    name: str
    help: str
    value: float
    labels: dict[str, str] = {}
    kind: str = "gauge"


def _no_measures() -> Sequence[Measure]:
    return ()


def _no_rules(_target: str, columns: Sequence[str]) -> Sequence[Sequence[str]]:
    return [() for _ in columns]


@dataclass(frozen=True)
class WebServices:
    """All services of the API. `reload` returns the new revision or raises ConfigError."""

    identity: Identity
    tokens: Tokens
    rotation: TokenRotation
    accounts: Accounts
    oauth: TokenGiver
    logouts: LogoutTaker
    sign_ins: SignIns
    providers: Callable[[], Sequence[LoginProvider]]
    listeners: Callable[[], Sequence[ListenerState]]
    reach: Reach
    vault: Credentials
    approvals: Approvals
    access: AccessRequests
    ask_access: AskAccess
    may_approve: Callable[[Subject, str, str], bool]
    """Whether an approver's role reaches a target and database."""
    registry: Registry
    library: Library
    policy: PolicyTools
    targets: Callable[[], Sequence[TargetState]]
    inspect_target: Callable[[str], Awaitable[TargetCheck]]
    surveys: Surveys
    reload: Callable[[str, tuple[str, ...]], Awaitable[str]]
    """Load the configuration's file again for an actor and who acts for them; returns the
    revision."""
    health: Callable[[], Readiness]
    audit: Callable[[Audited], None]
    """Put something on record. Raises: RecorderLost; then nothing is shown."""
    metrics: Callable[[], Sequence[Measure]] = field(default=_no_measures)
    naming: Callable[[str, Sequence[str]], Sequence[Sequence[str]]] = field(default=_no_rules)
    """By target and columns: the mask rules in force that name each column."""
    clock: Callable[[], float] = time.time
