"""What was done, as people look at it: through the command line, against a real gateway."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import Gateway
from tests.support.processes import PATIENCE, wait_for
from tests.support.sessions import Listener

PROGRAM = "library-test"


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE library OWNER app")
    with Gateway(tmp_path_factory.mktemp("library"), postgres, database="library") as running:
        yield running


class Cli:
    """`sallyport` as an operator runs it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def command(self, *words: str) -> list[str]:
        token = self.gateway.folder / "state" / "admin.token"
        return [
            sys.executable, "-m", "sallyport.cli", *words,
            "--url", self.gateway.url, "--token-file", str(token),
        ]  # fmt: skip

    def text(self, *words: str) -> str:
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.text(*words, "--json"))

    def lines(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text(*words, "--json").splitlines()]


@pytest.fixture(scope="module")
def cli(gateway: Gateway) -> Cli:
    return Cli(gateway)


@pytest.fixture(scope="module")
def session(gateway: Gateway, cli: Cli) -> str:
    """A session with a read, a write, an error and a refusal, sealed by now. Return its id."""
    with psycopg.connect(gateway.dsn(application_name=PROGRAM), autocommit=True) as one:
        one.execute("CREATE TABLE books (id int, title text)")
        one.execute("INSERT INTO books VALUES (1, 'Gormenghast')")
        one.execute("SELECT title FROM books WHERE id = %s", [1])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            one.execute("DROP TABLE books")
        with pytest.raises(psycopg.errors.DivisionByZero):
            one.execute("SELECT 1/0")

    def sealed() -> str | None:
        found = cli.lines("sessions", "list", "--application", PROGRAM, "--state", "sealed")
        return str(found[0]["id"]) if found else None

    return str(wait_for(sealed, "the session is sealed"))


def test_list_and_show(cli: Cli, session: str) -> None:
    listed = cli.lines("sessions", "list", "--subject", "agent-*", "--decision", "deny")
    assert session in [one["id"] for one in listed]
    assert cli.lines("sessions", "list", "--subject", "nobody") == []
    shown = cli.json("sessions", "show", session)
    assert (shown["subject"], shown["target"], shown["application"]) == ("agent-one", "db", PROGRAM)
    assert (shown["operations"], shown["denied"], shown["rows"]) == (5, 1, 1)
    assert shown["closed"] >= shown["opened"]


def test_the_measures_count_what_was_done(gateway: Gateway, session: str) -> None:
    """Every measure that the page names is there, and says how much of it was done."""
    refused = httpx2.get(f"{gateway.url}/metrics", headers={"via": "1.1 proxy"}, trust_env=False)
    assert refused.status_code == 401
    for wrong in ({"token": "sp_wrong"}, {"target": "nowhere"}):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(gateway.dsn(**wrong)).close()

    def measured() -> dict[str, float] | None:
        text = httpx2.get(f"{gateway.url}/metrics", trust_env=False).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        found = {name: float(value) for name, value in lines}
        return found if found.get('sallyport_logins_total{outcome="refused"}') == 2 else None

    found = wait_for(measured, "refused logins are on record though nothing follows them")
    assert found['sallyport_operations_total{decision="allow"}'] >= 4
    assert found['sallyport_operations_total{decision="deny"}'] >= 1
    assert found['sallyport_logins_total{outcome="taken"}'] >= 1
    assert found['sallyport_results_total{unit="rows"}'] >= 1
    page = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    named = set(re.findall(r"^\| `(sallyport_\w+)", page, re.MULTILINE))
    shown = {re.split(r"[{]|_bucket|_count|_sum", name)[0] for name in found}
    assert named == {name for name in shown if not name.endswith("_created")}


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (["Gormenghast"], "insert"),
        (["--verb", "select", "--table", "public.books"], "select"),
        (["--decision", "deny", "--table", "public.books"], "drop"),
        (["--text-is-not-an-option"], None),
    ],
)
def test_search(cli: Cli, session: str, words: list[str], verb: str | None) -> None:
    if verb is None:
        done = subprocess.run(cli.command("sessions", "search", *words), capture_output=True)
        assert done.returncode != 0
        return
    found = cli.lines("sessions", "search", *words, "--session", session)
    assert found
    assert all(verb in one["verb"] for one in found)


def test_replay_and_export(cli: Cli, session: str, tmp_path: Path) -> None:
    played = cli.text("sessions", "replay", session)
    for part in ("Gormenghast", "DROP TABLE books", "division by zero", "SELECT title"):
        assert part in played
    kinds = [event["type"] for event in cli.lines("sessions", "replay", session)]
    assert kinds[0] == "session-opened"
    assert kinds[-1] == "session-closed"
    file = tmp_path / "session.jsonl"
    cli.text("sessions", "export", session, "--output", str(file))
    exported = [json.loads(line) for line in file.read_text().splitlines()]
    assert [event["type"] for event in exported] == kinds
    assert file.stat().st_mode & 0o777 == 0o600


def test_tail_shows_what_happens_now(gateway: Gateway, cli: Cli) -> None:
    command = cli.command("sessions", "tail", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
        try:
            assert tail.stdout is not None
            with psycopg.connect(gateway.dsn(), autocommit=True) as one:
                got: list[str] = []
                count = 0
                import threading

                def read() -> None:
                    assert tail.stdout is not None
                    got.extend(iter(tail.stdout.readline, ""))

                reader = threading.Thread(target=read, daemon=True)
                reader.start()

                def seen() -> bool:
                    nonlocal count
                    count += 1
                    one.execute(f"SELECT 'live-{count}'".encode())
                    return any("live-" in line for line in got)

                wait_for(seen, "the tail shows a statement")
        finally:
            tail.terminate()


def test_kill_ends_a_live_session(gateway: Gateway, cli: Cli) -> None:
    victim = Listener(gateway.dsn(application_name="victim"))
    found = wait_for(
        lambda: cli.lines("sessions", "list", "--application", "victim", "--state", "open"),
        "it is listed",
    )
    cli.text("sessions", "kill", found[0]["id"], "-m", "not ours")
    wait_for(victim.over, "it is over")
    assert "not ours" in str(victim.texts[0])


def test_retention_spares_what_is_held(gateway: Gateway, cli: Cli, session: str) -> None:
    with psycopg.connect(gateway.dsn(application_name="to-go"), autocommit=True) as one:
        one.execute("SELECT 1")
    wait_for(
        lambda: cli.lines("sessions", "list", "--application", "to-go", "--state", "sealed"),
        "it is sealed",
    )
    cli.text("sessions", "hold", session, "-m", "a case")
    gateway.config["recording"] = {"retention": {"age": "1s"}}
    gateway.write_config()

    def gone() -> bool:
        gateway.admin.post("/policy/reload")
        return not cli.lines("sessions", "list", "--application", "to-go")

    wait_for(gone, "what is past its time is deleted")
    assert cli.json("sessions", "show", session)["id"] == session
    assert "Gormenghast" in cli.text("sessions", "replay", session)
    cli.text("sessions", "release", session, "-m", "closed")

    def gone_too() -> bool:
        gateway.admin.post("/policy/reload")
        return not cli.lines("sessions", "list", "--application", PROGRAM)

    wait_for(gone_too, "what is released goes")
    files = (gateway.folder / "state" / "recording" / "sessions").rglob(f"{session}*")
    assert not list(files)
