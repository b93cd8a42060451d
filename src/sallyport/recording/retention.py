"""Retention: what is old or too much goes, unless somebody holds it.

A session is deleted in three steps, each of which can be done again after a crash: it is marked as
leaving (by compare-and-set, so that a legal hold set at the same time wins or is refused), its file
goes, its rows go. What belonged to no session goes by age alone, with the audit's rows.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct
from sqlalchemy import ColumnElement, delete, func, select, update

from sallyport.core.event import Audited
from sallyport.recording.findings import forget
from sallyport.recording.follow import Follower
from sallyport.recording.places import SUFFIX
from sallyport.recording.records import LEAVING, SEALED
from sallyport.store.recording_schema import (
    audit,
    block_shapes,
    blocks,
    late,
    sessions,
    shapes,
    touched,
)

PASS = 1000
"""Sessions that one pass deletes at most, so that it ends."""


class Keeping(Struct, frozen=True):
    """How long: seconds since a session's end, and bytes of all sealed files. None: no bound."""

    age: float | None = None
    size: int | None = None


class Rules(Struct, frozen=True):
    """What holds for all targets, and what instead for some.

    A target with rules of its own is not counted in the size of the rest.
    """

    general: Keeping = Keeping()
    targets: Mapping[str, Keeping] = {}


class Deleted(Struct, frozen=True):
    """One session that retention deleted, and why."""

    session: str
    target: str
    size: int
    reason: str


class Retention:
    """Deletes what the rules no longer keep. `audited` is told of every deletion."""

    def __init__(
        self,
        follower: Follower,
        rules: Rules,
        audited: Callable[[Audited], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules = rules
        self._follower = follower
        self._index = follower.index
        self._places = follower.places
        self._audited = audited
        self._clock = clock

    async def run(self) -> list[Deleted]:
        """Delete what is due now; call it every few minutes. Raises: SQLAlchemyError, OSError."""
        due = await self._due()
        done = [one for one in due[:PASS] if await self._delete(one)]
        if done:
            await self._sweep()
        await self._product()
        await self._findings()
        return done

    async def _due(self) -> list[Deleted]:
        found: list[Deleted] = []
        own = tuple(self.rules.targets)
        for target, keeping in self.rules.targets.items():
            found += await self._of(keeping, [sessions.c.target == target])
        found += await self._of(self.rules.general, [sessions.c.target.not_in(own)] if own else [])
        query = select(sessions.c.id, sessions.c.target, sessions.c.size).where(
            sessions.c.state == LEAVING
        )
        async with self._index.reader.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [Deleted(row.id, row.target, row.size, "unfinished") for row in rows] + found

    async def _of(self, keeping: Keeping, scope: list[ColumnElement[bool]]) -> list[Deleted]:
        where = [sessions.c.state == SEALED, *scope]
        columns = (sessions.c.id, sessions.c.target, sessions.c.size, sessions.c.closed)
        free = [*where, sessions.c.legal_hold.is_(False)]
        oldest = select(*columns).where(*free).order_by(sessions.c.closed, sessions.c.id)
        found: dict[str, Deleted] = {}
        async with self._index.reader.connect() as connection:
            if keeping.age is not None:
                before = self._clock() - keeping.age
                aged = oldest.where(sessions.c.closed < before).limit(PASS)
                for row in await connection.execute(aged):
                    found[row.id] = Deleted(row.id, row.target, row.size, "age")
            if keeping.size is not None:
                total = select(func.coalesce(func.sum(sessions.c.size), 0)).where(*where)
                over = int((await connection.execute(total)).scalar_one()) - keeping.size
                over -= sum(one.size for one in found.values())
                for row in await connection.execute(oldest.limit(2 * PASS)):
                    if over <= 0:
                        break
                    if row.id not in found:
                        found[row.id] = Deleted(row.id, row.target, row.size, "size")
                        over -= row.size
        return list(found.values())

    async def _delete(self, one: Deleted) -> bool:
        mark = (
            update(sessions)
            .where(
                sessions.c.id == one.session,
                sessions.c.state.in_((SEALED, LEAVING)),
                sessions.c.legal_hold.is_(False),
            )
            .values(state=LEAVING)
        )
        async with self._follower.lock:
            if one.session in self._follower.live:
                return False
            async with self._index.engine.begin() as connection:
                if (await connection.execute(mark)).rowcount == 0:
                    return False
                row = (
                    await connection.execute(
                        select(sessions.c.path).where(sessions.c.id == one.session)
                    )
                ).one()
        details = {"reason": one.reason, "bytes": one.size, "target": one.target}
        self._audited(
            Audited("", self._clock(), "retention", "session.delete", one.session, details)
        )
        if row.path:
            await asyncio.to_thread((self._places.root / row.path).unlink, missing_ok=True)
        async with self._follower.lock, self._index.engine.begin() as connection:
            mine = select(blocks.c.id).where(blocks.c.session == one.session)
            await connection.execute(delete(block_shapes).where(block_shapes.c.block.in_(mine)))
            await connection.execute(delete(blocks).where(blocks.c.session == one.session))
            await connection.execute(delete(late).where(late.c.session == one.session))
            await connection.execute(delete(sessions).where(sessions.c.id == one.session))
        return True

    async def _sweep(self) -> None:
        """Delete shapes that no operation has any more."""
        unused = shapes.c.id.not_in(select(block_shapes.c.shape))
        async with self._follower.lock, self._index.engine.begin() as connection:
            self._follower.numbers.forget()
            gone = select(shapes.c.id).where(unused)
            await connection.execute(delete(touched).where(touched.c.id.in_(gone)))
            await connection.execute(delete(shapes).where(unused))

    async def _product(self) -> None:
        age = self.rules.general.age
        if age is None:
            return
        before = self._clock() - age
        await asyncio.to_thread(_remove_days, self._places.product, before)
        async with self._follower.lock, self._index.engine.begin() as connection:
            await connection.execute(delete(audit).where(audit.c.at < before))

    async def _findings(self) -> None:
        """Forget what was not found again for as long as its target's recordings are kept."""
        own, now = self.rules.targets, self._clock()
        async with self._follower.lock, self._index.engine.begin() as connection:
            for target, keeping in own.items():
                if keeping.age is not None:
                    await forget(connection, now - keeping.age, target)
            if self.rules.general.age is not None:
                await forget(connection, now - self.rules.general.age, None, tuple(own))


def _remove_days(folder: Path, before: float) -> None:
    """Remove the files of days that ended before `before`, and folders that are empty then."""
    limit = time.strftime("%Y/%m/%d", time.gmtime(before))
    for day in sorted(folder.glob("*/*/*")):
        name = str(day.relative_to(folder))
        if not re.fullmatch(r"\d{4}/\d\d/\d\d", name) or name >= limit:
            continue
        for file in day.glob(f"*{SUFFIX}"):
            if file.stat().st_mtime < before:
                file.unlink(missing_ok=True)
        if not any(day.iterdir()):
            day.rmdir()
