"""The product itself: who am I, how is it, what was done to it; and the probes."""

from __future__ import annotations

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sallyport.approvals.requests import State
from sallyport.recording.records import Filter
from sallyport.web.api.common import Services, audit_view, errors
from sallyport.web.api.models import AuditList, AuditView, GivenBack, Status, WhoAmI
from sallyport.web.authentication import Anybody, Auditor, Metrics, Overseer
from sallyport.web.metrics import render
from sallyport.web.pages import Cursor, Limit, Moment, cut, decode_cursor

router = APIRouter(tags=["system"])
probes = APIRouter(tags=["probes"])

MAXIMUM_COUNTED = 1000


@router.get("/whoami", responses=errors())
async def whoami(caller: Anybody) -> WhoAmI:
    """Show who the API takes the caller for."""
    return WhoAmI(
        name=caller.name,
        groups=list(caller.groups),
        roles=list(caller.roles),
        issuer=caller.issuer,
        token=caller.token,
        owner=caller.owner,
        expires=caller.expires,
    )


@router.post("/whoami/revoke", responses=errors())
async def revoke_own(caller: Anybody, services: Services) -> GivenBack:
    """Revoke the very token that this is asked with; its sessions end within a second."""
    return GivenBack(revoked=await services.tokens.give_back(caller))


@router.get("/status", responses=errors(403))
async def status(caller: Overseer, services: Services, request: Request) -> Status:
    """Show the gateway at a glance."""
    health = services.health()
    policy = services.policy.state()
    pending = await services.approvals.list((State.PENDING,), limit=MAXIMUM_COUNTED)
    return Status(
        version=request.app.version,
        ready=health.ready,
        checks=health.checks,
        revision=policy.revision,
        policy_failure=policy.failure,
        live_sessions=len(services.registry.live()),
        pending_approvals=len(pending),
    )


@router.get("/audit", responses=errors(400, 403, 422, 503))
async def list_audit(
    caller: Auditor,
    services: Services,
    since: Moment = None,
    until: Moment = None,
    actor: str | None = Query(None, max_length=256, description="`*` stands for any characters"),
    action: str | None = Query(None, max_length=64, description="`*` likewise"),
    limit: Limit = 100,
    cursor: Cursor = None,
) -> AuditList:
    """List what was done to the product itself (views of recordings too), newest first."""
    offset = decode_cursor(cursor)
    found = await services.library.audit(
        Filter(subject=actor, since=since, until=until, limit=limit + 1, offset=offset), action
    )
    page, following = cut(found, limit, offset)
    audit_view(services, caller, "audit-viewed", "", actor=actor, action=action, count=len(page))
    return AuditList(
        audit=[
            AuditView(
                at=each.at,
                actor=each.actor,
                actors=list(each.actors),
                action=each.action,
                object=each.object,
                session=each.session,
                details=each.details,
            )
            for each in page
        ],
        next=following,
    )


@probes.get("/healthz")
async def healthz() -> JSONResponse:
    """Say that the process answers."""
    return JSONResponse({"status": "ok"})


@probes.get("/readyz")
async def readyz(services: Services) -> JSONResponse:
    """Say whether work can be done. Which part is missing stands in `/api/v1/status`."""
    ready = services.health().ready
    return JSONResponse({"ready": ready}, 200 if ready else 503)


@probes.get("/metrics", responses=errors(403))
async def metrics(caller: Metrics, services: Services, request: Request) -> Response:
    """Show the measures for Prometheus: to this machine itself, or to an auditor."""
    body, media_type = render(services, request.app.state.requests)
    return Response(body, 200, media_type=media_type)
