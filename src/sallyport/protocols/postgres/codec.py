"""The codec of one PostgreSQL session after login, when both legs are at ReadyForQuery `I`.

    PostgresCodec(session=..., target=..., classifier=..., clock=..., limits=Limits(),
                  revision=..., state=..., catalogue=..., write=..., mask_key=...)

Theory of operation. Two sides share one `Exchange`. `ClientSide` takes requests in order, has each
operation decided (`Gatekeeping`), and sends what was allowed, with an entry in the ledger;
`TargetSide` reads answers against that ledger and sends them on, through the run of the operation
that they belong to. No socket, no clock, no await.

    codec -> client_side -> extended, copying -> gatekeeping -> exchange
          -> target_side -> answers -----------> hiding, results -> exchange -> ledger, names
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

from sallyport.core.decision import Allow, Deny, Obligations
from sallyport.core.errors import ProtocolViolation
from sallyport.core.operation import Operation
from sallyport.protocols.base import CancelTarget, Carried, Event, Side
from sallyport.protocols.postgres import messages, replies
from sallyport.protocols.postgres.classify import Classifier
from sallyport.protocols.postgres.client_side import ClientSide
from sallyport.protocols.postgres.exchange import Exchange, Limits
from sallyport.protocols.postgres.gatekeeping import Gatekeeping
from sallyport.protocols.postgres.late import Late
from sallyport.protocols.postgres.masks.at_source import AtSource
from sallyport.protocols.postgres.masks.hiding import Hiding
from sallyport.protocols.postgres.target_side import TargetSide
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import SessionState

__all__ = ["Limits", "PostgresCodec"]


@final
class PostgresCodec:
    """`protocols.base.Codec` for PostgreSQL.

    `revision` is the policy revision in force, `catalogue` the newest snapshot (None: none that
    can be used), `state` the session as login left it. `write`: the grant may write, so a session
    that is no longer read-only is no violation. `seen`: whether the last look for a late answer
    could be had. `mask_key` keys the hashes of masked values.
    """

    def __init__(
        self,
        *,
        session: str,
        target: str,
        classifier: Classifier,
        clock: Callable[[], float],
        limits: Limits,
        revision: Callable[[], str],
        state: SessionState,
        catalogue: Callable[[], CatalogueSnapshot | None],
        overdue: Callable[[], bool] = lambda: False,
        seen: Callable[[], bool] = lambda: True,
        write: bool,
        mask_key: bytes,
    ) -> None:
        self._exchange = Exchange(
            session=session,
            clock=clock,
            limits=limits,
            state=state,
            revision=revision,
            catalogue=catalogue,
            overdue=overdue,
            seen=seen,
        )
        self._gate = Gatekeeping(self._exchange, classifier, target, AtSource(mask_key))
        self._late = Late(self._exchange, classifier, self._gate.same, self._looks)
        self._client = ClientSide(self._exchange, self._gate, self._late)
        hiding = Hiding(self._exchange, mask_key)
        self._target = TargetSide(self._exchange, hiding, self._gate.die, self._late, write=write)
        self._ended: str | None = None

    # --- bytes in

    def receive(self, side: Side, data: bytes) -> Sequence[Event]:
        """Take bytes that arrived from `side`. Raises: ProtocolViolation."""
        if self._exchange.closed or self._ended is not None:
            return ()
        self._exchange.heard()
        try:
            if side is Side.CLIENT:
                self._client.feed(data)
            else:
                self._target.feed(data)
                if not self._client.empty:
                    self._client.pump()
        except ProtocolViolation as violation:
            return self._violated(violation)
        return self._exchange.events()

    def _step(self, step: Callable[..., None], *given: object) -> Sequence[Event]:
        """Take a step that no bytes caused."""
        self._exchange.heard()
        try:
            step(*given)
            self._client.pump()
        except ProtocolViolation as violation:
            return self._violated(violation)
        return self._exchange.events()

    def _violated(self, violation: ProtocolViolation) -> Sequence[Event]:
        """Say farewell. A violation after events is their end; without any it is raised."""
        exchange = self._exchange
        exchange.farewell(_blame(violation), violation.code)
        exchange.close(f"protocol violation by the {violation.side}: {violation.message}")
        events = exchange.events()
        if len(events) == 1:
            raise violation
        return events

    def eof(self, side: Side) -> Sequence[Event]:
        """`side` will send no more: the dialogue is over."""
        exchange = self._exchange
        if exchange.closed:
            return ()
        if self._ended is not None:
            exchange.close(self._ended)
            return exchange.events()
        if side is Side.TARGET and not self._target.fatal:
            exchange.farewell("the target closed the connection", "08006")
        exchange.close(f"the {side.value} closed the connection")
        return exchange.events()

    # --- decisions

    def stands(self, operation: Operation) -> bool:
        """Whether the undecided operation still is what it was when it was issued."""
        return not self._exchange.closed and self._gate.stands(operation)

    def carried(self, operation: Operation, obligations: Obligations) -> Carried:
        """Return how the undecided operation would be carried out."""
        return self._gate.carried(operation, obligations)

    def release(self, operation: Operation, allow: Allow) -> Sequence[Event]:
        """Let the undecided operation through. FAILS CLOSED: another digest is a ValueError."""
        if self._exchange.closed:
            return ()
        return self._step(self._gate.release, operation, allow)

    def admit(self, operation: Operation) -> Sequence[Event]:
        """Let the undecided precheck through: the preparation alone."""
        if self._exchange.closed:
            return ()
        return self._step(self._gate.admit, operation)

    def refuse(self, operation: Operation, deny: Deny) -> Sequence[Event]:
        """Answer the undecided operation with the protocol's own error, in its place."""
        if self._exchange.closed:
            return ()
        return self._step(self._gate.refuse, operation, deny)

    def resume(self) -> Sequence[Event]:
        """The preparation that `Wait` asked for is done, or failed: decide with what is known."""
        if self._exchange.closed:
            return ()
        if self._late.asked:
            return self._step(self._target.looked)
        return self._step(self._resume)

    def _resume(self) -> None:
        if self._client.looking:
            self._client.looked()
        else:
            self._gate.resume()
        self._late.ask()

    def _looks(self) -> bool:
        return self._client.looking or self._gate.waiting

    # --- ending what runs

    def stop(self, operation: Operation, why: Deny) -> Sequence[Event]:
        """End the running result of `operation` in its middle (a quota is used up)."""
        exchange = self._exchange
        if exchange.closed:
            return ()
        for portal in exchange.names.portals.values():
            if portal.operation.id == operation.id and not portal.run.over:
                portal.run.stopped = why
        head = exchange.ledger.head
        run = head.run if head is not None else None
        if head is not None and run is not None and run.operation.id == operation.id:
            run.stopped = why
            exchange.cut(head, why)
        return exchange.events()

    def interrupt(self) -> Sequence[Event]:
        """The client asks to cancel what runs; what it sent since waits for `cancelled`."""
        exchange = self._exchange
        if exchange.closed or exchange.cancelling or exchange.ledger.head is None:
            return ()
        exchange.cancelling = True
        exchange.emit(CancelTarget())
        return exchange.events()

    def cancelled(self) -> Sequence[Event]:
        """The cancel that `CancelTarget` asked for has been carried out."""

        exchange = self._exchange
        if exchange.closed:
            return ()
        exchange.cancelling = False
        return self._step(exchange.settled)

    def notify(self, text: str) -> None:
        """Tell the client something, in a NOTICE."""
        if not self._exchange.closed:
            self._exchange.interject(replies.notice("00000", text))

    def end(self, reason: str, code: str) -> None:
        """The session ends from outside: queue a FATAL error, and leave the target."""
        if self._exchange.closed or self._ended is not None:
            return
        self._ended = reason
        self._exchange.farewell(reason, code)
        self._exchange.send_target(messages.TERMINATE)

    @property
    def idle(self) -> bool:
        """Whether neither leg waits for anything: no statement, batch or transaction is open."""
        exchange = self._exchange
        return (
            exchange.quiet
            and not exchange.skipping
            and not exchange.cancelling
            and not self._gate.busy
            and not self._client.looking
            and not self._late.waiting
            and self._client.empty
        )

    # --- bytes out

    def take(self, side: Side) -> list[bytes]:
        """Return what is due for writing to `side`, and forget it."""
        exchange = self._exchange
        if side is Side.CLIENT:
            due, exchange.to_client = exchange.to_client, []
            exchange.client_bytes = 0
        else:
            due, exchange.to_target = exchange.to_target, []
            exchange.target_bytes = 0
        return due

    def wants(self, side: Side) -> bool:
        """Whether `side` should be read from now. False: a buffer is at its limit."""
        if self._exchange.closed or self._ended is not None:
            return False
        if side is Side.CLIENT:
            return self._client.wants()
        return not self._late.waiting and (
            self._exchange.client_bytes < self._exchange.limits.outbox
        )


def _blame(violation: ProtocolViolation) -> str:
    """Return what a client is told of a violation: of its own all, of the target's no bytes."""
    if violation.side == Side.CLIENT.value:
        return violation.message
    return "the target broke the protocol"
