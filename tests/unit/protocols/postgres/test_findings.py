"""What detectors hide is reported by column, soon, and whatever ends the session."""

from __future__ import annotations

from sallyport.core.decision import Mask
from sallyport.core.event import FindingCount, FindingsCounted, ResultEnded
from sallyport.protocols.base import Side
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.masks import column_names
from sallyport.protocols.postgres.replies import Field
from sallyport.sql.catalogue import Catalogue, CatalogueSnapshot, Column, Lineage, Relation
from sallyport.sql.statement import CopyColumn
from sallyport.testing.dialogue import Dialogue
from tests.unit.protocols.postgres.script import (
    BOUND,
    FLUSH,
    PARSED,
    SYNC,
    Session,
    Shape,
    bind,
    columns,
    converse,
    describe,
    execute,
    parse,
    query,
    ready,
    row,
    statement,
    tag,
)

DETECT = Mask("detect", "redact", detectors=("email",))
NAMED = Mask("named", "redact", columns=("public.customers.email",))
MAIL = b"ada@example.com"
EMAIL = "public.customers.email"


def asked(pg: Dialogue[Shape], *masks: Mask) -> Dialogue[Shape]:
    pg.release(pg.client_sends(query("SELECT email")).issued(), masks=list(masks))
    return pg.target_sends(columns("email", table=100))


def found(pg: Dialogue[Shape]) -> list[tuple[FindingCount, ...]]:
    return [event.found for event in pg.records(FindingsCounted)]


def test_a_hit_is_reported_with_its_result_and_nothing_without() -> None:
    pg = asked(converse(), DETECT)
    pg.target_sends(row(b"nothing"), tag("SELECT 1"), ready("I"))
    assert found(pg) == []
    asked(pg, DETECT).target_sends(row(MAIL), row(MAIL), tag("SELECT 2"), ready("I"))
    (event,) = pg.records(FindingsCounted)
    assert event.found == (FindingCount(EMAIL, "email", 2, 2),)
    assert event.operation == pg.records(ResultEnded)[1].operation
    assert MAIL.decode() not in repr(event)


def test_a_column_that_a_mask_names_is_not_reported() -> None:
    pg = asked(converse(), DETECT, NAMED)
    pg.target_sends(row(MAIL), tag("SELECT 1"), ready("I"))
    assert found(pg) == []


def test_a_long_result_reports_now_and_then_and_loses_nothing() -> None:
    session = Session()
    pg = asked(session.dialogue(), DETECT)
    for _ in range(10):
        pg.target_sends(row(MAIL))
    assert found(pg) == [(FindingCount(EMAIL, "email", 1, 1),)]
    session.now += 1
    pg.target_sends(row(MAIL))
    assert len(found(pg)) == 2
    session.now -= 50  # a clock that is set back delays nothing for long
    pg.target_sends(row(MAIL))
    assert len(found(pg)) == 3
    pg.target_sends(row(MAIL), tag("SELECT 13"), ready("I"))
    assert sum(one.hits for event in found(pg) for one in event) == 13


def test_what_is_not_reported_yet_is_when_the_session_is_ended_from_outside() -> None:
    pg = asked(converse(), DETECT)
    for _ in range(5):
        pg.target_sends(row(MAIL))
    assert len(found(pg)) == 1
    pg.codec.end("killed", "57P01")
    pg.take(pg.codec.eof(Side.CLIENT))
    assert found(pg)[1:] == [(FindingCount(EMAIL, "email", 4, 4),)]
    (ended,) = pg.records(ResultEnded)
    assert (ended.rows, ended.message) == (5, "unfinished: killed")
    assert pg.closed() == "killed"
    assert pg.codec.eof(Side.CLIENT) == ()


def test_what_is_not_reported_yet_is_when_a_leg_closes() -> None:
    for leaves in (Dialogue.client_leaves, Dialogue.target_leaves):
        pg = asked(converse(), DETECT)
        pg.target_sends(row(MAIL)).target_sends(row(MAIL)).target_sends(row(MAIL))
        leaves(pg)
        assert sum(one.hits for event in found(pg) for one in event) == 3


