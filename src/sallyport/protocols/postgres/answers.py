"""Answers: descriptions, rows and COPY rows from the target, on their way through their run."""

from __future__ import annotations

from typing import Final, NoReturn, final

from sallyport.core.decision import Deny
from sallyport.core.errors import ProtocolViolation
from sallyport.core.operation import Effect
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.exchange import Exchange
from sallyport.protocols.postgres.frames import Piece, Splitter
from sallyport.protocols.postgres.ledger import (
    COPIED_OUT,
    COPYING_IN,
    COPYING_OUT,
    DESCRIBE_PORTAL,
    DESCRIBE_STATEMENT,
    EXECUTE,
    FORWARD,
    QUERY,
    REPLACE,
    ROWS,
    SKIP,
    START,
    Entry,
)
from sallyport.protocols.postgres.masks.hiding import Hiding
from sallyport.protocols.postgres.replies import Field
from sallyport.protocols.postgres.results import COPY, Run

_KEPT_FIELDS: Final = 256
"""Columns of a statement that are remembered; a portal's always are, for they may be masked."""


def unexpected(what: str) -> NoReturn:
    """End the session: the server said what nobody asked for. Raises: ProtocolViolation."""
    raise ProtocolViolation("target", f"unexpected `{what}`")


@final
class Answers:
    """Reads results for the head of the ledger."""

    def __init__(self, exchange: Exchange, hiding: Hiding, splitter: Splitter) -> None:
        self._exchange = exchange
        self._hiding = hiding
        self._splitter = splitter
        self.expected: Entry | None = None
        self._passing = False
        self._whole = False

    def expect(self) -> None:
        """Make the splitter fit what the head of the ledger may be answered with."""
        self.expected = head = self._exchange.ledger.head
        self._splitter.columns = -1
        if self._whole:
            self._fit(-1, whole=False)
        if head is not None and head.kind == EXECUTE and head.mode == FORWARD:
            self._begin(head, head.runs[0])

    def _fit(self, columns: int, *, whole: bool) -> None:
        """Demand `columns` of every row; `whole`: rows are masked, so none may come in parts."""
        self._splitter.columns = columns
        if whole is self._whole:
            return
        self._whole = whole
        for kind in (frames.DATA_ROW, frames.COPY_DATA):
            if whole:
                self._splitter.keep(kind, self._exchange.limits.row_bytes)
            else:
                self._splitter.stream(kind, frames.STREAM_OVER)

    # --- descriptions

    def _begin(self, entry: Entry, run: Run) -> None:
        """An Execute comes to its turn: its columns were described before, if at all."""
        portal = entry.portal
        masked = bool(run.allow.obligations.masks)
        if portal is None:
            return
        fields = portal.fields
        if fields is None and not masked and portal.prepared is not None:
            fields = _formatted(portal.prepared.fields, portal.formats)
        if fields is None:
            return
        if not run.described and fields:
            self._describe(entry, run, fields)
        columns = len(fields) if portal.fields is not None else -1
        self._fit(columns, whole=run.masker is not None)

    def _describe(self, entry: Entry, run: Run, fields: tuple[Field, ...]) -> None:
        try:
            masker = self._hiding.rows(run, fields)
        except Exception as failure:
            self._failed(entry, run, failure)
            return
        run.describe_fields(fields, masker)

    def row_description(self, piece: Piece) -> None:
        """Columns, of a statement, a portal or the rows of a Query that follow."""
        head = self._exchange.ledger.head
        fields = self._hiding.fields(piece.body)
        if head is None or head.mode == REPLACE:
            unexpected("RowDescription")
        if head.kind == QUERY and head.phase in (START, ROWS):
            self._query_rows(head, fields)
        elif head.kind in (DESCRIBE_STATEMENT, DESCRIBE_PORTAL):
            self._described(head, fields, "RowDescription")
        else:
            unexpected("RowDescription")
        if head.mode == FORWARD and head.cut is None:
            self._exchange.send_client(piece.data)

    def no_data(self, piece: Piece) -> None:
        """A statement or portal has no columns."""
        replies.parse_empty(piece.body, "NoData")
        head = self._exchange.ledger.head
        if head is None or head.kind not in (DESCRIBE_STATEMENT, DESCRIBE_PORTAL):
            unexpected("NoData")
        self._described(head, (), "NoData")
        if head.mode == FORWARD:
            self._exchange.send_client(piece.data)

    def parameter_description(self, piece: Piece) -> None:
        """Types of a statement's parameters; its columns follow."""
        head = self._exchange.ledger.head
        types = replies.parse_parameter_description(piece.body)
        if head is None or head.kind != DESCRIBE_STATEMENT or head.phase != START:
            unexpected("ParameterDescription")
        head.phase = ROWS
        if head.prepared is not None:
            head.prepared.parameter_types = types
        if head.mode == FORWARD:
            self._exchange.send_client(piece.data)

    def _described(self, head: Entry, fields: tuple[Field, ...], what: str) -> None:
        if head.kind == DESCRIBE_STATEMENT:
            if head.phase != ROWS:
                unexpected(what)
            if head.prepared is not None and len(fields) <= _KEPT_FIELDS:
                head.prepared.fields = fields
        elif head.portal is not None:
            head.portal.fields = fields
        self._exchange.ledger.pop()
        self._exchange.settled()

    def _query_rows(self, head: Entry, fields: tuple[Field, ...]) -> None:
        run = head.run
        if run is None:
            unexpected("RowDescription")
        head.phase = ROWS
        if head.mode == FORWARD and head.cut is None:
            self._describe(head, run, fields)
        self._fit(len(fields), whole=run.masker is not None)

    # --- rows

    def rows(self, piece: Piece) -> None:
        """DataRows, or a part of one."""
        head = self._exchange.ledger.head
        if head is None or head.mode in (SKIP, REPLACE):
            unexpected("DataRow")
        if head.kind != EXECUTE and not (head.kind == QUERY and head.phase == ROWS):
            unexpected("DataRow")
        self._pass(head, piece)

    def _pass(self, head: Entry, piece: Piece) -> None:
        """Send on what may leave of rows."""
        exchange, run = self._exchange, head.run
        if piece.first:
            self._passing = head.mode == FORWARD and head.cut is None
        if not self._passing or run is None:
            return
        try:
            if run.allow.obligations.masks and (run.masker is None and not run.described):
                raise ValueError("rows whose columns are not known")
            if run.masker is not None and not piece.whole:
                raise ValueError("a row too large to be masked")
            data = run.take(piece)
        except ProtocolViolation:
            raise
        except Exception as failure:
            self._passing = False
            self._failed(head, run, failure)
            return
        exchange.send_client(data)
        exchange.touch(run)
        if not piece.whole and data:
            exchange.part(piece.last)
        if (run.stopped is not None and piece.last) or (run.stopped is not None and not data):
            self._passing = False
            exchange.cut(head, run.stopped)

    def _failed(self, head: Entry, run: Run, failure: Exception) -> None:
        """FAILS CLOSED: what could not be masked does not leave."""
        rules = tuple(mask.rule for mask in run.allow.obligations.masks)
        kind = type(failure).__name__
        reason = f"its rows could not be masked ({kind})"
        run.stopped = Deny(rules, reason, "name the columns that are needed")
        self._exchange.cut(head, run.stopped)

    # --- COPY

    def copy_out(self, piece: Piece) -> None:
        """COPY TO STDOUT begins."""
        head = self._copying(piece, "out", "CopyOutResponse")
        header = replies.parse_copy_header(piece.body)
        head.phase = COPYING_OUT
        run = head.run
        if head.mode != FORWARD or head.cut is not None or run is None:
            return
        try:
            masker = self._hiding.copy(run, header)
        except Exception as failure:
            self._failed(head, run, failure)
            return
        columns = run.statement.copy_columns or ()
        names = tuple(column.name for column in columns)
        run.encoding = COPY
        run.describe(names, tuple(column.type for column in columns), header.formats, masker)
        self._fit(-1, whole=masker is not None)
        self._exchange.send_client(piece.data)

    def copy_data(self, piece: Piece) -> None:
        """Rows of a COPY TO STDOUT, or a part of one."""
        head = self._exchange.ledger.head
        if head is None or head.phase != COPYING_OUT:
            unexpected("CopyData")
        self._pass(head, piece)

    def copy_done(self, piece: Piece) -> None:
        """COPY TO STDOUT has sent its rows."""
        replies.parse_empty(piece.body, "CopyDone")
        head = self._exchange.ledger.head
        if head is None or head.phase != COPYING_OUT:
            unexpected("CopyDone")
        head.phase = COPIED_OUT
        run = head.run
        if head.mode != FORWARD or head.cut is not None or run is None:
            return
        try:
            rest = run.finish()
        except ProtocolViolation:
            raise
        except Exception as failure:
            self._failed(head, run, failure)
            return
        self._exchange.send_client(rest)
        self._exchange.touch(run)
        self._exchange.send_client(piece.data)

    def copy_in(self, piece: Piece) -> None:
        """COPY FROM STDIN begins: the client's rows may go out."""
        head = self._copying(piece, "in", "CopyInResponse")
        replies.parse_copy_header(piece.body)
        if head.mode != FORWARD or head.cut is not None:
            self._exchange.send_target(messages.copy_fail("refused by the gateway"))
            return
        head.phase = COPYING_IN
        self._exchange.copying = head
        self._exchange.send_client(piece.data)

    def _copying(self, piece: Piece, direction: str, what: str) -> Entry:
        head = self._exchange.ledger.head
        if head is None or head.kind not in (QUERY, EXECUTE) or head.mode in (SKIP, REPLACE):
            unexpected(what)
        run = head.run
        if run is None or head.phase != START:
            unexpected(what)
        if run.statement.copy != direction and run.statement.effect is not Effect.UNKNOWN:
            unexpected(what)
        return head


def _formatted(
    fields: tuple[Field, ...] | None, formats: tuple[int, ...]
) -> tuple[Field, ...] | None:
    """Return a statement's columns in the formats that a Bind asked for."""
    if fields is None or not formats:
        return fields
    if len(formats) == 1:
        return tuple(field._replace(format=formats[0]) for field in fields)
    if len(formats) != len(fields):
        return None
    return tuple(field._replace(format=code) for field, code in zip(fields, formats, strict=True))
