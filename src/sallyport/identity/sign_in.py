"""Signing in with a browser: the API's own code flow, and the session that it begins.

    /login -> the provider -> /login/callback/NAME -> a token of the gateway's own, in a session

Theory of operation. What an attempt needs is sealed into a cookie of the browser that began it, so
that a million attempts cost no memory, and none is finished in another browser; a state begins one
session at most. A session is a secret in a cookie. What is kept of it is its hash, the id of a
token whose own secret nobody has, and what the provider gave, sealed by a key that needs the
cookie. When the token is over, another is had with the refresh token, and with the groups that the
provider says then. INVARIANT: when the token was revoked, the session is over: nothing renews it,
also when that comes while the provider is asked. It is looked at in the transaction that makes the
next token, and a token that is over can still be revoked while a session stands on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import structlog
from msgspec import Struct

from sallyport.core.errors import SallyportError
from sallyport.core.event import Audited
from sallyport.core.subject import Subject
from sallyport.identity import browser_sessions as kept
from sallyport.identity.browser_sessions import BrowserSession, Given
from sallyport.identity.claims import session_name
from sallyport.identity.logged_out import is_logged_out
from sallyport.identity.oauth import OAuthRefused, Renewed, TokenEndpoint
from sallyport.identity.relying import code
from sallyport.identity.relying.asking import Asking, Client
from sallyport.identity.relying.errors import OAuthError, ProviderError
from sallyport.identity.relying.provider import Tokens
from sallyport.identity.revocations import is_revoked
from sallyport.identity.secrets import parse_secret
from sallyport.identity.service import IdentityService
from sallyport.identity.token_records import subject_of, taken_from
from sallyport.identity.tokens import TokenService
from sallyport.store.database import Database
from sallyport.store.sealed_text import RAW_MARK, SealedText

CALLBACK: Final = "/login/callback/"
"""Where a browser comes back to, before the provider's name. Each has its own (RFC 9700, 4.4.2)."""

OUT: Final = "/logout"
"""Where a provider sends a browser that has logged out there."""

PATIENCE: Final = 600.0
"""Seconds that somebody has to log in at the provider."""

RETRY: Final = 10.0
"""Seconds until a provider that did not answer is asked to renew the same session again."""

MAXIMUM_BACK: Final = 1024
MAXIMUM_COOKIE: Final = 3000
AGAIN: Final = "sign in again"

_log = structlog.get_logger("identity")


