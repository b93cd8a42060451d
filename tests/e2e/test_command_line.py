"""The command line against a real gateway: every command, as text and as JSON, and failed starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres, free_port
from tests.support.gateway import EVERYTHING, Gateway

PATIENCE = 100
HOLD = {
    "name": "updates-wait",
    "effect": "hold",
    "operations": {"verbs": ["update"]},
    "hold": {"approvers": ["dba"], "ticket": True},
}


def sallyport(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "sallyport.cli", *arguments],
        env={**kept, **more}, input=stdin, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert "fault of sallyport" not in done.stderr, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE said OWNER app")
    postgres.psql("CREATE TABLE t (id int); ALTER TABLE t OWNER TO app", "said")
    folder = tmp_path_factory.mktemp("said")
    with Gateway(folder, postgres, database="said", rules=[*EVERYTHING, HOLD]) as running:
        yield running


@pytest.fixture(scope="module")
def approval(gateway: Gateway) -> str:
    """A ticket that waits, with a parameter, asked for in a session that is over."""
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("UPDATE t SET id = %s WHERE id = 1", [7])
    return str(gateway.wait_pending(PATIENCE)["id"])


def test_an_approval_is_shown_whole(gateway: Gateway, approval: str) -> None:
    shown = sallyport(
        "approvals", "show", approval,
        SALLYPORT_URL=gateway.url, SALLYPORT_TOKEN=gateway.approver_token,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "touches: write table public.t" in shown.stdout
    assert "parameter 1 = " in shown.stdout or "parameter $1 = " in shown.stdout


def test_explain_says_whether_the_subject_may_come_in_at_all(gateway: Gateway) -> None:
    environment = {"SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token}
    words = ("explain", "--subject", "a", "--target", "db", "SELECT 1")
    inside = sallyport(*words, "--group", "agents", **environment)
    assert "\naccess    all\n" in inside.stdout
    outside = sallyport(*words, **environment)
    assert "\naccess    none: " in outside.stdout
    nowhere = sallyport(*words, "--login", "nope", **environment)
    assert nowhere.returncode == 1
    assert "target `db` has no login `nope`: there is " in nowhere.stderr


@pytest.mark.parametrize(
    "words",
    [
        "whoami", "status", "token list", "token create --subject x", "credential list",
        "target list", "target check", "sessions list", "sessions search update",
        "sessions show SESSION", "sessions hold SESSION -m case", "sessions release SESSION",
        "sessions replay SESSION", "sessions export SESSION", "approvals list --state all",
        "approvals show APPROVAL", "policy show", "policy reload",
        "explain --subject a --group agents --target db DELETE", "check CONFIG", "verify RECORDING",
        "discover db", "masks check db", "masks check db --setup-sql agent",
    ],
)  # fmt: skip
def test_every_command_speaks_json_and_words(gateway: Gateway, approval: str, words: str) -> None:
    session = gateway.admin.get("/approvals", state="pending")["approvals"][0]["session"]
    names = {
        "SESSION": session,
        "APPROVAL": approval,
        "CONFIG": str(gateway.path),
        "RECORDING": str(gateway.folder / "state" / "recording"),
    }
    command = [names.get(word, word) for word in words.split()]
    environment = {"SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token}
    said = sallyport(*command, **environment)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip()
    answered = sallyport(*command, "--json", **environment)
    assert answered.returncode == 0, answered.stderr
    try:
        json.loads(answered.stdout)
    except ValueError:
        assert [json.loads(line) for line in answered.stdout.splitlines()]


@pytest.mark.parametrize(
    "words", ["whoami", "sessions list", "sessions tail", "approvals watch", "policy show"]
)
def test_wrong_tokens_and_a_gateway_that_is_not_there(gateway: Gateway, words: str) -> None:
    wrong = sallyport(*words.split(), SALLYPORT_URL=gateway.url, SALLYPORT_TOKEN="sp_wrong")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("error: ") and "hint: " in wrong.stderr
    nobody = sallyport(
        *words.split(), SALLYPORT_URL=f"http://127.0.0.1:{free_port()}", SALLYPORT_TOKEN="sp_x"
    )
    assert (nobody.returncode, nobody.stdout) == (3, "")
    assert "cannot reach the API" in nobody.stderr


def test_a_script_waits_for_a_gateway_that_is_starting(gateway: Gateway, tmp_path: Path) -> None:
    """As the README has it: `serve &`, and the next line already speaks to it."""
    api_port = free_port()
    listener = {**gateway.config["listeners"][0], "address": f"127.0.0.1:{free_port()}"}
    config = {
        **gateway.config,
        "state": "./state",
        "api": {"address": f"127.0.0.1:{api_port}"},
        "vault": {"key": "file:./state/master.key", "generate": True},
        "listeners": [listener],
    }
    place = tmp_path / "sallyport.yaml"
    place.write_text(json.dumps(config))
    environment = {
        "SALLYPORT_URL": f"http://127.0.0.1:{api_port}",
        "SALLYPORT_TOKEN_FILE": str(tmp_path / "state" / "admin.token"),
    }
    early = sallyport("status", **environment)
    assert early.returncode == 2 and "--wait" in early.stderr
    never = sallyport("status", "--wait", "1s", **environment)
    assert never.returncode == 2
    assert "--wait" not in never.stderr and "is `sallyport serve` running?" in never.stderr
    # Whoever may write into the folder that it is started in is not the gateway.
    (tmp_path / "structlog.py").write_text("raise SystemExit(7)\n")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "sallyport.cli", "serve", "-c", str(place)], cwd=tmp_path,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as serving:  # fmt: skip
        try:
            waited = sallyport("status", "--wait", "1m", **environment)
            assert waited.returncode == 0, waited.stderr
            assert sallyport("whoami", **environment).returncode == 0
            page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
            told = page.partition("    state/\n")[2]
            for name in os.listdir(tmp_path / "state"):
                assert name.removesuffix("-wal").removesuffix("-shm") in told, name
        finally:
            serving.terminate()
    gone = sallyport("status", "--wait", "1s", **environment)
    assert gone.returncode == 3 and "connection refused" in gone.stderr
    assert "Errno" not in gone.stderr


def test_a_second_gateway_on_the_same_state_is_refused(gateway: Gateway) -> None:
    second = sallyport("serve", "-c", str(gateway.path))
    assert second.returncode == 1
    assert second.stderr.startswith("error: another gateway runs on the state folder")
    assert gateway.admin.get("/status")["ready"] is True


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vault": {"key": "env:SALLYPORT_TEST_NOT_SET"}}, "`SALLYPORT_TEST_NOT_SET` is not set"),
        ({"vault": {"key": "file:/nowhere/master.key"}}, "/nowhere/master.key"),
        ({"targets": "ca"}, "/nowhere/ca.pem"),
        ({"listeners": "certificate"}, "/nowhere/cert.pem"),
        ({"state": "/proc/1/state"}, "cannot use the state folder `/proc/1/state`"),
        ({"api": "taken"}, "it is in use: end what listens there, or name another"),
        ({"api": "no PEM"}, "the API's certificate and key cannot be used (not PEM)"),
        ({"store": "no SQLite"}, "sallyport.db` cannot be opened"),
    ],
    ids=["no variable", "no key", "no ca", "no certificate", "state", "port", "no PEM", "no store"],
)
def test_what_cannot_start_says_why_and_ends(
    gateway: Gateway, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    config = {
        **json.loads(json.dumps(gateway.config)),
        "state": str(tmp_path / "state"),
        "api": {"address": f"127.0.0.1:{free_port()}"},
        "vault": {"key": f"file:{tmp_path}/state/master.key", "generate": True},
    }
    config["listeners"][0]["address"] = f"127.0.0.1:{free_port()}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        match change:
            case {"targets": "ca"}:
                tls = {"mode": "verify-full", "ca": "file:/nowhere/ca.pem"}
                config["targets"][0]["tls"] = tls
            case {"listeners": "certificate"}:
                tls = {"certificate": "file:/nowhere/cert.pem", "key": "file:/nowhere/key.pem"}
                config["listeners"][0]["tls"] = tls
            case {"api": "taken"}:
                config["api"] = {"address": f"127.0.0.1:{taken.getsockname()[1]}"}
            case {"api": "no PEM"}:
                pem = tmp_path / "api.pem"
                pem.touch(0o600)
                pem.write_text("no certificate")
                config["api"]["tls"] = {"certificate": f"file:{pem}", "key": f"file:{pem}"}
            case {"store": _}:
                (tmp_path / "state").mkdir(0o700)
                (tmp_path / "state" / "sallyport.db").write_text("no database" * 1000)
            case _:
                config |= change
        place = tmp_path / "sallyport.yaml"
        place.write_text(json.dumps(config))
        done = sallyport("serve", "-c", str(place))
    assert done.returncode == 1
    assert says in done.stdout + done.stderr
    assert done.stdout.count('"started"') + done.stderr.count('"started"') <= 2
