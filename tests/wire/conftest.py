"""Fixtures of the wire tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvloop

from tests.wire.rig import DEBIAN, DIALLED, Certificates, DebianPostgres


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the gateway runs on: its transports differ from asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Debian's server."""
    for item in items:
        if "debian" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.debian)


@pytest.fixture(autouse=True)
async def closed_legs() -> AsyncIterator[None]:
    """A leg that is left open, or in its TLS farewell, would outlive the test's loop."""
    yield
    async with asyncio.timeout(10):
        while DIALLED:
            leg = DIALLED.pop()
            leg.abort()
            while not leg.lost:
                await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    return Certificates()


@pytest.fixture(scope="session")
def debian(certificates: Certificates) -> Iterator[DebianPostgres]:
    if not (DEBIAN / "postgres").exists():
        pytest.skip("Debian's postgresql-15 is not installed")
    with DebianPostgres(certificates) as server:
        yield server
