"""Sessions: what one token does at one target, over as many connections as it likes.

HTTP has no session of its own, and a client may open a connection a request. So a session is what
one token, from one source, by one program, as one login, does at one target; it ends when nothing
has moved for `LINGER` seconds, and whenever its grant does. The token itself is not kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from typing import Any, Final, NamedTuple, final
from weakref import WeakValueDictionary

import msgspec

from sallyport.core.grant import Grant, Target
from sallyport.core.subject import Evidence, Refused, Stated
from sallyport.protocols.base import Connection, Counts, Services
from sallyport.protocols.http.classify import Classifier, Known, compile_settings
from sallyport.protocols.http.serving.later import KEPT_FOR, Outcomes
from sallyport.protocols.http.serving.oauth import ClientCredentials
from sallyport.protocols.http.serving.pool import Pool
from sallyport.protocols.http.settings import HttpSettings
from sallyport.protocols.http.withheld import forms_of

LINGER: Final = 60.0
"""Seconds that a session stays without a request."""
MAXIMUM: Final = 10_000
"""Sessions of one worker."""


class Who(NamedTuple):
    """Who asks for what, as a request shows it."""

    token: str
    login: str | None
    target: str
    application: str
    stated: Stated
    exact: bool = False
    """The login was named in a field of its own: no other will do."""


@final
class Session:
    """One session. `running` are the tasks of its requests."""

    def __init__(self, grant: Grant, services: Services, known: Known, outcomes: Outcomes) -> None:
        self.grant = grant
        self.services = services
        self.known = known
        self.classifier = Classifier(grant.target.name, known)
        self.pool = Pool(grant, services, known.settings)
        self.origin = origin_of(grant.target, known.settings.host)
        self.later = outcomes
        self.running: set[asyncio.Task[object]] = set()
        self.numbers = itertools.count(1)
        self.rows = 0
        self.client_bytes = 0
        self.target_bytes = 0
        self.operations = 0
        self.last = asyncio.get_running_loop().time()
        self.over = False
        inject = known.settings.inject
        self.tokens: ClientCredentials | None = None
        self.forms = forms_of(inject, grant.credential.reveal())
        if inject.way == "oauth2":
            self.tokens = ClientCredentials(grant.target.name, inject, grant.credential)
        grant.ended.listen(self._end)

    async def credential(self) -> bytes:
        """Return what the target is shown. Raises: TargetUnavailable."""
        if self.tokens is not None:
            token = await self.tokens.get()
            if token not in self.forms:
                self.forms = (token, *self.forms[:8])
            return token
        return self.grant.credential.reveal()

    def touch(self) -> None:
        """It is asked for something."""
        self.last = asyncio.get_running_loop().time()

    def operation(self) -> int:
        """Return the number of the next operation."""
        self.operations += 1
        return next(self.numbers)

    def leave(self, task: asyncio.Task[Any]) -> None:
        """A request is over; the last one of a session that has ended puts its end on record."""
        self.running.discard(task)
        self.touch()
        if self.over and not self.running:
            self.close(self.grant.ended.reason or "ended")

    def close(self, reason: str) -> None:
        """Put its end on record. Twice is once."""
        self.over = True
        self.pool.close()
        self.services.close(self.grant, reason, self.counts)

    def _end(self, reason: str) -> None:
        self.over = True
        for task in list(self.running):
            task.cancel(reason)
        self.pool.close()
        if not self.running:
            self.close(reason)

    @property
    def counts(self) -> Counts:
        """What it did in all."""
        return Counts(self.operations, self.rows, self.client_bytes, self.target_bytes)


_Key = tuple[str, str, bool, bytes, Who]
"""Listener, source, whether it is encrypted, the token's digest, and all else of who asks."""


