"""HTTP/2 towards the client: each stream is a request that waits, runs and fails by itself."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, final

from h2.errors import ErrorCodes

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.base import Leg, Services
from sallyport.protocols.http.http2 import Lines, read_request, write_response
from sallyport.protocols.http.message import NO_BODY, Fields, RequestHead, ResponseHead
from sallyport.protocols.http.refusal import problem
from sallyport.protocols.http.serving.client1 import BODY, IDLE, LINGER, Serve
from sallyport.protocols.http.serving.connection2 import Http2Connection, Stream
from sallyport.protocols.http.serving.ends import GoneError

TICK: Final = 15.0
"""Seconds between two looks at whether a connection is idle."""


@final
class Http2Client:
    """One connection. Make it, await `run`."""

    def __init__(
        self, leg: Leg, services: Services, serve: Serve, scheme: str, data: bytes = b""
    ) -> None:
        self._serve = serve
        self._scheme = scheme
        self._data = data
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection = Http2Connection(leg, services, self._opened)
        self._quiet = 0.0

    def finish(self, reason: str) -> None:
        """Begin nothing new: the gateway stops."""
        self._connection.leave()

    async def close(self) -> None:
        """Close it after what is due."""
        self._connection.close()
        await asyncio.sleep(0)  # after what was pushed

    async def run(self) -> None:
        """Serve requests until the connection ends."""
        loop = asyncio.get_running_loop()
        watch = loop.call_later(TICK, self._look)
        try:
            await self._connection.pump(self._data)
        except (TimeoutError, OSError):
            self._connection.leg.abort()
        finally:
            watch.cancel()
            self._quiet = -1.0
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _look(self) -> None:
        """End a connection on which nothing was asked for long."""
        if self._quiet < 0 or self._connection.over:
            return
        self._quiet = 0.0 if self._connection.streams else self._quiet + TICK
        if self._quiet >= IDLE:
            self._connection.leave()
            return
        asyncio.get_running_loop().call_later(TICK, self._look)

    def _opened(self, stream: Stream, lines: Lines, ended: bool) -> None:
        task = asyncio.ensure_future(self._carry_out(stream, lines, ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        stream.on_gone = lambda: _end(task)

    async def _carry_out(self, stream: Stream, lines: Lines, ended: bool) -> None:
        response = _Response(self._connection, stream)
        try:
            try:
                head = read_request(lines, self._scheme, ended)
            except ProtocolViolation as violation:
                await _refuse(response, violation)
                return
            response.ask(head)
            await self._serve(head, _Body(stream, head.length), response)
        except (GoneError, TimeoutError):
            response.abort()
        except asyncio.CancelledError:
            response.abort()
            raise
        finally:
            if not stream.complete and response.ended and stream.gone is None:
                await _linger(stream)
            # Whole responses may leave before their request is read (RFC 9113, section 8.1).
            self._connection.reset(stream, ErrorCodes.NO_ERROR)


def _end(task: asyncio.Task[None]) -> None:
    task.cancel()


async def _linger(stream: Stream) -> None:
    """Read on for a while: clients take a reset for a failure, whatever came before it."""
    with contextlib.suppress(TimeoutError, GoneError, asyncio.CancelledError):
        async with asyncio.timeout(LINGER):
            while await stream.read():
                pass


async def _refuse(response: _Response, violation: ProtocolViolation) -> None:
    code = int(violation.code) if violation.code.isdigit() else 400
    answer = problem(code, violation.message, rules=("protocol",))
    await response.begin(answer.head)
    await response.write(answer.body)
    await response.end([])


@final
class _Body:
    """The body of one request. FAILS CLOSED: it is as long as its head says, trailers or none."""

    def __init__(self, stream: Stream, length: int | None) -> None:
        self._stream = stream
        self._left = length

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end."""
        try:
            async with asyncio.timeout(BODY):
                data = await self._stream.read()
        except TimeoutError:
            raise ProtocolViolation("client", "the body takes too long", "408") from None
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not data):
                raise ProtocolViolation("client", "Content-Length is not the body's", "400")
        return data


@final
class _Response:
    """The response to one request."""

    def __init__(self, connection: Http2Connection, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream
        self._head_alone = False
        self._expects = False
        self._bodiless = False
        self._left: int | None = None
        self.begun = False
        self.ended = False

    def ask(self, head: RequestHead) -> None:
        """It answers this request."""
        self._head_alone = head.method == "HEAD"
        self._expects = head.expects

    async def proceed(self) -> None:
        """Tell the client to send its body."""
        if self._expects and not self.begun:
            self._expects = False
            self._connection.headers(self._stream, [(b":status", b"100")], ended=False)

    async def interim(self, head: ResponseHead) -> None:
        """Send an interim response."""
        if not self.begun:
            self._connection.headers(self._stream, write_response(head), ended=False)

    async def begin(self, head: ResponseHead) -> None:
        """Send the head."""
        self.begun = True
        self._bodiless = self._head_alone or head.status in NO_BODY
        self._left = head.length
        self.ended = self._bodiless
        self._connection.headers(self._stream, write_response(head), ended=self._bodiless)

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self._bodiless or not data:
            return
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise GoneError
        await self._stream.write(data)

    async def end(self, trailers: Fields) -> None:
        """End the response. FAILS CLOSED: one that is not whole is cut off."""
        if self._bodiless:
            return
        if self._left:
            self.abort()
            return
        self.ended = True
        self._connection.finish(self._stream, trailers)

    def abort(self) -> None:
        """Cut the response off."""
        if not self.ended:
            self.ended = True
            self._connection.reset(self._stream, ErrorCodes.INTERNAL_ERROR)
