"""HTTP/1.1 towards the client: requests one after the other, their responses in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, final

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.base import Leg, Services
from sallyport.protocols.http.http1 import Data, End, Reader, chunk, last_chunk, write_response
from sallyport.protocols.http.message import NO_BODY, Fields, RequestHead, ResponseHead
from sallyport.protocols.http.refusal import problem
from sallyport.protocols.http.serving.ends import GoneError, Incoming, Responder
from sallyport.protocols.http.serving.outlet import Outlet

IDLE: Final = 75.0
"""Seconds that a connection may wait for its next request."""
HEAD: Final = 15.0
"""Seconds from a head's first byte to its last."""
BODY: Final = 60.0
"""Seconds within which more of a body must come."""
DRAINED: Final = 256 * 1024
"""Bytes of a body that nobody wanted which are read so that the connection can go on."""

LINGER: Final = 5.0
"""Seconds that a client has to end a body that nobody wants, before it is cut off."""

Serve = Callable[[RequestHead, Incoming, Responder], Awaitable[None]]


@final
class Http1Client:
    """One connection. Make it, await `run`."""

    def __init__(
        self, leg: Leg, services: Services, serve: Serve, scheme: str, data: bytes = b""
    ) -> None:
        self._leg = leg
        self._out = Outlet(leg, services)
        self._serve = serve
        self._reader = Reader("client", scheme)
        self._reader.feed(data)
        self._closing = False
        self._busy = False

    def finish(self, reason: str) -> None:
        """Begin nothing new: the gateway stops."""
        self._closing = True
        if not self._busy:
            self._out.close()

    async def close(self) -> None:
        """Close it after what is due."""
        await self._out.finish()

    async def run(self) -> None:
        """Serve requests until the connection ends."""
        while not self._closing:
            try:
                head = await self._head()
            except ProtocolViolation as violation:
                self._refuse(violation)
                return
            if head is None:
                return
            self._busy = True
            body = _Body(self._leg, self._reader)
            response = _Response(self._out, self._reader, head, body, lambda: self._closing)
            await self._carry_out(head, body, response)
            self._busy = False
            if response.taken:
                return
            if not await self._go_on(head, body, response):
                await self._linger(body)
                return
            self._reader.proceed()

    async def _carry_out(self, head: RequestHead, body: _Body, response: _Response) -> None:
        """Serve one request; a client that leaves ends it."""
        task = asyncio.current_task()
        left = False

        def leave() -> None:
            nonlocal left
            if not response.ended and task is not None:
                left = True
                task.cancel()

        self._leg.on_end(leave)
        try:
            await self._serve(head, body, response)
        except asyncio.CancelledError:
            response.abort()
            if not left:  # it is this connection that is ended
                raise
        except (GoneError, OSError):
            response.abort()
        finally:
            self._leg.on_end(None)
        while left and task is not None and task.cancelling():
            task.uncancel()

    async def _go_on(self, head: RequestHead, body: _Body, response: _Response) -> bool:
        """Whether another request can be read from here."""
        if self._closing or not response.ended or response.close or self._leg.over:
            return False
        if head.expects and not response.proceeded:
            return False  # whether the body comes is not known (RFC 9110, section 10.1.1)
        try:
            return await body.drain()
        except (ProtocolViolation, GoneError):
            return False

    async def _linger(self, body: _Body) -> None:
        """Read on for a while: to close on unread bytes would cut off what was just sent."""
        with contextlib.suppress(TimeoutError, ProtocolViolation, GoneError):
            async with asyncio.timeout(LINGER):
                while await body.read():
                    pass

    async def _head(self) -> RequestHead | None:
        """Return the next request's head; None: the connection is over."""
        head = self._reader.next()
        if isinstance(head, RequestHead):
            return head
        deadline = IDLE if self._reader.untouched else HEAD
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline) as limit:
                while True:
                    head = self._reader.next()
                    if isinstance(head, RequestHead):
                        return head
                    first = self._reader.untouched
                    data = await self._leg.read()
                    if not data:
                        self._reader.eof()
                        self._reader.next()  # in the middle of a head, that is a violation
                        return None
                    self._reader.feed(data)
                    if first:
                        limit.reschedule(loop.time() + HEAD)
        except TimeoutError:
            if not self._reader.untouched:
                raise ProtocolViolation("client", "the head takes too long", "408") from None
            return None

    def _refuse(self, violation: ProtocolViolation) -> None:
        """Answer what cannot be read; nothing after it can be, either."""
        code = int(violation.code) if violation.code.isdigit() else 400
        answer = problem(code, violation.message, rules=("protocol",))
        self._out.write(write_response(answer.head, chunked=False, close=True) + answer.body)


