"""Results: obligations, recording, descriptions, COPY, and what a rogue server may say."""

from __future__ import annotations

import pytest

from sallyport.core.decision import Limit, Mask
from sallyport.core.errors import ProtocolViolation
from sallyport.core.event import Noticed, ResultDescribed, ResultEnded, ResultRows
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.codec import Limits
from sallyport.protocols.postgres.refusal import FAILING_PARSE, FAILING_QUERY
from sallyport.protocols.postgres.transcript import hash_of, render_rows
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

EMAILS = Mask("pii", "redact", columns=("public.customers.email",))
TEXTS = Mask("texts", "redact", detectors=("email",))
TYPES = b"t\0\0\0\6\0\0"


def test_what_leaves_is_recorded_and_hashed() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT a")).issued())
    rows = [row(b"1", None), row(b"22", b"x")]
    pg.target_sends(columns("a", "b"), *rows, tag("SELECT 2"), ready("I"))
    (described,) = pg.records(ResultDescribed)
    assert described.columns == ("a", "b")
    (recorded,) = pg.records(ResultRows)
    cells = render_rows(recorded.encoding, recorded.data, described.formats, described.types)
    assert cells == [["1", None], ["22", "x"]]
    (end,) = pg.records(ResultEnded)
    assert (end.tag, end.rows, end.bytes) == ("SELECT 2", 2, len(b"".join(rows)))
    assert end.digest == hash_of(recorded.encoding, [recorded.data])
    assert not end.truncated
    assert [(spent.rows, spent.bytes) for spent in pg.spent] == [(2, end.bytes)]


def test_rows_past_the_recordings_limit_are_counted_and_hashed() -> None:
    pg = converse(limits=Limits(result_bytes=40))
    pg.release(pg.client_sends(query("SELECT a")).issued())
    rows = [row(b"x" * 10) for _ in range(5)]
    pg.target_sends(columns("a"), *rows, tag("SELECT 5"), ready("I"))
    (end,) = pg.records(ResultEnded)
    assert (end.rows, end.truncated) == (5, True)
    assert sum(event.rows for event in pg.records(ResultRows)) < 5


def test_rows_are_not_kept_where_only_statements_are_recorded() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT a")).issued(), record="statements")
    pg.target_sends(columns("a"), row(b"1"), tag("SELECT 1"), ready("I"))
    assert pg.records(ResultRows) == []
    assert pg.records(ResultEnded)[0].rows == 1


def test_a_column_is_masked_by_its_origin_whatever_it_is_called() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT id, email AS harmless")).issued(), masks=[EMAILS])
    described = columns("id", "harmless", table=100)
    pg.target_sends(described, row(b"1", b"ada@example.com"), tag("SELECT 1"), ready("I"))
    shown = b"".join(shape.raw for shape in pg.to_client())
    assert b"ada@example" not in shown
    assert b"ada@example" not in b"".join(event.data for event in pg.records(ResultRows))
    assert pg.records(ResultDescribed)[0].masks == ("", "redact")


def test_a_column_of_a_table_that_nobody_knows_is_hidden() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT a")).issued(), masks=[EMAILS])
    pg.target_sends(columns("a", table=999), row(b"secret"), tag("SELECT 1"), ready("I"))
    assert b"secret" not in b"".join(shape.raw for shape in pg.to_client())


def test_a_client_that_remembers_a_description_is_masked_all_the_same() -> None:
    pg = converse()
    pg.client_sends(parse("s", "SELECT email"), describe("S", "s"), FLUSH).allow_all()
    pg.target_sends(PARSED, TYPES, columns("email", table=100))
    pg.to_client(), pg.to_target()
    pg.client_sends(bind("", "s", result_codes=(1,)), execute(""), SYNC)
    pg.release(pg.issued(), masks=[EMAILS])
    assert pg.to_target() == of(
        bind("", "s", result_codes=(1,)), describe("P", ""), execute(""), SYNC
    )
    shown = columns("email", table=100, format=1)
    pg.target_sends(BOUND, shown, row(b"ada@example.com"), tag("SELECT 1"), ready("I"))
    seen = pg.to_client()
    assert seen[0] == of(BOUND)[0]
    assert seen[-2:] == of(tag("SELECT 1"), ready("I"))
    assert len(seen) == 4
    assert b"ada@example" not in seen[1].raw


