"""A store that is up to date, and a clock that stands: what many of these tests begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sallyport.store.database import Database
from tests.support.clock import Clock
from tests.unit.store.template import fresh


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await fresh(tmp_path)
    yield database
    await database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()
