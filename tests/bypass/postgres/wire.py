"""A client that says anything: raw messages of the PostgreSQL protocol over one socket.

Every byte that the other side sends is kept, so that a test can look for what must not be there.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence
from types import TracebackType

from msgspec import Struct

PATIENCE = 20.0
"""Seconds to wait for an answer that must come."""

Value = str | bytes | None


class Answer(Struct, frozen=True):
    """One message from the other side."""

    kind: str
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """Fields of an ErrorResponse or NoticeResponse."""
        parts = self.body.split(b"\0")
        return {p[:1].decode(): p[1:].decode("utf-8", "replace") for p in parts if p}

    @property
    def cells(self) -> list[bytes | None]:
        """Cells of a DataRow."""
        count = struct.unpack_from(">h", self.body)[0]
        position, found = 2, list[bytes | None]()
        for _ in range(count):
            size = struct.unpack_from(">i", self.body, position)[0]
            position += 4
            if size < 0:
                found.append(None)
                continue
            found.append(self.body[position : position + size])
            position += size
        return found


class Gone(Exception):
    """The other side closed the connection, or said nothing for too long."""


def message(kind: str, body: bytes = b"") -> bytes:
    """One message with its length."""
    return kind.encode() + struct.pack(">i", len(body) + 4) + body


def text(value: str | bytes) -> bytes:
    """A string with its NUL; bytes are taken as they are."""
    return (value if isinstance(value, bytes) else value.encode()) + b"\0"


def query(sql: str | bytes) -> bytes:
    """Query."""
    return message("Q", text(sql))


def parse(name: str, sql: str | bytes, types: Sequence[int] = ()) -> bytes:
    """Parse."""
    return message(
        "P", text(name) + text(sql) + struct.pack(f">h{len(types)}I", len(types), *types)
    )


def bind(
    portal: str = "",
    statement: str = "",
    values: Sequence[Value] = (),
    results: Sequence[int] = (),
    formats: Sequence[int] = (),
) -> bytes:
    """Bind. `formats` are those of the parameters, `results` those of the columns."""
    body = text(portal) + text(statement)
    body += struct.pack(f">h{len(formats)}h", len(formats), *formats)
    body += struct.pack(">h", len(values))
    for value in values:
        raw = value.encode() if isinstance(value, str) else value
        body += struct.pack(">i", -1) if raw is None else struct.pack(">i", len(raw)) + raw
    return message("B", body + struct.pack(f">h{len(results)}h", len(results), *results))


def describe(kind: str = "P", name: str = "") -> bytes:
    """Describe."""
    return message("D", kind.encode() + text(name))


def execute(portal: str = "", rows: int = 0) -> bytes:
    """Execute."""
    return message("E", text(portal) + struct.pack(">i", rows))


def close(kind: str, name: str = "") -> bytes:
    """Close."""
    return message("C", kind.encode() + text(name))


def function_call(oid: int, values: Sequence[Value], result: int = 0) -> bytes:
    """FunctionCall."""
    body = struct.pack(">Ihh", oid, 0, len(values))
    for value in values:
        raw = value.encode() if isinstance(value, str) else value
        body += struct.pack(">i", -1) if raw is None else struct.pack(">i", len(raw)) + raw
    return message("F", body + struct.pack(">h", result))


SYNC = message("S")
FLUSH = message("H")
COPY_DONE = message("c")
TERMINATE = message("X")


class Wire:
    """One connection. `seen` is every byte that came from the other side."""

    def __init__(self, port: int, parameters: dict[str, str], password: str) -> None:
        self.seen = bytearray()
        self._buffer = bytearray()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = b"".join(text(k) + text(v) for k, v in parameters.items()) + b"\0"
        packet = struct.pack(">i", 196608) + body
        self.send(struct.pack(">i", len(packet) + 4) + packet)
        self.greeting = self._login(password)

    def _login(self, password: str) -> list[Answer]:
        answers: list[Answer] = []
        while True:
            answer = self.next()
            answers.append(answer)
            if answer.kind == "R" and answer.body == struct.pack(">i", 3):
                self.send(message("p", text(password)))
            elif answer.kind == "E":
                raise Gone(answer.fields.get("M", ""))
            elif answer.kind == "Z":
                return answers

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def next(self, patience: float = PATIENCE) -> Answer:
        """Return the next message. Raises: Gone."""
        deadline = time.monotonic() + patience
        while True:
            if len(self._buffer) >= 5:
                size = struct.unpack_from(">i", self._buffer, 1)[0]
                if len(self._buffer) > size:
                    answer = Answer(chr(self._buffer[0]), bytes(self._buffer[5 : size + 1]))
                    del self._buffer[: size + 1]
                    return answer
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise Gone("no answer")
            try:
                data = self._socket.recv(65536)
            except OSError as error:
                raise Gone(str(error)) from error
            if not data:
                raise Gone("closed")
            self.seen += data
            self._buffer += data

    def until_ready(self, count: int = 1, *, copy: bool = True) -> list[Answer]:
        """Return what comes up to the `count`-th ReadyForQuery, or (`copy`) a request for data.

        Raises: Gone; what came before it is in its second argument.
        """
        answers: list[Answer] = []
        try:
            while count:
                answers.append(self.next())
                count -= answers[-1].kind == "Z"
                if copy and answers[-1].kind == "G":
                    break
        except Gone as gone:
            raise Gone(str(gone), answers) from gone
        return answers

    def quiet(self, seconds: float = 0.3) -> list[Answer]:
        """Return what comes until nothing does for a while: where no end is promised."""
        answers: list[Answer] = []
        try:
            while True:
                answers.append(self.next(seconds))
        except Gone:
            return answers

    def close(self) -> None:
        """Leave without a word."""
        self._socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
