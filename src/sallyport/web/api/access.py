"""Access: asked for by anybody, answered by those that the rule names, over at its instant.

IDOR: administrators and auditors see all; an approver sees what one of their
groups is asked; everybody sees what they asked themselves. Whatever else exists is answered like
what does not.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field, StringConstraints

from sallyport.approvals.access import AccessRequest, AccessState
from sallyport.core.subject import Refused, Subject
from sallyport.web.api.common import Services, audit_view, errors, not_found
from sallyport.web.api.models import AnswerRequest, Model, Name, ReasonRequest, VoteView
from sallyport.web.authentication import Anybody, Approver, Role, oversees
from sallyport.web.pages import Cursor, Limit, decode_place, encode_cursor
from sallyport.web.problems import Problem
from sallyport.web.services import WebServices

router = APIRouter(prefix="/access", tags=["access"])

StateName = Literal["pending", "approved", "denied", "expired", "withdrawn", "revoked", "over"]
WantedState = Annotated[StateName | None, Query(description="absent: of every state")]
Identifier = Annotated[str, Path(max_length=64)]
CHUNK = 50
"""Requests looked at in one go, while a page of visible ones is gathered."""
MAXIMUM_CHUNKS = 40
"""Goes for one page: then it ends early, with a cursor."""


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
    return _answered(made)


@router.get("", responses=errors(400))
async def list_access(
    caller: Anybody,
    services: Services,
    state: WantedState = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AccessList:
    """List the requests for access that the caller may see, newest first."""
    before = decode_place(cursor)
    states = () if state is None else (AccessState(state),)
    others = oversees(caller) or Role.APPROVER in caller.roles
    seen: list[AccessView] = []
    following: str | None = None
    for _ in range(MAXIMUM_CHUNKS):
        chunk = await services.access.list(
            states, subject=None if others else caller.name, limit=CHUNK, before=before
        )
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
    if others:
        audit_view(services, caller, "access-viewed", state or "", count=len(seen))
    return AccessList(access=seen, next=following)


@router.get("/{identifier}", responses=errors(404))
async def show(caller: Anybody, services: Services, identifier: Identifier) -> AccessView:
    """Show one request for access."""
    return view(await _find(services, caller, identifier))


@router.post("/{identifier}/approve", responses=errors(403, 404, 409))
async def approve(
    body: AnswerRequest, caller: Approver, services: Services, identifier: Identifier
) -> AccessView:
    """Say yes. Access begins once as many people have as the rule demands."""
    await _asked(services, caller, identifier)
    return _answered(await services.access.answer(identifier, caller, True, body.reason))


@router.post("/{identifier}/deny", responses=errors(403, 404, 409))
async def deny(
    body: AnswerRequest, caller: Approver, services: Services, identifier: Identifier
) -> AccessView:
    """Say no. One no is enough."""
    await _asked(services, caller, identifier)
    return _answered(await services.access.answer(identifier, caller, False, body.reason))


@router.post("/{identifier}/withdraw", responses=errors(404, 409))
async def withdraw(caller: Anybody, services: Services, identifier: Identifier) -> AccessView:
    """Ask no more. Who asked does this."""
    await _find(services, caller, identifier)
    return _answered(await services.access.withdraw(identifier, caller))


@router.post("/{identifier}/revoke", responses=errors(404, 409))
async def revoke(
    body: ReasonRequest, caller: Anybody, services: Services, identifier: Identifier
) -> AccessView:
    """Take back what was given; its sessions end within a second.

    Who has it may, who could have said no to it, and administrators.
    """
    await _find(services, caller, identifier)
    return _answered(await services.access.revoke(identifier, caller, body.reason))


def may_see(services: WebServices, caller: Subject, request: AccessRequest) -> bool:
    """Whether `caller` may see `request`."""
    if oversees(caller):
        return True
    asked = Role.APPROVER in caller.roles and set(caller.groups) & set(request.approvers)
    if asked and services.may_approve(caller, request.target, request.database):
        return True
    return caller.name == request.subject and caller.issuer == request.issuer


async def _find(services: WebServices, caller: Subject, identifier: str) -> AccessRequest:
    request = await services.access.show(identifier)
    if request is None or not may_see(services, caller, request):
        raise not_found("access request", identifier)
    return request


async def _asked(services: WebServices, caller: Subject, identifier: str) -> None:
    """See that the caller's role reaches what is asked for. Raises: Problem (403, 404)."""
    request = await _find(services, caller, identifier)
    if not services.may_approve(caller, request.target, request.database):
        raise Problem(403, f"your role does not approve at target `{request.target}`")


def _answered(answer: AccessRequest | Refused) -> AccessView:
    if isinstance(answer, Refused):
        raise Problem(409, answer.reason, hint=answer.hint)
    return view(answer)


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
