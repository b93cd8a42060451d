"""Revocations of what others issued: a JWT or a certificate is not recalled, but refused here.

One is refused when it was named itself, or when it was issued before its subject (or everybody)
was revoked. FAILS CLOSED: a JWT without `iat` is then refused too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.store.control_schema import revocations
from sallyport.store.database import Database

ISSUED: Final = ("jwt-", "crt-")
"""How the ids of JWTs and of certificates begin: no id of a token of the gateway's own does."""


class Revocation(Struct, frozen=True):
    """What was revoked: a token's `id`, everything of a `subject`, or `all`."""

    kind: str
    value: str
    at: float


async def revoke_issued(connection: AsyncConnection, kind: str, value: str, at: float) -> None:
    """Note that issuers' tokens are refused from now on, in the caller's transaction."""
    if kind == "id" and not value.startswith(ISSUED):
        return
    row = {"kind": kind, "value": "" if kind == "all" else value, "at": at}
    statement = insert(revocations).values(row)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["kind", "value"], set_={"at": at})
    )


async def is_revoked(
    database: Database, token: str, names: Sequence[str], issued: float | None
) -> bool:
    """Whether an issuer's token, made at `issued`, was revoked here, itself or by a name.

    `names`: its subject, and whoever acts for that.
    """
    columns = revocations.c
    query = select(columns.kind, columns.at).where(
        ((columns.kind == "id") & (columns.value == token))
        | ((columns.kind == "subject") & columns.value.in_(list(names)))
        | (columns.kind == "all")
    )
    async with database.read() as connection:
        for kind, at in await connection.execute(query):
            if kind == "id" or issued is None or issued <= at:
                return True
    return False
