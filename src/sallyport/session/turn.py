"""Turn: all that one turn of the worker's loop wants to send, after one write to the journal.

INVARIANT: bytes leave for a leg only after the records that explain them are in the file
(`Recorder.flush`). All sessions of a turn share that one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from sallyport.core.errors import RecorderLost
from sallyport.core.ports import Recorder


class Pushable(Protocol):
    """A session with something to send."""

    def push(self) -> None:
        """Write what is due to both legs."""

    def throttle(self, held: bool) -> None:
        """Stop or go on reading from the target."""


class Turn:
    """Collects sessions that have something to send, and lets them send once a turn."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, recorder: Recorder, lost: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._recorder = recorder
        self._lost = lost
        self._due: dict[Pushable, None] = {}
        self._writes: list[Callable[[], None]] = []
        self._scheduled = False
        self._throttled: set[Pushable] = set()
        self._relief: asyncio.Task[None] | None = None

    def mark(self, session: Pushable) -> None:
        """`session` has something to send."""
        self._due[session] = None
        self._schedule()

    def push(self, write: Callable[[], None]) -> None:
        """Call `write` at the end of this turn, after the write to the journal."""
        self._writes.append(write)
        self._schedule()

    def settle(self, session: Pushable) -> None:
        """Let `session` send now. Without a journal it sends nothing more."""
        self._due.pop(session, None)
        try:
            self._recorder.flush()
        except RecorderLost as error:
            self._lost(str(error))
            return
        session.push()

    def forget(self, session: Pushable) -> None:
        """`session` is over."""
        self._due.pop(session, None)
        self._throttled.discard(session)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        due, self._due = self._due, {}
        writes, self._writes = self._writes, []
        try:
            self._recorder.flush()
        except RecorderLost as error:
            self._lost(str(error))
            return
        for session in due:
            session.push()
        for write in writes:
            write()
        if due and self._recorder.full:
            for session in due:
                self._throttled.add(session)
                session.throttle(True)
            if self._relief is None:
                self._relief = self._loop.create_task(self._relieve())

    async def _relieve(self) -> None:
        try:
            while self._recorder.full:
                await self._recorder.commit()
        except RecorderLost as error:
            self._lost(str(error))
            return
        finally:
            self._relief = None
            throttled, self._throttled = self._throttled, set()
            for session in throttled:
                session.throttle(False)
