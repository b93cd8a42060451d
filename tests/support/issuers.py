"""A real OIDC issuer beside a test that is not asynchronous itself."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from tests.support.processes import PATIENCE
from tests.unit.identity.issuer import IssuerServer, rsa


class Issuer:
    """A real OIDC issuer on a loopback port, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.server = IssuerServer()
        self.key = rsa("one")
        self.server.keys = [self.key]
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Issuer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.start(), self.loop).result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()

    def token(self, seconds: float, **claims: Any) -> str:
        now = time.time()
        given = {"exp": now + seconds, "iat": now - 1, "groups": ["agents"], **claims}
        return self.server.token(self.key, **given)
