"""A folder that is its owner's alone, and files in it that are always whole.

FAILS CLOSED: a folder or file that is a link, somebody else's, or open to others is not used. A
file is written beside the old one and then put in its place.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC

_OTHERS: Final = 0o077

Refuse = Callable[[Path, str, str], Exception]
"""Makes the error for a path, why it is not used, and what to do (empty: nothing special)."""


class PrivateFolder:
    """A folder of 0700. `refuse` makes what is raised where it cannot be used."""

    def __init__(self, path: Path, refuse: Refuse) -> None:
        self.path = path
        self._refuse = refuse

    def make(self) -> None:
        """Make it where it is not there. Raises: what `refuse` makes."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._refuse(self.path, error.strerror or "error", "") from None
        self.check()

    def check(self) -> None:
        """Raises: what `refuse` makes, where it is not its owner's alone."""
        self._check(self.path, self.path.lstat(), stat.S_ISDIR)

    def check_file(self, path: Path, opened: int) -> None:
        """Raises: what `refuse` makes, where an opened file is not its owner's alone."""
        self._check(path, os.fstat(opened), stat.S_ISREG)

    def write(self, path: Path, text: bytes) -> None:
        """Put a file of 0600 in the place of the one before. Raises: what `refuse` makes."""
        beside = path.with_name(f".{path.stem}.{secrets.token_hex(8)}")
        try:
            file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FLAGS, 0o600)
            try:
                with os.fdopen(file, "wb") as opened:
                    opened.write(text)
                    opened.flush()
                    os.fsync(opened.fileno())
                beside.replace(path)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._refuse(path, error.strerror or "error", "") from None

    def _check(self, path: Path, found: os.stat_result, kind: Any) -> None:
        if not kind(found.st_mode):
            raise self._refuse(path, "it is a link, or something else than it should be", "")
        if found.st_uid != os.geteuid():
            raise self._refuse(path, "it belongs to somebody else", "")
        if found.st_mode & _OTHERS:
            wanted = "700" if stat.S_ISDIR(found.st_mode) else "600"
            raise self._refuse(path, "others can get at it", f"chmod {wanted} {path}")
