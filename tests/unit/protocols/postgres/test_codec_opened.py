"""What SQL opens by a name: rewritten when it is opened, run as it is where its masks still hold."""

from __future__ import annotations

import pytest
from msgspec import structs

from sallyport.core.decision import Mask
from sallyport.core.operation import Effect
from sallyport.protocols.postgres.opened import PREPARED, Opened
from sallyport.sql.catalogue import CatalogueSnapshot, Column, Relation
from sallyport.sql.statement import Statement
from sallyport.testing.dialogue import Dialogue
from tests.unit.protocols.postgres.script import (
    BOUND,
    PARSED,
    SYNC,
    Session,
    Shape,
    bind,
    error,
    failed,
    of,
    parse,
    query,
    ready,
    snapshot,
    tag,
)
from tests.unit.protocols.postgres.test_codec_source import MASK, is_rewritten, sent

FOLLOWED = "SELECT id FROM customers ORDER BY email"
OTHER = Mask("hide", "hash", ("public.customers.email",))
NOTHING = Mask("hide", "null", ("public.customers.email",))
DETECTS = Mask("find", "redact", (), ("email",))
DECLARE = f"DECLARE c CURSOR WITH HOLD FOR {FOLLOWED}"
PREPARE = f"PREPARE c AS {FOLLOWED}"


def real() -> Dialogue[Shape]:
    """A session whose statements are understood as they are in earnest."""
    return Session(real=True).dialogue()


def run(pg: Dialogue[Shape], text: str, *masks: Mask, fails: bool = False) -> str:
    """Send one statement; return what the target gets, empty where it is refused."""
    operation = pg.client_sends(query(text)).issued()
    assert operation.rewritable or not masks
    pg.release(operation, masks=list(masks), at_source=bool(masks))
    due = sent(pg)
    if due:
        answer = failed("42P03", "it exists") if fails else tag(text.split()[0])
        pg.target_sends(answer, ready("I"))
    pg.to_client()
    return due[0][1] if due else ""


@pytest.mark.parametrize(
    ("opens", "reads"), [(DECLARE, "FETCH ALL FROM c"), (PREPARE, "EXECUTE c")]
)
class TestNames:
    def test_it_is_rewritten_when_it_is_opened_and_runs_as_it_is(
        self, opens: str, reads: str
    ) -> None:
        pg = real()
        assert is_rewritten(run(pg, opens, MASK))
        assert run(pg, reads, MASK, DETECTS) == reads
        assert run(pg, reads, MASK) == reads

    def test_other_masks_than_it_was_opened_with_refuse_it(self, opens: str, reads: str) -> None:
        pg = real()
        run(pg, opens, MASK)
        assert run(pg, reads, OTHER) == ""
        assert run(pg, reads, NOTHING) == ""

    def test_what_was_opened_before_there_were_masks_is_refused(
        self, opens: str, reads: str
    ) -> None:
        pg = real()
        assert run(pg, opens) == opens
        assert run(pg, reads, MASK) == ""

    def test_opening_it_again_beside_the_old_one_helps_nobody(self, opens: str, reads: str) -> None:
        """The second fails where the first is still there: then it is the first that runs."""
        pg = real()
        assert run(pg, opens) == opens
        assert is_rewritten(run(pg, opens, MASK, fails=True))
        assert run(pg, reads, MASK) == ""

    def test_nor_does_opening_it_after_the_masks_went_for_a_while(
        self, opens: str, reads: str
    ) -> None:
        pg = real()
        run(pg, opens, MASK)
        run(pg, "CLOSE c" if opens is DECLARE else "DEALLOCATE c")
        assert run(pg, opens) == opens
        assert run(pg, reads, MASK) == ""


@pytest.mark.parametrize(
    ("opens", "reads"), [(DECLARE, "FETCH ALL FROM c"), (PREPARE, "EXECUTE c")]
)
def test_a_message_may_open_and_read(opens: str, reads: str) -> None:
    pg = real()
    operation = pg.client_sends(query(f"{opens}; {reads}")).issued()
    pg.release(operation, masks=[MASK], at_source=True)
    pg.release(pg.issued(), masks=[MASK], at_source=True)
    ((kind, text),) = sent(pg)
    assert kind == "Q" and is_rewritten(text) and text.endswith(reads)


