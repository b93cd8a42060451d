"""What a hostile target answers: each case of `answers.yaml`, by a server that says just that.

Nobody ever gets another request's answer: not on the same connection, nor on another, nor as
another subject; and the target's credential goes nowhere but to the target.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.bypass.http import runner
from tests.support.http_gateway import CREDENTIAL, HttpGateway
from tests.support.http_peers import Scripted, Step

CASES = YAML(typ="safe", pure=True).load(Path(__file__).with_name("answers.yaml").read_text())[
    "cases"
]
WORDS = {
    "<huge>": "x" * 70_000,
    "<many>": "".join(f"X-{n}: y\r\n" for n in range(300)),
    "<interims>": "HTTP/1.1 103 Early Hints\r\nLink: </EVIL>\r\n\r\n" * 20_000,
}


class World:
    """A gateway before a server of ours, with two subjects."""

    def __init__(self, gateway: HttpGateway, server: Scripted) -> None:
        self.server = server
        self.port = gateway.port
        self._gateway = gateway
        self._number = 0
        self.tokens = ["", gateway.token("two", groups=["agents"])]
        self.renew()

    def renew(self) -> None:
        """Attack as somebody new, whose connections to the target are new too."""
        self._number += 1
        self.tokens[0] = self._gateway.token(f"one-{self._number}", groups=["agents"])

    def ask(self, *asked: tuple[str, str], token: int = 0) -> tuple[list[runner.Answer], bool]:
        """Ask one after the other on one connection, each as soon as the one before is answered."""
        parts = []
        for method, path in asked:
            body = b"body" if method == "POST" else b""
            head = f"{method} /t/raw{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {self.tokens[token]}\r\n"
            head += f"Content-Length: {len(body)}\r\n" if body else ""
            parts.append(head.encode() + b"\r\n" + body)
        return runner.send(self.port, parts, [method for method, _ in asked])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("answers")
    server = Scripted(folder / "raw")
    with server, HttpGateway(folder / "gateway", {"raw": server}) as gateway:
        yield World(gateway, server)


def steps(case: dict[str, Any]) -> list[Step]:
    """Return what the server does."""
    found: list[Step] = []
    for step in case["send"]:
        if isinstance(step, str) and step not in ("close", "reset"):
            for word, text in WORDS.items():
                step = step.replace(word, text)
            found.append(step.encode("latin-1"))
        else:
            found.append(step)
    return found


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["name"], marks=[pytest.mark.xfail(reason=case["known"])] if "known" in case else [])
        for case in CASES
    ],
)  # fmt: skip
def test_answer(world: World, case: dict[str, Any]) -> None:
    world.server.scripts = {case["name"]: steps(case)}
    world.renew()
    method = case.get("method", "GET")
    answers, closed = world.ask((method, f"/{case['name']}"))
    time.sleep(0.06)  # what the server says too late is here
    for token in (0, 0, 1, 0):
        after, _ = world.ask(("GET", "/after"), ("GET", "/after"), token=token)
        assert [(one.status, one.body) for one in after] == [(200, b"plain\n")] * 2
    assert not any(b"EVIL" in one.body or CREDENTIAL.encode() in one.body for one in answers)
    if case["want"] == "broken":
        assert all(one.status == 502 and one.refused for one in answers), answers
        assert answers or closed
        return
    status, _, body = case["want"].partition(" ")
    assert [(one.status, one.body) for one in answers] == [(int(status), body.encode())]


TOGETHER = [
    case["name"]
    for case in CASES
    if "fine" in case["want"] and not any(isinstance(step, float) for step in case["send"])
]
"""Not what comes later: on its way to the gateway, a next request crosses it, and nobody can tell."""


@pytest.mark.parametrize("first", TOGETHER)
def test_the_next_request_on_the_same_connection(world: World, first: str) -> None:
    """The client's next request comes with the first, so that nothing has time to be noticed."""
    world.server.scripts = {first: steps(next(case for case in CASES if case["name"] == first))}
    method = next(case for case in CASES if case["name"] == first).get("method", "GET")
    for _ in range(3):
        world.renew()
        answers, _ = world.ask((method, f"/{first}"), ("GET", "/after"), ("GET", "/after"))
        assert [one.body for one in answers[:1]] == [b"fine"], answers
        assert all(one.body == b"plain\n" for one in answers[1:]), answers


def test_a_redirect_carries_no_credential_elsewhere(world: World) -> None:
    """The gateway follows none: where it leads is the client's to ask for (class 44)."""
    where = b"http://127.0.0.1:1/elsewhere"
    world.server.scripts = {
        "away": [b"HTTP/1.1 302 Found\r\nLocation: " + where + b"\r\nContent-Length: 0\r\n\r\n"]
    }
    world.server.clear()
    answers, _ = world.ask(("GET", "/away"))
    assert answers[0].status == 302
    assert [one.target for one in world.server.counted()] == ["/away"]
