"""Refusals keep the native meaning of transactions and pipelines."""

from __future__ import annotations

import pytest

from sallyport.protocols.postgres.refusal import FAILING_PARSE, FAILING_QUERY
from tests.unit.protocols.postgres.script import (
    BOUND,
    FLUSH,
    NO_DATA,
    PARSED,
    SYNC,
    Session,
    bind,
    close,
    columns,
    converse,
    describe,
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


def test_denied_query_leaves_the_session_usable() -> None:
    pg = converse()
    op = pg.client_sends(query("DROP TABLE users")).issued()
    assert pg.to_target() == []
    pg.refuse(op, reason="drops need approval")
    assert pg.to_client() == [error("42501"), *of(ready("I"))]
    assert pg.to_target() == []
    assert pg.client_sends(query("SELECT 1")).issued().verb == "select"


def test_a_refusal_says_by_which_rule_why_and_what_to_do() -> None:
    pg = converse()
    op = pg.client_sends(query("DROP TABLE users")).issued()
    pg.refuse(op, rule="no-drops", reason="drops need approval", hint="ask the dba")
    fields = pg.to_client()[0].fields
    assert fields["M"] == "refused by rule `no-drops`"
    assert (fields["D"], fields["H"]) == ("drops need approval", "ask the dba")
    assert (fields["S"], fields["V"]) == ("ERROR", "ERROR")


def in_transaction() -> object:
    pg = converse()
    pg.client_sends(query("BEGIN")).allow_all()
    pg.target_sends(tag("BEGIN"), ready("T"))
    pg.to_client(), pg.to_target()
    return pg


def test_a_refusal_in_a_transaction_aborts_it_on_the_server() -> None:
    pg = in_transaction()
    op = pg.client_sends(query("DROP TABLE users")).issued()
    pg.refuse(op)
    assert pg.to_target() == of(FAILING_QUERY)
    assert pg.to_client() == []
    pg.target_sends(failed(), ready("E"))
    assert pg.to_client() == [error("42501"), *of(ready("E"))]


def test_a_refusal_in_an_aborted_transaction_keeps_the_servers_own_error() -> None:
    pg = in_transaction()
    op = pg.client_sends(query("SELECT oops")).issued()
    pg.release(op).target_sends(failed("42703"), ready("E"))
    assert pg.to_client() == [error("42703"), *of(ready("E"))]
    op = pg.client_sends(query("DROP TABLE users")).issued()
    pg.refuse(op).to_target()
    pg.target_sends(failed("25P02"), ready("E"))
    assert pg.to_client() == [error("25P02"), *of(ready("E"))]


def test_one_refused_statement_refuses_the_whole_message_and_is_named() -> None:
    pg = converse()
    first = pg.client_sends(query("INSERT INTO a; DROP TABLE b; SELECT 1")).issued()
    assert first.text == "INSERT INTO a"
    second = pg.release(first).issued()
    assert pg.to_target() == []
    pg.refuse(second, rule="no-drops").nothing()
    assert pg.to_target() == []
    shown = pg.to_client()
    assert shown == [error("42501"), *of(ready("I"))]
    assert shown[0].fields["M"] == "statement 2 of 3 refused by rule `no-drops`"


def test_a_refused_bind_with_nothing_released_is_answered_here() -> None:
    pg = converse()
    pg.admit(pg.client_sends(parse("s", "DELETE FROM a"), SYNC).prechecked())
    pg.target_sends(PARSED, ready("I")).to_client()
    pg.to_target()
    op = pg.client_sends(bind("", "s"), execute(""), SYNC).issued()
    pg.refuse(op)
    assert pg.to_target() == []
    assert pg.to_client() == [error("42501"), *of(ready("I"))]
    assert pg.client_sends(query("SELECT 1")).issued().verb == "select"


def test_a_refusal_mid_pipeline_discards_what_the_same_batch_did_before() -> None:
    pg = converse()
    batch = (parse("", "INSERT INTO a"), bind("", ""), execute(""))
    pg.client_sends(*batch).allow_all()
    pg.client_sends(parse("", "DELETE FROM b"), bind("", ""), execute(""), SYNC)
    pg.admit(pg.prechecked())
    assert pg.to_target() == of(*batch, parse("", "DELETE FROM b"))
    pg.refuse(pg.issued())
    assert pg.to_target() == of(FAILING_PARSE, SYNC)
    pg.target_sends(PARSED, BOUND, tag("INSERT 0 1"), PARSED, failed(), ready("I"))
    expected = [*of(PARSED, BOUND, tag("INSERT 0 1"), PARSED), error("42501"), *of(ready("I"))]
    assert pg.to_client() == expected


def test_a_refusal_after_flush_is_put_in_its_place() -> None:
    pg = converse()
    pg.client_sends(parse("s", "DELETE FROM a"), describe("S", "s"), FLUSH).allow_all()
    pg.target_sends(PARSED, b"t\0\0\0\6\0\0", NO_DATA)
    pg.to_client(), pg.to_target()
    op = pg.client_sends(bind("", "s"), execute(""), SYNC).issued()
    pg.refuse(op)
    assert pg.to_target() == of(FAILING_PARSE, SYNC)
    pg.target_sends(failed(), ready("I"))
    assert pg.to_client() == [error("42501"), *of(ready("I"))]


def test_a_refused_parse_is_an_error_of_its_batch() -> None:
    pg = converse()
    op = pg.client_sends(parse("", "DROP TABLE a"), bind("", ""), execute(""), SYNC).prechecked()
    pg.refuse(op).nothing()
    assert pg.to_target() == []
    assert pg.to_client() == [error("42501"), *of(ready("I"))]


def test_a_query_behind_a_failed_batch_is_discarded_up_to_sync() -> None:
    pg = converse()
    pg.refuse(pg.client_sends(parse("", "DROP TABLE a")).prechecked())
    pg.client_sends(query("INSERT INTO a"), FLUSH, close("S", "x")).nothing()
    pg.client_sends(SYNC)
    assert pg.to_target() == []
    assert pg.to_client() == [error("42501"), *of(ready("I"))]


def test_a_refused_query_behind_an_open_batch_ends_that_batch() -> None:
    pg = converse()
    pg.client_sends(parse("", "INSERT INTO a"), bind("", ""), execute("")).allow_all()
    pg.to_target()
    pg.refuse(pg.client_sends(query("DROP TABLE a")).issued())
    assert pg.to_target() == of(FAILING_QUERY)
    pg.target_sends(PARSED, BOUND, tag("INSERT 0 1"), failed(), ready("I"))
    assert pg.to_client()[-2:] == [error("42501"), *of(ready("I"))]


def test_a_server_that_runs_what_must_fail_is_not_believed() -> None:
    pg = in_transaction()
    pg.refuse(pg.client_sends(query("DROP TABLE users")).issued()).to_target()
    with pytest.raises(Exception, match="unexpected"):
        pg.target_sends(columns("x"), row(b"1"))


def test_an_error_discards_what_waits_for_a_decision() -> None:
    pg = converse()
    pg.client_sends(parse("a", "SELECT bad"), bind("", "a")).admit(pg.prechecked())
    held = pg.issued()
    pg.target_sends(failed("42703"))
    assert pg.to_client() == [error("42703")]
    pg.to_target()
    assert pg.withdrawn() == held
    pg.client_sends(execute(""), SYNC)
    pg.release(held).nothing()
    assert pg.to_target() == of(SYNC)
    pg.target_sends(ready("I"))
    assert pg.to_client() == of(ready("I"))


def test_function_calls_are_refused_as_the_server_would() -> None:
    pg = converse()
    pg.client_sends(b"F\0\0\0\x0e" + b"\0" * 10).nothing()
    assert pg.to_client() == [error("0A000"), *of(ready("I"))]
    pg = in_transaction()
    pg.client_sends(b"F\0\0\0\x0e" + b"\0" * 10)
    assert pg.to_target() == of(FAILING_QUERY)


def test_cancelling_a_hold_is_told_as_a_cancel() -> None:
    pg = converse()
    op = pg.client_sends(query("UPDATE a")).issued()
    pg.refuse(op, reason="cancelled by the client", code="57014")
    assert pg.to_client() == [error("57014"), *of(ready("I"))]


def test_a_hold_ends_when_the_client_leaves() -> None:
    pg = converse()
    pg.client_sends(query("UPDATE a")).issued()
    pg.client_leaves()
    assert "client" in pg.closed()


def test_a_hold_ends_when_the_client_says_goodbye_behind_other_messages() -> None:
    pg = converse()
    pg.client_sends(query("UPDATE a")).issued()
    pg.client_sends(query("SELECT 1"), b"X\0\0\0\4")
    assert "left" in pg.closed()
    assert pg.to_target() == []


def test_another_digest_releases_nothing() -> None:
    session = Session()
    pg = session.dialogue()
    first = pg.client_sends(query("SELECT 1")).issued()
    pg.release(first).target_sends(columns("x"), row(b"1"), tag("SELECT 1"), ready("I"))
    pg.to_target()
    second = pg.client_sends(query("DROP TABLE a")).issued()
    with pytest.raises(ValueError, match="operation"):
        pg.release(first)
    assert pg.to_target() == []
    pg.refuse(second)


def test_a_precheck_cannot_be_released_as_if_it_were_the_operation() -> None:
    pg = converse()
    op = pg.client_sends(parse("", "DELETE FROM a")).prechecked()
    with pytest.raises(ValueError, match="decided"):
        pg.release(op)
    assert pg.to_target() == []
