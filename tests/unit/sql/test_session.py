"""A session's state follows what the server does, checked on the server itself."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sallyport.sql.session import SessionState, split_path
from sallyport.sql.statement import Change, Setting
from tests.unit.sql.conftest import Connection, Reader


def path(read: Reader, *texts: str) -> tuple[str, ...] | None:
    for text in texts:
        read.run(text)
    return read.state.search_path


def test_set_is_undone_by_rollback(read: Reader) -> None:
    assert path(read, "begin", "set search_path = sales") == ("sales",)
    assert path(read, "rollback") == ("$user", "public")


def test_set_local_ends_with_the_transaction(read: Reader) -> None:
    assert path(read, "begin", "set search_path = a", "set local search_path = b") == ("b",)
    assert path(read, "commit") == ("a",)


def test_savepoints_take_settings_back(read: Reader) -> None:
    texts = ("begin", "savepoint s", "set search_path = a", "savepoint t", "set search_path = b")
    assert path(read, *texts) == ("b",)
    assert path(read, "rollback to t") == ("a",)
    assert path(read, "release s") == ("a",)
    assert path(read, "commit") == ("a",)


def test_an_error_takes_an_implicit_transaction_back(read: Reader) -> None:
    read.run("set search_path = a")
    assert read.state.failed().search_path == ("$user", "public")


def test_an_error_in_a_block_waits_for_its_end(read: Reader) -> None:
    read.run("begin")
    read.run("set search_path = a")
    failed = read.state.failed().ready("E")
    assert failed.aborted
    assert failed.changed(Change("commit")).search_path == ("$user", "public")


def test_a_block_that_ended_unseen_leaves_doubt(read: Reader) -> None:
    before = SessionState.start("d", "u", None, 15)
    inside = before.changed(Change("begin")).changed(
        Change("set", settings=(Setting("search_path", ("a",)),))
    )
    assert inside.ready("I").search_path is None


def test_opaque_code_makes_the_path_unknown_until_the_server_reports() -> None:
    state = SessionState.start("d", "u", None, 18).changed(Change("opaque", opaque=True))
    assert state.search_path is None
    assert not state.scope.strings
    assert state.ready("I").search_path == ("$user", "public")
    reported = state.reported("search_path", 'evil, "Odd One"').ready("I")
    assert reported.search_path == ("evil", "Odd One")


def test_before_18_the_path_stays_unknown_until_it_is_set() -> None:
    state = SessionState.start("d", "u", None, 15).changed(Change("opaque", opaque=True))
    state = state.ready("I")
    assert state.search_path is None
    assert state.scope.strings
    again = state.changed(Change("set", settings=(Setting("search_path", ("a",)),)))
    assert again.search_path == ("a",)
    assert state.changed(Change("discard-all")).search_path == ("$user", "public")


def test_prepared_statements_survive_a_rollback_and_cursors_do_not(read: Reader) -> None:
    read.run("begin")
    read.run("prepare p as select 1")
    read.run("declare c cursor for select 1")
    read.run("declare h cursor with hold for select 1")
    read.run("commit")
    assert read.state.prepared_text("p") == "prepare p as select 1"
    assert read.state.cursor_text("c") is None
    assert read.state.cursor_text("h") is not None
    read.run("discard all")
    assert read.state.prepared_text("p") is None


def test_temporary_relations_outlive_a_commit_and_not_a_rollback(read: Reader) -> None:
    read.run("create temp table t (a int)")
    read.state = read.state.ready("I")
    assert not read.one("select a from t").unresolved
    read.run("begin")
    read.run("create temp table u (a int)")
    read.run("create temp table w (a int) on commit drop")
    read.run("drop table t")
    assert read.one("select a from t").unresolved
    undone = read.state.changed(Change("rollback"))
    kept = read.state.changed(Change("commit"))
    read.state = undone
    assert read.one("select a from u").unresolved
    assert not read.one("select a from t").unresolved
    read.state = kept
    assert not read.one("select a from u").unresolved
    assert read.one("select a from w").unresolved


_STEPS = st.sampled_from(
    [
        "begin", "commit", "rollback", "savepoint s", "rollback to s", "release s", "savepoint t",
        "rollback to t", "set search_path = sales", "set search_path = hidden, public",
        "set local search_path = sales, hidden", "set search_path to default", "reset search_path",
        "reset all", "select 1 / 0", "commit and chain", "rollback and chain",
        "select set_config('search_path', 'hidden', true)", "set search_path = ''",
        "select set_config('search_path', 'sales,\"Odd\"', false)", "set schema 'sales'",
    ]
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(_STEPS, max_size=9))
def test_any_sequence_ends_where_the_server_ends(
    server: Connection, read: Reader, steps: list[str]
) -> None:
    """The model of SET, savepoints and errors against the server's own answer."""
    server.execute("rollback")
    server.execute("discard all")
    state = SessionState.start("understanding", "postgres", None, 15)
    for step in steps:
        statement = read.classifier.classify(step, state, read.catalogue).statements[0]
        try:
            server.execute(step.encode())
            state = state.after(statement)
        except psycopg.Error:
            state = state.failed()
        status = {0: "I", 2: "T", 3: "E"}[server.info.transaction_status.value]
        state = state.ready(status)
    if server.info.transaction_status.value == 3:
        server.execute("rollback")
        state = state.changed(Change("rollback"))
    row = server.execute("show search_path").fetchone()
    assert row is not None
    assert state.search_path == split_path(str(row[0])) or state.search_path == ("",) == row[0]
    server.execute("rollback")


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        ('"$user", public', ("$user", "public")),
        ("a,b", ("a", "b")),
        ('"a,b", "c""d"', ("a,b", 'c"d')),
        ("", ()),
        ('""', ("",)),
        ("Upper", ("upper",)),
        ('"open', None),
    ],
)
def test_a_shown_path_is_read(shown: str, names: tuple[str, ...] | None) -> None:
    assert split_path(shown) == names


