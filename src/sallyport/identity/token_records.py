"""Records of tokens: what is known of one without its secret, and whom it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.subject import Subject
from sallyport.identity.names import in_networks
from sallyport.identity.origins import Origin
from sallyport.identity.revocations import ISSUED
from sallyport.store.control_schema import tokens

ISSUER: Final = "sallyport"
"""What `Subject.issuer` says of those for whom somebody made a token here."""


class TokenRecord(Struct, frozen=True):
    """What is known of a token, without its secret. Times in epoch seconds; None: unbounded.

    `home` is the issuer of the JWT that it was given for; empty: nobody but the gateway's own.
    """

    id: str
    name: str
    subject: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    owner: str
    targets: tuple[str, ...] | None
    sources: tuple[str, ...] | None
    created: float
    expires: float
    revoked: float | None = None
    used: float | None = None
    via: str = ""
    account: str | None = None
    account_key: str | None = None
    actors: tuple[str, ...] = ()
    claims: dict[str, Any] = {}
    home: str = ""

    def state(self, now: float) -> str:
        """Return `live`, `revoked` or `expired`."""
        if self.revoked is not None:
            return "revoked"
        return "live" if now < self.expires else "expired"


class Given(Struct, frozen=True):
    """Why a token is given: `via` exchange, sign-in or client-credentials by the gateway itself,
    break-glass by somebody for emergencies.

    `account` and `account_key` are the service account and its key; `actors` and `claims` are the
    chain and the claims of the JWT that was exchanged, so that what a rule says of claims is said
    of the token as well; `origins` are that JWT and its actor's.
    """

    via: str
    account: str | None = None
    account_key: str | None = None
    actors: tuple[str, ...] = ()
    claims: dict[str, Any] = {}
    origins: tuple[Origin, ...] = ()


def taken_from(record: TokenRecord, source: str) -> bool:
    """Whether a token counts where it is shown from."""
    return record.sources is None or in_networks(source, record.sources)


def is_own(subject: Subject) -> bool:
    """Whether somebody came with a token of the gateway's own, whoever their issuer is."""
    return not subject.token.startswith(ISSUED)


def subject_of(record: TokenRecord) -> Subject:
    """Return the subject that a token stands for. Who is known by an issuer stays its: by the same
    name at another one it is somebody else."""
    return Subject(
        name=record.subject,
        groups=record.groups,
        issuer=record.home or ISSUER,
        token=record.id,
        expires=record.expires,
        claims=record.claims,
        owner=record.owner,
        actors=record.actors,
        roles=record.roles,
    )


def details_of(
    record: TokenRecord, origin: dict[str, Any], origins: Sequence[Origin]
) -> dict[str, Any]:
    """Return what is audited of a new token; `origin`: what it was given for, if anything."""
    details = {"subject": record.subject, "groups": list(record.groups), "expires": record.expires}
    details |= {"roles": list(record.roles), "owner": record.owner}
    details |= {key: value for key, value in origin.items() if value and key != "claims"}
    details |= {"origins": [f"{one.issuer} {one.jwt}" for one in origins]} if origins else {}
    return details | ({"targets": record.targets, "sources": record.sources} if origin else {})


async def find_record(connection: AsyncConnection, identifier: str) -> TokenRecord | None:
    """Return what is known of a token, or None."""
    row = (await connection.execute(select(tokens).where(tokens.c.id == identifier))).first()
    return None if row is None else record_of(row)


def record_of(row: Row[Any]) -> TokenRecord:
    """Return a row of `tokens` as a record."""
    values = {field: getattr(row, field) for field in TokenRecord.__struct_fields__}
    for field in ("groups", "roles", "targets", "sources", "actors"):
        values[field] = None if values[field] is None else tuple(values[field])
    return TokenRecord(**values)
