"""Turns: few requests are worked on at once, so that control is always heard by its workers.

Control's loop also answers workers, who end every session when it is silent for a second. A
hundred requests that each take a moment would be that second. So they take turns: `TOGETHER` of
all callers, `EACH` of one subject, and the rest waits in line; whoever floods waits for themselves,
and who has gone waits no longer. A turn ends when the response begins: a slow reader or a stream
holds none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from sallyport.web.problems import Problem

TOGETHER = 8
"""Requests worked on at once."""

EACH = 3
"""Requests of one subject worked on at once."""


class Turns:
    """Who is being worked on, and who waits in line."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(TOGETHER)
        self._each: dict[str, asyncio.Semaphore] = {}
        self._asking: Counter[str] = Counter()

    async def take(self, subject: str, gone: Coroutine[Any, Any, None]) -> Turn:
        """Return the turn of a request of `subject` when it comes.

        Raises: Problem (408) when `gone` returns first.
        """
        waiting = asyncio.ensure_future(self._begin(subject))
        leaving = asyncio.ensure_future(gone)
        try:
            await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                raise Problem(408, "the caller has gone")
            return Turn(self, subject)
        except BaseException:
            if not waiting.cancel() and not waiting.cancelled():
                self.end(subject)  # it came all the same
            raise
        finally:
            leaving.cancel()

    def end(self, subject: str) -> None:
        """Let the next one in."""
        self._all.release()
        self._each[subject].release()
        self._forget(subject)

    def __len__(self) -> int:
        return self._asking.total()

    # --- inside

    async def _begin(self, subject: str) -> None:
        """Wait in the subject's own line, then in everybody's."""
        self._asking[subject] += 1
        own = self._each.setdefault(subject, asyncio.Semaphore(EACH))
        try:
            await own.acquire()
            try:
                await self._all.acquire()
            except BaseException:
                own.release()
                raise
        except BaseException:
            self._forget(subject)
            raise

    def _forget(self, subject: str) -> None:
        self._asking[subject] -= 1
        if not self._asking[subject]:
            del self._asking[subject], self._each[subject]


class Turn:
    """One request's turn; ends once."""

    def __init__(self, turns: Turns, subject: str) -> None:
        self._turns = turns
        self._subject = subject
        self._ended = False

    def close(self) -> None:
        """Let the next one in."""
        if not self._ended:
            self._ended = True
            self._turns.end(self._subject)
