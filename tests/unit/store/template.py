"""Stores that are up to date from the start: the migrations run once for all tests."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sallyport.store.database import Database
from sallyport.store.migrate import upgrade


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        upgrade(path)
        return path.read_bytes()


def place(path: Path) -> Path:
    """Put a fresh store at `path`, unless there is one, and return the path."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(_migrated())
    return path


async def fresh(folder: Path) -> Database:
    """Return a store in `folder`, opened."""
    database = Database(place(folder / "store.db"))
    await database.open()
    return database
