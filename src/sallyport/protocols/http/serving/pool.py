"""Pool: one session's connections to its target. None is shared with another session."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, final

from sallyport.core.errors import TargetUnavailable
from sallyport.core.grant import Grant
from sallyport.protocols.base import Services
from sallyport.protocols.http.message import Fields, RequestHead, ResponseHead
from sallyport.protocols.http.serving.target1 import Http1Target
from sallyport.protocols.http.serving.target2 import Http2Exchange, Http2Target
from sallyport.protocols.http.settings import HttpSettings

KEPT: Final = 16
"""Idle connections that are kept."""
MOST: Final = 256
"""Connections at once."""
IDLE: Final = 30.0
"""Seconds that one is kept idle: shorter than most servers do."""


class TargetExchange(Protocol):
    """One exchange with the target, whatever version carries it."""

    heard: bool
    used: int

    @property
    def trailers(self) -> Fields:
        """The response's trailers, after its end."""

    async def send(self, head: RequestHead, body: bytes | None) -> None:
        """Send a request: whole with `body`, else its body follows by `write` and `end`."""

    async def write(self, data: bytes) -> None:
        """Send a piece of the request's body."""

    async def end(self, trailers: Fields) -> None:
        """End the request's body."""

    async def listen(self, timeout: float) -> None:
        """Return when the first byte of the response is here. Raises: GoneError, TimeoutError."""

    async def response(self, timeout: float) -> ResponseHead:
        """Return the next head: an interim one, or the final. Raises: GoneError, TimeoutError."""

    async def read(self) -> bytes:
        """Return the next piece of the response's body; b"" at the end."""

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""

    def close(self) -> None:
        """Close it; what is not over is cut off."""


@final
class Pool:
    """Opens and keeps connections, in the version that the target speaks."""

    def __init__(self, grant: Grant, services: Services, settings: HttpSettings) -> None:
        self._grant = grant
        self._services = services
        self._settings = settings
        self._idle: list[tuple[Http1Target, float]] = []
        self._open: set[Http1Target] = set()
        self._shared: list[Http2Target] = []
        self._dialling: asyncio.Task[Http1Target | Http2Target] | None = None
        self._second = settings.speaks == "2"
        self._closed = False
        self._coming = 0

    async def take(self, *, fresh: bool = False) -> TargetExchange:
        """Return a connection that is ready for a request. Raises: TargetUnavailable.

        `fresh`: a new one, since a kept one turned out to be closed.
        """
        if not fresh:
            kept = self._kept()
            if kept is not None:
                return kept
        opened = await (self._shared_dial() if self._second else self._connect(self._offered()))
        if self._closed:
            opened.close()
            raise self._unavailable("the session is over")
        if isinstance(opened, Http1Target):
            return opened
        return Http2Exchange(opened, 0)

    async def take_apart(self) -> Http1Target:
        """Return a connection in HTTP/1.1 that changes its protocol. Raises: TargetUnavailable."""
        opened = await self._connect(("http/1.1",))
        if not isinstance(opened, Http1Target):
            opened.close()
            raise self._unavailable("it speaks no HTTP/1.1")
        return opened

    def give(self, exchange: TargetExchange) -> None:
        """Take a connection back, for the next request or to be closed."""
        if not isinstance(exchange, Http1Target):
            exchange.close()
        elif exchange.usable and len(self._idle) < KEPT and not self._closed:
            self._idle.append((exchange, asyncio.get_running_loop().time()))
        else:
            self._drop(exchange)

    def tidy(self, now: float) -> None:
        """Close what was idle for long, or was closed by the target."""
        kept = []
        for exchange, since in self._idle:
            if exchange.usable and now - since < IDLE:
                kept.append((exchange, since))
            else:
                self._drop(exchange)
        self._idle = kept
        for shared in list(self._shared):
            if shared.idle and (not shared.usable or now - shared.used_at >= IDLE):
                self._shared.remove(shared)
                shared.close()

    def close(self) -> None:
        """Close all."""
        self._closed = True
        self._idle.clear()
        for exchange in list(self._open):
            self._drop(exchange)
        for shared in self._shared:
            shared.close()
        self._shared.clear()

    # --- inside

    def _kept(self) -> TargetExchange | None:
        for shared in self._shared:
            if shared.usable:
                return Http2Exchange(shared, 1)
        while self._idle:
            kept, _ = self._idle.pop()
            if kept.usable:
                return kept
            self._drop(kept)
        return None

    def _drop(self, exchange: Http1Target) -> None:
        self._open.discard(exchange)
        exchange.close()

    def _offered(self) -> tuple[str, ...]:
        if self._settings.speaks == "auto":
            return ("h2", "http/1.1")
        return ("h2",) if self._settings.speaks == "2" else ("http/1.1",)

    async def _shared_dial(self) -> Http1Target | Http2Target:
        """Dial once for all that wait: they share what comes of it."""
        if self._dialling is None or self._dialling.done():
            self._dialling = asyncio.ensure_future(self._connect(self._offered()))
        opened = await asyncio.shield(self._dialling)
        if isinstance(opened, Http2Target) and opened.usable:
            return opened
        return await self._connect(self._offered())

    async def _connect(self, alpn: tuple[str, ...]) -> Http1Target | Http2Target:
        if len(self._open) + len(self._shared) + self._coming >= MOST:
            raise self._unavailable("too many requests at once")
        self._coming += 1
        try:
            return await self._dial(alpn)
        finally:
            self._coming -= 1

    async def _dial(self, alpn: tuple[str, ...]) -> Http1Target | Http2Target:
        leg = await self._services.dial(self._grant)
        second = self._settings.speaks == "2" and alpn[0] == "h2"
        if self._grant.target.address.tls != "disable":
            way = self._settings.inject.way
            identity = self._grant.credential if way == "certificate" else None
            leg = await self._services.start_tls(self._grant, leg, alpn=alpn, identity=identity)
            chosen = leg.tls.selected_alpn_protocol() if leg.tls is not None else None
            if second and chosen != "h2":
                leg.abort()
                raise self._unavailable("it speaks no HTTP/2")
            second = chosen == "h2"
        if not second:
            first = Http1Target(leg, self._services)
            self._open.add(first)
            return first
        self._second = True
        shared = Http2Target(leg, self._services)
        self._shared.append(shared)
        return shared

    def _unavailable(self, why: str) -> TargetUnavailable:
        return TargetUnavailable(self._grant.target.name, why)