@final
class Sessions:
    """The sessions of one worker's listeners."""

    def __init__(self) -> None:
        self._open: dict[_Key, Session] = {}
        self._opening: dict[_Key, asyncio.Task[Session | Refused]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._outcomes: WeakValueDictionary[tuple[bytes, str], Outcomes] = WeakValueDictionary()

    async def find(
        self, connection: Connection, services: Services, who: Who, encrypted: bool
    ) -> Session | Refused:
        """Return the session of `who`, a new one where there is none. Raises nothing of control's.

        Requests that come together share one opening.
        """
        secret = hashlib.sha256(who.token.encode()).digest()
        who_else = who._replace(token="")
        key = (connection.listener, connection.source, encrypted, secret, who_else)
        found = self._open.get(key)
        if found is not None and not found.over:
            found.touch()
            return found
        opening = self._opening.get(key)
        if opening is None:
            opening = asyncio.ensure_future(self._enter(connection, services, who, encrypted))
            self._opening[key] = opening
            opening.add_done_callback(lambda done: self._entered(key, done))
        return await asyncio.shield(opening)

    # --- inside

    async def _enter(
        self, connection: Connection, services: Services, who: Who, encrypted: bool
    ) -> Session | Refused:
        evidence = Evidence("http", connection.listener, connection.source, who.token, encrypted)
        subject = await services.authenticate(evidence)
        if isinstance(subject, Refused):
            return UNKNOWN
        if len(self._open) >= MAXIMUM:
            return CROWDED
        grant = await services.authorize(
            subject,
            connection,
            who.target,
            who.login,
            who.application,
            encrypted,
            who.stated,
            lasting=True,
        )
        if isinstance(grant, Refused):
            return grant
        if who.exact and grant.login != who.login:
            services.close(grant, "the login that was asked for is another", Counts())
            return Refused(
                f"there is no login `{who.login}` for you", "leave it out, or ask for it"
            )
        try:
            return Session(grant, services, known_of(grant), self._outcomes_of(who))
        except ValueError as error:
            services.close(grant, f"its settings cannot be used: {error}", Counts())
            return Refused("the target's settings cannot be used", "tell the operator")

    def _outcomes_of(self, who: Who) -> Outcomes:
        """Return what is kept for this token at this target, by whatever program it asks."""
        key = (hashlib.sha256(who.token.encode()).digest(), who.target)
        found = self._outcomes.get(key)
        if found is None:
            found = self._outcomes[key] = Outcomes()
        return found

    def _entered(self, key: _Key, done: asyncio.Task[Session | Refused]) -> None:
        self._opening.pop(key, None)
        if done.cancelled() or done.exception() is not None:
            return
        session = done.result()
        if isinstance(session, Session):
            before = self._open.get(key)
            if before is not None:  # it was ended from outside, and nobody swept it yet
                before.close(before.grant.ended.reason or "another took its place")
            self._open[key] = session
            if self._sweeper is None or self._sweeper.done():
                self._sweeper = asyncio.ensure_future(self._sweep())

    async def _sweep(self) -> None:
        """End sessions in which nothing has moved for long, or whose grant is over."""
        loop = asyncio.get_running_loop()
        while self._open:
            await asyncio.sleep(1.0)
            now = loop.time()
            for key, session in list(self._open.items()):
                session.pool.tidy(now)
                if session.running:
                    session.last = now
                    continue
                waited = session.later.any_since(now - KEPT_FOR)
                if session.over or (now - session.last > LINGER and not waited):
                    del self._open[key]
                    reason = session.grant.ended.reason or "nothing more was asked"
                    session.close(reason)


def authority_of(target: Target, host: str) -> str:
    """Return what a target is called by (Host)."""
    if host:
        return host
    address = target.address
    if address.host.startswith("/"):
        return "localhost"
    name = f"[{address.host}]" if ":" in address.host else address.host
    default = 80 if address.tls == "disable" else 443
    return name if address.port == default else f"{name}:{address.port}"


def origin_of(target: Target, host: str) -> str:
    """Return a target's origin (RFC 6454)."""
    scheme = "http" if target.address.tls == "disable" else "https"
    return f"{scheme}://{authority_of(target, host)}"


UNKNOWN: Final = Refused("who you are is not known", "send a valid token")
"""Told to whoever shows a token that is none: the same for each."""
CROWDED: Final = Refused("the gateway has too many sessions", "try again shortly")


def known_of(grant: Grant) -> Known:
    """Return what the grant's target says of itself, compiled. Raises: ValueError."""
    try:
        return compile_settings(msgspec.convert(grant.target.settings, HttpSettings))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
