"""Lifecycle: from evidence to a grant, and to its end.

This is the one place that makes a `Grant`: always from an `Access` that control gave.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from sallyport.core.errors import ControlLost, TargetUnavailable
from sallyport.core.event import LoginRefused, SessionClosed, SessionOpened
from sallyport.core.grant import Grant
from sallyport.core.messages import (
    Access,
    Authenticate,
    Authenticated,
    Authorize,
    Catalogue,
    Challenged,
    FinishExchange,
    OpenExchange,
    Reply,
    Request,
    SessionEnded,
)
from sallyport.core.ports import ControlLink, Recorder
from sallyport.core.subject import (
    UNSTATED,
    Challenge,
    Evidence,
    Opening,
    Proven,
    Refused,
    Secret,
    Stated,
    Subject,
)
from sallyport.protocols.base import Connection

_UNAVAILABLE = Refused("the gateway's control does not answer", "try again shortly")


GATEWAY = Subject(name="sallyport", groups=(), issuer="sallyport", token="")
"""The gateway itself, on its own side connections."""
NOBODY = Subject(name="", groups=(), issuer="", token="")
"""Whoever it was that was not let in."""


def mint(access: Access, subject: Subject, source: str, application: str) -> Grant:
    """Make the grant of an access that control gave."""
    return Grant(
        session=access.session,
        subject=subject,
        target=access.target,
        login=access.login,
        credential=Secret(access.credential),
        source=source,
        application=application,
        ends=access.ends,
        write=access.write,
        request=access.request,
        stated=access.stated,
        country=access.country,
    )


REFUSALS = 500
REFUSALS_A_SECOND = 20.0
"""Refused logins that are recorded one by one: at once, and for how long. The rest is counted."""


class _Budget:
    """How many refusals are recorded one by one."""

    def __init__(self) -> None:
        self._room = float(REFUSALS)
        self._measured = time.monotonic()
        self._passed_over = 0

    def take(self) -> int | None:
        """Return how many were passed over before this one; None: this one is, too."""
        now = time.monotonic()
        more = (now - self._measured) * REFUSALS_A_SECOND
        self._room, self._measured = min(float(REFUSALS), self._room + more), now
        if self._room < 1.0:
            self._passed_over += 1
            return None
        self._room -= 1.0
        before, self._passed_over = self._passed_over, 0
        return before


class Lifecycle:
    """The sessions of one worker."""

    def __init__(self, link: ControlLink, recorder: Recorder) -> None:
        self._link = link
        self._recorder = recorder
        self._live: dict[str, Grant] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._by_connection: dict[Connection, Grant] = {}
        self._admitted: set[Connection] = set()
        self._strangers = _Budget()
        self._known = _Budget()
        self.revision = ""

    @property
    def live(self) -> dict[str, Grant]:
        """The grants of open sessions, by session."""
        return self._live

    async def authenticate(self, evidence: Evidence) -> Subject | Refused:
        """Return who showed this evidence. The refusal is recorded; it tells nothing more."""
        reply = await self._ask(Authenticate(evidence))
        if isinstance(reply, Authenticated):
            return reply.subject
        return self._stranger(reply, evidence.protocol, evidence.source)

    async def challenge(self, opening: Opening) -> Challenge | Refused:
        """Begin a login in two steps."""
        reply = await self._ask(OpenExchange(opening))
        if isinstance(reply, Challenged):
            return Challenge(reply.handle, reply.message, opening.source)
        return self._stranger(reply, opening.protocol, opening.source)

    async def prove(self, challenge: Challenge, proof: bytes, protocol: str) -> Proven | Refused:
        """End a login in two steps."""
        reply = await self._ask(FinishExchange(challenge.handle, proof))
        if isinstance(reply, Authenticated):
            return Proven(reply.subject, reply.message)
        return self._stranger(reply, protocol, challenge.source)

    async def authorize(
        self,
        subject: Subject,
        protocol: str,
        connection: Connection,
        selector: str,
        login: str | None,
        application: str,
        encrypted: bool,
        stated: Stated = UNSTATED,
        *,
        lasting: bool = False,
    ) -> Grant | Refused:
        """Check access and mint the grant of one session. A `lasting` one is no connection's."""
        stated = stated.bounded()
        request = Authorize(
            subject=subject,
            protocol=protocol,
            listener=connection.listener,
            selector=selector,
            login=login,
            source=connection.source,
            application=application,
            encrypted=encrypted,
            stated=stated,
        )
        refused = self._recorder.refusal(subject.name)
        try:
            reply = Refused(refused) if refused else await self._link.ask(request)
        except ControlLost:
            reply = _UNAVAILABLE
        if not isinstance(reply, Access):
            answer = reply if isinstance(reply, Refused) else _UNAVAILABLE
            self._record_refusal(answer, protocol, connection.source, selector, subject, stated)
            return answer
        grant = mint(reply, subject, connection.source, application)
        if not lasting:
            self._by_connection[connection] = grant
        self._open(grant, encrypted)
        return grant

    def admit(self, connection: Connection) -> None:
        """Count this connection among those that have a session."""
        self._admitted.add(connection)

    def is_admitted(self, connection: Connection) -> bool:
        """Whether a session was given to whoever came by this connection."""
        return connection in self._by_connection or connection in self._admitted

    def disconnected(self, connection: Connection) -> None:
        """A connection is over: so is its session, also one that never reached its relay."""
        self._admitted.discard(connection)
        grant = self._by_connection.pop(connection, None)
        if grant is not None:
            self.close(grant, grant.ended.reason or "ended before the target was reached")

    async def catalogue(self, target: str, database: str) -> Grant:
        """Return a grant for the gateway's own side connection. Raises: TargetUnavailable."""
        try:
            reply = await self._link.ask(Catalogue(target, database))
        except ControlLost:
            reply = _UNAVAILABLE
        if not isinstance(reply, Access):
            raise TargetUnavailable(target, "no side connection was given")
        return mint(reply, GATEWAY, "", "sallyport catalogue")

    def end(self, session: str, reason: str) -> None:
        """End one session now."""
        grant = self._live.get(session)
        if grant is not None:
            grant.ended.fire(reason)

    def end_all(self, reason: str) -> None:
        """End every session now."""
        for grant in list(self._live.values()):
            grant.ended.fire(reason)

    def close(
        self,
        grant: Grant,
        reason: str,
        *,
        operations: int = 0,
        rows: int = 0,
        client_bytes: int = 0,
        target_bytes: int = 0,
    ) -> None:
        """Put the end of a session on record and tell control. Twice is once."""
        if self._live.pop(grant.session, None) is None:
            return
        timer = self._timers.pop(grant.session, None)
        if timer is not None:
            timer.cancel()
        grant.ended.fire(reason)
        with contextlib.suppress(ControlLost):  # then control counts it among the lost worker's
            self._link.tell(SessionEnded(grant.session, reason))
        self._recorder.record(
            SessionClosed(
                grant.session, time.time(), reason, operations, rows, client_bytes, target_bytes
            )
        )
        self._recorder.flush()

    # --- inside

    async def _ask(self, request: Request) -> Reply:
        """Ask control; where it does not answer, that is a refusal."""
        try:
            return await self._link.ask(request)
        except ControlLost:
            return _UNAVAILABLE

    def _stranger(self, reply: Reply, protocol: str, source: str) -> Refused:
        """Put on record that somebody was not let in, and return what they are told."""
        refused = reply if isinstance(reply, Refused) else _UNAVAILABLE
        self._record_refusal(refused, protocol, source)
        return refused

    def _record_refusal(
        self,
        refused: Refused,
        protocol: str,
        source: str,
        selector: str = "",
        subject: Subject = NOBODY,
        stated: Stated = UNSTATED,
    ) -> None:
        """Record that nobody was let in; of very many, how many: none of them fills the disk."""
        before = (self._strangers if subject is NOBODY else self._known).take()
        if before is None:
            return
        reason = f"{refused.reason} (and {before} more before)" if before else refused.reason
        self._recorder.record(
            LoginRefused(
                session="",
                at=time.time(),
                protocol=protocol,
                source=source,
                target=selector,
                subject=subject.name,
                reason=reason,
                issuer=subject.issuer,
                actors=subject.actors,
                task=stated.task,
                purpose=stated.purpose,
            )
        )
        self._recorder.flush()

    def _open(self, grant: Grant, encrypted: bool) -> None:
        subject, target = grant.subject, grant.target
        self._live[grant.session] = grant
        loop = asyncio.get_running_loop()
        self._timers[grant.session] = loop.call_later(
            max(0.0, grant.ends - time.time()), grant.ended.fire, "the grant's time is over"
        )
        self._recorder.record(
            SessionOpened(
                session=grant.session,
                at=time.time(),
                subject=subject.name,
                groups=subject.groups,
                issuer=subject.issuer,
                token=subject.token,
                actors=subject.actors,
                source=grant.source,
                application=grant.application,
                protocol=target.protocol,
                target=target.name,
                database=target.database,
                login=grant.login,
                write=grant.write,
                ends=grant.ends,
                revision=self.revision,
                encrypted=encrypted,
                labels=target.labels,
                access=grant.request,
                task=grant.stated.task,
                purpose=grant.stated.purpose,
                country=grant.country,
            )
        )
        self._recorder.flush()
