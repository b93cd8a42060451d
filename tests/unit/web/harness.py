"""A real API server on a loopback port, over real services and a real SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from msgspec import structs

from sallyport.approvals.access import AccessRequest
from sallyport.approvals.grants import AccessService, Wish
from sallyport.approvals.requests import ApprovalRequest
from sallyport.approvals.service import ApprovalService, Question
from sallyport.control.sessions import LiveSession, SessionRegistry
from sallyport.core.decision import Hold
from sallyport.core.errors import ConfigError, RecorderLost
from sallyport.core.event import (
    Audited,
    OperationDecided,
    RecordedEvent,
    ResultDescribed,
    ResultEnded,
    ResultRows,
    SessionClosed,
    SessionOpened,
)
from sallyport.core.messages import Push
from sallyport.core.operation import Effect, Operation, Parameter, Resource
from sallyport.core.subject import Refused, Subject
from sallyport.identity.accounts import ServiceAccounts
from sallyport.identity.assertions import ClientAssertions
from sallyport.identity.logouts import Logouts
from sallyport.identity.oauth import OAuthSettings, TokenEndpoint
from sallyport.identity.oidc import Issuers, IssuerSettings
from sallyport.identity.rotation import Rotation
from sallyport.identity.service import IdentityService
from sallyport.identity.sign_in import SignIns, SignInSettings
from sallyport.identity.tokens import TokenService
from sallyport.recording.follow import Follower
from sallyport.recording.journal import Journal
from sallyport.recording.library import Library
from sallyport.recording.places import Places
from sallyport.store.database import Database
from sallyport.vault.credentials import Vault
from sallyport.web.app import create_app
from sallyport.web.server import create_server
from sallyport.web.services import (
    Explained,
    Finding,
    ListenerState,
    LoginProvider,
    Measure,
    PolicyProblem,
    PolicyState,
    ReachedLogin,
    Readiness,
    TargetCheck,
    TargetState,
    WebServices,
)
from tests.support.recordings import begun, decided, forwarded
from tests.unit.store.template import place

ROLES = {"admin": ["sallyport-admins"], "auditor": ["security"], "approver": ["dba", "finance"]}

TRUST = ssl.create_default_context()
"""What every client would read for itself."""


class NoSurveys:
    """Surveys of a target that has nothing in it."""

    async def discover(
        self, target: str, database: str, after: int, rows: int
    ) -> dict[str, object]:
        return {"database": "x", "relations": 0, "done": 0, "next": 0, "unread": [], "found": []}

    async def examine(self, target: str, database: str, after: int) -> dict[str, object]:
        return {"masked": 0, "passed": True, **await self.discover(target, database, after, 0)}

    async def setup(self, target: str, database: str, role: str) -> str:
        return "BEGIN; COMMIT;"


class Desk:
    """Takes every wish for access to `shop`, under one rule."""

    def __init__(self, access: AccessService) -> None:
        self._access = access

    async def ask(
        self, subject: Subject, selector: str, login: str | None, why: str, duration: float
    ) -> AccessRequest | Refused:
        if selector != "shop":
            return Refused("no access to this target can be asked for")
        return await self._access.open(
            Wish(subject, "shop", "shop", login or "app", why, duration, "ask", ("dba",), 1, 600.0)
        )


class ScriptedPolicy:
    """Policy's tools with answers that the test chooses."""

    def __init__(self) -> None:
        self.failure = ""

    async def check(self, text: str) -> Sequence[PolicyProblem]:
        return () if text.startswith("version: 1") else (PolicyProblem("`version` expected", 1),)

    async def explain(
        self, subject: str, groups: Sequence[str], target: str, statement: str, login: str | None
    ) -> Explained:
        if target != "shop":
            raise ValueError(f"no target `{target}`")
        detail = {"decision": "deny", "rules": ["default"], "verb": "drop-table"}
        return Explained(json.dumps(detail).encode(), f"deny: {statement}")

    def state(self) -> PolicyState:
        return PolicyState("r1", 1000.0, b'{"rules": []}', self.failure)


