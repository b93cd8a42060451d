"""What the pages tell their readers to do, done: the README's five minutes, the only way in.

Each line is taken from the page; only addresses, ports and secrets are other ones.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.server import free_port
from tests.wire.rig import DEBIAN, Certificates, DebianPostgres

ROOT = Path(__file__).parents[2]
PATIENCE = 110
TABLES = """
CREATE ROLE sallyport_app LOGIN PASSWORD 'the-password';
CREATE DATABASE orders;
\\connect orders
CREATE TABLE orders (id int PRIMARY KEY, email text, note text);
INSERT INTO orders VALUES (1, 'ada@example.com', 'card 4111 1111 1111 1111');
GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO sallyport_app;
"""

pytestmark = pytest.mark.debian


@pytest.fixture(scope="module")
def debian() -> Iterator[DebianPostgres]:
    if not (DEBIAN / "postgres").exists():
        pytest.skip("Debian's postgresql-15 is not installed")
    with DebianPostgres(Certificates()) as server:
        server.psql(TABLES)
        yield server


@pytest.fixture
def rules(debian: DebianPostgres) -> Iterator[Path]:
    """Return pg_hba.conf, which is put back and read again afterwards."""
    place = debian.folder / "data" / "pg_hba.conf"
    before = place.read_text()
    yield place
    place.write_text(before)
    debian.psql("SELECT pg_reload_conf()")


def lines_after(page: str, mark: str) -> list[str]:
    """Return the lines of the first indented block behind `mark`, without their indent."""
    rest = (ROOT / page).read_text().partition(mark)[2]
    block = re.search(r"(?:^    .*\n)+", rest, re.MULTILINE)
    assert block, f"{page} has no block behind `{mark}`"
    return [line[4:] for line in block[0].splitlines()]


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"`{old}` is not there any more"
        text = text.replace(old, new)
    return text


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with blanks in its name, short enough for a socket below it."""
    with tempfile.TemporaryDirectory(prefix="my first gate ") as name:
        yield Path(name)


def test_the_readmes_five_minutes(debian: DebianPostgres, rules: Path, folder: Path) -> None:
    rules.write_text(
        rules.read_text() + "hostssl orders sallyport_app 127.0.0.1/32 scram-sha-256\n"
    )
    debian.psql("SELECT pg_reload_conf()")
    port, api = free_port(), free_port()
    found = re.search(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert found
    changes = {
        "127.0.0.1:6432": f"127.0.0.1:{port}",
        "db.internal:5432": f"localhost:{debian.port}",
        "{mode: verify-full}": '{mode: verify-full, ca: "file:./ca.pem"}',
    }
    config = replaced(found[1], changes) + f'api: {{address: "127.0.0.1:{api}"}}\n'
    (folder / "sallyport.yaml").write_text(config)
    (folder / "ca.pem").write_bytes(debian.certificates.ca)
    script = replaced(
        "\n".join(lines_after("README.md", "\nThen:\n")),
        {
            "sallyport serve -c sallyport.yaml &": "sallyport serve -c sallyport.yaml 2>log &\ntrap 'kill $!; wait $!' EXIT",
            "sallyport credential set orders": "echo the-password | sallyport credential set orders",
            "sallyport token create --subject agent-one --group agents": "agent=$(sallyport token create --subject agent-one --group agents)",
            "PGPASSWORD=sp_...": "PGPASSWORD=$agent",
            f"-p {6432} -U sallyport_app orders": f"-p {port} -U sallyport_app orders -At -c 'SELECT * FROM orders' -c 'DELETE FROM orders' || true",
        },
    )
    said = run(script, folder, SALLYPORT_URL=f"http://127.0.0.1:{api}")
    assert said.returncode == 0, said.stdout + said.stderr + (folder / "log").read_text()
    assert "sallyport.yaml is good" in said.stdout
    assert "scram-sha-256" in said.stdout and "TLSv1.3" in said.stdout
    assert "1|[redacted]|card [redacted:card]" in said.stdout
    assert "refused by rule `no-unfiltered-writes`" in said.stderr
    assert "the-password" not in said.stdout + said.stderr + (folder / "log").read_text()


def test_the_rules_of_the_only_way_in(debian: DebianPostgres, rules: Path) -> None:
    """They let the gateway's address in with TLS and a password, and nobody else."""
    found = lines_after("docs/only-way-in.md", "In `pg_hba.conf`")
    others = "local all postgres trust\n" + "host all all all trust\nlocal all all trust\n"
    rules.write_text(replaced("\n".join(found), {"10.0.7.12/32": "127.0.0.2/32"}) + "\n" + others)
    debian.psql("SELECT pg_reload_conf()")
    assert debian.psql("SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL").strip() == ""
    for source, mode, enters in (
        ("127.0.0.2", "require", True),
        ("127.0.0.2", "disable", False),
        ("127.0.0.1", "require", False),
        ("127.0.0.1", "disable", False),
    ):
        assert knocks(debian, source, mode) is enters, (source, mode)


def knocks(debian: DebianPostgres, source: str, mode: str) -> bool:
    """Whether a client of this address gets in with the right password; else it is rejected."""
    try:
        with BoundTo(source, debian.port) as port:
            psycopg.connect(
                host="127.0.0.1", port=port, dbname="orders", user="sallyport_app",
                password="the-password", sslmode=mode, connect_timeout=20,
            ).close()  # fmt: skip
    except psycopg.OperationalError as error:
        assert "pg_hba.conf rejects connection" in str(error)
        return False
    return True


class BoundTo:
    """A port of this machine whose connections arrive at the server from address `source`."""

    def __init__(self, source: str, port: int) -> None:
        self._source, self._port = source, port

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(
                    ("127.0.0.1", self._port), source_address=(self._source, 0)
                )
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=_pour, args=(one, other), daemon=True).start()


def _pour(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


def run(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    where = Path(sys.executable).parent
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={"HOME": str(folder), "PATH": f"{where}:{os.environ['PATH']}", **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
