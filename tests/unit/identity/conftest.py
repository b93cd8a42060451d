"""A store, a clock and an issuer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.hostile import hostile
from tests.unit.identity.issuer import CURVE, FIRST, IssuerServer

__all__ = ["hostile"]


@pytest.fixture
async def server() -> AsyncIterator[IssuerServer]:
    server = IssuerServer()
    server.keys = [FIRST, CURVE]
    await server.start()
    yield server
    await server.stop()