@dataclass
class Api:
    """The running API, and what stands behind it."""

    url: str
    tokens: TokenService
    vault: Vault
    approvals: ApprovalService
    registry: SessionRegistry
    library: Library
    follower: Follower
    journal: Journal
    policy: ScriptedPolicy
    audited: list[Audited]
    pushed: list[tuple[str, Push]]
    services: WebServices
    stop: Callable[[], None] = lambda: None
    recorder_lost: bool = False
    ready: bool = True
    bad_config: bool = False
    secrets: dict[str, str] = field(default_factory=dict)

    async def token(
        self, subject: str, *, groups: Sequence[str] = (), roles: Sequence[str] = ()
    ) -> str:
        """Return the secret of a new token."""
        _, secret = await self.tokens.create("test", subject, groups, roles, 3600.0, "maker")
        return secret

    async def as_role(self, role: str) -> str:
        """Return the token of somebody with this one role (`nobody`: none)."""
        if role not in self.secrets:
            roles = () if role == "nobody" else (role,)
            groups = ("dba",) if role == "approver" else ("agents",)
            self.secrets[role] = await self.token(f"{role}-person", groups=groups, roles=roles)
        return self.secrets[role]

    def client(self, token: str | None, **headers: str) -> httpx2.AsyncClient:
        """Return a client that shows `token`."""
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return httpx2.AsyncClient(
            base_url=self.url, headers=headers, trust_env=False, timeout=30, verify=TRUST
        )

    async def waiting(
        self,
        *,
        subject: str = "agent-1",
        approvers: tuple[str, ...] = ("dba",),
        people: int = 1,
        text: str = "UPDATE orders SET total = 1",
        expires: float = 300.0,
        ticket: bool = False,
    ) -> ApprovalRequest:
        """Return a request that waits."""
        opened = await self.approvals.open(
            Question(
                session=f"s-{secrets.token_hex(8)}",
                subject=Subject(subject, ("agents",), "sallyport", "t-1", owner="maker"),
                operation=operation(text),
                hold=Hold(("updates-wait",), approvers, people, expires, ticket, "look first"),
                database="shop",
                login="app",
                application="psql",
                source="127.0.0.1",
                expires=time.time() + expires,
            )
        )
        assert isinstance(opened, ApprovalRequest)
        return opened

    async def recorded(self, identifier: str, **more: Any) -> None:
        """Put a session on record, and see it indexed."""
        for event in session_events(identifier, **more):
            self.journal.record(event)
        await self.indexed()

    async def recorded_http(self, identifier: str) -> None:
        """Put a session of HTTP on record, with one request, and see it indexed."""
        for event in http_events(identifier):
            self.journal.record(event)
        await self.indexed()

    async def indexed(self) -> None:
        """See everything recorded so far indexed."""
        self.journal.flush()
        await self.journal.commit()
        await self.follower.step()

    def live_session(self, identifier: str, subject: str = "agent-1") -> None:
        """Put a live session into the registry."""
        who = Subject(subject, ("agents",), "sallyport", "t-1")
        now = time.time()
        self.registry.add(
            LiveSession(
                identifier, "w1", who, "postgres", "shop", "shop", "app", "127.0.0.1", "psql",
                True, now, now + 100, now + 100,
            )
        )  # fmt: skip


def operation(text: str) -> Operation:
    """An update of one table."""
    table = Resource("table", "public.orders", Effect.WRITE, ("total",))
    base = Resource("database", "shop", Effect.READ)
    return Operation(
        1, "postgres", "shop", "update", Effect.WRITE, (base, table), frozenset(), text, (),
        b"f" * 8, secrets.token_bytes(32),
    )  # fmt: skip


def session_events(
    identifier: str,
    *,
    subject: str = "agent-1",
    text: str = "select 1",
    closed: bool = True,
    at: float = 1000.0,
) -> list[RecordedEvent]:
    """Return what one short session leaves on record."""
    base = Resource("database", "shop", Effect.READ)
    row = b"\x00\x00\x00\x09\x00\x01\x00\x00\x00\x03a\x1bb"
    events: list[RecordedEvent] = [
        SessionOpened(
            identifier, at, subject, ("agents",), "sallyport", "t-1", (), "127.0.0.1", "psql",
            "postgres", "shop", "shop", "app", False, 2000.0, "r1", False,
        ),
        OperationDecided(
            identifier, at + 1, 1, "select", "read", (base,), (), text,
            (Parameter("$1", "17", b"\xff\x00"),), b"f", b"d", "allow", ("agents-read",),
        ),
        ResultDescribed(identifier, at + 1.1, 1, ("name",), ("text",), ("",), (0,)),
        ResultRows(identifier, at + 1.2, 1, "postgres/rows", row, 1),
        ResultEnded(identifier, at + 1.5, 1, "SELECT 1", 1, 9, b"h", False, 0.5),
    ]  # fmt: skip
    return [*events, SessionClosed(identifier, at + 2, "client left", 1, 1)] if closed else events


def http_events(identifier: str, at: float = 1000.0) -> list[RecordedEvent]:
    """Return what one request leaves on record."""
    first, *_, last = session_events(identifier, at=at)
    return [
        structs.replace(first, protocol="http"),
        decided(identifier, 1, at + 1, "POST /v1/refunds?dry=1", verb="post"),
        forwarded(identifier, 1, at + 1.1),
        begun(identifier, 1, at + 1.2),
        ResultRows(identifier, at + 1.3, 1, "http/body", b'{"id": "\x1b\xc3\xa9"}', 0),
        ResultEnded(identifier, at + 1.5, 1, "201", 0, 13, b"h", False, 0.4),
        last,
    ]


