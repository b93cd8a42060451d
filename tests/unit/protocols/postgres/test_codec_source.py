"""Masking at the source, on the wire: what the server gets in a statement's place, and when."""

from __future__ import annotations

import pytest

from sallyport.core.decision import Mask
from sallyport.core.event import OperationReleased
from sallyport.protocols.postgres import messages
from sallyport.testing.dialogue import Dialogue
from tests.unit.protocols.postgres.script import (
    BOUND,
    PARSED,
    SYNC,
    Session,
    Shape,
    bind,
    columns,
    converse,
    describe,
    error,
    execute,
    failed,
    notice,
    of,
    parse,
    query,
    ready,
    row,
    tag,
)

MASK = Mask("hide", "redact", ("public.customers.email",))
FOLLOWED = "SELECT upper(email) FROM customers"


def sent(pg: Dialogue[Shape]) -> list[tuple[str, str]]:
    """What is due to the target: types of messages, and the text of those that have one."""
    found = []
    for shape in pg.to_target():
        kind, body = shape.raw[:1].decode(), shape.raw[5:]
        if kind == "Q":
            found.append((kind, messages.parse_query(body)))
        elif kind == "P":
            found.append((kind, messages.parse_parse(body).text))
        elif kind == "B":
            found.append((kind, messages.parse_bind(body).statement))
        else:
            found.append((kind, ""))
    return found


def is_rewritten(text: str) -> bool:
    return "FROM (SELECT id, " in text and "public.customers) customers" in text and "email" in text


def test_a_query_goes_out_rewritten_and_is_recorded_so() -> None:
    pg = converse()
    operation = pg.client_sends(query(FOLLOWED)).issued()
    assert operation.rewritable
    pg.release(operation, masks=[MASK], at_source=True)
    ((kind, text),) = sent(pg)
    assert kind == "Q" and is_rewritten(text)
    assert pg.to_client() == [notice()]
    assert [(one.operation, one.rewritten) for one in pg.records(OperationReleased)] == [
        (operation.id, text)
    ]
    pg.target_sends(columns("upper"), row(b"[REDACTED]"), tag("SELECT 1"), ready("I"))
    assert pg.to_client()[1:] == of(row(b"[REDACTED]"), tag("SELECT 1"), ready("I"))
    again = pg.client_sends(query(FOLLOWED)).issued()
    pg.release(again, masks=[MASK], at_source=True)
    assert pg.to_client() == [], "the notice comes once a session and relation"


def test_what_cannot_be_followed_is_refused_and_the_session_goes_on() -> None:
    pg = converse()
    operation = pg.client_sends(query("SELECT upper(email) FROM customers FOR UPDATE")).issued()
    pg.release(operation, masks=[MASK], at_source=True)
    refusal, over = pg.to_client()
    assert refusal == error("42501") and over == Shape(ready("I"))
    assert "hide" in refusal.fields["M"] and "locked" in refusal.fields["D"]
    assert sent(pg) == []
    pg.client_sends(query("SELECT 1")).allow_all()
    assert sent(pg) == [("Q", "SELECT 1")]


def prepared(pg: Dialogue[Shape], name: str, text: str = FOLLOWED) -> None:
    pg.client_sends(parse(name, text), SYNC).allow_all()
    pg.target_sends(PARSED, ready("I"))
    pg.to_client()
    assert sent(pg) == [("P", text), ("S", "")]


@pytest.mark.parametrize("name", ["", "named"])
def test_a_bind_is_of_the_rewriting_that_is_prepared_before_it(name: str) -> None:
    pg = converse()
    prepared(pg, name)
    operation = pg.client_sends(bind("", name), describe("P", ""), execute(""), SYNC).issued()
    pg.release(operation, masks=[MASK], at_source=True)
    due = sent(pg)
    assert [kind for kind, _ in due] == ["P", "B", "D", "E", "S"]
    assert is_rewritten(due[0][1]) and due[1][1] == ""
    assert pg.to_client() == [notice()]
    pg.target_sends(PARSED, BOUND, columns("upper"), row(b"x"), tag("SELECT 1"), ready("I"))
    assert pg.to_client() == of(BOUND, columns("upper"), row(b"x"), tag("SELECT 1"), ready("I"))


def test_what_is_prepared_for_a_bind_takes_the_place_of_the_unnamed_statement() -> None:
    """The client's own unnamed statement is not there any more: never run one for another."""
    pg = converse()
    prepared(pg, "", "SELECT 1")
    prepared(pg, "named")
    operation = pg.client_sends(bind("", "named"), SYNC).issued()
    pg.release(operation, masks=[MASK], at_source=True)
    pg.target_sends(PARSED, BOUND, ready("I"))
    pg.to_client(), pg.to_target()
    pg.client_sends(bind("", ""), SYNC).allow_all()
    assert pg.to_client() == [error("26000"), *of(ready("I"))]
    assert sent(pg) == []


def test_an_unnamed_statement_that_was_rewritten_is_prepared_anew_each_time() -> None:
    """Under another policy it runs as the client wrote it, not as it was rewritten once."""
    pg = converse()
    prepared(pg, "")
    operation = pg.client_sends(bind("", ""), SYNC).issued()
    pg.release(operation, masks=[MASK], at_source=True)
    pg.target_sends(PARSED, BOUND, ready("I"))
    pg.to_client(), pg.to_target()
    pg.client_sends(bind("", ""), SYNC).allow_all()
    assert sent(pg) == [("P", FOLLOWED), ("B", ""), ("S", "")]


