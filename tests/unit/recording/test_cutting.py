"""Cutting: one session's events out of a journal that is mostly others'."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from sallyport.core.event import RecordedEvent
from sallyport.recording.cutting import Extents, extend, extent_payloads
from sallyport.recording.encoding import decode
from sallyport.recording.files import FormatError
from sallyport.recording.journal import Journal
from sallyport.recording.places import Places
from tests.support.recordings import KEY, decided, read_journal

pytestmark = pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])


async def crowd(places: Places) -> tuple[Path, list[RecordedEvent]]:
    """A journal of five sessions that take turns, and what session `s-3` did."""
    journal = Journal(places.journals, "worker-1", key=places.key, reserve=0)
    chance = random.Random(7)
    mine: list[RecordedEvent] = []
    for number in range(300):
        event = decided(f"s-{chance.randrange(5)}", number)
        mine += [event] if event.session == "s-3" else []
        journal.record(event)
        if chance.random() < 0.3:
            journal.flush()
    await journal.close()
    return journal.path, mine


def around(path: Path) -> Extents:
    """One extent over all of a journal but its first and last frames."""
    extents: Extents = []
    extend(extents, path.name, _ends(path)[0], _ends(path)[-2])
    return extents


def _ends(path: Path) -> list[int]:
    raw, ends, at = path.read_bytes(), list[int](), 56
    while at < len(raw):
        at += 5 + int.from_bytes(raw[at : at + 4], "big") + 32
        ends.append(at)
    return ends


async def test_a_session_is_cut_out_whole_and_alone(tmp_path: Path, key: bytes | None) -> None:
    places = Places(tmp_path, key)
    path, mine = await crowd(places)
    assert [decode(one) for one in extent_payloads(places, "s-3", around(path))] == mine
    assert list(extent_payloads(places, "s-33", around(path))) == []
    assert len(read_journal(path, key)[0]) == 302


async def test_what_was_changed_in_it_is_not_cut(tmp_path: Path, key: bytes | None) -> None:
    """A flipped bit of its own frames, or of any length on the way, is found."""
    places = Places(tmp_path, key)
    path, _ = await crowd(places)
    whole, extents, ends = path.read_bytes(), around(path), _ends(path)
    for begin, end in pairwise(ends[:-1]):
        if key is None and b"s-3" not in whole[begin:end]:
            places_to_flip = [begin + 2]
        else:
            places_to_flip = [begin + 2, end - 40, end - 1]
        for place in places_to_flip:
            changed = bytearray(whole)
            changed[place] ^= 0x40
            path.write_bytes(changed)
            with pytest.raises(FormatError):
                list(extent_payloads(places, "s-3", extents))
