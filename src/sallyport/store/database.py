"""The store: one SQLite file, opened by control alone.

WAL, foreign keys on, a busy timeout; every transaction begins IMMEDIATE unless it says that it
only reads, so that none fails half-way for having read before it wrote.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from sallyport.store.errors import StoreError
from sallyport.store.migrate import upgrade

BUSY_TIMEOUT = 10.0
"""Seconds that a transaction waits for another's end."""

_READ_ONLY = "sallyport_read_only"


class Database:
    """The async engine and its two ways in: `read` and `write`. `engine` begins IMMEDIATE."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine: AsyncEngine = create_async_engine(
            f"sqlite+aiosqlite:///{path}", pool_size=5, max_overflow=10, hide_parameters=True
        )
        event.listen(self.engine.sync_engine, "connect", _prepare)
        event.listen(self.engine.sync_engine, "begin", _begin)
        self._reader = self.engine.execution_options(**{_READ_ONLY: True})

    async def open(self) -> None:
        """Make the file (0600) where there is none and bring its schema up to date.

        Raises: StoreError when it cannot be had, or was written by a newer Sallyport.
        """
        try:
            await asyncio.to_thread(_make_private, self.path)
            await asyncio.to_thread(upgrade, self.path)
        except (OSError, sqlite3.DatabaseError, SQLAlchemyError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreError(f"store `{self.path}` cannot be opened: {reason}") from error

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that only reads, on one state of the store."""
        async with self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes; commits at the end, rolls back on any exception."""
        async with self.engine.begin() as connection:
            yield connection


def _make_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    raw: Any = connection
    raw.isolation_level = None
    cursor = raw.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}")
    cursor.close()


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
