"""The token endpoint: what a program shows is exchanged for a short-lived token of the gateway's.

RFC 8693 (a JWT of a trusted issuer, perhaps with that of an actor) and RFC 6749, 4.4 with RFC 7523
(a service account's client assertion). INVARIANTS: a token that was given here is worth no more
than what was shown for it (groups, roles, claims, time), and no token of the gateway's own can be
shown again for another, so nothing lasts by being exchanged. Every failure to prove something is
one same answer; what was wrong stands in the log alone.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.errors import SallyportError
from sallyport.core.subject import Subject
from sallyport.identity.assertions import Assertion, ClientAssertions
from sallyport.identity.claims import MAXIMUM_ACTORS, ClaimsError
from sallyport.identity.compact import REFUSED_TOKEN, token_id
from sallyport.identity.jwks import KeysError
from sallyport.identity.names import in_networks, is_loopback, is_name, plain_address
from sallyport.identity.newest import note_login
from sallyport.identity.origins import Origin, origin_of
from sallyport.identity.service import IdentityService
from sallyport.identity.token_checks import MAXIMUM_LIST
from sallyport.identity.token_records import Given
from sallyport.identity.tokens import Accompany, TokenService
from sallyport.store.control_schema import tokens
from sallyport.store.database import Database

_GRANT: Final = "urn:ietf:params:oauth:grant-type:"
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
EXCHANGE: Final = f"{_GRANT}token-exchange"
CLIENT_CREDENTIALS: Final = "client_credentials"
ACCESS_TOKEN: Final = f"{_TYPE}access_token"
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_TYPES: Final = frozenset({f"{_TYPE}jwt", f"{_TYPE}id_token", ACCESS_TOKEN})
SIGN_IN: Final = "sign-in"
"""`via` of what a browser's login gave."""

_NAMED: Final = {"exchange": "exchanged by", SIGN_IN: "sign-in of"}
MAXIMUM_LIVE: Final = 1_000
"""Tokens that one subject may have had given here and that are still in force."""

_REPEATED: Final = frozenset({"audience", "resource"})
"""Parameters that RFC 8693 lets stand more than once."""

_log = structlog.get_logger("identity")

Form = Mapping[str, Sequence[str]]
"""The parameters of a request, each with its values."""


class OAuthSettings(Struct, frozen=True):
    """`endpoint` is what assertions must name; `lifetime` in seconds; `bind_source`: a token is
    only taken from the address that it was given to."""

    endpoint: str = ""
    lifetime: float = 900.0
    bind_source: bool = False


