"""The contract of a codec, as checks that any protocol's tests can run.

    1 any chunking gives the same events                       `same_for`
    2 no byte of an operation moves before `release`           `nothing_moves`
    3 after `refuse` the next command works                    `usable_after`
    4 memory stays under its limit with a stalled peer         `bounded`
    5 garbage raises only `ProtocolViolation`                  `survives`
    6 what the mask plan hides leaves in no encoding           `hides`

A `Scene` is a conversation without its decisions: what each side sends, in order, and a function
that decides. A check raises AssertionError. How bytes are cut, and which garbage is sent, is the
caller's: Hypothesis is good at both (`chunk_sizes`, `mangled`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy
from msgspec import Struct, structs

from sallyport.core.decision import Allow, Deny
from sallyport.core.errors import ProtocolViolation
from sallyport.core.event import ResultRows
from sallyport.core.operation import Operation
from sallyport.protocols.base import (
    CancelTarget,
    Closed,
    Codec,
    Event,
    OperationIssued,
    PrecheckIssued,
    Recorded,
    Side,
    Spent,
    Wait,
)
from sallyport.testing.dialogue import allow

Decide = Callable[[Operation], Allow | Deny]

chunk_sizes: Final[SearchStrategy[list[int]]] = strategies.lists(
    strategies.integers(1, 64), min_size=1, max_size=40
)
"""How many bytes arrive at a time; the last size repeats."""


class Scene(Struct, frozen=True):
    """A conversation: what the two sides send, in order, and how operations are decided."""

    make: Callable[[], Codec]
    script: tuple[tuple[Side, bytes], ...]
    decide: Decide = allow


class Outcome(Struct, frozen=True):
    """All that came of a scene, told so that it does not depend on how bytes arrived.

    `events` are without rows and spendings; `rows` is their bytes by operation and direction,
    `spent` their counts by operation. `why` is the violation or the end, empty for neither.
    """

    events: tuple[Event, ...]
    rows: dict[tuple[int, str], tuple[bytes, int]]
    spent: dict[int, tuple[int, int]]
    client: bytes
    target: bytes
    why: str


def play(scene: Scene, sizes: Sequence[int] = ()) -> Outcome:
    """Play a scene, `sizes` bytes at a time; decisions and preparations come at once."""
    codec = scene.make()
    events: list[Event] = []
    client = target = b""
    why = ""
    for side, data in scene.script:
        for chunk in cut(data, sizes):
            try:
                happened = codec.receive(side, chunk)
                _act(codec, happened, scene.decide, events)
            except ProtocolViolation as violation:
                why = f"protocol violation by the {violation.side}: {violation.message}"
            client += b"".join(codec.take(Side.CLIENT))
            target += b"".join(codec.take(Side.TARGET))
    for event in events:
        if isinstance(event, Closed):
            why = event.reason
    return _outcome(events, client, target, why)


def cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Yield `data` in pieces of these sizes; the last one repeats. Without sizes: whole."""
    position = index = 0
    while position < len(data):
        size = sizes[min(index, len(sizes) - 1)] if sizes else len(data)
        yield data[position : position + size]
        position += size
        index += 1


def _act(codec: Codec, happened: Sequence[Event], decide: Decide, events: list[Event]) -> None:
    """Answer what asks for an answer, in order; gather everything."""
    queue = list(happened)
    while queue:
        event = queue.pop(0)
        events.append(event)
        if isinstance(event, OperationIssued):
            decision = decide(event.operation)
            if isinstance(decision, Allow):
                queue.extend(codec.release(event.operation, decision))
            else:
                queue.extend(codec.refuse(event.operation, decision))
        elif isinstance(event, PrecheckIssued):
            queue.extend(codec.admit(event.operation))
        elif isinstance(event, Wait):
            queue.extend(codec.resume())
        elif isinstance(event, CancelTarget):
            queue.extend(codec.cancelled())