def test_rows_without_a_description_do_not_leave_where_masks_apply() -> None:
    pg = converse()
    pg.client_sends(parse("", "SELECT email"), bind("", ""), execute(""), SYNC)
    pg.admit(pg.prechecked())
    pg.release(pg.issued(), masks=[EMAILS])
    pg.target_sends(PARSED, BOUND, b"n\0\0\0\4")
    assert "violation" in pg.target_sends(row(b"ada@example.com")).closed()
    assert b"ada@" not in b"".join(shape.raw for shape in pg.to_client())


def test_errors_and_notices_of_masked_subjects_tell_nothing() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT a")).issued(), masks=[TEXTS])
    told = replies.fields_message(
        frames.ERROR_RESPONSE,
        {
            "S": "ERROR",
            "C": "22P02",
            "M": "bad: ada@example.com",
            "D": "ada",
            "W": "ada",
            "q": "ada",
        },
    )
    warned = replies.notice("01000", "ada@example.com", detail="ada")
    pg.target_sends(warned, told, ready("I"))
    shown = pg.to_client()
    assert shown == [notice("01000"), error("22P02"), *of(ready("I"))]
    assert b"ada" not in b"".join(shape.raw for shape in shown)
    assert all("ada" not in event.message for event in pg.records(Noticed))


def test_masks_of_other_protocols_change_nothing() -> None:
    named = Mask("m", "redact", json=("$..email",), headers=("*",), cookies=("*",))
    pg = converse()
    pg.release(pg.client_sends(query("SELECT email")).issued(), masks=[named])
    told = replies.fields_message(
        frames.ERROR_RESPONSE,
        {"S": "ERROR", "C": "22P02", "M": "bad", "D": "ada@example.com", "W": "function f"},
    )
    shown = columns("email"), row(b"ada@example.com"), told, ready("I")
    pg.target_sends(*shown)
    assert pg.to_client() == of(*shown)


def test_a_row_limit_sends_what_fits_and_cancels() -> None:
    pg = converse()
    limits = [Limit("few", rows=2), Limit("many", rows=9)]
    pg.release(pg.client_sends(query("SELECT a")).issued(), limits=limits)
    pg.to_target()
    pg.target_sends(columns("a"), row(b"1"), row(b"2"), row(b"3"), row(b"4"))
    pg.cancels()
    assert pg.to_client() == of(columns("a"), row(b"1"), row(b"2"))
    pg.client_sends(query("SELECT b")).nothing()
    pg.target_sends(row(b"5"), failed("57014"), ready("I"))
    shown = pg.to_client()
    assert shown == [error("54000"), *of(ready("I"))]
    assert "few" in shown[0].fields["M"]
    pg.nothing()
    assert pg.cancelled().issued().text == "SELECT b"


def test_a_byte_limit_and_a_quota_end_a_result_too() -> None:
    pg = converse()
    first = row(b"x" * 100)
    pg.release(pg.client_sends(query("SELECT a")).issued(), limits=[Limit("b", bytes=len(first))])
    pg.target_sends(columns("a"), first, row(b"y"))
    pg.cancels()
    assert pg.to_client() == of(columns("a"), first)
    pg.cancelled().target_sends(failed("57014"), ready("I"))
    pg.to_client()
    op = pg.client_sends(query("SELECT a")).issued()
    pg.release(op).target_sends(columns("a"), first)
    pg.stop(op, "the quota is used up").cancels()
    pg.target_sends(first, tag("SELECT 2"), ready("I")).cancelled()
    assert pg.to_client() == [*of(columns("a"), first), error("54000"), *of(ready("I"))]


def test_an_error_counts_as_the_rows_that_its_text_may_hold() -> None:
    pg = converse(limits=Limits(result_bytes=3000))
    text = "invalid input syntax for type integer: " + "x" * 4000
    long = replies.error("22P02", text)
    for limit in (len(long), len(long) - 1):
        op = pg.client_sends(query("SELECT a")).issued()
        pg.release(op, limits=[Limit("b", bytes=limit)])
        pg.target_sends(columns("a"), long, ready("I"))
    _, whole, _, _, hidden, _ = pg.to_client()
    assert (whole.fields["M"], hidden.fields["C"]) == (text, "22P02")
    assert "hidden by the gateway" in hidden.fields["M"]
    assert [(spent.rows, spent.bytes) for spent in pg.spent] == [(0, len(long))]
    assert len(pg.records(ResultEnded)[0].message) == 3000
    op = pg.client_sends(query("SELECT a")).issued()
    pg.release(op, limits=[Limit("b", bytes=1)]).target_sends(failed("22P02"), ready("I"))
    assert "hidden" not in pg.to_client()[0].fields["M"]


