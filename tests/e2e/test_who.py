"""Who did it, for whom and for what: on each line that a real gateway gives of a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.cli.client import Client
from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import Gateway
from tests.support.issuers import Issuer
from tests.support.processes import PATIENCE, wait_for

CHAIN = ["report-bot", "planner"]
ACT = {"sub": CHAIN[0], "act": {"sub": CHAIN[1]}}
SAID = "-c sallyport.task=JIRA-7 -c sallyport.purpose=quarter\\ end"
NAMES = ("subject", "issuer", "actors", "task", "purpose", "target")


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE who OWNER app")
    extra = {
        "issuers": [{"name": "corp", "issuer": issuer.server.url, "audience": ["sallyport"]}],
        "roles": {"admin": ["admins"], "approver": ["dba"]},
    }
    folder = tmp_path_factory.mktemp("who")
    with Gateway(folder, postgres, database="who", extra=extra) as running:
        yield running


@pytest.fixture(scope="module")
def mine(issuer: Issuer) -> dict[str, Any]:
    """What each line has to say of the session."""
    return {
        "subject": "ann",
        "issuer": issuer.server.url,
        "actors": CHAIN,
        "task": "JIRA-7",
        "purpose": "quarter end",
        "target": "db",
    }


def agent(issuer: Issuer, subject: str = "ann", **claims: Any) -> str:
    """Return the JWT of somebody that two act for."""
    return issuer.token(300.0, sub=subject, aud="sallyport", act=ACT, **claims)


def psql(gateway: Gateway, postgres: EmbeddedPostgres, token: str, *statements: str) -> str:
    """Run statements by the real psql, with a task and a purpose. Return what it printed."""
    words = [word for statement in statements for word in ("-c", statement)]
    done = subprocess.run(
        [str(postgres.binaries / "psql"), "-X", gateway.dsn(token), *words],
        env={**os.environ, "PGOPTIONS": SAID},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.stdout + done.stderr


def cli(gateway: Gateway, *words: str) -> list[str]:
    token = gateway.folder / "state" / "admin.token"
    return [
        sys.executable, "-m", "sallyport.cli", *words,
        "--url", gateway.url, "--token-file", str(token),
    ]  # fmt: skip


def output(gateway: Gateway, *words: str) -> str:
    done = subprocess.run(
        cli(gateway, *words), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(gateway: Gateway, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output(gateway, *words, "--json").splitlines()]


def whose(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in NAMES}


@pytest.fixture(scope="module")
def session(gateway: Gateway, postgres: EmbeddedPostgres, issuer: Issuer) -> str:
    """A sealed session with rows, an error and a refusal. Return its id."""
    said = psql(
        gateway, postgres, agent(issuer), "CREATE TABLE t (id int)", "SELECT 7 AS seven",
        "SELECT 1/0", "DROP TABLE t",
    )  # fmt: skip
    assert "seven" in said and "division by zero" in said and "drop" in said.lower()

    def sealed() -> str | None:
        found = lines(gateway, "sessions", "list", "--task", "JIRA-7", "--state", "sealed")
        return str(found[0]["id"]) if found else None

    return str(wait_for(sealed, "the session is sealed"))


@pytest.mark.parametrize("words", [("sessions", "export"), ("sessions", "replay")])
def test_every_exported_line_says_it(
    gateway: Gateway, session: str, mine: dict[str, Any], words: tuple[str, ...]
) -> None:
    found = lines(gateway, *words, session)
    kinds = {line["type"] for line in found}
    assert {"session-opened", "operation-decided", "result-rows", "session-closed"} <= kinds
    assert [whose(line) for line in found] == [mine] * len(found)


@pytest.mark.parametrize(
    ("words", "there"),
    [
        (["--actor", "planner"], True),
        (["--actor", "report-*", "--task", "JIRA-*"], True),
        (["--actor", "ann"], False),
        (["--actor", "plan%"], False),
        (["--task", "JIRA-_"], False),
        (["--task", "x' OR '1'='1"], False),
    ],
)
def test_it_is_listed_and_found_by_actor_and_task(
    gateway: Gateway, session: str, mine: dict[str, Any], words: list[str], there: bool
) -> None:
    listed = {one["id"]: one for one in lines(gateway, "sessions", "list", *words)}
    found = lines(gateway, "sessions", "search", "seven", *words)
    assert (session in listed) is there
    assert bool(found) is there
    if there:
        assert whose(listed[session]) == mine
        assert whose(found[0]) == mine


def test_the_live_stream_says_it_of_a_session_of_before(
    gateway: Gateway, issuer: Issuer, mine: dict[str, Any]
) -> None:
    """And a person reads it in the line itself."""
    with psycopg.connect(gateway.dsn(agent(issuer)), options=SAID, autocommit=True) as one:
        one.execute("SELECT 'before'")
        wait_for(lambda: lines(gateway, "sessions", "search", "before"), "it is on record")
        watching = ["sessions", "tail", "--actor", "planner", "--task", "JIRA-7"]
        tails = [
            subprocess.Popen(cli(gateway, *watching, *more), stdout=subprocess.PIPE, text=True)
            for more in (["--json"], [])
        ]
        read: list[list[str]] = [[], []]
        try:
            for tail, into in zip(tails, read, strict=True):
                assert tail.stdout is not None
                source = iter(tail.stdout.readline, "")
                threading.Thread(target=into.extend, args=(source,), daemon=True).start()
            count = iter(range(10**6))

            def seen() -> bool:
                one.execute(f"SELECT 'live-{next(count)}'".encode())
                return all(any("live-" in line for line in got) for got in read)

            wait_for(seen, "both tails show a statement")
        finally:
            for tail in tails:
                tail.terminate()
                tail.wait(PATIENCE)
    machine = [json.loads(line) for line in read[0] if line.endswith("\n")]
    assert [whose(line) for line in machine] == [mine] * len(machine)
    (person, *_) = [line for line in read[1] if "live-" in line]
    assert 'ann by report-bot, planner for "JIRA-7": allow' in person


def test_a_task_that_would_forge_is_told_as_what_it_is(gateway: Gateway, issuer: Issuer) -> None:
    task = 'x"\n{"type":"audited"}\x1b[2J\u202e%_*'
    escaped = "".join(f"\\{char}" if char in ' \\"\n' else char for char in task)
    options = f"-c sallyport.task={escaped}"
    with psycopg.connect(
        host="127.0.0.1", port=gateway.port, user="app", dbname="db", password=agent(issuer),
        options=options, autocommit=True,
    ) as one:  # fmt: skip
        one.execute("SELECT 'forged'")
    found = wait_for(lambda: lines(gateway, "sessions", "search", "forged"), "it is on record")
    said = found[0]["task"]
    assert said.startswith('x" {') and said.isprintable()
    assert whose(lines(gateway, "sessions", "list", "--task", said)[0])["task"] == said
    exported = output(gateway, "sessions", "export", found[0]["session"])
    assert {json.loads(line)["task"] for line in exported.splitlines()} == {said}


def test_a_refused_login_says_who_and_what_for(gateway: Gateway, issuer: Issuer) -> None:
    with pytest.raises(psycopg.OperationalError, match="access"):
        psycopg.connect(gateway.dsn(agent(issuer, groups=[])), options=SAID)

    def refused() -> list[dict[str, Any]]:
        found = gateway.admin.get("/audit", action="login-refused", actor="ann")["audit"]
        return list(found)

    (one,) = wait_for(refused, "it is on record")
    assert one["actors"] == CHAIN
    assert (one["details"]["task"], one["details"]["purpose"]) == ("JIRA-7", "quarter end")
    assert one["details"]["issuer"] == issuer.server.url


def test_what_is_done_to_the_product_says_who_acted(gateway: Gateway, issuer: Issuer) -> None:
    token = agent(issuer, "ada", groups=["admins"])
    Client(gateway.url, token).post("/policy/reload")
    headers = {"authorization": f"Bearer {token}"}
    shown = httpx2.get(f"{gateway.url}/api/v1/policy", headers=headers, trust_env=False)
    assert shown.status_code == 200

    def done() -> dict[str, Any] | None:
        found = gateway.admin.get("/audit", actor="ada")["audit"]
        by = {one["action"]: one for one in found}
        return by if {"policy-loaded", "policy-viewed"} <= by.keys() else None

    found = wait_for(done, "both are on record")
    assert {tuple(one["actors"]) for one in found.values()} == {tuple(CHAIN)}
