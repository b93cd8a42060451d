"""The two worlds, made once for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.masking.oracle import Oracle
from tests.masking.worlds import Worlds


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """Both databases and the gateway before them. `POSTGRES_BINARIES`: of another server."""
    folder = tmp_path_factory.mktemp("worlds")
    # Nothing but the sessions themselves changes statistics, and with them plans.
    older = os.environ.get("POSTGRES_BINARIES")
    with EmbeddedPostgres(
        folder / "server",
        settings={"autovacuum": "off"},
        binaries=Path(older) if older else None,
    ) as server:
        made = Worlds(folder / "gateway", server)
        yield made
        made.close()


@pytest.fixture(scope="session")
def gated(worlds: Worlds) -> Iterator[Oracle]:
    """Sessions through the gateway."""
    made = Oracle(worlds)
    yield made
    made.close()


@pytest.fixture(scope="session")
def untold(worlds: Worlds) -> Iterator[Oracle]:
    """Sessions through the gateway of somebody who gets no hashes."""
    made = Oracle(worlds, subject="untold")
    yield made
    made.close()


@pytest.fixture(scope="session")
def control(worlds: Worlds) -> Iterator[Oracle]:
    """The same sessions without a gateway."""
    made = Oracle(worlds, direct=True)
    yield made
    made.close()
