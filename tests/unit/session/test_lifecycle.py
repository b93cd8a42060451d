"""Logins that are refused: on record, and never so many that a stranger fills the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sallyport.core.event import LoginRefused
from sallyport.core.messages import Reply, Request
from sallyport.core.subject import (
    LONGEST_STATED,
    Challenge,
    Evidence,
    Opening,
    Refused,
    Stated,
    Subject,
)
from sallyport.recording.journal import Journal
from sallyport.session import lifecycle
from sallyport.session.lifecycle import REFUSALS, Lifecycle
from tests.support.recordings import read_journal


class Refusing:
    """A control that lets nobody in."""

    alive = True

    async def ask(self, request: Request) -> Reply:
        return Refused("authentication failed")

    def tell(self, request: Request) -> None:
        raise AssertionError("there is no session to speak of")


async def test_of_very_many_refused_logins_the_number_is_kept(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(lifecycle, "REFUSALS_A_SECOND", 10.0)
    journal = Journal(tmp_path, "worker-1", reserve=0)
    sessions = Lifecycle(Refusing(), journal)
    evidence = Evidence("postgres", "clients", "203.0.113.9", "wrong", True)
    for _ in range(REFUSALS + 2000):
        assert isinstance(await sessions.authenticate(evidence), Refused)
    await asyncio.sleep(0.2)
    await sessions.authenticate(evidence)
    await journal.close()
    events, _ = read_journal(journal.path)
    refused = [event for event in events if isinstance(event, LoginRefused)]
    assert REFUSALS < len(refused) < REFUSALS + 100
    left_out = [
        int(event.reason.split("(and ")[1].split()[0])
        for event in refused
        if "more before" in event.reason
    ]
    assert len(refused) + sum(left_out) == REFUSALS + 2001


async def test_proofs_that_are_refused_are_on_record_as_tokens_are(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "worker-1", reserve=0)
    sessions = Lifecycle(Refusing(), journal)
    source = "203.0.113.9"
    opening = Opening("postgres", "clients", source, True, "SCRAM-SHA-256", "x", b"n,,n=,r=a")
    assert isinstance(await sessions.challenge(opening), Refused)
    challenge = Challenge(b"h" * 16, b"r=a", source)
    assert isinstance(await sessions.prove(challenge, b"proof", "postgres"), Refused)
    await journal.close()
    events, _ = read_journal(journal.path)
    refused = [event for event in events if isinstance(event, LoginRefused)]
    assert [(one.protocol, one.source) for one in refused] == [("postgres", source)] * 2


async def test_strangers_leave_room_for_what_somebody_known_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "worker-1", reserve=0)
    sessions = Lifecycle(Refusing(), journal)
    evidence = Evidence("postgres", "clients", "203.0.113.9", "wrong", True)
    for _ in range(REFUSALS + 100):
        await sessions.authenticate(evidence)
    known = Subject(name="agent-1", groups=(), issuer="sallyport", token="t")
    connection: Any = SimpleNamespace(listener="clients", source="203.0.113.9")
    for _ in range(REFUSALS + 100):
        refused = await sessions.authorize(
            known, "postgres", connection, "shop", None, "psql", True
        )
        assert isinstance(refused, Refused)
    await journal.close()
    events, _ = read_journal(journal.path)
    by = [event.subject for event in events if isinstance(event, LoginRefused)]
    for name in ("", "agent-1"):
        assert REFUSALS <= by.count(name) < REFUSALS + 100


async def test_a_refused_login_says_for_whom_and_for_what(tmp_path: Path) -> None:
    """As far as it is known: of a stranger nothing is, and what is said is bounded."""
    journal = Journal(tmp_path, "worker-1", reserve=0)
    sessions = Lifecycle(Refusing(), journal)
    known = Subject("ann", ("agents",), "corp", "jwt-1", actors=("bot", "planner"))
    connection: Any = SimpleNamespace(listener="clients", source="203.0.113.9")
    for stated in (Stated("JIRA-7", "mend"), Stated("x" * 100_000, "y" * 100_000)):
        await sessions.authorize(
            known, "postgres", connection, "shop", None, "psql", True, stated=stated
        )
    await sessions.authenticate(Evidence("postgres", "clients", "203.0.113.9", "wrong", True))
    await journal.close()
    events, _ = read_journal(journal.path)
    first, long, stranger = [event for event in events if isinstance(event, LoginRefused)]
    assert (first.subject, first.issuer, first.actors) == ("ann", "corp", ("bot", "planner"))
    assert (first.target, first.task, first.purpose) == ("shop", "JIRA-7", "mend")
    assert (long.task, long.purpose) == ("x" * LONGEST_STATED, "y" * LONGEST_STATED)
    assert (stranger.subject, stranger.issuer, stranger.actors, stranger.task) == ("", "", (), "")
