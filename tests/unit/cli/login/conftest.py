"""A hostile provider for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sallyport.cli.login.provider import Web
from tests.unit.cli.login.hostile import Hostile


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with Hostile() as running:
        yield running


@pytest.fixture
def web(hostile: Hostile) -> Iterator[Web]:
    client = Web(hostile.url)
    yield client
    client.close()
