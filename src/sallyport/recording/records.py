"""What the library answers with, and what it is asked by."""

from __future__ import annotations

from msgspec import Struct

from sallyport.recording.who import Who

OPEN = "open"
CLOSED = "closed"
"""Closed, and not yet cut from the journals."""
SEALED = "sealed"
LEAVING = "leaving"
"""Retention has begun to delete it."""


Details = dict[str, object]
"""What an event says beside its named fields: JSON's own types."""


class Filter(Struct, frozen=True, kw_only=True):
    """Which sessions, operations or events. What is None does not matter; all the rest must hold.

    `subject`, `actor`, `task`, `target`, `protocol` and `application` may hold `*` for any
    characters; `actor` is anybody in the chain of those who act for the subject; `own` is a
    subject's exact name, whatever it holds: access is narrowed by it. `since` and `until` are
    epoch seconds. `verb`, `effect`, `table`, `decision`, `rule` and `text` speak of
    operations: a session has at least one such. `table` is the full name of any resource, `*`
    again for any characters; `text` is contained in the statement, whatever its case. `state` is
    open, closed or sealed.
    """

    session: str | None = None
    own: str | None = None
    subject: str | None = None
    actor: str | None = None
    task: str | None = None
    target: str | None = None
    protocol: str | None = None
    application: str | None = None
    since: float | None = None
    until: float | None = None
    verb: str | None = None
    effect: str | None = None
    table: str | None = None
    decision: str | None = None
    rule: str | None = None
    text: str | None = None
    state: str | None = None
    held: bool | None = None
    limit: int = 100
    offset: int = 0


class SessionRecord(Struct, frozen=True):
    """One session as the index knows it. `size` and `root` are those of its sealed file.

    `operations`, `denied` and `held` count decisions; `legal_hold` exempts it from retention.
    `task` and `purpose`: None where they were not kept yet when it was opened.
    """

    id: str
    state: str
    subject: str
    groups: tuple[str, ...]
    issuer: str
    token: str
    actors: tuple[str, ...]
    source: str
    application: str
    protocol: str
    target: str
    database: str
    login: str
    write: bool
    encrypted: bool
    opened: float
    closed: float | None
    reason: str
    worker: str
    events: int
    operations: int
    denied: int
    held: int
    rows: int
    bytes: int
    size: int
    root: str
    legal_hold: bool
    task: str | None
    purpose: str | None


class OperationRecord(Struct, frozen=True):
    """One decision, with how its operation ended. `resources` are `kind:name`.

    `who`: None where the session's opening is not known.
    """

    id: int
    session: str
    operation: int
    at: float
    who: Who | None
    protocol: str
    verb: str
    effect: str
    decision: str
    rules: tuple[str, ...]
    reason: str
    text: str
    resources: tuple[str, ...]
    approval: str
    tag: str
    code: str
    rows: int
    bytes: int
    elapsed: float


class AuditRecord(Struct, frozen=True):
    """Something that was done to the product itself, or a login that was refused."""

    id: int
    at: float
    actor: str
    action: str
    object: str
    session: str
    details: Details
    actors: tuple[str, ...]


class FindingRecord(Struct, frozen=True):
    """What a detector hid in one column that no mask named, over all sessions.

    `column` as in `core.event.FindingCount`. `hits` are matches, `cells` those that had one, each
    time that they were read; `subject` is who read them last.
    """

    target: str
    database: str
    column: str
    detector: str
    hits: int
    cells: int
    first: float
    last: float
    subject: str


class Dropped(Struct, frozen=True, tag="dropped"):
    """In a tail: so many events were left out here, since the reader was too slow."""

    count: int
    at: float
    session: str = ""
