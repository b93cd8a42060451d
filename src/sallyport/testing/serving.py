"""Serving: runs a plugin that serves by itself, on connections that are in memory.

`served` gives the plugin one connection, what a client sends in pieces of any size, and a target
that answers as the test says; every operation is decided by the test. What comes back says what
reached the target, what reached the client, what was decided and recorded, and in which order.

INVARIANT, checked as it runs: no byte goes to a leg but by `push`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, final

from msgspec import Struct

from sallyport.core.decision import Allow, Deny, Obligations
from sallyport.core.event import RecordedEvent
from sallyport.core.grant import Ended, Grant, Target, TargetAddress
from sallyport.core.operation import Operation
from sallyport.core.subject import (
    UNSTATED,
    Challenge,
    Evidence,
    Opening,
    Proven,
    Refused,
    Secret,
    Stated,
    Subject,
)
from sallyport.protocols.base import (
    Authentication,
    CancelKey,
    Carried,
    Codec,
    Connection,
    Counts,
    Leg,
    OperationIssued,
    Plugin,
    Wait,
)
from sallyport.testing.contract import Decide, cut
from sallyport.testing.dialogue import allow

PATIENCE: Final = 20.0
"""Seconds for one scene."""
PIECE: Final = 64 * 1024
HIGH: Final = 256 * 1024
"""Bytes that a stalled leg takes before `drain` waits."""


class Answerer(Protocol):
    """A target: what it answers to bytes, on one connection."""

    def receive(self, data: bytes) -> bytes:
        """Take bytes; return what it sends."""


class Served(Struct):
    """What came of it. `targets` are the bytes of each connection to the target, in order."""

    client: bytes
    targets: list[bytes]
    operations: list[Operation]
    recorded: list[RecordedEvent]
    most: int
    """Bytes that the plugin had taken from the target and not yet given to the client, at most."""


@final
class MemoryLeg:
    """One leg, in memory. See `protocols.base.Leg`."""

    def __init__(self, answers: Callable[[bytes], None] | None = None) -> None:
        self._chunks: list[bytes] = []
        self._ready = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended: Callable[[], None] | None = None
        self._answers = answers
        self.written = bytearray()
        self.taken = 0
        self.closed = False
        self.stalled = False
        self.may_write = False
        self.over = False
        self.tls: ssl.SSLObject | None = None

    # --- the plugin's side

    async def read(self) -> bytes:
        """Return what was fed; b"" at the end."""
        while not self._chunks and not self.over:
            self._ready.clear()
            await self._ready.wait()
        if not self._chunks:
            return b""
        data = self._chunks.pop(0)
        self.taken += len(data)
        return data

    def unread(self) -> bool:
        """Whether something was fed that nobody has read yet."""
        return bool(self._chunks)

    def write(self, data: bytes) -> None:
        """Take bytes. Raises: AssertionError where they were not pushed."""
        if not self.may_write:
            raise AssertionError("bytes were written without `push`")
        if self.closed:
            return
        self.written += data
        if self.stalled and len(self.written) > HIGH:
            self._writable.clear()
        if self._answers is not None:
            self._answers(data)

    async def drain(self) -> None:
        """Wait while the leg is stalled and full."""
        await self._writable.wait()

    def close(self) -> None:
        """Close it."""
        self.closed = True
        self.end()

    def abort(self) -> None:
        """Close it."""
        self.close()

    def on_end(self, ended: Callable[[], None] | None) -> None:
        """Call `ended` at the end."""
        self._ended = ended
        if self.over and ended is not None:
            ended()

    # --- the test's side

    def feed(self, data: bytes) -> None:
        """Bytes arrive, as a socket gives them: in pieces of at most 64 KiB."""
        for position in range(0, len(data), PIECE):
            self._chunks.append(data[position : position + PIECE])
            self._ready.set()

    def end(self) -> None:
        """The peer sends no more."""
        if not self.over:
            self.over = True
            self._ready.set()
            self._writable.set()
            if self._ended is not None:
                self._ended()


@final
class MemoryConnection:
    """An accepted connection, in memory, plain. See `protocols.base.Connection`."""

    source = "127.0.0.1"
    listener = "test"
    local = True
    tls: ssl.SSLContext | None = None
    tls_required = False
    domain = ""
    authentication = Authentication()

    def __init__(self, leg: MemoryLeg, first: bytes) -> None:
        self.leg = leg
        self._first = first

    async def peek(self) -> bytes:
        """Return the first byte."""
        return self._first[:1]

    async def read_exactly(self, count: int) -> bytes:
        """Nothing is read before the leg is opened."""
        raise EOFError

    async def send(self, data: bytes) -> None:
        """Nothing is sent before the leg is opened."""

    async def open(self, *, encrypted: bool) -> Leg:
        """Return the leg."""
        return self.leg

    def abort(self) -> None:
        """Close it."""
        self.leg.close()


@final
class Judge:
    """`protocols.base.Services`, with a test's own decisions and target."""

    policy_revision = "test"

    def __init__(
        self,
        protocol: str,
        decide: Decide,
        target: Callable[[], Answerer],
        settings: dict[str, Any] | None = None,
    ) -> None:
        self._protocol = protocol
        self._decide = decide
        self._target = target
        self._settings = settings or {}
        self._pushed: list[Callable[[], None]] = []
        self.stopping = Ended()
        self.legs: list[MemoryLeg] = []
        self.client: MemoryLeg | None = None
        self.operations: list[Operation] = []
        self.recorded: list[RecordedEvent] = []
        self.most = 0

    async def authenticate(self, evidence: Evidence) -> Subject | Refused:
        """Whoever says `token` is `test`."""
        if evidence.token != "token":  # noqa: S105
            return Refused("who you are is not known", "")
        return Subject("test", ("agents",), "test", "tok-test")

    async def challenge(self, opening: Opening) -> Challenge | Refused:
        """There is none."""
        return Refused("no", "")

    async def prove(self, challenge: Challenge, proof: bytes) -> Proven | Refused:
        """There is none."""
        return Refused("no", "")

    async def authorize(
        self,
        subject: Subject,
        connection: Connection,
        selector: str,
        login: str | None,
        application: str,
        encrypted: bool,
        stated: Stated = UNSTATED,
        *,
        lasting: bool = False,
    ) -> Grant | Refused:
        """Everybody may reach `api`."""
        if selector != "api":
            return Refused("there is no such target", "")
        address = TargetAddress("target.test", 80, "disable")
        return Grant(
            session="ses-test",
            subject=subject,
            target=Target("api", self._protocol, address, "", {}, self._settings),
            login=login or "app",
            credential=Secret(b"credential-of-the-target"),
            source=connection.source,
            application=application,
            ends=4e9,
            write=True,
        )

    def admit(self, connection: Connection) -> None:
        """Nothing is counted."""

    async def dial(self, grant: Grant) -> Leg:
        """Return a leg to a new connection of the target."""
        answerer = self._target()

        def answers(data: bytes) -> None:
            asyncio.get_running_loop().call_soon(leg.feed, answerer.receive(data))

        leg = MemoryLeg(answers)
        self.legs.append(leg)
        return leg

    async def start_tls(
        self, grant: Grant, leg: Leg, *, alpn: tuple[str, ...] = (), identity: Secret | None = None
    ) -> Leg:
        """There is no TLS."""
        return leg

    async def dial_catalogue(self, target: str, database: str) -> Grant:
        """There is no side connection."""
        raise NotImplementedError

    def register_cancel(self, grant: Grant, key: CancelKey) -> None:
        """Nothing is cancelled."""

    async def cancel(self, key: CancelKey, source: str) -> None:
        """Nothing is cancelled."""

    def precheck(self, grant: Grant, operation: Operation) -> Deny | None:
        """Nothing is denied beforehand."""
        return None

    async def clear(
        self,
        grant: Grant,
        issued: OperationIssued,
        told: Callable[[str], None],
        stands: Callable[[], Awaitable[bool]] | None = None,
        carry: Callable[[Obligations], Carried] | None = None,
    ) -> Allow | Deny:
        """Decide as the test does."""
        self.operations.append(issued.operation)
        return self._decide(issued.operation)

    def spend(self, grant: Grant, rows: int, size: int) -> Deny | None:
        """There is no quota."""
        return None

    def record(self, event: RecordedEvent) -> None:
        """Keep it."""
        self.recorded.append(event)

    def push(self, write: Callable[[], None]) -> None:
        """Call `write` at the end of this turn."""
        if not self._pushed:
            asyncio.get_running_loop().call_soon(self._run)
        self._pushed.append(write)

    async def room(self) -> None:
        """There always is."""

    def close(self, grant: Grant, reason: str, counts: Counts) -> None:
        """Nothing is kept of it."""

    async def relay(
        self,
        grant: Grant,
        client: Leg,
        target: Leg,
        codec: Codec,
        *,
        prepare: Callable[[Wait], Awaitable[None]],
        cancel: Callable[[], Awaitable[None]],
    ) -> None:
        """Dialogues have checks of their own (`testing.contract`)."""
        raise NotImplementedError

    def _run(self) -> None:
        pushed, self._pushed = self._pushed, []
        legs = [leg for leg in (*self.legs, self.client) if leg is not None]
        for leg in legs:
            leg.may_write = True
        try:
            for write in pushed:
                write()
        finally:
            for leg in legs:
                leg.may_write = False
        if self.client is not None:
            taken = sum(leg.taken for leg in self.legs)
            self.most = max(self.most, taken - len(self.client.written))


