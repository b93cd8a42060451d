"""Subject: who is asking; Evidence: what they show for it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Secret:
    """Bytes that never print: reading them takes a call that can be searched for."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised by accident")


MAXIMUM_STATED = 200
"""Characters of a task or a purpose that are kept."""

LONGEST_STATED = 10 * MAXIMUM_STATED
"""Characters of one that was made visible: no longer one is taken from a protocol."""


class Stated(Struct, frozen=True):
    """What a client says that it is there for. It is recorded, shown to whoever approves, and can
    be asked for in conditions; nobody gets a right by it, since anybody can say anything."""

    task: str = ""
    purpose: str = ""

    def bounded(self) -> Stated:
        """Return as much of it as is taken: each line that is read of a session repeats it."""
        return Stated(self.task[:LONGEST_STATED], self.purpose[:LONGEST_STATED])


UNSTATED = Stated()
"""What a client says that says nothing."""


class Subject(Struct, frozen=True):
    """A person or a service account, as its issuer vouches for it.

    `expires` is in epoch seconds; `token` is the id (never the secret) of what was shown;
    `owner` is who made that token; `actors` is the chain of those who act for the subject.
    """

    name: str
    groups: tuple[str, ...]
    issuer: str
    token: str
    expires: float | None = None
    claims: dict[str, Any] = {}
    owner: str = ""
    actors: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


class Evidence(Struct, frozen=True):
    """What a client showed on the wire. `token` is the secret as given.

    `certificate` is the TLS client certificate (DER), whose chain the TLS leg has verified: given
    where the listener takes certificates, and then no token is.
    """

    protocol: str
    listener: str
    source: str
    token: str
    encrypted: bool
    certificate: bytes = b""

    def __repr__(self) -> str:
        return f"Evidence({self.protocol}, {self.listener}, {self.source})"


class Opening(Struct, frozen=True):
    """How a client opens an exchange in two steps, in which its secret does not travel.

    `mechanism` is the wire's own name of it, `claimed` the id of the token that it says it has,
    `message` its first message, whole. `binding`: what ties the exchange to the TLS leg, where
    that was offered.
    """

    protocol: str
    listener: str
    source: str
    encrypted: bool
    mechanism: str
    claimed: str
    message: bytes
    binding: bytes = b""


class Challenge(Struct, frozen=True):
    """What an `Opening` is answered with, whoever was claimed. `message` is for the client.

    `handle` names the exchange for its one answer; it is 128 random bits and means nothing else.
    `source` is whose exchange it is, for the record.
    """

    handle: bytes
    message: bytes
    source: str = ""

    def __repr__(self) -> str:
        return "Challenge(...)"


class Proven(Struct, frozen=True):
    """Who proved it, and the gateway's own proof for the client."""

    subject: Subject
    message: bytes


class Refused(Struct, frozen=True, tag="refused"):
    """Access that was not given. `reason` may be shown to the client and tells nothing more."""

    reason: str
    hint: str = ""
    rules: tuple[str, ...] = ()
