"""Backoff: failures get slower, successes never do.

Secrets have 256 bits, so guessing is hopeless and the danger is load. A failed attempt is answered
late, the later the more its source (or the token that it claims) failed lately. INVARIANT: nobody
who shows a right credential is refused or delayed for what others did, behind the same address or
under the same name. Memory is bounded: the longest unseen go first.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MAXIMUM_KEYS: Final = 10_000
MAXIMUM_WAITING: Final = 256
FREE_FAILURES: Final = 3
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 2.0
FORGOTTEN_AFTER: Final = 300.0


class Backoff:
    """Counts failures and delays their answers."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = monotonic
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting = 0

    def note(self, source: str, claimed: str) -> float:
        """Count a failure and return the seconds that its answer should take."""
        counts = [self._count(f"source {_network(source)}"), self._count(f"token {claimed}")]
        excess = max(counts) - FREE_FAILURES
        return min(FIRST_DELAY * 2.0 ** min(excess, 10), LONGEST_DELAY) if excess > 0 else 0.0

    async def delay(self, seconds: float) -> None:
        """Wait, unless too many wait already: then the answer comes at once, and is still a no."""
        if seconds <= 0 or self._waiting >= MAXIMUM_WAITING:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1

    def _count(self, key: str) -> int:
        now = self._clock()
        count, last = self._failures.pop(key, (0, now))
        count = 1 if now - last > FORGOTTEN_AFTER else count + 1
        self._failures[key] = (count, now)
        while len(self._failures) > MAXIMUM_KEYS:
            self._failures.popitem(last=False)
        return count

    def __len__(self) -> int:
        return len(self._failures)


def _network(source: str) -> str:
    """Return what counts as one source: an IPv4 address, an IPv6 /64, or the text itself."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source[:64]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
