"""Watching: everybody who looks on sees every change, or is told how many they missed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from msgspec import Struct

from sallyport.approvals.requests import ApprovalRequest

MAXIMUM_QUEUED: Final = 1000
"""Changes that one slow watcher may leave unread."""


class Dropped(Struct, frozen=True):
    """This many changes were not shown to a watcher that was too slow."""

    count: int


class Watcher:
    """One who looks on. Iterate over it; close it when done."""

    def __init__(self) -> None:
        self._queue: deque[ApprovalRequest] = deque()
        self._ready = asyncio.Event()
        self._dropped = 0

    def put(self, request: ApprovalRequest) -> None:
        """Take a change; the oldest unread one goes when there are too many."""
        if len(self._queue) >= MAXIMUM_QUEUED:
            self._queue.popleft()
            self._dropped += 1
        self._queue.append(request)
        self._ready.set()

    async def changes(self) -> AsyncIterator[ApprovalRequest | Dropped]:
        """Yield changes as they come, for ever."""
        while True:
            await self._ready.wait()
            if self._dropped:
                count, self._dropped = self._dropped, 0
                yield Dropped(count)
            while self._queue:
                yield self._queue.popleft()
            self._ready.clear()
