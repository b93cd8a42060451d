"""Outlet: what goes out on one leg: together, once in a turn, after what explains it is on record.

INVARIANT: bytes leave for a leg only after the records of their turn are in the journal's file
(`Services.push`).
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, final, runtime_checkable

from sallyport.protocols.base import Leg, Services
from sallyport.protocols.http.message import ResponseHead
from sallyport.protocols.http.serving.ends import GoneError

TURN: Final = 128 * 1024
"""Bytes that are sent in one turn, or a little more."""
_LARGE: Final = 16 * 1024


@final
class Outlet:
    """The outgoing half of one leg."""

    __slots__ = ("_closing", "_due", "_push", "_size", "leg")

    def __init__(self, leg: Leg, services: Services) -> None:
        self.leg = leg
        self._push = services.push
        self._due: list[bytes] = []
        self._closing = False
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this turn."""
        if not self._due:
            self._push(self._send)
        self._due.append(data)
        self._size += len(data)

    async def drain(self) -> None:
        """Return when the leg's queue is short again. Raises: GoneError."""
        if self._size > TURN:
            await asyncio.sleep(0)  # after what was pushed: the turn's end
        await self.leg.drain()
        if self.leg.over:
            raise GoneError

    async def finish(self) -> None:
        """Close the leg after what is due, once that was written."""
        if self._due:
            await asyncio.sleep(0)  # after what was pushed: the turn's end
        self.leg.close()

    def close(self) -> None:
        """Close the leg after what is due."""
        if self._due:
            self._closing = True
        else:
            self.leg.close()

    def abort(self) -> None:
        """Close the leg at once: what is due is dropped."""
        self._due.clear()
        self.leg.abort()

    def _send(self) -> None:
        due, self._due = self._due, []
        self._size = 0
        if len(due) == 1:
            self.leg.write(due[0])
        elif due:
            last = due[-1]
            if len(last) > _LARGE:
                self.leg.write(b"".join(due[:-1]))
                self.leg.write(last)
            else:
                self.leg.write(b"".join(due))
        if self._closing:
            self.leg.close()


@runtime_checkable
class Changeable(Protocol):
    """A response after which the connection speaks another protocol."""

    def take_over(self, head: ResponseHead) -> tuple[Outlet, bytes]:
        """Send a 101 and hand the connection over, with what was read of it."""
