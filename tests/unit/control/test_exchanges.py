"""Logins in two steps over control's socket: bound to a worker, and to one answer."""

from __future__ import annotations

from pathlib import Path

from sallyport.core.messages import (
    Access,
    Authenticated,
    Challenged,
    FinishExchange,
    OpenExchange,
)
from sallyport.core.scram import PLAIN
from sallyport.core.subject import Opening, Refused, Secret
from sallyport.protocols.postgres.scram import Scram
from tests.unit.control.harness import Gateway, WorkerPeer

LISTENERS = [
    {"name": "pg", "protocol": "postgres", "address": "127.0.0.1:1", "authentication": "scram"}
]


def client(secret: str) -> Scram:
    return Scram(Secret(secret.encode()), (PLAIN,), encrypted=False, binding=None)


async def begin(worker: WorkerPeer, ours: Scram, claimed: str) -> Challenged:
    opening = Opening("postgres", "pg", "127.0.0.1", True, PLAIN, claimed, ours.first())
    reply = await worker.ask(OpenExchange(opening))
    assert isinstance(reply, Challenged), reply
    return reply


async def test_a_proof_opens_a_session_on_its_own_worker(tmp_path: Path) -> None:
    async with Gateway(tmp_path, listeners=LISTENERS) as gateway:
        secret = await gateway.token()
        one, two = await gateway.worker("w1", 1), await gateway.worker("w2", 2)
        ours = client(secret)
        begun = await begin(one, ours, secret.split("_")[1])
        assert len(begun.handle) == 16
        proof = ours.final(begun.message)
        stolen = await two.ask(FinishExchange(begun.handle, proof))
        assert isinstance(stolen, Refused)
        reply = await one.ask(FinishExchange(begun.handle, proof))
        assert isinstance(reply, Authenticated)
        ours.verify(reply.message)
        assert reply.subject.name == "agent-1"
        assert isinstance(await one.ask(FinishExchange(begun.handle, proof)), Refused)
        assert isinstance(await two.authorize(reply.subject), Refused)
        assert isinstance(await one.authorize(reply.subject), Access)


async def test_the_token_itself_is_not_taken_by_such_a_listener(tmp_path: Path) -> None:
    async with Gateway(tmp_path, listeners=LISTENERS) as gateway:
        worker = await gateway.worker()
        assert isinstance(await worker.login(await gateway.token()), Refused)


async def test_salts_of_unknown_ids_outlive_a_restart(tmp_path: Path) -> None:
    salts = []
    for _ in range(2):
        async with Gateway(tmp_path, listeners=LISTENERS) as gateway:
            worker = await gateway.worker()
            begun = await begin(worker, client("x"), "0" * 16)
            salts.append(begun.message.split(b",")[1])
    assert salts[0] == salts[1]
