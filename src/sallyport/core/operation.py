"""Operation: one command, in words that any policy can read."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from typing import Final

from msgspec import Struct


class Effect(enum.StrEnum):
    """What an operation or a resource suffers, from harmless to unknowable."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """Order of severity: READ 0 to UNKNOWN 3."""
        return _RANKS[self]


_RANKS = {Effect.READ: 0, Effect.WRITE: 1, Effect.ADMIN: 2, Effect.UNKNOWN: 3}


def worst(effects: Iterable[Effect]) -> Effect:
    """Return the severest of `effects`. FAILS CLOSED: of none it is UNKNOWN."""
    return max(effects, key=_RANKS.__getitem__, default=Effect.UNKNOWN)


class Resource(Struct, frozen=True, gc=False):
    """One thing that an operation touches, by its full and resolved name.

    `kind` is one of the protocol's resource kinds (PostgreSQL: database, schema, table, view,
    function, role, setting, file, program, channel, ...). `name` is resolved, never as the client
    wrote it: `public.customers`, `pg_catalog.pg_sleep`. `columns` are those it touches of a
    relation (`*` alone: all, or not knowable); `exposed` are those among them that stand anywhere
    but as a plain entry of the outermost select list, where a value could be inferred or changed.
    """

    kind: str
    name: str
    effect: Effect
    columns: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    template: str = ""
    """The pattern that the name is one of (`/users/{id}`), where known: rules may name either."""


class Parameter(Struct, frozen=True, gc=False):
    """One bound value. `type` is the protocol's own name of it (PostgreSQL: the oid, in digits)."""

    name: str
    type: str
    value: bytes | None
    binary: bool = False


Tags = tuple[tuple[str, tuple[str, ...]], ...]
"""What columns hold, as their target itself says: by tag, globs over the columns."""

ANY_TAG: Final = "*"
UNKNOWN_TAGS: Final[Tags] = ((ANY_TAG, ("*",)),)
"""Of a target that does not say it now. FAILS CLOSED: every column may have every tag."""


class Operation(Struct, frozen=True, gc=False):
    """One command the agent issued, in words any policy can read.

    `inner` are the verbs of the commands that stand inside this one and run with it. `rewritable`:
    its protocol can have it mask, at the source, what must not be seen. `runs`: the text of what
    was prepared or opened before and runs now, where the command names it alone. `bound`: the
    digest covers all that it would do, so that it can be approved before it is sent again.
    `content`: what it carries, as JSON, for conditions to read.

    INVARIANT: `effect` is the worst of its resources', and there is always at least one resource
    (the database, host or API itself): nothing is allowed because it touches nothing.
    """

    id: int
    protocol: str
    target: str
    verb: str
    effect: Effect
    resources: tuple[Resource, ...]
    facts: frozenset[str]
    text: str
    parameters: tuple[Parameter, ...]
    fingerprint: bytes
    digest: bytes
    inner: tuple[str, ...] = ()
    rewritable: bool = False
    runs: str = ""
    bound: bool = True
    content: bytes = b""

    @property
    def whole_text(self) -> str:
        """Its text, with that of what it runs: who judges by the text has to see both."""
        return f"{self.text}\n-- which runs:\n{self.runs}" if self.runs else self.text

    @property
    def verbs(self) -> tuple[str, ...]:
        """All that it does: its own verb first."""
        return (self.verb, *self.inner)


_ABSENT = b"\xff" * 8


def digest_of(*parts: bytes | str | None) -> bytes:
    """Hash `parts` so that no two different sequences of parts share an input (32 bytes).

    Each part is preceded by its length, and None differs from empty: an approval is bound to this.
    """
    pieces: list[bytes] = []
    for part in parts:
        if part is None:
            pieces.append(_ABSENT)
            continue
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        pieces.append(len(raw).to_bytes(8, "big"))
        pieces.append(raw)
    return hashlib.blake2b(b"".join(pieces), digest_size=32).digest()


def digest_parameters(base: bytes, parameters: Iterable[Parameter]) -> bytes:
    """Bind `parameters` (type, format and value of each) to the digest of their statement."""
    parts: list[bytes | str | None] = [base]
    for parameter in parameters:
        parts.append(parameter.type)
        parts.append(b"b" if parameter.binary else b"t")
        parts.append(parameter.value)
    return digest_of(*parts)
