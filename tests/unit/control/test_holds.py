"""Holds over the socket: opened, answered, withdrawn, spent; and what no worker can talk its way to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sallyport.approvals.requests import ApprovalRequest, State
from sallyport.core.messages import (
    Approved,
    CloseHold,
    Done,
    EndSession,
    HoldAnswered,
    HoldTaken,
    SessionEnded,
)
from sallyport.core.operation import digest_of
from sallyport.core.subject import Refused
from tests.unit.approvals.asking import dba
from tests.unit.control.harness import Gateway, WorkerPeer, operation_of


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path) as gateway:
        yield gateway


async def state_of(gateway: Gateway, approval: str) -> State:
    found = await gateway.control.approvals.show(approval)
    assert found is not None
    return found.state


async def test_an_answer_reaches_the_worker_that_waits(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    other = await gateway.worker("w2", 2)
    access = await worker.session(await gateway.token())
    taken = await worker.hold(access)
    assert isinstance(taken, HoldTaken)
    found = await gateway.control.approvals.show(taken.approval)
    assert found is not None
    assert (found.subject, found.owner, found.database, found.login) == (
        "agent-1",
        "olga",
        "shop",
        "app",
    ), "who asks is what control knows of the session, not what the worker says"
    await gateway.control.approvals.answer(taken.approval, dba(), True, "fine")
    assert await worker.pushed(HoldAnswered) == HoldAnswered(
        access.session, taken.approval, "approved", ("dana",), "fine"
    )
    assert other.pushes.empty()


async def test_the_owner_of_the_token_cannot_answer(gateway: Gateway, worker: WorkerPeer) -> None:
    access = await worker.session(await gateway.token(owner="olga"))
    taken = await worker.hold(access)
    assert isinstance(taken, HoldTaken)
    refused = await gateway.control.approvals.answer(taken.approval, dba("Olga"), True)
    assert isinstance(refused, Refused)
    assert await state_of(gateway, taken.approval) is State.PENDING


async def test_a_timeout_is_pushed_by_the_sweep(gateway: Gateway, worker: WorkerPeer) -> None:
    access = await worker.session(await gateway.token())
    taken = await worker.hold(access, timeout=30.0)
    assert isinstance(taken, HoldTaken)
    gateway.clock.now += 30
    answered = await worker.pushed(HoldAnswered)
    assert (answered.approval, answered.state, answered.by) == (taken.approval, "expired", ())


async def test_a_client_that_goes_ends_its_hold(gateway: Gateway, worker: WorkerPeer) -> None:
    access = await worker.session(await gateway.token())
    first, second = await worker.hold(access), await worker.hold(access)
    assert isinstance(first, HoldTaken) and isinstance(second, HoldTaken)
    assert await worker.ask(CloseHold(first.approval, "client cancelled")) == Done()
    assert await state_of(gateway, first.approval) is State.CANCELLED
    assert await worker.ask(SessionEnded(access.session, "client gone")) == Done()
    assert await state_of(gateway, second.approval) is State.CANCELLED
    assert isinstance(await gateway.control.approvals.answer(second.approval, dba(), True), Refused)


async def test_no_worker_closes_or_opens_for_anothers_session(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    other = await gateway.worker("w2", 2)
    access = await worker.session(await gateway.token())
    taken = await worker.hold(access)
    assert isinstance(taken, HoldTaken)
    for approval in (taken.approval, "apr-none", ""):
        assert isinstance(await other.ask(CloseHold(approval, "mine")), Refused)
    assert isinstance(await other.hold(access), Refused)
    assert await other.pushed(EndSession)
    assert await other.ask(SessionEnded(access.session, "mine")) == Done()
    assert gateway.control.registry.live() == [access.session]
    assert await state_of(gateway, taken.approval) is State.PENDING


async def test_an_operation_for_another_target_is_not_held(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    access = await worker.session(await gateway.token())
    elsewhere = operation_of("UPDATE t SET a = 1", target="billing")
    assert isinstance(await worker.hold(access, operation=elsewhere), Refused)


async def test_pending_holds_have_their_quota(gateway: Gateway, worker: WorkerPeer) -> None:
    access = await worker.session(await gateway.token())
    replies = await asyncio.gather(*(worker.hold(access, f"UPDATE t{n}") for n in range(6)))
    assert sum(isinstance(one, HoldTaken) for one in replies) == 2
    refused = next(one for one in replies if isinstance(one, Refused))
    assert "2 operations wait" in refused.reason


async def test_a_ticket_survives_its_session_and_is_spent_once(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    token, text = await gateway.token(), "UPDATE t SET a = 7"
    access = await worker.session(token)
    taken = await worker.hold(access, text, ticket=True)
    assert isinstance(taken, HoldTaken)
    await worker.ask(SessionEnded(access.session, "tool call timed out"))
    answered = await gateway.control.approvals.answer(taken.approval, dba(), True)
    assert isinstance(answered, ApprovalRequest)
    again = await worker.session(token)
    assert isinstance(await worker.hold(again, text + " ", ticket=True), HoldTaken)
    replies = await asyncio.gather(*(worker.hold(again, text, ticket=True) for _ in range(5)))
    approved = [one for one in replies if isinstance(one, Approved)]
    assert len(approved) == 1
    assert approved[0].approval.id == taken.approval
    assert approved[0].approval.digest == digest_of(text)
    assert approved[0].approval.by == ("dana",)
    assert worker.pushes.empty()


async def test_another_agent_cannot_spend_the_ticket(gateway: Gateway, worker: WorkerPeer) -> None:
    access = await worker.session(await gateway.token())
    taken = await worker.hold(access, ticket=True)
    assert isinstance(taken, HoldTaken)
    await gateway.control.approvals.answer(taken.approval, dba(), True)
    thief = await worker.session(await gateway.token("agent-2"))
    reply = await worker.hold(thief, ticket=True)
    assert isinstance(reply, HoldTaken) and reply.approval != taken.approval
    other_database = await worker.session(await gateway.token(), selector="shop/shop_eu")
    reply = await worker.hold(other_database, ticket=True)
    assert isinstance(reply, HoldTaken) and reply.approval != taken.approval


async def test_a_hold_in_a_session_that_is_being_ended_is_refused(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    access = await worker.session(await gateway.token())
    gateway.control.registry.kill(access.session, "enough", "ann")
    assert isinstance(await worker.hold(access), Refused)
    assert await gateway.control.approvals.list() == []


async def test_a_worker_that_dies_takes_its_live_holds_along(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    access = await worker.session(await gateway.token())
    live = await worker.hold(access)
    ticket = await worker.hold(access, "UPDATE t SET b = 2", ticket=True)
    assert isinstance(live, HoldTaken) and isinstance(ticket, HoldTaken)
    changes = gateway.control.approvals.watch()
    worker.close()
    change = await anext(changes)
    assert isinstance(change, ApprovalRequest)
    assert (change.id, change.state) == (live.approval, State.CANCELLED)
    assert await state_of(gateway, ticket.approval) is State.PENDING
    assert gateway.control.registry.live() == []


async def test_a_restart_of_control_leaves_tickets_and_quotas_alone(tmp_path: Path) -> None:
    async with Gateway(tmp_path) as first:
        worker = await first.worker()
        access = await worker.session(await first.token())
        live = await worker.hold(access)
        ticket = await worker.hold(access, "UPDATE t SET b = 2", ticket=True)
        assert isinstance(live, HoldTaken) and isinstance(ticket, HoldTaken)
        first.control.registry._audit = print
    async with Gateway(tmp_path) as second:
        assert await state_of(second, live.approval) is State.CANCELLED
        assert await state_of(second, ticket.approval) is State.PENDING
        back = await second.worker(sessions=(access.session,))
        end = await back.pushed(EndSession)
        assert end.session == access.session, "a session that this control never gave"
        assert isinstance(await back.hold(access), Refused)
