"""Fixtures that several kinds of tests share: one real PostgreSQL 18 for the whole run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from sallyport.demo.server import EmbeddedPostgres

# Every run tries the same examples, so that a failure is a change's; the long run tries new ones.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile("new", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server with the login `app` (password `app-password`), owner of database `app`."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        server.psql("CREATE ROLE app LOGIN PASSWORD 'app-password' CREATEDB;")
        server.psql("CREATE DATABASE app OWNER app;")
        yield server
