"""Gatekeeping: issues the operations of one message at a time, and takes the decisions on them.

INVARIANT: at most one operation is undecided, and no byte of its message has moved. What answers
an operation must name it by its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import final

from sallyport.core.decision import Allow, Deny, Mask, Obligations
from sallyport.core.event import OperationReleased
from sallyport.core.operation import Effect, Operation
from sallyport.protocols.base import Carried, OperationIssued, PrecheckIssued, Wait, Withdrawn
from sallyport.protocols.postgres import replies
from sallyport.protocols.postgres.classify import Classifier
from sallyport.protocols.postgres.exchange import Exchange
from sallyport.protocols.postgres.ledger import EXECUTE, PARSE, QUERY, REPLACE, Entry
from sallyport.protocols.postgres.masks.at_source import AtSource
from sallyport.protocols.postgres.masks.hiding import unclear_copy
from sallyport.protocols.postgres.masks.telling import (
    bound_before,
    hashing,
    is_kept,
    rules_of,
    telling,
    without_hashes,
)
from sallyport.protocols.postgres.names import Prepared, planned
from sallyport.protocols.postgres.opened import (
    CURSOR,
    PREPARED,
    Opened,
    of_cursor,
    opens,
    reads,
)
from sallyport.protocols.postgres.operations import Operations, tags_at
from sallyport.protocols.postgres.pending import Pending
from sallyport.protocols.postgres.refusal import FAILING_PARSE, FAILING_QUERY
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.rewriting.rewrite import Rewritten, Unfollowed
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Statement

_NOT_RUN = "not run: its message was refused"
_DISCARDED = "not run: its batch had failed"
_NAMING_TEXT = 32 * 1024
"""Characters of a text that is searched for names of the protocol."""
_LONG = 1000
"""Bytes of a bound value that are shown in a text."""
_MENTIONED = 50
"""Names that are taken from one text: the longest."""


@final
class Gatekeeping:
    """Holds at most one `Pending`."""

    def __init__(
        self, exchange: Exchange, classifier: Classifier, target: str, source: AtSource
    ) -> None:
        self._exchange = exchange
        self._source = source
        self.opened = Opened()
        self._classifier = classifier
        self._operations = Operations(target)
        self._pending: Pending | None = None
        self._undecided: Operation | None = None
        self._waiting = False

    @property
    def busy(self) -> bool:
        """Whether a message waits, so that nothing behind it may be looked at."""
        return self._pending is not None

    @property
    def waiting(self) -> bool:
        """Whether a look that it asked for is under way."""
        return self._waiting

    # --- before the decision

    def take(self, pending: Pending) -> None:
        """Begin with a message: understand it, then issue what it holds."""
        self._pending = pending
        if pending.statements:
            self._issue(pending)
        else:
            self._classify(pending)

    def resume(self) -> None:
        """What `Wait` asked for has been tried."""
        pending = self._pending
        if pending is None or not self._waiting:
            return
        self._waiting = False
        if pending.dead:
            self._pending = None
            return
        self._classify(pending)

    def _classify(self, pending: Pending) -> None:
        exchange = self._exchange
        pending.catalogue = exchange.catalogue()
        state = with_names(pending.state, pending.text, exchange)
        found = self._classifier.classify(pending.text, state, pending.catalogue)
        if found.needs and found.needs not in pending.waited:
            pending.waited.add(found.needs)
            self._waiting = True
            exchange.emit(Wait(found.needs, pending.text))
            return
        pending.statements = found.statements
        pending.counted = not found.error
        if pending.kind != QUERY and len(found.statements) != 1:
            self._several(pending)
        elif not found.statements:
            self.refuse_own(pending, Deny((), "the statement was not understood", "", "42601"))
        else:
            self._issue(pending)

    def _several(self, pending: Pending) -> None:
        """Leave several commands in a Parse to the server, which refuses them; run no portal."""
        if pending.kind == PARSE and pending.statements:
            self._pending = None
            pending.send(pending)
            return
        text = "cannot insert multiple commands into a prepared statement"
        self.refuse_own(pending, Deny((), text, "", "42601"))

    def _issue(self, pending: Pending) -> None:
        statement = pending.statements[len(pending.operations)]
        operation = self._operations.make(statement, pending.parameters, pending.declared)
        pending.operations.append(operation)
        pending.revision = self._exchange.revision()
        self._undecided = operation
        if pending.precheck:
            self._exchange.emit(PrecheckIssued(operation))
            return
        known = statement.effect is not Effect.UNKNOWN
        tags = tags_at(pending.catalogue)
        self._exchange.emit(OperationIssued(operation, self._exchange.in_transaction, known, tags))

    # --- the decision

    def stands(self, operation: Operation) -> bool:
        """Whether the undecided operation's message still means what it meant when it was issued.

        FAILS CLOSED: where the catalogue is not known now, it does not.
        """
        pending, undecided = self._pending, self._undecided
        if pending is None or undecided is None or undecided.digest != operation.digest:
            return False
        exchange = self._exchange
        now = exchange.catalogue()
        if now is None:
            return False
        if exchange.unchanged(pending.catalogue):
            return True
        if tags_at(now) != tags_at(pending.catalogue):
            return False
        state = with_names(pending.state, pending.text, exchange)
        found = self._classifier.classify(pending.text, state, now)
        if found.needs or len(found.statements) != len(pending.statements):
            return False
        pairs = zip(pending.statements, found.statements, strict=True)
        if not all(self._operations.same(one, other) for one, other in pairs):
            return False
        pending.catalogue, pending.statements = now, found.statements
        return True

    def same(self, one: Statement, other: Statement) -> bool:
        """Whether two statements are one and the same to everybody who decides."""
        return self._operations.same(one, other)

    def _answered(self, operation: Operation, *, precheck: bool) -> Pending:
        pending, undecided = self._pending, self._undecided
        if pending is None or undecided is None or undecided.digest != operation.digest:
            raise ValueError("this operation is not the undecided one")
        if undecided.id != operation.id or pending.precheck is not precheck:
            raise ValueError("this operation is not decided so")
        self._undecided = None
        return pending

    def release(self, operation: Operation, allow: Allow) -> None:
        """The undecided operation is allowed. Raises: ValueError for another one, or digest."""
        if allow.digest != operation.digest:
            raise ValueError("this is not the operation that was allowed")
        pending = self._answered(operation, precheck=False)
        pending.allows.append(allow)
        if pending.dead:
            self._bury(pending)
            return
        objection = self._objection(pending, allow)
        if objection is not None:
            self._refuse(pending, objection)
        elif pending.complete:
            self._pending = None
            pending.send(pending)
        else:
            self._issue(pending)

    def admit(self, operation: Operation) -> None:
        """The undecided precheck passed. Raises: ValueError for anything else."""
        pending = self._answered(operation, precheck=True)
        self._pending = None
        if not pending.dead:
            pending.send(pending)

    def refuse(self, operation: Operation, deny: Deny) -> None:
        """The undecided operation or precheck is refused. Raises: ValueError for any other."""
        undecided, pending = self._undecided, self._pending
        precheck = pending is not None and pending.precheck
        if undecided is None or undecided.digest != operation.digest:
            raise ValueError("this operation is not the undecided one")
        pending = self._answered(operation, precheck=precheck)
        if pending.dead:
            self._bury(pending)
        else:
            self._refuse(pending, deny)

    def refuse_own(self, pending: Pending, deny: Deny) -> None:
        """Refuse a message for a reason of the codec's own, as the server would."""
        self._pending = pending
        self._refuse(pending, deny)

    def die(self) -> None:
        """The batch has failed: what waits will be discarded, as the server does."""
        if self._pending is not None and not self._pending.dead:
            self._pending.dead = True
            if self._undecided is not None:
                self._exchange.emit(Withdrawn(self._undecided))

    def _objection(self, pending: Pending, allow: Allow) -> Deny | None:
        """Why what was allowed cannot be carried out. FAILS CLOSED."""
        number = len(pending.allows) - 1
        statement = pending.statements[number]
        masks = allow.obligations.masks
        meant = self._meant(pending, number, allow.obligations)
        if isinstance(meant, Deny):
            return meant
        if meant is not None:
            self._take_rewriting(pending, number, meant, masks)
        if (kind := opens(statement)) and statement.change is not None:
            text = pending.rewritten.get(number)
            terms = of_cursor(masks) if kind == CURSOR else text
            if text is not None:
                self.opened.hashed = self.opened.hashed or hashing(masks)
            name = statement.change.name
            fresh = self._is_fresh(kind, name, pending, number)
            self.opened.note(kind, name, terms, fresh=fresh, rewritten=text is not None)
        return None

    def _take_rewriting(
        self, pending: Pending, number: int, meant: Rewritten, masks: tuple[Mask, ...]
    ) -> None:
        """Send this in the statement's place; record it, and tell the client what is masked."""
        exchange = self._exchange
        pending.rewritten[number] = meant.text
        shown = self._source.shown(meant.text, masks)
        identifier = pending.operations[number].id
        exchange.record(OperationReleased(exchange.session, exchange.clock(), identifier, shown))
        for text in self._source.news(meant, masks):
            exchange.interject(replies.notice("00000", text))

    def carried(self, operation: Operation, obligations: Obligations) -> Carried:
        """Return how the undecided operation would be carried out. Changes nothing."""
        pending, undecided = self._pending, self._undecided
        if pending is None or undecided is None or undecided.digest != operation.digest:
            return Carried()
        number = len(pending.operations) - 1
        meant = self._meant(pending, number, obligations)
        if isinstance(meant, Deny):
            return Carried(refused=meant)
        return Carried() if meant is None else Carried(self._source.keyless(meant.text))

    def _is_fresh(self, kind: str, name: str, pending: Pending, number: int) -> bool:
        """Whether a name surely stands for nothing: with nothing under way, nothing is unsure."""
        exchange, state = self._exchange, pending.state
        if any(opens(before) for before in pending.statements[:number]):
            return False
        if exchange.ledger.head is not None or not self.opened.knows(state, pending.text):
            return False
        live = frozenset(
            [(CURSOR, one[0]) for one in state.cursors]
            + [(CURSOR, one) for one in exchange.names.portals]
            + [(PREPARED, one[0]) for one in state.prepared]
            + [(PREPARED, one) for one in exchange.names.statements]
        )
        self.opened.keep(live)
        return (kind, name) not in live

    def bound(self, pending: Pending, portal: str) -> None:
        """Note what a Bind opens: SQL may FETCH from it, and read its text."""
        statement, masks = pending.statements[0], pending.allows[0].obligations.masks
        rewritten = 0 in pending.rewritten
        if rewritten:
            self.opened.hashed = self.opened.hashed or hashing(masks)
        if portal:
            runs = bool(reads(statement)) and self.opened.may_mask(statement)
            terms = of_cursor(masks)
            self.opened.note(CURSOR, portal, terms, rewritten=rewritten or runs)

    def _meant(
        self, pending: Pending, number: int, obligations: Obligations
    ) -> Rewritten | Deny | None:
        """Return what is sent in a statement's place, or why nothing can be; None: itself.

        Changes nothing. FAILS CLOSED.
        """
        statement, masks = pending.statements[number], obligations.masks
        operation = pending.operations[number]
        if (tells := telling(statement, masks, self.opened.hashed)) is not None:
            return tells
        refused = self._source.following.refused(statement, masks, pending.catalogue)
        if refused is not None:
            return Deny(rules_of(masks), *refused)
        if pending.was_rewritten:
            return self._as_it_was_bound(pending, masks)
        if obligations.at_source or (reads(statement) and self.opened.may_mask(statement)):
            return self._rewrite(pending, number, masks)
        must = self._source.following.must(statement, masks, pending.catalogue)
        if must is not None:
            if operation.rewritable:
                return self._rewrite(pending, number, masks)
            return Deny(rules_of(masks), must.reason, must.hint)
        gladly = None
        if self._source.wanted(statement, masks, pending.catalogue):
            gladly = self._rewrite_gladly(pending, number, masks)
        if obligations.rewrite is not None and pending.kind != QUERY:
            reason = "its rewritten form cannot be prepared"
            return Deny(rules_of(masks)[:1], reason, "send it as a simple query")
        return unclear_copy(statement, masks) or gladly

    def _rewrite(
        self, pending: Pending, number: int, masks: tuple[Mask, ...]
    ) -> Rewritten | Deny | None:
        """Return what masks at the source, or why that cannot be; None: what it reads does."""
        statement = pending.statements[number]
        apart = self._source.following.apart(statement, masks, pending.catalogue)
        if apart is not None:
            return Deny(rules_of(masks), *apart)
        if reads(statement):
            return self._reads_masked(pending, number, masks)
        if pending.kind == EXECUTE:
            return bound_before(masks)
        return self._rewritten(pending, number, masks)

    def _as_it_was_bound(self, pending: Pending, masks: tuple[Mask, ...]) -> Deny | None:
        """Let a portal run whose text was rewritten as it would be now."""
        apart = self._source.following.apart(pending.statements[0], masks, pending.catalogue)
        found = self._rewritten(pending, 0, masks)
        same = isinstance(found, Rewritten) and found.text == pending.was_rewritten
        return None if same and apart is None else bound_before(masks)

    def _rewritten(
        self, pending: Pending, number: int, masks: tuple[Mask, ...]
    ) -> Rewritten | Deny:
        text, state = pending.operations[number].text, _state_at(pending, number)
        if is_kept(pending.statements):
            masks = without_hashes(masks)
        try:
            return self._source.rewrite(text, state, pending.catalogue, masks)
        except Unfollowed as unfollowed:
            return Deny(rules_of(masks), unfollowed.reason, unfollowed.hint)

    def _reads_masked(self, pending: Pending, number: int, masks: tuple[Mask, ...]) -> Deny | None:
        """Let pass what reads something that was opened as it would be now."""
        statement, state = pending.statements[number], _state_at(pending, number)
        terms = of_cursor(masks)
        text = state.prepared_text(statement.reads)
        if reads(statement) == PREPARED and text is not None:
            if is_kept((statement,)):
                masks = without_hashes(masks)
            try:
                found = self._source.rewrite(text, state, pending.catalogue, masks)
            except Unfollowed as unfollowed:
                return Deny(rules_of(masks), unfollowed.reason, unfollowed.hint)
            terms = found.text
        if self.opened.holds(statement, terms):
            return None
        reason = f"`{statement.reads}` was not opened with the masks of this moment"
        return Deny(rules_of(masks), reason, "open it again, under another name")

    def _rewrite_gladly(
        self, pending: Pending, number: int, masks: tuple[Mask, ...]
    ) -> Rewritten | None:
        """Have the database put masks that results cannot, on columns that are only shown.

        FAILS CLOSED: where that cannot be, the result has these columns redacted.
        """
        if not pending.operations[number].rewritable or pending.kind == EXECUTE:
            return None
        found = self._rewrite(pending, number, masks)
        return found if isinstance(found, Rewritten) else None

    def _bury(self, pending: Pending) -> None:
        self._pending = None
        self._not_run(pending, "25P02", _DISCARDED)

    def _refuse(self, pending: Pending, deny: Deny) -> None:
        exchange = self._exchange
        which = pending.which
        self._pending = None
        self._not_run(pending, deny.code or "42501", _NOT_RUN)
        reply = exchange.refusal(deny, which)
        if exchange.quiet:
            exchange.send_client(reply)
            if pending.kind == QUERY:
                exchange.send_client(replies.ready("I"))
            else:
                exchange.skipping = exchange.local = True
            return
        kind = QUERY if pending.kind == QUERY else PARSE
        entry = Entry(kind, exchange.unit, REPLACE)
        entry.reply = reply
        exchange.push(entry)
        exchange.send_target(FAILING_QUERY if kind == QUERY else FAILING_PARSE)
        if kind == QUERY:
            exchange.next_unit()
        else:
            exchange.skipping = True

    def _not_run(self, pending: Pending, code: str, message: str) -> None:
        """Record that what was allowed already did not run after all."""
        allowed = zip(pending.operations, pending.allows, pending.statements, strict=False)
        for operation, allow, statement in allowed:
            run = self._exchange.run(operation, statement, allow)
            self._exchange.finish(run, "", code, message)


