"""Whose session it is, what is on record of it, and what goes to the target unseen."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from sallyport.cli.client import path
from tests.bypass.http.found import Target, ask, wait
from tests.support.authority import Authority
from tests.support.gateway import EVERYTHING
from tests.support.http_gateway import HttpGateway


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Target(tmp_path_factory.mktemp("told")) as peer:
        assert isinstance(peer, Target)
        yield peer


@pytest.fixture(scope="module")
def gateway(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpGateway]:
    folder = tmp_path_factory.mktemp("files")
    certificate, key = Authority().server().files(folder, "server")
    tls = {"certificate": f"file:{certificate}", "key": f"file:{key}", "required": False}
    with HttpGateway(
        tmp_path_factory.mktemp("gateway"),
        {"told": target},
        rules=EVERYTHING,
        settings={"inspect": "1KiB", "inject": {"as": "header", "name": "x-api-key"}},
        listener={"tls": tls},
    ) as running:
        yield running


def _sessions(gateway: HttpGateway, subject: str) -> list[dict[str, Any]]:
    found = gateway.admin.get("/sessions")["sessions"]
    return [one for one in found if one["subject"] == subject]


def test_a_session_over_tls_is_not_gone_on_with_in_clear(gateway: HttpGateway) -> None:
    token = gateway.token("agent-twice", groups=["agents"])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with httpx2.Client(verify=context, trust_env=False) as client:
        told = client.get(
            f"https://127.0.0.1:{gateway.port}/t/told/x",
            headers={"Authorization": f"Bearer {token}", "User-Agent": ""},
        )
        assert told.status_code == 200
    assert ask(gateway, "GET /t/told/x", "User-Agent: ", token=token).status == 200
    assert wait(lambda: len(_sessions(gateway, "agent-twice")) == 2)
    assert {one["encrypted"] for one in _sessions(gateway, "agent-twice")} == {True, False}


def test_a_session_that_was_ended_is_closed_also_where_the_next_takes_its_place(
    gateway: HttpGateway,
) -> None:
    token = gateway.token("agent-ended", groups=["agents"])
    assert ask(gateway, "GET /t/told/x", token=token).status == 200
    assert wait(lambda: len(_sessions(gateway, "agent-ended")) == 1)
    (first,) = _sessions(gateway, "agent-ended")
    gateway.admin.post(path("sessions", first["id"], "kill"), {"reason": "enough"})

    def next_one() -> bool:
        ask(gateway, "GET /t/told/x", token=token)
        return len(_sessions(gateway, "agent-ended")) == 2

    assert wait(next_one)

    def closed() -> bool:
        return any(
            one["id"] == first["id"] and one["state"] != "open"
            for one in _sessions(gateway, "agent-ended")
        )

    assert wait(closed)


def test_fields_behind_a_body_go_nowhere(gateway: HttpGateway, target: Target) -> None:
    """Nobody decided about them, nothing was on record, and servers take them for the head's."""
    target.clear()
    tail = b"0\r\nX-Api-Key: forged\r\nX-Forwarded-For: forged\r\n\r\n"
    body = b"1000\r\n" + b"x" * 0x1000 + b"\r\n" + tail
    line = "POST /t/told/up"
    assert ask(gateway, line, "Transfer-Encoding: chunked", raw=body).status == 200
    assert target.chunked.endswith(b"\r\n0\r\n\r\n")
    assert b"forged" not in target.chunked
