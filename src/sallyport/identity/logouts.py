"""Logouts: what an issuer says has ended there ends here (OpenID Connect Back-Channel Logout 1.0).

A logout token names a subject (`sub`), one of its logins (`sid`), or both. What was exchanged for
JWTs of that login, its own or with whom it acted for, is withdrawn; sessions end within a second,
those that came with such a JWT itself, too; and JWTs of before let nobody in again. Where a logout
names a login, and a token does not say which one it came of, the token counts as one of it.

FAILS CLOSED: anything odd about a logout token refuses it as a whole, and the issuer is told so.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from sqlalchemy import delete, insert
from sqlalchemy.exc import IntegrityError

from sallyport.core.errors import SallyportError
from sallyport.core.event import Audited
from sallyport.identity import claims as read
from sallyport.identity.claims import ClaimsError
from sallyport.identity.compact import REFUSED_TOKEN, token_id
from sallyport.identity.jwks import KeysError
from sallyport.identity.logged_out import KEPT, Logout
from sallyport.identity.newest import prune_logins
from sallyport.identity.oidc import IssuerSettings
from sallyport.identity.origins import by_login
from sallyport.identity.service import IdentityService
from sallyport.identity.tokens import TokenService
from sallyport.store.control_schema import logouts
from sallyport.store.database import Database

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
TYPES: Final = frozenset({"LOGOUT+JWT", "APPLICATION/LOGOUT+JWT"})
MAXIMUM_AGE: Final = 600.0
"""Seconds since a logout token was made."""

_log = structlog.get_logger("identity")


class LogoutRefused(SallyportError):
    """A logout token is not taken. The message may be shown and tells nothing of why."""


class Logouts:
    """Takes logout tokens."""

    def __init__(
        self,
        database: Database,
        identity: IdentityService,
        tokens: TokenService,
        audit: Callable[[Audited], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._identity = identity
        self._tokens = tokens
        self._audit = audit
        self._clock = clock
        self._listeners: list[Callable[[Logout], None]] = []

    def listen(self, listener: Callable[[Logout], None]) -> None:
        """Call `listener` after each logout was committed, so that sessions can be ended."""
        self._listeners.append(listener)

    async def take(self, token: str, source: str) -> int:
        """End what `token` names; return how many tokens were live. Raises: LogoutRefused."""
        try:
            return await self._end(*await self._check(token))
        except (ClaimsError, KeysError, *REFUSED_TOKEN) as error:
            reason = str(error) if isinstance(error, SallyportError) else type(error).__name__
            _log.warning("logout token refused", reason=reason)
        await self._identity.failed(source, token_id(token))
        raise LogoutRefused("the logout token is not valid")

    async def prune(self) -> None:
        """Forget what is long over. Called now and then."""
        async with self._database.write() as connection:
            over = logouts.c.at < self._clock() - KEPT
            await connection.execute(delete(logouts).where(over))
        await prune_logins(self._database, self._clock() - KEPT)

    # --- inside

    async def _check(self, token: str) -> tuple[Logout, bytes, float]:
        """Return what a logout token says (Back-Channel Logout, 2.6): the logout, its id's hash,
        and when it was. Raises: ClaimsError, KeysError, or what `compact.REFUSED_TOKEN` names.
        """
        payload, settings = await self._identity.issuers.signed(token, TYPES)
        issued = self._in_force(payload, settings)
        if not settings.clients:
            raise ClaimsError("nobody logs in at this issuer")
        read.check_audience(payload, settings.clients)
        events = payload.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
            raise ClaimsError("`events` is not a logout's")
        if "nonce" in payload:
            raise ClaimsError("`nonce` is an ID token's")
        subject, session = read.subject_identifier(payload), read.session_name(payload)
        if subject is None and session is None:
            raise ClaimsError("neither `sub` nor `sid`")
        jti = payload.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= read.MAXIMUM_IDENTIFIER:
            raise ClaimsError("`jti` is missing or odd")
        digest = hashlib.sha256(jti.encode("utf-8", "surrogatepass")).digest()
        # By the later of both clocks: a JWT of before has the issuer's time.
        at = max(issued, self._clock())
        return Logout(settings.issuer, subject, session), digest, at

    def _in_force(self, payload: dict[str, Any], settings: IssuerSettings) -> float:
        now = self._clock()
        _, issued = read.check_times(payload, now, settings.leeway)
        if issued is None:
            raise ClaimsError("`iat` is missing")
        if issued < now - MAXIMUM_AGE - settings.leeway:
            raise ClaimsError("made too long ago")
        return issued

    async def _end(self, logout: Logout, jti: bytes, at: float) -> int:
        """INVARIANT: it is on record and committed before anybody is told that it was taken."""
        row = {
            "issuer": logout.issuer,
            "jti": jti,
            "subject": logout.subject,
            "session": logout.session,
            "at": at,
        }
        async with self._database.write() as connection:
            try:
                await connection.execute(insert(logouts).values(row))
            except IntegrityError:
                raise ClaimsError("the logout token was used before") from None
            came = by_login(logout.issuer, logout.subject, logout.session)
            gone = await self._tokens.withdraw(connection, came)
            details = {"sub": logout.subject, "sid": logout.session, "count": len(gone)}
            self._audit(
                Audited("", self._clock(), "sallyport", "logged-out", logout.issuer, details)
            )
        self._tokens.announce(gone)
        for listener in self._listeners:
            listener(logout)
        return len(gone)
