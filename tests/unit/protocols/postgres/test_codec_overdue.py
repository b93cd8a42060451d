"""What is known of the catalogue is too old: the next message waits for a look at it."""

from __future__ import annotations

import pytest

from sallyport.protocols.base import Side
from tests.unit.protocols.postgres.script import (
    SYNC,
    TERMINATE,
    Session,
    bind,
    execute,
    of,
    parse,
    query,
    ready,
    tag,
)


@pytest.mark.parametrize("chunk", [None, 1])
def test_the_message_waits_and_is_decided_by_what_was_found(chunk: int | None) -> None:
    session = Session()
    pg = session.dialogue(chunk)
    session.overdue = True
    pg.client_sends(query("SELECT 1"), query("SELECT 2"))
    assert pg.waits().need == "catalogue"
    assert pg.to_target() == []
    assert not session.codec.idle
    session.overdue = False
    pg.resume()
    pg.release(pg.issued())
    assert pg.to_target() == of(query("SELECT 1"))
    pg.target_sends(tag("SELECT 0"), ready("I"))
    assert pg.release(pg.issued()).to_target() == of(query("SELECT 2"))


def test_where_the_look_fails_it_goes_on_with_what_is_known() -> None:
    session = Session()
    pg = session.dialogue()
    session.overdue = True
    pg.client_sends(query("SELECT 1"))
    pg.waits()
    pg.resume()
    pg.release(pg.issued())
    pg.target_sends(tag("SELECT 0"), ready("I"))
    pg.client_sends(query("SELECT 2"))
    assert pg.waits().need == "catalogue"  # each message tries again


def test_what_is_not_decided_does_not_wait() -> None:
    session = Session()
    pg = session.dialogue()
    session.overdue = True
    assert pg.client_sends(SYNC).to_target() == of(SYNC)


def test_every_message_of_a_batch_that_is_decided_waits_in_its_place() -> None:
    session = Session()
    pg = session.dialogue()
    session.overdue = True
    pg.client_sends(parse("", "SELECT 1"), bind("", ""), execute(""), SYNC)
    for decided in range(2):
        pg.waits()
        pg.resume()
        if decided == 0:
            pg.admit(pg.prechecked())
        else:
            pg.release(pg.issued())
    pg.waits()
    pg.resume()
    assert pg.to_target() == of(parse("", "SELECT 1"), bind("", ""), execute(""), SYNC)


def test_a_client_that_leaves_while_it_waits_is_seen() -> None:
    session = Session()
    pg = session.dialogue()
    session.overdue = True
    pg.client_sends(query("SELECT 1"))
    pg.waits()
    pg.client_sends(TERMINATE)
    assert "left" in pg.closed()
    assert pg.to_target() == []


def test_what_waits_is_bounded() -> None:
    session = Session()
    pg = session.dialogue()
    session.overdue = True
    pg.client_sends(query("SELECT 1"))
    pg.waits()
    flood = query("SELECT '" + "x" * 60_000 + "'")
    for _ in range(1000):
        if not session.codec.wants(Side.CLIENT):
            break
        session.codec.receive(Side.CLIENT, flood)
    assert not session.codec.wants(Side.CLIENT)
