"""A protocol of somebody else's: found by its entry point, served by a real gateway.

The files are those that `examples/line-plugin` tells its readers to use.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML

from sallyport.recording.verify import verify
from tests.support.gateway import Gateway

EXAMPLE = Path(__file__).parents[2] / "examples/line-plugin"
PATIENCE = 60.0


class Lines:
    """One connection that speaks in lines."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._file = self._socket.makefile("rb")

    def send(self, text: str) -> None:
        self._socket.sendall(text.encode() + b"\n")

    def read(self) -> str:
        return self._file.readline().decode().rstrip("\n")

    def ask(self, text: str) -> str:
        self.send(text)
        return self.read()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class LineGateway(Gateway):
    """The gateway with the example's own configuration; only its addresses are other ones."""

    def __init__(self, folder: Path, store: int) -> None:
        super().__init__(folder, SimpleNamespace(port=store))  # type: ignore[arg-type]
        config: dict[str, Any] = YAML(typ="safe").load(EXAMPLE / "sallyport.yaml")
        config["state"] = str(folder / "state")
        config["vault"]["key"] = f"file:{folder}/state/master.key"
        config["api"] = {"address": f"127.0.0.1:{self.api_port}"}
        config["listeners"][0]["address"] = f"127.0.0.1:{self.port}"
        config["targets"][0]["address"] = f"127.0.0.1:{store}"
        self.config = config


@pytest.fixture(scope="module")
def store() -> Iterator[int]:
    server = subprocess.Popen(
        [sys.executable, "-m", "sallyport_line.server", "--port", "0"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    yield int(server.stdout.readline().rpartition(":")[2])
    server.terminate()
    server.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, store: int) -> Iterator[LineGateway]:
    with LineGateway(tmp_path_factory.mktemp("line"), store) as running:
        running.approver_token = running.token("kim", groups=["keepers"], roles=["approver"])
        yield running


@pytest.fixture
def agent(gateway: LineGateway) -> Iterator[Lines]:
    lines = Lines(gateway.port)
    assert lines.ask(f"AUTH {gateway.agent} store") == "OK"
    yield lines
    lines.close()


@pytest.fixture
def direct(store: int) -> Iterator[Lines]:
    lines = Lines(store)
    yield lines
    lines.close()


def test_it_is_found_by_its_entry_point() -> None:
    found = [each.value for each in entry_points(group="sallyport.protocols", name="line")]
    assert set(found) == {"sallyport_line.plugin:LinePlugin"}


def test_what_a_rule_allows_runs(agent: Lines, direct: Lines) -> None:
    assert agent.ask("SET agents.plan read, then write") == "OK"
    assert agent.ask("GET agents.plan") == "VALUE read, then write"
    assert agent.ask("GET agents.nothing") == "NONE"
    assert direct.ask("GET agents.plan") == "VALUE read, then write"


def test_what_is_refused_never_arrives_and_the_session_goes_on(agent: Lines, direct: Lines) -> None:
    assert direct.ask("SET ledger 100") == "OK"
    for line, rule in (
        ("DEL ledger", "nothing-is-deleted"),
        ("SET ledger 0", "default-deny"),
        ("FLUSH", "default-deny"),
        ("SET ledger", "default-deny"),
        ("GET a\rb", "default-deny"),
    ):
        assert agent.ask(line).startswith(f"ERR refused by {rule}: "), line
    assert agent.ask("GET ledger") == "VALUE 100"


def test_what_is_masked_reaches_neither_agent_nor_record(
    gateway: LineGateway, agent: Lines, direct: Lines
) -> None:
    assert direct.ask("SET contact write to ada@example.com at night") == "OK"
    assert agent.ask("GET contact") == "VALUE write to [redacted:email] at night"
    search(gateway, "GET contact", 1)
    folder = gateway.folder / "state" / "recording"
    for path in folder.rglob("*.journal"):
        assert b"ada@example.com" not in path.read_bytes()


def test_a_pipeline_is_answered_in_order(agent: Lines) -> None:
    for line in (
        "SET agents.a 1",
        "DEL agents.a",
        "GET agents.a",
        "SET agents.a 2",
        "GET agents.a",
    ):
        agent.send(line)
    answers = [agent.read() for _ in range(5)]
    assert [answer.split()[0] for answer in answers] == ["OK", "ERR", "VALUE", "OK", "VALUE"]
    assert (answers[2], answers[4]) == ("VALUE 1", "VALUE 2")


def test_what_is_held_runs_once_somebody_approved_it(
    gateway: LineGateway, agent: Lines, direct: Lines
) -> None:
    agent.send("SET shared.motto fail closed")
    waiting = gateway.wait_pending(PATIENCE)
    assert waiting["text"] == "SET shared.motto fail closed"
    assert waiting["resources"] == ["read store store", "write key shared.motto"]
    assert agent.read().startswith("# ")
    assert direct.ask("GET shared.motto") == "NONE"
    gateway.approve(waiting["id"])
    assert agent.read() == "OK"
    assert direct.ask("GET shared.motto") == "VALUE fail closed"


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        ("AUTH sp_nonsense store", "ERR authentication failed"),
        ("AUTH {agent} elsewhere", "ERR no access rule"),
        ("GET ledger", "ERR say AUTH"),
    ],
)
def test_who_has_no_right_gets_nowhere(gateway: LineGateway, first: str, answer: str) -> None:
    lines = Lines(gateway.port)
    assert lines.ask(first.format(agent=gateway.agent)).startswith(answer)
    assert lines.read() == ""
    lines.close()


def test_it_is_recorded_found_and_replayed(gateway: LineGateway) -> None:
    lines = Lines(gateway.port)
    assert lines.ask(f"AUTH {gateway.agent} store") == "OK"
    assert lines.ask("SET agents.mark rosebud") == "OK"
    assert lines.ask("DEL agents.mark").startswith("ERR refused by nothing-is-deleted")
    lines.close()

    found = search(gateway, "agents.mark", 2)
    assert {(each["verb"], each["decision"]) for each in found} == {
        ("set", "allow"),
        ("del", "deny"),
    }
    session = found[0]["session"]
    replayed = subprocess.run(
        [sys.executable, "-m", "sallyport.cli", "--url", gateway.url, "sessions", "replay", session],
        env={"SALLYPORT_TOKEN": gateway.admin_token},
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    assert "SET agents.mark rosebud" in replayed.stdout
    assert "deny by nothing-is-deleted: keys are kept for the auditors" in replayed.stdout
    assert gateway.agent not in replayed.stdout
    assert verify(gateway.folder / "state" / "recording").ok


def test_explain_speaks_of_what_it_cannot_read(gateway: LineGateway) -> None:
    """Only PostgreSQL's statements can be explained so far: that is said, not guessed."""
    done = subprocess.run(
        [sys.executable, "-m", "sallyport.cli", "--url", gateway.url, "explain",
         "--subject", "agent-one", "--target", "store", "GET ledger"],
        env={"SALLYPORT_TOKEN": gateway.admin_token},
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 1
    assert "line" in done.stderr and "Traceback" not in done.stderr


def search(gateway: LineGateway, text: str, count: int) -> list[dict[str, Any]]:
    """Return the operations with `text` once `count` of them are indexed."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found: list[dict[str, Any]] = gateway.admin.get("/sessions/search", text=text)["operations"]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
