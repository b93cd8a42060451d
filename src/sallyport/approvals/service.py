"""Approvals: requests that are kept, answered once, and end when their time is over.

Every change is one transaction that compares before it sets, is audited before it is committed,
and is told to whoever listens after. Timeouts deny whether or not anybody looks: by the sweep,
and again at the instant of an answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final
from weakref import WeakSet

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import and_, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.approvals import records
from sallyport.approvals.requests import (
    ApprovalRequest,
    Owners,
    State,
    Vote,
    after_time,
    after_vote,
    covers,
    may_answer,
    nobody,
    settled,
)
from sallyport.approvals.watch import Dropped, Watcher
from sallyport.core.decision import Hold
from sallyport.core.event import Audited
from sallyport.core.identifiers import new_identifier
from sallyport.core.operation import Operation, Parameter
from sallyport.core.subject import Refused, Stated, Subject
from sallyport.core.visible import person, visible
from sallyport.store.control_schema import approvals
from sallyport.store.database import Database
from sallyport.store.sealed_text import SealedText

MAXIMUM_TEXT: Final = 64 * 1024
"""Bytes of statement and parameters that a person can be asked to read; more is refused."""

MAXIMUM_REWRITTEN: Final = 256 * 1024
"""Bytes of what the target would get in its place; likewise."""

MAXIMUM_PENDING: Final = 2000
MAXIMUM_REASON: Final = 1000
_OPERATOR: Final = "sallyport"


class Question(Struct, frozen=True):
    """What is asked: the operation, who asks, where it would run. `pending`: how many may wait.

    `rewritten` and `masks` as in `ApprovalRequest`.
    """

    session: str
    subject: Subject
    operation: Operation
    hold: Hold
    database: str
    login: str
    application: str
    source: str
    expires: float
    pending: int | None = None
    rewritten: str = ""
    masks: bytes = b""
    stated: Stated = Stated()


class ApprovalService:
    """Opens, answers, lists and ends approval requests, and spends tickets.

    `key`: statements are kept encrypted under it. `owners`: who has tokens of a subject's name.
    """

    def __init__(
        self,
        database: Database,
        audit: Callable[[Audited], None],
        clock: Callable[[], float] = time.time,
        key: bytes | None = None,
        owners: Owners = nobody,
    ) -> None:
        self._database = database
        self._owners = owners
        self._sealed = SealedText(key, "approvals.text")
        self._audit = audit
        self._clock = clock
        self._due = -math.inf
        self._listeners: list[Callable[[ApprovalRequest], None]] = []
        self._watchers: WeakSet[Watcher] = WeakSet()

    def listen(self, listener: Callable[[ApprovalRequest], None]) -> None:
        """Call `listener` with the request after each change of it was committed."""
        self._listeners.append(listener)

    async def open(self, question: Question) -> ApprovalRequest | Refused:
        """Put an operation on record as waiting.

        The same session and operation again, and an identical ticket that still waits, return
        what is there. FAILS CLOSED: what a person cannot read whole is refused.
        """
        request = _describe(question, self._clock())
        if isinstance(request, Refused):
            return request
        self._due = min(self._due, request.expires)
        async with self._database.write() as connection:
            found = await self._already(connection, request)
            if found is not None:
                return found
            refused = await self._too_many(connection, request, question.pending)
            if refused is not None:
                return refused
            await records.store(connection, request, self._sealed)
            details = {"digest": request.digest.hex()}
            self._emit(request.subject, "approval-opened", request, details, request.actors)
        self._tell(request)
        return request

    async def answer(
        self, identifier: str, actor: Subject, yes: bool, reason: str = ""
    ) -> ApprovalRequest | Refused:
        """Count one person's answer; return the request as it then stands, or why not."""
        reason = visible(reason.strip()[:MAXIMUM_REASON])
        asked = await self.show(identifier)
        owners = await self._owners(asked.subject) if asked is not None else ()
        now = self._clock()
        async with self._database.write() as connection:
            before = await records.load(connection, identifier, self._sealed)
            if before is None:
                return Refused(f"there is no approval `{visible(identifier[:64])}`")
            after: ApprovalRequest = after_time(before, now)
            late = after is not before
            if before.state is not State.PENDING:
                return Refused(f"{before.id} is {before.state.value} already")
            if not late:
                refused = may_answer(before, actor, owners)
                if refused is not None:
                    return refused
                vote = Vote(actor.name, actor.owner, actor.actors, yes, reason, now)
                after = after_vote(before, vote)
                await records.add_vote(connection, before.id, vote, person(actor.name))
            if not await records.move(connection, before, after):
                raise LookupError(f"{before.id} changed inside its transaction")
            action = "expired" if late else ("approved" if yes else "denied")
            details = {"reason": reason, "state": after.state.value, "token": actor.token}
            by, actors = (_OPERATOR, ()) if late else (actor.name, actor.actors)
            self._emit(by, f"approval-{action}", after, details, actors)
        self._tell(after)
        return Refused(f"{after.id} has expired") if late else after

    async def show(self, identifier: str) -> ApprovalRequest | None:
        """Return one request, or None."""
        async with self._database.read() as connection:
            found = await records.load(connection, identifier, self._sealed)
        return None if found is None else after_time(found, self._clock())

    async def list(
        self,
        states: Sequence[State] = (),
        *,
        subject: str | None = None,
        groups: Sequence[str] | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[ApprovalRequest]:
        """Return requests, newest first. `groups`: only what these may answer; `before`: an id."""
        query = select(approvals).order_by(approvals.c.id.desc()).limit(max(1, min(limit, 1000)))
        if states:
            query = query.where(approvals.c.state.in_([state.value for state in states]))
        if subject is not None:
            query = query.where(approvals.c.subject == subject)
        if before is not None:
            query = query.where(approvals.c.id < before)
        if groups is not None:
            one = func.json_each(approvals.c.approvers).table_valued("value")
            query = query.where(exists(select(1).select_from(one).where(one.c.value.in_(groups))))
        async with self._database.read() as connection:
            return await records.load_all(connection, query, self._sealed)

    def watch(self) -> AsyncIterator[ApprovalRequest | Dropped]:
        """Return each change from now on; a `Dropped` says when a slow reader missed some."""
        watcher = Watcher()
        self._watchers.add(watcher)
        return watcher.changes()

    async def spend_ticket(self, question: Question) -> ApprovalRequest | None:
        """Spend an approved ticket for exactly this execution, or return None. Once, ever.

        INVARIANT: the same subject of the same issuer, target, database, login, digest and masks,
        the same rewritten text, within the window, and an approval that is worth what the hold
        demands now.
        """
        now, hold, subject = self._clock(), question.hold, question.subject
        query = self._tickets(
            subject,
            question.operation.target,
            question.operation.digest,
            question.masks,
            question.database,
            question.login,
            State.APPROVED,
        )
        query = query.where(approvals.c.spent.is_(None)).order_by(approvals.c.id)
        async with self._database.write() as connection:
            for request in await records.load_all(connection, query, self._sealed):
                worth = covers(request, hold.rules, hold.approvers, hold.people)
                same = request.rewritten == visible(question.rewritten)
                if not request.spendable(now) or not worth or not same:
                    continue
                done = await connection.execute(
                    update(approvals)
                    .where(approvals.c.id == request.id, approvals.c.spent.is_(None))
                    .values(spent=now)
                )
                if done.rowcount == 1:
                    self._emit(subject.name, "approval-spent", request, {}, subject.actors)
                    return replace(request, spent=now)
        return None

    async def cancel(self, identifier: str, reason: str, actor: str = _OPERATOR) -> bool:
        """End a pending request that nobody waits for any more; whether it was still pending."""
        query = select(approvals).where(approvals.c.id == identifier)
        return bool(await self._settle(query, State.CANCELLED, reason, actor))

    async def cancel_session(self, session: str, reason: str) -> int:
        """End the live holds of a session that is over; its tickets stay."""
        query = select(approvals).where(approvals.c.session == session, ~approvals.c.ticket)
        return len(await self._settle(query, State.CANCELLED, reason, _OPERATOR))

    async def expire_due(self, now: float | None = None) -> int:
        """Expire what nobody answered in time; return how many.

        This is called several times a second: before the next one is due the store is not asked.
        """
        now = self._clock() if now is None else now
        if now < self._due:
            return 0
        self._due, due = math.inf, -math.inf
        try:
            query = select(approvals).where(approvals.c.expires <= now)
            late = await self._settle(query, State.EXPIRED, "nobody answered in time", _OPERATOR)
            soonest = select(func.min(approvals.c.expires)).where(
                approvals.c.state == State.PENDING.value
            )
            async with self._database.read() as connection:
                found = await connection.scalar(soonest)
            due = math.inf if found is None else found
        finally:
            self._due = min(self._due, due)
        return len(late)

    async def recover(self) -> int:
        """After a restart: what is overdue expires, live holds end with their sessions."""
        count = await self.expire_due()
        query = select(approvals).where(~approvals.c.ticket)
        reason = "the gateway was restarted"
        return count + len(await self._settle(query, State.CANCELLED, reason, _OPERATOR))

    # --- inside

    async def _settle(
        self, query: Any, state: State, reason: str, actor: str
    ) -> Sequence[ApprovalRequest]:
        pending = query.where(approvals.c.state == State.PENDING.value)
        async with self._database.read() as connection:
            if (await connection.execute(pending.limit(1))).first() is None:
                return []
        changed = []
        async with self._database.write() as connection:
            for before in await records.load_all(connection, pending, self._sealed):
                after = settled(before, state, self._clock(), visible(reason[:MAXIMUM_REASON]))
                if await records.move(connection, before, after):
                    self._emit(actor, f"approval-{state.value}", after, {"reason": reason})
                    changed.append(after)
        for request in changed:
            self._tell(request)
        return changed

    async def _already(
        self, connection: AsyncConnection, request: ApprovalRequest
    ) -> ApprovalRequest | Refused | None:
        same = and_(
            approvals.c.session == request.session, approvals.c.operation == request.operation
        )
        found = await records.load_all(connection, select(approvals).where(same), self._sealed)
        if found:
            if _bound(found[0]) == _bound(request):
                return found[0]
            return Refused("another operation was held under this number", "connect again")
        if not request.ticket:
            return None
        query = self._tickets(
            Subject(request.subject, (), request.issuer, ""),
            request.target,
            request.digest,
            request.masks,
            request.database,
            request.login,
            State.PENDING,
        )
        for waiting in await records.load_all(connection, query, self._sealed):
            still = request.opened < waiting.expires and _bound(waiting) == _bound(request)
            if still and covers(waiting, request.rules, request.approvers, request.people):
                return waiting
        return None

    async def _too_many(
        self, connection: AsyncConnection, request: ApprovalRequest, limit: int | None
    ) -> Refused | None:
        pending = select(func.count()).where(approvals.c.state == State.PENDING.value)
        own = pending.where(
            approvals.c.subject == request.subject, approvals.c.target == request.target
        )
        if limit is not None and (await connection.scalar(own) or 0) >= limit:
            return Refused(
                f"{limit} operations wait for approval already", "wait until one is answered"
            )
        if (await connection.scalar(pending) or 0) >= MAXIMUM_PENDING:
            return Refused("too many operations wait for approval", "try again later")
        return None

    @staticmethod
    def _tickets(
        subject: Subject,
        target: str,
        digest: bytes,
        masks: bytes,
        database: str,
        login: str,
        state: State,
    ) -> Any:
        columns = approvals.c
        return select(approvals).where(
            columns.subject == subject.name,
            columns.issuer == subject.issuer,
            columns.target == target,
            columns.database == database,
            columns.login == login,
            columns.digest == digest,
            columns.masks == masks,
            columns.ticket,
            columns.state == state.value,
        )

    def _tell(self, request: ApprovalRequest) -> None:
        for listener in self._listeners:
            listener(request)
        for watcher in tuple(self._watchers):
            watcher.put(request)

    def _emit(
        self,
        actor: str,
        action: str,
        request: ApprovalRequest,
        details: dict[str, Any],
        actors: tuple[str, ...] = (),
    ) -> None:
        details = {"subject": request.subject, "target": request.target, **details}
        at = self._clock()
        self._audit(Audited(request.session, at, actor, action, request.id, details, actors))


def _bound(request: ApprovalRequest) -> tuple[bytes, str, bytes]:
    """Return what an approval is bound to."""
    return request.digest, request.rewritten, request.masks


def _describe(question: Question, now: float) -> ApprovalRequest | Refused:
    operation, hold, subject = question.operation, question.hold, question.subject
    if not hold.approvers or hold.people < 1:
        return Refused("nobody can approve this: the rule names no approvers")
    parameters = tuple(_parameter(parameter) for parameter in operation.parameters)
    resources = tuple(f"{r.effect.value} {r.kind} {visible(r.name)}" for r in operation.resources)
    text, rewritten = visible(operation.whole_text), visible(question.rewritten)
    size = sum(len(part.encode("utf-8", "surrogatepass")) for part in (text, *parameters))
    size += sum(len(resource) for resource in resources)
    if size > MAXIMUM_TEXT or len(rewritten.encode("utf-8", "replace")) > MAXIMUM_REWRITTEN:
        return Refused(
            "too long for a person to read, so it cannot be approved", "split it into smaller ones"
        )
    return ApprovalRequest(
        id=new_identifier("apr"),
        state=State.PENDING,
        version=1,
        ticket=hold.ticket,
        session=question.session,
        operation=operation.id,
        subject=subject.name,
        issuer=subject.issuer,
        owner=subject.owner,
        actors=subject.actors,
        groups=subject.groups,
        protocol=operation.protocol,
        target=operation.target,
        database=question.database,
        login=question.login,
        source=question.source,
        application=visible(question.application[:256]),
        verb=operation.verb,
        effect=operation.effect.value,
        resources=resources,
        facts=tuple(sorted(operation.facts)),
        text=text,
        parameters=parameters,
        digest=operation.digest,
        rules=hold.rules,
        approvers=hold.approvers,
        people=hold.people,
        reason=hold.reason,
        window=hold.window,
        opened=now,
        expires=min(question.expires, now + hold.timeout),
        rewritten=rewritten,
        masks=question.masks,
        task=visible(question.stated.task),
        purpose=visible(question.stated.purpose),
    )


def _parameter(parameter: Parameter) -> str:
    name = visible(parameter.name)
    if parameter.value is None:
        return f"{name} = NULL"
    if not parameter.binary:
        try:
            return f"{name} = {visible(parameter.value.decode())!r}"
        except UnicodeDecodeError:
            pass
    return f"{name} = 0x{parameter.value.hex()} (type {visible(parameter.type)})"
