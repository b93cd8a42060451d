"""Tables: what is remembered, bounded in number and time."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Table(Generic[T]):
    """At most `most` entries, each for `seconds`; the oldest goes for one more."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: str, value: T) -> None:
        """Remember `value` from now."""
        self._forget()
        while len(self._entries) >= self._most:
            self._entries.popitem(last=False)
        self._entries[key] = (self._clock() + self._seconds, value)

    def get(self, key: str) -> T | None:
        """Return what is remembered, or None."""
        self._forget()
        found = self._entries.get(key)
        return None if found is None else found[1]

    def pop(self, key: str) -> T | None:
        """Forget and return it."""
        found = self.get(key)
        self._entries.pop(key, None)
        return found

    def values(self) -> list[T]:
        """Return all of it, the oldest first."""
        self._forget()
        return [value for _, value in self._entries.values()]

    def _forget(self) -> None:
        now = self._clock()
        while self._entries:
            key, (until, _) = next(iter(self._entries.items()))
            if now < until:
                return
            del self._entries[key]


def digest(secret: str) -> str:
    """Return what a secret is looked up by: how long that takes tells nothing of the secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
