"""Link: a worker's way to control, over the Unix socket (see `core.messages` for the wire form).

FAILS CLOSED: after `SILENCE` seconds without a beat `alive` is False, every question raises
ControlLost, and whoever watches `lost` ends the sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import structlog

from sallyport.core.errors import ControlLost
from sallyport.core.messages import (
    HEARTBEAT,
    MAXIMUM_MESSAGE,
    SILENCE,
    Access,
    Beat,
    Envelope,
    Hello,
    Push,
    Reply,
    Request,
    SessionEnded,
    Snapshot,
)
from sallyport.core.subject import Refused

_ASK_DEADLINE = 10.0
_log = structlog.get_logger("link")


class Link:
    """One worker's connection to control; it reconnects by itself."""

    def __init__(
        self,
        path: str,
        hello: Callable[[], Hello],
        *,
        revision: Callable[[], str] = lambda: "",
        pushed: Callable[[Push], None],
        lost: Callable[[], None],
    ) -> None:
        self._path = path
        self._hello = hello
        self._revision = revision
        self._pushed = pushed
        self._lost = lost
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Envelope)
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._next = 1
        self._heard = 0.0
        self._alive = False

    @property
    def alive(self) -> bool:
        """Whether control was heard within the last second."""
        return self._alive and self._writer is not None

    async def ask(self, request: Request) -> Reply:
        """Send a request and return its reply. Raises: ControlLost."""
        if self._writer is None:
            raise ControlLost("control cannot be reached")
        identifier = self._next
        self._next += 1
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[identifier] = future
        try:
            self._send(Envelope(identifier, request))
            async with asyncio.timeout(_ASK_DEADLINE):
                return await future
        except TimeoutError:
            raise ControlLost("control does not answer") from None
        finally:
            self._waiting.pop(identifier, None)

    def tell(self, request: Request) -> None:
        """Send a request whose reply does not matter; lost with the connection."""
        if self._writer is not None:
            identifier = self._next
            self._next += 1
            self._send(Envelope(identifier, request))

    def beat(self) -> None:
        """Beat now: what this worker decides by has changed."""
        with contextlib.suppress(ControlLost):  # then the next beat says so
            self._send(Envelope(0, Beat(self._revision())))

    async def run(self) -> None:
        """Stay connected until cancelled."""
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError, ControlLost):
                    await self._converse()
                self._drop()
                await asyncio.sleep(HEARTBEAT / 2)
        finally:
            watch.cancel()
            self._drop()

    # --- inside

    async def _converse(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path)
        self._writer = writer
        loop = asyncio.get_running_loop()
        hello = asyncio.create_task(self._greet())
        beat = asyncio.create_task(self._beat())
        try:
            while True:
                head = await reader.readexactly(4)
                size = int.from_bytes(head, "big")
                if size > MAXIMUM_MESSAGE:
                    raise ControlLost("control sent a message over the limit")
                try:
                    envelope = self._decoder.decode(await reader.readexactly(size))
                except msgspec.MsgspecError:
                    raise ControlLost("control sent a message that does not decode") from None
                self._heard = loop.time()
                self._alive = True
                self._take(envelope)
        finally:
            hello.cancel()
            beat.cancel()
            writer.close()

    async def _greet(self) -> None:
        reply = await self.ask(self._hello())
        if isinstance(reply, Snapshot):
            self._pushed(reply)
        else:
            _log.error("control refused this worker", reply=type(reply).__name__)

    def _take(self, envelope: Envelope) -> None:
        if envelope.id:
            future = self._waiting.get(envelope.id)
            if future is not None and not future.done():
                future.set_result(envelope.body)  # type: ignore[arg-type]
            elif isinstance(envelope.body, Access):  # who asked has gone: nobody will use it
                self.tell(SessionEnded(envelope.body.session, "nobody waited for it"))
            return
        if not isinstance(envelope.body, Beat | Refused):
            self._pushed(envelope.body)  # type: ignore[arg-type]

    def _send(self, envelope: Envelope) -> None:
        writer = self._writer
        if writer is None or writer.is_closing():
            raise ControlLost("control cannot be reached")
        body = self._encoder.encode(envelope)
        writer.write(len(body).to_bytes(4, "big") + body)

    async def _beat(self) -> None:
        while True:
            self._send(Envelope(0, Beat(self._revision())))
            await asyncio.sleep(HEARTBEAT)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        checked = loop.time()
        while True:
            await asyncio.sleep(HEARTBEAT / 2)
            now = loop.time()
            stalled, checked = now - checked > SILENCE / 2, now
            if stalled:
                continue  # our own loop stood still: beats may wait in the socket unread
            alive = self._writer is not None and now - self._heard < SILENCE
            if self._alive and not alive:
                _log.error("control is silent: ending every session")
                self._alive = False
                self._lost()

    def _drop(self) -> None:
        self._writer = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ControlLost("control went away"))
        self._waiting.clear()
