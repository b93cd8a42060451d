"""What changes beside the gateway: sessions that are open decide by it within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres.endpoint import LOOK_AGAIN, OVERDUE
from sallyport.protocols.postgres.late import PATIENCE
from tests.bypass.postgres.wire import SYNC, Wire, bind, execute, parse, query
from tests.support.gateway import EVERYTHING, Gateway

MASKS: list[dict[str, Any]] = [
    {
        "name": "by-name",
        "effect": "mask",
        "mask": {"columns": ["public.people.ssn"], "transform": "redact"},
    },
    {
        "name": "anywhere",
        "effect": "mask",
        "mask": {"columns": ["*.*.card"], "transform": "redact"},
    },
    {"name": "by-tag", "effect": "mask", "mask": {"tags": ["pii.*"], "transform": "redact"}},
]
WAIT = 2 * LOOK_AGAIN * OVERDUE
"""Seconds of silence after which the next statement is decided by what is true then: also where
comparing takes twice as long as it may before it is done less often."""

Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE beside OWNER app")
    postgres.psql(
        "SET ROLE app; CREATE TABLE people (id int PRIMARY KEY, ssn text);"
        "CREATE TABLE tagged (a int, b text); CREATE TABLE later (a int, b text);"
        "INSERT INTO people VALUES (1, '111-22'); INSERT INTO tagged VALUES (1, 'SECRETB');"
        "INSERT INTO later VALUES (1, 'SECRETB');"
        "CREATE VIEW shown AS SELECT id, 'x'::text AS x FROM people",
        "beside",
    )
    folder = tmp_path_factory.mktemp("beside")
    with Gateway(folder, postgres, database="beside", rules=[*EVERYTHING, *MASKS]) as running:
        yield running


@pytest.fixture
def session(gateway: Gateway) -> Iterator[Session]:
    with psycopg.connect(gateway.dsn(), autocommit=True) as opened:
        yield opened


def within_seconds(seen: Callable[[], object], wanted: object) -> None:
    """A busy session sees it before long."""
    deadline = time.monotonic() + 10 * WAIT
    while (found := seen()) != wanted:
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.02)


def test_a_comment_counts_in_sessions_that_are_open(
    gateway: Gateway, postgres: EmbeddedPostgres, session: Session
) -> None:
    query = "select b from tagged"
    assert session.execute(query).fetchall() == [("SECRETB",)]
    postgres.psql("COMMENT ON COLUMN tagged.b IS 'pii.name'", "beside")
    within_seconds(lambda: session.execute(query).fetchall(), [("[redacted]",)])


def test_after_silence_the_first_statement_is_decided_by_what_is_true_then(
    postgres: EmbeddedPostgres, session: Session
) -> None:
    """By the simple and the extended protocol, and by what the driver prepared long before."""
    query = b"select b from later where a = %s"
    for _ in range(8):  # the driver has prepared it by then
        assert session.execute(query, (1,), binary=True).fetchall() == [("SECRETB",)]
    postgres.psql("COMMENT ON COLUMN later.b IS 'pii.name'", "beside")
    time.sleep(WAIT)
    assert session.execute(query, (1,), binary=True).fetchall() == [("[redacted]",)]
    assert session.execute("select b from later").fetchall() == [("[redacted]",)]


def test_a_view_that_is_replaced_shows_nothing_raw(
    postgres: EmbeddedPostgres, session: Session
) -> None:
    assert session.execute("select x from shown").fetchall() == [("x",)]
    postgres.psql(
        "CREATE OR REPLACE VIEW shown AS SELECT id, (ssn || '')::text AS x FROM people", "beside"
    )
    time.sleep(WAIT)
    with session.pipeline():
        cursors = [session.execute(b"select x from shown where id = %s", (1,)) for _ in range(5)]
    assert [cursor.fetchall() for cursor in cursors] == [[(None,)]] * 5


def test_a_table_that_took_anothers_place_is_known(
    postgres: EmbeddedPostgres, session: Session
) -> None:
    postgres.psql(
        "SET ROLE app; CREATE TABLE free (id int, ssn text); INSERT INTO free VALUES (1, 'a')",
        "beside",
    )
    within_seconds(lambda: session.execute("select ssn from free").fetchall(), [("a",)])
    postgres.psql(
        "ALTER TABLE people RENAME TO was; ALTER TABLE free RENAME TO people;"
        "ALTER TABLE was RENAME TO free",
        "beside",
    )
    time.sleep(WAIT)
    assert session.execute("select upper(ssn) from people").fetchall() == [("[REDACTED]",)]
    postgres.psql("DROP TABLE people; ALTER TABLE free RENAME TO people", "beside")


def test_where_the_catalogue_cannot_be_looked_at_nothing_resolves(
    gateway: Gateway, postgres: EmbeddedPostgres, session: Session
) -> None:
    """The gateway's own connection is refused: what is known counts for a minute, then not."""
    query = "select upper(ssn) from people"
    assert session.execute(query).fetchall() == [("[REDACTED]",)]
    postgres.psql("ALTER ROLE app CONNECTION LIMIT 1")
    try:
        postgres.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'sallyport catalogue'"
        )
        time.sleep(WAIT)
        assert session.execute(query).fetchall() == [("[REDACTED]",)]
    finally:
        postgres.psql("ALTER ROLE app CONNECTION LIMIT -1")


