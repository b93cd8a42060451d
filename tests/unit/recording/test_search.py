"""Search: over many blocks it finds what a look at every decision would find, in that order."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sallyport.core.event import Audited, OperationDecided
from sallyport.recording import search as search_module
from sallyport.recording.follow import Follower
from sallyport.recording.journal import Journal
from sallyport.recording.library import Library
from sallyport.recording.places import Places
from sallyport.recording.records import Filter
from sallyport.store.database import Database
from sallyport.store.sealed_text import UNREADABLE
from tests.support.recordings import KEY, T0, decided, ended, opened
from tests.unit.store.template import place

SECRET = "SELECT 'Gormenghast'"
LOOKED_FOR: dict[str, object] = {"filter": {"text": "Gormenghast"}}
"""What an auditor asks for is a piece of what the recordings hold."""


class Told:
    """What was decided, by session, and a library that knows it from many blocks."""

    def __init__(self, database: Database, places: Places, decisions: list[OperationDecided]):
        self.decisions = decisions
        self.follower = Follower(database.engine, places)
        self.library = Library(self.follower)

    async def found(self, **wanted: object) -> list[tuple[str, int]]:
        found = await self.library.search(Filter(**wanted))  # type: ignore[arg-type]
        return [(one.session, one.operation) for one in found]

    def expected(
        self, text: str = "", verb: str = "", since: float = 0.0, session: str = ""
    ) -> list[tuple[str, int]]:
        found = [
            one
            for one in self.decisions
            if text.casefold() in one.text.casefold()
            and verb in ("", one.verb)
            and one.at >= since
            and session in ("", one.session)
        ]
        found.sort(key=lambda one: one.at, reverse=True)
        return [(one.session, one.operation) for one in found]


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
async def told(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Told]:
    monkeypatch.setattr(search_module, "SOME", 3)
    monkeypatch.setattr(search_module, "SOME_SESSIONS", 2)
    database = Database(place(tmp_path / "store.db"))
    await database.open()
    places = Places(tmp_path / "recordings", request.param)
    journal = Journal(places.journals, "worker-1", key=places.key, reserve=0)
    made = Told(database, places, [])
    chance = random.Random(11)
    journal.record(Audited("", T0, "root", "operations-searched", "", LOOKED_FOR))
    for number in range(5):
        journal.record(opened(f"s-{number}", T0 + number))
    for number in range(300):
        session = f"s-{chance.randrange(5)}"
        text = SECRET if number % 97 == 5 else f"SELECT {chance.randrange(9)}"
        at = T0 + chance.randrange(2_000_000) / 1000
        verb = chance.choice(["select", "update"])
        event = decided(session, number, at, text, verb=verb)
        made.decisions.append(event)
        journal.record(event)
        journal.record(ended(session, number, at))
        if chance.random() < 0.1:
            journal.flush()
            await made.follower.step()
    journal.flush()
    await made.follower.step()
    yield made
    await journal.close()
    await made.follower.stop()
    await database.close()


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"text": "select 3"},
        {"text": "gormenghast"},
        {"text": "gormenghast", "verb": "update"},
        {"text": "nowhere"},
        {"verb": "update"},
        {"since": T0 + 1000},
        {"session": "s-3", "text": "7"},
    ],
)
async def test_all_is_found_newest_first_page_by_page(
    told: Told, wanted: dict[str, object]
) -> None:
    expected = told.expected(**wanted)  # type: ignore[arg-type]
    assert await told.found(**wanted, limit=1000) == expected
    pages: list[tuple[str, int]] = []
    for offset in range(0, len(expected) + 7, 7):
        pages += await told.found(**wanted, limit=7, offset=offset)
    assert pages == expected


@pytest.mark.parametrize("verb", [None, "update"])
async def test_sessions_are_found_by_their_texts(told: Told, verb: str | None) -> None:
    wanted = {"text": "Gormenghast"} | ({"verb": verb} if verb else {})
    expected = sorted({name for name, _ in told.expected(**wanted)}, reverse=True)
    found = await told.library.sessions(Filter(**wanted))  # type: ignore[arg-type]
    assert [one.id for one in found] == expected
    second = await told.library.sessions(Filter(**wanted, limit=1, offset=1))  # type: ignore[arg-type]
    assert [one.id for one in second] == expected[1:2]


async def test_texts_are_as_secret_as_the_recordings(told: Told, tmp_path: Path) -> None:
    encrypted = told.follower.places.sealing_key is not None
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    assert (b"Gormenghast" in raw) != encrypted
    reader = Library(Follower(told.follower.index.engine, Places(tmp_path / "recordings")))
    texts = {one.text for one in await reader.search(Filter(limit=1000))}
    assert (texts == {UNREADABLE}) == encrypted
    assert (await reader.search(Filter(text="Gormenghast")) == []) == encrypted
    assert [one.details for one in await told.library.audit(Filter())] == [LOOKED_FOR]
    shown = {"details": UNREADABLE} if encrypted else LOOKED_FOR
    assert [one.details for one in await reader.audit(Filter())] == [shown]
