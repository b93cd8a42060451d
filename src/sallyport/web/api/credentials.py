"""Credentials of targets: set, listed and deleted. There is no route that reads one."""

from __future__ import annotations

from fastapi import APIRouter, Path

from sallyport.vault.credentials import CredentialRecord
from sallyport.vault.errors import VaultError
from sallyport.web.api.common import Services, audit_view, errors, not_found
from sallyport.web.api.models import CredentialList, CredentialRequest, CredentialView, Deleted
from sallyport.web.authentication import Administrator, Auditor
from sallyport.web.pages import Cursor, Limit, cut, decode_cursor
from sallyport.web.problems import Problem

router = APIRouter(prefix="/credentials", tags=["credentials"])


@router.get("", responses=errors(403))
async def list_credentials(
    caller: Auditor, services: Services, limit: Limit = 100, cursor: Cursor = None
) -> CredentialList:
    """List names and ages."""
    offset = decode_cursor(cursor)
    found = await services.vault.list()
    page, following = cut(found[offset : offset + limit + 1], limit, offset)
    audit_view(services, caller, "credentials-viewed", "", count=len(page))
    return CredentialList(credentials=[view(record) for record in page], next=following)


@router.put("/{name:path}", responses=errors(403, 422))
async def set_credential(
    body: CredentialRequest,
    caller: Administrator,
    services: Services,
    name: str = Path(max_length=128),
) -> CredentialView:
    """Set a credential, or rotate it: new sessions use the new one."""
    value = body.value.get_secret_value().encode("utf-8")
    try:
        return view(await services.vault.set(name, value, caller.name, caller.actors))
    except VaultError as error:
        raise Problem(422, str(error)) from None


@router.delete("/{name:path}", responses=errors(403, 404, 422))
async def delete_credential(
    caller: Administrator, services: Services, name: str = Path(max_length=128)
) -> Deleted:
    """Forget a credential: logins that need it fail from now on."""
    try:
        deleted = await services.vault.delete(name, caller.name, caller.actors)
    except VaultError as error:
        raise Problem(422, str(error)) from None
    if not deleted:
        raise not_found("credential", name)
    return Deleted(deleted=name)


def view(record: CredentialRecord) -> CredentialView:
    """Return what the API shows of a credential."""
    return CredentialView(
        name=record.name, version=record.version, created=record.created, updated=record.updated
    )
