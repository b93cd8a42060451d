"""The codec's contract, for the example that others begin from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.decision import Allow, Deny, Limit, Mask
from sallyport.core.event import ResultEnded
from sallyport.core.operation import Operation
from sallyport.protocols.base import Recorded, Side, Spent
from sallyport.testing import contract
from sallyport.testing.contract import Scene
from sallyport.testing.dialogue import Dialogue, allow
from sallyport_line.codec import WAITING, LineCodec

C, T = Side.CLIENT, Side.TARGET
EMAILS = Mask("emails", "redact", detectors=("email",))


def make() -> LineCodec:
    return LineCodec("ses-1", "store", lambda: 0.0, b"k" * 32)


def careful(operation: Operation) -> Allow | Deny:
    if operation.verb in ("del", "unknown"):
        return Deny(("no-deletes",), "keys are kept", "ask")
    return allow(operation, masks=(EMAILS,), limits=(Limit("short", bytes=60),))


SCENE = Scene(
    make,
    (
        (C, b"GET a\nSET b 1\nDEL a\n"),
        (T, b"VALUE write to ada@example.com\n"),
        (C, b"FLUSH\r\nGET b\nGET c\n"),
        (T, b"OK\n"),
        (T, b"VALUE ada@example.com\n"),
        (T, b"VALUE " + b"x" * 200 + b"\n"),
    ),
    careful,
)


def test_a_scene_plays_to_its_end() -> None:
    outcome = contract.play(SCENE)
    assert outcome.why == ""
    assert outcome.target == b"GET a\nSET b 1\nGET b\nGET c\n"
    assert outcome.client.splitlines() == [
        b"VALUE write to [redacted:email]",
        b"OK",
        b"ERR refused by no-deletes: keys are kept",
        b"ERR refused by no-deletes: keys are kept",
        b"VALUE [redacted:email]",
        b"ERR refused by short: the reply is too long",
    ]


@given(sizes=contract.chunk_sizes)
def test_1_any_chunking_gives_the_same_events(sizes: list[int]) -> None:
    contract.same_for(SCENE, sizes)
    contract.same_for(SCENE, [1])


@pytest.mark.parametrize("request_", [b"GET a\n", b"DEL a\n", b"nonsense\n", b"\n"])
def test_2_nothing_moves_before_release(request_: bytes) -> None:
    contract.nothing_moves(SCENE, request_)


def test_3_after_a_refusal_the_next_command_works() -> None:
    assert contract.usable_after(SCENE, b"GET d\n").verb == "get"
    assert contract.usable_after(Scene(make, ((C, b"DEL a\n"),), careful), b"GET d\n").id == 2


@pytest.mark.parametrize("chunk", [b"DEL a\n", b"\n" * 999, b"GET " + b"k" * 2000 + b"\n"])
def test_4_a_client_that_takes_nothing_is_not_read_for_ever(chunk: bytes) -> None:
    contract.bounded(make(), C, chunk, 2 * WAITING, careful)


def test_4_a_target_that_takes_nothing_stops_the_client() -> None:
    contract.bounded(make(), C, b"GET a\n", 2 * WAITING)


@given(
    side=st.sampled_from(Side), garbage=st.binary(max_size=200) | contract.mangled(b"GET a\n" * 9)
)
def test_5_garbage_raises_only_violations(side: Side, garbage: bytes) -> None:
    contract.survives(SCENE, side, garbage)


def test_6_what_is_masked_leaves_in_no_encoding() -> None:
    contract.hides(SCENE, [b"ada@example.com"])


def test_every_reply_is_counted_and_recorded() -> None:
    """Quotas see what a result brought; a plugin that says nothing of it escapes them."""
    outcome = contract.play(SCENE)
    ended = [
        event.event.operation
        for event in outcome.events
        if isinstance(event, Recorded) and isinstance(event.event, ResultEnded)
    ]
    assert len(ended) == 4
    assert {number: rows for number, (rows, _) in outcome.spent.items()} == dict.fromkeys(ended, 1)
    assert not any(isinstance(event, Spent) for event in outcome.events)


def test_a_conversation_reads_like_a_script() -> None:
    """As docs/plugins.md shows it."""
    line = Dialogue(make(), lambda side, data: data.splitlines())
    operation = line.client_sends(b"DEL ledger\n").issued()
    assert line.to_target() == []
    line.refuse(operation, reason="keys are kept")
    assert line.to_client() == [b"ERR refused by test: keys are kept"]
