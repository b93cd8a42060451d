"""What an ID token must show before anything is done with it (OpenID Connect Core 3.1.3.7, 12.2).

The gateway checks it again. Here it is checked that it is the answer to what was asked: `nonce`
ties it to this login, `at_hash` to the access token that came beside it.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Final

from joserfc import jws

from sallyport.identity import claims as read
from sallyport.identity.claims import ClaimsError
from sallyport.identity.compact import (
    ASYMMETRIC,
    REFUSED_TOKEN,
    AllowedAlgorithms,
    check_header,
    look_into,
    strict_object,
)
from sallyport.identity.jwks import PublicKey
from sallyport.identity.relying.errors import ProviderError

LEEWAY: Final = 120.0
"""Seconds that this machine's clock may be apart from the provider's."""

_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}

FindKey = Callable[[str | None, str], PublicKey]


def check_id_token(
    token: str,
    *,
    find_key: FindKey,
    issuer: str,
    client_id: str,
    access_token: str,
    nonce: str | None,
    now: float,
    subject: str | None = None,
) -> dict[str, Any]:
    """Return the claims of an ID token that is ours. `nonce`: what was sent, None: nothing was.

    `subject`: whose it must be, when it is had anew; then a nonce may be left out. Raises:
    ProviderError; the message names the check that failed, never the token.
    """
    try:
        header, unverified = look_into(token)
        algorithm, kid = check_header(header, ASYMMETRIC)
        if unverified.get("iss") != issuer:
            raise ClaimsError("`iss` is another issuer")
        registry = AllowedAlgorithms((algorithm,))
        verified = jws.deserialize_compact(token, find_key(kid, algorithm), registry=registry)
        claims = strict_object(verified.payload)
        _check(claims, issuer, client_id, now, subject)
        _check_nonce(claims, nonce, again=subject is not None)
        _check_at_hash(claims, access_token, algorithm)
    except ClaimsError as error:
        raise ProviderError(f"the provider's ID token is not taken: {error}") from None
    except REFUSED_TOKEN as error:
        reason = type(error).__name__
        raise ProviderError(f"the provider's ID token is not taken: {reason}") from None
    return claims


def at_hash(access_token: str, algorithm: str) -> str:
    """Return what `at_hash` must be (Core 3.1.3.6); Ed25519 hashes with SHA-512."""
    digest = _HASHES.get(algorithm[-3:], hashlib.sha512)(access_token.encode("ascii")).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).decode("ascii").rstrip("=")


def _check(
    claims: dict[str, Any], issuer: str, client_id: str, now: float, subject: str | None
) -> None:
    if claims.get("iss") != issuer:
        raise ClaimsError("`iss` is another issuer")
    read.check_audience(claims, (client_id,))
    if "azp" in claims and claims["azp"] != client_id:
        raise ClaimsError("`azp` is another client")
    if "events" in claims:
        raise ClaimsError("an event, and no ID token")
    _, issued = read.check_times(claims, now, LEEWAY)
    if issued is None:
        raise ClaimsError("`iat` is missing")
    if read.subject_identifier(claims) is None:
        raise ClaimsError("`sub` is missing")
    if subject is not None and claims["sub"] != subject:
        raise ClaimsError("`sub` is somebody else")


def _check_nonce(claims: dict[str, Any], nonce: str | None, *, again: bool) -> None:
    given = claims.get("nonce")
    if given is None and (nonce is None or again):
        return
    if nonce is None or not isinstance(given, str):
        raise ClaimsError("`nonce` is not what was sent")
    if not hmac.compare_digest(given.encode(), nonce.encode()):
        raise ClaimsError("`nonce` is not what was sent")


def _check_at_hash(claims: dict[str, Any], access_token: str, algorithm: str) -> None:
    given = claims.get("at_hash")
    if given is None:
        return
    wanted = at_hash(access_token, algorithm)
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), wanted.encode()):
        raise ClaimsError("`at_hash` is of another access token")