def test_temporary_tables_are_shown_but_for_what_masks_mean_anywhere(session: Session) -> None:
    session.execute("create temp table own (i int, card text)")
    session.execute("insert into own values (1, 'mine')")
    assert session.execute("select i from own").fetchall() == [(1,)]
    assert session.execute("select i, card from own").fetchall() == [(None, None)]


def test_what_triggers_tell_of_rows_is_not_heard(
    postgres: EmbeddedPostgres, session: Session
) -> None:
    postgres.psql(
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
        " 'begin perform pg_notify(''rows'', row_to_json(new)::text); return new; end';"
        "CREATE TRIGGER told AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION tell()",
        "beside",
    )
    session.execute("LISTEN rows")
    postgres.psql("INSERT INTO people VALUES (7, '777-66')", "beside")
    session.execute("SELECT 1")
    heard = list(session.notifies(timeout=5, stop_after=1))
    assert [(one.channel, one.payload) for one in heard] == [("rows", "")]


WAITED = [
    (
        "select a from renewed",
        "CREATE OR REPLACE VIEW renewed AS SELECT id, ssn AS a FROM held",
    ),
    (
        "select upper(ssn) from stood",
        "ALTER TABLE held RENAME TO gone; ALTER TABLE stood RENAME TO held;"
        "ALTER TABLE gone RENAME TO stood",
    ),
    (
        "select upper(notes) from held",
        "ALTER TABLE held RENAME ssn TO third; ALTER TABLE held RENAME notes TO ssn;"
        "ALTER TABLE held RENAME third TO notes",
    ),
    ("select ssn::int from stood", "DROP TABLE stood; ALTER TABLE held RENAME TO stood"),
]


@pytest.mark.parametrize(
    ("way", "statement", "change"),
    [
        ("simple", *WAITED[0]),
        ("extended", *WAITED[0]),
        ("prepared", *WAITED[1]),
        ("simple", *WAITED[1]),
        ("copied", *WAITED[2]),
        ("simple", *WAITED[3]),
        ("extended", *WAITED[3]),
    ],
)
def test_what_a_statement_means_is_looked_at_again_after_it_waited(
    gateway: Gateway, postgres: EmbeddedPostgres, way: str, statement: str, change: str
) -> None:
    """Under the lock of somebody beside the gateway, who changes what its names mean."""
    make_held(postgres)
    with (
        psycopg.connect(postgres.uri("beside"), autocommit=False) as owner,
        psycopg.connect(gateway.dsn(), autocommit=True) as session,
        ThreadPoolExecutor(1) as pool,
    ):
        if way == "prepared":
            session.execute(f"prepare w as {statement}".encode())
        owner.execute(b"lock table held, stood, renewed in access exclusive mode")
        running = pool.submit(run, session, way, statement)
        until_it_waits(postgres)
        owner.execute(change.encode())
        time.sleep(PATIENCE + 0.1)
        owner.commit()
        assert "111-22" not in running.result(60)


def make_held(postgres: EmbeddedPostgres) -> None:
    """Make anew what statements wait for."""
    postgres.psql("DROP VIEW IF EXISTS renewed; DROP TABLE IF EXISTS held, stood", "beside")
    postgres.psql(
        "SET ROLE app; CREATE TABLE held (id int, ssn text, notes text);"
        "CREATE TABLE stood (id int, ssn text); INSERT INTO held VALUES (1, '111-22', 'n');"
        "INSERT INTO stood VALUES (1, '7');"
        "CREATE VIEW renewed AS SELECT id, 'x'::text AS a FROM held;"
        "COMMENT ON COLUMN held.ssn IS 'pii.ssn'",
        "beside",
    )


def until_it_waits(postgres: EmbeddedPostgres) -> None:
    """Return as soon as somebody waits for a lock of a relation."""
    waits = b"select count(*) from pg_locks where not granted and locktype = 'relation'"
    deadline = time.monotonic() + 10 * WAIT
    with psycopg.connect(postgres.uri("beside"), autocommit=True) as watch:
        while watch.execute(waits).fetchone() == (0,):
            assert time.monotonic() < deadline, "it does not wait"
            time.sleep(0.02)


