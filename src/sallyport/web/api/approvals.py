"""Approvals: what waits, shown whole to those who may see it, and answered by those who may.

IDOR: administrators and auditors see all; an approver sees what one of their
groups is asked; everybody sees what they asked themselves. Whatever else exists is answered like
what does not. Who may answer is decided by the approvals service, which knows the whole request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request

from sallyport.approvals.requests import ApprovalRequest, State
from sallyport.approvals.watch import Dropped
from sallyport.core.subject import Refused, Subject
from sallyport.web.api.common import OpenStreams, Services, audit_view, errors, not_found
from sallyport.web.api.models import AnswerRequest, ApprovalList, ApprovalView, VoteView
from sallyport.web.authentication import Anybody, Approver, Role, oversees
from sallyport.web.pages import Cursor, Limit, decode_place, encode_cursor
from sallyport.web.problems import Problem
from sallyport.web.services import WebServices
from sallyport.web.streams import EventStream, Item

router = APIRouter(prefix="/approvals", tags=["approvals"])

StateName = Literal["pending", "approved", "denied", "expired", "cancelled"]
WantedState = Annotated[StateName | None, Query(description="absent: of every state")]
CHUNK = 50
"""Requests looked at in one go, while a page of visible ones is gathered."""

PENDING = 200
"""Pending requests that a watcher is shown at first."""

MAXIMUM_CHUNKS = 40
"""Goes for one page: then it ends early, with a cursor."""


def may_see(services: WebServices, caller: Subject, request: ApprovalRequest) -> bool:
    """Whether `caller` may see `request`."""
    if oversees(caller):
        return True
    asked = Role.APPROVER in caller.roles and set(caller.groups) & set(request.approvers)
    if asked and services.may_approve(caller, request.target, request.database):
        return True
    return caller.name == request.subject and caller.issuer == request.issuer


@router.get("", responses=errors(400))
async def list_approvals(
    caller: Anybody,
    services: Services,
    state: WantedState = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ApprovalList:
    """List the approvals that the caller may see, newest first."""
    before = decode_place(cursor)
    states = () if state is None else (State(state),)
    seen: list[ApprovalView] = []
    following: str | None = None
    own = None if _looks_at_others(caller) else caller.name
    for _ in range(MAXIMUM_CHUNKS):
        chunk = await services.approvals.list(states, subject=own, limit=CHUNK, before=before)
        for request in chunk:
            if may_see(services, caller, request):
                if len(seen) == limit:
                    following = encode_cursor(before or "")
                    break
                seen.append(view(request))
            before = request.id
        if following is not None or len(chunk) < CHUNK:
            break
    else:
        following = encode_cursor(before or "")
    if _looks_at_others(caller):
        audit_view(services, caller, "approvals-viewed", state or "", count=len(seen))
    return ApprovalList(approvals=seen, next=following)


@router.get("/watch", responses=errors())
async def watch_approvals(
    request: Request, caller: Anybody, services: Services, streams: OpenStreams
) -> EventStream:
    """Follow approvals as they open and change (JSON lines, or Server-Sent Events by `Accept`).

    It begins with those that are pending. Each item is `{"type": "approval", "approval": ...}`.
    """
    if _looks_at_others(caller):
        audit_view(services, caller, "approvals-watched", "")
    return EventStream(request, streams, caller, _changes(services, caller))


async def _changes(services: WebServices, caller: Subject) -> AsyncIterator[Item]:
    upcoming = services.approvals.watch()
    own = None if _looks_at_others(caller) else caller.name
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
    if _looks_at_others(caller):
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


def _looks_at_others(caller: Subject) -> bool:
    """Whether a view is worth a record: what agents ask of their own must not fill the disk."""
    return oversees(caller) or Role.APPROVER in caller.roles


async def _find(services: WebServices, caller: Subject, identifier: str) -> ApprovalRequest:
    request = await services.approvals.show(identifier)
    if request is None or not may_see(services, caller, request):
        raise not_found("approval", identifier)
    return request


async def _answer(
    services: WebServices, caller: Subject, identifier: str, yes: bool, reason: str
) -> ApprovalView:
    request = await _find(services, caller, identifier)
    if not services.may_approve(caller, request.target, request.database):
        raise Problem(403, f"your role does not approve at target `{request.target}`")
    answered = await services.approvals.answer(identifier, caller, yes, reason)
    if isinstance(answered, Refused):
        raise Problem(409, answered.reason, hint=answered.hint)
    return view(answered)


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
