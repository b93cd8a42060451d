"""The guardrails against statements as they are really understood, on a real server's catalogue."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport import policy
from sallyport.core.operation import Operation, digest_of
from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres import catalog, catalog_queries
from sallyport.protocols.postgres.classify import Classifier
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import SessionState
from tests.unit.policy.requests import decide, policy_of

SCHEMA = """
CREATE TABLE customers (id int PRIMARY KEY, name text, ssn text);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, total numeric);
CREATE VIEW totals AS SELECT customer, sum(total) FROM orders GROUP BY customer;
CREATE SEQUENCE numbers;
CREATE FUNCTION shout() RETURNS text LANGUAGE sql AS 'SELECT ''x''';
"""

EVERYTHING = {"name": "everything", "effect": "allow"}
READS = {
    "name": "reads",
    "effect": "allow",
    "operations": {"effects": ["read"], "resources": {"table": ["public.*"], "view": ["public.*"]}},
}


@pytest.fixture(scope="module")
def snapshot(postgres: EmbeddedPostgres) -> Iterator[CatalogueSnapshot]:
    postgres.psql("CREATE DATABASE guardrails")
    postgres.psql(SCHEMA, "guardrails")
    rows: dict[str, list[list[str | None]]] = {}
    with psycopg.connect(postgres.uri("guardrails")) as connection:
        for name, query in catalog_queries.QUERIES.items():
            found = psycopg.ClientCursor(connection).execute(query).fetchall()
            rows[name] = [[None if v is None else _text(v) for v in row] for row in found]
    yield catalog.build(rows)
    postgres.psql("DROP DATABASE guardrails WITH (FORCE)")


def _text(value: object) -> str:
    return ("t" if value else "f") if isinstance(value, bool) else str(value)


def verdicts(
    compiled: policy.Policy, text: str, snapshot: CatalogueSnapshot, *, write: bool = True
) -> list[policy.Verdict]:
    state = SessionState.start("guardrails", "app", None, 18)
    found = []
    for number, statement in enumerate(Classifier().classify(text, state, snapshot).statements):
        operation = Operation(
            id=number,
            protocol="postgres",
            target="shop",
            verb=statement.verb,
            effect=statement.effect,
            resources=statement.resources,
            facts=statement.facts,
            text=statement.text,
            parameters=(),
            fingerprint=statement.fingerprint,
            digest=digest_of(statement.text),
        )
        found.append(decide(compiled, operation, write=write))
    return found


def verdict(
    compiled: policy.Policy, text: str, snapshot: CatalogueSnapshot, *, write: bool = True
) -> policy.Verdict:
    (only,) = verdicts(compiled, text, snapshot, write=write)
    return only


# --- what drivers send passes for a subject who may only read

BASICS = """
BEGIN
START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY
COMMIT
ROLLBACK
SAVEPOINT a; RELEASE a
SAVEPOINT a; ROLLBACK TO SAVEPOINT a
SELECT 1
SELECT now(), current_database(), version(), current_user
SELECT pg_catalog.pg_backend_pid(), current_schema()
SHOW transaction_isolation
SHOW standard_conforming_strings
SHOW ALL
SET client_encoding TO 'UTF8'
SET statement_timeout = 0
SET application_name = 'x'
SET search_path = public, pg_catalog
SET TIME ZONE 'UTC'
SET datestyle TO ISO
SET extra_float_digits = 3
SET standard_conforming_strings = on
SET default_transaction_read_only = on
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
SELECT pg_catalog.set_config('search_path', '', false)
SELECT set_config('jit', 'off', false)
RESET ALL
RESET search_path
DISCARD ALL
DISCARD TEMP
DEALLOCATE ALL
PREPARE p AS SELECT id FROM customers; EXECUTE p; DEALLOCATE p
DECLARE c CURSOR FOR SELECT id FROM customers; FETCH 10 FROM c; CLOSE c
CLOSE ALL
SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;
SELECT oid, typname FROM pg_type
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute WHERE attrelid = 'customers'::regclass
SELECT table_name FROM information_schema.tables
SELECT pg_get_viewdef('totals'::regclass)
EXPLAIN SELECT * FROM customers
SELECT * FROM customers
SELECT * FROM totals
""".strip().splitlines()


@pytest.mark.parametrize("text", BASICS)
def test_what_drivers_need_is_allowed(text: str, snapshot: CatalogueSnapshot) -> None:
    compiled = policy_of(READS, guardrails=True)
    for found in verdicts(compiled, text, snapshot, write=False):
        assert found.outcome == "allow", (found.rules, found.reason)


# --- what guardrails refuse, even to a subject to whom everything is allowed

REFUSED = """
no-destructive-ddl: DROP TABLE orders
no-destructive-ddl: DROP TABLE IF EXISTS orders, customers CASCADE
no-destructive-ddl: DROP VIEW totals
no-destructive-ddl: DROP SCHEMA public CASCADE
no-destructive-ddl: DROP DATABASE guardrails
no-destructive-ddl: TRUNCATE orders
no-destructive-ddl: ALTER TABLE customers DROP COLUMN ssn
no-destructive-ddl: ALTER TABLE orders ALTER COLUMN total TYPE int
no-replace: CREATE OR REPLACE VIEW totals AS SELECT 1 AS customer, 2 AS sum
no-replace: CREATE OR REPLACE FUNCTION shout() RETURNS text LANGUAGE sql AS 'SELECT 1::text'
no-intercepts: CREATE RULE r AS ON INSERT TO orders DO ALSO DELETE FROM customers
no-intercepts: CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION shout()
no-intercepts: ALTER TABLE orders DISABLE TRIGGER ALL
no-intercepts: CREATE POLICY p ON orders USING (true)
no-unfiltered-writes: DELETE FROM orders
no-unfiltered-writes: DELETE FROM orders WHERE true
no-unfiltered-writes: UPDATE customers SET name = 'x'
no-unfiltered-writes: UPDATE customers SET name = 'x' WHERE 1 = 1
no-unfiltered-writes: WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM d
no-unfiltered-writes: EXPLAIN ANALYZE DELETE FROM orders
no-unfiltered-writes: PREPARE p AS DELETE FROM orders
no-privileges: GRANT ALL ON customers TO public
no-privileges: REVOKE SELECT ON customers FROM app
no-privileges: CREATE ROLE eve LOGIN PASSWORD 'x'
no-privileges: ALTER ROLE app SUPERUSER
no-privileges: ALTER ROLE app SET search_path = evil
no-privileges: ALTER USER app PASSWORD 'x'
no-privileges: ALTER TABLE customers OWNER TO app
no-privileges: DROP OWNED BY app
no-privileges: REASSIGN OWNED BY app TO postgres
no-privileges: ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO public
no-privileges: SET ROLE postgres
no-privileges: SET SESSION AUTHORIZATION postgres
no-gate-weakening: SET standard_conforming_strings = off
no-gate-weakening: SET client_encoding = 'SJIS'
no-gate-weakening: SET session_replication_role = replica
no-gate-weakening: SET local_preload_libraries = 'x'
no-gate-weakening: SELECT set_config('session_replication_role', 'replica', false)
no-gate-weakening: SELECT set_config(name, 'x', false) FROM customers
no-server-files: COPY customers TO '/tmp/x'
no-server-files: COPY customers FROM '/etc/passwd'
no-server-files: COPY customers TO PROGRAM 'sh'
no-server-files: COPY (SELECT 1) TO PROGRAM 'sh'
no-server-files: SELECT pg_read_file('/etc/passwd')
no-server-files: SELECT * FROM pg_ls_dir('.')
no-server-files: LOAD 'x'
no-dynamic-sql: SELECT query_to_xml('DELETE FROM orders', true, true, '')
no-dynamic-sql: SELECT * FROM ts_stat('SELECT name::tsvector FROM customers')
no-large-objects: SELECT lo_create(1)
no-large-objects: SELECT lo_get(1)
no-large-objects: SELECT lo_import('/etc/passwd')
no-replication: SELECT pg_create_physical_replication_slot('x')
no-replication: CREATE PUBLICATION p FOR ALL TABLES
no-other-sessions: SELECT pg_terminate_backend(1)
no-other-sessions: SELECT pg_cancel_backend(pid) FROM pg_stat_activity
no-other-sessions: SELECT query FROM pg_stat_activity
no-catalogue-secrets: SELECT rolpassword FROM pg_authid
no-catalogue-secrets: SELECT * FROM pg_shadow
no-catalogue-secrets: SELECT most_common_vals FROM pg_stats
no-catalogue-secrets: SELECT * FROM pg_user_mappings
no-two-phase: PREPARE TRANSACTION 'x'
no-two-phase: COMMIT PREPARED 'x'
no-server-administration: ALTER SYSTEM SET work_mem = '1GB'
no-server-administration: CHECKPOINT
no-server-administration: CREATE EXTENSION dblink
no-server-changes: SELECT pg_reload_conf()
no-server-changes: SELECT pg_switch_wal()
no-server-changes: SELECT pg_promote()
no-server-changes: SELECT pg_backup_start('x')
no-server-changes: ALTER DATABASE app ALLOW_CONNECTIONS false
no-gate-weakening: ALTER DATABASE app SET session_preload_libraries = 'evil'
""".strip().splitlines()


@pytest.mark.parametrize("case", REFUSED)
def test_what_guardrails_refuse(case: str, snapshot: CatalogueSnapshot) -> None:
    name, _, text = case.partition(": ")
    everything = {
        "name": "everything-and-unknown",
        "effect": "allow",
        "operations": {"effects": ["read", "write", "admin", "unknown"]},
    }
    for compiled in (
        policy_of(EVERYTHING, guardrails=True),
        policy_of(everything, guardrails=True),
    ):
        found = verdict(compiled, text, snapshot)
        assert found.outcome == "deny"
    assert name in found.rules, (found.rules, found.reason)
    assert found.reason
    assert found.hint


# --- what stays unknown is refused without any guardrail's help

UNKNOWN = """
DO $$ BEGIN DELETE FROM orders; END $$
CALL something()
SELECT shout()
SELECT no_such_function(1)
SELECT * FROM no_such_table
SELEC 1
EXECUTE no_such_statement
FETCH ALL FROM no_such_cursor
""".strip().splitlines()


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_is_not_understood_is_refused(text: str, snapshot: CatalogueSnapshot) -> None:
    compiled = policy_of(EVERYTHING)
    assert [found.outcome for found in verdicts(compiled, text, snapshot)] == ["deny"]


# --- what a reader cannot do

WRITES = """
INSERT INTO orders VALUES (1, 1, 1)
UPDATE orders SET total = 0 WHERE id = 1
WITH x AS (INSERT INTO orders VALUES (1) RETURNING *) SELECT * FROM x
SELECT nextval('numbers')
SELECT * INTO copied FROM customers
CREATE TABLE copied AS SELECT * FROM customers
CREATE TEMPORARY TABLE scratch (a int)
EXPLAIN ANALYZE INSERT INTO orders VALUES (1, 1, 1)
COPY orders FROM STDIN
SELECT pg_notify('a', 'b')
NOTIFY a
SELECT pg_advisory_lock(1)
BEGIN READ WRITE
SET transaction_read_only = off
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE
SELECT pg_sleep(1)
SELECT shout() FROM customers
VACUUM
""".strip().splitlines()


@pytest.mark.parametrize("text", WRITES)
def test_a_reader_does_not_write(text: str, snapshot: CatalogueSnapshot) -> None:
    compiled = policy_of(READS, guardrails=True)
    assert verdict(compiled, text, snapshot, write=False).outcome == "deny"


# --- temporary tables are the session's own


@pytest.mark.parametrize(
    ("text", "outcomes"),
    [
        ("CREATE TEMP TABLE t (a int); DROP TABLE t", ["allow", "allow"]),
        ("CREATE TEMP TABLE t (a int); DELETE FROM t", ["allow", "allow"]),
        ("CREATE TEMP TABLE t (a int); DROP TABLE t, orders", ["allow", "deny"]),
        ("CREATE TEMP TABLE t (a int); TRUNCATE t, orders", ["allow", "deny"]),
        ("CREATE TEMP TABLE orders (a int); DROP TABLE public.orders", ["allow", "deny"]),
        ("CREATE TEMP TABLE t (a int); DELETE FROM t USING customers", ["allow", "deny"]),
    ],
)
def test_temporary_tables(text: str, outcomes: list[str], snapshot: CatalogueSnapshot) -> None:
    compiled = policy_of(EVERYTHING, guardrails=True)
    found = verdicts(compiled, text, snapshot)
    assert [each.outcome for each in found] == outcomes, [each.reason for each in found]


# --- masked columns


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("SELECT ssn FROM customers", "allow"),
        ("SELECT * FROM customers", "allow"),
        ("SELECT name FROM customers WHERE id = 1", "allow"),
        ("SELECT name FROM customers WHERE ssn LIKE '1%'", "deny"),
        ("SELECT upper(ssn) FROM customers", "deny"),
        ("SELECT name FROM customers ORDER BY ssn", "deny"),
        ("SELECT count(*) FROM customers GROUP BY ssn", "deny"),
        ("SELECT c FROM customers c", "deny"),
        ("SELECT to_json(c) FROM customers c", "deny"),
        ("SELECT (SELECT ssn FROM customers LIMIT 1)", "deny"),
        ("SELECT * FROM customers NATURAL JOIN customers AS o", "deny"),
    ],
)
def test_masked_columns(text: str, outcome: str, snapshot: CatalogueSnapshot) -> None:
    mask = {"name": "pii", "effect": "mask", "mask": {"columns": ["public.customers.ssn"]}}
    found = verdict(policy_of(READS, mask, guardrails=True), text, snapshot, write=False)
    assert found.outcome == outcome, found.reason
    if outcome == "deny":
        assert found.rules == ("pii",)
        assert "public.customers." in found.reason
