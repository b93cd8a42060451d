"""Service accounts: made and removed by administrators; only public keys come here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from sallyport.identity.accounts import Account, AccountKey
from sallyport.web.api.account_models import (
    AccountGone,
    AccountKeyRequest,
    AccountKeyView,
    AccountList,
    AccountRequest,
    AccountView,
)
from sallyport.web.api.common import Services, audit_view, errors, not_found
from sallyport.web.authentication import Administrator, AdministratorInPerson, Auditor
from sallyport.web.pages import Cursor, Limit, cut, decode_cursor
from sallyport.web.problems import Problem

router = APIRouter(prefix="/service-accounts", tags=["service-accounts"])

AccountName = Annotated[str, Path(max_length=128)]


@router.post("", status_code=201, responses=errors(403, 422))
async def create_account(
    body: AccountRequest, caller: AdministratorInPerson, services: Services
) -> AccountView:
    """Make a service account. The caller becomes its owner, and can never approve what it asks."""
    try:
        made = await services.accounts.create(
            body.name,
            body.groups,
            body.keys,
            caller.name,
            body.targets,
            body.sources,
        )
    except ValueError as error:
        raise Problem(422, str(error)) from None
    return view(made)


@router.get("", responses=errors(403))
async def list_accounts(
    caller: Auditor, services: Services, limit: Limit = 100, cursor: Cursor = None
) -> AccountList:
    """List service accounts, by name, with their public keys."""
    offset = decode_cursor(cursor)
    found = await services.accounts.list()
    page, following = cut(found[offset : offset + limit + 1], limit, offset)
    audit_view(services, caller, "service-accounts-viewed", "", count=len(page))
    return AccountList(accounts=[view(account) for account in page], next=following)


@router.delete("/{name}", responses=errors(403, 404))
async def remove_account(
    name: AccountName, caller: Administrator, services: Services
) -> AccountGone:
    """Remove a service account. Its tokens are revoked; its sessions end within a second."""
    revoked = await services.accounts.remove(name, caller.name, caller.actors)
    if revoked is None:
        raise not_found("service account", name)
    return AccountGone(removed=name, revoked=revoked)


@router.post("/{name}/keys", status_code=201, responses=errors(403, 404, 422))
async def add_account_key(
    name: AccountName,
    body: AccountKeyRequest,
    caller: AdministratorInPerson,
    services: Services,
) -> AccountKeyView:
    """Register one more public key."""
    try:
        key = await services.accounts.add_key(name, body.key, caller.name)
    except ValueError as error:
        raise Problem(422, str(error)) from None
    if key is None:
        raise not_found("service account", name)
    return key_view(key)


@router.delete("/{name}/keys/{key}", responses=errors(403, 404))
async def remove_account_key(
    name: AccountName,
    caller: Administrator,
    services: Services,
    key: Annotated[str, Path(max_length=64)],
) -> AccountGone:
    """Remove a public key. Tokens that were given for it are revoked, with their sessions."""
    revoked = await services.accounts.remove_key(name, key, caller.name, caller.actors)
    if revoked is None:
        raise not_found("key", key)
    return AccountGone(removed=key, revoked=revoked)


def view(account: Account) -> AccountView:
    """Return what the API shows of an account."""
    return AccountView(
        name=account.name,
        groups=list(account.groups),
        targets=None if account.targets is None else list(account.targets),
        sources=None if account.sources is None else list(account.sources),
        owner=account.owner,
        created=account.created,
        keys=[key_view(key) for key in account.keys],
    )


def key_view(key: AccountKey) -> AccountKeyView:
    """Return what the API shows of a key."""
    return AccountKeyView(id=key.id, kind=key.kind, created=key.created)
