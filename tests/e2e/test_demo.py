"""The demo as a newcomer runs it: the whole tour, and what it leaves; a second one in its folder."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.support.provider import Browser

COMMAND = [sys.executable, "-m", "sallyport.cli", "demo"]
GENEROUS = 110


def test_the_tour_shows_what_it_should_and_leaves_nothing_running(tmp_path: Path) -> None:
    state = tmp_path / "d: #1"  # YAML reads such a path its own way; a socket's must stay short
    done = subprocess.run(
        [*COMMAND, "--tour", "--exit", "--state", str(state)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=GENEROUS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the tour failed" not in done.stdout

    for before, after in (
        ("waits for approval apr-", "(dana looks at apr-"),
        ("(dana looks at apr-", "UPDATE 1"),
        ("UPDATE 1", "nobody answered in time"),
        ("nobody answered in time", "\n8. The replay"),
        ("\n8. The replay", "approved by dana"),
        ("\n9. A contractor logs in", "/development-issuer/device?user_code="),
        ("/development-issuer/device?user_code=", "(robin opens it in a browser"),
        ("(robin opens it in a browser", "robin is logged in at"),
        ("robin is logged in at", "sallyport access request shop"),
        ("(dana looks at it and approves it: acc-", " 16000\n"),
        (" 16000\n", "(dana takes it back: acc-"),
        ("(dana takes it back: acc-", "is revoked"),
        ("is revoked", "/orders?limit=2"),
        ("/orders?limit=2", '"card":"[redacted:card]"'),
        ('"card":"[redacted:card]"', "no-collection-deletes"),
        ("no-collection-deletes", "HTTP/1.1 204"),
        ("HTTP/1.1 204", "\n17. The replay"),
    ):
        assert 0 <= done.stdout.index(before) < done.stdout.index(after)

    written = state / "demo.json"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    details = json.loads(written.read_text())
    assert {name: set(details[name]) for name in ("postgres", "http", "direct", "api")} == {
        "postgres": {"host", "port", "database", "user", "password"},
        "http": {"url", "token"},
        "direct": {"uri"},
        "api": {"url", "agent_token", "approver_token", "contractor_token", "admin_token"},
    }
    assert details["postgres"]["password"] == details["api"]["agent_token"]
    assert details["issuer"]["url"].startswith("http://127.0.0.1:")
    assert details["issuer"]["url"].endswith("/development-issuer")
    assert Path(details["config"]).is_file()
    assert running_from(state) == []


def test_a_demo_keeps_its_folder_and_ends_whole_when_its_terminal_closes(tmp_path: Path) -> None:
    state = tmp_path / "demo"
    demo = subprocess.Popen(
        [*COMMAND, "--no-tour", "--state", str(state)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert demo.stdout is not None
        said = ""
        while "The demo stays up" not in said:
            line = demo.stdout.readline()
            assert line, said
            said += line
        details = json.loads((state / "demo.json").read_text())
        check_what_can_be_pasted(said, tmp_path / "home", details)

        second = subprocess.run(
            [*COMMAND, "--state", str(state)], capture_output=True, text=True, timeout=GENEROUS
        )
        assert second.returncode == 2
        assert "another demo runs in" in second.stderr
        ready = httpx2.get(f"{details['api']['url']}/readyz", trust_env=False)
        assert ready.status_code == 200
        assert json.loads((state / "demo.json").read_text()) == details
        assert running_from(state) != []

        demo.send_signal(signal.SIGHUP)
        demo.communicate(timeout=GENEROUS)
        assert demo.returncode == 0
        assert running_from(state) == []
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{details['issuer']['url']}/jwks", trust_env=False)
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGINT)
            demo.wait(GENEROUS)


@pytest.mark.parametrize("kind", ["full", "file", "unwritable"])
def test_a_folder_that_is_not_a_demos_is_left_alone(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "mine"
    if kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "thesis.txt").write_text("mine")
        place = place if kind == "full" else Path("/proc/1/nothing")
    done = subprocess.run(
        [*COMMAND, "--state", str(place)], capture_output=True, text=True, timeout=GENEROUS
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "--state" in done.stderr
    assert "Traceback" not in done.stderr
    if kind == "full":
        assert os.listdir(place) == ["thesis.txt"]


def check_what_can_be_pasted(said: str, home: Path, details: dict[str, Any]) -> None:
    """Give the printed lines to a shell, as a person does; what stays up is ended after a while."""
    lines = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert len(lines) == 9
    psql, web, watch, approve, tail, login, ask, allow, connect = lines
    asked = shell(f"{psql} -Atc 'SELECT count(*) FROM customers'")
    assert (asked.returncode, asked.stdout.strip()) == (0, "6000"), asked.stderr
    listed = shell(web)
    assert listed.returncode == 0 and '"orders":' in listed.stdout, listed.stderr
    unknown = shell(approve)
    assert unknown.returncode == 1 and "no approval `apr-...`" in unknown.stderr
    assert shell(f"timeout 5 env {watch}").returncode == 124, "it watches until it is ended"
    assert "agent-demo -> shop/shop" in shell(f"timeout 10 env {tail} --backlog 50").stdout

    home.mkdir()
    mine = {"HOME": str(home), "SALLYPORT_KEYRING": "off", "XDG_STATE_HOME": ""}
    check_login(login, {**os.environ, **mine})
    waits = shell(ask, **mine)
    assert waits.returncode == 0 and "waits for dba" in waits.stdout, waits.stderr
    allowed = shell(allow.replace("acc-...", waits.stdout.split()[0]))
    assert allowed.returncode == 0, allowed.stderr
    counted = shell(f"{connect} -Atc 'SELECT count(*) FROM orders'", **mine)
    assert (counted.returncode, counted.stdout.strip()) == (0, "16000"), counted.stderr


def check_login(line: str, environment: dict[str, str]) -> None:
    """Run the line and pick robin in a browser."""
    with subprocess.Popen(
        ["sh", "-c", line], env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as command:  # fmt: skip
        assert command.stdout is not None
        told = ""
        for one in command.stdout:
            told += one
            if one.startswith("or open "):
                with Browser("robin") as browser:
                    browser.visit(one.split()[2], person="robin")
    assert command.returncode == 0 and "robin is logged in" in told, told


def shell(line: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=GENEROUS, check=False,
        env={**os.environ, **more},
    )  # fmt: skip


def running_from(folder: Path) -> list[str]:
    """Return the command lines of all processes that name something in `folder`."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or ())
    ]
