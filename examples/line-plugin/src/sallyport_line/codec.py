"""The codec: one request line, one reply line, in turn.

No socket and no clock in here: bytes come in by `receive`, go out by `take`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from sallyport.core.decision import Allow, Deny, Obligations
from sallyport.core.errors import MaskingFailed, ProtocolViolation
from sallyport.core.event import ResultEnded
from sallyport.core.operation import Effect, Operation, Resource, digest_of
from sallyport.masking.plan import text_masker
from sallyport.protocols.base import Carried, Closed, Event, OperationIssued, Recorded, Side, Spent

LONGEST_LINE = 4096
WAITING = 64 * 1024
VERBS = {"GET": ("get", Effect.READ), "SET": ("set", Effect.WRITE), "DEL": ("del", Effect.WRITE)}


class LineCodec:
    """Both legs of one dialogue. A reply is either the target's or a refusal of ours, in order."""

    def __init__(
        self, session: str, target: str, clock: Callable[[], float], mask_key: bytes = b""
    ) -> None:
        self._session = session
        self._target = target
        self._clock = clock
        self._mask_key = mask_key
        self._buffers = {Side.CLIENT: b"", Side.TARGET: b""}
        self._due: dict[Side, list[bytes]] = {Side.CLIENT: [], Side.TARGET: []}
        self._lines: deque[bytes] = deque()
        self._undecided: Operation | None = None
        self._running: tuple[Operation, float, Obligations] | None = None
        self._number = 0

    def receive(self, side: Side, data: bytes) -> Sequence[Event]:
        """Take bytes from either side."""
        *lines, rest = (self._buffers[side] + data).split(b"\n")
        if len(rest) > LONGEST_LINE or any(len(line) > LONGEST_LINE for line in lines):
            raise ProtocolViolation(side.value, "a line over the limit")
        self._buffers[side] = rest
        if side is Side.CLIENT:
            self._lines.extend(lines)
            return self._next()
        events: list[Event] = []
        for line in lines:
            events += self._reply(line)
        return events

    def eof(self, side: Side) -> Sequence[Event]:
        """The dialogue is over with either side."""
        return [Closed(f"{side.value} closed the connection")]

    def stands(self, operation: Operation) -> bool:
        """A line names what it names: nothing that it stands on can change."""
        return True

    def carried(self, operation: Operation, obligations: Obligations) -> Carried:
        """A line goes as it came."""
        return Carried()

    def release(self, operation: Operation, allow: Allow) -> Sequence[Event]:
        """Send the request on."""
        self._take_undecided(operation)
        if allow.digest != operation.digest:
            raise ValueError("this allow is for another operation")
        self._running = (operation, self._clock(), allow.obligations)
        self._due[Side.TARGET].append(operation.text.encode() + b"\n")
        return ()

    def admit(self, operation: Operation) -> Sequence[Event]:
        """Never called: nothing is prepared in this protocol."""
        raise ValueError("this protocol prepares nothing")

    def refuse(self, operation: Operation, deny: Deny) -> Sequence[Event]:
        """Answer in the protocol's own words; the next line is looked at."""
        self._take_undecided(operation)
        rule = deny.rules[0] if deny.rules else "default deny"
        self._due[Side.CLIENT].append(f"ERR refused by {rule}: {deny.reason}\n".encode())
        return self._next()

    def stop(self, operation: Operation, why: Deny) -> Sequence[Event]:
        """A reply is one line: there is no middle to stop in."""
        return ()

    def resume(self) -> Sequence[Event]:
        """Nothing is ever prepared."""
        return ()

    def interrupt(self) -> Sequence[Event]:
        """The protocol has no cancel."""
        return ()

    def cancelled(self) -> Sequence[Event]:
        """The protocol has no cancel."""
        return ()

    def notify(self, text: str) -> None:
        """Comments are the protocol's notices."""
        self._due[Side.CLIENT].append(f"# {text}\n".encode())

    def end(self, reason: str, code: str) -> None:
        """Say farewell."""
        self._due[Side.CLIENT].append(f"BYE {reason}\n".encode())

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self._running is None and self._undecided is None and not self._lines

    def take(self, side: Side) -> list[bytes]:
        """Return what is due for `side`."""
        due, self._due[side] = self._due[side], []
        return due

    def wants(self, side: Side) -> bool:
        """Stop reading who sends faster than the client takes its answers."""
        waiting = sum(map(len, self._due[Side.CLIENT]))
        if side is Side.CLIENT:
            waiting += sum(len(line) + 1 for line in self._lines)
        return waiting < WAITING

    # --- inside

    def _next(self) -> Sequence[Event]:
        if self._undecided is not None or self._running is not None or not self._lines:
            return ()
        operation = self._operation(self._lines.popleft())
        self._undecided = operation
        return [OperationIssued(operation)]

    def _operation(self, line: bytes) -> Operation:
        self._number += 1
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        words = text.split(" ", 2)
        verb, effect = VERBS.get(words[0], ("unknown", Effect.UNKNOWN))
        if "\r" in text or (verb != "unknown" and len(words) != (3 if verb == "set" else 2)):
            verb, effect = "unknown", Effect.UNKNOWN
        resources = [Resource("store", self._target, Effect.READ if verb != "unknown" else effect)]
        if verb != "unknown":
            resources.append(Resource("key", words[1], effect))
        return Operation(
            id=self._number,
            protocol="line",
            target=self._target,
            verb=verb,
            effect=effect,
            resources=tuple(resources),
            facts=frozenset(),
            text=text,
            parameters=(),
            fingerprint=digest_of(verb)[:8],
            digest=digest_of("line", self._target, text),
        )

    def _take_undecided(self, operation: Operation) -> None:
        if self._undecided is None or self._undecided.id != operation.id:
            raise ValueError("this operation is not undecided")
        self._undecided = None

    def _reply(self, line: bytes) -> Sequence[Event]:
        if self._running is None:
            raise ProtocolViolation("target", "a reply that nobody asked for")
        operation, released, obligations = self._running
        self._running = None
        shown = self._shown(line, obligations)
        self._due[Side.CLIENT].append(shown + b"\n")
        now = self._clock()
        tag = shown.split(b" ", 1)[0].decode("ascii", "backslashreplace")
        ended = ResultEnded(
            self._session, now, operation.id, tag, 1, len(shown), digest_of(shown), False,
            now - released,
        )  # fmt: skip
        return [Recorded(ended), Spent(operation, 1, len(shown)), *self._next()]

    def _shown(self, line: bytes, obligations: Obligations) -> bytes:
        """Return what the client may see of a reply. FAILS CLOSED: what cannot be masked is not."""
        try:
            masker = text_masker(obligations.masks, self._mask_key)
            shown = line if masker is None else masker.mask_bytes(line)
        except MaskingFailed:
            return b"ERR the reply cannot be masked"
        for limit in obligations.limits:
            if limit.bytes is not None and len(shown) > limit.bytes:
                return f"ERR refused by {limit.rule}: the reply is too long".encode()
        return shown