def test_an_error_of_the_rewriting_is_told_in_its_place() -> None:
    pg = converse()
    prepared(pg, "named")
    operation = pg.client_sends(bind("", "named"), execute(""), SYNC).issued()
    pg.release(operation, masks=[MASK], at_source=True)
    pg.to_client(), pg.to_target()
    pg.target_sends(failed("42883", "function does not exist"), ready("I"))
    assert pg.to_client() == [error("42883"), *of(ready("I"))]
    pg.client_sends(query("SELECT 1")).allow_all()
    assert sent(pg) == [("Q", "SELECT 1")]


def test_a_portal_that_was_bound_before_masks_came_is_not_run() -> None:
    session = Session()
    pg = session.dialogue()
    prepared(pg, "named")
    pg.client_sends(bind("p", "named")).allow_all()
    session.revision = "r2"
    operation = pg.client_sends(execute("p"), SYNC).issued()
    pg.release(operation, masks=[MASK], at_source=True)
    assert "E" not in [kind for kind, _ in sent(pg)]


def test_names_mean_what_the_statements_before_leave() -> None:
    """Of several statements in one message each is read as its predecessors leave the session."""
    pg = converse()
    text = f"SET search_path = elsewhere; {FOLLOWED}"
    pg.release(pg.client_sends(query(text)).issued())
    operation = pg.issued()
    assert operation.text == FOLLOWED
    pg.release(operation, masks=[MASK], at_source=True)
    refusal = pg.to_client()[0]
    assert "`customers` is not known" in refusal.fields["D"]
    assert sent(pg) == []


def test_the_recorded_rewriting_is_masked_as_the_clients_text_is() -> None:
    """What the client wrote stands in it too, and detectors apply to what is recorded."""
    pg = converse()
    text = "SELECT id FROM customers WHERE email = 'ann@example.com'"
    operation = pg.client_sends(query(text)).issued()
    found = Mask("find", "redact", (), ("email",))
    pg.release(operation, masks=[MASK, found], at_source=True)
    (released,) = pg.records(OperationReleased)
    assert "ann@example.com" not in released.rewritten and "[redacted:email]" in released.rewritten
    assert "'ann@example.com'" in sent(pg)[0][1]


SHOWN = "SELECT id, email FROM customers"
CONSTANT = Mask("hide", "constant", ("public.customers.email",), value="nobody")
"""Only the database can put it in a value's place."""


def test_what_only_the_database_can_mask_is_rewritten_where_it_is_only_shown() -> None:
    pg = converse()
    pg.release(pg.client_sends(query(SHOWN)).issued(), masks=[CONSTANT])
    ((kind, text),) = sent(pg)
    assert kind == "Q" and is_rewritten(text) and "'nobody'" in text
    pg.to_client()
    pg.target_sends(columns("id", "email"), row(b"1", b"nobody"), tag("SELECT 1"), ready("I"))
    assert pg.to_client()[1] == Shape(row(b"1", b"nobody")), "it is not masked a second time"


@pytest.mark.parametrize("text", [f"{SHOWN} FOR UPDATE", f"{SHOWN} -- {'x' * 5000}"])
def test_where_it_cannot_be_rewritten_the_result_is_redacted(text: str) -> None:
    pg = converse()
    pg.release(pg.client_sends(query(text)).issued(), masks=[CONSTANT])
    assert sent(pg) == [("Q", text)]
    pg.target_sends(columns("id", "email", table=100), row(b"1", b"a@b.c"))
    pg.target_sends(tag("SELECT 1"), ready("I"))
    assert Shape(row(b"1", b"[redacted]")) in pg.to_client()


def test_what_reads_no_such_column_goes_out_as_it_is() -> None:
    pg = converse()
    for text, mask in (("SELECT oid FROM pg_class", CONSTANT), (SHOWN, MASK)):
        pg.release(pg.client_sends(query(text)).issued(), masks=[mask])
        assert sent(pg) == [("Q", text)]
        pg.target_sends(columns("id"), tag("SELECT 0"), ready("I"))
        pg.to_client()


def test_a_portal_of_a_rewriting_is_not_run_under_another_policy() -> None:
    """Its columns have no origin any more, so that a stronger mask would not find them."""
    session = Session()
    pg = session.dialogue()
    prepared(pg, "named", SHOWN)
    operation = pg.client_sends(bind("p", "named")).issued()
    pg.release(operation, masks=[CONSTANT])
    assert [kind for kind, _ in sent(pg)] == ["P", "B"]
    session.revision = "r2"
    operation = pg.client_sends(execute("p"), SYNC).issued()
    pg.release(operation, masks=[MASK])
    assert "E" not in [kind for kind, _ in sent(pg)]


def test_a_portal_of_a_rewriting_is_run_where_it_would_be_rewritten_so_again() -> None:
    """Whatever else has changed meanwhile: another rule, an object that it does not name."""
    session = Session()
    pg = session.dialogue()
    prepared(pg, "named")
    operation = pg.client_sends(bind("p", "named")).issued()
    pg.release(operation, masks=[MASK], at_source=True)
    assert [kind for kind, _ in sent(pg)] == ["P", "B"]
    session.revision = "r2"
    operation = pg.client_sends(execute("p"), SYNC).issued()
    pg.release(operation, masks=[MASK], at_source=True)
    kinds = [kind for kind, _ in sent(pg)]
    assert kinds[-2:] == ["E", "S"]
