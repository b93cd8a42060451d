"""Counters: what each subject has used of its quotas, and the slices of them that are leased.

Theory of operation. A window is cut into `SLOTS` slots. What is leased counts in the slot of its
lease until the whole window has passed over it, so that a count is never less than the exact
sliding window's. Reconnecting, another token or another worker reset nothing, for the key is the
subject's name and the target. What a dead worker had leased stays counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from sqlalchemy import ColumnElement, and_, delete
from sqlalchemy.dialects.sqlite import insert

from sallyport.store.control_schema import spending
from sallyport.store.database import Database

SLOTS: Final = 12
MAXIMUM_KEYS: Final = 100_000
"""Counts kept; FAILS CLOSED: with more, nothing new is leased until some have passed."""

WINDOWS: Final = {
    "statements_per_minute": 60.0,
    "rows_per_hour": 3600.0,
    "bytes_per_hour": 3600.0,
}
"""Seconds of each quota that is leased; any other name is no quota and gets nothing."""


class Key(Struct, frozen=True):
    """What is counted: one quota of one subject at one target."""

    subject: str
    target: str
    quota: str


class Counters:
    """All counts, in memory; `save` keeps what changed, `load` brings it back after a restart."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._used: dict[Key, dict[int, int]] = {}
        self._leased: dict[str, dict[Key, dict[int, int]]] = {}
        self._changed: set[Key] = set()
        self._saving = asyncio.Lock()

    def lease(self, worker: str, key: Key, amount: int, wanted: int) -> int:
        """Give up to `wanted` of what `amount` a window leaves; 0 when it is used up."""
        width = self._width(key)
        if width is None or wanted <= 0 or (key not in self._used and self._full()):
            return 0
        given = min(wanted, amount - self.used(key))
        if given <= 0:
            return 0
        slot = int(self._clock() // width)
        held = self._leased.setdefault(worker, {}).setdefault(key, {})
        for slots in (self._used.setdefault(key, {}), held):
            slots[slot] = slots.get(slot, 0) + given
        self._changed.add(key)
        return given

    def give_back(self, worker: str, key: Key, amount: int) -> None:
        """Take back what a worker did not spend; never more than it was given."""
        held = self._leased.get(worker, {}).get(key, {})
        used = self._used.get(key, {})
        for slot in sorted(held, reverse=True):
            back = min(amount, held[slot], used.get(slot, 0))
            if back <= 0:
                continue
            held[slot] -= back
            used[slot] -= back
            amount -= back
        self._changed.add(key)

    def used(self, key: Key) -> int:
        """Return what counts against a quota now."""
        slots = self._used.get(key)
        width = self._width(key)
        if slots is None or width is None:
            return 0
        oldest = int(self._clock() // width) - SLOTS
        for slot in [slot for slot in slots if slot < oldest]:
            del slots[slot]
            self._changed.add(key)
        return sum(slots.values())

    def retry(self, key: Key) -> float:
        """Return the seconds until something of a used-up quota comes free."""
        width = self._width(key)
        slots = [slot for slot, used in self._used.get(key, {}).items() if used]
        if width is None or not slots:
            return 1.0
        return max(0.25, (min(slots) + SLOTS + 1) * width - self._clock())

    def worker_gone(self, worker: str) -> None:
        """A worker is gone: what it had leased can no longer be given back."""
        self._leased.pop(worker, None)

    def prune(self) -> None:
        """Forget what no window holds any more."""
        for key in list(self._used):
            if not self.used(key) and not any(self._used[key].values()):
                del self._used[key]
                self._changed.add(key)
        for held in self._leased.values():
            for key in [key for key in held if key not in self._used]:
                del held[key]

    async def load(self, database: Database) -> None:
        """Bring back what was counted before a restart."""
        async with database.read() as connection:
            for row in await connection.execute(spending.select()):
                key = Key(row.subject, row.target, row.quota)
                self._used.setdefault(key, {})[row.slot] = row.amount
        for key in list(self._used):
            self.used(key)
        self._changed.clear()

    async def save(self, database: Database) -> None:
        """Keep what changed since the last time; returns when all that came before is kept."""
        async with self._saving:
            changed, self._changed = self._changed, set()
            if not changed:
                return
            try:
                await self._write(database, changed)
            except BaseException:
                self._changed |= changed
                raise

    async def _write(self, database: Database, changed: set[Key]) -> None:
        rows = [_row(key, slots) for key in changed for slots in self._used.get(key, {}).items()]
        async with database.write() as connection:
            for key in changed:
                await connection.execute(delete(spending).where(_same(key)))
            if rows:
                await connection.execute(insert(spending), rows)

    def _full(self) -> bool:
        return len(self._used) >= MAXIMUM_KEYS

    @staticmethod
    def _width(key: Key) -> float | None:
        window = WINDOWS.get(key.quota)
        return None if window is None else window / SLOTS


def _row(key: Key, slot: tuple[int, int]) -> dict[str, str | int]:
    return {
        "subject": key.subject,
        "target": key.target,
        "quota": key.quota,
        "slot": slot[0],
        "amount": slot[1],
    }


def _same(key: Key) -> ColumnElement[bool]:
    columns = spending.c
    return and_(
        columns.subject == key.subject,
        columns.target == key.target,
        columns.quota == key.quota,
    )
