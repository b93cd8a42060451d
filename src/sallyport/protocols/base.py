"""The contract between a protocol and the gateway.

A protocol is a `Plugin`. It is given accepted connections and `Services`, which is all that it
may ask of the gateway. Dialogue protocols (PostgreSQL, MySQL) write a `Codec`, a state machine
without socket or clock for both legs, and hand it to `Services.relay`, which decides, holds,
records and moves bytes. Other protocols call `clear`, `spend`, `record` and `push` themselves.
"""

from __future__ import annotations

import enum
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from sallyport.core.decision import Allow, Deny, Obligations
from sallyport.core.event import RecordedEvent
from sallyport.core.grant import Ended, Grant
from sallyport.core.operation import Operation, Tags
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


class Side(enum.Enum):
    """Which leg of a session."""

    CLIENT = "client"
    TARGET = "target"


class Carried(NamedTuple):
    """How an operation would be carried out. `text`: what the target would get in its place, where
    that is something else. `refused`: why it cannot be carried out after all."""

    text: str = ""
    refused: Deny | None = None


class OperationIssued(Struct, frozen=True):
    """The client wants this. Nothing of it moves before `release`.

    `in_transaction`: a hold now keeps locks. `cacheable`: the same facts make the same decision.
    `tags`: what the target says of its columns (one object for each content).
    """

    operation: Operation
    in_transaction: bool = False
    cacheable: bool = True
    tags: Tags = ()


class PrecheckIssued(Struct, frozen=True):
    """The client prepares this without running it: only a Deny that nothing could change counts.

    Answered by `refuse`, or by `admit`, which grants nothing: the running is issued in full later.
    """

    operation: Operation


class Withdrawn(Struct, frozen=True):
    """The undecided operation will not run, whatever is decided: its batch failed meanwhile.

    Answered by `refuse`, which tells the client nothing more: it knows already.
    """

    operation: Operation


class Recorded(Struct, frozen=True):
    """Something for the journal (a result's columns, its rows, its end, a notice)."""

    event: RecordedEvent


class Wait(Struct, frozen=True):
    """The codec cannot go on before the plugin's `prepare` has run; then `resume` is called.

    `need` is `catalogue` (a name did not resolve, or what is known is too old), `late` (an answer
    is kept back until the catalogue was looked at, however long that takes) or `parse` (a text
    too large for this turn). The relay itself asks for `again`: all that an operation which a human
    approved stands on has to be looked at anew; where that fails, `prepare` raises.
    """

    need: str
    text: str = ""


class Spent(Struct, frozen=True):
    """A result used up this much of the quotas (rows and bytes returned since the last report)."""

    operation: Operation
    rows: int
    bytes: int


class CatalogueTouched(Struct, frozen=True):
    """What was released may have changed the target's catalogue."""


class CancelTarget(Struct, frozen=True):
    """The codec needs the running statement cancelled on the target (a limit, a lost mask).

    The relay dials and sends the plugin's cancel request, waits for that socket's close and then
    calls `codec.cancelled()`.
    """


class Closed(Struct, frozen=True):
    """The dialogue is over: flush both legs and close. `reason` goes on record."""

    reason: str


Event = (
    OperationIssued
    | PrecheckIssued
    | Withdrawn
    | Recorded
    | Wait
    | Spent
    | CatalogueTouched
    | CancelTarget
    | Closed
)


