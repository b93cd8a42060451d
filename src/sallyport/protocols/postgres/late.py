"""Late: what a statement gives that waited long, for a lock or for itself.

Its names were looked up when it began, and not when it was decided: while it waited, somebody
beside the gateway can have swapped a table, replaced a view or renamed a column. So before the
first of its answer leaves, the catalogue is looked at once more. Where its names mean something
else by then, the answer is ended. What came is kept until the look is over; from then on its
relations are locked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from msgspec import structs

from sallyport.core.decision import Deny
from sallyport.protocols.base import Wait
from sallyport.protocols.postgres import frames
from sallyport.protocols.postgres.classify import Classifier
from sallyport.protocols.postgres.exchange import Exchange
from sallyport.protocols.postgres.frames import Piece
from sallyport.protocols.postgres.gatekeeping import with_names
from sallyport.protocols.postgres.ledger import EXECUTE, FORWARD, QUERY, Entry
from sallyport.protocols.postgres.operations import tags_at
from sallyport.protocols.postgres.results import Run
from sallyport.sql.statement import Statement

PATIENCE: Final = 1.0
"""Seconds within which an answer is taken for one to what was decided."""

_BEGINS: Final = frozenset(
    {
        frames.ROW_DESCRIPTION,
        frames.DATA_ROW,
        frames.COPY_OUT,
        frames.COMMAND_COMPLETE,
        frames.PORTAL_SUSPENDED,
        frames.ERROR_RESPONSE,
    }
)
"""Messages that an answer can begin with."""
_REASON: Final = "what its names mean has changed while it waited, so its answer is withheld"
_HINT: Final = "send it again; what it has written stays written"


@final
class Late:
    """Keeps the first message of an answer that came late. `busy`: whether another look is under
    way."""

    def __init__(
        self,
        exchange: Exchange,
        classifier: Classifier,
        same: Callable[[Statement, Statement], bool],
        busy: Callable[[], bool],
    ) -> None:
        self._exchange = exchange
        self._classifier = classifier
        self._same = same
        self._busy = busy
        self._kept: Piece | None = None
        self._due = False

    @property
    def waiting(self) -> bool:
        """Whether an answer is kept back."""
        return self._kept is not None

    @property
    def asked(self) -> bool:
        """Whether the look under way is for the answer that is kept back."""
        return self._kept is not None and not self._due

    def keeps(self, piece: Piece) -> bool:
        """Take a message; whether it has to wait for a look."""
        head = self._exchange.ledger.head
        if head is None or not self._is_late(head, piece):
            return False
        self._kept = piece
        self._due = True
        self.ask()
        return True

    def ask(self) -> None:
        """Ask for the look, once no other is under way."""
        if self._due and not self._busy():
            self._due = False
            self._exchange.emit(Wait("late"))

    def looked(self) -> Piece | None:
        """The look has been tried: return what was kept, its answer ended where it has to be."""
        piece, self._kept = self._kept, None
        head = self._exchange.ledger.head
        run = head.run if head is not None else None
        if head is not None and run is not None and not self._means_the_same(run):
            rules = tuple(mask.rule for mask in run.allow.obligations.masks if mask.columns)
            run.stopped = Deny(rules, _REASON, _HINT)
            self._exchange.cut(head, run.stopped)
        return piece

    def _means_the_same(self, run: Run) -> bool:
        """Whether a statement means what it meant when it was decided. FAILS CLOSED."""
        exchange, text = self._exchange, run.statement.text
        now = exchange.catalogue()
        if now is None or not exchange.seen():
            return False
        if exchange.unchanged(run.catalogue):
            return True
        if tags_at(now) != tags_at(run.catalogue):
            return False
        state = with_names(exchange.confirmed, text, exchange)
        found = self._classifier.classify(text, state, now)
        return (
            not found.needs
            and len(found.statements) == 1
            and self._same(_as_one_of(found.statements[0], run.statement), run.statement)
        )

    def _is_late(self, head: Entry, piece: Piece) -> bool:
        run = head.run
        if run is None or not run.unseen or piece.type not in _BEGINS:
            return False
        if head.kind not in (QUERY, EXECUTE) or head.mode != FORWARD:
            return False
        if piece.type == frames.COMMAND_COMPLETE and _tells_nothing(run.statement):
            return False
        run.unseen = False
        return head.cut is None and self._exchange.clock() - run.released >= PATIENCE


def _as_one_of(found: Statement, known: Statement) -> Statement:
    """Return what was read by itself as it is beside the others of the message it came in."""
    return structs.replace(found, facts=found.facts | (known.facts & {"multi-statement"}))


def _tells_nothing(statement: Statement) -> bool:
    """Whether all that the end of a statement says is that it was done: what it has changed itself
    must not be taken for somebody else's change, nor a COMMIT be told of as if it had failed.
    """
    if statement.transaction:
        return True
    counts = statement.returns_rows or "select-into" in statement.facts
    return statement.touches_catalogue and not counts
