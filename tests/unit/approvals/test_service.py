"""Approvals: who may answer, what one answer does, and that exactly one of many wins."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from sallyport.approvals.requests import ApprovalRequest, State
from sallyport.approvals.service import MAXIMUM_REWRITTEN, MAXIMUM_TEXT, ApprovalService
from sallyport.approvals.watch import MAXIMUM_QUEUED, Dropped
from sallyport.core.errors import RecorderLost
from sallyport.core.event import Audited
from sallyport.core.operation import digest_of
from sallyport.core.subject import Refused, Subject
from sallyport.store.database import Database
from tests.support.clock import Clock
from tests.unit.approvals.asking import (
    agent,
    dba,
    hold,
    operation,
    question,
    secret_parameter,
)


@pytest.fixture
def audited() -> list[Audited]:
    return []


@pytest.fixture
def service(database: Database, audited: list[Audited], clock: Clock) -> ApprovalService:
    return ApprovalService(database, audited.append, clock)


async def opened(service: ApprovalService, clock: Clock, **fields: Any) -> ApprovalRequest:
    request = await service.open(question(clock, **fields))
    assert isinstance(request, ApprovalRequest)
    return request


async def state_of(service: ApprovalService, request: ApprovalRequest) -> State:
    found = await service.show(request.id)
    assert found is not None
    return found.state


# --- one question, one answer


async def test_a_yes_approves_and_tells_whoever_waits(
    service: ApprovalService, clock: Clock, audited: list[Audited]
) -> None:
    heard: list[ApprovalRequest] = []
    service.listen(heard.append)
    request = await opened(service, clock)
    answered = await service.answer(request.id, dba(), True, "looks right")
    assert isinstance(answered, ApprovalRequest)
    assert (answered.state, answered.by) == (State.APPROVED, ("dana",))
    assert [one.state for one in heard] == [State.PENDING, State.APPROVED]
    assert await service.show(request.id) == answered
    assert [(one.actor, one.action) for one in audited] == [
        ("agent-1", "approval-opened"),
        ("dana", "approval-approved"),
    ]


async def test_one_no_denies(service: ApprovalService, clock: Clock) -> None:
    request = await opened(service, clock, hold=hold(people=3))
    await service.answer(request.id, dba("dana"), True)
    answered = await service.answer(request.id, dba("erin"), False, "not today")
    assert isinstance(answered, ApprovalRequest)
    assert (answered.state, answered.by, answered.settled_reason) == (
        State.DENIED,
        ("erin",),
        "not today",
    )
    assert isinstance(await service.answer(request.id, dba("finn"), True), Refused)
    assert await state_of(service, request) is State.DENIED


async def test_a_quorum_takes_distinct_people(service: ApprovalService, clock: Clock) -> None:
    request = await opened(service, clock, hold=hold(people=2))
    first = await service.answer(request.id, dba("dana"), True)
    assert isinstance(first, ApprovalRequest) and first.state is State.PENDING
    for same in (
        dba("dana"),
        dba("Dana"),
        dba("\uff24\uff21\uff2e\uff21"),
        dba("dana", issuer="https://other.example", token="other"),
        dba("helper-bot", owner="dana"),
        dba("helper-bot", actors=("dana",)),
        dba("someone", actors=("x", "DANA")),
    ):
        assert isinstance(await service.answer(request.id, same, True), Refused), same
    second = await service.answer(request.id, dba("erin"), True)
    assert isinstance(second, ApprovalRequest)
    assert (second.state, second.by) == (State.APPROVED, ("dana", "erin"))


async def test_the_owner_of_a_bot_that_voted_is_not_a_second_person(
    service: ApprovalService, clock: Clock
) -> None:
    request = await opened(service, clock, hold=hold(people=2))
    assert isinstance(
        await service.answer(request.id, dba("bot", owner="dana"), True), ApprovalRequest
    )
    assert isinstance(await service.answer(request.id, dba("dana"), True), Refused)


REQUESTER = agent("agent-1", owner="olga", actors=("act-1", "act-2"), groups=("agents", "dba"))
NOT_THESE = {
    "the requester": REQUESTER,
    "the requester in other letters": dba("AGENT-1"),
    "the requester by another issuer": dba("agent-1", issuer="https://other.example"),
    "the owner of the requester's token": dba("olga"),
    "somebody in the chain": dba("act-2"),
    "a token that the requester made": dba("puppet", owner="agent-1"),
    "a token that one in the chain made": dba("puppet", owner="Act-1"),
    "somebody through whom the requester acts": dba("puppet", actors=("agent-1",)),
    "somebody through whom the owner acts": dba("puppet", actors=("olga",)),
    "somebody of another group": agent("nina", groups=("agents", "DBA", "dba ")),
    "somebody of no group": agent("nina", groups=()),
    "an administrator who is no approver": agent("root", groups=(), roles=("admin",)),
}


@pytest.mark.parametrize("actor", NOT_THESE.values(), ids=NOT_THESE.keys())
@pytest.mark.parametrize("yes", [True, False])
async def test_these_may_not_answer(
    service: ApprovalService, clock: Clock, actor: Subject, yes: bool
) -> None:
    request = await opened(service, clock, subject=REQUESTER)
    assert isinstance(await service.answer(request.id, actor, yes), Refused)
    assert await state_of(service, request) is State.PENDING
    assert isinstance(await service.answer(request.id, dba("dana"), True), ApprovalRequest)


async def test_an_unknown_id_is_an_answer_too(service: ApprovalService) -> None:
    for identifier in ("apr-none", "", "' OR 1=1 --", "\x1b[2J", "x" * 10_000):
        refused = await service.answer(identifier, dba(), True)
        assert isinstance(refused, Refused) and "\x1b" not in refused.reason
        assert len(refused.reason) < 200


# --- time


async def test_a_timeout_denies_though_nobody_polls(service: ApprovalService, clock: Clock) -> None:
    request = await opened(service, clock)
    clock.now += 300
    refused = await service.answer(request.id, dba(), True)
    assert isinstance(refused, Refused) and "expired" in refused.reason
    assert await state_of(service, request) is State.EXPIRED


async def test_the_sweep_expires_exactly_what_is_due(
    service: ApprovalService, clock: Clock
) -> None:
    heard: list[ApprovalRequest] = []
    service.listen(heard.append)
    short = await opened(service, clock, hold=hold(timeout=10.0))
    long = await opened(service, clock)
    clock.now += 9.9
    assert await service.expire_due() == 0
    clock.now += 0.1
    assert await service.expire_due() == 1
    assert await service.expire_due() == 0
    assert await state_of(service, short) is State.EXPIRED
    assert await state_of(service, long) is State.PENDING
    assert heard[-1].id == short.id and heard[-1].state is State.EXPIRED


async def test_no_worker_can_make_a_hold_longer_than_its_rule(
    service: ApprovalService, clock: Clock
) -> None:
    request = await opened(service, clock, expires=clock.now + 1e9)
    assert request.expires == clock.now + 300
    shorter = await opened(service, clock, expires=clock.now + 5)
    assert shorter.expires == clock.now + 5


async def test_approval_against_timeout_has_one_winner(
    service: ApprovalService, clock: Clock
) -> None:
    for _ in range(15):
        request = await opened(service, clock, expires=clock.now + 5)
        heard: list[State] = []
        service.listen(
            lambda one, heard=heard, me=request.id: (
                heard.append(one.state) if one.id == me else None
            )
        )
        tasks = [
            service.answer(request.id, dba(), True),
            service.expire_due(clock.now + 5),
            service.cancel(request.id, "gone"),
        ]
        random.shuffle(tasks)  # type: ignore[arg-type]
        await asyncio.gather(*tasks)  # type: ignore[arg-type]
        assert len(heard) == 1
        assert await state_of(service, request) is heard[0]


# --- races


async def test_of_fifty_answers_at_once_exactly_one_wins(
    service: ApprovalService, clock: Clock
) -> None:
    request = await opened(service, clock)
    answers = [service.answer(request.id, dba(f"d{n}"), n % 2 == 0) for n in range(50)]
    results = await asyncio.gather(*answers)
    won = [one for one in results if isinstance(one, ApprovalRequest)]
    assert len(won) == 1
    found = await service.show(request.id)
    assert found is not None and found == won[0] and len(found.votes) == 1


async def test_one_person_on_fifty_connections_is_one_vote(
    service: ApprovalService, clock: Clock
) -> None:
    request = await opened(service, clock, hold=hold(people=2))
    results = await asyncio.gather(
        *(service.answer(request.id, dba("dana", token=f"t{n}"), True) for n in range(50))
    )
    assert sum(isinstance(one, ApprovalRequest) for one in results) == 1
    assert await state_of(service, request) is State.PENDING


async def test_two_services_on_one_store_have_one_winner(
    service: ApprovalService, database: Database, clock: Clock
) -> None:
    other_database = Database(database.path)
    other = ApprovalService(other_database, print, clock)
    for _ in range(10):
        request = await opened(service, clock)
        results = await asyncio.gather(
            service.answer(request.id, dba("dana"), True),
            other.answer(request.id, dba("erin"), False),
        )
        assert sum(isinstance(one, ApprovalRequest) for one in results) == 1
    await other_database.close()


# --- restart


async def test_a_restart_cancels_live_holds_and_keeps_tickets(
    service: ApprovalService, database: Database, clock: Clock
) -> None:
    live = await opened(service, clock)
    ticket = await opened(service, clock, hold=hold(ticket=True))
    late = await opened(
        service, clock, hold=hold(ticket=True, timeout=1.0), operation=operation("x")
    )
    clock.now += 2
    await database.close()
    again = ApprovalService(Database(database.path), print, clock)
    assert await again.recover() == 2
    assert await state_of(again, live) is State.CANCELLED
    assert await state_of(again, ticket) is State.PENDING
    assert await state_of(again, late) is State.EXPIRED
    assert isinstance(await again.answer(live.id, dba(), True), Refused)
    assert isinstance(await again.answer(ticket.id, dba(), True), ApprovalRequest)


async def test_the_end_of_a_session_ends_its_live_holds_alone(
    service: ApprovalService, clock: Clock
) -> None:
    live = await opened(service, clock)
    ticket = await opened(service, clock, hold=hold(ticket=True))
    elsewhere = await opened(service, clock, session="ses-2")
    assert await service.cancel_session("ses-1", "client gone") == 1
    assert await state_of(service, live) is State.CANCELLED
    assert await state_of(service, ticket) is State.PENDING
    assert await state_of(service, elsewhere) is State.PENDING


# --- opening


async def test_asking_again_changes_nothing(service: ApprovalService, clock: Clock) -> None:
    asked = question(clock)
    first = await service.open(asked)
    again = await service.open(asked)
    assert first == again
    assert len(await service.list()) == 1


async def test_another_text_under_the_same_number_is_refused(
    service: ApprovalService, clock: Clock
) -> None:
    await opened(service, clock, operation=operation("SELECT 1", id=7))
    swapped = question(clock, operation=operation("DROP TABLE t", id=7))
    assert isinstance(await service.open(swapped), Refused)


async def test_what_nobody_can_read_whole_is_refused(
    service: ApprovalService, clock: Clock
) -> None:
    for wrong in (
        operation("x" * (MAXIMUM_TEXT + 1)),
        operation("\u202e" * 10_000),
        operation("é" * (MAXIMUM_TEXT // 2 + 1)),
        operation("SELECT $1", parameters=(secret_parameter(b"x" * MAXIMUM_TEXT),)),
    ):
        refused = await service.open(question(clock, operation=wrong))
        assert isinstance(refused, Refused) and "too long" in refused.reason
    assert await service.list() == []
    exactly = operation("x" * (MAXIMUM_TEXT - 100))
    assert isinstance(await service.open(question(clock, operation=exactly)), ApprovalRequest)


async def test_approvers_see_the_whole_text_and_every_value(
    service: ApprovalService, clock: Clock
) -> None:
    text = "UPDATE t SET a = $1 -- \u202e\x1b[1A"
    values = (
        secret_parameter(b"it's\r"),
        secret_parameter(None),
        secret_parameter(b"\x00\xff", binary=True),
        secret_parameter(b"\xff"),
    )
    request = await opened(
        service, clock, operation=operation(text, parameters=values), application="ps\u202eql"
    )
    assert request.text == "UPDATE t SET a = $1 -- <U+202E><U+001B>[1A"
    assert request.parameters == (
        '$1 = "it\'s<U+000D>"',
        "$1 = NULL",
        "$1 = 0x00ff (type 25)",
        "$1 = 0xff (type 25)",
    )
    assert "\u202e" not in request.application
    assert request.digest == digest_of(text)


async def test_a_hold_that_nobody_can_answer_is_refused(
    service: ApprovalService, clock: Clock
) -> None:
    for wrong in (hold(approvers=()), hold(people=0), hold(people=-1)):
        assert isinstance(await service.open(question(clock, hold=wrong)), Refused)


async def test_pending_holds_are_counted_in_the_same_transaction(
    service: ApprovalService, clock: Clock
) -> None:
    results = await asyncio.gather(*(service.open(question(clock, pending=5)) for _ in range(20)))
    assert sum(isinstance(one, ApprovalRequest) for one in results) == 5
    somebody_else = question(clock, subject=agent("agent-2"), pending=5)
    assert isinstance(await service.open(somebody_else), ApprovalRequest)


async def test_what_cannot_be_audited_is_not_done(database: Database, clock: Clock) -> None:
    audible = ApprovalService(database, print, clock)
    request = await opened(audible, clock)

    def lost(event: Audited) -> None:
        raise RecorderLost("no disk")

    deaf = ApprovalService(database, lost, clock)
    for attempt in (
        deaf.open(question(clock)),
        deaf.answer(request.id, dba(), True),
        deaf.cancel(request.id, "x"),
    ):
        with pytest.raises(RecorderLost):
            await attempt
    assert [one.state for one in await deaf.list()] == [State.PENDING]
    assert isinstance(await audible.answer(request.id, dba(), True), ApprovalRequest)


# --- tickets


async def spend(service: ApprovalService, clock: Clock, **fields: Any) -> ApprovalRequest | None:
    values: dict[str, Any] = {"hold": hold(ticket=True), **fields}
    return await service.spend_ticket(question(clock, **values))


@pytest.fixture
async def ticket(service: ApprovalService, clock: Clock) -> ApprovalRequest:
    request = await opened(service, clock, hold=hold(ticket=True, window=600.0))
    answered = await service.answer(request.id, dba(), True)
    assert isinstance(answered, ApprovalRequest)
    return answered


async def test_a_ticket_lets_exactly_one_execution_through(
    service: ApprovalService, ticket: ApprovalRequest, clock: Clock
) -> None:
    spent = await asyncio.gather(*(spend(service, clock) for _ in range(20)))
    assert [one.id for one in spent if one is not None] == [ticket.id]
    assert await spend(service, clock) is None


@pytest.mark.parametrize(
    "other",
    [
        {"subject": agent("agent-2")},
        {"subject": agent("AGENT-1")},
        {"subject": agent(issuer="https://other.example")},
        {"operation": operation(target="billing")},
        {"database": "other"},
        {"login": "owner"},
        {"operation": operation(digest=digest_of("UPDATE t SET a = 2 WHERE id = 1"))},
        {"operation": operation(digest=b"")},
        {"rewritten": "UPDATE t SET a = NULL"},
        {"masks": b"other masks"},
        {"hold": hold(ticket=True, people=2)},
        {"hold": hold(ticket=True, rules=("updates-wait", "another-rule"))},
        {"hold": hold(ticket=True, approvers=("security",))},
    ],
    ids=lambda other: str(next(iter(other))),
)
async def test_a_ticket_is_for_that_execution_alone(
    service: ApprovalService, ticket: ApprovalRequest, clock: Clock, other: dict[str, Any]
) -> None:
    assert await spend(service, clock, **other) is None
    assert await spend(service, clock) is not None


async def test_a_ticket_is_for_what_the_approver_saw(
    service: ApprovalService, clock: Clock
) -> None:
    shown = {"rewritten": "SELECT $mask_key\u202e", "masks": b"masks of then"}
    request = await opened(service, clock, hold=hold(ticket=True), **shown)
    assert request.rewritten == "SELECT $mask_key<U+202E>"
    for other in ({**shown, "masks": b"of now"}, {**shown, "rewritten": "SELECT 1"}, {}):
        fresh = await opened(service, clock, hold=hold(ticket=True), session="ses-2", **other)
        assert fresh.id != request.id
        await service.cancel(fresh.id, "")
        clock.now += 1
        assert await service.show(request.id) is not None
    await service.answer(request.id, dba(), True)
    assert await spend(service, clock, **{**shown, "masks": b"of now"}) is None
    assert await spend(service, clock) is None
    assert (await spend(service, clock, **shown) or request).spent is not None


async def test_what_the_target_gets_is_bounded_and_held_to_one_operation(
    service: ApprovalService, clock: Clock
) -> None:
    long = await service.open(question(clock, rewritten="x" * (MAXIMUM_REWRITTEN + 1)))
    assert isinstance(long, Refused)
    held = operation()
    await opened(service, clock, operation=held, rewritten="SELECT 1")
    again = await service.open(question(clock, operation=held, rewritten="SELECT 2"))
    assert isinstance(again, Refused) and "another operation" in again.reason


async def test_a_ticket_has_its_window(
    service: ApprovalService, ticket: ApprovalRequest, clock: Clock
) -> None:
    clock.now += 600
    assert await spend(service, clock) is None
    clock.now -= 0.1
    assert await spend(service, clock) is not None


async def test_only_an_approved_ticket_can_be_spent(service: ApprovalService, clock: Clock) -> None:
    pending = await opened(service, clock, hold=hold(ticket=True))
    assert await spend(service, clock) is None
    await service.answer(pending.id, dba(), False)
    assert await spend(service, clock) is None
    live = await opened(service, clock)
    await service.answer(live.id, dba(), True)
    assert await spend(service, clock) is None


async def test_the_same_question_again_is_the_same_ticket(
    service: ApprovalService, clock: Clock
) -> None:
    first = await opened(service, clock, hold=hold(ticket=True))
    again = await opened(service, clock, hold=hold(ticket=True), session="ses-9")
    assert again.id == first.id
    stricter = await opened(service, clock, hold=hold(ticket=True, people=2), session="ses-10")
    assert stricter.id != first.id


async def test_a_spent_ticket_needs_a_new_approval(
    service: ApprovalService, ticket: ApprovalRequest, clock: Clock
) -> None:
    assert await spend(service, clock) is not None
    fresh = await opened(service, clock, hold=hold(ticket=True), session="ses-2")
    assert fresh.id != ticket.id and fresh.state is State.PENDING


# --- looking on


async def test_lists_are_filtered_and_paged(service: ApprovalService, clock: Clock) -> None:
    made = []
    for number in range(5):
        approvers = ("dba",) if number % 2 else ("security", "leads")
        made.append(await opened(service, clock, hold=hold(approvers=approvers)))
        await asyncio.sleep(0.002)
    await service.answer(made[1].id, dba(), True)
    ids = [one.id for one in made]
    assert [one.id for one in await service.list()] == ids[::-1]
    assert [one.id for one in await service.list([State.APPROVED])] == [ids[1]]
    assert {one.id for one in await service.list(groups=["leads"])} == {ids[0], ids[2], ids[4]}
    assert await service.list(groups=[]) == []
    assert await service.list(groups=["dba' OR 1=1 --"]) == []
    assert await service.list(subject="nobody") == []
    page = await service.list(limit=2)
    assert [one.id for one in await service.list(limit=2, before=page[-1].id)] == ids[2:0:-1]


async def test_a_watcher_sees_every_change_from_the_call_on(
    service: ApprovalService, clock: Clock
) -> None:
    changes = service.watch()
    request = await opened(service, clock)
    await service.answer(request.id, dba(), True)
    seen = [await anext(changes), await anext(changes)]
    assert [getattr(one, "state", None) for one in seen] == [State.PENDING, State.APPROVED]


async def test_a_slow_watcher_is_told_how_much_it_missed(
    service: ApprovalService, clock: Clock
) -> None:
    changes = service.watch()
    request = await opened(service, clock)
    for _ in range(MAXIMUM_QUEUED + 4):
        service._tell(request)
    first = await anext(changes)
    assert first == Dropped(5)
    for _ in range(MAXIMUM_QUEUED):
        assert await anext(changes) == request
