"""Tokens: made and revoked by administrators, listed by auditors too; secrets are shown once."""

from __future__ import annotations

from fastapi import APIRouter, Query

from sallyport.identity.token_records import Given, TokenRecord
from sallyport.identity.tokens import BREAK_GLASS
from sallyport.web.api.common import Services, audit_view, errors
from sallyport.web.api.models import (
    Revoked,
    RevokeRequest,
    RotateRequest,
    TokenList,
    TokenMade,
    TokenRequest,
    TokenView,
)
from sallyport.web.authentication import Administrator, AdministratorInPerson, Auditor
from sallyport.web.pages import Cursor, Limit, cut, decode_cursor
from sallyport.web.problems import Problem

router = APIRouter(prefix="/tokens", tags=["tokens"])


@router.post("", status_code=201, responses=errors(403, 422))
async def create_token(
    body: TokenRequest, caller: AdministratorInPerson, services: Services
) -> TokenMade:
    """Make a token. The secret is in this answer and nowhere else, ever.

    The caller becomes its owner, and can never approve what it asks for.
    """
    try:
        record, secret = await services.tokens.create(
            body.name,
            body.subject,
            body.groups,
            body.roles,
            float(body.lifetime),
            caller.name,
            body.targets,
            body.sources,
            given=Given(BREAK_GLASS) if body.break_glass else None,
        )
    except ValueError as error:
        raise Problem(422, str(error)) from None
    return TokenMade(token=view(record, services.clock()), secret=secret)


@router.post("/rotate", status_code=201, responses=errors(403, 422))
async def rotate_token(
    body: RotateRequest, caller: AdministratorInPerson, services: Services
) -> TokenMade:
    """Have a token anew, with another secret and the same rights. The caller becomes its owner.

    Without `grace` the old one is revoked, and its sessions end within a second; with it, sessions
    that are open go on to their own end.
    """
    lifetime = None if body.lifetime is None else float(body.lifetime)
    try:
        record, secret = await services.rotation.rotate(
            body.id, caller.name, lifetime, float(body.grace)
        )
    except ValueError as error:
        raise Problem(422, str(error)) from None
    return TokenMade(token=view(record, services.clock()), secret=secret)


@router.get("", responses=errors(403))
async def list_tokens(
    caller: Auditor,
    services: Services,
    subject: str | None = Query(None, max_length=256),
    live: bool = Query(False, description="leave out what is revoked or expired"),
    limit: Limit = 100,
    cursor: Cursor = None,
) -> TokenList:
    """List tokens, newest first, without their secrets."""
    offset = decode_cursor(cursor)
    found = await services.tokens.list(subject=subject, live=live)
    page, following = cut(found[offset : offset + limit + 1], limit, offset)
    audit_view(services, caller, "tokens-viewed", subject or "", count=len(page))
    now = services.clock()
    return TokenList(tokens=[view(record, now) for record in page], next=following)


@router.post("/revoke", responses=errors(403, 422))
async def revoke_tokens(body: RevokeRequest, caller: Administrator, services: Services) -> Revoked:
    """Revoke one token, all of a subject, or all there are. Their sessions end within a second."""
    chosen = [("id", body.id), ("subject", body.subject), ("all", "" if body.all else None)]
    given = [(what, value) for what, value in chosen if value is not None]
    if len(given) != 1:
        raise Problem(422, "exactly one of `id`, `subject` and `all` is expected")
    what, value = given[0]
    revoked = await services.tokens.revoke(what, value or "", caller.name, caller.actors)
    return Revoked(revoked=revoked)


def view(record: TokenRecord, now: float) -> TokenView:
    """Return what the API shows of a token."""
    return TokenView(
        id=record.id,
        name=record.name,
        subject=record.subject,
        groups=list(record.groups),
        roles=list(record.roles),
        owner=record.owner,
        targets=None if record.targets is None else list(record.targets),
        sources=None if record.sources is None else list(record.sources),
        created=record.created,
        expires=record.expires,
        revoked=record.revoked,
        used=record.used,
        state=record.state(now),
        via=record.via,
        account=record.account,
        actors=list(record.actors),
    )
