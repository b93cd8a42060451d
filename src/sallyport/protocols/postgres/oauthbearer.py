"""SASL OAUTHBEARER, as PostgreSQL 18's clients speak it (RFC 7628): what a client says in it.

A client without a token sends an empty one, and is told where to get it. No socket, no clock.
"""

from __future__ import annotations

import json
import re
from typing import Final

from sallyport.protocols.postgres.startup import refuse

NAME: Final = "OAUTHBEARER"
DISMISSED: Final = b"\x01"
"""What a client answers to the error (RFC 7628, section 3.2.3)."""
MAXIMUM_MESSAGE: Final = 20 * 1024
"""Bytes of an initial response: the largest JWT, and room for other keys."""
WELL_KNOWN: Final = "/.well-known/openid-configuration"

_PAIRS: Final = re.compile(rb"(?:[A-Za-z]+=[\x20-\x7e\t\r\n]*\x01){0,8}")
_BEARER: Final = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


def parse_initial(message: bytes) -> str:
    """Return the token of a client's initial response, "" where it asks for discovery.

    Other keys (`host`, `port`) are passed over, as the RFC has it. Raises: ProtocolViolation.
    """
    if len(message) > MAXIMUM_MESSAGE:
        raise _violation("the response is too long")
    header, mark, rest = message.partition(b"\x01")
    flag, comma, authorization = header.partition(b",")
    if not mark or not comma or not authorization.endswith(b","):
        raise _violation("the response has no header")
    if flag not in (b"n", b"y"):
        raise _violation("channel binding is not offered for it")
    if authorization != b",":
        raise _violation("an authorization identity is not taken", "28000")
    if not rest.endswith(b"\x01") or _PAIRS.fullmatch(rest[:-1]) is None:
        raise _violation("the response is of another form")
    pairs = [pair.partition(b"=") for pair in rest[:-1].split(b"\x01") if pair]
    given = [value for key, _, value in pairs if key == b"auth"]
    if len(given) != 1:
        raise _violation("there is not one `auth`")
    if not given[0]:
        return ""
    bearer = _BEARER.fullmatch(given[0])
    if bearer is None:
        raise _violation("`auth` is no bearer token")
    return bearer[1].decode("ascii")


def error(issuer: str, scope: str) -> bytes:
    """Return the JSON that sends a client to the issuer for a token."""
    url = issuer if "/.well-known/" in issuer else issuer.rstrip("/") + WELL_KNOWN
    answer = {"status": "invalid_token", "openid-configuration": url, "scope": scope}
    return json.dumps(answer).encode("ascii")


def _violation(what: str, code: str = "08P01") -> Exception:
    return refuse(f"oauthbearer: {what}", code)
