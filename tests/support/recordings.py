"""Events and recordings for tests."""

from __future__ import annotations

import os
from pathlib import Path

from sallyport.core.event import (
    OperationDecided,
    RecordedEvent,
    RequestForwarded,
    ResponseBegun,
    ResultEnded,
    ResultRows,
    SessionClosed,
    SessionOpened,
)
from sallyport.core.operation import Effect, Resource
from sallyport.recording.encoding import decode, payloads
from sallyport.recording.files import Scan, open_regular
from sallyport.recording.torn import start_of

T0 = 1_790_000_000.0
KEY = bytes(range(32))


def opened(
    session: str, at: float = T0, subject: str = "agent-1", target: str = "shop"
) -> SessionOpened:
    """A session's beginning."""
    return SessionOpened(
        session,
        at,
        subject,
        ("agents",),
        "tokens",
        "tok-1",
        (),
        "127.0.0.1",
        "psql",
        "postgres",
        target,
        "shop",
        "app",
        False,
        at + 3600,
        "r1",
        False,
    )


def decided(
    session: str,
    operation: int = 1,
    at: float = T0 + 1,
    text: str = "SELECT id FROM customers",
    decision: str = "allow",
    verb: str = "select",
    effect: Effect = Effect.READ,
    table: str = "public.customers",
    rules: tuple[str, ...] = ("agents-read",),
) -> OperationDecided:
    """One decision."""
    return OperationDecided(
        session,
        at,
        operation,
        verb,
        str(effect),
        (Resource("database", "shop", effect), Resource("table", table, effect, ("id",))),
        (),
        text,
        (),
        b"f" * 8,
        b"d" * 32,
        decision,
        rules,
    )


def rows(session: str, operation: int = 1, at: float = T0 + 1.1, data: bytes = b"r") -> ResultRows:
    """Some rows."""
    return ResultRows(session, at, operation, "postgres/rows", data, 1)


def ended(session: str, operation: int = 1, at: float = T0 + 1.2) -> ResultEnded:
    """The end of a result of three rows."""
    return ResultEnded(session, at, operation, "SELECT 3", 3, 30, b"h" * 32, False, 0.25)


def forwarded(session: str, operation: int = 1, at: float = T0 + 1.05) -> RequestForwarded:
    """A request's head on its way to the target."""
    headers = (("accept", "*/*"), ("content-type", "application/json"))
    return RequestForwarded(
        session, at, operation, "POST", "/v1/refunds?dry=1", "HTTP/1.1", headers,
        "https://api.internal",
    )  # fmt: skip


def begun(session: str, operation: int = 1, at: float = T0 + 1.1) -> ResponseBegun:
    """A response's head on its way to the client."""
    headers = (("content-type", "application/json"), ("set-cookie", "a=b; Path=/; HttpOnly"))
    return ResponseBegun(session, at, operation, 201, "Created", "HTTP/1.1", headers)


def closed(session: str, at: float = T0 + 2, reason: str = "client left") -> SessionClosed:
    """A session's end."""
    return SessionClosed(session, at, reason, 1, 3, 10, 20)


def whole(session: str, at: float = T0, **more: str) -> list[RecordedEvent]:
    """A whole session with one statement."""
    return [
        opened(session, at, **more),
        decided(session, at=at + 1),
        rows(session, at=at + 1.1),
        ended(session, at=at + 1.2),
        closed(session, at + 2),
    ]


def read_journal(path: Path, key: bytes | None = None) -> tuple[list[RecordedEvent], str]:
    """All whole records of a journal, and what lies behind them."""
    fd = open_regular(path)
    try:
        begin = start_of(fd)
        if begin.header is None:
            return [], "torn"
        cipher = begin.header.cipher(key)
        scan = Scan(fd, begin.offset, begin.chain)
        found = [decode(one) for frame in scan.frames() for one in payloads(frame, cipher)]
        return found, scan.tail
    finally:
        os.close(fd)
