"""Connection: one accepted socket, before anybody decided whether it is TLS.

A transport that sniffed a ClientHello cannot be handed to TLS afterwards (the handshake times
out), so nothing reads ahead here: one byte is peeked, a plain preamble is read to the byte, and
only then does a transport exist.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from sallyport.protocols.base import Authentication
from sallyport.session.leg import SharedBuffer, StreamLeg

TLS_HANDSHAKE = 10.0
"""Seconds that a client has for its TLS handshake."""


class AcceptedConnection:
    """One accepted connection, per `protocols.base.Connection`."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        source: str,
        listener: str,
        tls: ssl.SSLContext | None,
        tls_required: bool,
        shared: SharedBuffer,
        loop: asyncio.AbstractEventLoop,
        authentication: Authentication | None = None,
        domain: str = "",
    ) -> None:
        self._socket = sock
        self._shared = shared
        self._loop = loop
        self._leg: StreamLeg | None = None
        self.source = source
        self.listener = listener
        self.local = source == "unix" or source.startswith("127.") or source == "::1"
        self.tls = tls
        self.tls_required = tls_required
        self.authentication = authentication or Authentication()
        self.domain = domain

    async def peek(self) -> bytes:
        """Return the first byte without consuming it; b"" when the peer has gone."""
        await self._readable()
        return self._socket.recv(1, socket.MSG_PEEK)

    async def read_exactly(self, count: int) -> bytes:
        """Consume exactly `count` bytes. Raises: EOFError."""
        got = b""
        while len(got) < count:
            await self._readable()
            try:
                more = self._socket.recv(count - len(got))
            except BlockingIOError:
                continue
            if not more:
                raise EOFError("the client closed the connection")
            got += more
        return got

    async def send(self, data: bytes) -> None:
        """Send plain text before the leg is opened."""
        await self._loop.sock_sendall(self._socket, data)

    async def open(self, *, encrypted: bool) -> StreamLeg:
        """Turn the connection into a leg, after a TLS handshake if `encrypted`.

        Raises: OSError and ssl.SSLError when the handshake fails or takes too long.
        """
        if encrypted and self.tls is None:
            raise OSError("this listener has no certificate")
        self._leg = leg = StreamLeg(self._shared, self._loop)
        await self._loop.connect_accepted_socket(
            lambda: leg,
            self._socket,
            ssl=self.tls if encrypted else None,
            ssl_handshake_timeout=TLS_HANDSHAKE if encrypted else None,
        )
        return leg

    def abort(self) -> None:
        """Close it without a word."""
        if self._leg is not None:
            self._leg.abort()
        else:
            self._socket.close()

    def finish(self) -> None:
        """Close it after sending what is queued, if nobody did."""
        if self._leg is not None:
            self._leg.close()
        else:
            self._socket.close()

    async def _readable(self) -> None:
        ready = self._loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        descriptor = self._socket.fileno()
        self._loop.add_reader(descriptor, wake)
        try:
            await ready
        finally:
            self._loop.remove_reader(descriptor)
