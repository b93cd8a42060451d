"""Fixtures that several kinds of tests share: one real PostgreSQL 18 for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sallyport.demo.server import EmbeddedPostgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server with the login `app` (password `app-password`), owner of database `app`."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        server.psql("CREATE ROLE app LOGIN PASSWORD 'app-password' CREATEDB;")
        server.psql("CREATE DATABASE app OWNER app;")
        yield server