class Codec(Protocol):
    """Both legs of one authenticated dialogue as one state machine: no await, socket or clock.

    Every method that can move the dialogue on returns the events that follow, in order. At most
    one operation is undecided at a time: the next `OperationIssued` comes after `release` or
    `refuse`. Raises: ProtocolViolation from `receive` and `eof`, and nothing else, whatever the
    bytes; the relay then ends the session, after writing what `take` still holds for the client.
    """

    def receive(self, side: Side, data: bytes) -> Sequence[Event]:
        """Take bytes that arrived from `side`."""

    def eof(self, side: Side) -> Sequence[Event]:
        """`side` will send no more."""

    def stands(self, operation: Operation) -> bool:
        """Whether the undecided operation is what it was when it was issued, by what is known now.

        Asked after a human approved it. FAILS CLOSED: False where that is not certain.
        """

    def carried(self, operation: Operation, obligations: Obligations) -> Carried:
        """Return how the undecided operation would be carried out with these obligations.

        Changes nothing. An approver is shown this, and the approval is bound to it.
        """

    def release(self, operation: Operation, allow: Allow) -> Sequence[Event]:
        """Let the undecided operation through. FAILS CLOSED: another digest is a ValueError."""

    def admit(self, operation: Operation) -> Sequence[Event]:
        """Let the undecided precheck through: the preparation alone."""

    def refuse(self, operation: Operation, deny: Deny) -> Sequence[Event]:
        """Answer the undecided operation with the protocol's own error, in its place."""

    def stop(self, operation: Operation, why: Deny) -> Sequence[Event]:
        """End the running result of `operation` in its middle (a quota is used up)."""

    def resume(self) -> Sequence[Event]:
        """The preparation that `Wait` asked for is done, or failed: decide with what is known."""

    def interrupt(self) -> Sequence[Event]:
        """Somebody with the right asks to cancel what runs: `CancelTarget` when something does.

        INVARIANT: what the client sent after it is not forwarded before `cancelled`, so that a
        late cancel never hits the next statement.
        """

    def cancelled(self) -> Sequence[Event]:
        """The cancel that `CancelTarget` asked for has been carried out."""

    def notify(self, text: str) -> None:
        """Tell the client something, in a notice of the protocol's own."""

    def end(self, reason: str, code: str) -> None:
        """The session ends from outside: queue the protocol's own farewell for the client.

        An `eof` of the client follows; of what that returns only `Recorded` is acted upon.
        """

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits, is open or half sent: ending now would break nothing."""

    def take(self, side: Side) -> list[bytes]:
        """Return what is due for writing to `side`, and forget it."""

    def wants(self, side: Side) -> bool:
        """Whether `side` should be read from now. False: stop (a buffer is at its limit)."""


class Leg(Protocol):
    """One side's byte stream. Reads and writes as a stream until `Services.relay` takes it over."""

    async def read(self) -> bytes:
        """Return what has arrived, at most 64 KiB; b"" at the end of the stream."""

    def write(self, data: bytes) -> None:
        """Queue bytes for sending."""

    async def drain(self) -> None:
        """Return when the queue is short again."""

    def close(self) -> None:
        """Close at once after sending what is queued."""

    def abort(self) -> None:
        """Close at once, whatever is queued."""

    def on_end(self, ended: Callable[[], None] | None) -> None:
        """Call `ended` when the peer sends no more, or is gone; at once if that is past."""

    def unread(self) -> bool:
        """Whether bytes arrived that nobody has read yet."""

    @property
    def over(self) -> bool:
        """Whether the peer sends no more, or is gone."""

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, for channel binding and client certificates."""


TOKEN_ALONE: Final = frozenset({"token"})
"""The mechanisms of a plugin that names none."""


class Authentication(Struct, frozen=True):
    """How a listener wants to know who comes in. `mechanism` is one that the plugin speaks:

    - `token`: the secret itself, as the protocol carries a password
    - `scram`: a proof that the client has the secret, in two steps (`Services.challenge`)
    - `oauth`: a bearer token; a client that has none is told of `issuer` (its URL) and `scope`
    - `certificate`: the TLS client certificate (`Leg.tls`), verified by the handshake

    `certificate` is the listener's own certificate (DER), for channel binding; b"" without TLS.
    """

    mechanism: str = "token"
    certificate: bytes = b""
    issuer: str = ""
    scope: str = ""


class Connection(Protocol):
    """One accepted connection, before any byte was read."""

    source: str
    """Address of the peer, without port; `unix` for a Unix socket."""
    listener: str
    """Name of the listener it came in by."""
    local: bool
    """Whether the peer is on loopback or a Unix socket."""
    tls: ssl.SSLContext | None
    """The listener's TLS, or None when it has none."""
    tls_required: bool
    domain: str
    """The listener's own name, whose subdomains name targets; "" where it has none."""
    authentication: Authentication
    """The one mechanism that the listener takes. Control refuses evidence of any other."""

    async def peek(self) -> bytes:
        """Return the first byte without consuming it; b"" when the peer has gone."""

    async def read_exactly(self, count: int) -> bytes:
        """Consume exactly `count` bytes of plain text. Raises: EOFError."""

    async def send(self, data: bytes) -> None:
        """Send plain text before the leg is opened."""

    async def open(self, *, encrypted: bool) -> Leg:
        """Turn the connection into a leg, after a TLS handshake if `encrypted`.

        Raises: OSError and ssl.SSLError when the handshake fails or takes too long.
        """

    def abort(self) -> None:
        """Close it without a word."""


class CancelKey(Struct, frozen=True):
    """What a client must present to cancel a session's running statement."""

    value: bytes


class Counts(NamedTuple):
    """What a session did in all; bytes are those that came in on each leg."""

    operations: int = 0
    rows: int = 0
    client_bytes: int = 0
    target_bytes: int = 0