class SignInRefused(SallyportError):
    """Nobody is signed in. The message may be shown. `busy`: it may go later."""

    def __init__(self, message: str, hint: str = "", *, busy: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.busy = busy


class SignInSettings(Struct, frozen=True):
    """`origin` is what browsers call the API by; `clients` are by name; both bounds in seconds."""

    origin: str = ""
    clients: Mapping[str, Client] = {}
    longest: float = 12 * 3600.0
    idle: float = 3600.0


class Begun(Struct, frozen=True):
    """Where a browser is sent, and the cookie that it must come back with."""

    address: str
    cookie: str


class SignedIn(Struct, frozen=True):
    """The session's cookie, its seconds, and the path where the browser goes on."""

    cookie: str
    seconds: float
    back: str


class _Begun(Struct, frozen=True):
    """An attempt as it is sealed. `until` in epoch seconds."""

    client: str
    back: str
    until: float
    state: str
    nonce: str
    verifier: str


class SignIns:
    """Begins, checks, renews and ends browsers' sessions. `key` is kept from start to start."""

    def __init__(
        self,
        database: Database,
        identity: IdentityService,
        tokens: TokenService,
        oauth: TokenEndpoint,
        settings: SignInSettings,
        audit: Callable[[Audited], None],
        key: bytes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._database = database
        self._identity = identity
        self._tokens = tokens
        self._oauth = oauth
        self._audit = audit
        self._key = key
        self._clock = clock
        self._asking = Asking()
        self._attempts = SealedText(_derived(key, b"attempt"), "sign-in attempt")
        self._renewing: dict[bytes, asyncio.Task[str | None]] = {}
        self._failed: dict[bytes, float] = {}

    def names(self) -> tuple[str, ...]:
        """Return the providers where people sign in."""
        return tuple(sorted(self.settings.clients))

    async def begin(self, name: str, back: str) -> Begun:
        """Return where to send a browser that shall come back to the path `back`.

        Raises: SignInRefused.
        """
        client, attempt = self._client(name), code.new_attempt()
        try:
            endpoints = await self._asking.endpoints(client)
            address = code.address(endpoints, client.provider, attempt, self._redirect(name))
        except ProviderError as error:
            raise _refused(error) from None
        until = self._clock() + PATIENCE
        parts = (attempt.state, attempt.nonce, attempt.verifier)
        begun = _Begun(name, _path(back), until, *parts)
        sealed = self._attempts.seal_bytes(msgspec.json.encode(begun))[len(RAW_MARK) :]
        return Begun(address, urlsafe_b64encode(sealed).decode("ascii"))

    async def finish(self, name: str, query: str, cookie: str, source: str) -> SignedIn:
        """Begin a session by what a browser came back with: a query, and its cookie.

        Raises: SignInRefused; then there is none.
        """
        begun = self._opened(cookie)
        if begun is None or begun.client != name or begun.until < self._clock():
            raise SignInRefused("this login was not begun here, or too long ago", AGAIN)
        client = self._client(name)
        try:
            form = {
                "grant_type": "authorization_code",
                "code": await self._code(client, query, begun.state),
                "redirect_uri": self._redirect(name),
                "code_verifier": begun.verifier,
            }
            given = await self._asking.tokens(client, form)
            claims = await self._asking.check(client, given, begun.nonce)
        except ProviderError as error:
            _log.info("sign-in refused", provider=name, reason=error.message)
            raise _refused(error) from None
        return await self._keep(client, begun, given, claims, source)

    async def authenticate(self, cookie: str, source: str) -> Subject | None:
        """Return whose session this is; None: nobody's, or no longer."""
        digest, now = _digest(cookie), self._clock()
        session = await kept.find(self._database, digest)
        if session is None:
            return None
        unused = now - session.used > self.settings.idle
        if unused or now >= session.ends or session.client not in self.settings.clients:
            await kept.forget(self._database, digest)
            return None
        subject = await self._tokens.admit(session.token, source, proven=True)
        if subject is None:
            subject = await self._renewed(session, cookie, source)
        if subject is None:
            return None
        await kept.note_use(self._database, session, now)
        return self._identity.with_roles(subject)

    async def replace(self, cookie: str) -> BrowserSession | None:
        """End a session here alone, for another of the same browser; return it, if there was one.

        At the provider both may be one login, which the other still needs.
        """
        session = await kept.find(self._database, _digest(cookie))
        if session is None:
            return None
        record = await self._tokens.show(session.token)
        await kept.forget(self._database, session.digest)
        if record is not None:
            await self._tokens.give_back(subject_of(record))
        return session

    async def end(self, cookie: str) -> str:
        """End a session here and at the provider; return where the browser ends it there, or "".

        The token is revoked before anybody else is asked. A cookie that nobody has ends nothing.
        """
        session = await self.replace(cookie)
        if session is None:
            return ""
        client, given = self.settings.clients.get(session.client), self._given(session, cookie)
        if client is None or given is None:
            return ""
        try:
            await self._asking.revoke(client, given.refresh_token)
        except ProviderError as error:
            _log.warning("the provider still knows a login", reason=error.message)
        with contextlib.suppress(ProviderError):
            return await self._ending(client, given)
        return ""

    async def prune(self) -> None:
        """Forget what is over. Called now and then."""
        now = self._clock()
        await kept.prune(self._database, now, self.settings.idle)
        self._asking.keep(self.settings.clients.values())
        self._failed = {key: at for key, at in self._failed.items() if now - at < RETRY}

    # --- beginning

    def _client(self, name: str) -> Client:
        client = self.settings.clients.get(name)
        if client is None:
            there = ", ".join(self.names()) or "none"
            raise SignInRefused(f"no provider of that name: there is {there}")
        return client

    def _redirect(self, name: str) -> str:
        return f"{self.settings.origin}{CALLBACK}{name}"

    def _opened(self, cookie: str) -> _Begun | None:
        try:
            sealed = urlsafe_b64decode(cookie[:MAXIMUM_COOKIE].encode("ascii"))
            plain = self._attempts.open_bytes(RAW_MARK + sealed)
            return None if plain is None else msgspec.json.decode(plain, type=_Begun)
        except (Base64Error, ValueError, msgspec.DecodeError):
            return None

    async def _code(self, client: Client, query: str, state: str) -> str:
        return code.read_answer(query, state, await self._asking.endpoints(client))

    async def _keep(
        self, client: Client, begun: _Begun, given: Tokens, claims: dict[str, Any], source: str
    ) -> SignedIn:
        token = await self._token(given, claims, source)
        cookie, now = secrets.token_urlsafe(32), self._clock()
        session = BrowserSession(
            digest=_digest(cookie),
            state=hashlib.sha256(begun.state.encode("ascii")).digest(),
            token=token,
            client=client.provider.name,
            issuer=client.provider.issuer,
            sub=str(claims["sub"]),
            sid=session_name(claims),
            nonce=begun.nonce,
            sealed=self._sealed(given, cookie),
            begun=now,
            ends=now + self.settings.longest,
            used=now,
        )
        record = await self._tokens.show(token)
        name, actors = ("", ()) if record is None else (record.subject, record.actors)
        details = {"provider": session.client, "source": source, "token": token}
        event = Audited("", now, name, "signed-in", name, details, actors)
        if not await kept.keep(self._database, session, lambda: self._audit(event)):
            await self._tokens.revoke("id", token, "sallyport")
            raise SignInRefused("this login was finished already", AGAIN)
        return SignedIn(cookie, self.settings.longest, begun.back)

    async def _token(
        self,
        given: Tokens,
        claims: Mapping[str, Any],
        source: str,
        before: BrowserSession | None = None,
    ) -> str:
        """Return the id of a token for what a provider gave. Raises: SignInRefused.

        `before`: the session that goes on with it, and must still be there then. Without a refresh
        token it lasts as long as the ID token: nothing could be had anew.
        """
        longest = self._oauth.settings.lifetime
        if not given.refresh_token:
            longest = float(claims["exp"]) - self._clock()
        renews = None
        if before is not None:
            renews = Renewed(before.sid, lambda connection: kept.stands(connection, before))
        try:
            issued = await self._oauth.sign_in(
                given.id_token, source, longest=longest, renews=renews
            )
        except OAuthRefused:
            hint = "ask the operator whether your account is taken: the log says why"
            raise SignInRefused("the gateway does not take this login", hint) from None
        identifier = parse_secret(issued.access_token)
        if identifier is None:
            raise SignInRefused("no token was made")
        return identifier

    # --- renewing

    async def _renewed(self, session: BrowserSession, cookie: str, source: str) -> Subject | None:
        """Return the subject by a new token. One asks while others wait for what it gets.

        It goes on when its caller has gone: a refresh token that was used is worth nothing. FAILS
        CLOSED: where a token is bound to an address, it is not had anew from another either.
        """
        record = await self._tokens.show(session.token)
        if record is None or not taken_from(record, source):
            return None
        task = self._renewing.get(session.digest)
        if task is None:
            if self._clock() - self._failed.get(session.digest, 0.0) < RETRY:
                return None
            task = asyncio.create_task(self._renew(session.digest, cookie, source))
            self._renewing[session.digest] = task
            task.add_done_callback(lambda _: self._renewing.pop(session.digest, None))
        token = await asyncio.shield(task)
        return None if token is None else await self._tokens.admit(token, source, proven=True)

    async def _renew(self, digest: bytes, cookie: str, source: str) -> str | None:
        """Return the id of the token that a session stands on from now, or None."""
        session = await kept.find(self._database, digest)
        record = None if session is None else await self._tokens.show(session.token)
        if session is None or record is None:
            return None
        state = record.state(self._clock())
        if state == "live":  # another renewed it in between, or it is not taken from here
            return session.token
        given, client = self._given(session, cookie), self.settings.clients.get(session.client)
        over = state != "expired" or await self._taken_back(session, record.subject)
        if over or client is None or given is None or not given.refresh_token:
            await kept.forget(self._database, digest)
            return None
        try:
            return await self._ask_anew(session, client, given, cookie, source)
        except (ProviderError, SignInRefused) as error:
            if isinstance(error, OAuthError) and error.error == "invalid_grant":
                _log.info("browser session is over", provider=session.client, reason=error.message)
                await kept.forget(self._database, digest)
            else:  # whatever else is wrong there, the gateway's own client included, may be mended
                _log.warning("browser session not renewed", reason=error.message)
                self._failed[digest] = self._clock()
        return None

    async def _taken_back(self, session: BrowserSession, name: str) -> bool:
        """Whether a logout or a revocation came since the session began, token or none."""
        claims = {"sub": session.sub, "sid": session.sid, "iat": session.begun}
        if await is_logged_out(self._database, session.issuer, claims):
            return True
        return await is_revoked(self._database, session.token, (name,), session.begun)

    async def _ask_anew(
        self, session: BrowserSession, client: Client, given: Given, cookie: str, source: str
    ) -> str:
        """INVARIANT: a new refresh token is kept before anything else is done."""
        form = {"grant_type": "refresh_token", "refresh_token": given.refresh_token}
        fresh = await self._asking.tokens(client, form)
        if not fresh.refresh_token:
            fresh = msgspec.structs.replace(fresh, refresh_token=given.refresh_token)
        sealed = self._sealed(fresh, cookie)
        await kept.put(self._database, session.digest, session.token, sealed)
        claims = await self._asking.check(client, fresh, session.nonce, session.sub)
        try:
            token = await self._token(fresh, claims, source, session)
            if await kept.put(self._database, session.digest, token, sealed):
                return token
            await self._tokens.revoke("id", token, "sallyport")
            raise SignInRefused("the session has ended meanwhile", AGAIN)
        except SignInRefused:
            if await kept.find(self._database, session.digest) is None:
                await self._asking.revoke(client, fresh.refresh_token)
            raise

    # --- both

    def _sealed(self, given: Tokens, cookie: str) -> bytes:
        plain = msgspec.json.encode(Given(given.refresh_token, given.id_token))
        return self._seal_of(cookie).seal_bytes(plain)

    def _given(self, session: BrowserSession, cookie: str) -> Given | None:
        plain = self._seal_of(cookie).open_bytes(session.sealed)
        return None if plain is None else msgspec.json.decode(plain, type=Given)

    def _seal_of(self, cookie: str) -> SealedText:
        return SealedText(_derived(self._key, cookie.encode()), "browser session")

    async def _ending(self, client: Client, given: Given) -> str:
        """Return where a browser logs out there (OpenID Connect RP-Initiated Logout 1.0)."""
        endpoints = await self._asking.endpoints(client)
        if not endpoints.end_session:
            return ""
        query = {
            "id_token_hint": given.id_token,
            "client_id": client.provider.client_id,
            "post_logout_redirect_uri": f"{self.settings.origin}{OUT}",
        }
        joint = "&" if "?" in endpoints.end_session else "?"
        return f"{endpoints.end_session}{joint}{urlencode(query)}"


def _refused(error: ProviderError) -> SignInRefused:
    return SignInRefused(error.message, error.hint or AGAIN, busy=error.unreachable)


def _path(back: str) -> str:
    """Return a path of this API; whatever could lead elsewhere becomes `/`."""
    odd = not back.isascii() or not back.isprintable() or "\\" in back or " " in back
    if odd or len(back) > MAXIMUM_BACK or not back.startswith("/") or back.startswith("//"):
        return "/"
    return back


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, purpose, "sha256")