def test_a_result_that_ends_before_the_cancel_aborts_its_transaction() -> None:
    pg = converse()
    pg.client_sends(query("BEGIN")).allow_all().target_sends(tag("BEGIN"), ready("T"))
    pg.to_client(), pg.to_target()
    pg.release(pg.client_sends(query("SELECT a")).issued(), limits=[Limit("few", rows=0)])
    pg.to_target()
    pg.target_sends(columns("a"), row(b"1"), tag("SELECT 1"), ready("T"))
    pg.cancels()
    assert pg.to_target() == of(FAILING_QUERY)
    assert pg.to_client() == [*of(columns("a")), error("54000")]
    pg.target_sends(failed(), ready("E")).cancelled()
    assert pg.to_client() == of(ready("E"))


def test_a_cut_batch_is_aborted_on_the_server_before_its_sync() -> None:
    pg = converse()
    pg.client_sends(parse("", "SELECT a"), bind("", ""), execute(""), FLUSH)
    pg.admit(pg.prechecked())
    pg.release(pg.issued(), limits=[Limit("few", rows=0)])
    pg.to_target()
    pg.target_sends(PARSED, BOUND, row(b"1"), tag("SELECT 1"))
    pg.cancels()
    assert pg.to_target() == of(FAILING_PARSE)
    pg.client_sends(parse("", "INSERT"), bind("", ""), execute(""), SYNC).cancelled()
    assert pg.to_target() == of(SYNC)
    pg.target_sends(failed(), ready("I"))
    assert pg.to_client() == [*of(PARSED, BOUND), error("54000"), *of(ready("I"))]
    pg.nothing()


def test_a_result_with_batches_behind_it_is_swallowed_and_never_cancelled() -> None:
    pg = converse()
    pg.client_sends(query("SELECT a"), query("SELECT b"))
    pg.release(pg.issued(), limits=[Limit("few", rows=1)])
    pg.release(pg.issued())
    pg.target_sends(columns("a"), row(b"1"), row(b"2")).nothing()
    pg.target_sends(tag("SELECT 2"), ready("I"), columns("b"), row(b"3"), tag("SELECT 1"))
    pg.target_sends(ready("I"))
    first = [*of(columns("a"), row(b"1")), error("54000"), *of(ready("I"))]
    assert pg.to_client() == [*first, *of(columns("b"), row(b"3"), tag("SELECT 1"), ready("I"))]


def test_a_portal_is_limited_over_all_its_executes() -> None:
    pg = converse()
    pg.client_sends(parse("", "SELECT a"), bind("p", ""), execute("p", 2), FLUSH)
    pg.admit(pg.prechecked())
    pg.release(pg.issued(), limits=[Limit("few", rows=3)])
    pg.target_sends(PARSED, BOUND, row(b"1"), row(b"2"), replies.PORTAL_SUSPENDED)
    assert pg.to_client() == of(PARSED, BOUND, row(b"1"), row(b"2"), replies.PORTAL_SUSPENDED)
    pg.client_sends(execute("p", 2), SYNC).target_sends(row(b"3"), row(b"4"))
    assert pg.to_client() == of(row(b"3"))


def test_a_part_of_a_large_row_that_left_is_followed_by_its_rest() -> None:
    pg = converse()
    op = pg.client_sends(query("SELECT a")).issued()
    pg.release(op).target_sends(columns("a"))
    large = row(b"x" * 3_000_000)
    pg.target_sends(large[:100])
    pg.codec.notify("a notice in the middle")
    pg.stop(op, "the quota is used up")
    pg.target_sends(large[100:], row(b"2"), failed("57014"), ready("I"))
    shown = pg.to_client()
    assert shown == [*of(columns("a"), large), notice(), error("54000"), *of(ready("I"))]


def test_a_row_too_large_to_be_masked_does_not_leave() -> None:
    pg = converse(limits=Limits(row_bytes=1000))
    pg.release(pg.client_sends(query("SELECT a")).issued(), masks=[TEXTS])
    pg.target_sends(columns("a"))
    assert "violation" in pg.target_sends(row(b"x" * 2000)).closed()
    assert b"xxx" not in b"".join(shape.raw for shape in pg.to_client())


