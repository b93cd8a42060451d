"""The API that the tests of this folder share: one a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.web.harness import Api, running_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """A running API."""
    async with running_api(tmp_path) as running:
        yield running
