"""OAuth: a target's access token, by the client credentials grant (RFC 6749, section 4.4)."""

from __future__ import annotations

import asyncio
import time
from typing import Final, final
from urllib.parse import quote_plus

from sallyport.core.errors import TargetUnavailable
from sallyport.core.subject import Secret
from sallyport.protocols.http.settings import Inject

EARLY: Final = 30.0
"""Seconds before its end that a token is had anew."""
SHORTEST: Final = 60.0
"""Seconds that a token counts whose issuer does not say how long it does."""
TIMEOUT: Final = 10.0
LARGEST: Final = 64 * 1024
"""Bytes of an issuer's answer."""


@final
class ClientCredentials:
    """One session's access token. INVARIANT: the credential goes to `token_url` and nowhere else:
    no redirect is followed, no proxy of the environment is used."""

    def __init__(self, target: str, inject: Inject, credential: Secret) -> None:
        self._target = target
        self._inject = inject
        self._credential = credential
        self._token = b""
        self._ends = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> bytes:
        """Return a token that is good for now. Raises: TargetUnavailable."""
        async with self._lock:
            if time.monotonic() >= self._ends:
                await self._fetch()
            return self._token

    def forget(self) -> None:
        """The target does not take it: have another for the next request."""
        self._ends = 0.0

    async def _fetch(self) -> None:
        import httpx2

        given = self._credential.reveal().decode().strip().partition(":")
        client_id, secret = quote_plus(given[0]), quote_plus(given[2])  # section 2.3.1
        form = {"grant_type": "client_credentials"}
        if self._inject.scope:
            form["scope"] = self._inject.scope
        try:
            async with (
                httpx2.AsyncClient(
                    trust_env=False, follow_redirects=False, timeout=TIMEOUT
                ) as client,
                client.stream(
                    "POST", self._inject.token_url, data=form, auth=(client_id, secret)
                ) as response,
            ):
                body = b""
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > LARGEST:
                        raise ValueError
                if response.status_code != 200:
                    raise ValueError
                self._take(httpx2.Response(200, content=body).json())
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            raise TargetUnavailable(self._target, "no access token could be had for it") from None

    def _take(self, answer: dict[str, object]) -> None:
        token, kind = str(answer["access_token"]), str(answer.get("token_type", "bearer"))
        if kind.lower() != "bearer" or not token:
            raise ValueError
        given = answer.get("expires_in", SHORTEST)
        lasts = float(given) if isinstance(given, int | float | str) else SHORTEST
        self._token = token.encode()
        self._ends = time.monotonic() + max(lasts - EARLY, 1.0)