def _outcome(events: list[Event], client: bytes, target: bytes, why: str) -> Outcome:
    kept: list[Event] = []
    rows: dict[tuple[int, str], tuple[bytes, int]] = {}
    spent: dict[int, tuple[int, int]] = {}
    for event in events:
        if isinstance(event, Spent):
            before = spent.get(event.operation.id, (0, 0))
            spent[event.operation.id] = (before[0] + event.rows, before[1] + event.bytes)
        elif isinstance(event, Recorded) and isinstance(event.event, ResultRows):
            key = (event.event.operation, event.event.direction)
            data, count = rows.get(key, (b"", 0))
            rows[key] = (data + event.event.data, count + event.event.rows)
        elif not isinstance(event, Closed):
            kept.append(event)
    return Outcome(tuple(kept), rows, spent, client, target, why)


def same_for(scene: Scene, sizes: Sequence[int]) -> None:
    """1: the scene cut into these sizes ends like the scene whole. Raises: AssertionError."""
    whole, pieces = play(scene), play(scene, sizes)
    for name in structs.asdict(whole):
        expected, found = getattr(whole, name), getattr(pieces, name)
        if expected != found:
            raise AssertionError(f"{name} differ: {expected!r} whole, {found!r} in pieces")


def nothing_moves(before: Scene, request: bytes) -> None:
    """2: while its first operation is undecided nothing of `request` is due to the target.

    `before` is the scene that leads to it. Raises: AssertionError.
    """
    codec = before.make()
    for side, data in before.script:
        _act(codec, codec.receive(side, data), before.decide, [])
    codec.take(Side.TARGET)
    undecided = False
    for byte in request:
        happened = codec.receive(Side.CLIENT, bytes((byte,)))
        undecided = undecided or any(isinstance(each, OperationIssued) for each in happened)
        if codec.take(Side.TARGET):
            raise AssertionError("bytes were due to the target before any release")
    if not undecided:
        raise AssertionError("no operation was issued")


def usable_after(
    scene: Scene, command: bytes, answers: Iterable[tuple[Side, bytes]] = ()
) -> Operation:
    """3: after the scene, refusals and all, `command` issues an operation, which is returned.

    `answers` is what happens between the two (the target's last words). Raises: AssertionError.
    """
    codec = scene.make()
    for side, data in (*scene.script, *answers):
        _act(codec, codec.receive(side, data), scene.decide, [])
    happened = codec.receive(Side.CLIENT, command)
    for event in happened:
        if isinstance(event, OperationIssued):
            return event.operation
    raise AssertionError(f"no operation was issued, but {list(happened)}")


def bounded(codec: Codec, side: Side, chunk: bytes, limit: int, decide: Decide = allow) -> int:
    """4: a codec whose output nobody takes stops reading `side` within `limit` bytes.

    Returns how many it took. Raises: AssertionError.
    """
    taken = 0
    while codec.wants(side):
        if taken > limit:
            raise AssertionError(f"{taken} bytes were taken where {limit} is the limit")
        _act(codec, codec.receive(side, chunk), decide, [])
        taken += len(chunk)
    return taken


def survives(scene: Scene, side: Side, garbage: bytes) -> None:
    """5: after the scene `side` sends garbage; only a ProtocolViolation may come of it.

    Any other exception passes through to the caller. What is due to the client is taken, so that
    a broken farewell shows as well.
    """
    codec = scene.make()
    try:
        for each, data in scene.script:
            _act(codec, codec.receive(each, data), scene.decide, [])
        _act(codec, codec.receive(side, garbage), scene.decide, [])
        for each in Side:
            codec.eof(each)
    except ProtocolViolation:
        codec.take(Side.CLIENT)


def hides(scene: Scene, secrets: Iterable[bytes]) -> None:
    """6: neither client nor record of the scene see a secret. Raises: AssertionError."""
    outcome = play(scene)
    recorded = repr(outcome.events).encode() + b"".join(data for data, _ in outcome.rows.values())
    for secret in secrets:
        for name, haystack in (("client", outcome.client), ("record", recorded)):
            if secret in haystack:
                raise AssertionError(f"the {name} sees {secret!r}")


@strategies.composite
def mangled(draw: strategies.DrawFn, data: bytes) -> bytes:
    """Return `data` with some of its bytes changed, cut out or doubled."""
    raw = bytearray(data)
    for _ in range(draw(strategies.integers(1, 4))):
        if not raw:
            break
        start = draw(strategies.integers(0, len(raw) - 1))
        end = min(len(raw), start + draw(strategies.integers(0, 8)))
        raw[start:end] = draw(strategies.binary(max_size=8))
    return bytes(raw)
