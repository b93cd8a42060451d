"""The target's side: reads what the server answers, against the ledger.

Theory of operation. The head entry says what may come: a reply that does not fit it ends the
session, whoever is at fault. Rows go through their operation's `Run`; a result that is cut (a
limit, a quota, a masker that failed) is swallowed to its end, and the client gets one error in its
place. Notices, parameters and notifications may come at any time.

A result that was cut may still complete before the cancel arrives. Then the client has been told of
an error that the server knows nothing of; the server is made to fail as well, so that both agree
that the transaction is aborted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.base import Side
from sallyport.protocols.postgres import frames, replies
from sallyport.protocols.postgres.answers import Answers, unexpected
from sallyport.protocols.postgres.exchange import Exchange
from sallyport.protocols.postgres.frames import Piece, Splitter
from sallyport.protocols.postgres.late import PATIENCE, Late
from sallyport.protocols.postgres.ledger import (
    BIND,
    CLOSE,
    COPYING_IN,
    COPYING_OUT,
    EXECUTE,
    FORWARD,
    MUTE,
    OVER,
    PARSE,
    QUERY,
    REPLACE,
    START,
    SYNC,
    Entry,
)
from sallyport.protocols.postgres.masks.hiding import Hiding, overlong
from sallyport.protocols.postgres.refusal import (
    ABORTED,
    FAILING_PARSE,
    FAILING_QUERY,
    LIMIT,
    error,
)
from sallyport.protocols.postgres.results import Run

_FATAL: Final = frozenset({"FATAL", "PANIC"})
_EMPTY: Final = 5
"""Bytes of a message without a body."""
_parse_tag = lru_cache(maxsize=256)(replies.parse_command_complete)
_parse_ready = lru_cache(maxsize=8)(replies.parse_ready)
_UTF8: Final = frozenset({"UTF8", "UTF-8"})


@final
class TargetSide:
    """What arrives from the target. `failed` is called when a batch has failed."""

    def __init__(
        self,
        exchange: Exchange,
        hiding: Hiding,
        failed: Callable[[], None],
        late: Late,
        *,
        write: bool,
    ) -> None:
        self._exchange = exchange
        self._hiding = hiding
        self._failed = failed
        self._late = late
        self._write = write
        self._splitter = Splitter(Side.TARGET.value)
        self._answers = answers = Answers(exchange, hiding, self._splitter)
        self._touched = False
        self.fatal = False
        self._takers: Final[dict[int, Callable[[Piece], None]]] = {
            frames.DATA_ROW: answers.rows,
            frames.ROW_DESCRIPTION: answers.row_description,
            frames.NO_DATA: answers.no_data,
            frames.PARAMETER_DESCRIPTION: answers.parameter_description,
            frames.COPY_OUT: answers.copy_out,
            frames.COPY_DATA: answers.copy_data,
            frames.COPY_DONE: answers.copy_done,
            frames.COPY_IN: answers.copy_in,
            frames.PARSE_COMPLETE: self._parse_complete,
            frames.BIND_COMPLETE: self._bind_complete,
            frames.CLOSE_COMPLETE: self._close_complete,
            frames.COMMAND_COMPLETE: self._command_complete,
            frames.EMPTY_QUERY: self._empty_query,
            frames.PORTAL_SUSPENDED: self._portal_suspended,
            frames.ERROR_RESPONSE: self._error,
            frames.READY_FOR_QUERY: self._ready,
            frames.NOTICE_RESPONSE: self._notice,
            frames.NOTIFICATION: self._notification,
            frames.PARAMETER_STATUS: self._parameter,
        }

    def feed(self, data: bytes) -> None:
        """Take a chunk. Raises: ProtocolViolation."""
        self._splitter.feed(data)
        if not self._late.waiting:
            self._pump()

    def looked(self) -> None:
        """The look that an answer waited for has been tried. Raises: ProtocolViolation."""
        piece = self._late.looked()
        if piece is not None:
            self._takers[piece.type](piece)
        self._pump()

    def _pump(self) -> None:
        exchange, answers, splitter = self._exchange, self._answers, self._splitter
        takers, ledger, late = self._takers, exchange.ledger, self._late
        while not exchange.closed:
            if ledger.head is not answers.expected:
                answers.expect()
            piece = splitter.next()
            if piece is None:
                return
            taker = takers.get(piece.type)
            if taker is None:
                unexpected(chr(piece.type))
            if late.keeps(piece):
                return
            taker(piece)

    # --- what ends a message of the extended protocol

    def _parse_complete(self, piece: Piece) -> None:
        entry = self._done(piece, PARSE, "ParseComplete")
        if self._exchange.clock() - entry.sent >= PATIENCE:
            self._exchange.behind = True

    def _bind_complete(self, piece: Piece) -> None:
        portal = self._done(piece, BIND, "BindComplete").portal
        if portal is not None and self._exchange.clock() - portal.run.released >= PATIENCE:
            self._exchange.behind = True  # SQL may FETCH from it

    def _close_complete(self, piece: Piece) -> None:
        portal = self._done(piece, CLOSE, "CloseComplete").portal
        if portal is not None and portal.run.described and not portal.run.over:
            self._exchange.finish(portal.run, "")

    def _done(self, piece: Piece, kind: int, what: str) -> Entry:
        if len(piece.data) != _EMPTY:
            replies.parse_empty(piece.body, what)
        head = self._exchange.ledger.head
        if head is None or head.kind != kind or head.mode == REPLACE:
            unexpected(what)
        self._pop()
        if head.mode == FORWARD:
            self._exchange.send_client(piece.data)
        return head

    def _pop(self) -> None:
        self._exchange.ledger.pop()
        self._exchange.settled()

    # --- the end of a result

    def _running(self, what: str) -> tuple[Entry, Run]:
        """Return the head, which has to be a result that can end now."""
        head = self._exchange.ledger.head
        if head is None or head.kind not in (QUERY, EXECUTE):
            unexpected(what)
        run = head.run
        if run is None or head.mode == REPLACE or head.phase in (OVER, COPYING_OUT, COPYING_IN):
            unexpected(what)
        return head, run

    def _command_complete(self, piece: Piece) -> None:
        tag = _parse_tag(piece.body)
        head, run = self._running("CommandComplete")
        exchange = self._exchange
        exchange.confirmed = exchange.confirmed.after(run.statement)
        if run.statement.touches_catalogue:
            self._touched = True
        if head.cut is not None:
            self._outrun(head, run, tag)
            return
        if head.mode == FORWARD:
            exchange.send_client(piece.data)
            if run.counted:
                exchange.finish(run, tag)
        self._next(head)

    def _empty_query(self, piece: Piece) -> None:
        replies.parse_empty(piece.body, "EmptyQueryResponse")
        head, run = self._running("EmptyQueryResponse")
        if head.mode == FORWARD:
            self._exchange.send_client(piece.data)
            self._exchange.finish(run, "")
        self._next(head)

    def _portal_suspended(self, piece: Piece) -> None:
        replies.parse_empty(piece.body, "PortalSuspended")
        head, run = self._running("PortalSuspended")
        if head.kind != EXECUTE or head.rows == 0:
            unexpected("PortalSuspended")
        if head.cut is not None:
            self._outrun(head, run, "")
            return
        if head.mode == FORWARD:
            self._exchange.send_client(piece.data)
        self._pop()

    def _next(self, head: Entry) -> None:
        """Go on to the next result of a Query, or to the next message."""
        if head is self._exchange.copying and not any(
            run.statement.copy == "in" for run in head.runs[head.index + 1 :]
        ):
            self._exchange.copying = None
        if head.kind == EXECUTE:
            self._pop()
            return
        head.phase = START
        if head.runs[-1].counted or head.index < len(head.runs) - 1:
            head.index += 1

    def _outrun(self, head: Entry, run: Run, tag: str) -> None:
        """A cut result has completed: tell the client its error, and make the server fail too."""
        exchange = self._exchange
        self._tell_cut(head, run, tag)
        if head.kind == QUERY:
            head.mode = MUTE
            head.abort = True
            head.cut = None
            for other in head.runs[head.index + 1 :]:
                exchange.finish(other, "", LIMIT, "its answer was dropped: the batch had failed")
            self._next(head)
            return
        self._pop()
        sync = exchange.ledger.mute()
        if sync is not None:
            sync.abort = True
            return
        exchange.skipping = True
        entry = Entry(PARSE, exchange.unit, MUTE)
        exchange.push(entry)
        exchange.send_target(FAILING_PARSE)

    def _tell_cut(self, head: Entry, run: Run, tag: str) -> None:
        exchange, why = self._exchange, head.cut
        if why is None:
            return
        exchange.send_client(error(why, code=LIMIT))
        exchange.finish(run, tag, why.code or LIMIT, why.reason)

    # --- errors

    def _error(self, piece: Piece) -> None:
        fields = replies.parse_fields(piece.body)
        exchange, head = self._exchange, self._exchange.ledger.head
        if fields.get("V", fields.get("S")) in _FATAL:
            self._fatal(piece, fields)
            return
        if head is None or (head.kind == QUERY and head.phase == OVER):
            unexpected("ErrorResponse")
        code = fields.get("C", "")
        run = head.run
        if head.mode == REPLACE and code != ABORTED:
            exchange.send_client(head.reply)
        elif head.mode == MUTE:
            pass
        elif head.cut is not None and run is not None:
            self._tell_cut(head, run, "")
        else:
            shown, text = self._hiding.error(piece, fields, self._masked(head))
            if run is not None and not run.says(len(shown)):
                shown, text = overlong(piece, fields)
            exchange.send_client(shown)
            if run is not None:
                exchange.finish(run, "", code, text)
        self._fail(head, code)

    def _fail(self, head: Entry, code: str) -> None:
        """Do as the server does after an error: discard, up to Sync or to the Query's end."""
        exchange = self._exchange
        exchange.confirmed = exchange.confirmed.failed()
        reason = "not run: an error came before it"
        if head.kind == QUERY:
            exchange.discard([head], code, reason)
            head.phase = OVER
            head.cut = None
            head.index = len(head.runs)
            return
        if head.kind == SYNC:
            if head.phase == OVER:
                unexpected("ErrorResponse")
            head.phase = OVER
            return
        dropped, synced = exchange.ledger.fail()
        exchange.discard(dropped, code, reason)
        if not synced:
            exchange.skipping = True
            self._failed()
        exchange.settled()

    def _fatal(self, piece: Piece, fields: dict[str, str]) -> None:
        """The server ends the session; its last word goes to the client."""
        self.fatal = True
        head = self._exchange.ledger.head
        shown, text = self._hiding.error(piece, fields, self._masked(head))
        self._exchange.send_client(shown)
        self._exchange.noticed(fields.get("S", "FATAL"), fields.get("C", ""), text)

    def _masked(self, head: Entry | None) -> Run | None:
        """Return whose masks count for a text that comes now."""
        return head.run if head is not None else None

    # --- the end of a batch

    def _ready(self, piece: Piece) -> None:
        status = _parse_ready(piece.body)
        exchange, head = self._exchange, self._exchange.ledger.head
        if head is None or not _may_be_ready(head):
            unexpected("ReadyForQuery")
        if head.abort and status == "T":
            self._abort(head)
            return
        exchange.ledger.pop()
        if head.runs and not head.runs[-1].counted:
            exchange.finish(head.runs[-1], "")
        exchange.ready(status)
        if status == "I":
            self._transaction_over(head.unit)
        exchange.send_client(piece.data)
        exchange.settled()

    def _abort(self, head: Entry) -> None:
        """The client was told of an error in this transaction: have the server abort it.

        FAILS CLOSED: where more of it is with the server already, the session ends.
        """
        exchange = self._exchange
        if len(exchange.ledger) > 1:
            reason = "a result was ended early inside a transaction that went on"
            exchange.farewell(reason, LIMIT)
            exchange.close(reason)
            return
        exchange.ledger.pop()
        exchange.ledger.push(Entry(QUERY, head.unit, MUTE))
        exchange.send_target(FAILING_QUERY)

    def _transaction_over(self, unit: int) -> None:
        """Portals end with their transaction, and what it changed is in the catalogue."""
        exchange, portals = self._exchange, self._exchange.names.portals
        if portals:
            for name in [name for name, portal in portals.items() if portal.unit <= unit]:
                run = portals[name].run
                exchange.names.drop("P", name)
                if run.described and not run.over:
                    exchange.finish(run, "")
        if self._touched:
            self._touched = False
            exchange.touched()

    # --- what may come at any time

    def _notice(self, piece: Piece) -> None:
        fields = replies.parse_fields(piece.body, "NoticeResponse")
        run = self._masked(self._exchange.ledger.head)
        shown, text = self._hiding.error(piece, fields, run)
        self._exchange.send_client(shown)
        severity = fields.get("V", fields.get("S", "NOTICE"))
        self._exchange.noticed(severity, fields.get("C", ""), text)

    def _notification(self, piece: Piece) -> None:
        notification = replies.parse_notification(piece.body)
        shown, text = self._hiding.notification(piece, notification)
        self._exchange.send_client(shown)
        self._exchange.noticed("NOTIFY", "", f"{notification.channel}: {text}")

    def _parameter(self, piece: Piece) -> None:
        """A setting changed on the server. FAILS CLOSED where it would weaken the gate."""
        name, value = replies.parse_parameter_status(piece.body)
        exchange = self._exchange
        if name == "client_encoding" and value.upper() not in _UTF8:
            raise ProtocolViolation("target", "client_encoding is not UTF8 any more", "22023")
        if name == "default_transaction_read_only" and value != "on" and not self._write:
            raise ProtocolViolation("target", "the session is not read-only any more", "25006")
        exchange.confirmed = exchange.confirmed.reported(name, value)
        exchange.predicted = exchange.predicted.reported(name, value)
        exchange.send_client(piece.data)


def _may_be_ready(head: Entry) -> bool:
    if head.kind == SYNC:
        return True
    if head.kind != QUERY or (head.mode == REPLACE and head.phase != OVER):
        return False
    if head.phase == OVER or head.index >= len(head.runs):
        return True
    return head.phase == START and not head.runs[-1].counted
