"""Asking a provider from within the gateway: in threads of its own, few and bounded.

A provider that is slow keeps those waiting who log in there, and nobody else: each has threads and
a line of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from msgspec import Struct

from sallyport.identity.relying.errors import ProviderError
from sallyport.identity.relying.id_token import check_id_token
from sallyport.identity.relying.provider import (
    Endpoints,
    Provider,
    Tokens,
    Web,
    ask_tokens,
    discover,
    find_key,
    proven,
)

THREADS: Final = 4
MAXIMUM_WAITING: Final = 64
"""Questions that wait for an answer of one provider, and as many who wait to learn where to ask;
beyond, nobody else may."""

FAILED: Final = 5.0
"""Seconds in which a provider that did not answer is not asked for its endpoints again."""

KNOWN: Final = 600.0
"""Seconds that a provider's endpoints are taken to be the same."""

T = TypeVar("T")


class Client(Struct, frozen=True):
    """The gateway's client at a provider. `secret` empty: a public one."""

    provider: Provider
    secret: str = ""

    def __repr__(self) -> str:
        return f"Client({self.provider.name})"


class _Waiting:
    """Counts who waits, and lets no more than `MAXIMUM_WAITING` do so."""

    def __init__(self) -> None:
        self._count = 0

    def __enter__(self) -> None:
        if self._count >= MAXIMUM_WAITING:
            raise ProviderError("too many log in at once", hint="try again", unreachable=True)
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1


class _Line:
    """What waits for one provider, and what is known of it."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="provider")
        self.known: tuple[Endpoints, float] | None = None
        self.failed: tuple[ProviderError, float] | None = None
        self.one = asyncio.Lock()
        self.asking, self.learning = _Waiting(), _Waiting()


class Asking:
    """Asks providers. `monotonic` in seconds. Everything here raises: ProviderError."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = monotonic
        self._lines: dict[Client, _Line] = {}

    async def endpoints(self, client: Client) -> Endpoints:
        """Return what a provider says of itself; it is asked once in `KNOWN` seconds."""
        line = self._line(client)
        with line.learning:
            async with line.one:
                known = line.known
                if known is None or self._clock() - known[1] >= KNOWN:
                    known = line.known = await self._discover(client), self._clock()
                return known[0]

    async def tokens(self, client: Client, form: Mapping[str, str]) -> Tokens:
        """Return what its token endpoint gives for a form."""
        endpoints = await self.endpoints(client)
        whole = {**form, "client_id": client.provider.client_id}
        return await self._ask(client, lambda web: ask_tokens(web, endpoints, whole, client.secret))

    async def check(
        self, client: Client, given: Tokens, nonce: str, subject: str | None = None
    ) -> dict[str, Any]:
        """Return the claims of an ID token that is the answer to what was asked."""
        endpoints = await self.endpoints(client)

        def checked(web: Web) -> dict[str, Any]:
            return check_id_token(
                given.id_token,
                find_key=lambda kid, algorithm: find_key(web, endpoints, kid, algorithm),
                issuer=client.provider.issuer,
                client_id=client.provider.client_id,
                access_token=given.access_token,
                nonce=nonce,
                now=time.time(),
                subject=subject,
            )

        return await self._ask(client, checked)

    async def revoke(self, client: Client, refresh_token: str) -> None:
        """Have a refresh token revoked where there is one, and a way to (RFC 7009)."""
        endpoints = await self.endpoints(client)
        if not refresh_token or not endpoints.revocation:
            return
        form = {
            "token": refresh_token,
            "token_type_hint": "refresh_token",
            "client_id": client.provider.client_id,
        }
        shown = proven(endpoints, form, client.secret)
        await self._ask(client, lambda web: web.send(endpoints.revocation, *shown))

    def keep(self, clients: Iterable[Client]) -> None:
        """Forget all others, and let their threads end."""
        for gone in self._lines.keys() - set(clients):
            self._lines.pop(gone).threads.shutdown(wait=False)

    def _line(self, client: Client) -> _Line:
        if client not in self._lines:
            self._lines[client] = _Line()
        return self._lines[client]

    async def _discover(self, client: Client) -> Endpoints:
        line = self._line(client)
        if line.failed is not None and self._clock() - line.failed[1] < FAILED:
            raise line.failed[0].with_traceback(None)
        try:
            return await self._ask(client, discover)
        except ProviderError as error:
            line.failed = error, self._clock()
            raise

    async def _ask(self, client: Client, question: Callable[[Web], T]) -> T:
        line = self._line(client)
        with line.asking:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(line.threads, _asked, client, question)


def _asked(client: Client, question: Callable[[Web], T]) -> T:
    web = Web(client.provider.issuer, ca=client.provider.ca)
    try:
        return question(web)
    finally:
        web.close()
