"""A bounded cache: the least recently used entry goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Bounded(Generic[Key, Value]):
    """At most `maximum` entries. Evicts by `popitem`: `next(iter(...))` slows with deletions."""

    __slots__ = ("_entries", "_maximum")

    def __init__(self, maximum: int) -> None:
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._maximum = maximum

    def get(self, key: Key) -> Value | None:
        """Return the entry, and keep it longer; None when there is none."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep an entry."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._maximum:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
