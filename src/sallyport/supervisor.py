"""Supervisor: holds the listening sockets and keeps control and the worker running.

It has no secret and serves nobody. Because the sockets are its own, a process that dies is
replaced without a refused connection: clients wait in the accept queue.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import structlog
from msgspec import Struct

from sallyport.config.types import Address
from sallyport.core.errors import ConfigError

BACKLOG = 1024
"""Connections that wait while a worker is replaced."""

FIRST_DELAY = 0.1
LONGEST_DELAY = 1.0
"""Seconds before a process that died is started again: doubles from the first to the longest."""

STEADY = 10.0
"""Seconds after which a process counts as steady, and its delay starts anew."""

DRAIN = 10.0
"""Seconds that sessions have to end by themselves when the gateway is asked to stop."""

GRACE = 5.0
"""Seconds after the drain before a process that does not stop is killed."""

CANNOT_RUN = 2
"""Exit code of a process that cannot run with what it was given, and has said why."""

_log = structlog.get_logger("supervisor")


class Part(Struct):
    """One process to keep running. `arguments` go to `python -m sallyport.app`."""

    name: str
    arguments: list[str]
    sockets: list[socket.socket]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    started: float = 0.0
    delay: float = FIRST_DELAY
    due: float = 0.0


def bind(address: Address) -> socket.socket:
    """Return a listening socket. Raises: ConfigError saying what is in the way."""
    try:
        if address.path is not None:
            sock = _bind_unix(address.path)
        else:
            sock = _bind_internet(address.host, address.port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            reason = "it is in use: end what listens there, or name another address"
        raise ConfigError(f"cannot listen on `{address}`: {reason}") from None
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _bind_internet(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(where)
    return sock


def _bind_unix(path: Path) -> socket.socket:
    """Bind a Unix socket in the place of one that an earlier run left behind.

    FAILS CLOSED: one that somebody listens on is not taken from them. Raises: OSError.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            if _in_use(path):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            path.unlink()
        sock.bind(str(path))
        path.chmod(0o660)
    except BaseException:
        sock.close()
        raise
    return sock


def _in_use(path: Path) -> bool:
    """Whether somebody listens on a Unix socket; a full queue is somebody's too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) in (0, errno.EAGAIN, errno.EINPROGRESS)


def lock(folder: Path) -> int:
    """Take the state folder for this gateway alone; return the descriptor that holds it."""
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigError(f"another gateway runs on the state folder `{folder}`") from None
    return descriptor


class Supervisor:
    """Keeps `parts` running until SIGTERM or SIGINT. Workers first go, control last.

    A process that died is started again, but for one: who cannot run at the very first start (a
    secret that is not there, a certificate that is none) would never run, so the gateway ends.
    """

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._stopping = False
        self._reload = False
        self._code = 0

    def run(self) -> int:
        """Run until told to stop; return 0, or 1 when a part could not run at all."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            while not self._stopping:
                self._tend()
                self._sleep(reader, self._until_due())
            self._stop(reader)
        finally:
            signal.set_wakeup_fd(-1)
            for part in self._parts:
                if part.process is not None and part.process.poll() is None:
                    part.process.kill()
                    part.process.wait()
        return self._code

    # --- inside

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _on_reload(self, *_: object) -> None:
        self._reload = True

    def _tend(self) -> None:
        now = time.monotonic()
        for part in self._parts:
            if part.process is not None and part.process.poll() is not None:
                self._bury(part, now)
            if part.process is None and now >= part.due and not self._stopping:
                self._start(part, now)
        if self._reload:
            self._reload = False
            for part in self._parts:
                if part.process is not None:
                    part.process.send_signal(signal.SIGHUP)

    def _start(self, part: Part, now: float) -> None:
        descriptors = [sock.fileno() for sock in part.sockets]
        part.process = subprocess.Popen(
            # `-P`: nothing is imported from the folder that one happens to be in.
            [sys.executable, "-P", "-m", "sallyport.app", *part.arguments],
            pass_fds=descriptors,
            stdin=subprocess.PIPE,  # nothing is ever written: it closes when we are gone
            start_new_session=True,
        )
        part.started = now
        part.starts += 1
        _log.info("started", part=part.name, pid=part.process.pid)

    def _bury(self, part: Part, now: float) -> None:
        code = part.process.returncode if part.process is not None else None
        if part.process is not None and part.process.stdin is not None:
            part.process.stdin.close()
        part.process = None
        if code == CANNOT_RUN and part.starts == 1:
            _log.error("cannot run, so the gateway ends", part=part.name)
            self._stopping, self._code = True, 1
            return
        if now - part.started > STEADY:
            part.delay = FIRST_DELAY
        part.due = now + part.delay
        part.delay = min(part.delay * 2, LONGEST_DELAY)
        _log.error("died, will be started again", part=part.name, code=code)

    def _until_due(self) -> float:
        """Return the seconds until a process is to be started, at most a second."""
        waiting = [part.due for part in self._parts if part.process is None]
        return max(0.0, min([1.0, *(due - time.monotonic() for due in waiting)]))

    def _sleep(self, reader: int, seconds: float = 0.25) -> None:
        select.select([reader], [], [], seconds)
        try:
            while os.read(reader, 512):
                continue
        except BlockingIOError:
            return

    def _stop(self, reader: int) -> None:
        for part in reversed(self._parts):
            for sock in part.sockets:
                sock.close()  # who connects from now on is refused, not left to wait
            process = part.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            deadline = time.monotonic() + DRAIN + GRACE
            while process.poll() is None and time.monotonic() < deadline:
                self._sleep(reader)
            if process.poll() is None:
                _log.error("did not stop in time: killed", part=part.name)
                process.kill()
                process.wait()


def end_with_supervisor(loop: asyncio.AbstractEventLoop) -> None:
    """Stop this part, as SIGTERM does, when the supervisor is gone: its end of our input closes.

    A gateway whose parts nobody starts again or tells to stop would keep ports and state folder.
    """

    def look() -> None:
        if not os.read(0, 512):
            loop.remove_reader(0)
            _log.error("the supervisor is gone: stopping")
            os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(0, look)


def environment_descriptors(arguments: Mapping[str, int]) -> str:
    """Return `name=descriptor,...` as the parts' command line takes it."""
    return ",".join(f"{name}={descriptor}" for name, descriptor in arguments.items())


def parse_descriptors(text: str) -> dict[str, socket.socket]:
    """Return the inherited listening sockets by name."""
    found: dict[str, socket.socket] = {}
    for entry in filter(None, text.split(",")):
        name, _, number = entry.rpartition("=")
        sock = socket.socket(fileno=int(number))
        sock.setblocking(False)
        found[name] = sock
    return found
