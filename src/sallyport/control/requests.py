"""What control answers to each request of a worker.

FAILS CLOSED: a session that control does not know holds, leases and cancels nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from sallyport.approvals.requests import ApprovalRequest, State
from sallyport.approvals.service import ApprovalService, Question
from sallyport.control.access import Doorkeeper
from sallyport.control.counters import WINDOWS, Counters, Key
from sallyport.control.rate import RateLimit
from sallyport.control.sessions import AGAIN, LiveSession, SessionRegistry
from sallyport.core.decision import Approval
from sallyport.core.messages import (
    Approved,
    Authenticate,
    Authenticated,
    Authorize,
    Cancel,
    Catalogue,
    CatalogueChanged,
    CatalogueStale,
    Challenged,
    CloseHold,
    Done,
    EndSession,
    FinishExchange,
    HoldAnswered,
    HoldTaken,
    Lease,
    Leased,
    OpenExchange,
    OpenHold,
    Push,
    RegisterCancel,
    Reply,
    Request,
    SessionEnded,
)
from sallyport.core.subject import Refused, Subject
from sallyport.identity.service import IdentityService
from sallyport.policy import Quota

UNKNOWN_SESSION: Final = Refused("the session is not known to the gateway's control")
CANCELS: Final = 20.0
"""Cancel requests a second that one source may send."""

_MAXIMUM_WANTS: Final = 16


class Answers:
    """Answers workers. `push` reaches one worker, `push_all` every one, `keep` saves counts."""

    def __init__(
        self,
        identity: IdentityService,
        doorkeeper: Doorkeeper,
        approvals: ApprovalService,
        registry: SessionRegistry,
        counters: Counters,
        push: Callable[[str, Push], None],
        push_all: Callable[[Push], None],
        clock: Callable[[], float] = time.time,
        *,
        keep: Callable[[], Awaitable[None]],
    ) -> None:
        self._identity = identity
        self._doorkeeper = doorkeeper
        self._approvals = approvals
        self._registry = registry
        self._counters = counters
        self._push = push
        self._push_all = push_all
        self._keep = keep
        self._cancels = RateLimit(CANCELS, CANCELS * 2)
        self._clock = clock
        approvals.listen(self.settled)

    async def answer(self, worker: str, request: Request, connected: Callable[[], bool]) -> Reply:
        """Return the reply to one request of `worker`. `connected`: whether it is still there."""
        match request:
            case Authenticate():
                found = await self._identity.authenticate(request.evidence)
                return found if isinstance(found, Refused) else self._known(worker, found)
            case OpenExchange():
                begun = await self._identity.open_exchange(worker, request.opening)
                if isinstance(begun, Refused):
                    return begun
                return Challenged(begun.handle, begun.message)
            case FinishExchange():
                proven = await self._identity.finish_exchange(worker, request.handle, request.proof)
                if isinstance(proven, Refused):
                    return proven
                return self._known(worker, proven.subject, proven.message)
            case Authorize():
                return await self._doorkeeper.authorize(worker, request, connected)
            case Catalogue():
                return await self._doorkeeper.catalogue(request)
            case OpenHold():
                return await self._hold(worker, request)
            case CloseHold():
                return await self._close_hold(worker, request)
            case Lease():
                return await self._lease(worker, request)
            case _:
                return await self._note(worker, request)

    async def session_over(self, identifier: str, reason: str) -> None:
        """Forget a session, and end what waits for an answer in it."""
        if self._registry.remove(identifier) is not None:
            await self._approvals.cancel_session(identifier, f"the session ended: {reason}")

    def settled(self, request: ApprovalRequest) -> None:
        """Tell the worker that waits for it how a live hold ended. Called after each change.

        Twice: an answer faster than the worker learns of its hold would be lost on it.
        """
        session = self._registry.get(request.session)
        if request.ticket or request.state is State.PENDING or session is None:
            return
        answer = HoldAnswered(
            request.session, request.id, request.state.value, request.by, request.settled_reason
        )
        self._push(session.worker, answer)
        asyncio.get_running_loop().call_later(AGAIN, self._push, session.worker, answer)

    # --- inside

    def _known(self, worker: str, subject: Subject, message: bytes = b"") -> Authenticated:
        """Tell a worker who that is, and remember that it was told."""
        self._doorkeeper.vouch(worker, subject)
        return Authenticated(subject, message)

    def _of(self, worker: str, identifier: str) -> LiveSession | None:
        session = self._registry.get(identifier)
        return session if session is not None and session.worker == worker else None

    async def _note(self, worker: str, request: Request) -> Reply:
        match request:
            case RegisterCancel():
                known = self._of(worker, request.session) is not None
                if not known or not self._registry.register_cancel(request.session, request.key):
                    return UNKNOWN_SESSION
            case Cancel():
                if self._cancels.take(request.source, self._clock()):
                    self._registry.cancel(request.key)
            case SessionEnded():
                if self._of(worker, request.session) is not None:
                    await self.session_over(request.session, request.reason)
            case CatalogueChanged():
                self._push_all(CatalogueStale(request.target, request.database))
            case _:
                return Refused("not a request that a worker has")
        return Done()

    async def _hold(self, worker: str, request: OpenHold) -> Reply:
        session = self._of(worker, request.session)
        if session is None or self._registry.is_ending(request.session):
            self._push(worker, EndSession(request.session, UNKNOWN_SESSION.reason))
            return UNKNOWN_SESSION
        if request.operation.target != session.target:
            return Refused("the operation is for another target than the session")
        question = self._question(session, request)
        if request.hold.ticket:
            spent = await self._approvals.spend_ticket(question)
            if spent is not None:
                given = Approval(spent.id, spent.digest, spent.rules, spent.by, spent.approvers)
                return Approved(given)
        opened = await self._approvals.open(question)
        if isinstance(opened, Refused):
            return opened
        if not opened.ticket and self._registry.is_ending(session.id):
            await self._approvals.cancel(opened.id, "the session ended")
        self.settled(opened)
        return HoldTaken(opened.id)

    def _question(self, session: LiveSession, request: OpenHold) -> Question:
        quota = self._quota(session, "pending_holds")
        return Question(
            session=session.id,
            subject=session.subject,
            operation=request.operation,
            hold=request.hold,
            database=session.database,
            login=session.login,
            application=session.application,
            stated=session.stated,
            source=session.source,
            expires=request.expires,
            rewritten=request.rewritten,
            masks=request.masks,
            pending=None if quota is None else quota.amount,
        )

    async def _close_hold(self, worker: str, request: CloseHold) -> Reply:
        held = await self._approvals.show(request.approval)
        if held is None or held.ticket or self._of(worker, held.session) is None:
            return Refused("no live hold of this worker")
        await self._approvals.cancel(held.id, request.reason)
        return Done()

    async def _lease(self, worker: str, request: Lease) -> Reply:
        """Give slices of quotas, by the strictest rule of the subject's sessions on this worker.

        INVARIANT: what is given is kept in the store first, so that no crash gives it again.
        """
        names = [*request.wants, *request.returns]
        if len(names) > _MAXIMUM_WANTS:
            return Refused("too many quotas at once")
        for name, amount in request.returns.items():
            self._counters.give_back(worker, Key(request.subject, request.target, name), amount)
        sessions = [
            session
            for session in self._registry.of(worker, request.subject, request.target)
            if request.session in ("", session.id)
        ]
        gives: dict[str, int] = {}
        retry = 0.0
        for name, wanted in request.wants.items():
            key = Key(request.subject, request.target, name)
            gives[name] = self._slice(worker, key, wanted, sessions)
            if not gives[name]:
                retry = max(retry, self._counters.retry(key) if sessions else 1.0)
        if any(gives.values()):
            await self._keep()
        return Leased(gives, retry)

    def _slice(self, worker: str, key: Key, wanted: int, sessions: list[LiveSession]) -> int:
        if not sessions or key.quota not in WINDOWS:
            return 0
        quotas = [self._quota(session, key.quota) for session in sessions]
        amounts = [quota.amount for quota in quotas if quota is not None]
        if not amounts:
            return max(0, wanted)
        return self._counters.lease(worker, key, min(amounts), wanted)

    def _quota(self, session: LiveSession, name: str) -> Quota | None:
        state = self._doorkeeper.state
        entry = state.targets.find(session.target)
        if entry is None:
            return Quota(name, "control", 0, None)
        found = [q for q in state.policy.quotas(session.subject, entry.target) if q.name == name]
        return min(found, key=lambda quota: quota.amount, default=None)
