"""The client's side: reads what a client sends, in order, and lets go what was allowed.

Theory of operation. Pieces are taken one at a time. A message whose operation is undecided is in
`Gatekeeping`, and nothing behind it is looked at, except to see whether the client has left. A
message that depends on an answer which is still on its way is put back and taken again after the
target has spoken. Everything else goes out at once, with an entry in the ledger.

    discarding   after an error in a batch: all up to Sync is dropped, as the server does
    copying      a COPY FROM STDIN runs: rows stream through, other messages end it
    settling     an earlier batch changes what names mean: the next one waits for its end
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, final

from sallyport.core.decision import Deny
from sallyport.protocols.base import Side, Wait
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.copying import CopyIn
from sallyport.protocols.postgres.exchange import Exchange, sync_entry
from sallyport.protocols.postgres.extended import Extended
from sallyport.protocols.postgres.frames import Piece, Splitter
from sallyport.protocols.postgres.gatekeeping import Gatekeeping
from sallyport.protocols.postgres.late import Late
from sallyport.protocols.postgres.ledger import QUERY, Entry
from sallyport.protocols.postgres.pending import Pending

_EMPTY: Final = 5
"""Bytes of a message without a body."""
_DECIDED: Final = frozenset({frames.QUERY, frames.PARSE, frames.BIND, frames.EXECUTE})
_COPY: Final = frozenset({frames.COPY_DATA, frames.COPY_DONE, frames.COPY_FAIL})


@final
class ClientSide:
    """What arrives from the client."""

    def __init__(self, exchange: Exchange, gate: Gatekeeping, late: Late) -> None:
        self._exchange = exchange
        self._gate = gate
        self._late = late
        self._splitter = Splitter(Side.CLIENT.value)
        self._inbox: deque[Piece] = deque()
        self._inbox_bytes = 0
        self._stalled = False
        self.looking = False
        """Whether the next message waits until the catalogue was looked at again."""
        self._looked = False
        self._copy = CopyIn(exchange)
        extended = Extended(exchange, gate)
        self._takers: Final[dict[int, Callable[[Piece], bool]]] = {
            frames.QUERY: self._query,
            frames.PARSE: extended.parse,
            frames.BIND: extended.bind,
            frames.DESCRIBE: extended.describe,
            frames.EXECUTE: extended.execute,
            frames.CLOSE: extended.close,
            frames.FLUSH: extended.flush,
            frames.FUNCTION_CALL: self._function_call,
        }

    def feed(self, data: bytes) -> None:
        """Take a chunk, and go as far as decisions allow. Raises: ProtocolViolation."""
        self._splitter.feed(data)
        if self._waits():
            self._look_ahead()
        else:
            self.pump()

    def pump(self) -> None:
        """Go on with what has arrived. Raises: ProtocolViolation."""
        exchange = self._exchange
        self._stalled = False
        while not exchange.closed:
            if self._waits():
                return
            piece = self._next()
            if piece is None:
                return
            if not self._take(piece):
                self._inbox.appendleft(piece)
                self._inbox_bytes += len(piece.data)
                self._stalled = True
                return

    def _waits(self) -> bool:
        """Whether a message waits for a decision or a look, or an answer for one."""
        return self._gate.busy or self.looking or self._late.waiting

    @property
    def empty(self) -> bool:
        """Whether all that arrived was dealt with, to the last byte."""
        return not self._inbox and self._splitter.between

    def wants(self) -> bool:
        """Whether more may be read: bounded behind a decision, and by what the target takes."""
        exchange, limits = self._exchange, self._exchange.limits
        if exchange.closed:
            return False
        if self._waits() or self._stalled:
            return self._inbox_bytes + self._splitter.buffered < limits.inbox
        return exchange.target_bytes < limits.outbox and len(exchange.ledger) < limits.outstanding

    def _next(self) -> Piece | None:
        if self._inbox:
            piece = self._inbox.popleft()
            self._inbox_bytes -= len(piece.data)
            return piece
        return self._splitter.next()

    def _look_ahead(self) -> None:
        """See whether a client whose operation waits has left: then it waits for nothing.

        Only what arrives while it waits counts. What came with it may be decided at once; if not,
        the end of the connection tells.
        """
        while (piece := self._splitter.next()) is not None:
            self._inbox.append(piece)
            self._inbox_bytes += len(piece.data)
            if piece.type == frames.TERMINATE:
                self._exchange.close("the client left while its statement waited")
                return

    # --- one piece

    def _take(self, piece: Piece) -> bool:
        """Deal with one piece; False: not yet."""
        exchange = self._exchange
        kind = piece.type
        if not piece.first:
            self._copy.rest(piece)
            return True
        if exchange.cancelling and not exchange.skipping:
            return False
        if exchange.copying is not None:
            if kind == frames.TERMINATE:
                return self._terminate(piece)
            return self._copy.take(exchange.copying, piece)
        if kind in _COPY:
            self._copy.drop(piece)
            return True
        if kind == frames.SYNC:
            return self._sync(piece)
        if kind == frames.TERMINATE:
            return self._terminate(piece)
        if exchange.skipping:
            self._looked = False
            return True
        if not exchange.sent and self._unsettled():
            return False
        if kind in _DECIDED and self._looks_again():
            return False
        return self._takers[kind](piece)

    def _looks_again(self) -> bool:
        """Whether the catalogue has to be looked at before this message is: what changes beside
        the gateway is told by nobody. Where that fails it is decided with what is known.
        """
        if self._looked:
            self._looked = False
            return False
        if not self._exchange.behind and not self._exchange.overdue():
            return False
        self._exchange.behind = False
        self.looking = True
        self._exchange.emit(Wait("catalogue"))
        return True

    def looked(self) -> None:
        """The look that a message waited for has been tried."""
        self.looking, self._looked = False, True

    def _unsettled(self) -> bool:
        """Whether a new batch has to wait: for a drain, or for what an earlier one changes."""
        exchange = self._exchange
        if exchange.draining:
            return True
        return exchange.unsettled >= 0 and exchange.outstanding(exchange.unsettled)

    def _sync(self, piece: Piece) -> bool:
        if len(piece.data) != _EMPTY:
            messages.parse_empty(piece.body, "Sync")
        exchange = self._exchange
        if exchange.local:
            exchange.send_client(replies.ready("I"))
        else:
            exchange.push(sync_entry(exchange.unit))
            exchange.send_target(piece.data)
        exchange.next_unit()
        return True

    def _terminate(self, piece: Piece) -> bool:
        """Leave, once everything before it was answered, as a server does."""
        messages.parse_empty(piece.body, "Terminate")
        if self._exchange.ledger.head is not None:
            return False
        self._exchange.send_target(piece.data)
        self._exchange.close("the client left")
        return True

    def _function_call(self, piece: Piece) -> bool:
        """Refuse what names a function by its oid: nothing could be told about it."""
        pending = Pending(QUERY, "", self._exchange.predicted, _nothing)
        reason = "function calls by message are not supported"
        deny = Deny((), reason, "call the function in a SELECT", code="0A000")
        self._gate.refuse_own(pending, deny)
        return True

    def _query(self, piece: Piece) -> bool:
        text = messages.parse_query(piece.body)
        exchange = self._exchange

        def send(pending: Pending) -> None:
            entry = Entry(QUERY, exchange.unit)
            found = zip(pending.operations, pending.statements, pending.allows, strict=True)
            entry.runs = tuple(exchange.run(*each) for each in found)
            for number, run in enumerate(entry.runs):
                run.catalogue = pending.catalogue
                run.rewritten = number in pending.rewritten
            entry.runs[-1].counted = pending.counted
            exchange.push(entry)
            exchange.send_target(_rewritten(pending) or piece.data)
            for statement in pending.statements:
                exchange.changed(statement)
            exchange.next_unit()

        self._gate.take(Pending(QUERY, text, exchange.predicted, send))
        return True


def _rewritten(pending: Pending) -> bytes | None:
    """Return the Query that goes out instead, where an Allow demands one."""
    demanded = {
        number: allow.obligations.rewrite.decode("utf-8")
        for number, allow in enumerate(pending.allows)
        if allow.obligations.rewrite is not None
    } | pending.rewritten
    if not demanded:
        return None
    texts = [
        demanded.get(number, statement.text) for number, statement in enumerate(pending.statements)
    ]
    return messages.query("\n;\n".join(texts))  # each may end with a comment


def _nothing(pending: Pending) -> None:
    """A message that is always refused is never sent."""
