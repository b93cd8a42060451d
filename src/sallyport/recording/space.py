"""Space and quotas: why a new operation may not be recorded, before it is too late to say so.

A reserve file keeps blocks aside. While it is whole, new operations are refused as soon as the
free space falls below the same amount; if others fill the disk all the same, the reserve is given
back in the middle of the write that failed, so that pending operations still finish.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

HOUR = 3600.0
"""Seconds of a quota's window."""

_MAXIMUM_SUBJECTS = 100_000


class Reserve:
    """Blocks kept aside in `folder`, and the check that there is room for more operations."""

    def __init__(
        self, folder: Path, name: str, size: int, clock: Callable[[], float], interval: float = 0.5
    ) -> None:
        self._path = folder / f".{name}.reserve"
        self._folder = folder
        self._size = size
        self._clock = clock
        self._interval = interval
        self._checked = float("-inf")
        self._full: str | None = None
        self.kept = False
        self._keep()

    def refusal(self) -> str | None:
        """Why there is no room for a new operation, or None. Looks at most twice a second."""
        now = self._clock()
        if now - self._checked >= self._interval:
            self._checked = now
            self._full = self._look()
        return self._full

    def give_back(self) -> bool:
        """Free the reserve for what is pending; False if there was none left."""
        if not self.kept:
            return False
        self.kept = False
        self._checked = float("-inf")
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Remove the reserve at an orderly end."""
        self.give_back()

    def _look(self) -> str | None:
        if self._size == 0:
            return None
        free = self._free()
        if not self.kept and free >= 2 * self._size:
            self._keep()
            free = self._free()
        if self.kept and free >= self._size:
            return None
        if free < 0:
            return "the recording's folder cannot be reached"
        left, kept = free // 2**20, self._size // 2**20
        return f"the recording disk is full: {left} MiB free, {kept} MiB are reserved"

    def _free(self) -> int:
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return -1
        return found.f_bavail * found.f_frsize

    def _keep(self) -> None:
        if self._size == 0:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self._path, flags, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._size)
            finally:
                os.close(fd)
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            return
        self.kept = True


class Quota:
    """Bytes that each subject has put on record in its current hour."""

    def __init__(self, limit: int | None, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._spent: dict[str, tuple[float, int]] = {}

    def spend(self, subject: str, count: int) -> None:
        """Count `count` bytes for `subject`."""
        now = self._clock()
        began, spent = self._spent.get(subject, (now, 0))
        if now - began >= HOUR:
            began, spent = now, 0
        self._spent[subject] = (began, spent + count)
        if len(self._spent) > _MAXIMUM_SUBJECTS:
            self._prune(now)

    def refusal(self, subject: str) -> str | None:
        """Why `subject` may put nothing more on record, or None."""
        if self._limit is None:
            return None
        began, spent = self._spent.get(subject, (0.0, 0))
        left = HOUR - (self._clock() - began)
        if spent < self._limit or left <= 0:
            return None
        return (
            f"`{subject}` has put {spent} bytes on record in an hour, its quota is {self._limit}; "
            f"try again in {int(left) + 1} s"
        )

    def _prune(self, now: float) -> None:
        self._spent = {name: at for name, at in self._spent.items() if now - at[0] < HOUR}
