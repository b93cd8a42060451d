"""What has ended at issuers: whose JWTs and sessions a logout ends, and whose it has ended.

Where a logout names a login, and a token does not say which one it came of, the token counts as one
of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import or_, select

from sallyport.core.subject import Subject
from sallyport.identity import claims as read
from sallyport.store.control_schema import logouts
from sallyport.store.database import Database

KEPT: Final = 90 * 86400.0
"""Seconds that a logout is remembered: longer than an issuer's tokens are in force."""


class Logout(Struct, frozen=True):
    """What ended at an issuer: all of a subject, or one login (`session`); one of them is there."""

    issuer: str
    subject: str | None
    session: str | None

    def ends(self, issuer: str, claims: Mapping[str, Any]) -> bool:
        """Whether a JWT of `issuer` with these claims came of what has ended."""
        if issuer != self.issuer:
            return False
        return self.names(claims.get("sub"), claims.get("sid"))

    def names(self, subject: object, session: object) -> bool:
        """Whether this is about a JWT with this `sub` and `sid`."""
        if self.session is not None and session == self.session:
            return True
        mine = self.subject is not None and subject == self.subject
        return mine and (self.session is None or session is None)


def came_of(subject: Subject, logout: Logout) -> bool:
    """Whether `subject` came with a JWT that `logout` ends."""
    return logout.ends(subject.issuer, subject.claims)


async def is_logged_out(database: Database, issuer: str, claims: Mapping[str, Any]) -> bool:
    """Whether a JWT of `issuer` with these claims came of what has ended there.

    What names a login counts whenever the JWT was made: it may have been had anew with what was
    left of that login. FAILS CLOSED: a JWT without `iat` is one of before.
    """
    subject, session = read.subject_identifier(claims), read.session_name(claims)
    issued = read.instant(claims, "iat")
    columns, named_by = logouts.c, []
    if subject is not None:
        named_by.append(logouts.c.subject == subject)
    if session is not None:
        named_by.append(logouts.c.session == session)
    if not named_by:
        return False
    query = select(columns.subject, columns.session, columns.at).where(
        columns.issuer == issuer, or_(*named_by)
    )
    async with database.read() as connection:
        for named, ended, at in await connection.execute(query):
            if not Logout(issuer, named, ended).names(subject, session):
                continue
            if (ended is not None and ended == session) or issued is None or issued <= at:
                return True
    return False
