"""OIDC: JWTs of configured issuers become subjects.

RFC 7515 and 7519 by joserfc; the checks around it are RFC 8725's. INVARIANT: the algorithm comes
from the issuer's allow-list, which holds asymmetric algorithms only, and the key from its key set:
nothing in the token chooses either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog
from joserfc import jws
from msgspec import Struct

from sallyport.core.subject import Subject
from sallyport.identity import claims as read
from sallyport.identity.authorities import told_authorities
from sallyport.identity.claims import ClaimsError
from sallyport.identity.compact import (
    ASYMMETRIC,
    REFUSED_TOKEN,
    AllowedAlgorithms,
    check_header,
    look_into,
    strict_object,
    token_id,
)
from sallyport.identity.jwks import KEPT, Jwks, KeysError
from sallyport.identity.logged_out import is_logged_out
from sallyport.identity.mapping import ClaimMapping, GroupRule
from sallyport.identity.newest import is_outdated
from sallyport.identity.presets import PRESETS
from sallyport.identity.revocations import is_revoked
from sallyport.store.database import Database

_log = structlog.get_logger("identity")


class IssuerSettings(Struct, frozen=True):
    """One issuer. `session_ttl` in seconds, None: the JWT's own expiry ends a session.

    `subjects` None: all of them; `take_groups` None: unless there are `groups` rules;
    `keys_kept`: seconds that keys which cannot be fetched anew still serve; `ca`: PEM;
    `clients`: the client ids that people log in by, empty: nobody does. ID tokens for them are
    taken, and logout tokens for them alone.
    """

    name: str
    issuer: str
    audience: tuple[str, ...]
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    jwks: str | None = None
    subject_claim: str = "sub"
    groups_claim: str = "groups"
    session_ttl: float | None = None
    leeway: float = 30.0
    preset: str | None = None
    subjects: tuple[str, ...] | None = None
    groups: tuple[GroupRule, ...] = ()
    take_groups: bool | None = None
    group_prefix: str = ""
    strip_slash: bool = False
    keys_kept: float = KEPT
    ca: str | None = None
    clients: tuple[str, ...] = ()

    @property
    def source(self) -> tuple[str, str | None, str | None]:
        """Where its keys come from; while that stays, they are kept by a reload."""
        return self.issuer, self.jwks, self.ca


class _Issuer:
    """One issuer, compiled. Raises: ValueError."""

    def __init__(self, settings: IssuerSettings) -> None:
        wrong = set(settings.algorithms) - ASYMMETRIC
        if wrong or not settings.algorithms:
            names = ", ".join(sorted(wrong)) or "none"
            raise ValueError(f"issuer `{settings.name}`: algorithm `{names}` is not taken")
        if not settings.audience:
            raise ValueError(f"issuer `{settings.name}` names no audience")
        self.settings = settings
        self.authorities = told_authorities(settings.ca) if settings.clients else ""
        self.registry = AllowedAlgorithms(settings.algorithms)
        self.audience = (*settings.audience, *settings.clients)
        take = not settings.groups if settings.take_groups is None else settings.take_groups
        preset = PRESETS.get(settings.preset or "")
        self.types = frozenset[str]() if preset is None else preset.types
        self.mapping = ClaimMapping(
            settings.subject_claim,
            settings.groups_claim,
            settings.groups,
            settings.subjects,
            take,
            settings.group_prefix,
            settings.strip_slash,
            "" if preset is None else preset.overage,
        )


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
        self._issuers = {s.issuer: _Issuer(s) for s in settings}
        if len(self._issuers) != len(settings):
            raise ValueError("two issuers have the same `issuer`")
        known = previous.keys if previous is not None else {}
        self.keys: dict[tuple[str, str | None, str | None], Jwks] = {
            s.source: known.get(s.source) or Jwks(s.issuer, s.jwks, ca=s.ca) for s in settings
        }
        for one in settings:
            self.keys[one.source].kept = one.keys_kept

    async def check(self, token: str) -> Subject | None:
        """Return whom `token` is about, or None; why not is logged, and told to nobody."""
        try:
            _, subject = await self.verify(token)
            return subject
        except (ClaimsError, KeysError) as error:
            _log.info("token refused", reason=str(error))
        except REFUSED_TOKEN as error:
            _log.info("token refused", reason=type(error).__name__)
        return None

    def knows(self, issuer: str) -> bool:
        """Whether JWTs of `issuer` are taken."""
        return issuer in self._issuers

    def authorities(self, issuer: str) -> str:
        """Return the PEM of who vouches for the https of an issuer where people log in.

        Empty: the system's authorities do.
        """
        known = self._issuers.get(issuer)
        return "" if known is None else known.authorities

    def is_login(self, checked: str, issuer: str) -> bool:
        """Whether a JWT that was `checked` is what people get by logging in."""
        known, (_, payload) = self._issuers.get(issuer), look_into(checked)
        named = payload.get("aud")
        audience = named if isinstance(named, list) else [named]
        return known is not None and any(one in audience for one in known.settings.clients)

    def gives_still(self, subject: Subject) -> bool:
        """Whether the settings in force make the same of the claims that `subject` came with.

        More roles do not matter: a session has no use for them.
        """
        known = self._issuers.get(subject.issuer)
        if known is None:
            return False
        try:
            mapped = known.mapping.of(subject.claims)
        except ClaimsError:
            return False
        return mapped.name == subject.name and mapped.groups == subject.groups

    async def revoked(self, subject: Subject) -> bool:
        """Whether the JWT behind `subject` was revoked, or logged out, since it was checked."""
        known, issued = self._issuers.get(subject.issuer), read.instant(subject.claims, "iat")
        names = (subject.name, *subject.actors)
        made = None if known is None else _at_latest(issued, known.settings)
        if await is_revoked(self._database, subject.token, names, made):
            return True
        if await is_logged_out(self._database, subject.issuer, subject.claims):
            return True
        return await is_outdated(self._database, subject)

    async def verify(self, token: str) -> tuple[dict[str, Any], Subject]:
        """Return the claims of `token` and whom it is about.

        Raises: ClaimsError, KeysError, or one of `REFUSED_TOKEN`: each of them is a no.
        """
        payload, settings = await self.signed(token)
        return payload, await self._subject(token, payload, self._issuers[settings.issuer])

    async def signed(
        self, token: str, types: Collection[str] = ()
    ) -> tuple[dict[str, Any], IssuerSettings]:
        """Return what an issuer of ours has signed, and which; its times and audience unchecked.

        `types`: what else than a JWT's its `typ` may be. Raises: as `verify`.
        """
        header, unverified = look_into(token)
        named = unverified.get("iss")
        known = self._issuers.get(named) if isinstance(named, str) else None
        if known is None:
            raise ClaimsError("`iss` is not an issuer of ours")
        settings = known.settings
        algorithm, kid = check_header(header, settings.algorithms, known.types.union(types))
        key = await self.keys[settings.source].find(kid, algorithm)
        if key is None:
            raise ClaimsError("no key of the issuer fits")
        verified = jws.deserialize_compact(token, key, registry=known.registry)
        payload = strict_object(verified.payload)
        if payload.get("iss") != settings.issuer:
            raise ClaimsError("`iss` is not what was looked up")
        return payload, settings

    async def _subject(self, token: str, payload: dict[str, Any], known: _Issuer) -> Subject:
        now, settings = self._clock(), known.settings
        expires, issued = read.check_times(payload, now, settings.leeway)
        read.check_audience(payload, known.audience)
        if "events" in payload:  # a logout token has the same key and audience (RFC 8417)
            raise ClaimsError("an event, which lets nobody in")
        claims = read.other_claims(payload)
        mapped = known.mapping.of(claims)
        identifier = token_id(token)
        actors = read.actor_names(payload, settings.subject_claim)
        made = _at_latest(issued, settings)
        if await is_revoked(self._database, identifier, (mapped.name, *actors), made):
            raise ClaimsError("revoked here")
        if await is_logged_out(self._database, settings.issuer, claims):
            raise ClaimsError("logged out at the issuer")
        subject = Subject(
            name=mapped.name,
            groups=mapped.groups,
            issuer=settings.issuer,
            token=identifier,
            expires=expires if settings.session_ttl is None else now + settings.session_ttl,
            claims=claims,
            actors=actors,
            roles=mapped.roles,
        )
        if await is_outdated(self._database, subject):
            raise ClaimsError("a newer login gives less")
        return subject


def _at_latest(issued: float | None, settings: IssuerSettings) -> float | None:
    """Return when a JWT may have been made by the gateway's clock, if the issuer's is ahead.

    FAILS CLOSED: by as much as that is borne with, a JWT of before a revocation could say that it
    is one of after.
    """
    return None if issued is None else issued - settings.leeway
