"""The newest login of each subject: what it does not give any more, no earlier JWT gives either.

A provider takes a group away, and the person logs in again: what earlier logins gave is withdrawn
(`tokens.demote`), and an ID token of before, which may be in force for an hour, must not bring it
back.
"""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.subject import Subject
from sallyport.identity.claims import instant, subject_identifier
from sallyport.store.control_schema import logins
from sallyport.store.database import Database


async def note_login(connection: AsyncConnection, subject: Subject) -> None:
    """Remember what a login gave, unless a newer one is known. Its JWT has been checked."""
    sub, issued = subject_identifier(subject.claims), instant(subject.claims, "iat")
    if sub is None or issued is None:
        return
    values = {"at": issued, "groups": list(subject.groups), "roles": list(subject.roles)}
    statement = insert(logins).values(issuer=subject.issuer, subject=sub, **values)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["issuer", "subject"], set_=values, where=logins.c.at <= issued
        )
    )


async def prune_logins(database: Database, before: float) -> None:
    """Forget logins of before an instant: no JWT of theirs is in force."""
    async with database.write() as connection:
        await connection.execute(delete(logins).where(logins.c.at < before))


async def is_outdated(database: Database, subject: Subject) -> bool:
    """Whether a newer login of `subject` gives less than its JWT does.

    FAILS CLOSED: a JWT that does not say when it was made counts as one of before.
    """
    sub = subject_identifier(subject.claims)
    if sub is None:
        return False
    mine = (logins.c.issuer == subject.issuer) & (logins.c.subject == sub)
    async with database.read() as connection:
        query = select(logins.c.at, logins.c.groups, logins.c.roles).where(mine)
        row = (await connection.execute(query)).first()
    if row is None or (instant(subject.claims, "iat") or 0.0) >= row.at:
        return False
    return not (set(subject.groups) <= set(row.groups) and set(subject.roles) <= set(row.roles))
