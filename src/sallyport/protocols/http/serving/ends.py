"""Ends: what the pipeline asks of either leg, whatever version it speaks."""

from __future__ import annotations

from typing import Final, Protocol

from sallyport.protocols.http.message import Fields, ResponseHead

STALLED: Final = 300.0
"""Seconds within which a peer has to take more of what waits for it."""


class GoneError(Exception):
    """A peer has gone in the middle of a message."""


class RefusedError(GoneError):
    """A peer has gone, and certainly did nothing: the same may be sent again."""


class Incoming(Protocol):
    """A body that arrives."""

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end. Raises: GoneError, ProtocolViolation."""


class Responder(Protocol):
    """Where one request's response goes. `begun`: a final head has left."""

    begun: bool
    ended: bool

    async def proceed(self) -> None:
        """Tell the client to send its body (100 Continue)."""

    async def interim(self, head: ResponseHead) -> None:
        """Send an interim response."""

    async def begin(self, head: ResponseHead) -> None:
        """Send the head. `head.length` is told, unless it is None. Raises: GoneError."""

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, as fast as the client takes it. Raises: GoneError."""

    async def end(self, trailers: Fields) -> None:
        """End the response."""

    def abort(self) -> None:
        """Cut the response off, so that the client sees that it is not whole."""