PROVIDERS = (
    LoginProvider(
        "home", "https://home.example", "sallyport", ("openid", "email"), "code", "(a PEM)"
    ),
    LoginProvider("corp", "https://corp.example", "cli", ("openid",), "auto"),
)
LISTENERS = (
    ListenerState("postgres", "postgres", "0.0.0.0", 6432, "", "token", "none"),
    ListenerState("lines", "line", "127.0.0.1", 7000, "", "token", "none"),
)


async def reach(subject: Subject, source: str, selector: str | None) -> list[ReachedLogin]:
    """Agents reach `shop`, and may ask to write there."""
    if "agents" not in subject.groups or selector not in (None, "shop"):
        return []
    return [
        ReachedLogin("shop", "postgres", "shop", "app", True, True, False, None, None),
        ReachedLogin("shop", "postgres", "shop", "owner", False, False, False, None, 3600.0),
    ]


async def check_nothing(name: str) -> TargetCheck:
    """Report a target without dialling."""
    if name == "down":
        return TargetCheck(name, False, {}, (Finding("failed", "connection refused"),))
    return TargetCheck(name, True, {"version": "18"}, (Finding("warning", "superuser"),))


@contextlib.asynccontextmanager
async def running_api(
    folder: Path, tls: ssl.SSLContext | None = None, issuers: Sequence[IssuerSettings] = ()
) -> AsyncIterator[Api]:
    """Serve the API while the block runs, over `tls` if that is given."""
    database = Database(place(folder / "store.sqlite"))
    await database.open()
    audited: list[Audited] = []
    pushed: list[tuple[str, Push]] = []
    holder: dict[str, Api] = {}

    def audit(event: Audited) -> None:
        if holder["api"].recorder_lost:
            raise RecorderLost("no space left")
        audited.append(event)
        holder["api"].journal.record(event)

    async def reload(actor: str, actors: tuple[str, ...] = ()) -> str:
        if holder["api"].bad_config:
            raise ConfigError("`polcy`: unknown key\n`version`: missing", "sallyport.yaml", 3)
        audit(Audited("", time.time(), actor, "policy-reloaded", "r2", {}, actors))
        return "r2"

    tokens = TokenService(database, audit)
    vault = Vault(database, secrets.token_bytes(32), audit)
    approvals = ApprovalService(database, audit)
    access = AccessService(database, audit)
    await access.load()
    registry = SessionRegistry(audit, lambda worker, push: pushed.append((worker, push)))
    places = Places(folder / "recordings")
    journal = Journal(places.journals, "w1", reserve=0)
    follower = Follower(database.engine, places)
    await follower.start()
    library, policy = Library(follower), ScriptedPolicy()
    identity = IdentityService(tokens, Issuers(issuers, database), ROLES)
    accounts = ServiceAccounts(database, tokens, audit)
    endpoint = OAuthSettings("https://gateway.example/oauth/token")
    oauth = TokenEndpoint(database, identity, tokens, ClientAssertions(database), endpoint)
    services = WebServices(
        identity=identity,
        tokens=tokens,
        rotation=Rotation(tokens, audit),
        accounts=accounts,
        oauth=oauth,
        logouts=Logouts(database, identity, tokens, audit),
        sign_ins=SignIns(database, identity, tokens, oauth, SignInSettings(), audit, bytes(32)),
        providers=lambda: PROVIDERS,
        listeners=lambda: LISTENERS,
        reach=reach,
        vault=vault,
        approvals=approvals,
        access=access,
        ask_access=Desk(access).ask,
        may_approve=lambda caller, target, _: caller.name != f"not-at-{target}",
        registry=registry,
        library=library,
        policy=policy,
        targets=lambda: (
            TargetState(
                "shop", "postgres", "127.0.0.1:5432", "shop", {"env": "t"}, ("app",), "disable"
            ),
            TargetState("down", "postgres", "127.0.0.1:1", "x", {}, ("app",), "disable"),
        ),
        inspect_target=check_nothing,
        surveys=NoSurveys(),
        reload=reload,
        health=lambda: Readiness(
            holder["api"].ready, {"store": "ok" if holder["api"].ready else "gone"}
        ),
        audit=audit,
        metrics=lambda: (Measure("sallyport_workers", "Workers", 1.0, {"state": "up"}),),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    api = Api(
        f"{'http' if tls is None else 'https'}://127.0.0.1:{port}", tokens, vault, approvals, registry, library, follower, journal,
        policy, audited, pushed, services,
    )  # fmt: skip
    holder["api"] = api
    server = create_server(create_app(services, host="127.0.0.1", tls=tls is not None), tls=tls)
    api.stop = lambda: setattr(server, "should_exit", True)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield api
    finally:
        server.should_exit = True
        await serving
        await follower.stop()
        await journal.close()
        await database.close()


def problem(response: httpx2.Response) -> dict[str, Any]:
    """Check that a response is a problem and return it."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert body["status"] == response.status_code
    assert body["title"] and body["detail"]
    assert "Traceback" not in response.text
    assert isinstance(body, dict)
    return body