class OAuthRefused(SallyportError):
    """No token is given. `error` is RFC 6749's word for it; the message may be shown."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class Issued(Struct, frozen=True):
    """A token that was given. `expires_in` in whole seconds; `kind` of an exchange alone."""

    access_token: str
    expires_in: int
    kind: str | None = None

    def __repr__(self) -> str:
        return "Issued(...)"


class Renewed(Struct, frozen=True):
    """A login that a token is had anew for: `session`, as its issuer called it (`sid`), and whether
    it still stands, as the transaction that makes the token sees it."""

    session: str | None
    stands: Callable[[AsyncConnection], Awaitable[bool]]


class TokenEndpoint:
    """Answers `POST /oauth/token`. `settings` may be set anew at any time."""

    def __init__(
        self,
        database: Database,
        identity: IdentityService,
        tokens: TokenService,
        assertions: ClientAssertions,
        settings: OAuthSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._database = database
        self._identity = identity
        self._tokens = tokens
        self._assertions = assertions
        self._clock = clock
        self._listeners: list[Callable[[Subject], None]] = []

    def listen(self, listener: Callable[[Subject], None]) -> None:
        """Call `listener` with whoever logged in, whose sessions may have lost a group."""
        self._listeners.append(listener)

    async def give(self, form: Form, source: str, *, encrypted: bool) -> Issued:
        """Return a token for what `form` shows. Raises: OAuthRefused."""
        if not encrypted and not is_loopback(source):
            raise OAuthRefused("invalid_request", "a token is only given over TLS")
        for name, values in form.items():
            if len(values) > 1 and name not in _REPEATED:
                raise OAuthRefused("invalid_request", "a parameter stands more than once")
        grant = _one(form, "grant_type")
        if grant == EXCHANGE:
            return await self._exchange(form, source)
        if grant == CLIENT_CREDENTIALS:
            return await self._client(form, source)
        raise OAuthRefused("unsupported_grant_type", "expected token-exchange, client_credentials")

    # --- RFC 8693

    async def _exchange(self, form: Form, source: str) -> Issued:
        if _maybe(form, "requested_token_type") not in (None, ACCESS_TOKEN):
            raise OAuthRefused("invalid_request", f"only {ACCESS_TOKEN} is given")
        shown = _typed(form, "subject_token")
        acting = _typed(form, "actor_token") if "actor_token" in form else None
        if acting is None and _maybe(form, "actor_token_type") is not None:
            raise OAuthRefused("invalid_request", "`actor_token_type` without `actor_token`")
        return await self._trade(shown, acting, _targets(form), source)

    async def sign_in(
        self,
        id_token: str,
        source: str,
        *,
        longest: float,
        renews: Renewed | None = None,
    ) -> Issued:
        """Return a token for an ID token that a browser's login gave; `longest`: its seconds.

        Raises: OAuthRefused.
        """
        return await self._trade(id_token, None, None, source, SIGN_IN, longest, renews)

    async def _trade(
        self,
        shown: str,
        acting: str | None,
        targets: Sequence[str] | None,
        source: str,
        via: str = "exchange",
        longest: float | None = None,
        renews: Renewed | None = None,
    ) -> Issued:
        subject = await self._verify(shown, source)
        actor = None if acting is None else await self._verify(acting, source)
        ends = min(one.expires or 0.0 for one in (subject, actor or subject))
        longest = self.settings.lifetime if longest is None else longest
        lifetime = min(longest, ends - self._clock())
        given = Given(
            via=via,
            actors=_chain(subject, actor),
            claims=subject.claims,
            origins=_origins(subject, actor, None if renews is None else renews.session),
        )
        login, demoted = self._identity.issuers.is_login(shown, subject.issuer), list[str]()

        async def accompany(connection: AsyncConnection) -> None:
            if renews is not None and not await renews.stands(connection):
                raise OAuthRefused("invalid_grant", "the session is over")
            for one in (subject, actor or subject):
                await self._demand_in_force(one)
            await self._bound(connection, subject.name)
            if login:
                await note_login(connection, subject)
                demoted.extend(await self._tokens.demote(connection, subject))

        name = f"{_NAMED[via]} {subject.name}"
        secret = await self._give(name, subject, lifetime, targets, source, given, accompany)
        self._tokens.announce(demoted)
        for listener in self._listeners if login else ():
            listener(subject)
        return Issued(secret, int(lifetime), ACCESS_TOKEN)

    async def _demand_in_force(self, shown: Subject) -> None:
        """Raises: OAuthRefused when a JWT was taken back since it was checked, or a reload makes
        something else of it."""
        issuers = self._identity.issuers
        if not issuers.gives_still(shown) or await issuers.revoked(shown):
            raise OAuthRefused("invalid_request", "a token is not valid")

    async def _verify(self, token: str, source: str) -> Subject:
        """Return whom a JWT of an issuer is about. FAILS CLOSED: one same answer for all else."""
        subject = await self._identity.issuers.check(token)
        if subject is None:
            await self._identity.failed(source, token_id(token))
            raise OAuthRefused("invalid_request", "a token is not valid")
        return subject

    # --- RFC 6749, 4.4 with RFC 7523

    async def _client(self, form: Form, source: str) -> Issued:
        targets = _targets(form)
        used = await self._client_of(form, source)
        account = used.account
        if account.targets is not None and not set(targets or ()) <= set(account.targets):
            raise OAuthRefused("invalid_target", "the account does not reach this audience")
        reached = account.targets if targets is None else targets
        lifetime = self.settings.lifetime
        subject = Subject(
            account.name, account.groups, "", "", self._clock() + lifetime, owner=account.owner
        )

        async def accompany(connection: AsyncConnection) -> None:
            await self._assertions.spend(connection, used)
            await self._bound(connection, account.name)

        given = Given(via="client-credentials", account=account.name, account_key=used.key)
        name = f"service account {account.name}"
        try:
            secret = await self._give(
                name, subject, lifetime, reached, source, given, accompany, account.sources
            )
        except ClaimsError as error:
            raise await self._no_client(source, account.name, error) from None
        return Issued(secret, int(lifetime))

    async def _client_of(self, form: Form, source: str) -> Assertion:
        if _maybe(form, "client_assertion_type") != ASSERTION:
            raise OAuthRefused("invalid_client", f"expected `client_assertion_type` {ASSERTION}")
        shown = _one(form, "client_assertion")
        try:
            used = await self._assertions.check(
                shown, self.settings.endpoint, _maybe(form, "client_id")
            )
            sources = used.account.sources
            if sources is not None and not in_networks(source, sources):
                raise ClaimsError("the account is not taken from this network")
        except (ClaimsError, KeysError, *REFUSED_TOKEN) as error:
            raise await self._no_client(source, token_id(shown), error) from None
        return used

    async def _no_client(self, source: str, claimed: str, error: Exception) -> OAuthRefused:
        """Return the one answer for an unknown account, a wrong key and a used assertion."""
        reason = str(error) if isinstance(error, SallyportError) else type(error).__name__
        _log.info("client refused", reason=reason)
        await self._identity.failed(source, claimed)
        return OAuthRefused("invalid_client", "the client is not known, or its assertion not valid")

    # --- both

    async def _give(
        self,
        name: str,
        subject: Subject,
        lifetime: float,
        targets: Sequence[str] | None,
        source: str,
        given: Given,
        accompany: Accompany,
        sources: Sequence[str] | None = None,
    ) -> str:
        if lifetime < 1.0:
            raise OAuthRefused("invalid_request", "a token is not valid")
        if self.settings.bind_source:
            sources = (plain_address(source),)
        _, secret = await self._tokens.create(
            name[:128].strip(),
            subject.name,
            subject.groups,
            subject.roles,
            float(int(lifetime)),
            subject.owner,
            targets,
            sources,
            actor=subject.name,
            actors=given.actors,
            given=given,
            accompany=accompany,
        )
        return secret

    async def _bound(self, connection: AsyncConnection, subject: str) -> None:
        mine = (tokens.c.subject == subject) & (tokens.c.via != "")
        live = tokens.c.revoked.is_(None) & (tokens.c.expires > self._clock())
        count = await connection.scalar(select(func.count()).select_from(tokens).where(mine, live))
        if (count or 0) >= MAXIMUM_LIVE:
            raise OAuthRefused(
                "invalid_request", "too many tokens of this subject are in force: use the last one"
            )


def _maybe(form: Form, name: str) -> str | None:
    """Return a parameter; one without a value counts as left out (RFC 6749, 3.2)."""
    values = form.get(name)
    return values[0] if values and values[0] else None


def _one(form: Form, name: str) -> str:
    value = _maybe(form, name)
    if value is None:
        raise OAuthRefused("invalid_request", f"`{name}` is missing")
    return value


def _typed(form: Form, name: str) -> str:
    token = _one(form, name)
    if _one(form, f"{name}_type") not in JWT_TYPES:
        raise OAuthRefused("invalid_request", f"`{name}_type` is not a JWT's")
    return token


def _targets(form: Form) -> tuple[str, ...] | None:
    """Return the targets that `audience` narrows a token to; None: it does not."""
    if _maybe(form, "resource") is not None:
        raise OAuthRefused("invalid_target", "name targets by `audience`, not by `resource`")
    named = tuple(dict.fromkeys(value for value in form.get("audience", ()) if value))
    if len(named) > MAXIMUM_LIST or not all(is_name(one) for one in named):
        raise OAuthRefused("invalid_target", "`audience` names targets")
    return named or None


def _origins(subject: Subject, actor: Subject | None, session: str | None) -> tuple[Origin, ...]:
    """Return the origins of a token; `session`: the login where the JWT does not say which.

    A refreshed ID token may leave `sid` out (OpenID Connect Core 12.2); it is of that login still.
    """
    own = origin_of(subject)
    own = msgspec.structs.replace(own, session=own.session or session)
    if actor is None or actor.token == subject.token:
        return (own,)
    return (own, origin_of(actor, acting=True))


def _chain(subject: Subject, actor: Subject | None) -> tuple[str, ...]:
    """Return who acts for the subject, the nearest first (RFC 8693, 4.1).

    A token that says who may act for its subject (`may_act`, 4.4) is for nobody else.
    """
    if actor is None:
        return subject.actors
    allowed = subject.claims.get("may_act")
    if allowed is not None:
        issuer = allowed.get("iss", actor.issuer) if isinstance(allowed, Mapping) else None
        named = actor.claims.get("sub")  # a JWT can do without: then it is nobody who is named
        if issuer != actor.issuer or named is None or allowed.get("sub") != named:
            raise OAuthRefused("invalid_request", "this actor may not act for the subject")
    chain = (actor.name, *actor.actors, *subject.actors)
    if len(chain) > MAXIMUM_ACTORS:
        raise OAuthRefused("invalid_request", "too many actors act for each other")
    return chain
