"""The codec between real clients and a real PostgreSQL: nothing changes unless it is meant to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import pq

from sallyport.core.decision import Allow, Deny, Limit, Mask
from sallyport.core.event import ResultEnded, ResultRows
from sallyport.core.operation import Operation
from sallyport.demo.server import EmbeddedPostgres
from tests.unit.protocols.postgres.proxy import Proxy, allow

Open = Callable[..., Proxy]


@pytest.fixture
def opened(postgres: EmbeddedPostgres) -> Iterator[Open]:
    proxies: list[Proxy] = []

    def make(**options: object) -> Proxy:
        address = ("127.0.0.1", postgres.port)
        proxy = Proxy(address, "app", "app-password", "app", **options)  # type: ignore[arg-type]
        proxies.append(proxy.__enter__())
        return proxy

    yield make
    for proxy in proxies:
        proxy.__exit__()


def refusing(word: str) -> Callable[[Operation], Allow | Deny]:
    def decide(operation: Operation) -> Allow | Deny:
        if word in operation.text:
            return Deny(("no-" + word,), f"{word} is not for you", "ask")
        return allow(operation)

    return decide


def connect(proxy: Proxy, **options: object) -> psycopg.Connection:
    return psycopg.connect(proxy.dsn, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [65536, 1])
def test_queries_of_both_protocols_pass(opened: Open, chunk: int) -> None:
    proxy = opened(chunk=chunk)
    with connect(proxy, autocommit=True) as connection:
        assert connection.execute("select 1, 'a', null").fetchall() == [(1, "a", None)]
        rows = connection.execute("select %s::int + 1, %s::text", (1, "x"), prepare=True)
        assert rows.fetchall() == [(2, "x")]
        assert connection.execute("select %s::int", (7,), binary=True).fetchone() == (7,)
        size = 3_000_000 if chunk > 1 else 3_000
        big = connection.execute("select repeat('x', %s)", (size,)).fetchone()
        assert big is not None and len(big[0]) == size


def test_a_pipeline_with_an_error_in_the_middle(opened: Open) -> None:
    with connect(opened(), autocommit=True) as connection:
        connection.execute("create temp table t (x int primary key)")
        with pytest.raises(psycopg.errors.UniqueViolation), connection.pipeline():
            connection.execute("insert into t values (1)")
            connection.execute("insert into t values (1)")
            connection.execute("insert into t values (2)")
        assert connection.execute("select count(*) from t").fetchone() == (0,)


def test_a_refusal_mid_pipeline_rolls_its_batch_back(opened: Open) -> None:
    with connect(opened(decide=refusing("values (2)")), autocommit=True) as connection:
        connection.execute("create temp table t (x int primary key)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.pipeline():
            connection.execute("insert into t values (1)")
            connection.execute("insert into t values (2)")
            connection.execute("insert into t values (3)")
        assert connection.execute("select count(*) from t").fetchone() == (0,)


def test_a_refusal_aborts_a_transaction_and_commit_rolls_back(opened: Open) -> None:
    with connect(opened(decide=refusing("delete")), autocommit=True) as connection:
        connection.execute("create temp table t (x int)")
        connection.execute("begin")
        connection.execute("insert into t values (1)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            connection.execute("delete from t")
        assert caught.value.diag.message_primary == "refused by rule `no-delete`"
        assert caught.value.diag.message_detail == "delete is not for you"
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("select 1")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("delete from t")
        assert connection.execute("commit").statusmessage == "ROLLBACK"
        assert connection.execute("select count(*) from t").fetchone() == (0,)


def test_a_refusal_inside_a_savepoint_is_taken_back_with_it(opened: Open) -> None:
    with connect(opened(decide=refusing("delete")), autocommit=True) as connection:
        connection.execute("create temp table t (x int)")
        connection.execute("begin")
        connection.execute("insert into t values (1)")
        connection.execute("savepoint s")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from t")
        connection.execute("rollback to savepoint s")
        connection.execute("commit")
        assert connection.execute("select count(*) from t").fetchone() == (1,)


def test_a_refused_statement_of_several_runs_none(opened: Open) -> None:
    with connect(opened(decide=refusing("delete")), autocommit=True) as connection:
        connection.execute("create temp table t (x int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("insert into t values (1); delete from t; select 1")
        assert connection.execute("select count(*) from t").fetchone() == (0,)


def test_the_unnamed_statement_survives_a_refusal(opened: Open) -> None:
    with connect(opened(decide=refusing("delete")), autocommit=True) as connection:
        raw = connection.pgconn
        assert raw.prepare(b"", b"select $1::int").status == pq.ExecStatus.COMMAND_OK
        assert raw.prepare(b"n", b"delete from pg_class").status == pq.ExecStatus.COMMAND_OK
        refused = raw.exec_prepared(b"n", None)
        assert refused.error_field(pq.DiagnosticField.SQLSTATE) == b"42501"
        assert raw.exec_prepared(b"", [b"7"]).get_value(0, 0) == b"7"


def test_copy_in_both_directions(opened: Open) -> None:
    proxy = opened()
    with connect(proxy, autocommit=True) as connection:
        connection.execute("create temp table t (x int, y text)")
        with connection.cursor().copy("copy t from stdin") as copy:
            for number in range(5000):
                copy.write_row((number, "y" * 50))
        with connection.cursor().copy("copy t to stdout") as copy:
            assert sum(1 for _ in copy.rows()) == 5000
        with (
            pytest.raises(psycopg.errors.InvalidTextRepresentation),
            connection.cursor().copy("copy t from stdin") as copy,
        ):
            copy.write("not a number\tx\n" * 1000)
        assert connection.execute("select count(*) from t").fetchone() == (5000,)
    inward = [e for e in proxy.recorded if isinstance(e, ResultRows) and e.direction == "in"]
    assert sum(event.rows for event in inward) > 0


def test_a_refused_copy_drops_what_the_client_sends_anyway(opened: Open) -> None:
    with connect(opened(decide=refusing("copy")), autocommit=True) as connection:
        connection.execute("create temp table t (x int)")
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            connection.cursor().copy("copy t from stdin") as copy,
        ):
            copy.write("1\n")
        assert connection.execute("select count(*) from t").fetchone() == (0,)


def test_a_row_limit_ends_the_result_and_the_next_statement_is_not_hit(opened: Open) -> None:
    def decide(operation: Operation) -> Allow | Deny:
        return allow(operation, limits=(Limit("few", rows=10),))

    proxy = opened(decide=decide)
    with connect(proxy, autocommit=True) as connection:
        for _ in range(20):
            with pytest.raises(psycopg.errors.ProgramLimitExceeded) as caught:
                connection.execute("select * from generate_series(1, 1000000)")
            assert "few" in str(caught.value)
            assert connection.execute("select 1").fetchone() == (1,)
            with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                connection.execute("select * from generate_series(1, %s)", (11,), prepare=True)
            assert connection.execute("select 2", prepare=True).fetchone() == (2,)
    ends = [e for e in proxy.recorded if isinstance(e, ResultEnded) and e.code == "54000"]
    assert len(ends) == 40
    assert {end.rows for end in ends} == {10}


def test_a_limit_in_a_transaction_aborts_it(opened: Open) -> None:
    def decide(operation: Operation) -> Allow | Deny:
        return allow(operation, limits=(Limit("few", rows=10),))

    with connect(opened(decide=decide), autocommit=True) as connection:
        connection.execute("create temp table t (x int)")
        for statement in (
            "select * from generate_series(1, 11)",
            "select * from generate_series(1, 900000)",
        ):
            for prepare in (False, True):
                connection.execute("begin")
                connection.execute("insert into t values (1)")
                with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                    connection.execute(statement, prepare=prepare)
                with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                    connection.execute("select 1")
                assert connection.execute("commit").statusmessage == "ROLLBACK"
        assert connection.execute("select count(*) from t").fetchone() == (0,)


def test_detectors_mask_both_formats_and_cached_descriptions(opened: Open) -> None:
    def decide(operation: Operation) -> Allow | Deny:
        return allow(operation, masks=(Mask("pii", "redact", detectors=("email",)),))

    with connect(opened(decide=decide), autocommit=True) as connection:
        text = "select 'ada@example.com'::text, 1"
        for binary in (False, True):
            for prepare in (False, True):
                for _ in range(3):
                    row = connection.execute(text, prepare=prepare, binary=binary).fetchone()
                    assert row is not None
                    assert "ada@example.com" not in row[0]
                    assert row[1] == 1
        with pytest.raises(psycopg.errors.InvalidTextRepresentation) as caught:
            connection.execute("select 'ada@example.com'::int")
        assert "ada@example" not in str(caught.value)


def test_portals_with_row_limits(opened: Open) -> None:
    with connect(opened()) as connection, connection.cursor("c") as cursor:
        cursor.itersize = 10
        cursor.execute("select * from generate_series(1, 105)")
        assert sum(1 for _ in cursor) == 105


def test_notify_notice_and_parameters_pass(opened: Open) -> None:
    with connect(opened(), autocommit=True) as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda diag: notices.append(diag.message_primary or ""))
        connection.execute("drop table if exists absent")
        assert notices == ['table "absent" does not exist, skipping']
        connection.execute("listen channel")
        connection.execute("notify channel, 'payload'")
        assert next(connection.notifies(timeout=5)).payload == "payload"
        connection.execute("set application_name = 'other'")
        assert connection.pgconn.parameter_status(b"application_name") == b"other"
