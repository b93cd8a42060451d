"""Events: one typed, versioned stream that recording, live view, search and proofs all read.

Every event carries `session` (empty for those of the product itself) and `at` (epoch seconds).
INVARIANT: results and texts are as the client saw them, after masking; no event holds a
credential or a token's secret.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from sallyport.core.operation import Parameter, Resource

VERSION = 1
"""Version of this stream. Readers refuse a greater one."""

Hash = bytes
"""A digest, where a field named `bytes` hides the type of that name."""


class SessionOpened(Struct, frozen=True, tag="session-opened"):
    """A subject was let through to a target. `ends` is in epoch seconds.

    `access` is the request for access that it was given by; empty: a standing rule. `task` and
    `purpose` are what the client says of itself; `country` is the source's, empty: not known.
    """

    session: str
    at: float
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
    ends: float
    revision: str
    encrypted: bool
    labels: dict[str, str] = {}
    access: str = ""
    task: str = ""
    purpose: str = ""
    country: str = ""
    version: int = VERSION


class LoginRefused(Struct, frozen=True, tag="login-refused"):
    """Nobody was let through. `subject` is empty where it is not known, and so is all else of it.

    `target` is as the client named it; `task` and `purpose` are what it said by itself.
    """

    session: str
    at: float
    protocol: str
    source: str
    target: str
    subject: str
    reason: str
    issuer: str = ""
    actors: tuple[str, ...] = ()
    task: str = ""
    purpose: str = ""


class OperationDecided(Struct, frozen=True, tag="operation-decided"):
    """One decision. `decision` is allow, deny or hold; `observed` are rules in observe mode.

    `rewritten` is what goes to the target instead, where that is not the client's own text;
    `approval` is the id of the approval that a second decision rested on.
    """

    session: str
    at: float
    operation: int
    verb: str
    effect: str
    resources: tuple[Resource, ...]
    facts: tuple[str, ...]
    text: str
    parameters: tuple[Parameter, ...]
    fingerprint: bytes
    digest: bytes
    decision: str
    rules: tuple[str, ...]
    reason: str = ""
    observed: tuple[str, ...] = ()
    revision: str = ""
    rewritten: str | None = None
    approval: str = ""
    masks: tuple[str, ...] = ()


class HoldOpened(Struct, frozen=True, tag="hold-opened"):
    """The operation waits for `approval`; `ticket`: it was refused at once with that id."""

    session: str
    at: float
    operation: int
    approval: str
    approvers: tuple[str, ...]
    people: int
    timeout: float
    ticket: bool


class HoldSettled(Struct, frozen=True, tag="hold-settled"):
    """How a hold ended: approved, denied, expired or cancelled; `by` are the people."""

    session: str
    at: float
    operation: int
    approval: str
    state: str
    by: tuple[str, ...]
    reason: str = ""


class OperationReleased(Struct, frozen=True, tag="operation-released"):
    """An operation went to the target in another form than the client's: as `rewritten`.

    One that goes as it is goes with its decision. No secret that makes hashes stands in it.
    """

    session: str
    at: float
    operation: int
    rewritten: str = ""


class RequestForwarded(Struct, frozen=True, tag="request-forwarded"):
    """A request's head as it went to the target: without the credential that it was given there.

    `url` is path and query, `origin` is the target's, such as `https://api.internal`. `headers`
    are in order, names in lower case, each byte a character. Its body follows as `ResultRows`.
    """

    session: str
    at: float
    operation: int
    method: str
    url: str
    http_version: str
    headers: tuple[tuple[str, str], ...]
    origin: str
    version: int = VERSION


class ResponseBegun(Struct, frozen=True, tag="response-begun"):
    """A response's head as it left for the client, after masking. `headers` as a request's.

    `interim`: it is one of those (1xx) that precede the response. The body follows as `ResultRows`.
    """

    session: str
    at: float
    operation: int
    status: int
    reason: str
    http_version: str
    headers: tuple[tuple[str, str], ...]
    interim: bool = False
    version: int = VERSION


class ResultDescribed(Struct, frozen=True, tag="result-described"):
    """The columns of the rows that follow; `masks` names the transform of each masked one."""

    session: str
    at: float
    operation: int
    columns: tuple[str, ...]
    types: tuple[str, ...]
    masks: tuple[str, ...] = ()
    formats: tuple[int, ...] = ()


HTTP_BODY = "http/body"
"""A piece of a request's or a response's body, as it is."""
HTTP_TRAILERS = "http/trailers"
"""Field lines after a response's body: `name: value`, each ended by CRLF."""
HTTP_MESSAGE = "http/message"
"""One whole WebSocket message."""


