"""COPY FROM STDIN: a client's rows on their way to the target.

The operation was let through before the first row, so rows stream. What else a client may send
meanwhile is what the server makes of it: Flush and Sync are ignored, anything else ends
the session.
Rows that come when no COPY runs are dropped, as the server drops them.
"""

from __future__ import annotations

from typing import final

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.postgres import frames, messages
from sallyport.protocols.postgres.exchange import Exchange
from sallyport.protocols.postgres.frames import Piece
from sallyport.protocols.postgres.ledger import COPIED_IN, COPYING_IN, Entry
from sallyport.protocols.postgres.results import COPY


@final
class CopyIn:
    """The client's half of COPY FROM STDIN."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._passing = False
        self._entry: Entry | None = None

    def take(self, entry: Entry, piece: Piece) -> bool:
        """Deal with a message while `entry` has a COPY to come or running; False: not yet."""
        if entry.phase != COPYING_IN or self._exchange.ledger.head is not entry:
            return False
        if piece.type == frames.COPY_DATA:
            self._passing = True
            self._entry = entry
            self._forward(piece)
            return True
        if piece.type in (frames.FLUSH, frames.SYNC):
            return True
        if piece.type == frames.COPY_DONE:
            messages.parse_empty(piece.body, "CopyDone")
        elif piece.type == frames.COPY_FAIL:
            messages.parse_copy_fail(piece.body)
        else:
            text = f"unexpected message type 0x{piece.type:02X} during COPY from stdin"
            raise ProtocolViolation("client", text)
        self._exchange.send_target(piece.data)
        self._ended(entry)
        return True

    def _ended(self, entry: Entry) -> None:
        entry.phase = COPIED_IN
        if not any(run.statement.copy == "in" for run in entry.runs[entry.index + 1 :]):
            self._exchange.copying = None

    def drop(self, piece: Piece) -> None:
        """Drop what belongs to a COPY that does not run."""
        if not piece.last:
            self._passing = False

    def rest(self, piece: Piece) -> None:
        """Deal with a later part of a CopyData: it goes where its beginning went."""
        if self._passing:
            self._forward(piece)

    def _forward(self, piece: Piece) -> None:
        self._exchange.send_target(piece.data)
        entry = self._entry
        run = entry.run if entry is not None else None
        if run is None or run.over:
            return
        run.encoding = COPY
        run.sent(piece)
        self._exchange.touch(run)
