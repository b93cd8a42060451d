"""Access on request through a real gateway: by the command line, to a real database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import sallyport.supervisor as sallyport_package
from sallyport.demo.server import EmbeddedPostgres
from tests.e2e.test_command_line import sallyport
from tests.support.gateway import Gateway

SOURCES = str(Path(sallyport_package.__file__).parents[1])
ON_REQUEST = {
    "name": "on-request",
    "subjects": {"groups": ["engineers"]},
    "logins": ["app"],
    "request": {"approvers": ["dba"], "longest": "8h"},
}


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("requested"), postgres)
    gateway.config["access"].append(ON_REQUEST)
    with gateway:
        yield gateway


def run(gateway: Gateway, token: str, *words: str, code: int = 0) -> dict[str, Any]:
    done = sallyport(
        "access",
        *words,
        "--json",
        SALLYPORT_URL=gateway.url,
        SALLYPORT_TOKEN=token,
        PYTHONPATH=SOURCES,
    )
    assert done.returncode == code, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def refused(gateway: Gateway, token: str) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(gateway.dsn(token)).close()
    return str(caught.value)


def test_asked_given_used_and_ended(gateway: Gateway) -> None:
    token = gateway.token("erin", groups=["engineers"])
    told = refused(gateway, token)
    assert "access to this target is given on request" in told
    assert "sallyport access request db --login app" in told
    made = run(gateway, token, "request", "db", "--for", "30m", "-m", "ticket 4711")
    assert made["state"] == "pending"
    assert "given on request" in refused(gateway, token)
    given = run(gateway, gateway.approver_token, "approve", made["id"], "-m", "on call")
    assert given["state"] == "approved" and given["ends"] == given["begins"] + 1800
    with psycopg.connect(gateway.dsn(token), autocommit=True) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
        run(gateway, token, "revoke", made["id"])
        with pytest.raises(psycopg.OperationalError):
            for _ in range(200):
                session.execute("SELECT 1")
                time.sleep(0.05)
    assert "given on request" in refused(gateway, token)
    opened = [
        event
        for event in _events(gateway, "erin")
        if event["type"] == "session-opened"
    ]  # fmt: skip
    assert [event["access"] for event in opened] == [made["id"]]


def _events(gateway: Gateway, subject: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = gateway.admin.get("/sessions", subject=subject)["sessions"]
        if found:
            lines = gateway.admin.lines(f"/sessions/{found[0]['id']}/events")
            return [line for line in lines if "type" in line]
        time.sleep(0.1)
    raise AssertionError("no session of theirs is on record")


def test_whoever_waits_is_told(gateway: Gateway) -> None:
    token = gateway.token("ivo", groups=["engineers"])
    made = run(gateway, token, "request", "db", "-m", "ticket 1")
    shown = sallyport(
        "access", "list", SALLYPORT_URL=gateway.url, SALLYPORT_TOKEN=token, PYTHONPATH=SOURCES
    )
    assert made["id"] in shown.stdout and "ticket 1" in shown.stdout
    run(gateway, gateway.approver_token, "deny", made["id"], "-m", "use the replica")
    told = sallyport(
        "access",
        "show",
        made["id"],
        SALLYPORT_URL=gateway.url,
        SALLYPORT_TOKEN=token,
        PYTHONPATH=SOURCES,
    )
    assert "use the replica" in told.stdout and "dana denied" in told.stdout


def test_what_cannot_be_asked_for_fails(gateway: Gateway) -> None:
    token = gateway.token("nora", groups=["others"])
    done = sallyport(
        "access", "request", "db", "-m", "please",
        SALLYPORT_URL=gateway.url, SALLYPORT_TOKEN=token, PYTHONPATH=SOURCES,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no access to this target with this login can be asked for" in done.stderr


def test_explain_tells_that_it_can_be_asked_for(gateway: Gateway) -> None:
    body = {"subject": "x", "groups": ["engineers"], "target": "db", "statement": "SELECT 1"}
    found = gateway.admin.post("/policy/explain", body)
    (operation,) = found["detail"]["operations"]
    assert operation["access"] == "on-request, on request"
    assert operation["verdict"]["outcome"] == "allow"
