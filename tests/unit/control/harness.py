"""A real control over real SQLite and a real socket, and a worker that speaks as one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from sallyport import policy as policies
from sallyport.config.models import Config
from sallyport.control.control import SOCKET, STORE, Control
from sallyport.core.decision import Hold
from sallyport.core.event import Audited
from sallyport.core.messages import (
    HEARTBEAT,
    Access,
    Authenticate,
    Authenticated,
    Authorize,
    Beat,
    Envelope,
    Hello,
    OpenHold,
    Push,
    Reply,
    Request,
    Snapshot,
)
from sallyport.core.operation import Effect, Operation, Resource, digest_of
from sallyport.core.subject import Evidence, Refused, Subject
from tests.support.clock import Clock
from tests.unit.store.template import place

CREDENTIAL = b"the-targets-own-password"
P = TypeVar("P", bound=Push)
NUMBERS = itertools.count(1)

BASE: dict[str, Any] = {
    "version": 1,
    "state": "state",
    "vault": {"key": "file:state/master.key", "generate": True},
    "targets": [
        {
            "name": "shop",
            "protocol": "postgres",
            "labels": {"env": "demo"},
            "address": "127.0.0.1:5432",
            "database": "shop",
            "databases": ["shop_*"],
            "login": "app",
            "logins": {
                "app": {"credential": "vault:shop-app"},
                "trusting": {},
                "lost": {"credential": "vault:none"},
            },
        },
        {
            "name": "billing",
            "protocol": "postgres",
            "address": "127.0.0.1:5433",
            "database": "billing",
            "login": "app",
            "logins": {"app": {"credential": "vault:shop-app"}},
        },
    ],
    "roles": {"approver": ["dba"], "admin": ["admins"]},
    "access": [
        {
            "name": "agents-shop",
            "subjects": {"groups": ["agents"]},
            "targets": {"names": ["shop"]},
            "logins": ["app", "lost"],
            "sources": ["127.0.0.0/8"],
            "max_session": "1h",
        }
    ],
    "policy": {
        "guardrails": {"enabled": False},
        "rules": [
            {"name": "read", "effect": "allow", "operations": {"effects": ["read", "write"]}},
            {
                "name": "limits",
                "effect": "limit",
                "limit": {
                    "rows_per_hour": 1000,
                    "statements_per_minute": 60,
                    "sessions": 3,
                    "pending_holds": 2,
                },
            },
        ],
    },
}


def config_of(folder: Path, **changes: Any) -> Config:
    return Config.model_validate({**BASE, **changes}, context={"folder": folder})


class Gateway:
    """A control that is started, with a credential and the means to make tokens."""

    def __init__(self, folder: Path, *, place_store: bool = True, **changes: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.audited: list[Audited] = []
        config = config_of(folder, **changes)
        if place_store:
            place(config.state / STORE)
        self.control = Control(config, self.compile(config), self.audited.append, self.clock)

    @staticmethod
    def compile(config: Config) -> policies.Policy:
        return policies.compile(config.policy_document())

    async def __aenter__(self) -> Gateway:
        await self.control.start()
        await self.control.vault.set("shop-app", CREDENTIAL, "test")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.control.stop()

    async def reload(self, **changes: Any) -> None:
        config = config_of(self.folder, **changes)
        await self.control.reload(config, self.compile(config), "test")

    async def token(self, subject: str = "agent-1", **fields: Any) -> str:
        values: dict[str, Any] = {"groups": ["agents"], "lifetime": 7200.0, "owner": "olga"}
        _, secret = await self.control.tokens.create(subject, subject, **(values | fields))
        return secret

    async def worker(self, name: str = "w1", pid: int = 1, **fields: Any) -> WorkerPeer:
        peer = WorkerPeer(self.folder / "state" / SOCKET)
        await peer.connect(name, pid, **fields)
        return peer


class WorkerPeer:
    """What a worker says on the socket, and what it is told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._encoder = msgspec.msgpack.Encoder()
        self.pushes: asyncio.Queue[Push] = asyncio.Queue()
        self.snapshot: Snapshot | None = None
        self.closed = asyncio.Event()
        self.beats = 0

    async def connect(
        self, name: str, pid: int, sessions: tuple[str, ...] | None = None, beat: bool = True
    ) -> None:
        await self.dial()
        if beat:
            self._beating = asyncio.create_task(self._beat())
        reply = await self.ask(Hello(name, pid, "journal", sessions))
        assert isinstance(reply, Snapshot)
        self.snapshot = reply

    async def dial(self) -> None:
        self.reader, self.writer = await asyncio.open_unix_connection(str(self._path))
        self._reading = asyncio.create_task(self._read())

    async def ask(self, request: Request) -> Reply:
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self.send(number, request)
        async with asyncio.timeout(20):
            return await self._waiting[number]

    def send(self, number: int, body: Any) -> None:
        self.raw(self._encoder.encode(Envelope(number, body)))

    def raw(self, data: bytes) -> None:
        self.writer.write(len(data).to_bytes(4, "big") + data)

    async def pushed(self, kind: type[P], **fields: Any) -> P:
        """Return the next push of this kind with these fields; others are passed over."""
        async with asyncio.timeout(20):
            while True:
                push = await self.pushes.get()
                if isinstance(push, kind) and all(getattr(push, n) == v for n, v in fields.items()):
                    return push

    def close(self) -> None:
        self.writer.transport.abort()

    # --- what a session does

    async def login(self, token: str, source: str = "127.0.0.1") -> Subject | Refused:
        reply = await self.ask(Authenticate(Evidence("postgres", "pg", source, token, True)))
        if isinstance(reply, Authenticated):
            return reply.subject
        assert isinstance(reply, Refused)
        return reply

    async def authorize(self, subject: Subject, **fields: Any) -> Access | Refused:
        values: dict[str, Any] = {
            "subject": subject,
            "protocol": "postgres",
            "listener": "pg",
            "selector": "shop",
            "login": None,
            "source": "127.0.0.1",
            "application": "psql",
            "encrypted": True,
        }
        reply = await self.ask(Authorize(**(values | fields)))
        assert isinstance(reply, Access | Refused)
        return reply

    async def session(self, token: str, **fields: Any) -> Access:
        subject = await self.login(token)
        assert isinstance(subject, Subject), subject
        access = await self.authorize(subject, **fields)
        assert isinstance(access, Access), access
        return access

    async def hold(self, access: Access, text: str = "UPDATE t SET a = 1", **fields: Any) -> Reply:
        values: dict[str, Any] = {
            "rules": ("wait",),
            "approvers": ("dba",),
            "people": 1,
            "timeout": 300.0,
            "ticket": False,
        }
        operation = fields.pop("operation", None) or operation_of(text)
        subject = Subject("somebody else", (), "", "")
        expires = 1_800_000_000.0 + 300
        return await self.ask(
            OpenHold(access.session, subject, operation, Hold(**(values | fields)), "", "", expires)
        )

    async def _read(self) -> None:
        decoder = msgspec.msgpack.Decoder(Envelope)
        with contextlib.suppress(OSError, EOFError):
            while True:
                size = int.from_bytes(await self.reader.readexactly(4), "big")
                envelope = decoder.decode(await self.reader.readexactly(size))
                if envelope.id:
                    self._waiting[envelope.id].set_result(envelope.body)  # type: ignore[arg-type]
                elif isinstance(envelope.body, Beat):
                    self.beats += 1
                else:
                    if isinstance(envelope.body, Snapshot):
                        self.snapshot = envelope.body
                        self.send(0, Beat(envelope.body.revision))
                    self.pushes.put_nowait(envelope.body)  # type: ignore[arg-type]
        self.closed.set()

    async def _beat(self) -> None:
        while not self.closed.is_set():
            self.send(0, Beat(self.snapshot.revision if self.snapshot is not None else ""))
            await asyncio.sleep(HEARTBEAT)


def operation_of(text: str, target: str = "shop") -> Operation:
    return Operation(
        id=next(NUMBERS),
        protocol="postgres",
        target=target,
        verb="update",
        effect=Effect.WRITE,
        resources=(Resource("table", "public.t", Effect.WRITE),),
        facts=frozenset(),
        text=text,
        parameters=(),
        fingerprint=b"f",
        digest=digest_of(text),
    )
