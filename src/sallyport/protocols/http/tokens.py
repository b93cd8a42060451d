"""Tokens: where a request carries the gateway's own token, and what is left without it.

The token stands in `X-Sallyport-Token`, `Proxy-Authorization` or `Authorization`, in that order: as
a Bearer token (RFC 6750) or as Basic's password (RFC 7617). All three go, whatever they hold, but
for an `Authorization` that is meant for the target.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

from sallyport.protocols.http.message import Fields, get_all

OWN: Final = b"x-sallyport-"
"""How the gateway's own field names begin: none of them reaches a target."""
_LONGEST: Final = 16 * 1024


class Shown(NamedTuple):
    """What a request shows. `login` is the target's login that it names; `basic`: a browser sends
    it by itself. `slot` is the field that it stood in."""

    token: str
    login: str | None = None
    basic: bool = False
    slot: bytes = b""


def shown(fields: Fields) -> Shown | None:
    """Return what a request shows for a token; None: nothing, or nothing that can be read."""
    own = get_all(fields, b"x-sallyport-token")
    if own:
        return _one(own, b"x-sallyport-token", lambda value: Shown(value))
    for slot in (b"proxy-authorization", b"authorization"):
        values = get_all(fields, slot)
        if values:
            return _one(values, slot, _authorization)
    return None


def _one(values: list[bytes], slot: bytes, read: object) -> Shown | None:
    """FAILS CLOSED: of two nobody knows which counts."""
    if len(values) != 1 or not 0 < len(values[0]) <= _LONGEST or not callable(read):
        return None
    try:
        found: Shown | None = read(values[0].decode("ascii"))
    except UnicodeDecodeError:
        return None
    return found._replace(slot=slot) if found is not None else None


def _authorization(value: str) -> Shown | None:
    scheme, _, rest = value.partition(" ")
    rest = rest.strip(" ")
    if scheme.lower() == "bearer" and rest:
        return Shown(rest)
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    if not colon:
        return None
    if not password:  # `https://TOKEN@host`: the token in the user's place
        return Shown(user, None, True) if user else None
    return Shown(password, user or None, True)


def without_token(fields: Fields, slot: bytes) -> Fields:
    """Return the fields without the gateway's own, and without what the token stood in."""
    return [
        field
        for field in fields
        if not field[0].startswith(OWN)
        and field[0] not in (b"proxy-authorization", b"proxy-authenticate", slot)
    ]


def leaks(token: str, fields: Fields) -> bool:
    """Whether the token still stands in a field that would reach the target."""
    raw = token.encode()
    return any(raw in value for _, value in fields)
