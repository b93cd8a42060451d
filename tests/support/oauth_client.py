"""libpq 18's OAuth hook, on the very libpq that psycopg's binary package brings.

`PQsetAuthDataHook` lets an application hand a bearer token over itself, so that no browser and no
device flow is needed. ctypes loads the same file that psycopg has loaded, and so the same library.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import psycopg
import psycopg_binary
import pytest

BEARER_TOKEN = 1
"""PQAUTHDATA_OAUTH_BEARER_TOKEN."""
DONE = 3
"""PGRES_POLLING_OK."""


class Request(ctypes.Structure):
    """PGoauthBearerRequest."""


Flow = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Request), ctypes.POINTER(ctypes.c_int)
)
Cleanup = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Request))
Request._fields_ = [
    ("openid_configuration", ctypes.c_char_p),
    ("scope", ctypes.c_char_p),
    ("flow", Flow),
    ("cleanup", Cleanup),
    ("token", ctypes.c_void_p),
    ("user", ctypes.c_void_p),
]
Hook = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def library() -> ctypes.CDLL | None:
    """psycopg's own libpq, where it is 18 or newer."""
    if psycopg.pq.version() < 180_000:
        return None
    folder = Path(psycopg_binary.__file__).parent.with_name("psycopg_binary.libs")
    for file in folder.glob("libpq-*.so*"):
        return ctypes.CDLL(str(file))
    return None


class Wallet:
    """What the hook hands out. `asked`: each request's discovery URL and scope, in order."""

    def __init__(self, token: str, *, at_once: bool) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._at_once = at_once
        self._token = ctypes.create_string_buffer(token.encode())
        self._flow = Flow(self._obtain)

    def hook(self, kind: int, connection: int | None, data: int) -> int:
        """Called by libpq: 1 answered, 0 not mine."""
        if kind != BEARER_TOKEN:
            return 0
        request = ctypes.cast(data, ctypes.POINTER(Request)).contents
        self._note(request)
        if self._at_once:
            request.token = ctypes.addressof(self._token)
        else:
            request.flow = self._flow
        return 1

    def _obtain(self, connection: int, request: object, socket: object) -> int:
        """Called by libpq until it says DONE, once it knows where to ask."""
        found = request.contents  # type: ignore[attr-defined]
        self._note(found)
        found.token = ctypes.addressof(self._token)
        return DONE

    def _note(self, request: Request) -> None:
        scope = request.scope.decode() if request.scope is not None else None
        self.asked.append((request.openid_configuration.decode(), scope))


@contextlib.contextmanager
def handing_out(token: str, *, at_once: bool = True) -> Iterator[Wallet]:
    """Every connection of this process by OAuth gets `token`: at once, or after discovery."""
    libpq = library()
    assert libpq is not None
    wallet = Wallet(token, at_once=at_once)
    hook = Hook(wallet.hook)
    libpq.PQsetAuthDataHook.argtypes = [ctypes.c_void_p]
    libpq.PQsetAuthDataHook(ctypes.cast(hook, ctypes.c_void_p))
    try:
        yield wallet
    finally:
        libpq.PQsetAuthDataHook(None)


needs_libpq_18 = pytest.mark.skipif(library() is None, reason="psycopg brings no libpq 18")
