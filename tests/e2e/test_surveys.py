"""`sallyport discover` and `sallyport masks check` against a real gateway and a real database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import sallyport.supervisor as sallyport_package
from sallyport.demo.server import EmbeddedPostgres
from tests.e2e.test_command_line import sallyport
from tests.support.gateway import EVERYTHING, Gateway

SOURCES = Path(sallyport_package.__file__).parents[1]
HOSTILE = 'ev"il\nname: \x1b[31m*{x}, \\ \U0001f600'
MASKS = {
    "name": "hidden",
    "effect": "mask",
    "mask": {"columns": ["public.customers.{email,ssn}", "*.dated.day"], "transform": "partial"},
}
HASHED = {
    "name": "hashed",
    "effect": "mask",
    "mask": {"tags": ["secret.*"], "transform": "hash"},
}
CLASSES = {"classify": {"secret.token": ["public.customers.token"]}}
SCHEMA = """
SET ROLE app;
CREATE TABLE customers (
    id int PRIMARY KEY, name text, email varchar(80), ssn text, token text, notes text, plan text
);
INSERT INTO customers SELECT n, 'N' || n, 'person' || n || '@example.org',
    '219-09-' || 1000 + n, 'token-' || n,
    CASE WHEN n % 10 = 0 THEN 'write to someone' || n || '@example.org' ELSE 'nothing' END, 'basic'
FROM generate_series(1, 100) n;
CREATE INDEX by_email ON customers (lower(email));
CREATE INDEX by_ssn ON customers (ssn, id);
CREATE INDEX by_plan ON customers (plan, email);
CREATE SCHEMA audit;
CREATE TABLE audit.trail (who text, what text, plan text, at timestamptz DEFAULT now());
INSERT INTO audit.trail (who, what, plan)
    SELECT ' ' || upper(email), 'login', 'basic' FROM customers WHERE id <= 31;
CREATE TABLE contacts (
    id int, mails text[], card numeric, data jsonb, secret_word text, born text, big text
);
COMMENT ON COLUMN contacts.secret_word IS 'keep this: secret';
COMMENT ON COLUMN contacts.born IS 'class pii.birth-date';
COMMENT ON COLUMN contacts.id IS 'secretary''s number';
INSERT INTO contacts SELECT n, ARRAY['a' || n || '@example.org'], 4111111111111111,
    jsonb_build_object('deep', jsonb_build_array(jsonb_build_object('mail', 'x@example.org'))),
    'w', '1.1.1970', repeat('x', 1000000) FROM generate_series(1, 5) n;
