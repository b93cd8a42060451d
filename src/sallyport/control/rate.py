"""Rate limits by source, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAXIMUM_SOURCES: Final = 10_000


class RateLimit:
    """A token bucket for each source: `rate` a second, `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, source: str, now: float) -> bool:
        """Whether `source` may do one more at `now`."""
        left, last = self._buckets.pop(source, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - last) * self._rate)
        allowed = left >= 1.0
        self._buckets[source] = (left - 1.0 if allowed else left, now)
        while len(self._buckets) > MAXIMUM_SOURCES:
            self._buckets.popitem(last=False)
        return allowed
