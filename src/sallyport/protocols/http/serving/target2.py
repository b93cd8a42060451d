"""HTTP/2 towards the target: the exchanges of one session share a connection."""

from __future__ import annotations

import asyncio
from typing import final

from h2.errors import ErrorCodes

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.base import Leg, Services
from sallyport.protocols.http.http2 import read_response, write_request
from sallyport.protocols.http.message import NO_BODY, Fields, RequestHead, ResponseHead
from sallyport.protocols.http.serving.connection2 import Http2Connection, Stream
from sallyport.protocols.http.serving.ends import GoneError


@final
class Http2Target:
    """One connection."""

    def __init__(self, leg: Leg, services: Services) -> None:
        self.connection = Http2Connection(leg, services, None)
        self.used_at = asyncio.get_running_loop().time()
        self._pumping = asyncio.ensure_future(self._pump())

    @property
    def usable(self) -> bool:
        """Whether one more request may be sent."""
        connection = self.connection
        return (
            not connection.over and not connection.leaving
            and len(connection.streams) < connection.most
        )  # fmt: skip

    @property
    def idle(self) -> bool:
        """Whether no exchange is under way."""
        return not self.connection.streams

    def close(self) -> None:
        """Close it with all its exchanges."""
        self.connection.close()
        self._pumping.cancel()

    async def _pump(self) -> None:
        try:
            await self.connection.pump()
        except (TimeoutError, OSError):
            self.connection.leg.abort()


@final
class Http2Exchange:
    """One exchange. See `pool.TargetExchange`."""

    def __init__(self, target: Http2Target, used: int) -> None:
        self.target = target
        self.used = used
        self.heard = False
        self._stream: Stream | None = None
        self._whole = False
        self._method = ""

    @property
    def trailers(self) -> Fields:
        """The response's trailers, after its end."""
        return self._stream.trailers if self._stream is not None else []

    @property
    def usable(self) -> bool:
        """A stream carries one exchange."""
        return False

    async def send(self, head: RequestHead, body: bytes | None) -> None:
        """Send a request: whole with `body`, else its body follows by `write` and `end`."""
        self._method = head.method
        self.target.used_at = asyncio.get_running_loop().time()
        self._stream = self.target.connection.open(write_request(head), ended=body == b"")
        if body:
            await self._stream.write(body)
            self.target.connection.finish(self._stream, [])

    async def write(self, data: bytes) -> None:
        """Send a piece of the request's body, as fast as the target takes it."""
        await self._open().write(data)

    async def end(self, trailers: Fields) -> None:
        """End the request's body."""
        self.target.connection.finish(self._open(), trailers)

    async def listen(self, timeout: float) -> None:
        """Return when the response begins. Raises: GoneError, TimeoutError."""
        stream = self._open()
        async with asyncio.timeout(timeout):
            await stream.heard()
        if stream.gone is not None:
            raise stream.gone
        self.heard = True

    async def response(self, timeout: float) -> ResponseHead:
        """Return the next head: an interim one, or the final."""
        async with asyncio.timeout(timeout):
            lines, interim = await self._open().head()
        self.heard = True
        head = read_response(lines)
        if interim == (head.status >= 200):
            raise ProtocolViolation("target", "an interim response is out of place", "502")
        if not interim and head.length is None and self._is_empty(head):
            head.length = None if self._method == "HEAD" else 0
        return head

    async def read(self) -> bytes:
        """Return the next piece of the response's body; b"" at the end."""
        if self._whole:
            return b""
        data = await self._open().read()
        self._whole = not data
        return data

    def close(self) -> None:
        """Cut off what is not over."""
        if self._stream is not None:
            self.target.connection.reset(self._stream, ErrorCodes.CANCEL)
            self._stream.end(GoneError())

    def _is_empty(self, head: ResponseHead) -> bool:
        return head.status in NO_BODY or self._method == "HEAD" or self._open().complete

    def _open(self) -> Stream:
        if self._stream is None:
            raise GoneError
        return self._stream
