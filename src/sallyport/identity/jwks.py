"""An issuer's public keys: fetched, bounded, cached, and fetched again when they rotate.

Theory of operation. Keys are good for as long as the issuer's Cache-Control says, within
`FRESH_LEAST` and `FRESH_MOST`. A key id that is not among them fetches again, at most once in
`REFETCH` seconds, so that made-up ids cost the issuer nothing. While the issuer is away, or answers
what is no key set, the last keys serve for `kept` seconds beyond that, then nobody is let in.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import msgspec
import structlog
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from sallyport.core.errors import SallyportError
from sallyport.identity.authorities import verifying
from sallyport.identity.names import is_loopback

FRESH_LEAST: Final = 60.0
FRESH_MOST: Final = 3600.0
FRESH_DEFAULT: Final = 600.0
REFETCH: Final = 10.0
KEPT: Final = 3600.0
MAXIMUM_BODY: Final = 256 * 1024
MAXIMUM_KEYS: Final = 64
DEADLINE: Final = 5.0
"""Seconds within which an issuer must have answered whole."""

_log = structlog.get_logger("identity")
_MAX_AGE: Final = re.compile(r"max-age=([0-9]{1,9})")

_BAD_ANSWERS: Final = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    ValueError,
    OSError,
    RecursionError,
)

PublicKey = RSAKey | ECKey | OKPKey

_KEY_TYPES: Final = {"R": "RSA", "P": "RSA", "E": "EC"}
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
LEAST_RSA_BITS: Final = 2048


class KeysError(SallyportError):
    """The issuer's keys cannot be had. The message is for the log, never for a client."""


class Jwks:
    """The keys of one issuer. `url` None: found by discovery. `kept` may be set at any time."""

    def __init__(
        self,
        issuer: str,
        url: str | None,
        monotonic: Callable[[], float] = time.monotonic,
        deadline: float = DEADLINE,
        ca: str | None = None,
    ) -> None:
        """Raises: ValueError for an address that is not https, or a `ca` that is no PEM."""
        self.kept = KEPT
        self._deadline = deadline
        self._issuer = issuer
        self._url = url
        self._clock = monotonic
        self._tls = verifying(ca)
        self._keys: tuple[PublicKey, ...] = ()
        self._fresh_until = 0.0
        self._tried: float | None = None
        self._lock = asyncio.Lock()
        for address in (issuer, url):
            if address is not None:
                demand_private(address)

    async def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """Return the key for `kid` that `algorithm` may use, or None. Raises: KeysError."""
        key = None
        if self._clock() < self._fresh_until:
            key = choose_key(self._keys, kid, algorithm)
        if key is None:
            await self._refresh()
            key = choose_key(self._keys, kid, algorithm)
        return key

    async def _refresh(self) -> None:
        async with self._lock:
            now = self._clock()
            failure = "cannot be had"
            if self._tried is None or now - self._tried >= REFETCH:
                self._tried = now
                try:
                    await self._fetch()
                except _BAD_ANSWERS as error:
                    failure = str(error) or type(error).__name__
                    _log.warning("keys cannot be fetched", issuer=self._issuer, reason=failure)
            if self._clock() >= self._fresh_until + self.kept:
                self._keys = ()
            if not self._keys:
                raise KeysError(f"keys of issuer `{self._issuer}`: {failure}")

    async def _fetch(self) -> None:
        async with _new_client(self._tls) as client, asyncio.timeout(self._deadline):
            url = self._url or await self._discover(client)
            body, headers = await _get(client, url)
        keys = parse_keys(body)
        found = _MAX_AGE.search(headers.get("cache-control", ""))
        fresh = float(found[1]) if found else FRESH_DEFAULT
        self._keys = keys
        self._fresh_until = self._clock() + min(max(fresh, FRESH_LEAST), FRESH_MOST)

    async def _discover(self, client: httpx2.AsyncClient) -> str:
        base = self._issuer.rstrip("/")
        body, _ = await _get(client, f"{base}/.well-known/openid-configuration")
        document = msgspec.json.decode(body)
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise ValueError("the discovery document is another issuer's")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise ValueError("the discovery document has no `jwks_uri`")
        demand_private(url)
        return url


def demand_private(url: str) -> None:
    """Refuse an address that keys must not come from. Raises: ValueError off https and loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    local = host == "localhost" or is_loopback(host)
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError(f"`{url}` must be https")
    if not host or parts.username is not None or parts.fragment:
        raise ValueError(f"`{url}` is not a plain https address")


def _new_client(tls: ssl.SSLContext) -> httpx2.AsyncClient:
    """Plain http is for loopback alone: a proxy of the environment would answer in its place."""
    return httpx2.AsyncClient(
        timeout=DEADLINE,
        follow_redirects=False,
        max_redirects=0,
        verify=tls,
        mounts={"http://": httpx2.AsyncHTTPTransport()},
    )


async def _get(client: httpx2.AsyncClient, url: str) -> tuple[bytes, dict[str, str]]:
    """Return a plain answer. One that is packed is refused: it may unpack to anything."""
    wanted = {"accept": "application/json", "accept-encoding": "identity"}
    async with client.stream("GET", url, headers=wanted) as response:
        if response.status_code != 200:
            raise ValueError(f"`{url}` answered {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ValueError(f"`{url}` answered in an encoding that it was not asked for")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAXIMUM_BODY:
                raise ValueError(f"`{url}` answered more than {MAXIMUM_BODY} bytes")
        return bytes(body), {name.lower(): value for name, value in response.headers.items()}


def parse_keys(body: bytes) -> tuple[PublicKey, ...]:
    """Return the keys of a key set that signatures may be checked with. Raises: ValueError."""
    document = msgspec.json.decode(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAXIMUM_KEYS:
        raise ValueError("the key set has no list of keys, or too many")
    keys = (import_public(entry) for entry in entries if isinstance(entry, dict))
    return tuple(key for key in keys if key is not None)


def import_public(entry: dict[str, Any]) -> PublicKey | None:
    """Return a key that signatures may be checked with; None for one that is not understood.

    Symmetric and private keys are dropped: whoever reads the set could sign with them.
    """
    if entry.get("kty") not in ("RSA", "EC", "OKP") or "d" in entry:
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if entry.get("use", "sig") not in ("sig", "jwt-svid"):  # SPIFFE's word for it in bundles
        return None
    try:
        key = JWKRegistry.import_key({**entry, "use": "sig"})
    except Exception:
        return None  # RFC 7517, 5: what is not understood is passed over
    if isinstance(key, RSAKey) and key.raw_value.key_size < LEAST_RSA_BITS:
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None


def fits(key: PublicKey, algorithm: str) -> bool:
    """Whether `algorithm` may be used with `key`."""
    declared = key.get("alg")
    if declared is not None and declared != algorithm:
        return False
    if algorithm in ("EdDSA", "Ed25519"):
        return key.key_type == "OKP" and key.get("crv") == "Ed25519"
    if algorithm in _CURVES and key.get("crv") != _CURVES[algorithm]:
        return False
    return key.key_type == _KEY_TYPES.get(algorithm[0])


def choose_key(keys: tuple[PublicKey, ...], kid: str | None, algorithm: str) -> PublicKey | None:
    """Return the one key that is meant; without `kid` only where there is no choice."""
    fitting = [key for key in keys if fits(key, algorithm)]
    if kid is None:
        return fitting[0] if len(fitting) == 1 else None
    named = [key for key in fitting if key.get("kid") == kid]
    return named[0] if len(named) == 1 else None
