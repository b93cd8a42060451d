"""What a verified JWT's claims say, read so that nothing odd in them lets anybody in.

RFC 7519 (claims), RFC 8725 (best practice), OpenID Connect Core 3.1.3.7, RFC 8693 (`act`).
Every function returns None, or raises `ClaimsError`, rather than guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sallyport.core.errors import SallyportError
from sallyport.identity.names import MAXIMUM_GROUPS, is_name

MAXIMUM_ACTORS: Final = 8
MAXIMUM_IDENTIFIER: Final = 256
"""Characters of a `sub` or `sid`."""

BOOKKEEPING: Final = frozenset({"iss", "aud", "exp", "nbf", "jti", "nonce", "at_hash", "c_hash"})
"""Claims of the token itself: checked, never matched on, and not kept."""


class ClaimsError(SallyportError):
    """A claim is missing, odd or says no. The message is for the log, never for a client."""


def instant(claims: Mapping[str, Any], name: str, *, required: bool = False) -> float | None:
    """Return a NumericDate. FAILS CLOSED: NaN, infinities and booleans are no instants."""
    value = claims.get(name)
    if value is None and not required:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClaimsError(f"`{name}` is not a number")
    if not abs(value) < 1e12 or not math.isfinite(value):
        raise ClaimsError(f"`{name}` is not an instant")
    return float(value)


def check_times(claims: Mapping[str, Any], now: float, leeway: float) -> tuple[float, float | None]:
    """Return `exp` and `iat` when the token is in force at `now`. Raises: ClaimsError."""
    expires = instant(claims, "exp", required=True)
    if expires is None or now >= expires + leeway:
        raise ClaimsError("expired")
    begins = instant(claims, "nbf")
    if begins is not None and now < begins - leeway:
        raise ClaimsError("not yet in force")
    issued = instant(claims, "iat")
    if issued is not None and now < issued - leeway:
        raise ClaimsError("issued in the future")
    return expires, issued


def check_audience(claims: Mapping[str, Any], audiences: Sequence[str]) -> None:
    """Demand that the token is meant for this gateway. Raises: ClaimsError.

    A token for several audiences must have been made for one of ours (`azp`), else any of the
    others could replay it here.
    """
    given = claims.get("aud")
    named = [given] if isinstance(given, str) else given
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise ClaimsError("`aud` is missing or odd")
    if not set(named) & set(audiences):
        raise ClaimsError("`aud` is somebody else")
    party = claims.get("azp")
    if party is not None and not isinstance(party, str):
        raise ClaimsError("`azp` is odd")
    if not set(named) <= set(audiences) and party not in audiences:
        raise ClaimsError("several audiences, and `azp` is not ours")


def subject_name(claims: Mapping[str, Any], claim: str) -> str:
    """Return who the token is about. An email address that is not said to be verified is nobody's.

    Where a provider leaves it unverified, whoever runs any account there can write any address.
    """
    name = claims.get(claim)
    if not isinstance(name, str) or not is_name(name):
        raise ClaimsError(f"`{claim}` is not a name")
    if claim == "email" and claims.get("email_verified") not in (True, "true"):
        raise ClaimsError("`email` is not verified")
    return name


def session_name(claims: Mapping[str, Any]) -> str | None:
    """Return `sid`, the login at the issuer that a token came of, or None (OIDC Front-Channel, 3).

    FAILS CLOSED: one that could not be ended by its name is refused.
    """
    return _short(claims, "sid")


def subject_identifier(claims: Mapping[str, Any]) -> str | None:
    """Return `sub`, which is not always what the subject is called here, or None."""
    return _short(claims, "sub")


def _short(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAXIMUM_IDENTIFIER:
        raise ClaimsError(f"`{name}` is odd")
    return value


def first_key(claims: Mapping[str, Any], path: str) -> str:
    """Return the key that `path` begins with: itself, or its longest part that is there.

    Names of claims hold dots themselves (`kubernetes.io`), so a path is read by what is there.
    """
    key = path
    while key not in claims:
        shorter = key.rpartition(".")[0]
        if not shorter:
            return path.partition(".")[0]
        key = shorter
    return key


def at_path(claims: Mapping[str, Any], path: str) -> object:
    """Return what stands at `path`, such as `realm_access.roles`, or None."""
    value: object = claims
    while path:
        if not isinstance(value, Mapping):
            return None
        key = first_key(value, path)
        value, path = value.get(key), path[len(key) + 1 :]
    return value


def group_names(claims: Mapping[str, Any], claim: str) -> tuple[str, ...]:
    """Return the groups of `claim`, which may be a path.

    FAILS CLOSED: too many groups refuse the token: a group that is left out could be the one that
    a rule denies.
    """
    value = at_path(claims, claim)
    if value is None:
        return ()
    groups = [value] if isinstance(value, str) else value
    if not isinstance(groups, list) or len(groups) > MAXIMUM_GROUPS:
        raise ClaimsError(f"`{claim}` is no list of groups, or too long")
    if not all(isinstance(group, str) and is_name(group) for group in groups):
        raise ClaimsError(f"`{claim}` holds what is no group")
    return tuple(dict.fromkeys(groups))


def actor_names(claims: Mapping[str, Any], subject_claim: str = "sub") -> tuple[str, ...]:
    """Return the chain of those who act for the subject (`act`), the nearest first.

    Each by the claim that names a subject of this issuer, where it is said of them, since they are
    known by that when they come themselves; else by `sub` (RFC 8693, 4.1).
    """
    actors: list[str] = []
    actor = claims.get("act")
    while actor is not None:
        name = None
        if isinstance(actor, Mapping):
            name = actor.get(subject_claim, actor.get("sub"))
        if not isinstance(name, str) or not is_name(name) or len(actors) == MAXIMUM_ACTORS:
            raise ClaimsError("`act` is odd or too long")
        actors.append(name)
        actor = actor.get("act") if isinstance(actor, Mapping) else None
    return tuple(actors)


def other_claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return what policy may match on: all but the token's own bookkeeping."""
    return {name: value for name, value in claims.items() if name not in BOOKKEEPING}