@pytest.mark.parametrize(
    ("opens", "reads"), [(DECLARE, "FETCH ALL FROM c"), (PREPARE, "EXECUTE c")]
)
def test_what_masks_at_the_source_is_not_read_under_other_masks(opens: str, reads: str) -> None:
    """Though they would only have results masked: those do not say of what column a value is."""
    pg = real()
    run(pg, opens, MASK)
    pg.release(pg.client_sends(query(reads)).issued(), masks=[NOTHING])
    assert sent(pg) == []


def test_a_second_of_one_message_is_not_new() -> None:
    """The first stays where the second fails, and nobody knows yet."""
    pg = real()
    other = "PREPARE c AS SELECT id FROM customers ORDER BY id"
    pg.release(pg.client_sends(query(f"{other}; {PREPARE}")).issued())
    pg.release(pg.issued(), masks=[MASK], at_source=True)
    pg.target_sends(tag("PREPARE"), tag("PREPARE"), ready("I"))
    pg.to_client(), pg.to_target()
    assert run(pg, "EXECUTE c", MASK) == ""


@pytest.mark.parametrize(
    ("opens", "other", "closes", "reads"),
    [
        (DECLARE, "DECLARE c CURSOR FOR SELECT id FROM customers", "CLOSE c", "FETCH c"),
        (PREPARE, "PREPARE c AS SELECT id FROM customers", "DEALLOCATE c", "EXECUTE c"),
    ],
)
def test_a_name_may_be_used_again(opens: str, other: str, closes: str, reads: str) -> None:
    pg = real()
    for text in (other, closes, opens, closes):
        assert run(pg, text)
    assert is_rewritten(run(pg, opens, MASK))
    assert run(pg, reads, MASK) == reads


@pytest.mark.parametrize(
    ("opens", "other", "closes", "reads"),
    [
        (
            DECLARE,
            "DECLARE c CURSOR WITH HOLD FOR SELECT email FROM customers",
            "CLOSE c",
            "FETCH c",
        ),
        (PREPARE, "PREPARE c AS SELECT email FROM customers", "DEALLOCATE c", "EXECUTE c"),
    ],
)
def test_a_name_that_is_free_again_may_stand_for_what_is_only_shown(
    opens: str, other: str, closes: str, reads: str
) -> None:
    pg = real()
    assert is_rewritten(run(pg, opens, MASK))
    assert run(pg, closes)
    for text in (other, reads):
        pg.release(pg.client_sends(query(text)).issued(), masks=[MASK])
        assert sent(pg) == [("Q", text)]
        pg.target_sends(tag(text.split()[0]), ready("I"))
        pg.to_client()


def test_what_closes_a_name_may_fail() -> None:
    """Nothing is decided before the server said whether it did."""
    pg = real()
    assert run(pg, PREPARE)
    pg.release(pg.client_sends(query("DEALLOCATE c")).issued())
    pg.client_sends(query(PREPARE))
    assert [kind for kind, _ in sent(pg)] == ["Q"]
    pg.target_sends(failed("XX000", "no"), ready("I"))
    pg.release(pg.issued(), masks=[MASK], at_source=True)
    pg.target_sends(failed("42P05", "it exists"), ready("I"))
    pg.to_client(), pg.to_target()
    assert run(pg, "EXECUTE c", MASK) == ""


def test_a_parse_under_the_name_of_what_sql_prepared_is_not_run_for_it() -> None:
    pg = real()
    run(pg, PREPARE, MASK)
    run(pg, "DEALLOCATE c")
    pg.client_sends(parse("c", FOLLOWED), SYNC).allow_all()
    pg.target_sends(PARSED, ready("I"))
    pg.to_client(), pg.to_target()
    assert run(pg, "EXECUTE c", MASK) == ""


