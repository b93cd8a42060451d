"""An issuer, and a worker of whatever `gateway` a test has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.control.harness import Gateway, WorkerPeer
from tests.unit.identity.issuer import FIRST, IssuerServer


@pytest.fixture
async def server() -> AsyncIterator[IssuerServer]:
    server = IssuerServer()
    server.keys = [FIRST]
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def worker(gateway: Gateway) -> AsyncIterator[WorkerPeer]:
    peer = await gateway.worker()
    yield peer
    peer.close()
