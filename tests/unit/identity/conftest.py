"""A store, a clock and an issuer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sallyport.store.database import Database
from tests.support.clock import Clock
from tests.support.hostile import hostile
from tests.unit.identity.issuer import CURVE, FIRST, IssuerServer
from tests.unit.store.template import fresh

__all__ = ["hostile"]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await fresh(tmp_path)
    yield database
    await database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server() -> AsyncIterator[IssuerServer]:
    server = IssuerServer()
    server.keys = [FIRST, CURVE]
    await server.start()
    yield server
    await server.stop()
