"""Answers that begin long after their statement was sent: looked at again before they leave."""

from __future__ import annotations

import pytest

from sallyport.core.decision import Mask
from sallyport.protocols.base import Side
from sallyport.protocols.postgres.late import PATIENCE
from tests.unit.protocols.postgres.script import (
    BOUND,
    PARSED,
    SYNC,
    Session,
    bind,
    columns,
    error,
    execute,
    failed,
    of,
    parse,
    query,
    ready,
    row,
    tag,
)

MASK = Mask("hide", "redact", ("public.customers.email",))
ANSWER = (columns("id"), row(b"1"), tag("SELECT 1"), ready("I"))


@pytest.mark.parametrize("chunk", [None, 1])
def test_it_waits_for_a_look_and_is_answered_whole(chunk: int | None) -> None:
    session = Session()
    pg = session.dialogue(chunk)
    pg.release(pg.client_sends(query("SELECT id FROM customers")).issued(), masks=[MASK])
    session.now += PATIENCE
    pg.target_sends(*ANSWER)
    assert pg.waits().need == "late"
    assert pg.to_client() == []
    assert not session.codec.idle and not session.codec.wants(Side.TARGET)
    pg.resume()
    assert pg.to_client() == of(*ANSWER)
    assert session.codec.idle


def test_what_comes_in_time_and_what_has_no_masks_does_not_wait() -> None:
    session = Session()
    pg = session.dialogue()
    for wait, masks in ((PATIENCE - 0.1, [MASK]), (60.0, [])):
        pg.release(pg.client_sends(query("SELECT id FROM customers")).issued(), masks=masks)
        session.now += wait
        pg.target_sends(*ANSWER)
        assert pg.to_client() == of(*ANSWER)


@pytest.mark.parametrize(
    "answer",
    [ANSWER, (tag("SELECT 0"), ready("I")), (failed("22P02", "raw value"), ready("I"))],
)
@pytest.mark.parametrize("known", [False, True])
def test_where_it_is_not_known_to_mean_the_same_nothing_of_it_leaves(
    answer: tuple[bytes, ...], known: bool
) -> None:
    """Nor where what is known could not be looked at again."""
    session = Session()
    pg = session.dialogue()
    pg.release(pg.client_sends(query("SELECT id FROM customers")).issued(), masks=[MASK])
    session.now += PATIENCE
    pg.target_sends(*answer)
    pg.waits()
    if known:
        session.seen = False
    else:
        session.catalogue = None
    pg.resume()
    seen = pg.to_client()
    assert seen[0] == error("54000") or seen[0].raw[:1] == b"E"
    assert "has changed while it waited" in seen[0].fields["D"]
    assert row(b"1") not in [shape.raw for shape in seen]
    assert b"raw value" not in b"".join(shape.raw for shape in seen)


def test_a_batch_of_the_extended_protocol_waits_once() -> None:
    session = Session()
    pg = session.dialogue()
    batch = (parse("", "SELECT id FROM customers"), bind("", ""), execute(""), SYNC)
    pg.client_sends(*batch)
    pg.admit(pg.prechecked())
    pg.release(pg.issued(), masks=[MASK])
    session.now += PATIENCE
    pg.target_sends(PARSED, BOUND, columns("id"))
    assert pg.to_client() == of(PARSED, BOUND)
    pg.target_sends(row(b"1"), row(b"2"), tag("SELECT 2"), ready("I"))
    pg.waits()
    pg.resume()
    assert pg.to_client() == of(row(b"1"), row(b"2"), tag("SELECT 2"), ready("I"))


def test_after_a_parse_that_waited_the_next_message_is_decided_anew() -> None:
    session = Session()
    pg = session.dialogue()
    pg.client_sends(parse("s", "SELECT id FROM customers"), SYNC)
    pg.admit(pg.prechecked())
    session.now += PATIENCE
    pg.target_sends(PARSED, ready("I"))
    pg.client_sends(bind("", "s"), execute(""), SYNC)
    assert pg.waits().need == "catalogue"
    pg.resume()
    pg.release(pg.issued(), masks=[MASK])


def test_what_the_client_sends_meanwhile_waits_behind_it() -> None:
    session = Session()
    pg = session.dialogue()
    pg.release(pg.client_sends(query("SELECT id FROM customers")).issued(), masks=[MASK])
    session.now += PATIENCE
    pg.target_sends(*ANSWER)
    pg.waits()
    pg.client_sends(query("SELECT 2"))
    pg.resume()
    assert pg.to_client() == of(*ANSWER)
    pg.release(pg.issued())
    assert pg.to_target()[-1:] == of(query("SELECT 2"))


def test_a_target_that_goes_away_meanwhile_ends_the_session() -> None:
    session = Session()
    pg = session.dialogue()
    pg.release(pg.client_sends(query("SELECT id FROM customers")).issued(), masks=[MASK])
    session.now += PATIENCE
    pg.target_sends(*ANSWER)
    pg.waits()
    session.codec.eof(Side.TARGET)
    assert session.codec.resume() == ()
