"""Exchange: what both sides of one dialogue share.

The client's side writes requests into the ledger, the target's side reads them off; this is the
ledger and all that has to be true of both: names, session state, what is due for writing, and why
nothing may go out just now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, final

from sallyport.core.decision import Allow, Deny, Mask
from sallyport.core.event import Noticed, RecordedEvent
from sallyport.core.operation import Operation
from sallyport.masking.findings import Keys
from sallyport.protocols.base import CancelTarget, CatalogueTouched, Closed, Event, Recorded, Spent
from sallyport.protocols.postgres import replies
from sallyport.protocols.postgres.ledger import DESCRIBE_PORTAL, PARSE, SYNC, Entry, Ledger
from sallyport.protocols.postgres.names import Names
from sallyport.protocols.postgres.refusal import REFUSED, error
from sallyport.protocols.postgres.results import Account, Run
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Change, Statement


class Limits(NamedTuple):
    """Bounds of one session's memory. Sizes in bytes."""

    inbox: int = 1024 * 1024
    """What a client may send ahead while its statement waits for a decision."""
    outbox: int = 1024 * 1024
    """What may be due to one leg before the other is not read any more."""
    outstanding: int = 10_000
    """Messages on their way to the target before the client is not read any more."""
    statements: int = 5_000
    statement_bytes: int = 16 * 1024 * 1024
    portals: int = 256
    portal_bytes: int = 128 * 1024 * 1024
    """What all open portals hold of their parameters."""
    result_bytes: int = 1024 * 1024
    """What is recorded of one result's rows."""
    row_bytes: int = 16 * 1024 * 1024
    """The largest row that can be masked: it has to be held whole."""


