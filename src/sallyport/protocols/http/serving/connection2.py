"""HTTP/2 on one leg: the frames are the library's (`h2`), the streams are here.

Theory of operation. `pump` reads the leg, and what comes goes to its stream, where whoever serves
that stream waits for it. A stream's window opens again as its data is read, so that no more than a
window of each waits here. What is sent waits for the peer's windows and for the leg.

FAILS CLOSED: a peer that breaks the protocol, or makes work in ways that serve nothing (resets,
pings and settings in floods), loses its connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.base import Leg, Services
from sallyport.protocols.http import grammar
from sallyport.protocols.http.http2 import Lines, read_trailers
from sallyport.protocols.http.message import Fields
from sallyport.protocols.http.serving.ends import STALLED, GoneError, RefusedError
from sallyport.protocols.http.serving.outlet import Outlet

STREAMS: Final = 128
"""Streams that a peer may have open at once."""
WINDOW: Final = 256 * 1024
"""Bytes of one stream that may wait here."""
ALL_WINDOWS: Final = 4 * 1024 * 1024
"""Bytes of all streams of one connection that may wait here."""
RESETS: Final = 100
"""Streams that may be reset, before it counts how many were served."""
IDLE_FRAMES: Final = 1000
"""Frames that move nothing, between two that do."""


@final
class Stream:
    """One stream. `gone`: it was reset, or its connection is over."""

    def __init__(self, connection: Http2Connection, identifier: int) -> None:
        self.id = identifier
        self._connection = connection
        self._chunks: deque[tuple[bytes, int]] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self.heads: deque[tuple[Lines, bool]] = deque()
        self.trailers: Fields = []
        self.complete = False
        self.sent = False
        self.gone: GoneError | None = None
        self.on_gone: Callable[[], None] | None = None

    # --- what comes

    async def head(self) -> tuple[Lines, bool]:
        """Return the next field section, and whether it is an interim response's."""
        while not self.heads:
            if self.gone is not None:
                raise self.gone
            await self._wait()
        return self.heads.popleft()

    async def heard(self) -> None:
        """Return when anything has come."""
        while not self.heads and self.gone is None:
            await self._wait()

    async def read(self) -> bytes:
        """Return the next piece of the body; b"" at its end. Raises: GoneError."""
        while True:
            if self._chunks:
                data, size = self._chunks.popleft()
                self._connection.taken(self, size)
                if data:
                    return data
                continue
            if self.complete:
                return b""
            if self.gone is not None:
                raise self.gone
            await self._wait()

    def arrived(self, data: bytes, size: int) -> None:
        """Take a piece; `size` is what it took of the window."""
        self._chunks.append((data, size))
        self.wake()

    def end(self, why: GoneError) -> None:
        """It was reset, or its connection is over."""
        if self.gone is None and not (self.complete and self.sent):
            self.gone = why
            self.wake()
            if self.on_gone is not None:
                self.on_gone()

    def wake(self) -> None:
        """Something has changed."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _wait(self) -> None:
        """Wait for a change: whoever reads and whoever writes may both wait here."""
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiting)

    # --- what goes

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, as fast as the peer takes it. Raises: GoneError."""
        view = memoryview(data)
        while view:
            size = self._connection.room(self)
            if size <= 0:
                await self._until_room()
                continue
            self._connection.data(self, bytes(view[:size]))
            view = view[size:]
            await self._connection.drain()

    async def _until_room(self) -> None:
        async with asyncio.timeout(STALLED):
            while self._connection.room(self) <= 0:
                await self._wait()


