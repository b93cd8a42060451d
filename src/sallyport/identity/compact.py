"""Compact JWTs taken apart strictly, before and after their signature is verified.

RFC 7515 and 7519; the checks are RFC 8725's. Nothing here trusts what it returns: a header chooses
neither algorithm nor key, it only says which of those that were chosen beforehand it claims.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError

from sallyport.identity.claims import ClaimsError

ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
    | {"EdDSA", "Ed25519"}
)
MAXIMUM_TOKEN: Final = 16 * 1024
"""Characters of the largest JWT."""

MAXIMUM_KEY_ID: Final = 256
REFUSED_TOKEN: Final = (JoseError, ValueError, binascii.Error, RecursionError)
"""What reading and verifying a token raises beside `ClaimsError`, all of it a no."""

_TYPES: Final = frozenset({"JWT", "AT+JWT", "APPLICATION/AT+JWT", "APPLICATION/JWT"})
_PART: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


class AllowedAlgorithms(jws.JWSRegistry):
    """An allow-list and nothing else. `EdDSA` is Ed25519 here: no warning is due."""

    def __init__(self, algorithms: Collection[str]) -> None:
        super().__init__(algorithms=list(algorithms), strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        """Return the algorithm. Raises: UnsupportedAlgorithmError."""
        if name not in ASYMMETRIC or not self.allowed or name not in self.allowed:
            raise UnsupportedAlgorithmError("algorithm is not on the list")
        return self.algorithms[name]


def token_id(token: str) -> str:
    """Return what a JWT is called in records: never the token, and nothing that its maker chose.

    Its signature is left out, so that a signature in another encoding is the same token.
    """
    signed = token.rpartition(".")[0]
    return "jwt-" + hashlib.sha256(signed.encode()).hexdigest()[:24]


def look_into(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims, both unverified. Raises: ClaimsError, ValueError and its like."""
    if len(token) > MAXIMUM_TOKEN or not token.isascii() or token.count(".") != 2:
        raise ClaimsError("not a signed JWT, or too long")
    head, body, _ = token.split(".")
    return strict_object(_decode(head)), strict_object(_decode(body))


def check_header(
    header: dict[str, Any], algorithms: Collection[str], types: Collection[str] = ()
) -> tuple[str, str | None]:
    """Return the algorithm, which is one of `algorithms`, and the key's id. Raises: ClaimsError."""
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise ClaimsError("`alg` is not on the list")
    if kid is not None and (not isinstance(kid, str) or len(kid) > MAXIMUM_KEY_ID):
        raise ClaimsError("`kid` is odd")
    if not isinstance(kind, str) or kind.upper() not in _TYPES.union(types):
        raise ClaimsError("`typ` is not a JWT's")
    if "crit" in header or "b64" in header:
        raise ClaimsError("an extension is demanded that is not understood")
    return algorithm, kid


def strict_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object that no two parsers read differently.

    Raises: ClaimsError for anything else, ValueError for what is no JSON.
    """
    value = json.loads(
        text.decode("utf-8"),
        object_pairs_hook=_unique,
        parse_constant=_refuse,
        parse_int=_whole,
        parse_float=_finite,
    )
    if not isinstance(value, dict):
        raise ClaimsError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ClaimsError("a key stands twice in one object")
    return found


def _whole(text: str) -> int:
    if len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 63:
        raise ClaimsError("a number is too large")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ClaimsError("a number is too large")
    return number


def _refuse(name: str) -> object:
    raise ClaimsError(f"{name} is no JSON value")


def _decode(part: str) -> bytes:
    if _PART.fullmatch(part) is None:
        raise ClaimsError("not base64url")
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