def test_a_bind_runs_what_sql_prepared_with_the_masks_of_now() -> None:
    pg = real()
    run(pg, PREPARE, MASK)
    pg.release(pg.client_sends(bind("", "c"), SYNC).issued(), masks=[MASK], at_source=True)
    assert sent(pg) == [("B", "c"), ("S", "")]
    pg = real()
    run(pg, PREPARE, MASK)
    pg.release(pg.client_sends(bind("", "c"), SYNC).issued(), masks=[OTHER], at_source=True)
    assert sent(pg) == [] and pg.to_client() == [error("42501"), *of(ready("I"))]


def test_the_plan_of_what_was_prepared_is_not_shown() -> None:
    """It has what makes the hashes in it, whatever is masked by now."""
    pg = real()
    run(pg, PREPARE, OTHER)
    operation = pg.client_sends(query("EXPLAIN (COSTS OFF) EXECUTE c")).issued()
    pg.release(operation)
    assert sent(pg) == []


def test_copy_is_rewritten_to_the_client_alone() -> None:
    pg = real()
    text = run(pg, f"COPY ({FOLLOWED}) TO STDOUT", MASK)
    assert is_rewritten(text) and text.startswith("COPY (")
    operation = pg.client_sends(query(f"COPY ({FOLLOWED}) TO '/tmp/x'")).issued()
    assert not operation.rewritable


EXECUTE = Statement(
    text="", verb="execute", effect=Effect.READ, resources=(), facts=frozenset(), fingerprint=b"",
    reads="late",
)  # fmt: skip


def test_a_name_for_which_there_was_no_room_is_in_doubt_until_it_is_free() -> None:
    """Else what was opened unseen would count as what is opened beside it later."""
    opened = Opened()
    for number in range(5000):
        opened.note(PREPARED, f"n{number}", FOLLOWED)
    opened.note(PREPARED, "late", None)
    assert opened.may_mask(EXECUTE)
    opened.keep(frozenset({(PREPARED, "late")}))
    opened.note(PREPARED, "late", FOLLOWED, rewritten=True)
    assert not opened.holds(EXECUTE, FOLLOWED) and opened.may_mask(EXECUTE)
    opened.note(PREPARED, "late", FOLLOWED, fresh=True, rewritten=True)
    assert opened.holds(EXECUTE, FOLLOWED)


def test_a_client_may_give_each_cursor_another_name_for_ever() -> None:
    pg = real()
    for number in range(4500):
        text = f"DECLARE c{number} CURSOR WITH HOLD FOR {FOLLOWED}"
        assert is_rewritten(run(pg, text, MASK))
        assert run(pg, f"FETCH c{number}", MASK)
        assert run(pg, f"CLOSE c{number}")


def test_a_portal_that_runs_what_masks_at_the_source_does_so_too() -> None:
    """Results of it do not say of what column a value is either."""
    pg = real()
    run(pg, "BEGIN")
    run(pg, PREPARE, MASK)
    pg.release(pg.client_sends(bind("p", "c"), SYNC).issued(), masks=[MASK], at_source=True)
    pg.target_sends(BOUND, ready("T"))
    pg.to_client(), pg.to_target()
    pg.release(pg.client_sends(query("FETCH ALL FROM p")).issued(), masks=[NOTHING])
    assert "FETCH ALL FROM p" not in [text for _, text in sent(pg)]


@pytest.mark.parametrize("opens", [PREPARE, DECLARE])
def test_the_texts_stay_hidden_when_the_masks_are_gone(opens: str) -> None:
    """The server has them still, and in them what makes the hashes of other columns."""
    session = Session(real=True)
    known = snapshot().raw
    texts = Relation(101, "pg_catalog", "pg_cursors", "view", (Column("statement", 1, "text"),))
    session.catalogue = CatalogueSnapshot(
        structs.replace(known, relations=(*known.relations, texts))
    )
    pg = session.dialogue()
    shows = "SELECT statement FROM pg_catalog.pg_cursors"
    assert run(pg, shows) == shows
    assert run(pg, opens, OTHER)
    assert run(pg, shows) == ""