@final
class Exchange:
    """The state of one dialogue after login.

    `confirmed` is the session as the server's answers left it, `predicted` as what is on its way
    will leave it. `unit` counts batches; `sent`: something of the current one is with the server.
    `skipping`: the batch failed, the client's messages are dropped up to Sync; `local`: the server
    knows nothing of that batch, so the Sync is answered here. `cancelling`: a cancel request is
    under way, and nothing that it could hit may go out; `draining`: a result was ended early, and
    nothing new goes out before ReadyForQuery.
    """

    def __init__(
        self,
        *,
        session: str,
        clock: Callable[[], float],
        limits: Limits,
        state: SessionState,
        revision: Callable[[], str],
        catalogue: Callable[[], CatalogueSnapshot | None],
        overdue: Callable[[], bool] = lambda: False,
        seen: Callable[[], bool] = lambda: True,
    ) -> None:
        self.session: Final = session
        self.clock: Final = clock
        self.limits: Final = limits
        self.revision: Final = revision
        self._catalogue: Final = catalogue
        self.overdue: Final = overdue
        self.seen: Final = seen
        self.account: Final = Account(session, clock, self.record, limits.result_bytes, Keys())
        self.ledger: Final = Ledger()
        self.names: Final = Names()
        self.confirmed = state
        self.predicted = state
        self.status = "I"
        self.unit = 0
        self.sent = False
        self.executed = False
        self.unsettled = -1
        self.skipping = False
        self.local = False
        self.cancelling = False
        self.draining = False
        self.copying: Entry | None = None
        self.masks: tuple[Mask, ...] = ()
        self.closed = False
        self.behind = False
        """Something waited long: what is decided next needs a new look at the catalogue."""
        self._ready: SessionState | None = None
        self.middle = False
        self._later: list[bytes] = []
        self._events: list[Event] = []
        self.to_client: list[bytes] = []
        self.to_target: list[bytes] = []
        self.client_bytes = 0
        self.target_bytes = 0
        self._touched: dict[int, Run] = {}
        self._stale = False

    # --- events

    def emit(self, event: Event) -> None:
        """Something happened."""
        self._events.append(event)

    def record(self, event: RecordedEvent) -> None:
        """Something belongs on record."""
        self._events.append(Recorded(event))

    def noticed(self, severity: str, code: str, message: str) -> None:
        """Something was said to the client beside any result."""
        self.record(Noticed(self.session, self.clock(), severity, code, message))

    def events(self) -> Sequence[Event]:
        """Return what happened since the last call; results are accounted for first."""
        if self._touched:
            self._settle()
        if not self._events:
            return ()
        events, self._events = self._events, []
        return events

    @property
    def eventful(self) -> bool:
        """Whether something happened that `events` has not returned yet."""
        return bool(self._events or self._touched)

    def touch(self, run: Run) -> None:
        """Rows of `run` moved in this step."""
        self._touched[id(run)] = run

    def _settle(self) -> None:
        for run in self._touched.values():
            run.flush()
            run.report(often=False)
            self.report(run)
        self._touched.clear()

    def report(self, run: Run) -> None:
        """Report what `run` used up of the quotas."""
        if run.unspent_rows or run.unspent_bytes:
            self._events.append(Spent(run.operation, run.unspent_rows, run.unspent_bytes))
            run.unspent_rows = run.unspent_bytes = 0

    def finish(self, run: Run, tag: str, code: str = "", message: str = "") -> None:
        """`run` has come to its end."""
        run.flush()
        self.report(run)
        run.end(tag, code, message)

    # --- writing

    def send_client(self, data: bytes) -> None:
        """Queue bytes for the client."""
        if data:
            self.to_client.append(data)
            self.client_bytes += len(data)

    def send_target(self, data: bytes) -> None:
        """Queue bytes for the target."""
        self.to_target.append(data)
        self.target_bytes += len(data)

    def interject(self, data: bytes) -> None:
        """Queue a message of the gateway's own, behind the message that is being sent in parts."""
        if self.middle:
            self._later.append(data)
        else:
            self.send_client(data)

    def part(self, last: bool) -> None:
        """A part of a message was queued for the client; `last`: it is complete now."""
        self.middle = not last
        if last and self._later:
            later, self._later = self._later, []
            for data in later:
                self.send_client(data)

    # --- what is true of the session

    @property
    def quiet(self) -> bool:
        """Whether the server knows of nothing that is not over: no transaction, no open batch."""
        return (
            self.ledger.head is None
            and self.status == "I"
            and not self.sent
            and not self.predicted.block
        )

    @property
    def in_transaction(self) -> bool:
        """Whether locks would be kept while the next operation waits."""
        return self.status != "I" or self.predicted.block or self.executed

    def catalogue(self) -> CatalogueSnapshot | None:
        """Return the snapshot that can be relied on at this moment."""
        return None if self._stale else self._catalogue()

    def unchanged(self, known: CatalogueSnapshot | None) -> bool:
        """Whether the catalogue is still what it was."""
        now = self.catalogue()
        return now is known or (now is not None and known is not None and now.epoch == known.epoch)

    def touched(self) -> None:
        """The target's catalogue changed: until that was heard, there is no snapshot of it."""
        self._stale = True
        self.emit(CatalogueTouched())

    def heard(self) -> None:
        """All events so far have been acted upon."""
        self._stale = False

    def changed(self, statement: Statement) -> None:
        """A statement was sent: predict what it leaves."""
        change: Change | None = statement.change
        if change is None:
            return
        self.predicted = self.predicted.changed(change)
        self.names.changed(change)
        self.unsettled = self.unit

    def settled(self) -> None:
        """The ledger moved: where nothing is outstanding, prediction is fact."""
        if self.ledger.head is None:
            self.predicted = self.confirmed
            self.unsettled = -1
            if not self.cancelling:
                self.draining = False

    def outstanding(self, unit: int) -> bool:
        """Whether anything of this batch, or an earlier one, is still to be answered."""
        return self.ledger.head is not None and unit >= self.ledger.first_unit

    def ready(self, status: str) -> None:
        """The server is ready: what it confirmed is settled, if anything was."""
        if self.confirmed is not self._ready or status != self.status:
            self.confirmed = self._ready = self.confirmed.ready(status)
        self.status = status

    def next_unit(self) -> None:
        """A batch was closed: by its Sync, or by a Query."""
        self.unit += 1
        self.sent = False
        self.executed = False
        self.skipping = False
        self.local = False

    def push(self, entry: Entry) -> None:
        """A message that the server answers was sent."""
        self.ledger.push(entry)
        self.sent = True
        if entry.kind == PARSE:
            entry.sent = self.clock()
        if entry.runs and entry.copies_in:
            self.copying = entry

    def run(self, operation: Operation, statement: Statement, allow: Allow) -> Run:
        """Begin to carry out what was allowed."""
        masks = allow.obligations.masks
        if masks:
            self.masks = masks
        return Run(operation, statement, allow, self.account)

    # --- ending things

    def discard(self, entries: Sequence[Entry], code: str, message: str) -> None:
        """The server discards these messages: take back what they would have done."""
        for entry in reversed(entries):
            if entry.undo is not None:
                self.names.undo(entry.undo)
            if entry.kind == DESCRIBE_PORTAL and entry.portal is not None:
                entry.portal.described = False
        for entry in entries:
            if entry is self.copying:
                self.copying = None
            for run in entry.runs[entry.index :]:
                self.finish(run, "", code, message)

    def cut(self, entry: Entry, why: Deny) -> None:
        """End the result of the head entry early: cancel it, and swallow what still comes.

        Where later batches are with the server already the cancel could hit one of them; then the
        result is only swallowed.
        """
        if entry.cut is not None:
            return
        entry.cut = why
        self.draining = True
        open_batch = entry.unit == self.unit
        if open_batch:
            self.skipping = True
        if self.ledger.last_unit == entry.unit and not self.cancelling:
            self.cancelling = True
            self.emit(CancelTarget())

    def close(self, reason: str) -> None:
        """The dialogue is over."""
        if self.closed:
            return
        self.closed = True
        for entry in self.ledger.drain():
            for run in entry.runs[entry.index :]:
                self.finish(run, "", "", f"unfinished: {reason}")
        self.emit(Closed(reason))

    def farewell(self, reason: str, code: str) -> None:
        """Tell the client that its session is over, where a message may stand."""
        if not self.middle:
            self.send_client(replies.error(code, reason, severity="FATAL"))

    def refusal(self, deny: Deny, which: str = "") -> bytes:
        """Return the error for `deny`, and put what a rule does not account for on record."""
        if deny.code:
            self.noticed("ERROR", deny.code, deny.reason)
        return error(deny, which, code=REFUSED)


def sync_entry(unit: int) -> Entry:
    """Return the entry of a Sync."""
    return Entry(SYNC, unit)
