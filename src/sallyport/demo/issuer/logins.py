"""Logins: one click of one person for one client, and what can be had of it until it ends."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from sallyport.demo.issuer.people import Person
from sallyport.demo.issuer.tables import Table, digest
from sallyport.identity.relying.code import challenge as challenge_of
from sallyport.web.forms import OAuthProblem

LASTS: Final = 8 * 3600.0
"""Seconds of a login, however often it is renewed."""

CODE_LASTS: Final = 60.0
MAXIMUM_LOGINS: Final = 256
MAXIMUM_CODES: Final = 64


class Login(Struct):
    """One login. `sid` names it in tokens; `handle` names it in its refresh token."""

    sid: str
    person: Person
    client: str
    scopes: tuple[str, ...]
    since: float
    handle: str
    refresh: str = ""
    """Digest of the one refresh token that counts; empty: none was given."""


class Code(Struct):
    """An authorization code. `used` stays, so that a second use is known as one."""

    login: Login
    redirect_uri: str
    challenge: str
    nonce: str
    used: bool = False


class Logins:
    """All logins in force, their codes and refresh tokens. `clock` in epoch seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._logins: Table[Login] = Table(MAXIMUM_LOGINS, LASTS, clock)
        self._codes: Table[Code] = Table(MAXIMUM_CODES, CODE_LASTS, clock)

    def begin(self, person: Person, client: str, scopes: tuple[str, ...]) -> Login:
        """Begin a login."""
        names = (secrets.token_urlsafe(16) for _ in "ab")
        login = Login(next(names), person, client, scopes, self._clock(), next(names))
        self._logins.put(login.sid, login)
        return login

    def find(self, sid: str) -> Login | None:
        """Return a login that is in force."""
        return self._logins.get(sid)

    def end(self, sid: str) -> Login | None:
        """End a login: nothing is had of it any more. Return it, None: it was over."""
        return self._logins.pop(sid)

    def all(self) -> list[Login]:
        """Return the logins in force, the latest first."""
        return self._logins.values()[::-1]

    # --- authorization codes (RFC 6749, 4.1; RFC 7636)

    def give_code(self, login: Login, redirect_uri: str, challenge: str, nonce: str) -> str:
        """Return a code for `login`."""
        code = secrets.token_urlsafe(32)
        self._codes.put(digest(code), Code(login, redirect_uri, challenge, nonce))
        return code

    def take_code(
        self, code: str, client: str, redirect_uri: str, verifier: str
    ) -> tuple[Login, str]:
        """Return the login that a code is for, and its nonce. Raises: OAuthProblem.

        A code counts once: shown again, by whomever, it ends the login (RFC 6749, 4.1.2). One that
        is shown with the wrong verifier was stolen, and is spent.
        """
        found = self._codes.get(digest(code))
        if found is None or found.login.client != client:
            raise _refused("the code is not known, or over")
        if found.used:
            self.end(found.login.sid)
            raise _refused("the code was used before: its login has ended")
        found.used = True
        proven = hmac.compare_digest(challenge_of(verifier), found.challenge)
        if not proven or redirect_uri != found.redirect_uri:
            self.end(found.login.sid)
            raise _refused("`code_verifier` or `redirect_uri` is not the one that was asked with")
        if self.find(found.login.sid) is None:
            raise _refused("the login has ended")
        return found.login, found.nonce

    # --- refresh tokens (RFC 9700, 4.14)

    def give_refresh(self, login: Login) -> str:
        """Return a refresh token in the place of the one before; "" where none was asked for."""
        if "offline_access" not in login.scopes:
            return ""
        token = f"{login.handle}.{secrets.token_urlsafe(32)}"
        login.refresh = digest(token)
        return token

    def take_refresh(self, token: str, client: str) -> Login:
        """Return the login of a refresh token. Raises: OAuthProblem.

        One that was renewed already is in two hands: the login ends for both of them.
        """
        login = self._of_refresh(token, client)
        if login is None:
            raise _refused("the refresh token is not known, or over")
        if not hmac.compare_digest(digest(token), login.refresh):
            self.end(login.sid)
            raise _refused("the refresh token was used before: its login has ended")
        return login

    def revoke(self, token: str, client: str) -> None:
        """End the login of a refresh token; nothing happens where there is none (RFC 7009, 2.2)."""
        login = self._of_refresh(token, client)
        if login is not None:
            self.end(login.sid)

    def _of_refresh(self, token: str, client: str) -> Login | None:
        handle = token.partition(".")[0]
        for login in self._logins.values():
            same = hmac.compare_digest(digest(handle), digest(login.handle))
            if same and login.client == client and login.refresh:
                return login
        return None


def _refused(detail: str) -> OAuthProblem:
    return OAuthProblem("invalid_grant", detail)
