"""The registry of live sessions: what runs where, and how it is ended from here.

INVARIANT: a session is in here before its access is given and until its worker says that it is
over, or is gone itself; so a revocation that comes at any moment meets it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from sallyport.approvals.access import AccessRequest, AccessState
from sallyport.core.event import Audited
from sallyport.core.messages import CancelSession, EndSession, Push
from sallyport.core.subject import Stated, Subject
from sallyport.identity.claims import instant
from sallyport.identity.logged_out import Logout, came_of
from sallyport.identity.revocations import Revocation

AGAIN: Final = 0.5
"""Seconds until an end that its worker has not confirmed is pushed again."""


class LiveSession(Struct, frozen=True):
    """One session. Times in epoch seconds; `bound` is what limits of the product alone allow."""

    id: str
    worker: str
    subject: Subject
    protocol: str
    target: str
    database: str
    login: str
    source: str
    application: str
    write: bool
    opened: float
    ends: float
    bound: float
    labels: dict[str, str] = {}
    """The target's, as the session was given them: its masks and holds can depend on them."""
    request: str = ""
    """The request for access that it was given by; empty: a standing rule."""
    stated: Stated = Stated()
    country: str = ""
    """The source's; empty: not known."""


class SessionRegistry:
    """The live sessions of all workers. `push` is how a worker is reached."""

    def __init__(
        self,
        audit: Callable[[Audited], None],
        push: Callable[[str, Push], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._audit = audit
        self._push = push
        self._clock = clock
        self._sessions: dict[str, LiveSession] = {}
        self._ending: dict[str, tuple[str, float]] = {}
        self._keys: dict[bytes, str] = {}
        self._keys_of: dict[str, set[bytes]] = {}

    # --- who is there

    def add(self, session: LiveSession) -> None:
        """Take a session in, before anybody is told that it may begin."""
        self._sessions[session.id] = session

    def get(self, identifier: str) -> LiveSession | None:
        """Return a session, also one that is being ended, or None."""
        return self._sessions.get(identifier)

    def live(self) -> list[str]:
        """Return the ids of all sessions."""
        return list(self._sessions)

    def sessions(self) -> list[LiveSession]:
        """Return all sessions, the oldest first."""
        return sorted(self._sessions.values(), key=lambda session: session.opened)

    def of(self, worker: str, subject: str, target: str) -> list[LiveSession]:
        """Return a subject's sessions to a target on one worker."""
        return [
            session
            for session in self._sessions.values()
            if session.worker == worker
            and session.target == target
            and session.subject.name == subject
        ]

    def count(self, subject: str | None = None, target: str | None = None) -> int:
        """Return how many sessions there are, of a subject, to a target."""
        return sum(
            (subject is None or session.subject.name == subject)
            and (target is None or session.target == target)
            for session in self._sessions.values()
        )

    def is_ending(self, identifier: str) -> bool:
        """Whether a session is being ended, or is not there."""
        return identifier in self._ending or identifier not in self._sessions

    def remove(self, identifier: str) -> LiveSession | None:
        """Forget a session that is over, with its cancel keys."""
        self._ending.pop(identifier, None)
        for key in self._keys_of.pop(identifier, ()):
            self._keys.pop(key, None)
        return self._sessions.pop(identifier, None)

    def worker_gone(self, worker: str) -> list[LiveSession]:
        """Forget all sessions of a worker that is gone; return them."""
        gone = [one for one in self._sessions.values() if one.worker == worker]
        for session in gone:
            self.remove(session.id)
        return gone

    # --- ending

    def kill(self, identifier: str, reason: str, actor: str, actors: tuple[str, ...] = ()) -> bool:
        """End a live session in somebody's name; return whether there was one.

        `actors` act for them.
        """
        session = self._sessions.get(identifier)
        if session is None:
            return False
        details = {"subject": session.subject.name, "target": session.target, "reason": reason}
        self._audit(
            Audited(identifier, self._clock(), actor, "session-killed", identifier, details, actors)
        )
        self.end(identifier, f"ended by {actor}: {reason}" if reason else f"ended by {actor}")
        return True

    def end(self, identifier: str, reason: str) -> None:
        """Tell the session's worker to end it; again and again until that says it is over."""
        session = self._sessions.get(identifier)
        if session is None or identifier in self._ending:
            return
        self._ending[identifier] = (reason, self._clock())
        self._push(session.worker, EndSession(identifier, reason))

    def end_where(self, matches: Callable[[LiveSession], bool], reason: str) -> int:
        """End every session that `matches`; return how many."""
        ended = [session.id for session in self._sessions.values() if matches(session)]
        for identifier in ended:
            self.end(identifier, reason)
        return len(ended)

    def revoked(self, revocation: Revocation) -> None:
        """End what a revocation takes away. Called when it has been committed."""
        kind, value = revocation.kind, revocation.value
        self.end_where(
            lambda session: (
                kind == "all"
                or (kind == "subject" and value in (session.subject.name, *session.subject.actors))
                or (kind == "id" and session.subject.token == value)
            ),
            "the token was revoked",
        )

    def logged_out(self, logout: Logout) -> None:
        """End what came with a JWT of a login that has ended at its issuer."""
        self.end_where(lambda session: came_of(session.subject, logout), "logged out at the issuer")

    def logged_in(self, now: Subject) -> None:
        """End what came with an earlier JWT of somebody who has lost a group since."""
        issued, subject = instant(now.claims, "iat"), now.claims.get("sub")

        def lost(session: LiveSession) -> bool:
            before = session.subject
            if before.issuer != now.issuer or before.claims.get("sub") != subject:
                return False
            earlier = (instant(before.claims, "iat") or 0.0) < (issued or 0.0)
            return earlier and not set(before.groups) <= set(now.groups)

        self.end_where(lost, "a group was lost at the issuer")

    def access_changed(self, request: AccessRequest) -> None:
        """End what a request for access gives no more. Called when that has been committed."""
        if request.state is AccessState.APPROVED:
            return
        reason = f"{request.id} is {request.state.value}"
        self.end_where(lambda session: session.request == request.id, reason)

    def sweep(self) -> None:
        """End what is past its time, and push again the ends that nobody confirmed."""
        now = self._clock()
        self.end_where(lambda session: now >= session.ends, "the grant's time is over")
        for identifier, (reason, told) in list(self._ending.items()):
            session = self._sessions.get(identifier)
            if session is not None and now - told >= AGAIN:
                self._ending[identifier] = (reason, now)
                self._push(session.worker, EndSession(identifier, reason))

    # --- cancel requests

    def register_cancel(self, identifier: str, key: bytes) -> bool:
        """Make `key` cancel this session's statement; False for a key that another session has."""
        digest = _digest(key)
        if self._keys.setdefault(digest, identifier) != identifier:
            return False
        self._keys_of.setdefault(identifier, set()).add(digest)
        return True

    def cancel(self, key: bytes) -> None:
        """Push a cancel to the session with this key, if any.

        Keys are looked up by their hash, so that the time it takes tells nothing of them.
        """
        session = self._sessions.get(self._keys.get(_digest(key), ""))
        if session is not None:
            self._push(session.worker, CancelSession(session.id))

    def unknown(self, named: Iterable[str]) -> list[str]:
        """Return which of `named` sessions are not in here."""
        return [identifier for identifier in named if identifier not in self._sessions]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
