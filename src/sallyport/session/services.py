"""Services: what a plugin may ask, carried out by one worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sallyport.core.decision import Allow, Deny, Hold, Obligations
from sallyport.core.errors import ControlLost
from sallyport.core.event import RecordedEvent
from sallyport.core.grant import Ended, Grant
from sallyport.core.messages import Cancel, RegisterCancel
from sallyport.core.operation import Operation
from sallyport.core.ports import ControlLink, Recorder
from sallyport.core.subject import (
    UNSTATED,
    Challenge,
    Evidence,
    Opening,
    Proven,
    Refused,
    Secret,
    Stated,
    Subject,
)
from sallyport.protocols.base import (
    CancelKey,
    Carried,
    Codec,
    Connection,
    Counts,
    Leg,
    OperationIssued,
    Wait,
)
from sallyport.session.dialling import Dialling
from sallyport.session.gate import PolicyGate
from sallyport.session.leg import SharedBuffer, StreamLeg
from sallyport.session.lifecycle import Lifecycle
from sallyport.session.refusals import over
from sallyport.session.relay import Relay
from sallyport.session.turn import Turn


class WorkerServices:
    """`protocols.base.Services` for the connections of one listener."""

    def __init__(
        self,
        *,
        protocol: str,
        link: ControlLink,
        lifecycle: Lifecycle,
        gate: PolicyGate,
        recorder: Recorder,
        turn: Turn,
        shared: SharedBuffer,
        idle: float | None = None,
    ) -> None:
        self._protocol = protocol
        self._link = link
        self._lifecycle = lifecycle
        self._gate = gate
        self._recorder = recorder
        self._turn = turn
        self._dialling = Dialling(shared)
        self._idle = idle
        self._relays: dict[str, Relay] = {}
        self.stopping = Ended()

    # --- access

    async def authenticate(self, evidence: Evidence) -> Subject | Refused:
        """Return who showed this evidence."""
        return await self._lifecycle.authenticate(evidence)

    async def challenge(self, opening: Opening) -> Challenge | Refused:
        """Begin a login in two steps."""
        return await self._lifecycle.challenge(opening)

    async def prove(self, challenge: Challenge, proof: bytes) -> Proven | Refused:
        """End it, once."""
        return await self._lifecycle.prove(challenge, proof, self._protocol)

    async def authorize(
        self,
        subject: Subject,
        connection: Connection,
        selector: str,
        login: str | None,
        application: str,
        encrypted: bool,
        stated: Stated = UNSTATED,
        *,
        lasting: bool = False,
    ) -> Grant | Refused:
        """Check access and mint the grant of one session."""
        return await self._lifecycle.authorize(
            subject,
            self._protocol,
            connection,
            selector,
            login,
            application,
            encrypted,
            stated,
            lasting=lasting,
        )

    def admit(self, connection: Connection) -> None:
        """Count this connection among those that have a session."""
        self._lifecycle.admit(connection)

    def close(self, grant: Grant, reason: str, counts: Counts) -> None:
        """Put a session's end on record, where no `relay` did."""
        self._lifecycle.close(grant, reason, **counts._asdict())

    # --- the target

    async def dial(self, grant: Grant) -> StreamLeg:
        """Reach the target, plain. Raises: TargetUnavailable."""
        return await self._dialling.dial(grant)

    async def start_tls(
        self, grant: Grant, leg: Leg, *, alpn: tuple[str, ...] = (), identity: Secret | None = None
    ) -> StreamLeg:
        """Encrypt a dialled leg, as the target demands. Raises: TargetUnavailable."""
        return await self._dialling.start_tls(grant, leg, alpn, identity)

    async def dial_catalogue(self, target: str, database: str) -> Grant:
        """Return a grant for the gateway's own side connection. Raises: TargetUnavailable."""
        return await self._lifecycle.catalogue(target, database)

    # --- cancelling

    def register_cancel(self, grant: Grant, key: CancelKey) -> None:
        """Make `key` cancel this session's statement, on whichever worker it arrives."""
        self._link.tell(RegisterCancel(grant.session, key.value))

    async def cancel(self, key: CancelKey, source: str) -> None:
        """Carry out a cancel request, known or not."""
        try:
            await self._link.ask(Cancel(key.value, source))
        except ControlLost:
            return  # a cancel has no answer, and without control every session ends anyway

    def interrupt(self, session: str) -> None:
        """Control says that somebody with the right cancels what `session` runs."""
        relay = self._relays.get(session)
        if relay is not None:
            relay.interrupt()

    def drain(self, reason: str) -> None:
        """End each session as soon as nothing is under way in it."""
        self.stopping.fire(reason)
        for relay in list(self._relays.values()):
            relay.drain(reason)

    # --- deciding and recording

    def precheck(self, grant: Grant, operation: Operation) -> Deny | None:
        """Return the Deny that nothing which is still to come could change, or None."""
        return self._gate.precheck(grant, operation)

    async def clear(
        self,
        grant: Grant,
        issued: OperationIssued,
        told: Callable[[str], None],
        stands: Callable[[], Awaitable[bool]] | None = None,
        carry: Callable[[Obligations], Carried] | None = None,
    ) -> Allow | Deny:
        """Decide, and wait for all that an Allow needs: a quota's lease, a human, the disk."""
        lease = self._gate.lease(grant)
        if lease is not None:
            await lease
        decision = self._gate.decide(grant, issued)
        if isinstance(decision, Hold):
            return await self._gate.settle(grant, issued, decision, told, stands, carry)
        if isinstance(decision, Allow) and self._gate.durable_first(issued.operation):
            await self._gate.commit()
            if grant.ended.reason is not None:
                return over(grant.ended.reason)
        return decision

    def spend(self, grant: Grant, rows: int, size: int) -> Deny | None:
        """Spend what a result returned; the Deny of a quota that is used up."""
        return self._gate.spend(grant, rows, size)

    def record(self, event: RecordedEvent) -> None:
        """Put an event on record. Raises: RecorderLost."""
        self._gate.record(event)

    def push(self, write: Callable[[], None]) -> None:
        """Call `write` at the end of this turn, once all that was recorded is in the file."""
        self._turn.push(write)

    async def room(self) -> None:
        """Return when the journal has caught up. Raises: RecorderLost."""
        while self._recorder.full:
            await self._recorder.commit()

    @property
    def policy_revision(self) -> str:
        """The revision in force."""
        return self._gate.revision

    # --- relaying

    async def relay(
        self,
        grant: Grant,
        client: Leg,
        target: Leg,
        codec: Codec,
        *,
        prepare: Callable[[Wait], Awaitable[None]],
        cancel: Callable[[], Awaitable[None]],
    ) -> None:
        """Run `codec` on two legs until the session ends; closes both legs."""
        if not isinstance(client, StreamLeg) or not isinstance(target, StreamLeg):
            raise TypeError("the relay runs on legs that were made here")
        relay = Relay(
            gate=self._gate,
            turn=self._turn,
            grant=grant,
            client=client,
            target=target,
            codec=codec,
            prepare=prepare,
            cancel=cancel,
            idle=self._idle,
        )
        self._relays[grant.session] = relay
        if self.stopping.reason is not None:
            relay.drain(self.stopping.reason)
        reason = "internal error"
        try:
            reason = await relay.run()
        finally:
            self._relays.pop(grant.session, None)
            self._lifecycle.close(
                grant,
                reason,
                operations=relay.operations,
                rows=relay.rows,
                client_bytes=client.received,
                target_bytes=target.received,
            )