class Services(Protocol):
    """All that a plugin may ask of the gateway."""

    async def authenticate(self, evidence: Evidence) -> Subject | Refused:
        """Return who showed this evidence. One answer for unknown and for wrong."""

    async def challenge(self, opening: Opening) -> Challenge | Refused:
        """Begin a login in two steps: `message` is for the client, whoever it says it is."""

    async def prove(self, challenge: Challenge, proof: bytes) -> Proven | Refused:
        """End it, once: the subject and the gateway's own proof. One answer for all that fails."""

    async def authorize(
        self,
        subject: Subject,
        connection: Connection,
        selector: str,
        login: str | None,
        application: str,
        encrypted: bool,
        stated: Stated = UNSTATED,
        *,
        lasting: bool = False,
    ) -> Grant | Refused:
        """Check access and mint the grant of one session. Records the refusal or the opening.

        `stated`: what the client says of its task and purpose, where its protocol has room. The
        session ends with its connection; a `lasting` one, which many connections may share, with
        `close` alone.
        """

    def admit(self, connection: Connection) -> None:
        """Count this connection among those that have a session: it is not cut off for others."""

    async def dial(self, grant: Grant) -> Leg:
        """Reach the target, plain. Raises: TargetUnavailable."""

    async def start_tls(
        self, grant: Grant, leg: Leg, *, alpn: tuple[str, ...] = (), identity: Secret | None = None
    ) -> Leg:
        """Encrypt a dialled leg, as the target demands. Raises: TargetUnavailable.

        `alpn` are the protocols offered; `identity` is a client certificate with its key (PEM).
        """

    async def dial_catalogue(self, target: str, database: str) -> Grant:
        """Return a grant for the gateway's own side connection. Raises: TargetUnavailable."""

    def register_cancel(self, grant: Grant, key: CancelKey) -> None:
        """Make `key` cancel this session's statement, on whichever worker it arrives."""

    async def cancel(self, key: CancelKey, source: str) -> None:
        """Carry out a cancel request, known or not; returns when it has been sent or dropped."""

    def precheck(self, grant: Grant, operation: Operation) -> Deny | None:
        """Return the Deny that nothing which is still to come could change, or None."""

    async def clear(
        self,
        grant: Grant,
        issued: OperationIssued,
        told: Callable[[str], None],
        stands: Callable[[], Awaitable[bool]] | None = None,
        carry: Callable[[Obligations], Carried] | None = None,
    ) -> Allow | Deny:
        """Decide, and wait for all that an Allow needs: a quota's lease, a human, the disk.

        For protocols that serve by themselves; the relay does the same for a codec. `told` is
        given a text that names the approval as soon as one is waited for. `stands` is asked once
        it is approved: whether the operation still is what was shown to the approver. Without it
        nothing that it stands on can change. `carry` says how it would be carried out: that is
        shown, too, and has to be the same once it is approved. Cancelling the task that awaits
        this withdraws a hold.
        Raises: RecorderLost.
        """

    def spend(self, grant: Grant, rows: int, size: int) -> Deny | None:
        """Spend what a result returned; the Deny of a quota that is used up."""

    def record(self, event: RecordedEvent) -> None:
        """Put an event on record. Raises: RecorderLost."""

    def push(self, write: Callable[[], None]) -> None:
        """Call `write` at the end of this turn, after what was recorded is in the file.

        Bytes leave for a leg only so. All that is pushed in a turn shares one write to the journal;
        where that fails nothing is written, and the worker ends.
        """

    async def room(self) -> None:
        """Return when the journal has caught up: more may be read from a target. Cheap if it has.

        Raises: RecorderLost.
        """

    def close(self, grant: Grant, reason: str, counts: Counts) -> None:
        """Put a session's end on record, where no `relay` did. Twice is once."""

    @property
    def stopping(self) -> Ended:
        """Fires when this worker goes: finish what runs, begin nothing new."""

    async def relay(
        self,
        grant: Grant,
        client: Leg,
        target: Leg,
        codec: Codec,
        *,
        prepare: Callable[[Wait], Awaitable[None]],
        cancel: Callable[[], Awaitable[None]],
    ) -> None:
        """Run `codec` on two legs until the session ends; closes both legs.

        `prepare` carries out a `Wait`; `cancel` sends the protocol's cancel request to the target
        and returns when that socket was closed by the target.
        """

    @property
    def policy_revision(self) -> str:
        """The revision in force: what was decided under another is decided again."""


class Plugin(Protocol):
    """One protocol. This is the contract; everything else is a tool for keeping it."""

    name: str
    verbs: frozenset[str]
    """Every verb that an operation of this protocol can have."""
    facts: frozenset[str]
    """Every fact that an operation of this protocol can state."""
    kinds: frozenset[str]
    """Every kind of resource that it can touch."""
    qualified: frozenset[str]
    """Those kinds whose names are `schema.name`."""
    mechanisms: frozenset[str]
    """The ways of logging in that it speaks (see `Authentication`); absent: `token` alone."""
    alpn: tuple[str, ...]
    """What it speaks under TLS (RFC 7301), the best first; absent: nothing is negotiated."""
    settings: type
    """The shape of a target's own `settings` (a msgspec Struct); absent: they are not checked."""

    def configure(self, settings: Mapping[str, object]) -> None:
        """Take the gateway's settings: `login_timeout` (s), `result_bytes`, `mask_key` (bytes)."""

    async def serve(self, connection: Connection, services: Services) -> None:
        """Serve one accepted connection until it ends."""

    def stale(self, target: str, database: str) -> None:
        """Forget what is known of this target's catalogue: it may have changed."""


class Rendering(Protocol):
    """What replay asks of a protocol: its rows as text. Kept apart so that no socket is needed."""

    def render_rows(
        self, encoding: str, data: bytes, formats: tuple[int, ...], types: tuple[str, ...]
    ) -> list[list[str | None]]:
        """Return the cells of recorded rows as a person reads them."""
