"""The rig: one PostgreSQL, pgbouncer before it, the gateway before it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from sallyport.demo.server import EmbeddedPostgres, free_port
from tests.support.gateway import Gateway

ROWS = 1_000_000
SCALE = 10

RULES = [
    {
        "name": "bench-reads-and-writes",
        "effect": "allow",
        "operations": {
            "effects": ["read", "write", "admin"],
            "resources": {"table": ["*.*"], "database": ["*"], "setting": ["*"]},
        },
    },
    {
        "name": "bench-mask",
        "effect": "mask",
        "subjects": {"groups": ["masked"]},
        "mask": {"columns": ["public.wide.email"], "transform": "redact"},
    },
    {
        "name": "bench-counted",
        "effect": "record",
        "subjects": {"groups": ["counted"]},
        "record": "statements",
    },
]


@dataclass(frozen=True)
class Way:
    """One way to the database: its address, and the processes whose CPU counts for it."""

    name: str
    host: str
    port: int
    database: str
    user: str
    password: str
    pids: tuple[int, ...]

    @property
    def dsn(self) -> str:
        """Return a connection string."""
        return (
            f"host={self.host} port={self.port} dbname={self.database} user={self.user} "
            f"password={self.password}"
        )


@dataclass
class Rig:
    """Everything that is measured."""

    server: EmbeddedPostgres
    gateway: Gateway
    ways: dict[str, Way]


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    """Build the rig in `folder` and take it down."""
    server = EmbeddedPostgres(
        folder / "postgres", settings={"shared_buffers": "512MB", "max_connections": "700"}
    )
    with server, contextlib.ExitStack() as stack:
        _fill(server)
        config = {"sessions": {"maximum": 2000}}
        gateway = Gateway(
            folder / "gateway", server, database="app", rules=RULES,
            guardrails={"enabled": False}, extra=config,
        )  # fmt: skip
        stack.enter_context(gateway)
        assert gateway.process is not None
        pid = gateway.process.pid
        ways = {"direct": Way("direct", "127.0.0.1", server.port, "app", "app", "app-password", ())}
        bouncer = _pgbouncer(folder / "pgbouncer", server)
        if bouncer is not None:
            process, port = bouncer
            stack.callback(process.wait)
            stack.callback(process.terminate)
            ways["pgbouncer"] = Way(
                "pgbouncer", "127.0.0.1", port, "app", "app", "app-password", (process.pid,)
            )
        for name, groups in (
            ("gateway", ["agents"]),
            ("gateway counted", ["agents", "counted"]),
            ("gateway masked", ["agents", "masked", "counted"]),
        ):
            token = gateway.token(name.replace(" ", "-"), groups=groups)
            ways[name] = Way(name, "127.0.0.1", gateway.port, "db", "app", token, (pid,))
        yield Rig(server, gateway, ways)


def _fill(server: EmbeddedPostgres) -> None:
    server.psql("CREATE ROLE app LOGIN PASSWORD 'app-password'; CREATE DATABASE app OWNER app;")
    dsn = f"host=127.0.0.1 port={server.port} dbname=app user=app password=app-password"
    subprocess.run(
        [server.binaries / "pgbench", "-i", "-q", "-s", str(SCALE), dsn],
        check=True, capture_output=True,
    )  # fmt: skip
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE wide AS SELECT i AS id, 'user' || i || '@example.com' AS email, "
            "md5(i::text) AS token, i * 1.5 AS amount, now() AS at "
            f"FROM generate_series(1, {ROWS}) i"
        )
        connection.execute("VACUUM ANALYZE wide")


def _pgbouncer(
    folder: Path, server: EmbeddedPostgres
) -> tuple[subprocess.Popen[bytes], int] | None:
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not Path(program).exists():
        print("pgbouncer is not installed: its column is left out")
        return None
    folder.mkdir()
    folder.chmod(0o777)
    port = free_port()
    users = folder / "users.txt"
    users.write_text('"app" "app-password"\n')
    users.chmod(0o644)
    config = folder / "pgbouncer.ini"
    config.write_text(
        "[databases]\n"
        f"app = host=127.0.0.1 port={server.port} dbname=app user=app password=app-password\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = plain\n"
        f"auth_file = {users}\npool_mode = session\nmax_client_conn = 1000\n"
        "default_pool_size = 600\nunix_socket_dir =\nmax_prepared_statements = 100\n"
        f"logfile = {folder}/log\n"
    )
    import os

    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    for parent in folder.resolve().parents:
        if not parent.stat().st_mode & 0o001 and os.geteuid() == 0:
            print(f"pgbouncer cannot reach {folder}: its column is left out")
            return None
    process = subprocess.Popen(
        [program, "-q", *user, str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(100):
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(
                f"host=127.0.0.1 port={port} dbname=app user=app password=app-password"
            ).close()
            return process, port
        time.sleep(0.05)
    process.terminate()
    print("pgbouncer did not start: its column is left out")
    return None
