"""Access: asked for by anybody, answered by those that the rule names, over at its instant.

Who may see a request: `asked`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field, StringConstraints

from sallyport.approvals.access import AccessRequest, AccessState
from sallyport.core.subject import Subject
from sallyport.web.api.asked import demand_reach, gather, looks_at_others, may_see, settled
from sallyport.web.api.common import Services, audit_view, errors, not_found
from sallyport.web.api.models import AnswerRequest, Model, Name, ReasonRequest, VoteView
from sallyport.web.authentication import Anybody, Approver
from sallyport.web.pages import Cursor, Limit
from sallyport.web.services import WebServices

router = APIRouter(prefix="/access", tags=["access"])

StateName = Literal["pending", "approved", "denied", "expired", "withdrawn", "revoked", "over"]
WantedState = Annotated[StateName | None, Query(description="absent: of every state")]
Identifier = Annotated[str, Path(max_length=64)]


class AccessAsked(Model):
    """Access that is asked for: to `target` or `target/database`, as `login`, for some seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"target": "shop", "login": "app", "reason": "ticket 4711", "for": 3600}]
        },
        populate_by_name=True,
    )

    target: Name
    login: Name | None = None
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    seconds: Annotated[int, Field(alias="for", gt=0, le=31_622_400, description="seconds")] = 3600


class AccessView(Model):
    """A request for access. Times are epoch seconds; `ends` is when what was given is over."""

    id: str
    state: str
    subject: str
    issuer: str
    owner: str
    actors: list[str]
    groups: list[str]
    target: str
    database: str
    login: str
    reason: str
    duration: float
    rule: str
    approvers: list[str]
    people: int
    votes: list[VoteView]
    opened: float
    expires: float
    begins: float | None
    ends: float | None
    settled: float | None
    settled_by: str
    settled_reason: str


class AccessList(Model):
    """A page of requests for access, newest first."""

    access: list[AccessView]
    next: str | None = None


@router.post("", status_code=201, responses=errors(403, 409, 422))
async def ask(body: AccessAsked, caller: Anybody, services: Services) -> AccessView:
    """Ask for access. The same wish that waits already is answered with that."""
    made = await services.ask_access(
        caller, body.target, body.login, body.reason, float(body.seconds)
    )
    return view(settled(made))


@router.get("", responses=errors(400))
async def list_access(
    caller: Anybody,
    services: Services,
    state: WantedState = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AccessList:
    """List the requests for access that the caller may see, newest first."""
    states = () if state is None else (AccessState(state),)

    async def load(subject: str | None, count: int, before: str | None) -> Sequence[AccessRequest]:
        return await services.access.list(states, subject=subject, limit=count, before=before)

    seen, following = await gather(services, caller, load, limit, cursor)
    if looks_at_others(caller):
        audit_view(services, caller, "access-viewed", state or "", count=len(seen))
    return AccessList(access=[view(each) for each in seen], next=following)


@router.get("/{identifier}", responses=errors(404))
async def show(caller: Anybody, services: Services, identifier: Identifier) -> AccessView:
    """Show one request for access."""
    return view(await _find(services, caller, identifier))


@router.post("/{identifier}/approve", responses=errors(403, 404, 409))
async def approve(
    body: AnswerRequest, caller: Approver, services: Services, identifier: Identifier
) -> AccessView:
    """Say yes. Access begins once as many people have as the rule demands."""
    demand_reach(services, caller, await _find(services, caller, identifier))
    return view(settled(await services.access.answer(identifier, caller, True, body.reason)))


@router.post("/{identifier}/deny", responses=errors(403, 404, 409))
async def deny(
    body: AnswerRequest, caller: Approver, services: Services, identifier: Identifier
) -> AccessView:
    """Say no. One no is enough."""
    demand_reach(services, caller, await _find(services, caller, identifier))
    return view(settled(await services.access.answer(identifier, caller, False, body.reason)))


@router.post("/{identifier}/withdraw", responses=errors(404, 409))
async def withdraw(caller: Anybody, services: Services, identifier: Identifier) -> AccessView:
    """Ask no more. Who asked does this."""
    await _find(services, caller, identifier)
    return view(settled(await services.access.withdraw(identifier, caller)))


@router.post("/{identifier}/revoke", responses=errors(404, 409))
async def revoke(
    body: ReasonRequest, caller: Anybody, services: Services, identifier: Identifier
) -> AccessView:
    """Take back what was given; its sessions end within a second.

    Who has it may, who could have said no to it, and administrators.
    """
    await _find(services, caller, identifier)
    return view(settled(await services.access.revoke(identifier, caller, body.reason)))


async def _find(services: WebServices, caller: Subject, identifier: str) -> AccessRequest:
    request = await services.access.show(identifier)
    if request is None or not may_see(services, caller, request):
        raise not_found("access request", identifier)
    return request


def view(request: AccessRequest) -> AccessView:
    """Return what the API shows of a request."""
    return AccessView(
        id=request.id,
        state=str(request.state),
        subject=request.subject,
        issuer=request.issuer,
        owner=request.owner,
        actors=list(request.actors),
        groups=list(request.groups),
        target=request.target,
        database=request.database,
        login=request.login,
        reason=request.why,
        duration=request.duration,
        rule=request.rule,
        approvers=list(request.approvers),
        people=request.people,
        votes=[
            VoteView(name=vote.name, yes=vote.yes, reason=vote.reason, at=vote.at)
            for vote in request.votes
        ],
        opened=request.opened,
        expires=request.expires,
        begins=request.begins,
        ends=request.ends,
        settled=request.settled,
        settled_by=request.settled_by,
        settled_reason=request.settled_reason,
    )
