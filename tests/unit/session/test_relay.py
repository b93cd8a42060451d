"""The relay: what moves when, and what never does."""

from __future__ import annotations

import asyncio

import pytest

from sallyport.core.event import HoldSettled, Noticed, OperationDecided
from sallyport.core.messages import CloseHold, HoldAnswered, HoldTaken, OpenHold
from sallyport.core.subject import Refused
from sallyport.protocols.base import Closed, Recorded
from tests.unit.session.conftest import RULES, Session


async def test_an_allowed_line_passes_and_its_answer_returns(session: Session) -> None:
    await session.say("GET a\n")
    assert await session.target_hears() == "GET a"
    await session.target_says("VALUE 1\n")
    assert await session.hear() == "VALUE 1"


async def test_statement_and_decision_are_written_before_the_target_hears(session: Session) -> None:
    await session.say("GET a\nGET b\n")
    await session.target_hears()
    assert session.written_when_target_got[0] >= 1
    decided = [event for event in session.recorder.written if isinstance(event, OperationDecided)]
    assert decided[0].text == "GET a"


async def test_a_write_waits_for_the_disk_and_a_read_does_not(session: Session) -> None:
    await session.say("GET a\n")
    await session.target_hears()
    assert session.recorder.commits == 0
    await session.target_says("NONE\n")
    await session.say("SET a 1\n")
    await session.target_hears()
    assert session.recorder.commits == 1


async def test_a_long_pipeline_takes_many_turns(session: Session) -> None:
    """Others' statements are not kept waiting for all of one session's decisions."""
    await session.say("DEL a\n" * 200)
    for _ in range(200):
        assert (await session.hear()).startswith("ERR refused by no-del")
    decided = [
        sum(isinstance(event, OperationDecided) for event in flushed)
        for flushed in session.recorder.flushes
    ]
    assert sum(decided) == 200
    assert max(decided) <= 32


async def test_a_refused_line_never_reaches_the_target_and_the_next_one_works(
    session: Session,
) -> None:
    await session.say("DEL a\nGET a\n")
    assert await session.hear() == "ERR refused by no-del: nothing is deleted"
    assert await session.target_hears() == "GET a"


async def test_a_byte_at_a_time_is_the_same(session: Session) -> None:
    for byte in "GET slow\n":
        await session.say(byte)
    assert await session.target_hears() == "GET slow"


async def test_a_held_line_passes_after_approval(session: Session) -> None:
    session.desk.answer = lambda request: HoldTaken("apr-1")
    await session.say("SET held 1\n")
    assert "apr-1" in await session.hear()
    await session.target_hears_nothing()
    session.gate.answered(HoldAnswered("ses-1", "apr-1", "approved", ("dana",)))
    assert await session.target_hears() == "SET held 1"
    settled = [event for event in session.recorder.written if isinstance(event, HoldSettled)]
    assert [(event.state, event.by) for event in settled] == [("approved", ("dana",))]


async def test_a_denied_hold_is_a_refusal(session: Session) -> None:
    session.desk.answer = lambda request: HoldTaken("apr-1")
    await session.say("SET held 1\n")
    await session.hear()
    session.gate.answered(HoldAnswered("ses-1", "apr-1", "denied", ("dana",), "no"))
    assert "denied by dana: no" in await session.hear()
    await session.target_hears_nothing()


async def test_control_that_takes_no_hold_is_a_refusal(session: Session) -> None:
    session.desk.answer = lambda request: Refused("too many holds")
    await session.say("SET held 1\n")
    assert "too many holds" in await session.hear()
    await session.target_hears_nothing()


async def test_a_client_that_leaves_withdraws_its_hold(session: Session) -> None:
    session.desk.answer = lambda request: HoldTaken("apr-1")
    await session.say("SET held 1\n")
    await session.hear()
    session.client[1].close()
    await asyncio.wait_for(session.task, 10)
    assert any(isinstance(told, CloseHold) for told in session.desk.told)
    assert any(isinstance(asked, OpenHold) for asked in session.desk.asked)
    settled = [
        event
        for event in session.recorder.written + session.recorder.pending
        if isinstance(event, HoldSettled)
    ]
    assert [event.state for event in settled] == ["cancelled"]


