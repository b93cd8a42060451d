"""Approvals: what waits, shown whole to those who may see it, and answered by those who may.

Who may see a request: `asked`. Who may answer is decided by the approvals service, which knows the
whole request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request

from sallyport.approvals.requests import ApprovalRequest, State
from sallyport.approvals.watch import Dropped
from sallyport.core.subject import Subject
from sallyport.web.api.asked import demand_reach, gather, looks_at_others, may_see, settled
from sallyport.web.api.common import OpenStreams, Services, audit_view, errors, not_found
from sallyport.web.api.models import AnswerRequest, ApprovalList, ApprovalView, VoteView
from sallyport.web.authentication import Anybody, Approver
from sallyport.web.pages import Cursor, Limit
from sallyport.web.services import WebServices
from sallyport.web.streams import EventStream, Item

router = APIRouter(prefix="/approvals", tags=["approvals"])

StateName = Literal["pending", "approved", "denied", "expired", "cancelled"]
WantedState = Annotated[StateName | None, Query(description="absent: of every state")]
PENDING = 200
"""Pending requests that a watcher is shown at first."""


@router.get("", responses=errors(400))
async def list_approvals(
    caller: Anybody,
    services: Services,
    state: WantedState = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ApprovalList:
    """List the approvals that the caller may see, newest first."""
    states = () if state is None else (State(state),)

    async def load(
        subject: str | None, count: int, before: str | None
    ) -> Sequence[ApprovalRequest]:
        return await services.approvals.list(states, subject=subject, limit=count, before=before)

    seen, following = await gather(services, caller, load, limit, cursor)
    if looks_at_others(caller):
        audit_view(services, caller, "approvals-viewed", state or "", count=len(seen))
    return ApprovalList(approvals=[view(each) for each in seen], next=following)


@router.get("/watch", responses=errors())
async def watch_approvals(
    request: Request, caller: Anybody, services: Services, streams: OpenStreams
) -> EventStream:
    """Follow approvals as they open and change (JSON lines, or Server-Sent Events by `Accept`).

    It begins with those that are pending. Each item is `{"type": "approval", "approval": ...}`.
    """
    if looks_at_others(caller):
        audit_view(services, caller, "approvals-watched", "")
    return EventStream(request, streams, caller, _changes(services, caller))


async def _changes(services: WebServices, caller: Subject) -> AsyncIterator[Item]:
    upcoming = services.approvals.watch()
    own = None if looks_at_others(caller) else caller.name
    pending = await services.approvals.list((State.PENDING,), subject=own, limit=PENDING)
    for request in reversed(pending):
        if may_see(services, caller, request):
            yield {"type": "approval", "approval": view(request).model_dump()}
    async for change in upcoming:
        if isinstance(change, Dropped):
            yield {"type": "dropped", "count": change.count}
        elif may_see(services, caller, change):
            yield {"type": "approval", "approval": view(change).model_dump()}


@router.get("/{identifier}", responses=errors(404))
async def show_approval(
    caller: Anybody, services: Services, identifier: str = Path(max_length=64)
) -> ApprovalView:
    """Show one approval with the whole text of what would run."""
    request = await _find(services, caller, identifier)
    if looks_at_others(caller):
        audit_view(services, caller, "approval-viewed", identifier, target=request.target)
    return view(request)


@router.post("/{identifier}/approve", responses=errors(403, 404, 409))
async def approve(
    body: AnswerRequest,
    caller: Approver,
    services: Services,
    identifier: str = Path(max_length=64),
) -> ApprovalView:
    """Say yes. It takes as many people as the rule demands, and none who had a part in asking."""
    return await _answer(services, caller, identifier, True, body.reason)


@router.post("/{identifier}/deny", responses=errors(403, 404, 409))
async def deny(
    body: AnswerRequest,
    caller: Approver,
    services: Services,
    identifier: str = Path(max_length=64),
) -> ApprovalView:
    """Say no. One no is enough."""
    return await _answer(services, caller, identifier, False, body.reason)


async def _find(services: WebServices, caller: Subject, identifier: str) -> ApprovalRequest:
    request = await services.approvals.show(identifier)
    if request is None or not may_see(services, caller, request):
        raise not_found("approval", identifier)
    return request


async def _answer(
    services: WebServices, caller: Subject, identifier: str, yes: bool, reason: str
) -> ApprovalView:
    request = await _find(services, caller, identifier)
    demand_reach(services, caller, request)
    return view(settled(await services.approvals.answer(identifier, caller, yes, reason)))


def view(request: ApprovalRequest) -> ApprovalView:
    """Return what the API shows of a request."""
    return ApprovalView(
        id=request.id,
        state=str(request.state),
        ticket=request.ticket,
        session=request.session,
        subject=request.subject,
        issuer=request.issuer,
        owner=request.owner,
        actors=list(request.actors),
        groups=list(request.groups),
        target=request.target,
        database=request.database,
        login=request.login,
        source=request.source,
        application=request.application,
        protocol=request.protocol,
        verb=request.verb,
        effect=request.effect,
        resources=list(request.resources),
        facts=list(request.facts),
        text=request.text,
        parameters=list(request.parameters),
        rewritten=request.rewritten,
        digest=request.digest.hex(),
        rules=list(request.rules),
        reason=request.reason,
        approvers=list(request.approvers),
        people=request.people,
        votes=[
            VoteView(name=vote.name, yes=vote.yes, reason=vote.reason, at=vote.at)
            for vote in request.votes
        ],
        window=request.window,
        opened=request.opened,
        expires=request.expires,
        settled=request.settled,
        settled_reason=request.settled_reason,
        spent=request.spent,
        task=request.task,
        purpose=request.purpose,
    )