def test_what_a_session_keeps_is_bounded(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sallyport.sql.session.MAX_NAMED", 3)
    monkeypatch.setattr("sallyport.sql.session.MAX_NAMED_SIZE", 60)
    monkeypatch.setattr("sallyport.sql.session.MAX_RELATIONS", 3)
    for number in range(5):
        read.run(f"prepare p{number} as select 1")
    assert [name for name, *_ in read.state.prepared] == ["p3", "p4"]
    assert read.one("execute p0").unresolved
    for number in range(4):
        assert not read.one("select * from public.customers").unresolved
        read.run(f"create temp table t{number} (a int)")
    read.state = read.state.ready("I")
    assert read.one("select * from public.customers").unresolved


def test_execute_is_never_what_another_session_prepared(read: Reader) -> None:
    other = Reader(read.catalogue, read.state)
    other.classifier = read.classifier
    read.run("prepare p as select 1")
    other.run("prepare p as delete from orders")
    assert read.one("execute p").effect.value == "read"
    assert other.one("execute p").effect.value == "write"
    assert read.one("execute p").effect.value == "read"
    assert Reader(read.catalogue, SessionState.start("d", "u")).one("execute p").unresolved


def test_a_prepared_statement_leaves_other_answers_cached(read: Reader) -> None:
    first = read.whole("select id from orders")
    read.run("prepare p as select 1")
    assert read.whole("select id from orders") is first


def test_what_was_prepared_before_a_relation_was_hidden_means_both(read: Reader) -> None:
    def relations(text: str) -> set[str]:
        return {resource.name for resource in read.one(text).resources if resource.kind == "table"}

    read.run("prepare p as select * from customers")
    assert relations("execute p") == {"public.customers"}
    read.run("create temp table customers (id int)")
    assert relations("execute p") == {"pg_temp.customers", "public.customers"}
    assert relations("explain execute p") == {"pg_temp.customers", "public.customers"}
    read.run("prepare q as select * from customers")
    assert relations("execute q") == {"pg_temp.customers", "public.customers"}
    read.run("drop table pg_temp.customers")
    read.run("create temp table customers (id int)")
    assert relations("execute q") == {"pg_temp.customers", "public.customers"}
    read.run("prepare r as select * from pg_temp.customers")
    read.run("create temp table other (id int)")
    assert relations("execute r") == {"pg_temp.customers"}


def test_an_era_never_comes_back(read: Reader) -> None:
    eras = [read.state.era]
    for text in ("begin", "create temp table t (a int)", "rollback", "create temp table t (a int)"):
        read.run(text)
        eras.append(read.state.era)
    assert eras[0] == eras[1]
    assert len(set(eras[1:])) == 4
