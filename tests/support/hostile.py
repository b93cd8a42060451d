"""A provider that says what a test wants it to, on a loopback port; also the gateway beside it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from sallyport.identity.relying.id_token import at_hash
from sallyport.identity.relying.provider import Provider, Web

CLIENT = "sallyport-cli"
Form = dict[str, str]
Answer = tuple[int, bytes, dict[str, str]]
_KEY = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
_OTHER = RSAKey.generate_key(2048, {"kid": "one"}, private=True)


def answer(content: Any, status: int = 200, **headers: str) -> Answer:
    """Return an answer as JSON."""
    return status, json.dumps(content).encode(), headers


class Hostile:
    """`paths` maps a path to what answers it; `asked` is every request, with its form; `headers`
    are the last one's."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Form]] = []
        self.paths: dict[str, Callable[[Form], Answer]] = {}
        self.document: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.key, self.signer = _KEY, _KEY
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.provider = Provider("corp", self.url, CLIENT, ("openid", "offline_access"))
        self.paths["/.well-known/openid-configuration"] = lambda _: answer(self.discovery())
        self.paths["/jwks"] = lambda _: answer({"keys": [self.key.as_dict(private=False)]})

    def __enter__(self) -> Hostile:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document; `document` has what is to be otherwise (...: gone)."""
        whole = {
            "issuer": self.url,
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/auth",
            "device_authorization_endpoint": f"{self.url}/device",
            "revocation_endpoint": f"{self.url}/revoke",
            "code_challenge_methods_supported": ["S256"],
            **self.document,
        }
        return {name: value for name, value in whole.items() if value is not ...}

    def forge(self) -> None:
        """Sign with a key that is not the one it shows."""
        self.signer = _OTHER

    def id_token(self, access_token: str = "access", alg: str = "RS256", **claims: Any) -> str:
        """Return an ID token; a claim that is ... is left out."""
        now = time.time()
        whole = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "ann",
            "iat": int(now),
            "exp": int(now) + 300,
            "at_hash": at_hash(access_token, alg),
            **claims,
        }
        body = {name: value for name, value in whole.items() if value is not ...}
        return jwt.encode({"alg": alg, "kid": "one"}, body, self.signer, algorithms=[alg])

    def gives(self, refresh: str = "refresh-2", **claims: Any) -> Answer:
        """Return what a token endpoint answers; `refresh` empty: without one."""
        given = {
            "token_type": "Bearer",
            "access_token": "access",
            "id_token": self.id_token(**claims),
        }
        return answer(given | ({"refresh_token": refresh} if refresh else {}))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve({})

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                self._serve({name: values[0] for name, values in parse_qs(text).items()})

            def _serve(self, form: Form) -> None:
                path = urlsplit(self.path).path
                outer.headers = {name.lower(): value for name, value in self.headers.items()}
                outer.asked.append((path, form))
                found = outer.paths.get(path)
                status, body, headers = answer({}, 404) if found is None else found(form)
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # the command line has heard enough
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with Hostile() as running:
        yield running


@pytest.fixture
def web(hostile: Hostile) -> Iterator[Web]:
    client = Web(hostile.url)
    yield client
    client.close()
