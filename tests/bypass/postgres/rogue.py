"""Servers that lie: one that only speaks what a test scripts, one that stands before a real server.

`Tampering` carries both directions as they are until a test arms it; then each message from the
real server goes through the test's function, which returns the bytes that go on in its place.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

PATIENCE = 60.0

Change = Callable[[str, bytes], bytes]
"""Takes a message (its type and body) and returns what goes on instead of it."""


def message(kind: str, body: bytes = b"") -> bytes:
    """One message with its length."""
    return kind.encode("latin-1") + struct.pack(">i", len(body) + 4) + body


def with_length(kind: str, length: int, body: bytes = b"") -> bytes:
    """One message that lies about its length."""
    return kind.encode("latin-1") + struct.pack(">I", length & 0xFFFFFFFF) + body


def row(*cells: bytes | None, count: int | None = None) -> bytes:
    """A DataRow; `count` lies about how many cells there are."""
    body = struct.pack(">h", len(cells) if count is None else count)
    for cell in cells:
        body += b"\xff\xff\xff\xff" if cell is None else struct.pack(">i", len(cell)) + cell
    return message("D", body)


def description(*columns: tuple[str, int, int]) -> bytes:
    """A RowDescription of text columns: name, table's oid, attribute's number."""
    body = struct.pack(">h", len(columns))
    for name, table, attribute in columns:
        body += name.encode() + b"\0" + struct.pack(">IhIhih", table, attribute, 25, -1, -1, 0)
    return message("T", body)


class _Listening:
    """Accepts on a port of its own; each connection gets a thread. A context manager."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closed = False

    def serve(self, connection: socket.socket) -> None:
        """Serve one connection."""
        raise NotImplementedError

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            self._start(self._guarded, connection)

    def _guarded(self, connection: socket.socket) -> None:
        self._open.append(connection)
        try:
            self.serve(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> _Listening:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(PATIENCE)


class Scripted(_Listening):
    """Sends its answers one after another, each when the other side has said something.

    `heard` is every byte that it was sent: a credential must not be there.
    """

    def __init__(self, answers: list[bytes], host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.answers = answers
        self.heard = bytearray()
        self.accepted = 0

    def serve(self, connection: socket.socket) -> None:
        """Say the script, then listen to the end."""
        self.accepted += 1
        for answer in self.answers:
            data = connection.recv(65536)
            self.heard += data
            if not data:
                return
            connection.sendall(answer)
        while data := connection.recv(65536):
            self.heard += data

    def __enter__(self) -> Scripted:
        super().__enter__()
        return self


class Tampering(_Listening):
    """Stands before the real server at `port`, and tampers with users' sessions once `arm`ed.

    The gateway's own side connection, known by its application's name, is left alone.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self._real = port
        self._change: Change | None = None

    def arm(self, change: Change | None) -> None:
        """Tamper with every message from now on."""
        self._change = change

    def serve(self, connection: socket.socket) -> None:
        """Carry one connection."""
        server = socket.create_connection(("127.0.0.1", self._real), timeout=PATIENCE)
        self._open.append(server)
        first = connection.recv(65536)
        server.sendall(first)
        self._start(self._back, server, connection, b"sallyport catalogue" in first)
        try:
            while data := connection.recv(65536):
                server.sendall(data)
        finally:
            _end(server)

    def _back(self, server: socket.socket, connection: socket.socket, alone: bool) -> None:
        buffer = bytearray()
        try:
            while data := server.recv(65536):
                buffer += data
                out = bytearray()
                while len(buffer) >= 5:
                    size = 1 + int(struct.unpack_from(">i", buffer, 1)[0])
                    if len(buffer) < size:
                        break
                    kind, body = chr(buffer[0]), bytes(buffer[5:size])
                    change = None if alone else self._change
                    out += bytes(buffer[:size]) if change is None else change(kind, body)
                    del buffer[:size]
                connection.sendall(out)
        except OSError:
            pass
        finally:
            _end(connection)
            server.close()

    def __enter__(self) -> Tampering:
        super().__enter__()
        return self


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
