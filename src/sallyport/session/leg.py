"""Legs: one side's byte stream, on one read buffer that a whole worker shares.

Theory of operation. A leg begins as a stream (`read`, `drain`) for the login dialogue and is then
attached to a relay, which gets every chunk by a plain call. All legs of a worker read into one
64 KiB buffer: `buffer_updated` copies what arrived once, and that bytes object is what is parsed
and forwarded. A read that filled the buffer pauses the leg until the next turn of the loop:
without that libuv repeats up to 32 reads a turn, and one bulk result holds up every other session.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Protocol

READ_SIZE = 64 * 1024
"""Bytes of the shared buffer: the most that one leg may bring in one turn of the loop."""

STREAM_LIMIT = 256 * 1024
"""Bytes that a leg keeps in stream mode before it stops reading."""

WRITE_HIGH = 256 * 1024
"""Bytes queued for sending above which the other leg is not read."""

CLOSE_DEADLINE = 5.0
"""Seconds that a peer has to take what is still queued when its leg is closed."""


class Receiver(Protocol):
    """Who gets a leg's bytes once it is attached."""

    def arrived(self, leg: StreamLeg, data: bytes) -> None:
        """Bytes came in."""

    def finished(self, leg: StreamLeg) -> None:
        """The peer sends no more, or the connection is lost."""

    def writable(self, leg: StreamLeg) -> None:
        """The queue for sending passed its limit, in either direction."""


class SharedBuffer:
    """The one read buffer of a worker."""

    __slots__ = ("memory", "view")

    def __init__(self) -> None:
        self.memory = bytearray(READ_SIZE)
        self.view = memoryview(self.memory)


class StreamLeg(asyncio.BufferedProtocol):
    """A transport's protocol that is a stream first and feeds a `Receiver` later."""

    def __init__(self, shared: SharedBuffer, loop: asyncio.AbstractEventLoop) -> None:
        self._shared = shared
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._reader: asyncio.Future[None] | None = None
        self._drainer: asyncio.Future[None] | None = None
        self._ended: Callable[[], None] | None = None
        self.held = False
        self._turn_over = True
        self._paused = False
        self.eof = False
        self.lost = False
        self.write_paused = False
        self.received = 0

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called when the connection, or its TLS handshake, is complete."""
        self.bind(transport)

    def bind(self, transport: asyncio.BaseTransport) -> None:
        """Use `transport` from now (again after `start_tls`)."""
        if not isinstance(transport, asyncio.Transport) and not hasattr(transport, "write"):
            raise TypeError("a leg needs a stream transport")
        self._transport = transport  # type: ignore[assignment]
        transport.set_write_buffer_limits(high=WRITE_HIGH)  # type: ignore[attr-defined]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called before each read."""
        return self._shared.view

    def buffer_updated(self, nbytes: int) -> None:
        """Called after each read: the shared buffer's first `nbytes` are ours, now and only now."""
        data = bytes(self._shared.view[:nbytes])
        self.received += nbytes
        if nbytes == READ_SIZE:
            self._turn_over = False
            self._adjust()
            self._loop.call_soon(self._next_turn)
        if self._receiver is not None:
            self._receiver.arrived(self, data)
            return
        self._chunks.append(data)
        self._buffered += nbytes
        self._wake()
        if self._buffered > STREAM_LIMIT:
            self.hold(True)

    def eof_received(self) -> bool:
        """Called at the peer's end of stream. A plain transport stays open for writing."""
        self._finish()
        return self.tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection is gone."""
        self.lost = True
        if self._drainer is not None and not self._drainer.done():
            self._drainer.set_result(None)
        self._finish()

    def pause_writing(self) -> None:
        """Called when the queue for sending passed its upper limit."""
        self.write_paused = True
        if self._receiver is not None:
            self._receiver.writable(self)

    def resume_writing(self) -> None:
        """Called when the queue for sending is short again."""
        self.write_paused = False
        if self._drainer is not None and not self._drainer.done():
            self._drainer.set_result(None)
        if self._receiver is not None:
            self._receiver.writable(self)

    # --- stream mode

    async def read(self) -> bytes:
        """Return what has arrived, at most one chunk; b"" at the end of the stream."""
        while not self._chunks:
            if self.eof:
                return b""
            self._reader = self._loop.create_future()
            await self._reader
        data = self._chunks.popleft()
        self._buffered -= len(data)
        if self._buffered <= STREAM_LIMIT:
            self.hold(False)
        return data

    def unread(self) -> bool:
        """Whether bytes arrived that nobody has read yet."""
        return bool(self._chunks)

    def write(self, data: bytes) -> None:
        """Queue bytes for sending. After a loss it does nothing: the reader will see the end."""
        if self._transport is not None and not self.lost:
            self._transport.write(data)

    async def drain(self) -> None:
        """Return when the queue is short again, or the connection lost."""
        if self.write_paused and not self.lost:
            if self._drainer is None or self._drainer.done():
                self._drainer = self._loop.create_future()
            await asyncio.shield(self._drainer)  # others may wait for the same

    def close(self) -> None:
        """Close after sending what is queued; a peer that does not take it is cut off."""
        transport = self._transport
        if transport is None or self.lost:
            return
        transport.close()
        self._loop.call_later(CLOSE_DEADLINE, self._abort, transport)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def on_end(self, ended: Callable[[], None] | None) -> None:
        """Call `ended` when the peer sends no more, or is gone; at once if that is past."""
        self._ended = ended
        if self.eof and ended is not None:
            ended()

    @property
    def over(self) -> bool:
        """Whether the peer sends no more, or is gone."""
        return self.eof

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, for channel binding and client certificates."""
        found: ssl.SSLObject | None = None
        if self._transport is not None:
            found = self._transport.get_extra_info("ssl_object")
        return found

    @property
    def transport(self) -> asyncio.Transport:
        """The transport. Raises: ConnectionError before there is one."""
        if self._transport is None:
            raise ConnectionError("the leg is not connected")
        return self._transport

    # --- attached mode

    def attach(self, receiver: Receiver) -> None:
        """Feed `receiver` from now, first with what already arrived."""
        self._receiver = receiver
        self._buffered = 0
        self.hold(False)
        while self._chunks:
            receiver.arrived(self, self._chunks.popleft())
        if self.eof:
            receiver.finished(self)

    def hold(self, held: bool) -> None:
        """Stop or go on reading, beyond this turn."""
        if held != self.held:
            self.held = held
            self._adjust()

    # --- inside

    def _next_turn(self) -> None:
        self._turn_over = True
        self._adjust()

    def _adjust(self) -> None:
        pause = self.held or not self._turn_over
        if pause == self._paused or self._transport is None or self.lost:
            return
        self._paused = pause
        if self._transport.is_closing():
            return
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _finish(self) -> None:
        if self.eof:
            return
        self.eof = True
        self._wake()
        if self._ended is not None:
            self._ended()
        if self._receiver is not None:
            self._receiver.finished(self)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    @staticmethod
    def _abort(transport: asyncio.Transport) -> None:
        transport.abort()
