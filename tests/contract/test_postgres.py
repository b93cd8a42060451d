"""The codec's contract, for PostgreSQL."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sallyport.core.decision import Allow, Deny, Limit, Mask
from sallyport.core.operation import Operation
from sallyport.protocols.base import Codec, Side
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.codec import Limits
from sallyport.testing import contract
from sallyport.testing.contract import Scene
from sallyport.testing.dialogue import allow
from tests.unit.protocols.postgres.script import (
    BOUND,
    CLOSED,
    FLUSH,
    PARSED,
    SYNC,
    Session,
    bind,
    close,
    columns,
    describe,
    execute,
    failed,
    parse,
    query,
    ready,
    row,
    tag,
)

C, T = Side.CLIENT, Side.TARGET
SHORT = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
TEXTS = Mask("texts", "redact", detectors=("email",))
EMAILS = Mask("pii", "redact", columns=("public.customers.email",))
COPY_IN = replies.copy_response(frames.COPY_IN, replies.CopyHeader(0, (0,)))
COPY_OUT = replies.copy_response(frames.COPY_OUT, replies.CopyHeader(0, (0, 0)))
NOTICE = replies.notice("00000", "hello")


def make() -> Codec:
    return Session().codec


def careful(operation: Operation) -> Allow | Deny:
    if operation.verb == "drop":
        return Deny(("no-drops",), "drops are refused", "ask")
    return allow(operation, masks=(TEXTS, EMAILS), limits=(Limit("few", rows=5),))


QUERIES = (
    (C, query("SELECT a; SELECT b") + query("SELECT c")),
    (T, columns("a") + row(b"1") + NOTICE + row(b"ada@example.com") + tag("SELECT 2")),
    (T, columns("b") + tag("SELECT 0") + ready("I")),
    (T, replies.notification(7, "channel", "payload") + columns("c") + row(None) * 9),
    (T, tag("SELECT 9") + ready("I")),
)
BATCHES = (
    (C, parse("s", "SELECT email") + describe("S", "s") + FLUSH),
    (T, PARSED + b"t\0\0\0\6\0\0" + columns("id", "email", table=100)),
    (C, bind("", "s") + execute("", 2) + execute("") + close("S", "s") + SYNC),
    (T, BOUND + columns("id", "email", table=100) + row(b"1", b"ada@example.com") * 2),
    (T, replies.PORTAL_SUSPENDED + row(b"2", None) + tag("SELECT 1") + CLOSED + ready("I")),
    (C, parse("", "SELECT a") + bind("", "") + execute("")),
    (C, parse("", "DROP a") + bind("", "") + execute("") + SYNC + query("SELECT z")),
    (T, PARSED + BOUND + columns("a") + tag("SELECT 0") + PARSED + failed() + ready("I")),
    (T, columns("z") + row(b"x" * 300) + tag("SELECT 1") + ready("I")),
)
COPIES = (
    (C, query("BEGIN") + query("COPY t FROM stdin")),
    (T, tag("BEGIN") + ready("T")),
    (T, COPY_IN),
    (C, messages.copy_data(b"1\n") * 3 + FLUSH + messages.COPY_DONE),
    (T, tag("COPY 3") + ready("T")),
    (C, query("COPY known TO stdout") + query("DROP a")),
    (T, COPY_OUT + messages.copy_data(b"1\tada@example.com\n") * 2 + messages.COPY_DONE),
    (T, tag("COPY 2") + ready("T") + failed() + ready("E")),
    (C, query("ROLLBACK") + messages.TERMINATE),
)
SCRIPTS = {"queries": QUERIES, "batches": BATCHES, "copies": COPIES}


@pytest.fixture(params=SCRIPTS.values(), ids=SCRIPTS.keys())
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(make, request.param, careful)


def test_a_scene_plays_to_its_end(scene: Scene) -> None:
    """The scenes are meant: none of them ends in a violation."""
    assert contract.play(scene).why in ("", "the client left")


@given(sizes=contract.chunk_sizes)
@SHORT
def test_1_any_chunking_gives_the_same_events(scene: Scene, sizes: list[int]) -> None:
    contract.same_for(scene, sizes)


def test_1_a_byte_at_a_time_gives_the_same_events(scene: Scene) -> None:
    contract.same_for(scene, [1])


@pytest.mark.parametrize(
    ("request_", "prelude"),
    [
        (query("DELETE a") + SYNC, b""),
        (query("SELECT 1; DELETE a") + query("SELECT 2"), b""),
        (bind("", "s") + execute("") + SYNC, parse("s", "DELETE a") + SYNC),
        (bind("", "s") + FLUSH + query("SELECT 1"), parse("s", "DELETE a") + SYNC),
        (query("COPY t FROM stdin") + messages.copy_data(b"1\n") + messages.COPY_DONE, b""),
    ],
)
def test_2_nothing_moves_before_release(request_: bytes, prelude: bytes) -> None:
    script = ((C, prelude), (T, PARSED + ready("I"))) if prelude else ()
    contract.nothing_moves(Scene(make, script), request_)


def refuse_all(operation: Operation) -> Allow | Deny:
    return Deny(("none",), "nothing is allowed", "")


@pytest.mark.parametrize(
    "script",
    [
        ((C, query("SELECT 1")),),
        (
            (C, parse("", "SELECT 1") + bind("", "") + execute("") + SYNC),
            (T, PARSED + failed() + ready("I")),
        ),
        ((C, query("COPY t FROM stdin") + messages.copy_data(b"1") + messages.COPY_DONE),),
    ],
)
def test_3_after_a_refusal_the_next_command_works(script: tuple[tuple[Side, bytes], ...]) -> None:
    operation = contract.usable_after(Scene(make, script, refuse_all), query("SELECT next"))
    assert operation.text == "SELECT next"


def test_4_a_target_that_takes_nothing_stops_the_client() -> None:
    codec = Session(limits=Limits(outbox=10_000, outstanding=100)).codec
    taken = contract.bounded(codec, C, query("SELECT 1" + " " * 100), 20_000)
    assert taken > 5_000


def test_4_a_client_that_takes_nothing_stops_the_target() -> None:
    codec = Session(limits=Limits(outbox=10_000)).codec
    codec.release(*_first(codec, query("SELECT a")))
    codec.receive(T, columns("a"))
    assert contract.bounded(codec, T, row(b"x" * 100), 20_000) > 5_000


def test_4_an_undecided_operation_bounds_what_comes_behind_it() -> None:
    codec = Session(limits=Limits(inbox=10_000)).codec
    _first(codec, query("DELETE a"))
    assert contract.bounded(codec, C, query("SELECT 1" + " " * 100), 20_000) > 5_000


def _first(codec: Codec, request: bytes) -> tuple[Operation, Allow]:
    (event,) = codec.receive(C, request)
    operation = event.operation  # type: ignore[union-attr]
    return operation, allow(operation)


@given(data=st.data())
@SHORT
def test_5_garbage_raises_only_violations(scene: Scene, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(scene.script) - 1))
    side, sent = scene.script[start]
    before = Scene(make, scene.script[:start], careful)
    contract.survives(before, side, data.draw(contract.mangled(sent)))


@given(data=st.binary(max_size=60), side=st.sampled_from(Side))
@SHORT
def test_5_noise_raises_only_violations(scene: Scene, data: bytes, side: Side) -> None:
    contract.survives(scene, side, data)


@pytest.mark.parametrize("binary", [0, 1])
def test_6_what_is_masked_leaves_in_no_encoding(binary: int) -> None:
    secret = b"ada@example.com"
    shown = columns("id", "email", table=100, format=binary)
    script = (
        (C, query("SELECT a")),
        (T, shown + row(b"1", secret) + row(secret, secret) + NOTICE),
        (T, replies.error("22P02", secret.decode(), detail=secret.decode()) + ready("I")),
        (C, parse("s", "SELECT b") + bind("", "s", result_codes=(binary,)) + execute("") + SYNC),
        (T, PARSED + BOUND + shown + row(b"1", secret) + tag("SELECT 1") + ready("I")),
        (C, query("COPY known TO stdout")),
        (T, COPY_OUT + messages.copy_data(b"1\t" + secret + b"\n") + messages.COPY_DONE),
        (T, tag("COPY 1") + replies.notice("01000", secret.decode()) + ready("I")),
        (T, replies.notification(7, "channel", secret.decode())),
    )

    def decide(operation: Operation) -> Allow | Deny:
        return allow(operation, masks=(TEXTS, EMAILS))

    contract.hides(Scene(make, script, decide), [secret, secret[:6], secret.hex().encode()])
