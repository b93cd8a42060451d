"""Origins: which JWTs a token was exchanged for, its subject's and its actor's.

What ends such a JWT ends the token: a revocation of it, a logout of its login, an issuer that is
trusted no more. INVARIANT: an actor's JWT counts as its subject's does, since the token is worth
nothing without either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, and_, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.subject import Subject
from sallyport.identity.claims import session_name, subject_identifier
from sallyport.store.control_schema import token_origins, tokens

_COLUMNS = token_origins.c


class Origin(Struct, frozen=True):
    """One JWT that was shown: its issuer, its id here, its `sub` and `sid`; `acting`: an actor's.

    `sub` and `sid` are what its issuer tells of a logout by.
    """

    issuer: str
    jwt: str
    subject: str | None
    session: str | None
    acting: bool = False


def origin_of(subject: Subject, *, acting: bool = False) -> Origin:
    """Return the origin that a subject is who came with a JWT."""
    claims = subject.claims
    return Origin(
        subject.issuer, subject.token, subject_identifier(claims), session_name(claims), acting
    )


async def keep(connection: AsyncConnection, token: str, origins: Iterable[Origin]) -> None:
    """Put the origins of a new token on record."""
    rows: list[dict[str, Any]] = [{"token": token, **msgspec.to_builtins(one)} for one in origins]
    if rows:
        await connection.execute(insert(token_origins), rows)


async def own_jwt(connection: AsyncConnection, token: str) -> str | None:
    """Return the id of the JWT that a token's subject came with, or None."""
    mine = (_COLUMNS.token == token) & ~_COLUMNS.acting
    found = await connection.scalar(select(_COLUMNS.jwt).where(mine))
    return None if found is None else str(found)


def by_jwt(jwt: str) -> ColumnElement[bool]:
    """Return which tokens were exchanged for this JWT."""
    return _with(_COLUMNS.jwt == jwt)


def by_others(trusted: Collection[str]) -> ColumnElement[bool]:
    """Return which tokens were exchanged for JWTs of issuers that are not `trusted`."""
    return _with(_COLUMNS.issuer.not_in(list(trusted)))


def by_subject(issuer: str, subject: str) -> ColumnElement[bool]:
    """Return which tokens stand for this `sub` itself, whoever acts for it."""
    return _with((_COLUMNS.issuer == issuer) & (_COLUMNS.subject == subject) & ~_COLUMNS.acting)


def by_login(issuer: str, subject: str | None, session: str | None) -> ColumnElement[bool]:
    """Return which tokens came of what ended at an issuer (see `logouts.Logout.names`)."""
    which = []
    if session is not None:
        which.append(_COLUMNS.session == session)
    if subject is not None:
        mine: ColumnElement[bool] = _COLUMNS.subject == subject
        if session is not None:
            mine = and_(mine, _COLUMNS.session.is_(None))
        which.append(mine)
    return _with(and_(_COLUMNS.issuer == issuer, or_(*which)))


def _with(origin: ColumnElement[bool]) -> ColumnElement[bool]:
    return tokens.c.id.in_(select(_COLUMNS.token).where(origin))