def _state_at(pending: Pending, number: int) -> SessionState:
    """Return the state as the text's earlier statements leave it."""
    state = pending.state
    for before in pending.statements[:number]:
        state = state.after(before)
    return state


def with_names(state: SessionState, text: str, exchange: Exchange) -> SessionState:
    """Return `state` with the statements and portals of the protocol that `text` may name in SQL.

    The keywords cannot be written any other way in SQL. FAILS CLOSED: a name that is not found
    here (written with escapes, in a long text, among many others) is not known to the classifier.
    """
    names = exchange.names
    if len(text) > _NAMING_TEXT or not (names.statements or names.portals):
        return state
    lowered = text.lower()
    if "execute" in lowered:
        for name in _mentioned(names.statements, lowered):
            prepared = names.statements[name]
            state = state.with_prepared(name, prepared.text, prepared.age)
    if "fetch" in lowered or "move" in lowered or "current" in lowered:
        for name in _mentioned(names.portals, lowered):
            portal = names.portals[name]
            age = (portal.state or state).age(epoch_of(portal.catalogue))
            state = state.with_cursor(name, _with_parameters(portal.operation), age)
    return state


def _with_parameters(operation: Operation) -> str:
    """Return a portal's text with what was bound to it, as comments behind it."""
    lines = [operation.text]
    for parameter in operation.parameters:
        value = parameter.value
        if value is not None and len(value) > _LONG:
            digest = hashlib.sha256(value).hexdigest()
            lines.append(f"-- {parameter.name} = {len(value)} bytes, SHA-256 {digest}")
            continue
        lines.append(f"-- {parameter.name} = {'NULL' if value is None else repr(value)[1:]}")
    return "\n".join(lines)


def _mentioned(names: Iterable[str], lowered: str) -> list[str]:
    """Return the names that a text may hold."""
    found = [name for name in names if name and name.lower() in lowered]
    return sorted(found, key=len)[-_MENTIONED:]


def epoch_of(catalogue: CatalogueSnapshot | None) -> str:
    """Return the epoch of a catalogue; empty: there is none."""
    return "" if catalogue is None else catalogue.epoch


def understood(prepared: Prepared, state: SessionState, exchange: Exchange) -> bool:
    """Whether what is known of a prepared statement still holds in `state`, at this moment."""
    return (
        prepared.statement is not None
        and prepared.key == state.key
        and (planned(prepared.statement) or prepared.generation == exchange.names.generation)
        and exchange.unchanged(prepared.catalogue)
    )
