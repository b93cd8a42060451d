"""What the attacks that once went through need: a target that answers as told, and raw clients."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived

from tests.support.http_gateway import HttpGateway
from tests.support.http_peers import Peer

PATIENCE = 60.0
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Seen(NamedTuple):
    """One request that the target saw, on the connection of that number."""

    connection: int
    line: str
    head: str
    body: bytes


Told = bytes | Callable[[Seen], bytes]


class Target(Peer):
    """Answers `/NAME` with `answers[NAME]`. Of those in `hasty` the answer leaves before the body
    was read, which is read nevertheless; `later` is sent some time after the answer. `chunked` is the
    last body that came in chunks, as it came."""

    name = "told"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.answers: dict[str, Told] = {}
        self.hasty: set[str] = set()
        self.later: dict[str, bytes] = {}
        self.seen: list[Seen] = []
        self.chunked = b""
        self._connections = 0
        self._socket = socket.create_server(("127.0.0.1", self.port))

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._socket.close()

    def clear(self) -> None:
        self.seen.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._connections += 1
                one = (connection, self._connections)
                threading.Thread(target=self._serve, args=one, daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), connection:
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = connection.recv(65536)
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                line, *lines = head.decode("latin-1").split("\r\n")
                if "transfer-encoding: chunked" in head.decode("latin-1").lower():
                    while not buffer.endswith(b"\r\n\r\n"):
                        data = connection.recv(65536)
                        if not data:
                            return
                        buffer += data
                    self.chunked, buffer = buffer, b""
                sizes = [one[15:] for one in lines if one.lower().startswith("content-length:")]
                size = int(sizes[0]) if sizes else 0
                name = line.split(" ")[1].partition("?")[0].strip("/")
                told = self.answers.get(name, OK)
                if name in self.hasty and isinstance(told, bytes):
                    self.seen.append(Seen(number, line, "\n".join(lines), b""))
                    connection.sendall(told)
                while len(buffer) < size:
                    data = connection.recv(65536)
                    if not data:
                        return
                    buffer += data
                body, buffer = buffer[:size], buffer[size:]
                if name in self.hasty:
                    continue
                seen = Seen(number, line, "\n".join(lines), body)
                self.seen.append(seen)
                connection.sendall(told if isinstance(told, bytes) else told(seen))
                if name in self.later:
                    time.sleep(0.1)
                    connection.sendall(self.later[name])


class Answer(NamedTuple):
    """A response as a client got it, all of it."""

    status: int
    text: str

    @property
    def told(self) -> dict[str, Any]:
        """What its JSON says."""
        found: dict[str, Any] = json.loads(self.text.partition("\r\n\r\n")[2])
        return found


def ask(
    gateway: HttpGateway,
    line: str,
    *fields: str,
    body: bytes = b"",
    raw: bytes = b"",
    token: str = "",
) -> Answer:
    """Send one request (`GET /t/...`), and return what came until the connection's end.

    `raw` follows the head as it is."""
    head = [
        f"{line} HTTP/1.1",
        f"Host: 127.0.0.1:{gateway.port}",
        f"Authorization: Bearer {token or gateway.agent}",
        "Connection: close",
        *fields,
    ]
    if body:
        head.append(f"Content-Length: {len(body)}")
    received = b""
    with socket.create_connection(("127.0.0.1", gateway.port), PATIENCE) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body + raw)
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                received += data
    words = received.split(b" ", 2)
    return Answer(int(words[1]) if len(words) > 1 else 0, received.decode("latin-1"))


class Second:
    """A client in HTTP/2 that may send what others would not."""

    def __init__(self, gateway: HttpGateway) -> None:
        self._gateway = gateway
        self._socket = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)
        self.h2 = H2Connection(
            H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.events: list[Event] = []
        self.flush()

    def __enter__(self) -> Second:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def flush(self) -> None:
        """Send what is due."""
        self._socket.sendall(self.h2.data_to_send())

    def request(self, stream: int, method: str, path: str, *fields: tuple[str, str]) -> None:
        """Open a stream; nothing of it is sent before `flush`."""
        lines = [
            (":method", method),
            (":scheme", "http"),
            (":authority", f"127.0.0.1:{self._gateway.port}"),
            (":path", path),
            ("authorization", f"Bearer {self._gateway.agent}"),
            *fields,
        ]
        self.h2.send_headers(stream, lines, end_stream=method == "GET")

    def data(self, stream: int, data: bytes, *, last: bool) -> None:
        """Send a body that fits into the windows."""
        for start in range(0, len(data), 16_384):
            end = start + 16_384
            self.h2.send_data(stream, data[start:end], end_stream=last and end >= len(data))
        self.flush()

    def until(self, met: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Read until that is so, or the connection over; whether it is so."""
        deadline = time.monotonic() + seconds
        while not met() and time.monotonic() < deadline:
            self._socket.settimeout(0.1)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if not data:
                break
            self.events += self.h2.receive_data(data)
            with contextlib.suppress(OSError):
                self.flush()
        return met()

    def status(self, stream: int) -> int:
        """Return the status of a stream's response; 0: there is none yet."""
        for event in self.events:
            if isinstance(event, ResponseReceived) and event.stream_id == stream:
                return int(dict(event.headers or [])[b":status"])
        return 0

    def body(self, stream: int) -> bytes:
        """Return what came of a stream's response."""
        return b"".join(
            event.data or b""
            for event in self.events
            if isinstance(event, DataReceived) and event.stream_id == stream
        )

    @property
    def sent_away(self) -> bool:
        """Whether the gateway ends the connection."""
        return any(isinstance(event, ConnectionTerminated) for event in self.events)


def wait(met: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait until that is so; whether it is."""
    deadline = time.monotonic() + seconds
    while not met() and time.monotonic() < deadline:
        time.sleep(0.02)
    return met()
