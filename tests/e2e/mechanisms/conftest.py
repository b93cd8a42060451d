"""One gateway with a listener for each mechanism, plain and with TLS, before a real database."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres, free_port
from tests.support.authority import Authority
from tests.support.gateway import Gateway
from tests.unit.identity.issuer import IssuerServer, rsa

LOGINS = {name: {"credential": "vault:db"} for name in ("app", "other")}
ISSUER = "https://login.example.com"


class IssuerThread:
    """A real issuer on loopback, in a thread of its own."""

    def __init__(self) -> None:
        self.server = IssuerServer()
        self.key = rsa("k1")
        self.server.keys = [self.key]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.start(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class House:
    """The gateway, its ports by listener, and files that clients need."""

    def __init__(self, gateway: Gateway, folder: Path, ports: dict[str, int]) -> None:
        self.gateway = gateway
        self.folder = folder
        self.ports = ports
        self.authority = Authority("clients")
        self.stranger = Authority("strangers")
        self.ca = folder / "ca.pem"
        self.issuer = IssuerThread()

    def token(self, subject: str = "agent-one", **more: Any) -> tuple[str, str]:
        """A token's id and secret."""
        secret = self.gateway.token(subject, **{"groups": ["agents"], **more})
        return secret.split("_")[1], secret

    def dsn(self, listener: str, **words: str) -> str:
        """Where to connect; TLS is verified wherever the listener has it."""
        tls = {"sslmode": "verify-full", "sslrootcert": str(self.ca)}
        if not listener.endswith("tls"):
            tls = {"sslmode": "disable"}
        given = {
            "host": "127.0.0.1",
            "port": str(self.ports[listener]),
            "dbname": "db",
            "connect_timeout": "10",
            **tls,
            **words,
        }
        return " ".join(f"{name}='{value}'" for name, value in given.items())

    def ask(self, listener: str, **words: str) -> str:
        """Who the target says that psycopg is."""
        with psycopg.connect(self.dsn(listener, **words), autocommit=True) as connection:
            row = connection.execute("select current_user").fetchone()
        assert row is not None
        return str(row[0])

    def refused(self, listener: str, **words: str) -> str:
        """How psycopg is refused."""
        with pytest.raises(psycopg.OperationalError) as caught:
            self.ask(listener, **words)
        return str(caught.value)

    def psql(self, listener: str, **words: str) -> subprocess.CompletedProcess[str]:
        """Debian's psql 15."""
        return subprocess.run(
            ["/usr/lib/postgresql/15/bin/psql", "-XAtw", "-c", "select current_user",
             self.dsn(listener, **words)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def jwt(self, **claims: Any) -> str:
        """A token of the second issuer, `local`."""
        now = time.time()
        return self.issuer.server.token(self.issuer.key, **{"iat": now, "exp": now + 600, **claims})

    def sessions(self, subject: str) -> list[dict[str, Any]]:
        """What is on record of a subject's sessions."""
        return list(self.gateway.admin.get("/sessions", subject=subject)["sessions"])


@pytest.fixture(scope="session")
def house(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    postgres.psql("CREATE ROLE other LOGIN PASSWORD 'app-password';")
    folder = tmp_path_factory.mktemp("mechanisms")
    names = [
        f"{m}{tls}" for m in ("token", "scram", "oauth", "certificate") for tls in ("", "-tls")
    ]
    ports = {name: free_port() for name in names if name != "certificate"}
    gateway = Gateway(
        folder / "gateway", postgres, database="app", target={"logins": LOGINS},
    )  # fmt: skip
    house = House(gateway, folder, ports)
    gateway.config["issuers"] = [
        {"name": name, "issuer": url, "audience": ["sallyport"]}
        for name, url in (("corp", ISSUER), ("local", house.issuer.server.url))
    ]
    server = Authority("servers")
    certificate, key = server.server().files(folder, "server")
    house.ca.write_bytes(server.certificate)
    clients = folder / "clients.pem"
    clients.write_bytes(house.authority.certificate)
    clients.chmod(0o600)
    tls = {"certificate": f"file:{certificate}", "key": f"file:{key}"}
    listeners = gateway.config["listeners"]
    for name, port in ports.items():
        listener: dict[str, Any] = {
            "name": name,
            "protocol": "postgres",
            "address": f"127.0.0.1:{port}",
            "authentication": name.removesuffix("-tls"),
        }
        if name.endswith("-tls"):
            listener["tls"] = dict(tls)
        if name.startswith("oauth"):
            listener["oauth"] = {"issuer": "corp", "scope": "openid groups"}
        if name.startswith("certificate"):
            listener["tls"] |= {"client_ca": f"file:{clients}", "client_groups": True}
        listeners.append(listener)
    with gateway:
        yield house
    house.issuer.close()
