"""The rig: one PostgreSQL, pgbouncer before it, the gateway before it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sallyport.demo.server import EmbeddedPostgres, free_port
from tests.support.gateway import Gateway

ROWS = 1_000_000
SCALE = 10

DEBIAN = Path("/usr/lib/postgresql/15/bin")
"""Clients that were built with TLS."""

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
        "mask": {
            "columns": ["public.wide.email", "public.pgbench_accounts.filler"],
            "transform": "redact",
        },
    },
    {
        "name": "bench-mask-three",
        "effect": "mask",
        "subjects": {"groups": ["three"]},
        "mask": {"columns": ["public.wide.{email,token,amount}"], "transform": "redact"},
    },
    {
        "name": "bench-mask-all",
        "effect": "mask",
        "subjects": {"groups": ["all"]},
        "mask": {"columns": ["public.wide.*"], "transform": "redact"},
    },
    {
        "name": "bench-detect",
        "effect": "mask",
        "subjects": {"groups": ["detected"]},
        "mask": {"detectors": ["all"], "transform": "redact"},
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
    tls: bool = False

    @property
    def dsn(self) -> str:
        """Return a connection string."""
        return (
            f"host={self.host} port={self.port} dbname={self.database} user={self.user} "
            f"password={self.password} sslmode={'require' if self.tls else 'disable'}"
        )


@dataclass
class Rig:
    """Everything that is measured. `rows` is a file that holds the table `wide` as COPY text."""

    server: EmbeddedPostgres
    ways: dict[str, Way]
    rows: Path

    def pgbench(self, way: Way) -> Path:
        """Return the pgbench to ask `way` with: the embedded one was built without TLS."""
        return DEBIAN / "pgbench" if way.tls else self.server.binaries / "pgbench"


@contextlib.contextmanager
def rig(folder: Path, *, compiled: bool = True) -> Iterator[Rig]:
    """Build the rig in `folder` and take it down; `compiled`: with a second, compiled gateway."""
    server = EmbeddedPostgres(
        folder / "postgres", settings={"shared_buffers": "512MB", "max_connections": "2200"}
    )
    certificate, key = _certificate(folder)
    with server, contextlib.ExitStack() as stack:
        _fill(server, folder / "rows")
        ways = {"direct": Way("direct", "127.0.0.1", server.port, "app", "app", "app-password", ())}
        for name, tls in (("pgbouncer", False), ("pgbouncer TLS", True)):
            bouncer = _pgbouncer(
                folder / name.replace(" ", "-"), server, (certificate, key) if tls else None
            )
            if bouncer is not None:
                process, port = bouncer
                stack.callback(process.wait)
                stack.callback(process.terminate)
                ways[name] = Way(
                    name, "127.0.0.1", port, "app", "app", "app-password", (process.pid,), tls
                )
        ways |= _gateway_ways(stack, folder, server, (certificate, key), None)
        sources = _compiled(folder) if compiled else None
        if sources is not None:
            ways |= _gateway_ways(stack, folder, server, (certificate, key), sources)
        if not (DEBIAN / "pgbench").exists():
            print("no pgbench that was built with TLS: its cases are left out")
            ways = {name: way for name, way in ways.items() if not way.tls}
        yield Rig(server, ways, folder / "rows")


def _compiled(folder: Path) -> Path | None:
    """Compile the hot modules beside the rig; None where that cannot be done here."""
    print("compiling ...")
    tool = Path(__file__).parents[1] / "tools" / "compile_sources.py"
    done = subprocess.run(
        [sys.executable, tool, folder / "compiled"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        print(f"the compiled gateway is left out: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return folder / "compiled"


def _gateway_ways(
    stack: contextlib.ExitStack,
    folder: Path,
    server: EmbeddedPostgres,
    certificate: tuple[Path, Path],
    sources: Path | None,
) -> dict[str, Way]:
    """Start a gateway, on the compiled `sources` if given, and return the ways through it."""
    kind = "compiled" if sources is not None else "gateway"
    gateway = Gateway(
        folder / kind.replace("compiled", "gateway-compiled"), server, database="app", rules=RULES,
        guardrails={"enabled": False},
        extra={
            "sessions": {"maximum": 2000},
            "recording": {"subject_bytes_per_hour": "200GiB"},
        },
        sources=sources,
    )  # fmt: skip
    encrypted = free_port()
    gateway.config["listeners"].append(
        {
            "name": "encrypted",
            "protocol": "postgres",
            "address": f"127.0.0.1:{encrypted}",
            "tls": {"certificate": f"file:{certificate[0]}", "key": f"file:{certificate[1]}"},
        }
    )
    stack.enter_context(gateway)
    if gateway.process is None:
        raise RuntimeError("the gateway does not run")
    ways: dict[str, Way] = {}
    for name, groups in (
        (kind, ["agents"]),
        (f"{kind} TLS", ["agents"]),
        (f"{kind} counted", ["agents", "counted"]),
        (f"{kind} masked", ["agents", "masked", "counted"]),
        (f"{kind} three masked", ["agents", "three", "counted"]),
        (f"{kind} all masked", ["agents", "all", "counted"]),
        (f"{kind} detected", ["agents", "detected", "counted"]),
    ):
        token = gateway.token(name.replace(" ", "-"), groups=groups)
        tls = name.endswith("TLS")
        port = encrypted if tls else gateway.port
        ways[name] = Way(name, "127.0.0.1", port, "db", "app", token, (gateway.process.pid,), tls)
    return ways


def _fill(server: EmbeddedPostgres, rows: Path) -> None:
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
        with rows.open("wb") as file, connection.cursor().copy("COPY wide TO STDOUT") as copy:
            for chunk in copy:
                file.write(chunk)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for the listeners that encrypt."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    for path in paths:
        path.chmod(0o600)
    return paths


def _pgbouncer(
    folder: Path, server: EmbeddedPostgres, certificate: tuple[Path, Path] | None = None
) -> tuple[subprocess.Popen[bytes], int] | None:
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not Path(program).exists():
        print("pgbouncer is not installed: its column is left out")
        return None
    folder.mkdir()
    folder.chmod(0o777)
    port = free_port()
    (folder / "users.txt").write_text('"app" "app-password"\n')
    keys = [Path(shutil.copy(path, folder)) for path in certificate or ()]
    for path in keys:
        path.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(path, "nobody")
    config = folder / "pgbouncer.ini"
    config.write_text(
        "[databases]\n"
        f"app = host=127.0.0.1 port={server.port} dbname=app user=app password=app-password\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = plain\n"
        f"auth_file = {folder}/users.txt\npool_mode = session\nmax_client_conn = 1000\n"
        f"default_pool_size = 600\nunix_socket_dir =\nlogfile = {folder}/log\n"
        + (
            f"client_tls_sslmode = require\nclient_tls_cert_file = {keys[0]}\n"
            f"client_tls_key_file = {keys[1]}\n"
            if keys
            else ""
        )
    )
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    log = folder / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-q", *user, str(config)], stdout=output, stderr=output
        )
    mode = "require" if certificate else "disable"
    for _ in range(100):
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(
                f"host=127.0.0.1 port={port} dbname=app user=app password=app-password "
                f"sslmode={mode}"
            ).close()
            return process, port
        time.sleep(0.05)
    process.terminate()
    process.wait()
    print(f"pgbouncer did not start, its column is left out:\n{log.read_text()}")
    return None
