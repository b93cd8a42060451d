"""OIDC: JWTs of configured issuers become subjects.

RFC 7515 and 7519 by joserfc; the checks around it are RFC 8725's. INVARIANT: the algorithm comes
from the issuer's allow-list, which holds asymmetric algorithms only, and the key from its key set:
nothing in the token chooses either.
"""

from __future__ import annotations

import binascii
import hashlib
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import structlog
from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from msgspec import Struct

from sallyport.core.subject import Subject
from sallyport.identity import claims as read
from sallyport.identity.claims import ClaimsError
from sallyport.identity.jwks import Jwks, KeysError
from sallyport.identity.revocations import is_revoked
from sallyport.store.database import Database

ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
    | {"EdDSA", "Ed25519"}
)
MAXIMUM_TOKEN: Final = 16 * 1024
"""Characters of the largest JWT."""

_TYPES: Final = frozenset({"JWT", "AT+JWT", "APPLICATION/AT+JWT", "APPLICATION/JWT"})
_log = structlog.get_logger("identity")


class IssuerSettings(Struct, frozen=True):
    """One issuer. `session_ttl` in seconds, None: the JWT's own expiry ends a session."""

    name: str
    issuer: str
    audience: tuple[str, ...]
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    jwks: str | None = None
    subject_claim: str = "sub"
    groups_claim: str = "groups"
    session_ttl: float | None = None
    leeway: float = 30.0


class Issuers:
    """All issuers whose JWTs are taken."""

    def __init__(
        self,
        settings: Sequence[IssuerSettings],
        database: Database,
        clock: Callable[[], float] = time.time,
        previous: Issuers | None = None,
    ) -> None:
        """Check `settings`; keys that `previous` has fetched are kept. Raises: ValueError."""
        self._database = database
        self._clock = clock
        self._registries = {s.issuer: _registry(s) for s in settings}
        self._settings = {s.issuer: s for s in settings}
        if len(self._settings) != len(settings):
            raise ValueError("two issuers have the same `issuer`")
        known = previous.keys if previous is not None else {}
        self.keys: dict[tuple[str, str | None], Jwks] = {
            (s.issuer, s.jwks): known.get((s.issuer, s.jwks)) or Jwks(s.issuer, s.jwks)
            for s in settings
        }

    async def check(self, token: str) -> Subject | None:
        """Return whom `token` is about, or None; why not is logged, and told to nobody."""
        try:
            return await self._check(token)
        except (ClaimsError, KeysError) as error:
            _log.info("token refused", reason=str(error))
        except (JoseError, ValueError, binascii.Error, RecursionError) as error:
            _log.info("token refused", reason=type(error).__name__)
        return None

    def knows(self, issuer: str) -> bool:
        """Whether JWTs of `issuer` are taken."""
        return issuer in self._settings

    async def revoked(self, subject: Subject) -> bool:
        """Whether the JWT behind `subject` was revoked here since it was checked."""
        issued = read.instant(subject.claims, "iat")
        return await is_revoked(self._database, subject.token, subject.name, issued)

    async def _check(self, token: str) -> Subject:
        header, unverified = _look_into(token)
        settings = self._settings.get(unverified)
        if settings is None:
            raise ClaimsError("`iss` is not an issuer of ours")
        algorithm, kid = _check_header(header, settings)
        key = await self.keys[(settings.issuer, settings.jwks)].find(kid, algorithm)
        if key is None:
            raise ClaimsError("no key of the issuer fits")
        registry = self._registries[settings.issuer]
        verified = jws.deserialize_compact(token, key, registry=registry)
        payload = _mapping(verified.payload)
        if payload.get("iss") != settings.issuer:
            raise ClaimsError("`iss` is not what was looked up")
        return await self._subject(token, payload, settings)

    async def _subject(
        self, token: str, payload: dict[str, Any], settings: IssuerSettings
    ) -> Subject:
        now = self._clock()
        expires, issued = read.check_times(payload, now, settings.leeway)
        read.check_audience(payload, settings.audience)
        name = read.subject_name(payload, settings.subject_claim)
        identifier = token_id(token)
        if await is_revoked(self._database, identifier, name, issued):
            raise ClaimsError("revoked here")
        return Subject(
            name=name,
            groups=read.group_names(payload, settings.groups_claim),
            issuer=settings.issuer,
            token=identifier,
            expires=expires if settings.session_ttl is None else now + settings.session_ttl,
            claims=read.other_claims(payload),
            actors=read.actor_names(payload),
        )


class _Registry(jws.JWSRegistry):
    """The issuer's own allow-list and nothing else. `EdDSA` is Ed25519 here: no warning is due."""

    def get_alg(self, name: str) -> Any:
        if name not in ASYMMETRIC or not self.allowed or name not in self.allowed:
            raise UnsupportedAlgorithmError("algorithm is not on the issuer's list")
        return self.algorithms[name]


def token_id(token: str) -> str:
    """Return what a JWT is called in records: never the token, and nothing that its maker chose.

    Its signature is left out, so that a signature in another encoding is the same token.
    """
    signed = token.rpartition(".")[0]
    return "jwt-" + hashlib.sha256(signed.encode()).hexdigest()[:24]


def _registry(settings: IssuerSettings) -> _Registry:
    wrong = set(settings.algorithms) - ASYMMETRIC
    if wrong or not settings.algorithms:
        names = ", ".join(sorted(wrong)) or "none"
        raise ValueError(f"issuer `{settings.name}`: algorithm `{names}` is not taken")
    if not settings.audience:
        raise ValueError(f"issuer `{settings.name}` names no audience")
    return _Registry(algorithms=list(settings.algorithms), strict_check_header=False)


def _look_into(token: str) -> tuple[dict[str, Any], str]:
    """Return the header and the issuer that the token claims, both still unverified."""
    if len(token) > MAXIMUM_TOKEN or not token.isascii() or token.count(".") != 2:
        raise ClaimsError("not a signed JWT, or too long")
    head, body, _ = token.split(".")
    issuer = _mapping(_decode(body)).get("iss")
    if not isinstance(issuer, str):
        raise ClaimsError("`iss` is missing")
    return _mapping(_decode(head)), issuer


def _check_header(header: dict[str, Any], settings: IssuerSettings) -> tuple[str, str | None]:
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in settings.algorithms:
        raise ClaimsError("`alg` is not on the issuer's list")
    if kid is not None and (not isinstance(kid, str) or len(kid) > 256):
        raise ClaimsError("`kid` is odd")
    if not isinstance(kind, str) or kind.upper() not in _TYPES:
        raise ClaimsError("`typ` is not a JWT's")
    if "crit" in header or "b64" in header:
        raise ClaimsError("an extension is demanded that is not understood")
    return algorithm, kid


def _decode(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _mapping(text: bytes) -> dict[str, Any]:
    value = msgspec.json.decode(text)
    if not isinstance(value, dict):
        raise ClaimsError("not a JSON object")
    return value