# --- policy and catalogue that change


def test_a_statement_is_decided_again_when_it_runs_under_another_policy() -> None:
    session = Session()
    pg = session.dialogue()
    pg.client_sends(parse("s", "DELETE a"), bind("p", "s"), FLUSH).allow_all()
    session.revision = "r2"
    op = pg.client_sends(execute("p"), SYNC).issued()
    assert op.text == "DELETE a"
    pg.to_target()
    pg.refuse(op)
    assert pg.to_target() == of(FAILING_PARSE, SYNC)


def test_a_policy_that_changes_while_a_statement_waits_is_asked_before_it_runs() -> None:
    session = Session()
    pg = session.dialogue()
    pg.client_sends(parse("s", "DELETE a")).allow_all()
    held = pg.client_sends(bind("p", "s"), execute("p"), SYNC).issued()
    session.revision = "r2"
    assert pg.release(held).issued().text == "DELETE a"
    assert pg.to_target() == of(parse("s", "DELETE a"), bind("p", "s"))


def test_a_statement_is_decided_once_while_nothing_changes() -> None:
    pg = converse()
    pg.client_sends(parse("s", "DELETE a"), bind("p", "s"), execute("p"), SYNC).allow_all()
    pg.nothing()
    assert len(pg.to_target()) == 4


def test_ddl_makes_the_catalogue_unknown_until_it_was_heard() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("CREATE TABLE t")).issued())
    pg.target_sends(tag("CREATE TABLE"), ready("I")).touched()


def test_ddl_in_a_transaction_touches_the_catalogue_at_its_end() -> None:
    pg = converse()
    pg.client_sends(query("BEGIN")).allow_all().target_sends(tag("BEGIN"), ready("T"))
    pg.client_sends(query("DROP TABLE t")).allow_all().target_sends(tag("DROP TABLE"), ready("T"))
    pg.nothing()
    pg.client_sends(query("COMMIT")).allow_all().target_sends(tag("COMMIT"), ready("I"))
    pg.touched()


def test_a_name_that_did_not_resolve_waits_once() -> None:
    session = Session()
    session.classifier.needs["SELECT new"] = "catalogue"
    pg = session.dialogue()
    assert pg.client_sends(query("SELECT new")).waits().need == "catalogue"
    assert pg.resume().issued().text == "SELECT new"


# --- names


def test_a_name_never_means_what_the_server_did_not_take() -> None:
    """A Parse over a taken name fails; what runs under it is still decided as the old text."""
    pg = converse()
    pg.client_sends(parse("s", "DELETE a"), SYNC).allow_all().target_sends(PARSED, ready("I"))
    pg.client_sends(parse("s", "SELECT 1"), SYNC).allow_all()
    pg.client_sends(bind("", "s"), execute(""), SYNC).nothing()
    pg.target_sends(failed("42P05"), ready("I"))
    assert pg.issued().text == "DELETE a"


def test_a_close_that_was_discarded_leaves_the_name_as_it_was() -> None:
    pg = converse()
    pg.client_sends(parse("s", "DELETE a"), SYNC).allow_all().target_sends(PARSED, ready("I"))
    pg.client_sends(parse("", "SELECT bad"), close("S", "s"), SYNC).allow_all()
    pg.target_sends(failed("42601"), ready("I"))
    assert pg.client_sends(bind("", "s")).issued().text == "DELETE a"


def test_names_that_nobody_made_are_refused_as_the_server_would() -> None:
    pg = converse()
    pg.client_sends(bind("", "nobody"), SYNC).nothing()
    assert pg.to_client() == [error("26000"), *of(ready("I"))]
    pg.client_sends(execute("nobody"), SYNC).nothing()
    assert pg.to_client() == [error("34000"), *of(ready("I"))]
    assert pg.to_target() == []


def test_what_sql_prepared_or_declared_is_decided_as_what_it_is() -> None:
    pg = converse()
    pg.client_sends(query("BEGIN")).allow_all().target_sends(tag("BEGIN"), ready("T"))
    for text in ("PREPARE p AS DELETE", "DECLARE c CURSOR"):
        pg.client_sends(query(text)).allow_all().target_sends(tag("DONE"), ready("T"))
    pg.to_target()
    op = pg.client_sends(bind("", "p"), execute("c"), SYNC).issued()
    assert op.text == 'EXECUTE "p"'
    assert pg.release(op).issued().text == 'FETCH ALL FROM "c"'
    assert pg.to_target() == of(bind("", "p"))


