"""Relay: runs a codec on two legs.

Theory of operation. Bytes that arrive go to the codec; its events are worked off in order, in one
flat loop. An operation is decided at once where policy, journal and quota can answer at once;
otherwise a task waits (for the disk, for a human, for a lease) while bytes keep arriving, so that
a cancel, a terminate or a closed socket is seen. Nothing is written here directly: `push` runs at
the end of the turn, after the journal's write.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import structlog

from sallyport.core.decision import Allow, Deny, Hold, Obligations
from sallyport.core.errors import ControlLost, ProtocolViolation, RecorderLost
from sallyport.core.event import RecordedEvent
from sallyport.core.grant import Grant
from sallyport.core.operation import Operation
from sallyport.protocols.base import (
    CancelTarget,
    Carried,
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
from sallyport.session.leg import StreamLeg
from sallyport.session.turn import Turn

FAREWELL = 2.0
"""Seconds that a session which is ended from outside has to cancel what runs and say so."""

_CANCELLED = Deny(("cancelled",), "cancelled by the client", "", code="57014")
_DISCARDED = Deny(("discarded",), "its batch had failed", "", code="25P02")

TURN_OPERATIONS = 16
"""Operations of one session after which the next waits for another turn of the loop.

A chunk may hold thousands of short ones, and all other sessions would wait for their decisions.
"""

_log = structlog.get_logger("relay")


class Gate(Protocol):
    """What the relay asks of the gate."""

    def decide(self, grant: Grant, issued: OperationIssued) -> Allow | Deny | Hold:
        """Decide and record."""

    def precheck(self, grant: Grant, operation: Operation) -> Deny | None:
        """Return the Deny that nothing later could change, or None."""

    def lease(self, grant: Grant) -> Awaitable[None] | None:
        """What to wait for before deciding, or None."""

    def spend(self, grant: Grant, rows: int, size: int) -> Deny | None:
        """Spend a result's rows and bytes; the Deny of a quota that is used up."""

    async def settle(
        self,
        grant: Grant,
        issued: OperationIssued,
        hold: Hold,
        told: Callable[[str], None],
        stands: Callable[[], Awaitable[bool]] | None = None,
        carry: Callable[[Obligations], Carried] | None = None,
    ) -> Allow | Deny:
        """Wait for a human."""

    def durable_first(self, operation: Operation) -> bool:
        """Whether the decision must be on disk before `operation` is released."""

    def touched(self, grant: Grant) -> None:
        """The target's catalogue may have changed."""

    def record(self, event: RecordedEvent) -> None:
        """Put an event on record."""

    async def commit(self) -> None:
        """Return when all that was recorded is durable."""


