"""Browser sessions as they are kept: by the hash of a cookie, and what a provider gave sealed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.store.control_schema import browser_sessions, tokens
from sallyport.store.database import Database

MAXIMUM_SESSIONS: Final = 20
"""Browser sessions of one subject; the oldest goes first."""

STEP: Final = 60.0
"""Seconds in which a use is not noted again."""

_COLUMNS = browser_sessions.c


class Given(Struct, frozen=True):
    """What a provider gave, as it is sealed. `refresh_token` empty: none."""

    refresh_token: str
    id_token: str

    def __repr__(self) -> str:
        return "Given(...)"


class BrowserSession(Struct, frozen=True):
    """One of them. `digest` is the cookie's hash, `state` that of the attempt; `client` names the
    provider, `sub` is its name of who that is and `sid` of the login. Times in epoch seconds."""

    digest: bytes
    state: bytes
    token: str
    client: str
    issuer: str
    sub: str
    sid: str | None
    nonce: str
    sealed: bytes
    begun: float
    ends: float
    used: float


async def keep(database: Database, session: BrowserSession, audit: Callable[[], None]) -> bool:
    """Put a new session on record; False: its attempt began one already."""
    values = msgspec.structs.asdict(session)
    mine = (_COLUMNS.issuer == session.issuer) & (_COLUMNS.sub == session.sub)
    newest = select(_COLUMNS.digest).where(mine).order_by(_COLUMNS.begun.desc())
    try:
        async with database.write() as connection:
            await connection.execute(insert(browser_sessions).values(values))
            lasting = newest.limit(MAXIMUM_SESSIONS)
            old = mine & _COLUMNS.digest.not_in(lasting)
            await connection.execute(delete(browser_sessions).where(old))
            audit()
    except IntegrityError:
        return False
    return True


async def find(database: Database, digest: bytes) -> BrowserSession | None:
    """Return a session, or None."""
    query = select(browser_sessions).where(_COLUMNS.digest == digest)
    async with database.read() as connection:
        row = (await connection.execute(query)).first()
    return None if row is None else BrowserSession(**row._mapping)


async def stands(connection: AsyncConnection, session: BrowserSession) -> bool:
    """Whether a session is there, and its token not taken back, as this transaction sees it."""
    query = select(tokens.c.id).join(browser_sessions, tokens.c.id == _COLUMNS.token)
    found = await connection.execute(
        query.where(_COLUMNS.digest == session.digest, tokens.c.revoked.is_(None))
    )
    return found.first() is not None


async def note_use(database: Database, session: BrowserSession, now: float) -> None:
    """Remember that a session was used."""
    if abs(now - session.used) >= STEP:
        await _set(database, session.digest, used=now)


async def put(database: Database, digest: bytes, token: str, sealed: bytes) -> bool:
    """Put what was renewed in the place of what was there; False: the session is gone."""
    return await _set(database, digest, token=token, sealed=sealed)


async def forget(database: Database, digest: bytes) -> None:
    """End a session."""
    async with database.write() as connection:
        await connection.execute(delete(browser_sessions).where(_COLUMNS.digest == digest))


async def prune(database: Database, now: float, idle: float) -> None:
    """Forget what is over."""
    over = or_(_COLUMNS.ends <= now, _COLUMNS.used < now - idle - STEP)
    async with database.write() as connection:
        await connection.execute(delete(browser_sessions).where(over))


async def _set(database: Database, digest: bytes, **values: object) -> bool:
    async with database.write() as connection:
        done = await connection.execute(
            update(browser_sessions).where(_COLUMNS.digest == digest).values(**values)
        )
        return bool(done.rowcount)
