"""The corpus of attacks on HTTP: each case of `cases/` against four real servers.

Classes 42 to 46 and 48. `runner` says what a case is. Always: what the gateway has on record as
forwarded is what each server counted, no more and no less.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sallyport.core.event import RequestForwarded, SessionOpened
from tests.bypass.http import runner
from tests.support.evidence import recorded
from tests.support.http_app import Counted
from tests.support.http_gateway import HttpGateway
from tests.support.http_peers import NGINX, NODE, Nginx, Node, Peer, Uvicorn

FILES = sorted(runner.CASES.glob("*.yaml"))
CASES = [
    pytest.param(
        case,
        id=f"{file.stem}-{case['name']}",
        marks=[pytest.mark.xfail(reason=case["known"])] if "known" in case else [],
    )
    for file in FILES
    for case in runner.load(file)
]
SERVERS = ["httptools", "h11", "node", "nginx"]
FENCED: list[dict[str, Any]] = [
    {"name": "all", "effect": "allow", "subjects": {"groups": ["all"]}, "operations": {"effects": ["read", "write", "admin", "unknown"]}},
    {"name": "echo", "effect": "allow", "subjects": {"groups": ["fenced"]}, "operations": {"verbs": ["get"], "resources": {"api": ["*"], "path": ["/echo/**"]}}},
    {"name": "no-secrets", "effect": "deny", "subjects": {"groups": ["fenced"]}, "operations": {"resources": {"path": ["**secret**"]}}},
    {"name": "reads", "effect": "allow", "subjects": {"groups": ["reader"]}, "operations": {"effects": ["read"]}},
]  # fmt: skip


class World:
    """A gateway before all servers; `totals` are the requests that they counted in all."""

    def __init__(self, gateway: HttpGateway) -> None:
        self.gateway = gateway
        self.tokens = {
            name: gateway.token(name, groups=["agents", name])
            for name in ("all", "fenced", "reader")
        }
        self.totals: Counter[tuple[str, str, str]] = Counter()

    def counted(self, name: str, least: int) -> list[Counted]:
        """Return what a server counted for one case: at least this many in the end."""
        peer = self.gateway.peers[name]
        until = time.monotonic() + (2.0 if least else 0.0)
        while len(found := peer.counted()) < least and time.monotonic() < until:
            time.sleep(0.01)
        return found

    def settle(self, name: str) -> None:
        """Take what a server counted into the totals."""
        peer = self.gateway.peers[name]
        self.totals.update(
            (name, one.method, one.target) for one in peer.counted() if one.method.isupper()
        )
        peer.clear()

    def forwarded(self) -> Counter[tuple[str, str, str]]:
        """Return what is on record as forwarded."""
        events = recorded(self.gateway.folder / "state")
        targets = {one.session: one.target for one in events if isinstance(one, SessionOpened)}
        return Counter(
            (targets[one.session], one.method, one.url)
            for one in events
            if isinstance(one, RequestForwarded) and one.method.isupper()
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("smuggling")
    with ExitStack() as stack:
        peers: dict[str, Peer] = {
            "httptools": Uvicorn(folder / "httptools"),
            "h11": Uvicorn(folder / "h11", reader="h11"),
        }
        if NODE is not None:
            peers["node"] = Node(folder / "node")
        if NGINX is not None:
            peers["nginx"] = Nginx(folder / "nginx")
        for peer in peers.values():
            stack.enter_context(peer)
        gateway = stack.enter_context(HttpGateway(folder / "gateway", peers, rules=FENCED))
        made = World(gateway)
        yield made
        for name in peers:
            made.settle(name)
        time.sleep(0.5)
        assert made.forwarded() == made.totals


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", CASES)
def test_smuggling(world: World, case: dict[str, Any], server: str) -> None:
    if server not in world.gateway.peers:
        pytest.skip(f"{server} (Debian package) is not installed")
    world.settle(server)
    texts = [case["send"]] if isinstance(case["send"], str) else list(case["send"])
    texts[:1] = [case.get("head", "") + texts[0]]
    words = {"name": server, "port": world.gateway.port, "token": world.tokens[case["as"]]}
    parts = [runner.fill(text, **words) for text in texts]
    wanted, methods = runner.expected(case)
    patience = 0.4 if case["want"] in ("nothing", "any") else runner.PATIENCE
    answers, closed = runner.send(world.gateway.port, parts, methods, patience=patience)
    counted = world.counted(server, len(wanted))
    judge(case, wanted, answers, closed, counted)


def judge(
    case: dict[str, Any], wanted: list[tuple[str, str, int | None]], answers: list[runner.Answer],
    closed: bool, counted: list[Counted],
) -> None:  # fmt: skip
    """Compare what came of a case with what had to."""
    told = "\n".join(map(runner.told, counted))
    if case.get("refusable") and not counted and answers and answers[0].status >= 400:
        return
    if case.get("never") and case["want"] == "refused" and counted:
        for word in case["never"].split("|"):  # it may go its way without that
            assert word not in told
        return
    if case["want"] == "any":
        assert case["never"] not in told
        return
    got = [(one.method, one.target) for one in counted]
    assert got == [(method, path) for method, path, _ in wanted], (answers, closed)
    for one, (_, _, length) in zip(counted, wanted, strict=True):
        assert length is None or one.length in (length, 0 if not one.digest else length)
        assert one.status < 400, "the server took offence at what the gateway made of it"
    for word in case.get("never", "").split("|"):
        assert not word or word not in told
    assert case.get("has", "") in told or not counted[0].digest
    if case["want"] == "nothing":
        assert answers == []
        return
    if case["want"] == "refused":
        assert closed or answers
        assert all(one.status >= 400 and one.refused for one in answers), answers
        assert len(answers) <= 1, "one refusal, and then the end"
        return
    judge_answers(case, answers)


def judge_answers(case: dict[str, Any], answers: list[runner.Answer]) -> None:
    """Each request's answer is its own, in order, and there are no more."""
    lines = case["want"] + ([None] if case.get("then") and len(answers) > len(case["want"]) else [])
    assert len(answers) == len(lines), answers
    for line, one in zip(lines, answers, strict=True):
        if line is None:
            assert one.status >= 400 and one.refused
            continue
        method, path = line.split(" ")[:2]
        assert one.status == 200, one
        assert path.encode() in one.body or method == "HEAD", "another request's answer"
