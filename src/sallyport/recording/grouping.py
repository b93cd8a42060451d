"""Grouped syncs: many waiters, one fdatasync in flight and one next.

A sync covers what was written before it began. Who comes while one runs waits for the next, which
covers all that came meanwhile: the disk's latency is paid once for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class GroupedSync:
    """Runs `begin()`'s job in one thread, never two at a time.

    `begin` is called on the loop and returns the job, which holds all that is to be synced;
    `done` is called on the loop with the job's error, or None, before the waiters go on.
    """

    def __init__(
        self,
        begin: Callable[[], Callable[[], None]],
        done: Callable[[BaseException | None], None],
    ) -> None:
        self._begin = begin
        self._done = done
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="journal-sync")
        self._running: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether no sync is in flight."""
        return self._running is None

    def request(self) -> asyncio.Future[None]:
        """Return what a sync that begins from now on completes. Shield it: it is shared."""
        loop = asyncio.get_running_loop()
        if self._running is None:
            return self._start(loop, _future(loop))
        if self._next is None:
            self._next = _future(loop)
        return self._next

    def close(self) -> None:
        """Take no more, and wait for the job in flight: its files are still open."""
        self._pool.shutdown(wait=True)

    def _start(
        self, loop: asyncio.AbstractEventLoop, waiting: asyncio.Future[None]
    ) -> asyncio.Future[None]:
        self._running = waiting
        work = loop.run_in_executor(self._pool, self._begin())
        work.add_done_callback(lambda ended: self._end(loop, waiting, ended))
        return waiting

    def _go_on(self, loop: asyncio.AbstractEventLoop, coming: asyncio.Future[None]) -> None:
        try:
            self._start(loop, coming)
        except RuntimeError as error:
            self._running = None
            coming.set_exception(error)

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        waiting: asyncio.Future[None],
        ended: asyncio.Future[None],
    ) -> None:
        self._running = None
        error = asyncio.CancelledError() if ended.cancelled() else ended.exception()
        self._done(error)
        coming, self._next = self._next, None
        if error is None:
            waiting.set_result(None)
            if coming is not None:
                self._go_on(loop, coming)
            return
        failure = error if isinstance(error, Exception) else OSError("sync was cancelled")
        waiting.set_exception(failure)
        if coming is not None:
            coming.set_exception(failure)


def _future(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    made = loop.create_future()
    made.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return made
