"""The text that the database gets has what makes the hashes in it: no client may read it back."""

from __future__ import annotations

import pytest

from tests.masking.oracle import Oracle, Step
from tests.masking.worlds import Worlds

FOLLOWED = "select upper(card_number) from payments order by id"
PORTAL: list[Step] = [
    "begin",
    {"raw": [["parse", "s", FOLLOWED], ["bind", "p", "s"], ["execute", "p", 1], "sync"]},
]


@pytest.mark.parametrize(
    "steps",
    [
        [f"select current_query(); {FOLLOWED}"],
        ["select md5(current_query()), upper(card_number) from payments"],
        [*PORTAL, "select md5(statement) from pg_cursors", "rollback"],
        [*PORTAL, "select c from pg_cursors c", "rollback"],
        [*PORTAL, "select statement from pg_cursor()", "rollback"],
        [f"prepare p as {FOLLOWED}", "select md5(statement) from pg_prepared_statements"],
        [f"prepare p as {FOLLOWED}", "select statement from pg_prepared_statement()"],
        [*PORTAL, "create temp table t as select * from pg_cursors", "rollback"],
        [*PORTAL, "create temp view t as select * from pg_cursors", "select * from t", "rollback"],
    ],
)
def test_who_gets_hashes_does_not_read_what_makes_them(gated: Oracle, steps: list[Step]) -> None:
    assert any("what makes the hashes" in one for one in gated.run(steps).refusals)


@pytest.mark.parametrize("source", ["pg_cursors", "pg_prepared_statements"])
def test_nor_through_a_view_that_is_there(worlds: Worlds, gated: Oracle, source: str) -> None:
    for admin in worlds.admins:
        admin.execute(f"create view public.texts as select md5(statement) as what from {source}")
        admin.execute("grant select on public.texts to public")
    try:
        steps: list[Step] = ["begin", f"declare c cursor for {FOLLOWED}", "select what from texts"]
        seen = gated.run([*steps, "rollback"])
    finally:
        for admin in worlds.admins:
            admin.execute("drop view public.texts")
    assert any("what makes the hashes" in one for one in seen.refusals)


def test_the_plan_of_a_prepared_statement_is_refused(gated: Oracle) -> None:
    steps: list[Step] = [f"prepare p as {FOLLOWED}", "explain (costs off, verbose) execute p"]
    assert len(gated.run(steps).refusals) == 1


KEPT = "select what from audit where id = 99"


@pytest.mark.parametrize(
    "steps",
    [
        ["update payments set amount = 1 where id = 1 returning upper(card_number), payments"],
        ["update payments set amount = 1 where id = 1 returning (select max(p.card_number) from payments p)"],
        [{"sql": "update payments set amount = 1 where id = $1 returning left(card_number, 3)", "args": [1]}],
        ["prepare p as update payments set amount = 1 where id = 1 returning lower(card_number)", "execute p"],
        [f"{FOLLOWED}; update payments set amount = 1 where id = 1"],
        [f"prepare p as {FOLLOWED}; update payments set amount = 1 where id = 1"],
        ["update payments set amount = 1 where id = 1", f"{FOLLOWED}; commit"],
    ],
)  # fmt: skip
def test_what_triggers_can_keep_has_nothing_that_makes_hashes(
    worlds: Worlds, gated: Oracle, steps: list[Step]
) -> None:
    made = (
        "create function public.keep() returns trigger language plpgsql as $$ begin "
        "insert into public.audit values (99, current_query()); return null; end $$",
        "create constraint trigger keep after update on public.payments for each row "
        "execute function public.keep()",
        "create constraint trigger keep_late after update on public.payments "
        "initially deferred for each row execute function public.keep()",
    )
    for admin in worlds.admins:
        for text in made:
            admin.execute(text)
    try:
        seen = gated.run(["begin", *steps, "commit", KEPT])
    finally:
        worlds.restore(["drop function public.keep() cascade"])
    assert not seen.refusals and not seen.errors
    assert not seen.difference
    kept = str([cells for kind, cells in seen.seen[0] if kind == "D"]).lower()
    assert ("payments" in kept or "execute p" in kept) and "convert_to" not in kept


def test_what_no_trigger_sees_is_hashed(gated: Oracle) -> None:
    for sent in (FOLLOWED, f"begin; {FOLLOWED}; rollback"):
        rows = [cells for kind, cells in gated.run([sent]).seen[0] if kind == "D"]
        assert rows and b"REDACTED" not in str(rows).encode()


def test_what_shows_no_text_is_let_go(gated: Oracle) -> None:
    assert not gated.run(["select name from pg_cursors"]).refusals


def test_what_the_server_logs_is_not_shown(worlds: Worlds, gated: Oracle) -> None:
    """Whether a statement is logged is the server's to say, what is sent of that the client's."""
    admin = worlds.admins[0]
    admin.execute("alter database world_a set log_statement = 'all'")
    try:
        steps: list[Step] = ["set client_min_messages = log", FOLLOWED]
        seen = str(gated.run(steps, {"application_name": "logged"}).seen[0])
    finally:
        admin.execute("alter database world_a reset log_statement")
    assert "hidden by the gateway: what the server logs" in seen
    assert "CASE" not in seen


def test_a_comment_ends_with_its_statement(gated: Oracle) -> None:
    sent = f"select 1 -- one\n; {FOLLOWED} -- two\n; select 2 -- three"
    seen = gated.run([sent]).seen[0]
    assert [what for kind, what in seen if kind == "C"] == [
        b"SELECT 1\0", b"SELECT 7\0", b"SELECT 1\0"
    ]  # fmt: skip
