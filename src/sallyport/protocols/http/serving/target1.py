"""HTTP/1.1 towards the target: one exchange at a time, kept for the next where both sides may."""

from __future__ import annotations

import asyncio
from typing import final

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.base import Leg, Services
from sallyport.protocols.http.http1 import Data, End, Reader, chunk, last_chunk, write_request
from sallyport.protocols.http.message import Fields, RequestHead, ResponseHead
from sallyport.protocols.http.serving.ends import GoneError
from sallyport.protocols.http.serving.outlet import Outlet


@final
class Http1Target:
    """One connection."""

    multiplexed = False

    def __init__(self, leg: Leg, services: Services) -> None:
        self.leg = leg
        self.out = Outlet(leg, services)
        self._reader = Reader("target")
        self._chunked = False
        self._left = 0
        self._sent = True
        self._whole = True
        self._keep = True
        self.heard = False
        self.used = 0
        self.trailers: Fields = []

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: all is over, and nothing unasked has come."""
        return (
            self._sent and self._whole and self._keep
            and self._reader.untouched and not self.leg.over and not self.leg.unread()
        )  # fmt: skip

    async def send(self, head: RequestHead, body: bytes | None) -> None:
        """Send a request: whole with `body`, else its body follows by `write` and `end`."""
        self.used += 1
        self.heard = self._whole = False
        self.trailers = []
        self._reader.expect(head.method)
        self._chunked = head.length is None
        self._left = head.length or 0 if body is None else 0
        data = write_request(head)
        self._sent = body is not None
        if body:
            data += body
        self.out.write(data)
        await self.leg.drain()

    async def write(self, data: bytes) -> None:
        """Send a piece of the request's body, as fast as the target takes it."""
        if not self._chunked:
            self._left -= len(data)
            if self._left < 0:
                raise _unequal()
        self.out.write(chunk(data) if self._chunked else data)
        await self.out.drain()

    async def end(self, trailers: Fields) -> None:
        """End the request's body. FAILS CLOSED: the target would take what comes next for it."""
        if self._chunked:
            self.out.write(last_chunk(trailers))
        elif self._left:
            raise _unequal()
        self._sent = True

    async def response(self, timeout: float) -> ResponseHead:
        """Return the next head: an interim one, or the final. Raises: GoneError, TimeoutError."""
        while True:
            event = self._reader.next()
            if isinstance(event, ResponseHead):
                if event.status >= 200 or event.status == 101:
                    self._keep = event.keep
                return event
            if event is not None:
                raise ProtocolViolation("target", "a body before its head", "502")
            async with asyncio.timeout(timeout):
                await self._more()

    async def read(self) -> bytes:
        """Return the next piece of the response's body; b"" at the end."""
        while not self._whole:
            event = self._reader.next()
            if isinstance(event, Data):
                return event.data
            if isinstance(event, End):
                self._whole = True
                self.trailers = event.trailers
                break
            await self._more()
        return b""

    async def listen(self, timeout: float) -> None:
        """Return when the first byte of the response is here. Raises: GoneError, TimeoutError."""
        async with asyncio.timeout(timeout):
            while not self.heard:
                await self._more()

    def rest(self) -> bytes:
        """Return what came after a 101: it is another protocol's."""
        return self._reader.rest()

    async def _more(self) -> None:
        data = await self.leg.read()
        if data:
            self.heard = True
            self._reader.feed(data)
            return
        self._reader.eof()
        if self._reader.untouched:
            raise GoneError

    def close(self) -> None:
        """Close the connection; what is not over is cut off."""
        if self.usable:
            self.out.close()
        else:
            self.out.abort()


def _unequal() -> ProtocolViolation:
    return ProtocolViolation("client", "Content-Length is not the body's", "400")
