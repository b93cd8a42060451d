"""One development issuer for each module, on a free port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sallyport.demo.issuer.server import DevelopmentIssuer
from sallyport.demo.server import free_port
from tests.support.demo_issuer import Visitor

GATEWAY = "http://127.0.0.1:8642"


@pytest.fixture(scope="module")
def issuer() -> Iterator[DevelopmentIssuer]:
    running = DevelopmentIssuer(free_port())
    running.start()
    running.serve_for(GATEWAY)
    yield running
    running.stop()


@pytest.fixture
def visitor(issuer: DevelopmentIssuer) -> Iterator[Visitor]:
    with Visitor(issuer) as one:
        yield one