async def served(
    plugin: Plugin,
    sent: bytes,
    target: Callable[[], Answerer],
    *,
    decide: Decide = allow,
    sizes: Sequence[int] = (),
    settings: dict[str, Any] | None = None,
    stalled: bool = False,
    until: Callable[[bytes], bool] | None = None,
) -> Served:
    """Serve one connection on which `sent` arrives, `sizes` bytes at a time; then it ends.

    `until`: the client goes when what it got satisfies this; None: when nothing moves any more.
    """
    client = MemoryLeg()
    client.stalled = stalled
    judge = Judge(plugin.name, decide, target, settings)
    judge.client = client
    task = asyncio.ensure_future(_serve(plugin, client, sent, judge))
    async with asyncio.timeout(PATIENCE):
        for piece in cut(sent, sizes):
            client.feed(piece)
            await asyncio.sleep(0)
        await _quiet(judge, client, task, until)
        client.end()
        await task
    return Served(
        bytes(client.written),
        [bytes(leg.written) for leg in judge.legs],
        judge.operations,
        judge.recorded,
        judge.most,
    )


async def _serve(plugin: Plugin, client: MemoryLeg, sent: bytes, judge: Judge) -> None:
    """Serve as a worker does: what is not written when `serve` returns never is."""
    try:
        await plugin.serve(MemoryConnection(client, sent), judge)
    finally:
        client.close()


async def _quiet(
    judge: Judge,
    client: MemoryLeg,
    task: asyncio.Future[None],
    until: Callable[[bytes], bool] | None,
) -> None:
    """Wait until nothing has moved for many turns."""
    still, seen = 0, (-1, -1)
    while not task.done() and still < 50:
        await asyncio.sleep(0)
        if until is not None:
            if until(bytes(client.written)):
                return
            continue
        now = (len(client.written), sum(len(leg.written) + leg.taken for leg in judge.legs))
        still, seen = (still + 1 if now == seen else 0), now
