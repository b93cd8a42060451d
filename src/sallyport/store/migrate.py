"""Bringing a store's schema up to date, with Alembic, before anything else opens it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from sallyport.store.errors import StoreError

_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(path: Path) -> None:
    """Run every migration that the store at `path` has not seen, each in its own transaction.

    Raises: StoreError when the store is newer than this code, so that nothing is half understood.
    """
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


def head() -> str:
    """Return the newest revision that this code knows."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return ScriptDirectory.from_config(config).get_current_head() or ""
