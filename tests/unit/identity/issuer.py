"""A real OIDC issuer for tests: keys made by joserfc, served over HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

NOW = 1_800_000_000.0
Key = RSAKey | ECKey | OKPKey | OctKey


def rsa(kid: str, bits: int = 2048) -> RSAKey:
    return RSAKey.generate_key(bits, {"kid": kid}, private=True)


def ec(kid: str, curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": kid}, private=True)


FIRST = rsa("first")
OTHER = rsa("other")
CURVE = ec("curve")


class IssuerServer:
    """Serves `/jwks` and discovery; counts requests; `answer` replaces the answer's bytes.

    `delay` is how many seconds pass before an answer, `drip` between two bytes of one.
    """

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.requests: list[str] = []
        self.answer: bytes | None = None
        self.headers = ""
        self.delay = 0.0
        self.drip = 0.0
        self.extra_entries: list[dict[str, Any]] = []
        self.claimed_issuer: str | None = None
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def key_set(self) -> dict[str, Any]:
        entries = [dict(key.as_dict(private=False)) for key in self.keys]
        return {"keys": [*entries, *self.extra_entries]}

    def token(self, key: Key, alg: str = "RS256", header: Any = None, **claims: Any) -> str:
        payload = {
            "iss": self.url,
            "aud": "sallyport",
            "sub": "ann",
            "groups": ["dba"],
            "exp": NOW + 600,
            "iat": NOW - 10,
        }
        payload = {name: v for name, v in {**payload, **claims}.items() if v is not ...}
        head = {"alg": alg, "kid": key.kid, **(header or {})}
        head = {name: v for name, v in head.items() if v is not ...}
        return jwt.encode(head, payload, key, algorithms=[alg])

    def signed(self, key: Key, body: bytes, alg: str = "RS256", **header: Any) -> str:
        """Return whatever `body` is as a token, signed all the same."""
        return jws.serialize_compact({"alg": alg, "kid": key.kid, **header}, body, key, [alg])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.requests.append(request)
        if request.endswith("/openid-configuration"):
            issuer = self.claimed_issuer or self.url
            body = json.dumps({"issuer": issuer, "jwks_uri": f"{self.url}/jwks"}).encode()
        else:
            body = json.dumps(self.key_set()).encode()
        head = f"HTTP/1.1 200 OK\r\n{self.headers}content-length: {len(body)}\r\n"
        whole = f"{head}connection: close\r\n\r\n".encode() + body
        await asyncio.sleep(self.delay)
        await self._write(writer, whole if self.answer is None else self.answer)
        writer.close()

    async def _write(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        try:
            if not self.drip:
                writer.write(answer)
                await writer.drain()
                return
            for byte in answer:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(self.drip)
        except ConnectionError:
            pass  # the gateway has heard enough