def test_sql_that_takes_a_name_over_is_believed() -> None:
    pg = converse()
    pg.client_sends(parse("s", "SELECT 1"), SYNC).allow_all().target_sends(PARSED, ready("I"))
    for text in ("DEALLOCATE s", "PREPARE s AS DELETE"):
        pg.client_sends(query(text)).allow_all().target_sends(tag("DONE"), ready("I"))
    assert pg.client_sends(bind("", "s")).issued().text == 'EXECUTE "s"'


def test_statements_and_portals_are_bounded() -> None:
    pg = converse(limits=Limits(statements=2, portals=2, statement_bytes=100))
    for name in ("a", "b"):
        pg.client_sends(parse(name, "SELECT 1"), SYNC).allow_all().target_sends(PARSED, ready("I"))
    pg.to_client()
    pg.client_sends(parse("c", "SELECT 1"), SYNC).nothing()
    assert pg.to_client() == [error("54000"), *of(ready("I"))]
    pg.client_sends(close("S", "a"), SYNC).target_sends(CLOSED, ready("I"))
    pg.client_sends(parse("c", "SELECT " + "1" * 200), SYNC).nothing()
    pg.to_client()
    pg.client_sends(parse("c", "SELECT 1"), bind("p", "b"), bind("q", "b")).allow_all()
    pg.to_target()
    pg.client_sends(bind("r", "b"), SYNC).nothing()
    assert pg.to_target() == of(FAILING_PARSE, SYNC)


def test_a_batch_waits_for_an_earlier_one_that_changes_what_names_mean() -> None:
    session = Session()
    pg = session.dialogue()
    pg.client_sends(query("SET search_path TO other")).allow_all()
    pg.client_sends(query("SELECT t")).nothing()
    pg.target_sends(failed("22023"), ready("I"))
    assert pg.issued().text == "SELECT t"
    assert session.classifier.asked[-1][1].search_path == ("$user", "public")


def test_reads_are_pipelined_without_waiting() -> None:
    pg = converse()
    for _ in range(5):
        pg.client_sends(parse("", "SELECT 1"), bind("", ""), execute(""), SYNC).allow_all()
    assert len(pg.to_target()) == 20


# --- COPY


def test_copied_rows_stream() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("COPY t FROM stdin")).issued())
    data = messages.copy_data(b"1\n")
    pg.client_sends(data).nothing()
    pg.to_target()
    header = replies.copy_response(frames.COPY_IN, replies.CopyHeader(0, (0,)))
    pg.target_sends(header)
    assert pg.to_target() == of(data)
    pg.client_sends(SYNC, FLUSH)
    assert pg.to_target() == []
    pg.client_sends(messages.COPY_DONE).target_sends(tag("COPY 1"), ready("I"))
    assert pg.to_client() == of(header, tag("COPY 1"), ready("I"))
    (recorded,) = pg.records(ResultRows)
    assert (recorded.direction, recorded.encoding) == ("in", "postgres/copy")


def test_other_messages_during_a_copy_end_the_session() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("COPY t FROM stdin")).issued())
    pg.target_sends(replies.copy_response(frames.COPY_IN, replies.CopyHeader(0, (0,))))
    assert "unexpected message type 0x51" in pg.client_sends(query("SELECT 1")).closed()
    assert pg.to_client()[-1] == error("08P01")


def test_rows_that_nobody_copies_are_dropped() -> None:
    pg = converse()
    pg.client_sends(messages.copy_data(b"1\n"), messages.COPY_DONE, messages.copy_fail("x"))
    large = messages.copy_data(b"x" * 3_000_000)
    pg.client_sends(large[:50]).client_sends(large[50:]).nothing()
    assert pg.to_target() == []


def test_a_copy_whose_columns_are_unclear_is_refused_where_masks_apply() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("COPY t TO stdout")).issued(), masks=[EMAILS])
    assert pg.to_target() == []
    assert pg.to_client() == [error("42501"), *of(ready("I"))]


