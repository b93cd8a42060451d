"""Bringing a store's schema up to date, with Alembic, before anything else opens it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from sallyport.store.errors import StoreError

_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(path: Path) -> None:
    """Run every migration that the store at `path` has not seen, each in its own transaction.

    A store that has seen them all is left alone.

    Raises: StoreError when the store is newer than this code, so that nothing is half understood.
    """
    if _revision(path) == head():
        return
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    try:
        with engine.connect() as connection:
            config = Config()
            config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(f"store `{path}` cannot be brought up to date: {error}") from error
    finally:
        engine.dispose()


def _revision(path: Path) -> str | None:
    with closing(sqlite3.connect(path)) as connection:
        try:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        except sqlite3.OperationalError:
            return None
    return str(found[0][0]) if len(found) == 1 else None


def head() -> str:
    """Return the newest revision: migrations are files named by their number, one after another."""
    return max(file.name[:4] for file in (_SCRIPTS / "versions").glob("[0-9]*_*.py"))