class Relay:
    """One session's relay. Make it, await `run`."""

    def __init__(
        self,
        *,
        gate: Gate,
        turn: Turn,
        grant: Grant,
        client: StreamLeg,
        target: StreamLeg,
        codec: Codec,
        prepare: Callable[[Wait], Awaitable[None]],
        cancel: Callable[[], Awaitable[None]],
        idle: float | None = None,
    ) -> None:
        self._gate = gate
        self._idle = idle
        self._turn = turn
        self._grant = grant
        self._client = client
        self._target = target
        self._codec = codec
        self._prepare = prepare
        self._cancel = cancel
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[str] = self._loop.create_future()
        self._record = gate.record
        self._events: deque[Event] = deque()
        self._actions: dict[type[object], Callable[[Any], None]] = {
            Recorded: self._on_recorded,
            OperationIssued: self._decide,
            Spent: self._on_spent,
            PrecheckIssued: self._on_precheck,
            CatalogueTouched: self._on_touched,
            Wait: self._on_wait,
            CancelTarget: self._on_cancel,
            Withdrawn: self._on_withdrawn,
            Closed: self._on_closed,
        }
        self._working = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._undecided: tuple[OperationIssued, asyncio.Task[None]] | None = None
        self._throttled = False
        self._ending = False
        self._draining = ""
        self._held = False
        self._heard = self._loop.time()
        self._over = False
        self._clock: asyncio.TimerHandle | None = None
        self.operations = 0
        self.rows = 0

    async def run(self) -> str:
        """Relay until the session ends; return why. Closes both legs."""
        self._grant.ended.listen(self._end_soon)
        self._client.attach(self)
        self._target.attach(self)
        self._look_at_clock()
        try:
            return await self._done
        finally:
            if self._clock is not None:
                self._clock.cancel()
            for task in list(self._tasks):
                task.cancel()
            self._turn.forget(self)
            self._client.close()
            self._target.close()

    # --- what the legs call

    def arrived(self, leg: StreamLeg, data: bytes) -> None:
        """Bytes came in on one leg."""
        self._heard = self._loop.time()
        side = Side.CLIENT if leg is self._client else Side.TARGET
        self._advance(self._codec.receive, side, data)

    def finished(self, leg: StreamLeg) -> None:
        """One leg will bring no more."""
        side = Side.CLIENT if leg is self._client else Side.TARGET
        self._advance(self._codec.eof, side)
        if leg.lost:
            self._close(f"{side.value} closed the connection")

    def writable(self, leg: StreamLeg) -> None:
        """A leg's queue for sending passed its limit, in either direction."""
        self._balance()

    # --- what the turn calls

    def push(self) -> None:
        """Write what is due to both legs. An error ends this session, and no other's turn."""
        try:
            self._push()
        except Exception as error:
            _log.exception("session failed", session=self._grant.session)
            self._ending = True
            self._close(f"internal error ({type(error).__name__})")

    def _push(self) -> None:
        """One join and one write each."""
        for side, leg in ((Side.TARGET, self._target), (Side.CLIENT, self._client)):
            due = self._codec.take(side)
            if due:
                leg.write(due[0] if len(due) == 1 else b"".join(due))
        self._balance()
        held = self._held and self._undecided is not None
        if self._draining and (held or self._codec.idle):
            self._end_soon(self._draining)

    def throttle(self, held: bool) -> None:
        """Stop or go on reading from the target: the journal has to catch up."""
        self._throttled = held
        self._balance()

    # --- what others ask

    def drain(self, reason: str) -> None:
        """End as soon as nothing runs: at once, after a statement, after a transaction.

        A hold ends too: nobody could be told of an answer that comes later.
        """
        self._draining = reason
        self._turn.mark(self)

    def interrupt(self) -> None:
        """The client asked to cancel what it runs: a hold, or a statement on the target."""
        if self._undecided is not None:
            operation = self._undecided[0].operation
            self._advance(self._withdraw, operation, _CANCELLED)
            return
        self._advance(self._codec.interrupt)

    # --- inside

    def _advance(self, step: Callable[..., Sequence[Event]], *given: object) -> None:
        """Take one step of the codec and work off all that follows from it."""
        if self._over or self._ending:
            return
        try:
            events = step(*given)
            if events:
                self._events.extend(events)
                self._work()
        except ProtocolViolation as violation:
            _log.warning("protocol violation", session=self._grant.session, error=str(violation))
            self._close(f"protocol violation by the {violation.side}: {violation.message}")
        except RecorderLost as error:
            self._close(f"recorder lost: {error}")
        except Exception as error:
            _log.exception("session failed", session=self._grant.session)
            self._close(f"internal error ({type(error).__name__})")
        if not self._over:
            self._turn.mark(self)

    def _work(self) -> None:
        if self._working:
            return
        self._working = True
        try:
            events, actions = self._events, self._actions
            while events:
                event = events.popleft()
                actions[type(event)](event)
        finally:
            self._working = False

    def _on_recorded(self, event: Any) -> None:
        self._record(event.event)

    def _on_spent(self, event: Any) -> None:
        self.rows += event.rows
        deny = self._gate.spend(self._grant, event.rows, event.bytes)
        if deny is not None:
            self._events.extend(self._codec.stop(event.operation, deny))

    def _on_precheck(self, event: Any) -> None:
        deny = self._gate.precheck(self._grant, event.operation)
        if deny is None:
            self._events.extend(self._codec.admit(event.operation))
        else:
            self._events.extend(self._codec.refuse(event.operation, deny))

    def _on_touched(self, event: Any) -> None:
        self._gate.touched(self._grant)

    def _on_wait(self, event: Any) -> None:
        self._spawn(self._after_preparation(event))

    def _on_cancel(self, event: Any) -> None:
        self._spawn(self._cancel_target())

    def _on_withdrawn(self, event: Any) -> None:
        self._events.extend(self._withdraw(event.operation, _DISCARDED))

    def _on_closed(self, event: Any) -> None:
        self._close(event.reason)

    def _withdraw(self, operation: Operation, deny: Deny) -> Sequence[Event]:
        """Nobody waits for `operation` any more: end its hold, and refuse it."""
        if self._undecided is None or self._undecided[0].operation is not operation:
            return ()
        self._undecided[1].cancel()
        self._undecided = None
        return self._codec.refuse(operation, deny)

    def _decide(self, issued: OperationIssued) -> None:
        self.operations += 1
        lease = self._gate.lease(self._grant)
        if lease is None and self.operations % TURN_OPERATIONS == 0:
            lease = asyncio.sleep(0)
        if lease is not None:
            self._wait_undecided(issued, self._after_lease(issued, lease))
            return
        decision = self._gate.decide(self._grant, issued)
        self._events.extend(self._act(issued, decision))

    def _act(self, issued: OperationIssued, decision: Allow | Deny | Hold) -> Sequence[Event]:
        """Act on a decision; return what follows at once."""
        operation = issued.operation
        if isinstance(decision, Allow):
            if not self._gate.durable_first(operation):
                return self._codec.release(operation, decision)
            self._wait_undecided(issued, self._after_commit(issued, decision))
        elif isinstance(decision, Deny):
            return self._codec.refuse(operation, decision)
        else:
            waiting = self._after_hold(issued, decision)
            self._wait_undecided(issued, waiting, held=not decision.ticket)
        return ()

    def _wait_undecided(
        self, issued: OperationIssued, waiting: Coroutine[Any, Any, None], held: bool = False
    ) -> None:
        self._held = held
        self._undecided = (issued, self._spawn(waiting))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RecorderLost as error:
            self._close(f"recorder lost: {error}")
        except ControlLost as error:
            self._close(f"control lost: {error}")
        except Exception as error:
            _log.exception("session failed", session=self._grant.session)
            self._close(f"internal error ({type(error).__name__})")

    async def _after_lease(self, issued: OperationIssued, lease: Awaitable[None]) -> None:
        await lease
        self._resolve(issued, self._gate.decide(self._grant, issued))

    async def _after_commit(self, issued: OperationIssued, allow: Allow) -> None:
        await self._gate.commit()
        self._undecided = None
        self._advance(self._codec.release, issued.operation, allow)

    async def _after_hold(self, issued: OperationIssued, hold: Hold) -> None:
        async def stands() -> bool:
            return await self._stands(issued.operation)

        carry = functools.partial(self._codec.carried, issued.operation)
        decision = await self._gate.settle(self._grant, issued, hold, self._tell, stands, carry)
        self._resolve(issued, decision)

    async def _stands(self, operation: Operation) -> bool:
        """Whether `operation` is still what an approver was shown. FAILS CLOSED on any error."""
        try:
            await self._prepare(Wait("again", operation.text))
        except Exception as error:
            _log.warning("cannot look again", session=self._grant.session, error=str(error))
            return False
        return self._codec.stands(operation)

    async def _after_preparation(self, wait: Wait) -> None:
        await self._prepare(wait)
        self._advance(self._codec.resume)

    async def _cancel_target(self) -> None:
        await self._cancel()
        self._advance(self._codec.cancelled)

    def _resolve(self, issued: OperationIssued, decision: Allow | Deny | Hold) -> None:
        self._undecided = None
        self._advance(self._act, issued, decision)

    def _tell(self, text: str) -> None:
        if not self._over:
            self._codec.notify(text)
            self._turn.mark(self)

    def _balance(self) -> None:
        if self._over:
            return
        client, target, wants = self._client, self._target, self._codec.wants
        held = target.write_paused or not wants(Side.CLIENT)
        if held is not client.held:
            client.hold(held)
        held = client.write_paused or self._throttled or not wants(Side.TARGET)
        if held is not target.held:
            target.hold(held)

    def _look_at_clock(self) -> None:
        """End a session on which nothing moved and nothing waited for `idle` seconds."""
        if self._idle is None or self._over:
            return
        silent = self._loop.time() - self._heard
        if silent >= self._idle and self._undecided is None:
            self._grant.ended.fire("idle for too long")
            return
        wait = max(0.05, self._idle - silent)
        self._clock = self._loop.call_later(wait, self._look_at_clock)

    def _end_soon(self, reason: str) -> None:
        """The grant is over: cancel what runs, say farewell, close."""
        if self._over or self._ending:
            return
        self._spawn(self._end(reason))

    async def _end(self, reason: str) -> None:
        if self._undecided is not None:
            self._undecided[1].cancel()
            self._undecided = None
        self._ending = True
        try:
            events = [*self._codec.interrupt()]
            running = any(isinstance(event, CancelTarget) for event in events)
            self._codec.end(reason, "57P01")
            self._record_last([*events, *self._codec.eof(Side.CLIENT)])
            self._turn.settle(self)
            if running:
                async with asyncio.timeout(FAREWELL):
                    await self._cancel()
        except Exception as error:
            _log.warning("farewell failed", session=self._grant.session, error=repr(error))
        finally:
            self._close(reason)

    def _record_last(self, events: Sequence[Event]) -> None:
        """Record what came of what still ran."""
        with contextlib.suppress(RecorderLost):  # then settling tells who has to know
            for event in events:
                if isinstance(event, Recorded):
                    self._record(event.event)

    def _close(self, reason: str) -> None:
        if self._over:
            return
        if not self._ending:
            self._turn.settle(self)
        if not self._over:
            self._over = True
            self._done.set_result(reason)
