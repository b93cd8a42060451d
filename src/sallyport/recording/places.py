"""Where recordings lie: journals, sealed sessions, and what belongs to no session."""

from __future__ import annotations

import time
from pathlib import Path

from msgspec import Struct

from sallyport.recording.files import safe_name

SUFFIX = ".sprec"
LEVELS = 4
"""Folders from the root to a sealed file: of its kind, its year, its month and its day."""


class Places(Struct, frozen=True):
    """The folders under one root, and the key (32 bytes) for what in them is encrypted.

    `encrypt`: what is sealed from now on is encrypted too. Without it the key is for reading alone.
    """

    root: Path
    key: bytes | None = None
    encrypt: bool = True

    @property
    def sealing_key(self) -> bytes | None:
        """What new files are encrypted with; None: they are not."""
        return self.key if self.encrypt else None

    @property
    def journals(self) -> Path:
        """Folder of every worker's journals."""
        return self.root / "journals"

    @property
    def sessions(self) -> Path:
        """Folder of sealed sessions, by the day (UTC) on which they were opened."""
        return self.root / "sessions"

    @property
    def product(self) -> Path:
        """Folder of sealed journals' remains: what belonged to no session."""
        return self.root / "product"

    def session_file(self, session: str, opened: float, turn: int) -> str:
        """Return the path, from the root, of a session's sealed file; `turn` 1 is the first cut."""
        name = safe_name(session) + ("" if turn == 1 else f".{turn}") + SUFFIX
        return str(Path("sessions") / _day(opened) / name)

    def product_file(self, journal: str, at: float) -> str:
        """Return the path, from the root, of what a journal held beside sessions."""
        return str(Path("product") / _day(at) / (journal.removesuffix(".journal") + SUFFIX))


def _day(at: float) -> str:
    try:
        return time.strftime("%Y/%m/%d", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return "1970/01/01"
