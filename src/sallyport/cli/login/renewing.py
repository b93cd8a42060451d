"""Renewing: a Sallyport token that is over is had anew with the refresh token, once.

One process does it while others wait for what it gets: a provider that rotates refresh tokens takes
the second use of one for theft and ends the whole login. INVARIANT: a new refresh token is kept
before anything else is done, for the old one is worth nothing any more.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from sallyport.cli.client import Client
from sallyport.cli.errors import UNREACHABLE, CommandError
from sallyport.cli.login.asking import asking
from sallyport.cli.login.kept import Login, Logins
from sallyport.identity.relying.errors import OAuthError
from sallyport.identity.relying.id_token import FindKey, check_id_token
from sallyport.identity.relying.provider import (
    Endpoints,
    Web,
    ask_tokens,
    discover,
    find_key,
    named,
)

LEAST: Final = 10.0
"""Seconds that a token must still be in force to be used."""

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105
AGAIN: Final = "log in again: `sallyport login`"


def current(logins: Logins, url: str, *, half: bool = False) -> Login | None:
    """Return the login at `url` with a token in force, or None: there is none.

    `half`: the token shall have half its time left, for what is begun with it. Raises: CommandError
    when it is over and cannot be had anew.
    """
    login = logins.find(url)
    if login is None or _lasts(login, half):
        return login
    with logins.lock(url):
        login = logins.find(url)  # another command may have renewed it, or logged out
        if login is None or _lasts(login, half):
            return login
        if not login.refresh_token:
            if _lasts(login, False):
                return login
            raise CommandError(f"your login as {login.name} has expired", hint=AGAIN)
        return _renew(logins, login)


def exchange(url: str, id_token: str) -> tuple[str, float]:
    """Return the Sallyport token for an ID token, and its seconds. Raises: CommandError."""
    form = {"grant_type": EXCHANGE, "subject_token": id_token, "subject_token_type": ID_TOKEN}
    try:
        answer = Client(url, None).post_form("/oauth/token", form)
    except CommandError as error:
        if error.code == UNREACHABLE:
            raise
        raise CommandError(
            f"the gateway does not take this login: {error.message}",
            hint="its log says why: ask the operator whether your account is taken",
        ) from None
    token, seconds = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(token, str) or not isinstance(seconds, int):
        raise CommandError("the gateway's answer holds no token", hint="is --url right?")
    return token, float(seconds)


def key_finder(web: Web, endpoints: Endpoints) -> FindKey:
    """Return what finds the provider's key for an ID token."""
    return lambda kid, algorithm: find_key(web, endpoints, kid, algorithm)


def _lasts(login: Login, half: bool) -> bool:
    least = max(LEAST, (login.expires - login.since) / 2 if half else 0.0)
    return bool(login.token) and time.time() < login.expires - least


def _renew(logins: Logins, login: Login) -> Login:
    with asking(login.issuer, login.ca) as web:
        endpoints = discover(web)
        form = {
            "grant_type": "refresh_token",
            "refresh_token": login.refresh_token,
            **named(login.client_id, login.public_secret),
        }
        try:
            tokens = ask_tokens(web, endpoints, form)
        except OAuthError as error:
            if error.error != "invalid_grant":
                raise
            logins.forget(login.url)
            raise CommandError(f"your login as {login.name} is over", hint=AGAIN) from None
        if tokens.refresh_token:
            login = logins.keep(msgspec.structs.replace(login, refresh_token=tokens.refresh_token))
        check_id_token(
            tokens.id_token,
            find_key=key_finder(web, endpoints),
            issuer=login.issuer,
            client_id=login.client_id,
            access_token=tokens.access_token,
            nonce=login.nonce,
            now=time.time(),
            subject=login.sub,
        )
    begun = time.time()
    token, seconds = exchange(login.url, tokens.id_token)
    return logins.keep(
        msgspec.structs.replace(login, token=token, since=begun, expires=begun + seconds)
    )