def test_copied_rows_are_masked() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("COPY known TO stdout")).issued(), masks=[EMAILS])
    header = replies.copy_response(frames.COPY_OUT, replies.CopyHeader(0, (0, 0)))
    pg.target_sends(header, messages.copy_data(b"1\tada@"), messages.copy_data(b"example.com\n"))
    pg.target_sends(messages.COPY_DONE, tag("COPY 1"), ready("I"))
    shown = b"".join(shape.raw for shape in pg.to_client())
    assert b"ada@" not in shown
    assert b"1\t" in shown
    assert shown.endswith(tag("COPY 1") + ready("I"))
    assert b"ada@" not in b"".join(event.data for event in pg.records(ResultRows))


# --- rogue servers


@pytest.mark.parametrize(
    "reply",
    [
        row(b"1"),
        tag("SELECT 1"),
        ready("I"),
        PARSED,
        columns("a"),
        failed(),
        replies.authentication(3),
        replies.key_data(1, b"1234"),
        b"W\0\0\0\7\0\0\0",
        b"V\0\0\0\x08\xff\xff\xff\xff",
        b"D\0\0\0\6\xff\xff",
        b"Z\0\0\0\5Q",
        b"?\0\0\0\4",
        replies.parameter_status("client_encoding", "SQL_ASCII"),
    ],
)
def test_what_nobody_asked_for_ends_the_session(reply: bytes) -> None:
    pg = converse()
    with pytest.raises(ProtocolViolation) as caught:
        pg.target_sends(reply)
    assert caught.value.side == "target"
    assert [shape.raw[:1] for shape in pg.to_client()] == [b"E"]


def test_a_session_that_is_no_longer_read_only_ends() -> None:
    pg = converse(write=False)
    with pytest.raises(ProtocolViolation, match="read-only"):
        pg.target_sends(replies.parameter_status("default_transaction_read_only", "off"))


def test_more_results_than_statements_end_the_session() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT a")).issued())
    pg.target_sends(columns("a"), tag("SELECT 0"))
    pg.to_client()
    with pytest.raises(ProtocolViolation):
        pg.target_sends(columns("secrets"), row(b"1"))


def test_the_servers_last_word_reaches_the_client() -> None:
    pg = converse()
    pg.target_sends(replies.error("57P01", "going down", severity="FATAL")).target_leaves()
    assert pg.to_client() == [error("57P01")]
    assert "target" in pg.closed()


def test_the_end_from_outside_is_told_in_the_protocols_own_words() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT a")).issued()).to_target()
    pg.codec.end("the session was revoked", "57P01")
    (told,) = pg.to_client()
    assert (told.fields["S"], told.fields["C"]) == ("FATAL", "57P01")
    pg.client_sends(query("SELECT b")).target_sends(columns("a")).nothing()
    assert pg.to_client() == []


# --- bounds


def test_what_is_sent_behind_a_hold_is_bounded() -> None:
    from sallyport.protocols.base import Side

    pg = converse(limits=Limits(inbox=10_000))
    held = pg.client_sends(query("UPDATE a")).issued()
    sent = 0
    while pg.codec.wants(Side.CLIENT) and sent < 1_000_000:
        pg.client_sends(query("SELECT 1" + " " * 1000))
        sent += 1000
    assert 9_000 <= sent <= 12_000
    pg.refuse(held)
    while sent > 0:
        pg.allow_all()
        pg.target_sends(columns("a"), tag("SELECT 0"), ready("I"))
        sent -= 1000
    assert pg.codec.wants(Side.CLIENT)


def test_a_client_that_does_not_read_stops_the_target() -> None:
    from sallyport.protocols.base import Side

    pg = converse(limits=Limits(outbox=10_000))
    pg.release(pg.client_sends(query("SELECT a")).issued()).target_sends(columns("a"))
    sent = 0
    while pg.codec.wants(Side.TARGET) and sent < 1000:
        pg.target_sends(row(b"x" * 1000))
        sent += 1
    assert 9 <= sent <= 11


def test_a_cancel_holds_back_what_the_client_sends_next() -> None:
    pg = converse()
    pg.interrupt().nothing()
    pg.release(pg.client_sends(query("SELECT slow")).issued())
    pg.to_target()
    pg.interrupt().cancels()
    pg.target_sends(failed("57014"), ready("I"))
    pg.client_sends(query("SELECT next")).nothing()
    assert pg.cancelled().issued().text == "SELECT next"
