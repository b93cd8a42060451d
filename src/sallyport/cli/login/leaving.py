"""Logging out: both tokens are revoked where they were given, and forgotten here in any case."""

from __future__ import annotations

import time
from typing import Any

from sallyport.cli.client import Client
from sallyport.cli.errors import CommandError
from sallyport.cli.login.asking import asking
from sallyport.cli.login.kept import Login, Logins
from sallyport.cli.output import note
from sallyport.identity.relying.provider import discover, named


def leave(logins: Logins, url: str) -> dict[str, Any] | None:
    """Log out at one gateway; return what was done, None: nobody was logged in."""
    with logins.lock(url):
        try:
            kept = logins.find(url)
        except CommandError as error:
            logins.forget(url)
            note(f"warning: {error.message}; it is forgotten, and was not revoked")
            return {"url": url, "name": "somebody", "problems": [error.message]}
        if kept is None:
            return None
        problems = []
        for revoke in (_revoke_here, _revoke_there):
            try:
                revoke(kept)
            except CommandError as error:
                problems.append(error.message)
                note(f"warning: {error.message}")
        logins.forget(url)
        return {"url": url, "name": kept.name, "problems": problems}


def _revoke_here(kept: Login) -> None:
    if not kept.token or time.time() >= kept.expires:
        return
    try:
        Client(kept.url, kept.token).post("/whoami/revoke")
    except CommandError as error:
        if "is not valid, or no longer" in error.message:
            return
        raise CommandError(f"the token is not revoked at the gateway: {error.message}") from None


def _revoke_there(kept: Login) -> None:
    """RFC 7009, where the provider offers it."""
    if not kept.refresh_token:
        return
    try:
        with asking(kept.issuer, kept.ca) as web:
            endpoints = discover(web)
            if not endpoints.revocation:
                return
            form = {
                "token": kept.refresh_token,
                "token_type_hint": "refresh_token",
                **named(kept.client_id, kept.public_secret),
            }
            web.send(endpoints.revocation, form)
    except CommandError as error:
        raise CommandError(f"the provider still knows the login: {error.message}") from None