async def test_a_cancel_ends_a_hold(session: Session) -> None:
    session.desk.answer = lambda request: HoldTaken("apr-1")
    await session.say("SET held 1\nGET a\n")
    await session.hear()
    session.relay.interrupt()
    assert "cancelled" in await session.hear()
    assert await session.target_hears() == "GET a"


async def test_an_approval_after_the_cancel_moves_nothing(session: Session) -> None:
    session.desk.answer = lambda request: HoldTaken("apr-1")
    await session.say("SET held 1\n")
    await session.hear()
    session.relay.interrupt()
    await session.hear()
    session.gate.answered(HoldAnswered("ses-1", "apr-1", "approved", ("dana",)))
    await session.target_hears_nothing()


async def test_without_control_nothing_is_decided(session: Session) -> None:
    session.desk.alive = False
    await session.say("GET a\n")
    assert "control" in await session.hear()
    await session.target_hears_nothing()


async def test_a_full_recording_refuses_new_operations(session: Session) -> None:
    session.recorder.refuses = "the recording's disk is full"
    await session.say("GET a\n")
    assert "disk is full" in await session.hear()
    await session.target_hears_nothing()


async def test_a_lost_journal_lets_nothing_more_through(session: Session) -> None:
    session.recorder.fails = "no space left on device"
    await session.say("GET a\n")
    assert "recorder lost" in await asyncio.wait_for(session.task, 10)
    assert await asyncio.wait_for(session.target[0].read(), 10) == b""


async def test_the_end_of_the_grant_is_told_and_closes_both_legs(session: Session) -> None:
    session.grant.ended.fire("revoked")
    assert await session.hear() == "BYE revoked"
    assert await asyncio.wait_for(session.task, 10) == "revoked"
    assert await asyncio.wait_for(session.target[0].read(), 10) == b""


@pytest.mark.parametrize("lost", ["", "disk full"])
async def test_what_still_ran_at_the_end_is_on_record(
    session: Session, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Without a journal the end comes all the same, and whoever has to know is told."""
    last = Noticed("ses-1", 1.0, "", "", "unfinished")
    codec = session.relay._codec
    monkeypatch.setattr(codec, "eof", lambda side: [Recorded(last), Closed("left")])
    session.recorder.fails = lost
    session.grant.ended.fire("revoked")
    assert await asyncio.wait_for(session.task, 10) == "revoked"
    assert session.lost == ([lost] if lost else [])
    assert (last in session.recorder.written) is not bool(lost)
    assert await asyncio.wait_for(session.target[0].read(), 10) == b""


async def test_after_the_end_a_late_line_moves_nothing(session: Session) -> None:
    session.grant.ended.fire("revoked")
    session.client[1].write(b"GET a\n")
    assert await asyncio.wait_for(session.task, 10) == "revoked"
    assert await asyncio.wait_for(session.target[0].read(), 10) == b""


async def test_a_target_that_speaks_unasked_ends_the_session(session: Session) -> None:
    await session.target_says("VALUE stolen\n")
    assert "protocol violation by the target" in await asyncio.wait_for(session.task, 10)


async def test_a_full_journal_pauses_the_target_until_it_has_caught_up(session: Session) -> None:
    session.recorder.full = True
    await session.say("GET a\n")
    await session.target_hears()
    await session.target_says("NONE\n")
    assert await session.hear() == "NONE"
    assert session.recorder.commits >= 1


async def test_an_idle_session_ends_and_one_that_waits_for_a_person_does_not() -> None:
    idle = Session(RULES)
    idle.desk.answer = lambda request: HoldTaken("apr-1")
    await idle.start(idle=0.3)
    await idle.say("SET held 1\n")
    await idle.hear()
    await asyncio.sleep(0.6)
    assert not idle.task.done()
    idle.gate.answered(HoldAnswered("ses-1", "apr-1", "denied", ("dana",)))
    await idle.hear()
    assert await asyncio.wait_for(idle.task, 10) == "idle for too long"
    await idle.stop()
