"""The hub: the Unix socket where workers meet control (wire form: `core.messages`).

Theory of operation. The first message of a connection is `Hello`; its reply is the snapshot in
force. Requests are answered concurrently, each with its own id; pushes carry id 0. Both sides beat.
A worker that sends what does not decode, that is silent for `SILENT`, or that does not read, is
cut off. One that is back with the same pid within `GRACE` finds its sessions; else they are over.

FAILS CLOSED: the socket is 0600 in a 0700 folder, and a peer of another user is not heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from sallyport.core.errors import ConfigError
from sallyport.core.messages import (
    HEARTBEAT,
    MAXIMUM_MESSAGE,
    Authenticate,
    Beat,
    Envelope,
    Hello,
    Push,
    Reply,
    Request,
    Snapshot,
)
from sallyport.core.subject import Refused

SILENT: Final = 5.0
"""Seconds without a word after which a worker is cut off. Its own patience with us is shorter."""

GRACE: Final = 1.5
"""Seconds that the sessions of a worker outlive its connection."""

GREETING: Final = 5.0
MAXIMUM_UNREAD: Final = 32 * 1024 * 1024
"""Bytes that a worker may leave unread."""

MAXIMUM_OPEN: Final = 4096
"""Requests of one worker that may wait for their answer."""

MAXIMUM_LOGINS: Final = 512
_LONGEST_PATH: Final = 100
_OVERLOADED: Final = Refused("too many logins at once", "try again shortly")
_FAILED: Final = Refused("the gateway's control failed", "tell the operator")
_log = structlog.get_logger("hub")


class Desk(Protocol):
    """Who answers what workers ask."""

    async def answer(self, worker: str, request: Request, connected: Callable[[], bool]) -> Reply:
        """Return the reply to one request."""


class WorkerLeg:
    """One worker's connection."""

    def __init__(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        self.name = hello.worker
        self.pid = hello.pid
        self.revision = ""
        self.heard = asyncio.get_running_loop().time()
        self.tasks: set[asyncio.Task[None]] = set()
        self.logins = 0
        self._writer = writer
        self._encoder = msgspec.msgpack.Encoder()

    @property
    def connected(self) -> bool:
        """Whether it can still be told something."""
        return not self._writer.is_closing()

    def send(self, identifier: int, body: Reply | Push) -> None:
        """Queue one message; a worker that leaves too much unread is cut off."""
        if not self.connected:
            return
        data = self._encoder.encode(Envelope(identifier, body))
        if len(data) > MAXIMUM_MESSAGE:
            _log.error("a message is too large", kind=type(body).__name__)
            data = self._encoder.encode(Envelope(identifier, _FAILED))
        self._writer.write(len(data).to_bytes(4, "big") + data)
        if self._writer.transport.get_write_buffer_size() > MAXIMUM_UNREAD:
            _log.error("worker does not read", worker=self.name)
            self.cut()

    def cut(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()


class Hub:
    """The server. `greeted` is called at each `Hello`, `gone` when a worker stays away.

    `greeted` is told whether it is the same process as before.
    """

    def __init__(
        self,
        path: Path,
        snapshot: Callable[[], Snapshot],
        greeted: Callable[[Hello, bool], None],
        gone: Callable[[str], Awaitable[None]],
    ) -> None:
        self.path = path
        self._snapshot = snapshot
        self._greeted = greeted
        self._gone = gone
        self._desk: Desk | None = None
        self._server: asyncio.Server | None = None
        self._workers: dict[str, WorkerLeg] = {}
        self._departed: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._answering: set[asyncio.Task[None]] = set()
        self._decoder = msgspec.msgpack.Decoder(Envelope)
        self._beating: asyncio.Task[None] | None = None
        self._beaten = asyncio.Event()

    async def start(self, desk: Desk) -> None:
        """Listen. Raises: ConfigError when the socket cannot be had."""
        self._desk = desk
        listening = await asyncio.to_thread(_bind, self.path)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening)
        self._beating = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Cut every worker off and stop listening."""
        if self._beating is not None:
            self._beating.cancel()
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._connections, return_exceptions=True)
        waiting = [*self._answering, *(task for _, task in self._departed.values())]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if self._server is not None:
            self.path.unlink(missing_ok=True)

    def workers(self) -> list[str]:
        """Return the names of those who are connected."""
        return list(self._workers)

    def push(self, worker: str, message: Push) -> None:
        """Tell one worker something; lost when it is not there."""
        leg = self._workers.get(worker)
        if leg is not None:
            leg.send(0, message)

    def push_all(self, message: Push) -> None:
        """Tell every worker something."""
        for leg in list(self._workers.values()):
            leg.send(0, message)

    async def in_force(self, revision: str, within: float) -> bool:
        """Wait until every worker decides by this policy; whether they did `within` seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        while any(leg.revision != revision for leg in self._workers.values()):
            if loop.time() >= until:
                return False
            self._beaten.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._beaten.wait()
        return True

    # --- inside

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        self._writers.add(writer)
        leg: WorkerLeg | None = None
        try:
            if not _is_own(writer):
                _log.error("a process of another user is not heard")
                return
            async with asyncio.timeout(GREETING):
                first = await self._read(reader)
            if not isinstance(first.body, Hello) or first.id == 0:
                raise ValueError("the first message is not a greeting")
            leg = self._welcome(first.id, first.body, writer)
            while True:
                self._take(leg, await self._read(reader))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            _log.error("worker cut off", worker=leg and leg.name, reason=str(error))
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
            self._connections.discard(task)
            self._writers.discard(writer)
            if leg is not None:
                self._depart(leg)

    async def _read(self, reader: asyncio.StreamReader) -> Envelope:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > MAXIMUM_MESSAGE:
            raise ValueError("a message is over the limit")
        return self._decoder.decode(await reader.readexactly(size))

    def _welcome(self, identifier: int, hello: Hello, writer: asyncio.StreamWriter) -> WorkerLeg:
        if not 0 < len(hello.worker) <= 128:
            raise ValueError("a worker's name has 1 to 128 characters")
        before = self._workers.pop(hello.worker, None)
        departed = self._departed.pop(hello.worker, None)
        if departed is not None:
            departed[1].cancel()
        pid = before.pid if before is not None else (departed[0] if departed else None)
        if before is not None:
            before.cut()
        leg = WorkerLeg(hello, writer)
        self._workers[hello.worker] = leg
        self._greeted(hello, pid == hello.pid)
        leg.send(identifier, self._snapshot())
        _log.info("worker connected", worker=hello.worker, pid=hello.pid)
        return leg

    def _take(self, leg: WorkerLeg, envelope: Envelope) -> None:
        leg.heard = asyncio.get_running_loop().time()
        body = envelope.body
        if isinstance(body, Beat):
            leg.revision = body.revision
            self._beaten.set()
            return
        if not isinstance(body, Request) or isinstance(body, Hello) or envelope.id == 0:
            raise ValueError(f"{type(body).__name__} is not a request")
        if len(leg.tasks) >= MAXIMUM_OPEN:
            raise ValueError("too many requests at once")
        if isinstance(body, Authenticate):
            if leg.logins >= MAXIMUM_LOGINS:
                leg.send(envelope.id, _OVERLOADED)
                return
            leg.logins += 1
        task = asyncio.create_task(self._answer(leg, envelope.id, body))
        for tasks in (leg.tasks, self._answering):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _answer(self, leg: WorkerLeg, identifier: int, request: Request) -> None:
        reply: Reply = _FAILED
        try:
            if self._desk is not None:
                reply = await self._desk.answer(leg.name, request, lambda: self._is_current(leg))
        except Exception:
            _log.exception("request failed", worker=leg.name, kind=type(request).__name__)
        finally:
            leg.logins -= isinstance(request, Authenticate)
        leg.send(identifier, reply)

    def _is_current(self, leg: WorkerLeg) -> bool:
        return leg.connected and self._workers.get(leg.name) is leg

    def _depart(self, leg: WorkerLeg) -> None:
        if self._workers.get(leg.name) is not leg:
            return
        del self._workers[leg.name]
        task = asyncio.create_task(self._forget(leg.name))
        self._departed[leg.name] = (leg.pid, task)
        _log.info("worker disconnected", worker=leg.name)

    async def _forget(self, name: str) -> None:
        await asyncio.sleep(GRACE)
        self._departed.pop(name, None)
        await self._gone(name)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(HEARTBEAT)
            now = loop.time()
            stalled, last = now - last > SILENT / 2, now
            for leg in list(self._workers.values()):
                leg.send(0, Beat())
                if stalled:
                    leg.heard = now  # our own loop stood still: beats may wait unread
                elif now - leg.heard > SILENT:
                    _log.error("worker is silent", worker=leg.name)
                    leg.cut()


def _bind(path: Path) -> socket.socket:
    """Make the socket, 0600 from its first moment, in a folder that is ours alone."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigError(f"the state folder's path is too long for a socket: `{path}`")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.parent.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise ConfigError(f"folder `{path.parent}` must be yours alone: run `chmod 700` on it")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"`{path}` is in the way of the workers' socket")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        listening.close()
        raise ConfigError(f"socket `{path}` cannot be made: {error.strerror}") from error
    listening.setblocking(False)
    return listening


def _is_own(writer: asyncio.StreamWriter) -> bool:
    """Whether the peer runs as the same user (SO_PEERCRED)."""
    peer = writer.get_extra_info("socket")
    if peer is None:
        return False
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    return bool(uid == os.geteuid())
