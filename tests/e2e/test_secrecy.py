"""What must lie nowhere: the target's credential, tokens, and, where recordings are encrypted, data."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.cli.client import path
from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import EVERYTHING, Gateway
from tests.support.processes import kill, wait_for
from tests.support.sessions import Background, connect_soon

CREDENTIAL = "c4nary-Credential-9f2e"
"""The target's password, as the gateway alone knows it."""
DATUM = "c4nary-datum-71bb"
NAME = "secret_keeper"
HOLD: dict[str, Any] = {
    "name": "updates-wait",
    "effect": "hold",
    "operations": {"verbs": ["update"]},
    "hold": {"approvers": ["dba"]},
}


class Tap:
    """A loopback port that carries one client's bytes to the gateway and keeps all that come back."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.seen = b""
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, run: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            target = socket.create_connection(("127.0.0.1", self._to))
            self._start(self._carry, client, target, False)
            self._start(self._carry, target, client, True)

    def _carry(self, source: socket.socket, sink: socket.socket, keep: bool) -> None:
        try:
            while data := source.recv(65536):
                if keep:
                    self.seen += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()

    def close(self) -> None:
        self._listening.close()


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql(f"CREATE ROLE {NAME} LOGIN PASSWORD '{CREDENTIAL}'")
    postgres.psql(f"CREATE DATABASE secrecy OWNER {NAME}")
    with Gateway(
        tmp_path_factory.mktemp("secrecy"),
        postgres,
        database="secrecy",
        login=NAME,
        password=CREDENTIAL,
        rules=[*EVERYTHING, HOLD],
        extra={"recording": {"encrypt": True}, "logging": {"level": "debug"}},
    ) as running:
        yield running


@pytest.fixture
def tap(gateway: Gateway) -> Iterator[Tap]:
    made = Tap(gateway.port)
    yield made
    made.close()


def through(gateway: Gateway, tap: Tap) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(gateway.dsn(port=str(tap.port), user=NAME), autocommit=True)


def holders(folder: Path, *needles: str) -> list[str]:
    """Return the files under `folder` that hold one of `needles`."""
    found = []
    for file in folder.rglob("*"):
        if file.is_file():
            raw = file.read_bytes()
            found += [f"{needle} in {file}" for needle in needles if needle.encode() in raw]
    return found


def use(session: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Do what may carry a secret somewhere: data, errors, settings, functions about oneself."""
    session.execute(f"CREATE TABLE IF NOT EXISTS kept (note text DEFAULT '{DATUM}')")
    session.execute("INSERT INTO kept VALUES (%s)", [f"{DATUM}-parameter"])
    assert DATUM in str(session.execute("SELECT note FROM kept").fetchall())
    for statement in (
        f"SELECT '{DATUM}-in-an-error'::int",
        "SELECT * FROM pg_authid",
        "SELECT passwd FROM pg_shadow",
        "SELECT current_setting('password')",
        "ALTER ROLE secret_keeper PASSWORD 'other'",
    ):
        with pytest.raises(psycopg.Error):
            session.execute(statement.encode())


def test_the_credential_and_the_data_lie_nowhere(gateway: Gateway, tap: Tap) -> None:
    with through(gateway, tap) as session:
        use(session)
    kill(gateway, "worker")
    gateway.wait_ready()
    connect_soon(gateway).close()
    assert DATUM.encode() in tap.seen
    assert CREDENTIAL.encode() not in tap.seen
    sealed = gateway.folder / "state" / "recording" / "sessions"
    wait_for(lambda: list(sealed.rglob("*.sprec")), "a session is sealed")
    assert not holders(gateway.folder, CREDENTIAL, gateway.agent, gateway.approver_token)
    recording = gateway.folder / "state" / "recording"
    assert not holders(recording, DATUM)
    assert DATUM not in gateway.log()


def test_nothing_of_the_data_is_plain_in_the_state_folder(gateway: Gateway) -> None:
    """Index and approvals are part of it: what recordings hide must not be found in them."""
    waiting = Background(
        gateway.dsn(user=NAME), f"UPDATE kept SET note = '{DATUM}-held' WHERE note = 'x'"
    )
    held = gateway.wait_pending()
    assert DATUM in gateway.approver.get(path("approvals", held["id"]))["text"]
    gateway.deny(held["id"])
    assert waiting.result().error is not None
    found = gateway.admin.get("/sessions/search", text=f"{DATUM.upper()}-HELD")["operations"]
    assert found
    assert DATUM in found[0]["text"]
    assert not gateway.admin.get("/sessions/search", text=f"{DATUM}-never")["operations"]

    def told() -> bool:
        audit = gateway.admin.get("/audit", action="operations-searched")["audit"]
        return any(f"{DATUM}-never" in str(one["details"]) for one in audit)

    wait_for(told, "what was looked for is in the index, too")
    assert not holders(gateway.folder / "state", DATUM)


def test_encrypted_recordings_can_be_read_by_who_may(gateway: Gateway) -> None:
    found = gateway.admin.get("/sessions", subject="agent-one", limit=50)["sessions"]
    used = [one["id"] for one in found if one["operations"] > 2]
    lines = "".join(
        str(line) for one in used for line in gateway.admin.lines(path("sessions", one, "export"))
    )
    assert DATUM in lines
    assert CREDENTIAL not in lines


def test_no_answer_of_the_api_holds_the_credential(gateway: Gateway) -> None:
    for where in (
        "/credentials", "/targets", "/policy", "/tokens", "/sessions", "/approvals",
        "/sessions/search", "/audit", "/status",
    ):  # fmt: skip
        try:
            answer = str(gateway.admin.get(where))
        except Exception as error:
            answer = str(error)
            assert "404" in answer or "not found" in answer.lower() or "no such" in answer.lower()
        assert CREDENTIAL not in answer
        assert gateway.agent not in answer
    checked = subprocess.run(
        [sys.executable, "-m", "sallyport.cli", "target", "check", "--url", gateway.url,
         "--token-file", str(gateway.folder / "state" / "admin.token")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert CREDENTIAL not in checked.stdout + checked.stderr


def test_a_rejected_credential_is_told_to_nobody(gateway: Gateway, tap: Tap) -> None:
    """The target refuses it: neither the client, nor the log, nor the record sees what it was."""
    wrong = f"{CREDENTIAL}-wrong"
    gateway.admin.put(path("credentials", "db"), {"value": wrong})
    try:
        with pytest.raises(psycopg.OperationalError) as refused:
            through(gateway, tap)
        assert CREDENTIAL not in str(refused.value)
        assert CREDENTIAL.encode() not in tap.seen
        assert not holders(gateway.folder, CREDENTIAL)
    finally:
        gateway.admin.put(path("credentials", "db"), {"value": CREDENTIAL})
    with through(gateway, tap) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
