"""Dialogue: drives a codec as a conversation, so that a test reads like a script.

    pg = Dialogue(codec, read)
    operation = pg.client_sends(query("DROP TABLE users")).issued()
    assert pg.to_target() == []
    pg.refuse(operation, reason="drops need approval")
    assert pg.to_client() == [error("42501"), ready("I")]

Events gather until a test asks for them; `issued` and its like demand what is next and leave the
rest. Bytes gather likewise: `to_client` and `to_target` give what has become due since the last
call, cut into messages by the reader that the protocol's tests supply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar, final

from sallyport.core.decision import Allow, Deny, Limit, Mask, Obligations
from sallyport.core.event import RecordedEvent
from sallyport.core.operation import Operation
from sallyport.protocols.base import (
    CancelTarget,
    CatalogueTouched,
    Closed,
    Codec,
    Event,
    OperationIssued,
    PrecheckIssued,
    Recorded,
    Side,
    Spent,
    Wait,
    Withdrawn,
)

M = TypeVar("M")
E = TypeVar("E")
_Happening = (
    OperationIssued | PrecheckIssued | Withdrawn | Wait | CancelTarget | CatalogueTouched | Closed
)


def allow(
    operation: Operation,
    *,
    masks: Iterable[Mask] = (),
    limits: Iterable[Limit] = (),
    record: str = "full",
    rewrite: bytes | None = None,
    at_source: bool = False,
) -> Allow:
    """Return an Allow of `operation`. For tests alone: in the gateway only the gate makes one."""
    obligations = Obligations(tuple(masks), tuple(limits), record, rewrite, at_source)
    return Allow(operation.digest, ("test",), obligations)


def deny(
    operation: Operation, rule: str = "test", reason: str = "", hint: str = "", code: str = ""
) -> Deny:
    """Return a Deny of `operation`."""
    return Deny((rule,), reason or f"{operation.verb} is refused", hint, code)


@final
class Dialogue(Generic[M]):
    """A codec between a scripted client and a scripted target.

    `read` cuts one side's outgoing bytes into messages: it is given all that is due and returns the
    whole messages, whatever a test likes to compare. `chunk` is how many bytes are handed to the
    codec at a time (None: all at once).
    """

    def __init__(
        self, codec: Codec, read: Callable[[Side, bytes], list[M]], chunk: int | None = None
    ) -> None:
        self.codec = codec
        self.chunk = chunk
        self.recorded: list[RecordedEvent] = []
        self.spent: list[Spent] = []
        self._read = read
        self._happened: list[_Happening] = []

    # --- what the two sides do

    def client_sends(self, *messages: bytes) -> Dialogue[M]:
        """The client sends bytes."""
        return self._send(Side.CLIENT, b"".join(messages))

    def target_sends(self, *messages: bytes) -> Dialogue[M]:
        """The target sends bytes."""
        return self._send(Side.TARGET, b"".join(messages))

    def client_leaves(self) -> Dialogue[M]:
        """The client closes its connection."""
        return self.take(self.codec.eof(Side.CLIENT))

    def target_leaves(self) -> Dialogue[M]:
        """The target closes its connection."""
        return self.take(self.codec.eof(Side.TARGET))

    def _send(self, side: Side, data: bytes) -> Dialogue[M]:
        size = self.chunk or max(len(data), 1)
        for start in range(0, len(data), size):
            self.take(self.codec.receive(side, data[start : start + size]))
        return self

    def take(self, events: Sequence[Event]) -> Dialogue[M]:
        """Sort events of the codec into what a test asks for."""
        for event in events:
            if isinstance(event, Recorded):
                self.recorded.append(event.event)
            elif isinstance(event, Spent):
                self.spent.append(event)
            else:
                self._happened.append(event)
        return self

    # --- what happened

    def issued(self) -> Operation:
        """Return the operation that is issued next. Raises: AssertionError at anything else."""
        return self._next(OperationIssued).operation

    def issue(self) -> OperationIssued:
        """Return the whole event of the operation that is issued next."""
        return self._next(OperationIssued)

    def prechecked(self) -> Operation:
        """Return the operation whose preparation is asked for next."""
        return self._next(PrecheckIssued).operation

    def waits(self) -> Wait:
        """Return the preparation that the codec waits for next."""
        return self._next(Wait)

    def cancels(self) -> None:
        """Demand that the codec wants the target's statement cancelled."""
        self._next(CancelTarget)

    def touched(self) -> None:
        """Demand that the target's catalogue may have changed."""
        self._next(CatalogueTouched)

    def withdrawn(self) -> Operation:
        """Return the undecided operation that will not run any more."""
        return self._next(Withdrawn).operation

    def closed(self) -> str:
        """Demand that the dialogue is over; return why."""
        return self._next(Closed).reason

    def nothing(self) -> None:
        """Demand that nothing more happened. Raises: AssertionError."""
        if self._happened:
            raise AssertionError(f"unexpected: {self._happened}")

    def _next(self, kind: type[E]) -> E:
        if not self._happened:
            raise AssertionError(f"nothing happened where {kind.__name__} was expected")
        event = self._happened.pop(0)
        if not isinstance(event, kind):
            raise AssertionError(f"{event} where {kind.__name__} was expected")
        return event

    def records(self, kind: type[E]) -> list[E]:
        """Return what was recorded so far of one kind."""
        return [event for event in self.recorded if isinstance(event, kind)]

    # --- decisions

    def release(
        self,
        operation: Operation,
        *,
        masks: Iterable[Mask] = (),
        limits: Iterable[Limit] = (),
        record: str = "full",
        rewrite: bytes | None = None,
        at_source: bool = False,
    ) -> Dialogue[M]:
        """Allow the undecided operation."""
        given = allow(
            operation, masks=masks, limits=limits, record=record, rewrite=rewrite,
            at_source=at_source,
        )  # fmt: skip
        return self.take(self.codec.release(operation, given))

    def admit(self, operation: Operation) -> Dialogue[M]:
        """Let the undecided precheck pass."""
        return self.take(self.codec.admit(operation))

    def refuse(
        self,
        operation: Operation,
        rule: str = "test",
        reason: str = "",
        hint: str = "",
        code: str = "",
    ) -> Dialogue[M]:
        """Refuse the undecided operation or precheck."""
        given = deny(operation, rule, reason, hint, code)
        return self.take(self.codec.refuse(operation, given))

    def allow_all(self) -> Dialogue[M]:
        """Allow and admit whatever is undecided, until nothing is."""
        while self._happened:
            event = self._happened[0]
            if isinstance(event, OperationIssued):
                self.release(self.issued())
            elif isinstance(event, PrecheckIssued):
                self.admit(self.prechecked())
            else:
                break
        return self

    def resume(self) -> Dialogue[M]:
        """The preparation is done."""
        return self.take(self.codec.resume())

    def stop(self, operation: Operation, reason: str) -> Dialogue[M]:
        """End a running result."""
        return self.take(self.codec.stop(operation, deny(operation, reason=reason)))

    def interrupt(self) -> Dialogue[M]:
        """The client asks for a cancel."""
        return self.take(self.codec.interrupt())

    def cancelled(self) -> Dialogue[M]:
        """The cancel was carried out."""
        return self.take(self.codec.cancelled())

    # --- what is due

    def to_client(self) -> list[M]:
        """Return the messages that are due to the client since the last call."""
        return self._read(Side.CLIENT, b"".join(self.codec.take(Side.CLIENT)))

    def to_target(self) -> list[M]:
        """Return the messages that are due to the target since the last call."""
        return self._read(Side.TARGET, b"".join(self.codec.take(Side.TARGET)))