@final
class _Body:
    """The body of one request."""

    def __init__(self, leg: Leg, reader: Reader) -> None:
        self._leg = leg
        self._reader = reader
        self._over = False

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end."""
        while not self._over:
            event = self._reader.next()
            if isinstance(event, Data):
                return event.data
            if isinstance(event, End):
                self._over = True
                break
            try:
                async with asyncio.timeout(BODY):
                    data = await self._leg.read()
            except TimeoutError:
                raise ProtocolViolation("client", "the body takes too long", "408") from None
            if not data:
                self._reader.eof()
                self._reader.next()
                raise GoneError
            self._reader.feed(data)
        return b""

    def is_long(self, head: RequestHead) -> bool:
        """Whether more is unread than will be read for the next request's sake."""
        if self._over:
            return False
        return head.expects or head.length is None or head.length > DRAINED

    async def drain(self) -> bool:
        """Read what nobody wanted; whether the end came before it was too much."""
        size = 0
        while data := await self.read():
            size += len(data)
            if size > DRAINED:
                return False
        return True


@final
class _Response:
    """The response to one request."""

    def __init__(
        self,
        out: Outlet,
        reader: Reader,
        head: RequestHead,
        body: _Body,
        closing: Callable[[], bool],
    ) -> None:
        self._body = body
        self._out = out
        self._reader = reader
        self._head = head
        self._closing = closing
        self._chunked = False
        self._bodiless = False
        self._left: int | None = None
        self.close = not head.keep
        self.begun = False
        self.ended = False
        self.proceeded = False
        self.taken = False

    async def proceed(self) -> None:
        """Tell the client to send its body."""
        if self._head.expects and not self.proceeded and not self.begun:
            self.proceeded = True
            self._out.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def interim(self, head: ResponseHead) -> None:
        """Send an interim response."""
        if self._head.version == "HTTP/1.1" and not self.begun:
            self._out.write(write_response(head, chunked=False, close=False))

    async def begin(self, head: ResponseHead) -> None:
        """Send the head."""
        self.begun = True
        self._bodiless = self._head.method == "HEAD" or head.status in NO_BODY
        self._left = head.length
        if head.length is None and not self._bodiless:
            self._chunked = self._head.version == "HTTP/1.1"
            self.close |= not self._chunked
        self.close |= self._closing() or self._body.is_long(self._head)
        self._out.write(write_response(head, chunked=self._chunked, close=self.close))

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self._bodiless or not data:
            return
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise GoneError
        self._out.write(chunk(data) if self._chunked else data)
        await self._out.drain()

    async def end(self, trailers: Fields) -> None:
        """End the response. FAILS CLOSED: one that is not whole is cut off."""
        if self._left and not self._bodiless:
            self.abort()
            return
        self.ended = True
        if self._chunked:
            self._out.write(last_chunk(trailers))

    def abort(self) -> None:
        """Cut the response off."""
        if not self.ended:
            self.close = True
            self._out.abort()

    def take_over(self, head: ResponseHead) -> tuple[Outlet, bytes]:
        """Send a 101 and hand the connection over; return it, with what was read of it."""
        self.begun = self.ended = self.taken = True
        self._out.leg.on_end(None)
        self._out.write(write_response(head, chunked=False, close=False))
        return self._out, self._reader.rest()
