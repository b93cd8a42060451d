"""A session on real sockets: the example's line codec, a real policy, a recorder that notes order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sallyport.core.errors import ControlLost, RecorderLost
from sallyport.core.event import RecordedEvent
from sallyport.core.grant import Grant, Target, TargetAddress
from sallyport.core.messages import Access, CatalogueChanged, Done, Reply, Request
from sallyport.core.subject import Subject
from sallyport.policy import Policy
from sallyport.session.gate import PolicyGate
from sallyport.session.leg import SharedBuffer, StreamLeg
from sallyport.session.lifecycle import mint
from sallyport.session.relay import Relay
from sallyport.session.turn import Turn
from sallyport_line.codec import LineCodec

RULES: list[dict[str, Any]] = [
    {
        "name": "keys",
        "effect": "allow",
        "operations": {"effects": ["read", "write"]},
    },
    {
        "name": "no-del",
        "effect": "deny",
        "reason": "nothing is deleted",
        "operations": {"verbs": ["del"]},
    },
    {
        "name": "slow-down",
        "effect": "hold",
        "operations": {"resources": {"key": ["held*"]}},
        "hold": {
            "approvers": ["dba"],
            "people": 1,
            "timeout": 30.0,
            "ticket": False,
            "window": 60.0,
        },
    },
]


def policy(rules: list[dict[str, Any]]) -> Policy:
    document = {"version": 1, "access": [], "rules": rules}
    return Policy(json.dumps(document).encode())


class NotingRecorder:
    """Keeps events in memory and notes when they were written; can be told to fail."""

    def __init__(self) -> None:
        self.pending: list[RecordedEvent] = []
        self.written: list[RecordedEvent] = []
        self.flushes: list[list[RecordedEvent]] = []
        self.commits = 0
        self.fails = ""
        self.refuses: str | None = None
        self.full = False

    def refusal(self, subject: str) -> str | None:
        return self.refuses

    def record(self, event: RecordedEvent) -> None:
        if self.fails:
            raise RecorderLost(self.fails)
        self.pending.append(event)

    def flush(self) -> None:
        if self.fails:
            raise RecorderLost(self.fails)
        self.written += self.pending
        self.flushes.append(self.pending)
        self.pending = []

    async def commit(self) -> None:
        self.flush()
        self.commits += 1
        self.full = False


class Desk:
    """Control, as far as a worker's link shows it: answers by a function, notes what it is told."""

    def __init__(self) -> None:
        self.alive = True
        self.asked: list[Request] = []
        self.told: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda request: Done()

    async def ask(self, request: Request) -> Reply:
        if not self.alive:
            raise ControlLost("control cannot be reached")
        self.asked.append(request)
        return self.answer(request)

    def tell(self, request: Request) -> None:
        self.told.append(request)


class Session:
    """One running relay with the far ends of both legs."""

    def __init__(self, rules: list[dict[str, Any]]) -> None:
        self.recorder = NotingRecorder()
        self.desk = Desk()
        self.stale: list[tuple[str, str, str]] = []
        self.lost: list[str] = []
        self.gate = PolicyGate(
            link=self.desk,
            recorder=self.recorder,
            stale=lambda *what: self.stale.append(what),
            conceal=lambda text, parameters, masks: (text, parameters),
        )
        self.gate.load(policy(rules), strict=False, in_transaction=5.0)
        self.grant = make_grant()
        self.written_when_target_got: list[int] = []

    async def start(self, *, idle: float | None = None) -> None:
        loop = asyncio.get_running_loop()
        shared = SharedBuffer()
        self.client, client_leg = await leg_pair(shared)
        self.target, target_leg = await leg_pair(shared)
        self.turn = Turn(loop, self.recorder, self.lost.append)
        self.relay = Relay(
            gate=self.gate,
            turn=self.turn,
            grant=self.grant,
            client=client_leg,
            target=target_leg,
            codec=LineCodec(self.grant.session, "store", time.time),
            prepare=_nothing,
            cancel=_nothing,
            idle=idle,
        )
        self.task = loop.create_task(self.relay.run())

    async def say(self, text: str) -> None:
        self.client[1].write(text.encode())
        await self.client[1].drain()

    async def hear(self) -> str:
        line = await asyncio.wait_for(self.client[0].readline(), 10)
        return line.decode().rstrip("\n")

    async def target_hears(self) -> str:
        line = await asyncio.wait_for(self.target[0].readline(), 10)
        self.written_when_target_got.append(len(self.recorder.written))
        return line.decode().rstrip("\n")

    async def target_says(self, text: str) -> None:
        self.target[1].write(text.encode())
        await self.target[1].drain()

    async def target_hears_nothing(self) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.target[0].readline(), 0.2)

    async def stop(self) -> None:
        for _, writer in (self.client, self.target):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await asyncio.wait_for(asyncio.wait([self.task]), 10)
        await asyncio.sleep(0)


async def _nothing(*_: object) -> None:
    return


def make_grant(ends: float = 3600.0) -> Grant:
    address = TargetAddress("127.0.0.1", 1, "disable")
    target = Target("store", "line", address, "store", {})
    access = Access("ses-1", target, "app", b"secret", time.time() + ends, True)
    return mint(access, Subject("agent", ("agents",), "sallyport", "tok"), "127.0.0.1", "test")


async def leg_pair(
    shared: SharedBuffer,
) -> tuple[tuple[asyncio.StreamReader, asyncio.StreamWriter], StreamLeg]:
    """Return the far end of a socket pair as streams, and the near end as a leg."""
    near, far = socket.socketpair()
    loop = asyncio.get_running_loop()
    leg = StreamLeg(shared, loop)
    await loop.connect_accepted_socket(lambda: leg, near)
    return await asyncio.open_connection(sock=far), leg


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    running = Session(RULES)
    await running.start()
    yield running
    await running.stop()


__all__ = ["CatalogueChanged", "Session"]
