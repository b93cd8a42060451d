"""The plugin: accepted connections become requests, over TLS or plain, in HTTP/1.1 or HTTP/2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

from sallyport.core.grant import Grant
from sallyport.protocols.base import Connection, Leg, Services
from sallyport.protocols.http.classify import FACTS, KINDS, VERBS
from sallyport.protocols.http.http1 import write_response
from sallyport.protocols.http.inspect import inspect, interpret
from sallyport.protocols.http.refusal import IN_CLEAR
from sallyport.protocols.http.serving.asking import Asking
from sallyport.protocols.http.serving.carrying import Settings
from sallyport.protocols.http.serving.client1 import Http1Client
from sallyport.protocols.http.serving.client2 import Http2Client
from sallyport.protocols.http.serving.exchange import Exchanges
from sallyport.protocols.http.serving.opening import begins_http2
from sallyport.protocols.http.serving.sessions import Sessions
from sallyport.protocols.http.settings import HttpSettings
from sallyport.protocols.inspecting import Interpreted, SideDoor, TargetReport

_HANDSHAKE: Final = b"\x16"
"""The first byte of a TLS handshake (RFC 8446, section 5.1)."""


@final
class HttpPlugin:
    """HTTP/1.1 and HTTP/2 as a reverse proxy. See `protocols.base.Plugin`."""

    name = "http"
    verbs = VERBS
    facts = frozenset(FACTS)
    kinds = KINDS
    qualified: frozenset[str] = frozenset()
    mechanisms = frozenset({"token"})
    alpn = ("h2", "http/1.1")
    settings = HttpSettings

    def __init__(self) -> None:
        self._settings = Settings(0, b"")
        self._sessions = Sessions()

    def configure(self, settings: Mapping[str, object]) -> None:
        """Take the gateway's settings."""
        size, key = settings.get("result_bytes"), settings.get("mask_key")
        self._settings = Settings(
            size if isinstance(size, int) else 0, key if isinstance(key, bytes) else b""
        )

    async def serve(self, connection: Connection, services: Services) -> None:
        """Serve one accepted connection until it ends."""
        first = await connection.peek()
        if not first:
            return
        encrypted = first == _HANDSHAKE
        leg = await connection.open(encrypted=encrypted)
        if connection.tls_required and not encrypted:
            leg.write(write_response(IN_CLEAR.head, chunked=False, close=True) + IN_CLEAR.body)
            leg.close()
            return
        asking = Asking(connection, services, self._sessions, encrypted)
        exchanges = Exchanges(asking, services, lambda: self._settings)
        await _serve(leg, exchanges, services, "https" if encrypted else "http")

    def stale(self, target: str, database: str) -> None:
        """There is no catalogue."""

    async def inspect(self, door: SideDoor, grant: Grant) -> TargetReport:
        """Look at a target, for the operator's tools."""
        return await inspect(door, grant)

    async def interpret(
        self, door: SideDoor, target: str, database: str, login: str, text: str
    ) -> tuple[Interpreted, ...]:
        """Return the operation of a request that is written out."""
        return await interpret(door, target, database, text)

    def close(self) -> None:
        """Nothing is left open."""


async def _serve(leg: Leg, exchanges: Exchanges, services: Services, scheme: str) -> None:
    second, data = await begins_http2(leg)
    client: Http1Client | Http2Client
    if second:
        client = Http2Client(leg, services, exchanges.serve, scheme, data)
    else:
        client = Http1Client(leg, services, exchanges.serve, scheme, data)
    stopping = services.stopping
    stopping.listen(client.finish)
    try:
        await client.run()
    finally:
        stopping.forget(client.finish)
        await client.close()