def test_rows_that_break_the_protocol_end_with_what_was_counted() -> None:
    pg = asked(converse(), DETECT)
    pg.target_sends(row(MAIL)).target_sends(row(MAIL))
    assert "violation" in pg.target_sends(b"D\0\0\0\1").closed()
    assert sum(one.hits for event in found(pg) for one in event) == 2


def test_a_portal_that_is_executed_in_parts_counts_each() -> None:
    pg = converse()
    pg.client_sends(parse("", "SELECT email"), bind("p", ""), describe("P", "p"))
    pg.client_sends(execute("p", 1), FLUSH)
    pg.admit(pg.prechecked())
    pg.release(pg.issued(), masks=[DETECT])
    described = columns("email", table=100)
    pg.target_sends(PARSED, BOUND, described, row(MAIL), replies.PORTAL_SUSPENDED)
    assert found(pg) == [(FindingCount(EMAIL, "email", 1, 1),)]
    pg.client_sends(execute("p", 1), SYNC)
    pg.target_sends(row(MAIL), tag("SELECT 1"), ready("I"))
    assert sum(one.hits for event in found(pg) for one in event) == 2


def test_copied_rows_are_reported() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("COPY known TO stdout")).issued(), masks=[DETECT])
    header = replies.copy_response(frames.COPY_OUT, replies.CopyHeader(0, (0, 0)))
    pg.target_sends(header, messages.copy_data(b"1\tada@"), messages.copy_data(b"example.com"))
    assert found(pg) == []
    pg.target_sends(messages.COPY_DONE, tag("COPY 1"), ready("I"))
    assert found(pg) == [(FindingCount(EMAIL, "email", 1, 1),)]


def test_the_names_of_a_session_are_bounded() -> None:
    """Whoever may create tables chooses names; as many as they like do not go on record."""
    many = tuple(
        Relation(1000 + n, "public", f"t{n}", "table", (Column("c", 1, "text"),))
        for n in range(300)
    )
    session = Session()
    session.catalogue = CatalogueSnapshot(Catalogue(18, "1", many))
    pg = session.dialogue()
    for n in range(300):
        pg.release(pg.client_sends(query(f"SELECT {n}")).issued(), masks=[DETECT])
        described = replies.row_description([Field("c", 1000 + n, 1, 25, -1, -1, 0)])
        pg.target_sends(described, row(MAIL), tag("SELECT 1"), ready("I"))
    counts = [one for event in found(pg) for one in event]
    assert len(counts) == 300
    assert len({one.column for one in counts}) == 201
    assert sum(one.hits for one in counts if one.column == "*") == 100


# --- names

ORDERS = Relation(1, "s", "orders", "table", (Column("note", 1, "text"),))
LOW = Relation(2, "a", "low", "table", (Column("note", 1, "text"),), parents=(("s", "orders"),))
SEEN = Relation(3, "a", "seen", "view", (Column("said", 1, "text"), Column("loud", 2, "text")))
OWN = frozenset({("s", "orders", "note"), ("a", "low", "note")})
CATALOGUE = CatalogueSnapshot(
    Catalogue(18, "1", (ORDERS, LOW, SEEN)),
    lambda *_: Lineage({"said": OWN, "loud": OWN}, computed=frozenset({"loud"})),
)


def named(oid: int, number: int) -> str:
    field = Field("x", oid, number, 25, -1, -1, 0)
    return column_names.of_field(field, CATALOGUE, statement("SELECT 1"))


def test_all_ways_to_the_same_data_have_one_name() -> None:
    assert named(1, 1) == named(2, 1) == named(3, 1) == "s.orders.note"


def test_what_a_view_computes_has_the_views_name() -> None:
    assert named(3, 2) == "a.seen.loud"


def test_what_is_not_known_has_no_name() -> None:
    assert named(9, 1) == named(1, 9) == named(0, 0) == ""
    assert (
        column_names.of_copied(CopyColumn("x", "text", frozenset()), CATALOGUE, statement("x"))
        == ""
    )
