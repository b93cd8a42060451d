"""Two gateways that all client tests share, and a database of its own for each test.

`agents` is what an operator writes for agents: reads and writes of what stands in `public`, every
guardrail on. `builders` may change structure too; the guardrails that restores, migrations and
`pgbench -i` run into by their nature are left out by name, as the policy guide shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres, free_port
from tests.e2e.clients import capture
from tests.support.gateway import Gateway
from tests.wire.rig import Certificates

RELATIONS = ("table", "view", "materialized-view", "sequence")
AGENTS: list[dict[str, Any]] = [
    {
        "name": "agents-read-and-write",
        "effect": "allow",
        "subjects": {"groups": ["agents"]},
        "operations": {
            "effects": ["read", "write"],
            "resources": {kind: ["public.*", "pg_temp.*"] for kind in RELATIONS},
        },
    },
    {
        "name": "agents-talk",
        "effect": "allow",
        "subjects": {"groups": ["agents"]},
        "operations": {
            "effects": ["read", "write"],
            "resources": {"channel": ["jobs"], "function": ["pg_catalog.pg_sleep"]},
        },
    },
]
BUILDERS: list[dict[str, Any]] = [
    {
        "name": "builders-build",
        "effect": "allow",
        "subjects": {"groups": ["agents"]},
        "operations": {"effects": ["read", "write", "admin"]},
    }
]
LEFT_OUT = ["no-destructive-ddl"]
"""A migration's way back drops, and `pgbench -i` drops and truncates."""

RESTORING = {
    "no-privileges": "owners, grants, default privileges",
    "no-intercepts": "rules, triggers, row policies",
    "no-dynamic-sql": "bodies of functions and procedures",
    "no-replication": "publications",
    "no-catalogue-secrets": "the database's own settings, in an archive",
}
"""What a whole dump holds beside tables, by the guardrail that it needs left out."""

NewDatabase = Callable[..., str]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """PEM files of a test authority (`ca`) and of a server named localhost and 127.0.0.1."""
    made, folder = Certificates(), tmp_path_factory.mktemp("certificates")
    files = {name: folder / f"{name}.pem" for name in ("ca", "certificate", "key")}
    for name, file in files.items():
        file.write_bytes(getattr(made, name))
        file.chmod(0o600)
    return files


@pytest.fixture(scope="session")
def tls_port() -> int:
    """Where `agents` listens with TLS."""
    return free_port()


@pytest.fixture(scope="session")
def agents(
    postgres: EmbeddedPostgres,
    certificates: dict[str, Path],
    tls_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("agents"), postgres, database="app", rules=AGENTS)
    gateway.config["listeners"].append(
        {
            "name": "postgres-tls",
            "protocol": "postgres",
            "address": f"127.0.0.1:{tls_port}",
            "tls": {name: f"file:{certificates[name]}" for name in ("certificate", "key")},
        }
    )
    with gateway as running:
        yield running
        captured(running)


@pytest.fixture(scope="session")
def builders(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with Gateway(
        tmp_path_factory.mktemp("builders"),
        postgres,
        database="app",
        rules=BUILDERS,
        guardrails={"enabled": True, "except": LEFT_OUT},
    ) as running:
        yield running
        captured(running)


@pytest.fixture(scope="session")
def restorers(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with Gateway(
        tmp_path_factory.mktemp("restorers"),
        postgres,
        database="app",
        rules=BUILDERS,
        guardrails={"enabled": True, "except": [*LEFT_OUT, *RESTORING]},
    ) as running:
        yield running
        captured(running)


@pytest.fixture(scope="session")
def new_database(postgres: EmbeddedPostgres) -> NewDatabase:
    """Make a database of the login `app`, run a script in it as that login, return its name."""
    numbers = itertools.count(1)

    def make(script: str = "") -> str:
        name = f"client_{next(numbers)}"
        postgres.psql(f"create database {name} owner app")
        capture.made(name, script)
        if script:
            with psycopg.connect(direct_dsn(postgres, name), autocommit=True) as connection:
                connection.execute(script.encode())
        return name

    return make


def captured(gateway: Gateway) -> None:
    """Take what the gateway recorded into the friction corpus, if that is asked for."""
    if capture.WANTED:
        capture.collect(gateway)
        capture.write()


def direct_dsn(server: EmbeddedPostgres, database: str) -> str:
    """The same login, past the gateway."""
    return f"host=127.0.0.1 port={server.port} user=app password=app-password dbname={database}"