class ResultRows(Struct, frozen=True, tag="result-rows"):
    """Rows as they left for the client, after masking.

    `encoding` names how `data` is read, e.g. `postgres/rows` (DataRow bodies, each preceded by
    its length as int32), `postgres/copy` (CopyData bodies, likewise) or one of `HTTP_BODY`,
    `HTTP_TRAILERS` and `HTTP_MESSAGE`. `direction` is `out` (to the client) or `in` (COPY FROM
    STDIN, a request's body).
    """

    session: str
    at: float
    operation: int
    encoding: str
    data: bytes
    rows: int
    direction: str = "out"


class ResultEnded(Struct, frozen=True, tag="result-ended"):
    """The end of one operation: `tag` or the error's `code` and `message`.

    `rows` and `bytes` count all that was returned, `digest` is SHA-256 over all row bytes sent,
    also those past the recording's limit (`truncated`). `elapsed` is in seconds since release.
    """

    session: str
    at: float
    operation: int
    tag: str
    rows: int
    bytes: int
    digest: Hash
    truncated: bool
    elapsed: float
    code: str = ""
    message: str = ""


OTHER_COLUMNS = "*"
"""Stands for the columns of findings that there was no room to name."""


class FindingCount(Struct, frozen=True):
    """How often a detector hit in one column: `hits` are matches, `cells` those that had one.

    `column` is `schema.table.column`; `schema.table.*` where the value was computed and only that
    relation was read; empty where no more is known; `OTHER_COLUMNS`.
    """

    column: str
    detector: str
    hits: int
    cells: int


class FindingsCounted(Struct, frozen=True, tag="findings-counted"):
    """Detectors hid something in columns of a result that no mask names, since the last such event.

    INVARIANT: names and counts, never a value.
    """

    session: str
    at: float
    operation: int
    found: tuple[FindingCount, ...]


class Noticed(Struct, frozen=True, tag="noticed"):
    """A notice, warning or notification on its way to the client."""

    session: str
    at: float
    severity: str
    code: str
    message: str


class SessionClosed(Struct, frozen=True, tag="session-closed"):
    """The end of a session, and why. Counts are totals: bytes of each leg's reads."""

    session: str
    at: float
    reason: str
    operations: int = 0
    rows: int = 0
    client_bytes: int = 0
    target_bytes: int = 0


class Audited(Struct, frozen=True, tag="audited"):
    """Something that was done to the product itself: a token made, a policy loaded, a view read.

    `actors` is the chain of those who acted for `actor`.
    """

    session: str
    at: float
    actor: str
    action: str
    object: str
    details: dict[str, Any] = {}
    actors: tuple[str, ...] = ()


class JournalStarted(Struct, frozen=True, tag="journal-started"):
    """First record of every journal file. `previous` is the last chain hash of the one before.

    `reason` is `started` (a process began, so its predecessor's sessions are over) or `rotated`.
    """

    session: str
    at: float
    worker: str
    sequence: int
    previous: bytes
    version: int = VERSION
    reason: str = "started"


class JournalEnded(Struct, frozen=True, tag="journal-ended"):
    """Last record of a journal file that was closed in good order, or sealed after a crash."""

    session: str
    at: float
    reason: str


RecordedEvent = (
    SessionOpened
    | LoginRefused
    | OperationDecided
    | HoldOpened
    | HoldSettled
    | OperationReleased
    | RequestForwarded
    | ResponseBegun
    | ResultDescribed
    | ResultRows
    | ResultEnded
    | FindingsCounted
    | Noticed
    | SessionClosed
    | Audited
    | JournalStarted
    | JournalEnded
)
