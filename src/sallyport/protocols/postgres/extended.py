"""The extended query protocol, as a client speaks it: Parse, Bind, Describe, Execute, Close.

A Parse is a precheck: only a refusal that no parameter could change. A Bind is the operation, with
its parameters, decided before it is sent (planning it can run code). An Execute runs what its Bind
was allowed to, and is decided again where policy or catalogue changed since. A portal that no Bind
made can still be a cursor that SQL declared, and a statement one that SQL prepared: they are
decided as the FETCH or EXECUTE that they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import final

from sallyport.protocols.postgres import ledger as entries
from sallyport.protocols.postgres import messages
from sallyport.protocols.postgres.exchange import Exchange
from sallyport.protocols.postgres.frames import Piece
from sallyport.protocols.postgres.gatekeeping import Gatekeeping, epoch_of, understood
from sallyport.protocols.postgres.ledger import SKIP, Entry
from sallyport.protocols.postgres.messages import Bind, Execute
from sallyport.protocols.postgres.names import Portal, Prepared, planned
from sallyport.protocols.postgres.opened import PREPARED
from sallyport.protocols.postgres.operations import parameters_of
from sallyport.protocols.postgres.pending import Pending
from sallyport.protocols.postgres.refusal import missing, outdated, too_many
from sallyport.sql.rewriting.pieces import quoted
from sallyport.sql.session import SessionState

_parse_execute = lru_cache(maxsize=256)(messages.parse_execute)
_parse_named = lru_cache(maxsize=256)(messages.parse_named)
# small bodies, of which a session sends the same again and again


@final
class Extended:
    """Takes the messages of a batch; each returns False where it has to wait for an answer."""

    def __init__(self, exchange: Exchange, gate: Gatekeeping) -> None:
        self._exchange = exchange
        self._gate = gate

    # --- Parse

    def parse(self, piece: Piece) -> bool:
        """Precheck a statement and give it its name."""
        message = messages.parse_parse(piece.body)
        exchange, names, limits = self._exchange, self._exchange.names, self._exchange.limits
        if message.name and not self._certain(names.statements.get(message.name)):
            return False
        prepared = Prepared(message.name, message.text, message.types, exchange.unit)

        def send(pending: Pending) -> None:
            if len(pending.statements) == 1:
                _understand(prepared, pending, exchange)
            prepared.age = pending.state.age(epoch_of(pending.catalogue))
            entry = Entry(entries.PARSE, exchange.unit)
            entry.prepared = prepared
            entry.undo = names.put(prepared)
            if message.name:
                self._gate.opened.note(PREPARED, message.name, None)
            exchange.push(entry)
            exchange.send_target(piece.data)

        pending = Pending(entries.PARSE, message.text, exchange.predicted, send)
        pending.precheck = True
        if message.name not in names.statements and len(names.statements) >= limits.statements:
            deny = too_many("prepared statements", limits.statements)
            self._gate.refuse_own(pending, deny)
        elif names.size + len(message.text) > limits.statement_bytes:
            deny = too_many("bytes of prepared statements", limits.statement_bytes)
            self._gate.refuse_own(pending, deny)
        else:
            self._gate.take(pending)
        return True

    def _certain(self, known: Prepared | Portal | None) -> bool:
        """Whether the server's answer on this name's last change is in, or due in this batch."""
        exchange = self._exchange
        if known is None or known.unit == exchange.unit:
            return True
        return not exchange.outstanding(known.unit)

    # --- Bind

    def bind(self, piece: Piece) -> bool:
        """Decide a statement with its parameters, and open its portal."""
        message = messages.parse_bind(piece.body)
        exchange, names = self._exchange, self._exchange.names
        prepared = names.statements.get(message.statement)
        if not self._certain(prepared):
            return False

        def send(pending: Pending) -> None:
            self._send_bind(piece, message, prepared, pending)

        text = prepared.text if prepared is not None else ""
        pending = Pending(entries.BIND, text, _read_as(prepared, exchange), send)
        if prepared is None:
            if exchange.predicted.prepared_text(message.statement) is None:
                self._gate.refuse_own(pending, missing("S", message.statement))
                return True
            pending.text = f"EXECUTE {quoted(message.statement)}"
        elif understood(prepared, pending.state, exchange) and prepared.statement is not None:
            pending.statements = (prepared.statement,)
            pending.catalogue = prepared.catalogue
        _parameters(pending, message, prepared)
        limits = exchange.limits
        if message.portal not in names.portals and len(names.portals) >= limits.portals:
            self._gate.refuse_own(pending, too_many("portals", limits.portals))
        elif names.held + len(piece.data) > limits.portal_bytes:
            deny = too_many("bytes of open portals", limits.portal_bytes)
            self._gate.refuse_own(pending, deny)
        else:
            self._gate.take(pending)
        return True

    def _send_bind(
        self, piece: Piece, message: Bind, prepared: Prepared | None, pending: Pending
    ) -> None:
        exchange = self._exchange
        if prepared is not None:
            _understand(prepared, pending, exchange)
        run = exchange.run(pending.operations[0], pending.statements[0], pending.allows[0])
        run.catalogue = pending.catalogue
        run.rewritten = 0 in pending.rewritten
        portal = Portal(message.portal, prepared, run, message.result_formats, exchange.unit)
        portal.revision = pending.revision
        portal.catalogue = pending.catalogue
        portal.declared = pending.declared
        portal.size = len(piece.data)
        portal.state = pending.state
        entry = Entry(entries.BIND, exchange.unit)
        entry.portal = portal
        entry.undo = exchange.names.open(portal)
        self._gate.bound(pending, message.portal)
        portal.generation = exchange.names.generation
        text = pending.rewritten.get(0)
        portal.rewritten = text or ""
        if text is None and prepared is not None and prepared.replaced:
            text = prepared.text  # what the server has under this name is an earlier rewriting
        if text is None:
            exchange.push(entry)
            exchange.send_target(piece.data)
            return
        self._prepare_anew(text, prepared)
        exchange.push(entry)
        exchange.send_target(
            messages.bind(
                message.portal, "", message.values, message.formats, message.result_formats
            )
        )

    def _prepare_anew(self, text: str, prepared: Prepared | None) -> None:
        """Have the server prepare `text` as its unnamed statement, for the Bind that follows.

        A client's own unnamed statement is lost by that, unless it is this one.
        """
        exchange, names = self._exchange, self._exchange.names
        known = names.statements.get("")
        if known is not None and known is prepared:
            known.replaced = True
        elif known is not None:
            names.drop("S", "")
        exchange.push(Entry(entries.PARSE, exchange.unit, SKIP))
        types = prepared.types if prepared is not None else ()
        exchange.send_target(messages.parse("", text, types))

    # --- Execute

    def execute(self, piece: Piece) -> bool:
        """Run a portal, after another decision where the first one may not hold any more."""
        message = _parse_execute(piece.body)
        exchange = self._exchange
        portal = exchange.names.portals.get(message.portal)
        if not self._certain(portal):
            return False
        if portal is None:
            return self._execute_cursor(piece, message)
        if portal.run.stopped is not None:
            pending = Pending(entries.EXECUTE, "", exchange.predicted, _never)
            self._gate.refuse_own(pending, portal.run.stopped)
            return True
        if not self._means_the_same(portal):
            pending = Pending(entries.EXECUTE, "", exchange.predicted, _never)
            self._gate.refuse_own(pending, outdated(message.portal))
            return True
        if exchange.unchanged(portal.catalogue) and portal.revision == exchange.revision():
            self._send_execute(piece, message, portal)
            return True
        return self._again(piece, message, portal)

    def _means_the_same(self, portal: Portal) -> bool:
        """Whether what a portal names is still what it named when it was bound, and decided."""
        exchange, state = self._exchange, portal.state
        if state is None or planned(portal.run.statement):
            return True
        now = exchange.predicted.warily() if state.wary else exchange.predicted
        return state.key == now.key and portal.generation == exchange.names.generation

    def _again(self, piece: Piece, message: Execute, portal: Portal) -> bool:
        """Decide anew, by the names of the moment when the portal was bound: those it has."""
        exchange = self._exchange

        def send(pending: Pending) -> None:
            portal.run.decided(pending.operations[0], pending.allows[0])
            portal.run.catalogue = pending.catalogue
            portal.revision = pending.revision
            portal.catalogue = pending.catalogue
            self._send_execute(piece, message, portal)

        text = portal.prepared.text if portal.prepared is not None else portal.operation.text
        pending = Pending(entries.EXECUTE, text, portal.state or exchange.predicted, send)
        pending.parameters = portal.operation.parameters
        pending.declared = portal.declared
        pending.was_rewritten = portal.rewritten
        self._gate.take(pending)
        return True

    def _execute_cursor(self, piece: Piece, message: Execute) -> bool:
        """Run a cursor that SQL declared: the protocol's way to FETCH from it."""
        exchange = self._exchange

        def send(pending: Pending) -> None:
            run = exchange.run(pending.operations[0], pending.statements[0], pending.allows[0])
            run.catalogue = pending.catalogue
            portal = Portal(message.portal, None, run, (), exchange.unit)
            self._send_execute(piece, message, portal)

        text = f"FETCH ALL FROM {quoted(message.portal)}"
        pending = Pending(entries.EXECUTE, text, exchange.predicted, send)
        if exchange.predicted.cursor_text(message.portal) is None:
            self._gate.refuse_own(pending, missing("P", message.portal))
        else:
            self._gate.take(pending)
        return True

    def _send_execute(self, piece: Piece, message: Execute, portal: Portal) -> None:
        """Let a portal run. Where something is masked its columns are asked for first.

        What the statement's own description said may be stale by now (another search_path, a
        table that was swapped), so it is the portal's that counts.
        """
        exchange, run = self._exchange, portal.run
        if run.allow.obligations.masks and not portal.described:
            ask = Entry(entries.DESCRIBE_PORTAL, exchange.unit, SKIP)
            ask.portal = portal
            portal.described = True
            exchange.push(ask)
            exchange.send_target(messages.describe("P", message.portal))
        entry = Entry(entries.EXECUTE, exchange.unit)
        entry.runs = (run,)
        entry.portal = portal
        entry.rows = message.rows
        exchange.push(entry)
        exchange.send_target(piece.data)
        exchange.changed(run.statement)
        exchange.executed = True

    # --- the rest

    def describe(self, piece: Piece) -> bool:
        """Ask for the columns of a statement or portal."""
        message = _parse_named(piece.body, "Describe")
        exchange, names = self._exchange, self._exchange.names
        if message.kind == "S":
            prepared = names.statements.get(message.name)
            if not self._certain(prepared):
                return False
            entry = Entry(entries.DESCRIBE_STATEMENT, exchange.unit)
            entry.prepared = prepared
        else:
            portal = names.portals.get(message.name)
            if not self._certain(portal):
                return False
            entry = Entry(entries.DESCRIBE_PORTAL, exchange.unit)
            entry.portal = portal
            if portal is not None:
                portal.described = True
        exchange.push(entry)
        exchange.send_target(piece.data)
        return True

    def close(self, piece: Piece) -> bool:
        """Forget a statement or portal. The protocol's Close reaches what SQL made, too."""
        message = _parse_named(piece.body, "Close")
        exchange, names = self._exchange, self._exchange.names
        known: Prepared | Portal | None
        if message.kind == "S":
            known = names.statements.get(message.name)
        else:
            known = names.portals.get(message.name)
        if not self._certain(known):
            return False
        entry = Entry(entries.CLOSE, exchange.unit)
        entry.undo = names.drop(message.kind, message.name)
        exchange.push(entry)
        exchange.send_target(piece.data)
        return True

    def flush(self, piece: Piece) -> bool:
        """Have the server send what it has; it answers nothing of its own."""
        messages.parse_empty(piece.body, "Flush")
        self._exchange.send_target(piece.data)
        return True


def _understand(prepared: Prepared, pending: Pending, exchange: Exchange) -> None:
    prepared.statement = pending.statements[0]
    prepared.key = pending.state.key
    prepared.generation = exchange.names.generation
    prepared.catalogue = pending.catalogue


def _read_as(prepared: Prepared | None, exchange: Exchange) -> SessionState:
    """Return the state to read a statement in: warily, if names may mean others since its Parse.

    The server's plan need not be as old: a Describe can have made it anew in between.
    """
    state = exchange.predicted
    if prepared is None or prepared.age == state.age(epoch_of(exchange.catalogue())):
        return state
    return state.warily()


def _parameters(pending: Pending, message: Bind, prepared: Prepared | None) -> None:
    if not message.values:
        return
    declared = prepared.types if prepared is not None else ()
    described = prepared.parameter_types if prepared is not None else ()
    pending.declared = parameters_of(message, declared)
    pending.parameters = parameters_of(message, described) if described else pending.declared


def _never(pending: Pending) -> None:
    """A message that is always refused is never sent."""
