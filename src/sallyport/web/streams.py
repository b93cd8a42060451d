"""Streams: live events as JSON lines or as Server-Sent Events, for as long as the caller may.

A stream outlives the check of its token, so the token is looked at again within each second: a
revoked one ends it. A reader that does not keep up is told how much it missed
(`dropped`, from the source's bounded queue); one that reads nothing at all is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sallyport.core.subject import Subject
from sallyport.web.problems import Problem

log = structlog.get_logger("sallyport.web")

BEAT = 0.5
"""Seconds between two looks at the token; in silence the stream also shows that it lives."""

SEND_DEADLINE = 30.0
"""Seconds that one write may wait for its reader."""

MAXIMUM_STREAMS = 64
MAXIMUM_STREAMS_A_SUBJECT = 8
MAXIMUM_STREAMS_WITHOUT_ROLE = 32
"""Streams open at once. Agents, who have no role, leave room for those who watch over them."""

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

Item = dict[str, object]
"""One event; its `type` is also the name of the Server-Sent Event."""


class Streams:
    """Counts the streams that are open, so that they stay few."""

    def __init__(self) -> None:
        self._open: Counter[tuple[str, str]] = Counter()
        self._without_role = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every stream: the server stops."""
        self._closing.set()

    async def closing(self) -> None:
        """Return when streams have to end."""
        await self._closing.wait()

    @property
    def count(self) -> int:
        """Streams open now."""
        return self._open.total()

    def check(self, caller: Subject) -> None:
        """See that there is a place for one more of `caller`. Raises: Problem (429)."""
        full = self.count >= MAXIMUM_STREAMS
        if not caller.roles:
            full = full or self._without_role >= MAXIMUM_STREAMS_WITHOUT_ROLE
        if full or self._open[caller.issuer, caller.name] >= MAXIMUM_STREAMS_A_SUBJECT:
            raise Problem(
                429,
                "too many streams are open",
                hint=f"close one; {MAXIMUM_STREAMS_A_SUBJECT} a subject are allowed",
                headers={"retry-after": "5"},
            )

    @contextlib.contextmanager
    def place(self, caller: Subject) -> Iterator[None]:
        """Hold a place while the block runs."""
        who = (caller.issuer, caller.name)
        self._open[who] += 1
        self._without_role += not caller.roles
        try:
            yield
        finally:
            self._without_role -= not caller.roles
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]


class EventStream(Response):
    """A response that sends the items of `source` until either side has had enough."""

    def __init__(
        self, request: Request, streams: Streams, caller: Subject, source: AsyncIterator[Item]
    ) -> None:
        streams.check(caller)
        self._sse = wants_sse(request)
        super().__init__(None, 200, media_type=SSE if self._sse else NDJSON)
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"
        self._streams = streams
        self._caller = caller
        self._source = source
        self._still: Callable[[], Awaitable[bool]] = request.state.still

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        with self._streams.place(self._caller):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            gone = asyncio.ensure_future(_disconnected(receive))
            closing = asyncio.ensure_future(self._streams.closing())
            try:
                async for chunk in self._chunks(gone, closing):
                    async with asyncio.timeout(SEND_DEADLINE):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if not gone.done():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            except (TimeoutError, OSError):
                log.info("stream reader let go", subject=self._caller.name)
            finally:
                gone.cancel()
                closing.cancel()
                await asyncio.gather(gone, closing, return_exceptions=True)

    async def _chunks(
        self, gone: asyncio.Future[None], closing: asyncio.Future[None]
    ) -> AsyncIterator[bytes]:
        checked = time.monotonic()
        upcoming: asyncio.Future[Item] = asyncio.ensure_future(anext(self._source))
        try:
            while True:
                either: set[asyncio.Future[Any]] = {upcoming, gone, closing}
                await asyncio.wait(either, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return
                if closing.done():
                    yield self._encode({"type": "ended", "reason": "the gateway stops"})
                    return
                if time.monotonic() - checked >= BEAT:
                    if not await self._still():
                        yield self._encode({"type": "ended", "reason": "the token is not valid"})
                        return
                    checked = time.monotonic()
                    if not upcoming.done():
                        yield b": beat\n\n" if self._sse else b"\n"
                if upcoming.done():
                    try:
                        item = upcoming.result()
                    except StopAsyncIteration:
                        return
                    except Exception as error:
                        log.error(
                            "stream broke", subject=self._caller.name, error=type(error).__name__
                        )
                        yield self._encode({"type": "ended", "reason": "the source broke"})
                        return
                    yield self._encode(item)
                    upcoming = asyncio.ensure_future(anext(self._source))
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()

    def _encode(self, item: Item) -> bytes:
        """Return one item on the wire. INVARIANT: ASCII JSON: no line feed can forge an event."""
        body = json.dumps(item, ensure_ascii=True)
        if not self._sse:
            return body.encode("ascii") + b"\n"
        name = "".join(c for c in str(item.get("type", "message")) if c.isalnum() or c == "-")
        return f"event: {name}\ndata: {body}\n\n".encode("ascii", "replace")


class DocumentStream(EventStream):
    """A response that is one JSON document: each item of `source` has a piece of its `text`.

    FAILS CLOSED: where it ends before its source does, what was sent is no JSON.
    """

    def __init__(
        self, request: Request, streams: Streams, caller: Subject, source: AsyncIterator[Item]
    ) -> None:
        super().__init__(request, streams, caller, source)
        self._sse = False
        self.headers["content-type"] = "application/json"

    def _encode(self, item: Item) -> bytes:
        """Return one piece; what is no piece says why it ends, for which there is no room."""
        return str(item.get("text", "")).encode("ascii")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def wants_sse(request: Request) -> bool:
    """Whether the caller asked for Server-Sent Events; JSON lines otherwise."""
    return SSE in request.headers.get("accept", "")