def run(session: Session, way: str, statement: str) -> str:
    """What a client sees of a statement."""
    try:
        if way == "copied":
            with session.cursor() as cursor, cursor.copy(f"copy ({statement}) to stdout") as copy:
                return b"".join(bytes(part) for part in copy).decode()
        if way == "prepared":
            return str(session.execute(b"execute w").fetchall())
        return str(session.execute(statement.encode(), prepare=way == "extended").fetchall())
    except psycopg.Error as error:
        return str(error)


def test_what_waited_and_means_the_same_is_answered(
    postgres: EmbeddedPostgres, session: Session
) -> None:
    """Whatever else has changed meanwhile, and where nothing has."""
    query = b"select ssn, pg_sleep(1.2) from people where id = 1"
    assert session.execute(query).fetchall() == [("[redacted]", "")]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: session.execute(query, prepare=True).fetchall())
        postgres.psql("CREATE TABLE IF NOT EXISTS beside_it (a int)", "beside")
        assert running.result(60) == [("[redacted]", "")]
    assert session.execute(b"select 1").fetchall() == [(1,)]


def test_a_client_that_leaves_while_its_answer_is_looked_at(gateway: Gateway) -> None:
    for _ in range(3):
        left = psycopg.connect(gateway.dsn(), autocommit=True)
        left.pgconn.send_query(b"select ssn, pg_sleep(1.1) from people")
        time.sleep(1.1)
        left.pgconn.finish()
    with psycopg.connect(gateway.dsn(), autocommit=True) as session:
        shown = session.execute(b"select distinct ssn from people").fetchall()
        assert shown == [("[redacted]",)]


FETCHED = {
    "by-query": parse("", WAITED[1][0]) + bind("p") + query("fetch all from p"),
    "by-portal": parse("", WAITED[1][0])
    + bind("p")
    + parse("", "fetch all from p")
    + bind("q")
    + execute("q")
    + SYNC,
    "afterwards": parse("", WAITED[1][0]) + bind("p") + SYNC,
}


@pytest.mark.parametrize("way", FETCHED)
def test_a_portal_that_waited_is_looked_at_again_before_sql_fetches_from_it(
    gateway: Gateway, postgres: EmbeddedPostgres, way: str
) -> None:
    make_held(postgres)
    with (
        psycopg.connect(postgres.uri("beside"), autocommit=False) as owner,
        Wire(gateway.port, {"user": "app", "database": "db"}, gateway.agent) as session,
    ):
        time.sleep(WAIT)
        session.send(query("begin"))
        session.until_ready()
        owner.execute(b"lock table held, stood in access exclusive mode")
        session.send(FETCHED[way])
        until_it_waits(postgres)
        owner.execute(WAITED[1][1].encode())
        time.sleep(PATIENCE + 0.1)
        owner.commit()
        answers = session.until_ready()
        if way == "afterwards":
            session.send(query("fetch all from p"))
            answers = session.until_ready()
        assert "E" in [answer.kind for answer in answers]
        assert b"111-22" not in session.seen


def test_a_commit_that_took_long_is_not_told_of_as_failed(
    postgres: EmbeddedPostgres, session: Session
) -> None:
    """Whatever has changed meanwhile: it shows nothing, and it is done."""
    postgres.psql(
        "SET ROLE app; CREATE TABLE own_one (a int);"
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'begin perform pg_sleep({PATIENCE + 0.2}); return new; end';"
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON own_one DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION slowly()",
        "beside",
    )
    time.sleep(WAIT)
    with ThreadPoolExecutor(1) as pool:
        session.execute("BEGIN")
        session.execute("INSERT INTO own_one VALUES (1)")
        running = pool.submit(session.execute, b"COMMIT")
        postgres.psql("COMMENT ON COLUMN own_one.a IS 'pii.other'", "beside")
        assert running.result(60).statusmessage == "COMMIT"


def test_what_waited_among_others_of_one_message_and_means_the_same_is_answered(
    postgres: EmbeddedPostgres, session: Session
) -> None:
    time.sleep(WAIT)
    with ThreadPoolExecutor(1) as pool:
        query = f"select 1; select ssn, pg_sleep({PATIENCE + 0.2}) from people where id = 1"
        session.execute(b"select 1")
        running = pool.submit(lambda: session.execute(query.encode()))
        time.sleep(0.2)
        postgres.psql("CREATE TABLE beside_several (a int)", "beside")
        cursor = running.result(60)
        assert cursor.nextset() and cursor.fetchall() == [("[redacted]", "")]
