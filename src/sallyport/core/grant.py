"""Grant: the right of one subject to reach one target until one instant.

Holding a `Grant` is the proof that access was checked: `Services.dial` takes nothing else.
INVARIANT: constructed by `session.lifecycle` alone (an architecture test looks).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from sallyport.core.subject import UNSTATED, Secret, Stated, Subject


class Ended:
    """Fires once, when a grant's right is over; the reason goes to whoever listens."""

    __slots__ = ("_listeners", "reason")

    def __init__(self) -> None:
        self.reason: str | None = None
        self._listeners: list[Callable[[str], None]] = []

    def fire(self, reason: str) -> None:
        """End it. Later calls change nothing."""
        if self.reason is not None:
            return
        self.reason = reason
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener(reason)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call `listener(reason)` at the end; at once if that is past."""
        if self.reason is None:
            self._listeners.append(listener)
        else:
            listener(self.reason)

    def forget(self, listener: Callable[[str], None]) -> None:
        """Call `listener` no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)


class TargetAddress(Struct, frozen=True):
    """How a target is reached and what its certificate must show.

    `tls` is one of disable, require, verify-ca, verify-full; `ca` is PEM or None for the system's.
    A `host` that begins with `/` is the directory (or path) of a Unix socket.
    """

    host: str
    port: int
    tls: str = "verify-full"
    ca: str | None = None
    server_name: str | None = None


class Target(Struct, frozen=True):
    """One database, host or API behind the gateway, as a session needs it."""

    name: str
    protocol: str
    address: TargetAddress
    database: str
    labels: dict[str, str]
    settings: dict[str, Any] = {}


class Grant:
    """The right itself, for one session. `ends` is in epoch seconds; `ended` fires at its end.

    `request` is the request for access that it was given by; empty: a standing rule. `stated`:
    what the client says that it is there for. `country`: the source's; empty: not known.
    """

    __slots__ = (
        "application",
        "country",
        "credential",
        "ended",
        "ends",
        "login",
        "request",
        "session",
        "source",
        "stated",
        "subject",
        "target",
        "write",
    )

    def __init__(
        self,
        *,
        session: str,
        subject: Subject,
        target: Target,
        login: str,
        credential: Secret,
        source: str,
        application: str,
        ends: float,
        write: bool,
        request: str = "",
        stated: Stated = UNSTATED,
        country: str = "",
    ) -> None:
        self.session = session
        self.subject = subject
        self.target = target
        self.login = login
        self.credential = credential
        self.source = source
        self.country = country
        self.application = application
        self.ends = ends
        self.write = write
        self.request = request
        self.stated = stated
        self.ended = Ended()
