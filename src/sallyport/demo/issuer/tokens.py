"""Tokens: signed with a key that is made anew at each start, and is nowhere but in memory."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.jwk import ECKey

from sallyport.demo.issuer.logins import Login
from sallyport.identity.claims import ClaimsError
from sallyport.identity.compact import (
    MAXIMUM_TOKEN,
    REFUSED_TOKEN,
    AllowedAlgorithms,
    strict_object,
)
from sallyport.identity.logouts import EVENT
from sallyport.identity.relying.id_token import at_hash

ALGORITHM: Final = "ES256"
LASTS: Final = 300
"""Seconds of an ID token."""

LOGOUT_LASTS: Final = 120


class Signer:
    """Signs for one issuer. `clock` in epoch seconds."""

    def __init__(self, issuer: str, clock: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._clock = clock
        self._key = ECKey.generate_key(
            "P-256", {"kid": secrets.token_hex(8), "use": "sig", "alg": ALGORITHM}, private=True
        )

    def key_set(self) -> dict[str, Any]:
        """Return what signatures are verified with."""
        return {"keys": [dict(self._key.as_dict(private=False))]}

    def id_token(self, login: Login, access_token: str, nonce: str = "") -> str:
        """Return an ID token (OpenID Connect Core 2); had anew, it has no nonce (12.2)."""
        person, now = login.person, int(self._clock())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": login.client,
            "sub": person.subject,
            "name": person.name,
            "email": person.email,
            "email_verified": True,
            "groups": list(person.groups),
            "sid": login.sid,
            "auth_time": int(login.since),
            "at_hash": at_hash(access_token, ALGORITHM),
            "iat": now,
            "exp": now + LASTS,
        }
        if nonce:
            claims["nonce"] = nonce
        return self._sign(claims, "JWT")

    def logout_token(self, login: Login) -> str:
        """Return what tells a client that a login has ended (Back-Channel Logout 1.0, 2.4)."""
        now = int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": login.client,
            "sub": login.person.subject,
            "sid": login.sid,
            "events": {EVENT: {}},
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + LOGOUT_LASTS,
        }
        return self._sign(claims, "logout+jwt")

    def read_hint(self, token: str) -> tuple[str, str] | None:
        """Return client and `sid` of an ID token of ours, expired or not; None for any other."""
        if len(token) > MAXIMUM_TOKEN:
            return None
        try:
            registry = AllowedAlgorithms((ALGORITHM,))
            claims = strict_object(
                jws.deserialize_compact(token, self._key, registry=registry).payload
            )
        except (ClaimsError, *REFUSED_TOKEN):
            return None
        client, sid = claims.get("aud"), claims.get("sid")
        if not isinstance(client, str) or not isinstance(sid, str):
            return None
        return client, sid

    def _sign(self, claims: dict[str, Any], kind: str) -> str:
        header = {"alg": ALGORITHM, "kid": self._key.kid, "typ": kind}
        return jwt.encode(header, claims, self._key, algorithms=[ALGORITHM])
