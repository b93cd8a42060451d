"""Approval requests as rows of the store, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.approvals.requests import ApprovalRequest, State, Vote
from sallyport.store.control_schema import approvals, votes
from sallyport.store.sealed_text import SealedText

_SEQUENCES = ("actors", "groups", "resources", "facts", "parameters", "rules", "approvers")
_FIELDS = tuple(f for f in ApprovalRequest.__struct_fields__ if f != "votes")


async def load(
    connection: AsyncConnection, identifier: str, sealed: SealedText
) -> ApprovalRequest | None:
    """Return one request with its votes, or None."""
    query = select(approvals).where(approvals.c.id == identifier)
    found = await load_all(connection, query, sealed)
    return found[0] if found else None


async def load_all(
    connection: AsyncConnection, query: Select[tuple[Any, ...]], sealed: SealedText
) -> list[ApprovalRequest]:
    """Return the requests that `query` over the table selects, with their votes."""
    rows = (await connection.execute(query)).all()
    cast: dict[str, list[Vote]] = {row.id: [] for row in rows}
    if cast:
        order = select(votes).where(votes.c.approval.in_(cast)).order_by(votes.c.at)
        for row in await connection.execute(order):
            cast[row.approval].append(
                Vote(row.name, row.owner, tuple(row.actors), row.yes, row.reason, row.at)
            )
    return [_request(row, cast[row.id], sealed) for row in rows]


async def store(connection: AsyncConnection, request: ApprovalRequest, sealed: SealedText) -> None:
    """Write a new request; its statement and parameters as `sealed` says."""
    await connection.execute(insert(approvals).values(**_values(request, sealed)))


async def move(
    connection: AsyncConnection, before: ApprovalRequest, after: ApprovalRequest
) -> bool:
    """Write `after` in the place of a pending `before`; False when that is not there any more.

    INVARIANT: compare-and-set on state and version, so that of two answers one wins.
    """
    done = await connection.execute(
        update(approvals)
        .where(
            approvals.c.id == before.id,
            approvals.c.state == State.PENDING.value,
            approvals.c.version == before.version,
        )
        .values(
            state=after.state.value,
            version=after.version,
            settled=after.settled,
            settled_reason=after.settled_reason,
        )
    )
    return done.rowcount == 1


async def add_vote(connection: AsyncConnection, request: str, vote: Vote, who: str) -> None:
    """Write one vote; `who` is the person in the form in which spellings are equal."""
    await connection.execute(
        insert(votes).values(
            approval=request,
            person=who,
            name=vote.name,
            owner=vote.owner,
            actors=vote.actors,
            yes=vote.yes,
            reason=vote.reason,
            at=vote.at,
        )
    )


def _values(request: ApprovalRequest, sealed: SealedText) -> dict[str, Any]:
    values: dict[str, Any] = {field: getattr(request, field) for field in _FIELDS}
    values["state"] = request.state.value
    values["text"] = sealed.seal(request.text)
    values["rewritten"] = sealed.seal(request.rewritten)
    values["parameters"] = [sealed.seal(parameter) for parameter in request.parameters]
    return values


def _request(row: Row[Any], cast: Iterable[Vote], sealed: SealedText) -> ApprovalRequest:
    values: dict[str, Any] = {field: getattr(row, field) for field in _FIELDS}
    for field in _SEQUENCES:
        stored: Sequence[str] = values[field]
        values[field] = tuple(stored)
    values["text"] = sealed.open(row.text)
    values["rewritten"] = sealed.open(row.rewritten) if row.rewritten else ""
    values["masks"] = bytes(row.masks)
    values["parameters"] = tuple(sealed.open(parameter) for parameter in row.parameters)
    values["state"] = State(row.state)
    values["digest"] = bytes(row.digest)
    return ApprovalRequest(**values, votes=tuple(cast))