CREATE TABLE dated (day date, n int) PARTITION BY RANGE (day);
CREATE TABLE dated_1 PARTITION OF dated DEFAULT;
CREATE VIEW somes WITH (security_barrier) AS SELECT id, name FROM customers WHERE email LIKE 'a%';
CREATE VIEW plain AS SELECT id, email FROM customers;
CREATE FUNCTION lower(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x' $$;
CREATE FUNCTION audit.upper(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x' $$;
CREATE FUNCTION own(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x' $$;
RESET ROLE;
CREATE TABLE shut (mail text);
INSERT INTO shut VALUES ('hidden@example.org');
"""


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE surveyed OWNER app")
    postgres.psql(SCHEMA, "surveyed")
    with psycopg.connect(postgres.uri("surveyed"), autocommit=True) as connection:
        name = psycopg.sql.Identifier(HOSTILE)
        connection.execute(psycopg.sql.SQL("CREATE TABLE {0} ({0} text)").format(name))
        connection.execute(
            psycopg.sql.SQL("INSERT INTO {} VALUES ('evil@example.org')").format(name)
        )
        connection.execute(psycopg.sql.SQL("ALTER TABLE {} OWNER TO app").format(name))
    folder = tmp_path_factory.mktemp("surveyed")
    rules = [*EVERYTHING, MASKS, HASHED]
    with Gateway(
        folder, postgres, database="surveyed", rules=rules, target=CLASSES, sources=SOURCES
    ) as running:
        yield running


def run(gateway: Gateway, *words: str, code: int = 0) -> str:
    environment = {"SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token}
    done = sallyport(*words, **environment, PYTHONPATH=str(SOURCES))
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def found(gateway: Gateway) -> dict[tuple[str, str], dict[str, Any]]:
    answer = json.loads(run(gateway, "discover", "db", "--json"))
    return {(f"{one['relation']}.{one['column']}", one["what"]): one for one in answer["found"]}


def test_samples_show_where_detectors_hit_and_never_a_value(gateway: Gateway) -> None:
    findings = found(gateway)
    mail = findings["public.customers.email", "email"]
    assert (mail["hits"], mail["rows"], mail["covered"]) == (100, 100, "column")
    assert mail["proposed"] == ""
    notes = findings["public.customers.notes", "email"]
    assert (notes["hits"], notes["rows"], notes["proposed"]) == (10, 100, "")
    assert findings["audit.trail.who", "email"]["proposed"] == "partial"
    assert findings["public.contacts.mails", "email"]["hits"] == 5
    assert findings["public.contacts.card", "card"]["proposed"] == "partial"
    assert findings["public.contacts.data", "email"]["hits"] == 5
    said = run(gateway, "discover", "db")
    assert "# public.customers.notes: 10 of 100 rows hold an email" in said
    assert "@example.org" not in said + json.dumps(list(findings.values()))
    assert "4111" not in said and "219-09" not in said


def test_tags_in_comments_are_proposed_and_words_like_them_are_not(gateway: Gateway) -> None:
    tagged = {name: one["proposed"] for (name, _), one in found(gateway).items() if not one["rows"]}
    assert tagged == {
        "public.contacts.secret_word": "redact",
        "public.contacts.born": "redact",
    }


def test_what_may_not_be_read_is_told_and_the_rows_are_bounded(gateway: Gateway) -> None:
    assert ("public.shut.mail", "email") not in found(gateway)
    few = json.loads(run(gateway, "discover", "db", "--rows", "7", "--json"))
    assert max(one["rows"] for one in few["found"]) == 7
    assert few["done"] == few["relations"]


def test_what_is_proposed_is_good_policy_and_then_covers(gateway: Gateway) -> None:
    said = run(gateway, "discover", "db")
    assert "\x1b" not in said and "evil@" not in said
    config = gateway.config
    head = [f"{key}: {json.dumps(value)}" for key, value in config.items() if key != "policy"]
    rules = [f"    - {json.dumps(rule)}" for rule in config["policy"]["rules"]]
    pasted = [f"    {line}" for line in said.splitlines()]
    gateway.path.write_text("\n".join([*head, "policy:", "  rules:", *rules, *pasted]))
    assert "is good" in run(gateway, "check", str(gateway.path))
    try:
        gateway.admin.post("/policy/reload")
        again = json.loads(run(gateway, "discover", "db", "--json"))
        assert again["rules"] == []
        covered = {one["glob"]: one["covered"] for one in again["found"]}
        assert covered["public.contacts.born"] == covered["audit.trail.who"] == "column"
        assert [one for glob, one in covered.items() if "\x1b" in glob] == ["column"]
    finally:
        gateway.reload()


def test_masks_check_tells_every_way_round(gateway: Gateway) -> None:
    answer = json.loads(run(gateway, "masks", "check", "db", "--json", code=1))
    told = {(one["kind"], one["name"]) for one in answer["found"]}
    assert told == {
        ("copy", "audit.trail.who"),
        ("index", "public.by_email"),
        ("index", "public.by_ssn"),
        ("partition-key", "public.dated.day"),
        ("function", "public.lower"),
        ("view", "public.somes"),
    }
    said = run(gateway, "masks", "check", "db", code=1)
    assert "audit.trail.who holds 31 of 100 sampled values of public.customers.email" in said
    assert "@example.org" not in said and "PERSON" not in said


def test_what_is_waived_is_not_told_and_then_all_is_good(gateway: Gateway) -> None:
    names = ("audit.*", "public.by_*", "public.dated.*", "public.lower", "public.somes")
    waived = [word for name in names for word in ("--waive", name)]
    said = run(gateway, "masks", "check", "db", *waived)
    assert "0 findings round" in said
    assert "left out by --waive: for good, and for `checked: true`, name them" in said
    run(gateway, "masks", "check", "db", *waived[2:], code=1)


def test_the_login_of_setup_sees_masked_values_alone(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    sql = run(gateway, "masks", "check", "db", "--setup-sql", 'o"dd')
    with psycopg.connect(postgres.uri("surveyed"), autocommit=True) as connection:
        connection.execute(sql.encode())
        connection.execute('ALTER ROLE "o""dd" PASSWORD \'odd\'')
    where = f"host=127.0.0.1 port={postgres.port} dbname=surveyed user='o\"dd' password=odd"
    try:
        with psycopg.connect(where, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT id, name, email, ssn, token FROM customers"
            ).fetchall()
            assert len(rows) == 100 and ("N1" in {row[1] for row in rows})
            assert all("person" not in row[2] and row[3][:6] != "219-09" for row in rows)
            assert {row[4] for row in rows} == {"[redacted]"}
            assert connection.execute("SELECT count(*) FROM plain").fetchone() == (100,)
            for raw in ("public.customers", "public.plain", "public.dated", "public.dated_1"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"SELECT * FROM {raw}")
            assert connection.execute(
                "SELECT count(*) FROM customers WHERE email = 'person1@example.org'"
            ).fetchone() == (0,)
    finally:
        postgres.psql(
            'DROP SCHEMA public_masked CASCADE; DROP OWNED BY "o""dd", "o""dd_views";'
            'DROP ROLE "o""dd", "o""dd_views"',
            "surveyed",
        )


def test_the_key_of_hashes_is_not_in_the_setup(gateway: Gateway) -> None:
    sql = run(gateway, "masks", "check", "db", "--setup-sql", "agent")
    assert "md5" not in sql and "sha256" not in sql and "mask_key" not in sql
    assert "redacted here" in sql


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("discover nowhere", "no target `nowhere`"),
        ("masks check nowhere", "no target `nowhere`"),
        ("masks check db --setup-sql pg_x", "a role's name"),
        ("discover db --database nosuch", "the database does not exist"),
    ],
)
def test_what_cannot_be_surveyed_says_why(gateway: Gateway, words: str, why: str) -> None:
    environment = {"SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token}
    done = sallyport(*words.split(), **environment, PYTHONPATH=str(SOURCES))
    assert (done.returncode, done.stdout) == (1, "")
    assert why in done.stderr


@pytest.fixture(scope="module")
def others(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway over a database with what is large, locked, or of other types."""
    postgres.psql("CREATE DATABASE others OWNER app")
    postgres.psql(
        """
        SET ROLE app;
        CREATE DOMAIN strict AS text NOT NULL CHECK (VALUE LIKE 's%');
        CREATE TABLE people (
            id uuid, phone bigint, age int, flag bool, code strict, secret text, word text
        );
        INSERT INTO people SELECT md5(n::text)::uuid, 31612345000 + n, n, true, 's' || n,
            'sekret-' || n, 'abc'
        FROM generate_series(1, 50) n;
        CREATE TABLE logs (who uuid, caller text, age int, flag bool, word text, line text);
        INSERT INTO logs SELECT id, phone::text, age, flag, word, 'called ' || phone FROM people;
        CREATE TABLE large (n int, mail text);
        INSERT INTO large SELECT n, CASE WHEN n > 60000 THEN n || '@example.org' END
        FROM generate_series(1, 120000) n;
        CREATE TABLE held (mail text);
        INSERT INTO held VALUES ('a@example.org');
        ANALYZE;
        CREATE MATERIALIZED VIEW kept AS SELECT 'k@example.org'::text AS mail;
        """,
        "others",
    )
    hide = {
        "name": "people",
        "effect": "mask",
        "mask": {
            "columns": ["public.people.*"],
            "unless_columns": ["public.logs.known"],
            "transform": "hash",
        },
    }
    rules = [*EVERYTHING, hide]
    folder = tmp_path_factory.mktemp("others")
    with Gateway(folder, postgres, database="others", rules=rules, sources=SOURCES) as running:
        yield running


def test_copies_of_numbers_and_identifiers_count_and_small_values_do_not(others: Gateway) -> None:
    answer = json.loads(run(others, "masks", "check", "db", "--json", code=1))
    copies = {one["text"] for one in answer["found"] if one["kind"] == "copy"}
    assert copies == {
        "public.logs.who holds 50 of 50 sampled values of public.people.id",
        "public.logs.caller holds 50 of 50 sampled values of public.people.phone",
    }


def test_a_column_that_no_mask_fits_is_told(others: Gateway) -> None:
    answer = json.loads(run(others, "masks", "check", "db", "--json", code=1))
    refused = [one["text"] for one in answer["found"] if one["kind"] == "column"]
    assert len(refused) == 1 and "NOT NULL" in refused[0]
    sql = run(others, "masks", "check", "db", "--setup-sql", "agent")
    assert "people: no view" in sql and 'REVOKE ALL ON "public"."people"' in sql


def test_a_large_relation_is_sampled_all_over(others: Gateway) -> None:
    answer = json.loads(run(others, "discover", "db", "--json"))
    large = next(one for one in answer["found"] if one["relation"] == "public.large")
    assert 20 <= large["hits"] == large["rows"] < 200  # half of it is NULL, and stands in front
    assert any(one["relation"] == "public.kept" for one in answer["found"])


def test_a_locked_relation_is_told_and_the_rest_is_read(
    others: Gateway, postgres: EmbeddedPostgres
) -> None:
    with psycopg.connect(postgres.uri("others")) as holder:
        holder.execute("LOCK TABLE held")
        answer = json.loads(run(others, "discover", "db", "--json"))
        assert answer["unread"] == ["public.held"]
        assert any(one["relation"] == "public.large" for one in answer["found"])
        assert "not read" in run(others, "masks", "check", "db", code=1)


def test_a_page_begins_after_the_last(others: Gateway) -> None:
    whole = others.admin.post("/targets/db/discover")
    assert whole["next"] == 0 and whole["done"] == whole["relations"] == 5
    last = others.admin.post("/targets/db/discover", {"after": 2**32})
    assert (last["done"], last["next"], last["found"]) == (5, 0, [])


def test_the_target_hears_no_value_in_a_query(others: Gateway, postgres: EmbeddedPostgres) -> None:
    postgres.psql("ALTER ROLE app SET log_statement = 'all'")
    try:
        run(others, "discover", "db")
        run(others, "masks", "check", "db", code=1)
    finally:
        postgres.psql("ALTER ROLE app RESET log_statement")
    logs = [path.read_text(errors="replace") for path in postgres.folder.glob("*log*")]
    assert any("tablesample" in text for text in logs)
    lines = [line for text in logs for line in text.splitlines() if "'sekret-' ||" not in line]
    assert not any("sekret-" in line or "@example.org" in line for line in lines)


def answer(dsn: str, sql: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as session:
        return session.execute(sql.encode()).fetchone()


def test_what_a_comment_says_holds_from_the_next_session(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    ada = gateway.dsn(gateway.token("ada", groups=["agents"]))
    said = {"name": "said", "effect": "mask", "mask": {"tags": ["pii.*"], "transform": "redact"}}
    gateway.config["policy"]["rules"].append(said)
    gateway.reload()
    read = "SELECT born FROM contacts WHERE id = 1"
    where = f"{read} AND born < '5'"
    try:
        with psycopg.connect(ada, autocommit=True) as session:
            assert session.execute(read).fetchone() == ("[redacted]",)
            assert session.execute(where).fetchone() is None
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"contacts\.born"):
                session.execute("COMMENT ON COLUMN contacts.born IS NULL")
            postgres.psql("COMMENT ON COLUMN contacts.born IS NULL", "surveyed")
            postgres.psql("COMMENT ON COLUMN contacts.big IS 'pii.story'", "surveyed")
        deadline = time.monotonic() + 20
        while answer(ada, where) is None and time.monotonic() < deadline:
            time.sleep(0.2)  # a second may pass before the catalogue is looked at again
        with psycopg.connect(ada, autocommit=True) as session:
            assert session.execute(where).fetchone() == ("1.1.1970",)
            assert session.execute("SELECT big FROM contacts WHERE id = 1").fetchone() == (
                "[redacted]",
            )
            session.execute("COMMENT ON COLUMN contacts.born IS 'now pii.birth-date'")
            assert session.execute(where).fetchone() is None
        told = run(gateway, "explain", "--subject", "ada", "--target", "db", where)
        assert "ELSE '[redacted]'::pg_catalog.text END AS born" in told
    finally:
        gateway.config["policy"]["rules"].remove(said)
        gateway.reload()
