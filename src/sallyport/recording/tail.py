"""Tail: what happens now, to whoever looks on; each looker has a bounded queue.

A looker who is too slow loses events, never anybody's time, and is told how many.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from sallyport.core.event import RecordedEvent, RequestForwarded, ResponseBegun, ResultRows
from sallyport.recording.encoding import decode
from sallyport.recording.files import FormatError
from sallyport.recording.matching import Facts, Matcher
from sallyport.recording.records import Dropped, Filter
from sallyport.recording.who import Attributed

QUEUE_EVENTS = 2000
QUEUE_BYTES = 8 * 1024 * 1024
"""What one looker may have before it loses something."""
BACKLOG_EVENTS = 2000
BACKLOG_BYTES = 8 * 1024 * 1024
"""What is kept for those who come later."""
BASE = 300
"""Bytes that an event counts at least."""


class Seen(Struct, frozen=True, gc=False):
    """An encoded event with what is known of its session: most are looked at by nobody."""

    payload: bytes
    facts: Facts


def weight(event: RecordedEvent) -> int:
    """Return about how many bytes an event keeps."""
    if isinstance(event, ResultRows):
        return BASE + len(event.data)
    if isinstance(event, (RequestForwarded, ResponseBegun)):
        return BASE + sum([len(name) + len(value) for name, value in event.headers])
    text = getattr(event, "text", "")
    return BASE + len(text)


def _decode(payload: bytes) -> RecordedEvent | None:
    """Read an event; None for one that cannot be read, of which the follower tells."""
    try:
        return decode(payload)
    except FormatError:
        return None


class Look:
    """One looker's queue."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._queue: deque[Attributed | Dropped] = deque()
        self._bytes = 0
        self._dropped = 0
        self._closed = False
        self._news = asyncio.Event()

    def offer(self, event: RecordedEvent, facts: Facts) -> None:
        """Take an event if it matches; count it if there is no room."""
        if not self._matcher.matches(event, facts):
            return
        size = weight(event)
        full = len(self._queue) >= QUEUE_EVENTS or self._bytes + size > QUEUE_BYTES
        if full and self._queue:
            self._dropped += 1
            return
        self._note_dropped()
        self._queue.append(Attributed(event, facts.who))
        self._bytes += size
        self._news.set()

    def close(self) -> None:
        """No more will come."""
        self._closed = True
        self._news.set()

    async def items(self) -> AsyncIterator[Attributed | Dropped]:
        """Yield events as they come, and `Dropped` where some were lost."""
        while True:
            while self._queue:
                item = self._queue.popleft()
                if not isinstance(item, Dropped):
                    self._bytes -= weight(item.event)
                yield item
            self._note_dropped()
            if self._queue:
                continue
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    def _note_dropped(self) -> None:
        if self._dropped:
            self._queue.append(Dropped(self._dropped, time.time()))
            self._dropped = 0


class Tail:
    """All lookers, and the last events for those who come later."""

    def __init__(self) -> None:
        self._looks: set[Look] = set()
        self._backlog: deque[Seen] = deque()
        self._bytes = 0

    @property
    def watched(self) -> bool:
        """Whether anybody looks on."""
        return bool(self._looks)

    def publish(self, events: Sequence[Seen]) -> None:
        """Show `events` to every looker. While nobody looks, the last `BACKLOG_EVENTS` will do."""
        self._backlog.extend(events)
        self._bytes += sum([len(seen.payload) for seen in events])
        while len(self._backlog) > BACKLOG_EVENTS or self._bytes > BACKLOG_BYTES:
            self._bytes -= len(self._backlog.popleft().payload)
        if not self._looks:
            return
        for seen in events:
            event = _decode(seen.payload)
            if event is not None:
                for look in self._looks:
                    look.offer(event, seen.facts)

    def look(self, wanted: Filter, backlog: int = 0) -> Look:
        """Begin to look on, from up to `backlog` matching events back. Close it with `leave`."""
        matcher = Matcher(wanted)
        look = Look(matcher)
        if backlog > 0:
            past: deque[tuple[RecordedEvent, Facts]] = deque(maxlen=backlog)
            for seen in self._backlog:
                event = _decode(seen.payload)
                if event is not None and matcher.matches(event, seen.facts):
                    past.append((event, seen.facts))
            for event, facts in past:
                look.offer(event, facts)
        self._looks.add(look)
        return look

    def leave(self, look: Look) -> None:
        """Stop looking on."""
        self._looks.discard(look)
        look.close()

    def close(self) -> None:
        """End every look."""
        for look in tuple(self._looks):
            self.leave(look)
