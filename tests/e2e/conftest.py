"""An issuer for each module of tests that uses one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.issuers import Issuer


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running
