"""The store opens privately, brings itself up to date, and serialises what writes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, select, update
from sqlalchemy.exc import IntegrityError

import sallyport.store.control_schema as schema
import sallyport.store.recording_schema as recording
from sallyport.identity.secrets import digest_secret, new_secret, parse_secret
from sallyport.identity.tokens import TokenService
from sallyport.store import migrate
from sallyport.store.database import Database
from sallyport.store.errors import StoreError


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "state" / "store.db")
    await database.open()
    yield database
    await database.close()


async def test_the_file_and_its_folder_are_private(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(schema.revocations.insert().values(kind="all", value="", at=1.0))
    assert database.path.parent.stat().st_mode & 0o777 == 0o700
    for file in database.path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def check_tables(path: Path) -> None:
    assert {table.name for table in recording.TABLES} <= schema.metadata.tables.keys()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


async def test_migrations_make_exactly_the_tables_that_the_code_uses(database: Database) -> None:
    check_tables(database.path)


def test_the_newest_revision_is_the_one_that_is_looked_for() -> None:
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    assert scripts.get_heads() == [migrate.head()]


async def test_opening_again_keeps_what_is_there(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(schema.revocations.insert().values(kind="all", value="", at=7.0))
    await database.close()
    again = Database(database.path)
    await again.open()
    async with again.read() as connection:
        assert await connection.scalar(select(schema.revocations.c.at)) == 7.0
    await again.close()


async def test_a_store_of_before_the_blocks_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the full-text search that its index made for itself; what it lists stays."""
    path, whole = tmp_path / "store.db", command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: whole(config, "0002"))
        migrate.upgrade(path)
    with sqlite3.connect(path) as raw:
        raw.executescript(
            """
            CREATE VIRTUAL TABLE recording_text USING fts5(
                text, content='recording_texts', content_rowid='id', tokenize='trigram');
            CREATE TRIGGER recording_text_remove AFTER DELETE ON recording_texts BEGIN
                INSERT INTO recording_text(recording_text, rowid, text)
                VALUES ('delete', old.id, old.text); END;
            INSERT INTO recording_texts VALUES (1, 'SELECT 1');
            INSERT INTO recording_text(rowid, text) SELECT id, text FROM recording_texts;
            INSERT INTO recording_operations VALUES (1, 's-1', 1, 1.0, 1, 1, '', '', '', 0, 0, 0);
            INSERT INTO recording_shapes VALUES (1, 'select', 'read', 'allow', '[]', '', '[]');
            """
        )
    raw.close()
    database = Database(path)
    await database.open()
    with sqlite3.connect(path) as raw:
        left = {name for (name,) in raw.execute("SELECT name FROM sqlite_master")}
        assert raw.execute("SELECT verb FROM recording_shapes").fetchall() == [("select",)]
    raw.close()
    assert not [name for name in left if name.startswith(("recording_text", "recording_oper"))]
    check_tables(path)
    await database.close()


async def test_tokens_of_before_the_verifiers_stay_and_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = tmp_path / "store.db", command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: whole(config, "0006"))
        migrate.upgrade(path)
    _, secret = new_secret()
    identifier, digest = parse_secret(secret), digest_secret(secret)
    with sqlite3.connect(path) as raw:
        raw.execute(
            "INSERT INTO tokens (id, name, subject, groups, roles, owner, digest, created, expires)"
            " VALUES (?, 'old', 'agent-1', '[]', '[]', '', ?, 1.0, 9e9)",
            (identifier, digest),
        )
    raw.close()
    database = Database(path)
    await database.open()
    tokens = TokenService(database, lambda _: None)
    subject = await tokens.check(secret, "127.0.0.1")
    assert subject is not None and subject.name == "agent-1"
    assert await tokens.verifier(subject.token) is None
    check_tables(path)
    await database.close()


async def test_of_sessions_of_before_it_is_not_known_what_they_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = tmp_path / "store.db", command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: whole(config, "0012"))
        migrate.upgrade(path)
    plain = {"JSON": "[]", "FLOAT": 1.0, "INTEGER": 1, "BOOLEAN": 0}
    with sqlite3.connect(path) as raw:
        for table in ("recording_sessions", "recording_audit"):
            columns = raw.execute(f"PRAGMA table_info({table})").fetchall()
            values = [plain.get(kind, "x") for _, _, kind, *_ in columns]
            raw.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
    raw.close()
    database = Database(path)
    await database.open()
    async with database.read() as connection:
        (session,) = await connection.execute(select(recording.sessions))
        (audit,) = await connection.execute(select(recording.audit))
    assert (session.subject, session.task, session.purpose) == ("x", None, None)
    assert (audit.actor, audit.actors) == ("x", [])
    check_tables(path)
    await database.close()


async def test_a_store_of_a_newer_version_is_refused(database: Database) -> None:
    with sqlite3.connect(database.path) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == (
            migrate.head(),
        )
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(StoreError, match="cannot be brought up to date"):
        await Database(database.path).open()


async def test_fifty_that_read_before_they_write_lose_nothing(database: Database) -> None:
    table = schema.spending
    key = {"subject": "s", "target": "t", "quota": "q", "slot": 1}
    async with database.write() as connection:
        await connection.execute(table.insert().values(amount=0, **key))

    async def add_one() -> None:
        async with database.write() as connection:
            amount = await connection.scalar(select(table.c.amount)) or 0
            await asyncio.sleep(0)
            await connection.execute(update(table).values(amount=amount + 1))

    await asyncio.gather(*(add_one() for _ in range(50)))
    async with database.read() as connection:
        assert await connection.scalar(select(table.c.amount)) == 50


async def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    row = {"kind": "all", "value": "", "at": 1.0}
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await connection.execute(schema.revocations.insert().values(**row))
            await connection.execute(schema.revocations.insert().values(**row))
    async with database.read() as connection:
        assert (await connection.execute(select(schema.revocations))).all() == []


async def test_foreign_keys_are_enforced(database: Database) -> None:
    vote = {"approval": "none", "person": "a", "name": "a", "owner": "", "actors": [], "yes": True}
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await connection.execute(schema.votes.insert().values(reason="", at=1.0, **vote))
