"""What workers and control say to each other, over a Unix socket.

Wire form: a 4-byte big-endian length, then one msgpack-encoded `Envelope`. A request carries a
fresh `id`; its reply carries the same. A push carries id 0. Both sides beat every 250 ms; a
worker without a beat for 1 s denies new operations and live holds and ends its sessions.

Secrets cross this socket (tokens towards control, one credential a session towards the worker):
it is 0600 inside a 0700 folder, and its bytes are never logged.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from sallyport.core.decision import Approval, Hold
from sallyport.core.grant import Target
from sallyport.core.operation import Operation
from sallyport.core.subject import Evidence, Opening, Refused, Stated, Subject

MAXIMUM_MESSAGE = 16 * 1024 * 1024
"""Bytes of the largest message either side accepts."""

HEARTBEAT = 0.25
"""Seconds between two beats."""

SILENCE = 1.0
"""Seconds without a beat after which a worker fails closed."""


# worker -> control: requests


class Hello(Struct, tag="hello"):
    """First message of a worker; the reply is a `Snapshot`. `journal` is its journal's folder.

    `sessions` are those that live on it: control ends each that it does not know. None: not told.
    """

    worker: str
    pid: int
    journal: str
    sessions: tuple[str, ...] | None = None


class Authenticate(Struct, tag="authenticate"):
    """Who is this? Reply: `Subject` in `Authenticated`, or `Refused`."""

    evidence: Evidence


class OpenExchange(Struct, tag="open-exchange"):
    """A client begins a login in two steps. Reply: `Challenged`, known or not, or `Refused`."""

    opening: Opening


class Challenged(Struct, tag="challenged"):
    """The answer to `OpenExchange`: `message` is for the client, `handle` for `FinishExchange`."""

    handle: bytes
    message: bytes


class FinishExchange(Struct, tag="finish-exchange"):
    """The client's proof, once for each handle. Reply: `Authenticated` or `Refused`."""

    handle: bytes
    proof: bytes


class Authenticated(Struct, tag="authenticated"):
    """The answer to `Authenticate` and `FinishExchange`. `message`: the gateway's own proof."""

    subject: Subject
    message: bytes = b""


class Authorize(Struct, tag="authorize"):
    """May this subject reach `selector` (`target`, `target/database`)? Reply: `Access`, `Refused`.

    `login` is the target login that the client asked for, or None for the target's default.
    """

    subject: Subject
    protocol: str
    listener: str
    selector: str
    login: str | None
    source: str
    application: str
    encrypted: bool
    stated: Stated = Stated()


class Access(Struct, tag="access"):
    """Access that was given, with the credential for this one session. `ends`: epoch seconds.

    `request` is the request for access that it was given by; empty: a standing rule.
    """

    session: str
    target: Target
    login: str
    credential: bytes
    ends: float
    write: bool
    request: str = ""
    stated: Stated = Stated()


class Catalogue(Struct, tag="catalogue"):
    """Access for the gateway's own side connection to `target`. Reply: `Access` or `Refused`."""

    target: str
    database: str


class OpenHold(Struct, tag="open-hold"):
    """An operation waits. Reply: `HoldTaken`, `Approved` (a ticket that was approved), `Refused`.

    `rewritten` is what the target would get in the operation's place, where that is something else,
    `masks` the revision of the masks that it would run under. Sent again with the same `session`
    and `operation.id` after a reconnect it changes nothing.
    """

    session: str
    subject: Subject
    operation: Operation
    hold: Hold
    application: str
    source: str
    expires: float
    rewritten: str = ""
    masks: bytes = b""


class HoldTaken(Struct, tag="hold-taken"):
    """The hold is on record under `approval`. A live one is settled by a later `HoldAnswered`."""

    approval: str
    url: str = ""


class Approved(Struct, tag="approved"):
    """A ticket was spent: this approval satisfies just this one execution."""

    approval: Approval


class CloseHold(Struct, tag="close-hold"):
    """Nobody waits any more (client gone, cancelled). Reply: `Done`."""

    approval: str
    reason: str


class Lease(Struct, tag="lease"):
    """Ask for slices of quotas: name -> how much is wanted. Reply: `Leased`."""

    session: str
    subject: str
    target: str
    wants: dict[str, int]
    returns: dict[str, int] = {}


class Leased(Struct, tag="leased"):
    """What was given of each; 0: the quota is used up. `retry` is in seconds."""

    gives: dict[str, int]
    retry: float = 0.0


class RegisterCancel(Struct, tag="register-cancel"):
    """The gateway's own cancel key of a session, so that any worker can be asked. Reply: `Done`."""

    session: str
    key: bytes


class Cancel(Struct, tag="cancel"):
    """A client presented this cancel key. Reply: `Done`, known or not: it tells nothing."""

    key: bytes
    source: str


class SessionEnded(Struct, tag="session-ended"):
    """A session is over. Reply: `Done`."""

    session: str
    reason: str


class CatalogueChanged(Struct, tag="catalogue-changed"):
    """DDL went through to `target`; every worker's snapshot of it is stale. Reply: `Done`."""

    target: str
    database: str


class Done(Struct, tag="done"):
    """Carried out."""


# control -> worker: pushes


class Beat(Struct, tag="beat"):
    """I am here (both ways). `revision`: of the policy that a worker decides by."""

    revision: str = ""


class Snapshot(Struct, tag="snapshot"):
    """All that a worker decides from: the policy document in force (JSON) and its settings."""

    revision: str
    policy: bytes
    settings: dict[str, Any]


class HoldAnswered(Struct, tag="hold-answered"):
    """A live hold came to its end: `state` is approved, denied, expired or cancelled."""

    session: str
    approval: str
    state: str
    by: tuple[str, ...]
    reason: str = ""


class EndSession(Struct, tag="end-session"):
    """End this session now (revoked, killed, expired)."""

    session: str
    reason: str


class CancelSession(Struct, tag="cancel-session"):
    """Carry a cancel request to this session's target."""

    session: str


class CatalogueStale(Struct, tag="catalogue-stale"):
    """Take a new catalogue snapshot of this target before the next decision."""

    target: str
    database: str


class Drain(Struct, tag="drain"):
    """Stop accepting; end when the last session has, or after `seconds`."""

    seconds: float


Request = (
    Hello
    | Authenticate
    | OpenExchange
    | FinishExchange
    | Authorize
    | Catalogue
    | OpenHold
    | CloseHold
    | Lease
    | RegisterCancel
    | Cancel
    | SessionEnded
    | CatalogueChanged
)
Reply = (
    Authenticated | Challenged | Access | HoldTaken | Approved | Leased | Snapshot | Done | Refused
)
Push = Beat | Snapshot | HoldAnswered | EndSession | CancelSession | CatalogueStale | Drain


class Envelope(Struct, array_like=True):
    """One message on the socket."""

    id: int
    body: Request | Reply | Push
