"""Grants: access that is asked for, answered by people, and over at its instant.

Every change is one transaction that compares before it sets, is audited before it is committed,
and is told to whoever listens after. What is pending or in force is kept in memory too, so that
access is decided without waiting. INVARIANT: memory follows the commit before anybody is told, so
that a session is either not given any more, or is there to be ended; and before anything else is
changed, so that no revocation passes over a grant that was made a moment ago.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Row, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.approvals import access
from sallyport.approvals.access import AccessRequest, AccessState
from sallyport.approvals.requests import Owners, Vote, may_answer, nobody
from sallyport.core.event import Audited
from sallyport.core.identifiers import new_identifier
from sallyport.core.subject import Refused, Subject
from sallyport.core.visible import visible
from sallyport.store.control_schema import access_requests
from sallyport.store.database import Database

MAXIMUM_REASON: Final = 1000
"""Characters of why somebody asks, and of why somebody answers so."""
MAXIMUM_PENDING: Final = 20
"""Requests of one subject that wait at one time."""
MAXIMUM_LIVE: Final = 10_000
"""Requests that wait, and grants in force, of everybody."""
SHORTEST: Final = 60.0
"""Seconds of the shortest grant."""

_GATEWAY: Final = "sallyport"
_FIELDS: Final = AccessRequest.__struct_fields__
_SEQUENCES: Final = ("actors", "groups", "approvers")
_LIVE: Final = (AccessState.PENDING, AccessState.APPROVED)
_UNKNOWN: Final = "there is no access request `{}`"


class Wish(Struct, frozen=True):
    """What is asked for, under the terms of one access rule. `duration` and `wait` in seconds."""

    subject: Subject
    target: str
    database: str
    login: str
    why: str
    duration: float
    rule: str
    approvers: tuple[str, ...]
    people: int
    wait: float


_Changing = tuple[AsyncConnection, list[AccessRequest]]


class AccessService:
    """Opens, answers, lists and ends access requests, and tells which give access now.

    `owners`: who has tokens of a subject's name.
    """

    def __init__(
        self,
        database: Database,
        audit: Callable[[Audited], None],
        clock: Callable[[], float] = time.time,
        owners: Owners = nobody,
    ) -> None:
        self._database = database
        self._owners = owners
        self._audit = audit
        self._clock = clock
        self._live: dict[str, AccessRequest] = {}
        self._one = asyncio.Lock()
        self._due = math.inf
        self._listeners: list[Callable[[AccessRequest], None]] = []

    def listen(self, listener: Callable[[AccessRequest], None]) -> None:
        """Call `listener` with the request after each change of it was committed."""
        self._listeners.append(listener)

    async def load(self) -> None:
        """Bring back what waits and what is in force. Call it once, before anything else."""
        wanted = access_requests.c.state.in_([state.value for state in _LIVE])
        async with self._database.read() as connection:
            found = await _load(connection, select(access_requests).where(wanted))
        self._live = {request.id: request for request in found}
        self._due = -math.inf
        await self.expire_due()

    def given(
        self, subject: Subject, target: str, database: str, login: str
    ) -> list[AccessRequest]:
        """Return the grants of this very access that are in force, the longest first."""
        now = self._clock()
        found = [
            request
            for request in self._live.values()
            if request.gives(now)
            and request.is_for(subject.name, subject.issuer, target, database, login)
        ]
        return sorted(found, key=lambda request: request.ends or 0.0, reverse=True)

    async def open(self, wish: Wish) -> AccessRequest | Refused:
        """Put a wish on record as waiting. The same one that waits already is returned as it is."""
        wrong = _problem(wish)
        if wrong is not None:
            return wrong
        subject, now = wish.subject, self._clock()
        async with self._changing() as (connection, changed):
            own = [
                request
                for request in self._live.values()
                if request.state is AccessState.PENDING
                and (request.subject, request.issuer) == (subject.name, subject.issuer)
                and now < request.expires
            ]
            for waiting in own:
                if _same(waiting, wish):
                    return waiting
            if len(own) >= MAXIMUM_PENDING or len(self._live) >= MAXIMUM_LIVE:
                return Refused(
                    "too many requests wait for an answer", "withdraw one, or wait for its answer"
                )
            request = _request(wish, now)
            await connection.execute(insert(access_requests).values(**_values(request)))
            details = {"why": request.why, "for": request.duration, "rule": request.rule}
            self._emit(subject.name, "access-requested", request, details, subject)
            changed.append(request)
        return request

    async def answer(
        self, identifier: str, actor: Subject, yes: bool, reason: str = ""
    ) -> AccessRequest | Refused:
        """Count one person's answer; return the request as it then stands, or why not."""
        reason = visible(reason.strip()[:MAXIMUM_REASON])
        asked = await self.show(identifier)
        owners = await self._owners(asked.subject) if asked is not None else ()

        def change(before: AccessRequest, now: float) -> AccessRequest | Refused:
            if before.state is not AccessState.PENDING:
                return Refused(f"{before.id} is {before.state.value} already")
            refused = may_answer(before, actor, owners)
            if refused is not None:
                return refused
            return access.voted(
                before, Vote(actor.name, actor.owner, actor.actors, yes, reason, now)
            )

        action = "access-approved" if yes else "access-denied"
        return await self._change(identifier, actor, action, reason, change)

    async def withdraw(self, identifier: str, actor: Subject) -> AccessRequest | Refused:
        """Ask no more, by who asked."""

        def change(before: AccessRequest, now: float) -> AccessRequest | Refused:
            if (before.subject, before.issuer) != (actor.name, actor.issuer):
                return Refused(_UNKNOWN.format(visible(identifier[:64])))
            if before.state is not AccessState.PENDING:
                return Refused(f"{before.id} is {before.state.value} already")
            return access.withdrawn(before, now, actor.name, "")

        return await self._change(identifier, actor, "access-withdrawn", "", change)

    async def revoke(
        self, identifier: str, actor: Subject, reason: str = ""
    ) -> AccessRequest | Refused:
        """Take a grant back: by who has it, by who could have said no, by administrators."""
        reason = visible(reason.strip()[:MAXIMUM_REASON])

        def change(before: AccessRequest, now: float) -> AccessRequest | Refused:
            own = (before.subject, before.issuer) == (actor.name, actor.issuer)
            asked = "approver" in actor.roles and set(actor.groups) & set(before.approvers)
            if not (own or asked or "admin" in actor.roles):
                return Refused(_UNKNOWN.format(visible(identifier[:64])))
            if before.state is not AccessState.APPROVED:
                return Refused(f"{before.id} is {before.state.value}: there is nothing to revoke")
            return access.revoked(before, now, actor.name, reason)

        return await self._change(identifier, actor, "access-revoked", reason, change)

    async def revoke_all(self, subject: str | None, actor: str, reason: str) -> int:
        """End whatever a subject (None: everybody) has, or asked for in another's name; return how
        many."""
        now = self._clock()
        async with self._changing() as (connection, ended):
            for before in list(self._live.values()):
                if subject is not None and subject not in (before.subject, *before.actors):
                    continue
                after = access.withdrawn(access.revoked(before, now, actor, reason), now, actor, "")
                if await _move(connection, before, after):
                    self._emit(actor, f"access-{after.state.value}", after, {"reason": reason})
                    ended.append(after)
        return len(ended)

    async def show(self, identifier: str) -> AccessRequest | None:
        """Return one request, or None."""
        query = select(access_requests).where(access_requests.c.id == identifier)
        async with self._database.read() as connection:
            found = await _load(connection, query)
        return access.at(found[0], self._clock()) if found else None

    async def list(
        self,
        states: Sequence[AccessState] = (),
        *,
        subject: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[AccessRequest]:
        """Return requests, newest first; `before`: older than the one with this id."""
        query = select(access_requests).order_by(access_requests.c.id.desc())
        query = query.limit(max(1, min(limit, 1000)))
        if states:
            query = query.where(access_requests.c.state.in_([state.value for state in states]))
        if subject is not None:
            query = query.where(access_requests.c.subject == subject)
        if before is not None:
            query = query.where(access_requests.c.id < before)
        async with self._database.read() as connection:
            return await _load(connection, query)

    async def expire_due(self) -> int:
        """End what is past its time; return how many. Called several times a second."""
        now = self._clock()
        if now < self._due:
            return 0
        count = 0
        for before in list(self._live.values()):
            after = access.at(before, now)
            if after is before:
                continue
            async with self._changing() as (connection, ended):
                if await _move(connection, before, after):
                    self._emit(_GATEWAY, f"access-{after.state.value}", after, {})
                    ended.append(after)
                    count += 1
        self._due = min(map(_next_due, self._live.values()), default=math.inf)
        return count

    # --- inside

    async def _change(
        self,
        identifier: str,
        actor: Subject,
        action: str,
        reason: str,
        change: Callable[[AccessRequest, float], AccessRequest | Refused],
    ) -> AccessRequest | Refused:
        """Change one live request in one transaction. What is past its time ends before that."""
        await self.expire_due()
        query = select(access_requests).where(access_requests.c.id == identifier)
        async with self._changing() as (connection, changed):
            found = await _load(connection, query)
            if not found:
                return Refused(_UNKNOWN.format(visible(identifier[:64])))
            now = self._clock()
            before = found[0]
            if access.at(before, now) is not before:
                return Refused(f"{before.id} is over")
            after = change(before, now)
            if isinstance(after, Refused):
                return after
            if not await _move(connection, before, after):
                raise LookupError(f"{before.id} changed inside its transaction")
            details = {"reason": reason, "state": after.state.value}
            self._emit(actor.name, action, after, details, actor)
            changed.append(after)
        return after

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[_Changing]:
        """Open the one transaction that changes something, and take what it changed.

        The next one begins when memory has it, and not already at the commit.
        """
        async with self._one:
            async with self._database.write() as connection:
                opened: _Changing = connection, []
                yield opened
            for request in opened[1]:
                self._keep(request)

    def _keep(self, request: AccessRequest) -> None:
        if request.state in _LIVE:
            self._live[request.id] = request
            self._due = min(self._due, _next_due(request))
        else:
            self._live.pop(request.id, None)
        for listener in self._listeners:
            listener(request)

    def _emit(
        self,
        actor: str,
        action: str,
        request: AccessRequest,
        details: dict[str, Any],
        by: Subject | None = None,
    ) -> None:
        details = {
            "subject": request.subject, "target": request.target, "login": request.login,
            "ends": request.ends, **details,
        }  # fmt: skip
        if by is not None:
            details |= {"issuer": by.issuer, "token": by.token}
        actors = () if by is None else by.actors
        self._audit(Audited("", self._clock(), actor, action, request.id, details, actors))


def _problem(wish: Wish) -> Refused | None:
    if not wish.why.strip():
        return Refused("why the access is needed is missing", "say it: whoever answers reads it")
    if len(wish.why) > MAXIMUM_REASON:
        return Refused(f"the reason is longer than {MAXIMUM_REASON} characters", "say it shorter")
    if not SHORTEST <= wish.duration < math.inf:
        return Refused("access is given for a minute at least", "ask for longer")
    if not wish.approvers or wish.people < 1:
        return Refused("nobody can approve this: the rule names no approvers")
    return None


def _same(waiting: AccessRequest, wish: Wish) -> bool:
    asked = wish.subject
    return (
        waiting.is_for(asked.name, asked.issuer, wish.target, wish.database, wish.login)
        and waiting.why == visible(wish.why.strip())
        and (waiting.duration, waiting.rule) == (wish.duration, wish.rule)
        and (waiting.owner, waiting.actors) == (asked.owner, asked.actors)
        and (waiting.approvers, waiting.people) == (wish.approvers, wish.people)
    )


def _request(wish: Wish, now: float) -> AccessRequest:
    subject = wish.subject
    return AccessRequest(
        id=new_identifier("acc"),
        state=AccessState.PENDING,
        version=1,
        subject=subject.name,
        issuer=subject.issuer,
        owner=subject.owner,
        actors=subject.actors,
        groups=subject.groups,
        target=wish.target,
        database=wish.database,
        login=wish.login,
        why=visible(wish.why.strip()),
        duration=wish.duration,
        rule=wish.rule,
        approvers=wish.approvers,
        people=wish.people,
        opened=now,
        expires=now + wish.wait,
    )


def _next_due(request: AccessRequest) -> float:
    if request.state is AccessState.PENDING:
        return request.expires
    return -math.inf if request.ends is None else request.ends


def _values(request: AccessRequest) -> dict[str, Any]:
    values: dict[str, Any] = {field: getattr(request, field) for field in _FIELDS}
    values["state"] = request.state.value
    values["votes"] = msgspec.to_builtins(request.votes)
    return values


async def _load(connection: AsyncConnection, query: Select[Any]) -> list[AccessRequest]:
    return [_read(row) for row in await connection.execute(query)]


def _read(row: Row[Any]) -> AccessRequest:
    values: dict[str, Any] = {field: getattr(row, field) for field in _FIELDS}
    for field in _SEQUENCES:
        values[field] = tuple(values[field])
    values["state"] = AccessState(row.state)
    values["votes"] = msgspec.convert(row.votes, tuple[Vote, ...])
    return AccessRequest(**values)


async def _move(connection: AsyncConnection, before: AccessRequest, after: AccessRequest) -> bool:
    """Write `after` in the place of `before`; False when that is not there any more."""
    if after is before:
        return False
    values = _values(after)
    done = await connection.execute(
        update(access_requests)
        .where(
            access_requests.c.id == before.id,
            access_requests.c.state == before.state.value,
            access_requests.c.version == before.version,
        )
        .values({name: values[name] for name in _CHANGING})
    )
    return done.rowcount == 1


_CHANGING: Final[Iterable[str]] = (
    "state", "version", "begins", "ends", "settled", "settled_by", "settled_reason", "votes",
)  # fmt: skip
