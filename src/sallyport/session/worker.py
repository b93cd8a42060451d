"""Worker: one data process. It accepts, serves, decides from control's snapshot, and journals.

It never opens the store. FAILS CLOSED: before the first snapshot, after a silent control and after
a lost journal it accepts nobody and ends who is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from msgspec import Struct

from sallyport.core.errors import RecorderLost
from sallyport.core.messages import (
    CancelSession,
    CatalogueStale,
    Drain,
    EndSession,
    Hello,
    HoldAnswered,
    Push,
    Snapshot,
)
from sallyport.core.ports import Recorder
from sallyport.policy import Policy, PolicyError
from sallyport.protocols.base import Authentication, Plugin
from sallyport.session.connection import AcceptedConnection
from sallyport.session.gate import Conceal, PolicyGate
from sallyport.session.leg import SharedBuffer
from sallyport.session.lifecycle import Lifecycle
from sallyport.session.link import Link
from sallyport.session.services import WorkerServices
from sallyport.session.turn import Turn

ACCEPT_PAUSE = 0.1
"""Seconds to wait when the process has no file descriptor left."""

STOPS = "the gateway stops"

JOURNAL_LOST = 3
"""Exit code of a worker whose journal is lost: a new one begins a new file."""

_log = structlog.get_logger("worker")


class ListenerSocket(Struct):
    """A listening socket with what its connections need. `tls` is the context, if any."""

    name: str
    protocol: str
    socket: socket.socket
    tls: ssl.SSLContext | None
    tls_required: bool
    authentication: Authentication = Authentication()
    domain: str = ""


class Hall(Struct):
    """What serves sessions, assembled when control first said how."""

    gate: PolicyGate
    lifecycle: Lifecycle
    services: dict[str, WorkerServices]


class Worker:
    """One worker: make it, await `run`."""

    def __init__(
        self,
        *,
        name: str,
        pid: int,
        link_path: str,
        journal: Callable[[Mapping[str, Any]], Recorder],
        journal_folder: str,
        listeners: list[ListenerSocket],
        plugins: Mapping[str, Plugin],
        conceal: Callable[[Mapping[str, Any]], Conceal],
        maximum: int,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._open_journal = journal
        self._listeners = listeners
        self._plugins = plugins
        self._make_conceal = conceal
        self._maximum = maximum
        self._shared = SharedBuffer()
        self._connections: dict[asyncio.Task[None], AcceptedConnection] = {}
        self._stopping: asyncio.Future[int] = loop.create_future()
        self._accepting: list[asyncio.Task[None]] = []
        self._hall: Hall | None = None
        self._draining = False
        self._ending: asyncio.Task[None] | None = None
        self._link = Link(
            link_path,
            lambda: Hello(name, pid, journal_folder, self._sessions()),
            revision=lambda: self._hall.lifecycle.revision if self._hall is not None else "",
            pushed=self._pushed,
            lost=self._control_lost,
        )

    async def run(self) -> int:
        """Serve until drained or lost; return the exit code: 0 drained, 3 the journal is lost."""
        link = self._loop.create_task(self._link.run())
        try:
            return await self._stopping
        finally:
            for task in self._accepting:
                task.cancel()
            if self._hall is not None:
                self._hall.lifecycle.end_all(STOPS)
            if self._connections:
                await asyncio.wait(self._connections, timeout=3.0)
            for task in self._connections:
                task.cancel()
            link.cancel()

    def drain(self, seconds: float) -> None:
        """Stop listening; end when the last session has, or after `seconds`.

        A session ends as soon as nothing is under way in it: an idle one at once.
        """
        if self._draining:
            return
        self._draining = True
        if self._hall is not None:
            for services in self._hall.services.values():
                services.drain(STOPS)
        self._ending = self._loop.create_task(self._drained(seconds))

    # --- what control pushes

    def _pushed(self, push: Push) -> None:
        if isinstance(push, Snapshot):
            self._load(push)
        elif isinstance(push, Drain):
            self.drain(push.seconds)
        elif self._hall is None:
            return
        elif isinstance(push, HoldAnswered):
            self._hall.gate.answered(push)
        elif isinstance(push, EndSession):
            self._hall.lifecycle.end(push.session, push.reason)
        elif isinstance(push, CancelSession):
            for services in self._hall.services.values():
                services.interrupt(push.session)
        elif isinstance(push, CatalogueStale):
            for plugin in self._plugins.values():
                plugin.stale(push.target, push.database)

    def _load(self, snapshot: Snapshot) -> None:
        settings = snapshot.settings
        try:
            policy = Policy(snapshot.policy)
            hall = self._hall or self._build(settings)
        except PolicyError as error:
            _log.error("the pushed policy does not compile; the old one stays", error=str(error))
            return
        except RecorderLost as error:
            self._recorder_lost(str(error))
            return
        self._hall = hall
        for plugin in self._plugins.values():
            plugin.configure(settings)
        hall.gate.load(
            policy,
            strict=settings.get("durability") == "strict",
            in_transaction=float(settings.get("hold_in_transaction", 30.0)),
        )
        hall.lifecycle.revision = policy.revision
        self._link.beat()
        _log.info("policy loaded", revision=policy.revision)
        if not self._accepting and not self._draining:
            self._accepting = [
                self._loop.create_task(self._accept(listener, hall)) for listener in self._listeners
            ]

    def _build(self, settings: Mapping[str, Any]) -> Hall:
        """Assemble what serves sessions. Raises: RecorderLost when no journal can be begun."""
        journal = self._open_journal(settings)
        gate = PolicyGate(
            link=self._link,
            recorder=journal,
            stale=self._stale,
            conceal=self._make_conceal(settings),
        )
        lifecycle = Lifecycle(self._link, journal)
        turn = Turn(self._loop, journal, self._recorder_lost)
        services = {
            protocol: WorkerServices(
                protocol=protocol,
                link=self._link,
                lifecycle=lifecycle,
                gate=gate,
                recorder=journal,
                turn=turn,
                shared=self._shared,
                idle=settings.get("idle"),
            )
            for protocol in self._plugins
        }
        return Hall(gate=gate, lifecycle=lifecycle, services=services)

    def _sessions(self) -> tuple[str, ...]:
        return tuple(self._hall.lifecycle.live) if self._hall is not None else ()

    def _control_lost(self) -> None:
        if self._hall is not None:
            self._hall.lifecycle.end_all("the gateway's control does not answer")

    def _recorder_lost(self, reason: str) -> None:
        _log.error("the journal is lost: ending every session", reason=reason)
        if self._hall is not None:
            self._hall.lifecycle.end_all("the gateway cannot record")
        if not self._stopping.done():
            self._stopping.set_result(JOURNAL_LOST)

    def _stale(self, protocol: str, target: str, database: str) -> None:
        plugin = self._plugins.get(protocol)
        if plugin is not None:
            plugin.stale(target, database)

    # --- connections

    async def _accept(self, listener: ListenerSocket, hall: Hall) -> None:
        while True:
            try:
                sock, address = await self._loop.sock_accept(listener.socket)
            except OSError as error:
                _log.warning("cannot accept", listener=listener.name, error=str(error))
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if not self._link.alive or not self._make_place(hall):
                sock.close()
                continue
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection = AcceptedConnection(
                sock,
                source=address[0] if isinstance(address, tuple) else "unix",
                listener=listener.name,
                tls=listener.tls,
                tls_required=listener.tls_required,
                shared=self._shared,
                loop=self._loop,
                authentication=listener.authentication,
                domain=listener.domain,
            )
            task = self._loop.create_task(self._serve(hall, listener.protocol, connection))
            self._connections[task] = connection
            task.add_done_callback(lambda done: self._connections.pop(done, None))

    def _make_place(self, hall: Hall) -> bool:
        """Whether one more may come. Where there are too many, the first stranger goes for it:
        whoever only holds a connection keeps nobody out, and a session is never cut off for one.
        """
        if len(self._connections) < self._maximum:
            return True
        for task, connection in self._connections.items():
            if not task.cancelling() and not hall.lifecycle.is_admitted(connection):
                task.cancel()
                return True
        return False

    async def _serve(self, hall: Hall, protocol: str, connection: AcceptedConnection) -> None:
        try:
            await self._plugins[protocol].serve(connection, hall.services[protocol])
        except (OSError, EOFError) as error:
            _log.debug("connection ended", source=connection.source, error=repr(error))
        except Exception:
            _log.exception("connection failed", source=connection.source)
        finally:
            connection.finish()
            hall.lifecycle.disconnected(connection)

    async def _drained(self, seconds: float) -> None:
        deadline = self._loop.time() + seconds
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listener in self._listeners:
            listener.socket.close()
        while self._connections and self._loop.time() < deadline:
            await asyncio.sleep(0.05)
        if not self._stopping.done():
            self._stopping.set_result(0)


def raise_descriptor_limit() -> None:
    """Use as many file descriptors as the system grants."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