@final
class Http2Connection:
    """One connection. `opened` is called with each stream that the peer opens."""

    def __init__(
        self,
        leg: Leg,
        services: Services,
        opened: Callable[[Stream, Lines, bool], None] | None,
    ) -> None:
        self.leg = leg
        self._out = Outlet(leg, services)
        self._opened = opened
        self._h2 = H2Connection(
            H2Configuration(
                client_side=opened is None,
                header_encoding=None,
                split_outbound_cookies=False,
                normalize_outbound_headers=False,
            )
        )
        self.streams: dict[int, Stream] = {}
        self.over = False
        self.leaving = False
        self._flushing = False
        self._served = 0
        self._resets = 0
        self._idle_frames = 0
        self._last = 0
        self._begin()

    def _begin(self) -> None:
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: grammar.HEAD_LIMIT,
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
        }
        # As first values: those that are set later count once the peer has acknowledged them.
        self._h2.local_settings = Settings(client=self._opened is None, initial_values=values)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(ALL_WINDOWS - 65_535)
        self.flush()

    @property
    def most(self) -> int:
        """Streams that the peer lets be open at once."""
        return min(int(self._h2.remote_settings.max_concurrent_streams), STREAMS)

    async def pump(self, data: bytes = b"") -> None:
        """Read until the connection is over."""
        try:
            while not self.over:
                if data and not self._take(data):
                    break
                await self.drain()
                data = await self.leg.read()
                if not data:
                    break
        except GoneError:
            pass
        finally:
            self._lost()

    def open(self, lines: Lines, *, ended: bool) -> Stream:
        """Open a stream. Raises: RefusedError where that cannot be done."""
        if self.over or self.leaving:
            raise RefusedError
        try:
            identifier = self._h2.get_next_available_stream_id()
            self._h2.send_headers(identifier, lines, end_stream=ended)
        except H2Error:
            self.leaving = True
            raise RefusedError from None
        stream = self.streams[identifier] = Stream(self, identifier)
        stream.sent = ended
        self.flush_soon()
        return stream

    # --- what a stream asks

    def headers(self, stream: Stream, lines: Lines, *, ended: bool) -> None:
        """Send a field section. Raises: GoneError."""
        try:
            self._h2.send_headers(stream.id, lines, end_stream=ended)
        except H2Error:
            raise stream.gone or GoneError from None
        self._sent(stream, ended)

    def data(self, stream: Stream, data: bytes) -> None:
        """Send data that the windows have room for. Raises: GoneError."""
        try:
            self._h2.send_data(stream.id, data)
        except H2Error:
            raise stream.gone or GoneError from None
        self.flush()

    def finish(self, stream: Stream, trailers: Fields) -> None:
        """End what is sent on a stream. Raises: GoneError."""
        try:
            if trailers:
                self._h2.send_headers(stream.id, trailers, end_stream=True)
            else:
                self._h2.end_stream(stream.id)
        except H2Error:
            raise stream.gone or GoneError from None
        self._sent(stream, True)

    def room(self, stream: Stream) -> int:
        """Return how much may be sent now. Raises: GoneError."""
        if stream.gone is not None:
            raise stream.gone
        try:
            window = self._h2.local_flow_control_window(stream.id)
        except H2Error:
            raise GoneError from None
        return min(window, self._h2.max_outbound_frame_size)

    def taken(self, stream: Stream, size: int) -> None:
        """So much was read: its window opens again."""
        if size and not self.over:
            try:
                self._h2.acknowledge_received_data(size, stream.id)
            except H2Error:
                return  # the stream is over; its connection's window was opened
            self.flush_soon()

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """Cut a stream off."""
        self.streams.pop(stream.id, None)
        if self.over or (stream.complete and stream.sent) or stream.gone is not None:
            return
        try:
            self._h2.reset_stream(stream.id, code)
        except H2Error:
            return  # it was over
        self.flush_soon()

    async def drain(self) -> None:
        """Return when the leg's queue is short again."""
        async with asyncio.timeout(STALLED):
            await self._out.drain()

    def flush(self) -> None:
        """Send what is due."""
        self._flushing = False
        data = self._h2.data_to_send()
        if data:
            self._out.write(data)

    def flush_soon(self) -> None:
        """Send what is due, with what else comes up in this turn."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def leave(self) -> None:
        """Take no new streams; end with the last one."""
        if not self.leaving and not self.over:
            self.leaving = True
            self.flush()
            self._out.write(GoAwayFrame(0, last_stream_id=self._last).serialize())
        self._end_if_left()

    def close(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """End the connection and all its streams."""
        if not self.over:
            try:
                self._h2.close_connection(code)
            except H2Error:
                self.over = True
            self.flush()
            self._out.close()
            self._lost()

    # --- inside

    def _sent(self, stream: Stream, ended: bool) -> None:
        self.flush_soon()
        if ended:
            stream.sent = True
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        if stream.sent and stream.complete:
            self._served += 1
            self.streams.pop(stream.id, None)
            self._end_if_left()

    def _end_if_left(self) -> None:
        if self.leaving and not self.streams and not self.over:
            self.flush()
            self._out.close()

    def _lost(self) -> None:
        self.over = True
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.end(GoneError())

    def _take(self, data: bytes) -> bool:
        """Take bytes; whether the connection goes on."""
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except (H2Error, ProtocolViolation):
            self.close(ErrorCodes.PROTOCOL_ERROR)
            return False
        if self._idle_frames > IDLE_FRAMES or self._resets > RESETS + self._served:
            self.close(ErrorCodes.ENHANCE_YOUR_CALM)
            return False
        self.flush()
        return not self.over

    def _handle(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._data(event)
        elif isinstance(event, RequestReceived):
            self._request(event)
        elif isinstance(event, ResponseReceived | InformationalResponseReceived):
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                self._idle_frames = 0
                interim = isinstance(event, InformationalResponseReceived)
                stream.heads.append((event.headers, interim))
                stream.wake()
        elif isinstance(event, TrailersReceived):
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                side = "client" if self._opened is not None else "target"
                stream.trailers = read_trailers(event.headers, side)
        elif isinstance(event, StreamEnded):
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                stream.complete = True
                stream.wake()
                self._forget(stream)
        elif isinstance(event, StreamReset):
            self._reset(event)
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            self._idle_frames += 1
            self._wake_all(getattr(event, "stream_id", 0))
        elif isinstance(event, PingReceived | PriorityUpdated | UnknownFrameReceived):
            self._idle_frames += 1
        elif isinstance(event, ConnectionTerminated):
            self._terminated(event)

    def _data(self, event: DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        size = event.flow_controlled_length or 0
        self._idle_frames = 0 if event.data else self._idle_frames + 1
        if stream is not None:
            stream.arrived(event.data, size)
        elif size:
            self._h2.acknowledge_received_data(size, event.stream_id)

    def _request(self, event: RequestReceived) -> None:
        self._idle_frames = 0
        self._last = event.stream_id
        if self._opened is None or self.leaving:
            self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        stream = self.streams[event.stream_id] = Stream(self, event.stream_id)
        ended = event.stream_ended is not None
        self._opened(stream, event.headers, ended)

    def _reset(self, event: StreamReset) -> None:
        self._resets += 1
        stream = self.streams.pop(event.stream_id, None)
        if stream is not None:
            refused = event.error_code == ErrorCodes.REFUSED_STREAM
            stream.end(RefusedError() if refused else GoneError())
        self._end_if_left()

    def _wake_all(self, identifier: int) -> None:
        if identifier:
            stream = self.streams.get(identifier)
            if stream is not None:
                stream.wake()
            return
        for stream in self.streams.values():
            stream.wake()

    def _terminated(self, event: ConnectionTerminated) -> None:
        """The peer goes away: what it did not get to was certainly not done (section 6.8)."""
        self.leaving = True
        last = event.last_stream_id or 0
        for identifier, stream in list(self.streams.items()):
            if self._opened is None and identifier > last:
                del self.streams[identifier]
                stream.end(RefusedError())
        self._end_if_left()
