"""PostgreSQL's own programs: pgbench in its three modes, pg_dump into psql, pg_restore."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.clients.conftest import NewDatabase
from tests.e2e.clients.programs import output, past, run, through
from tests.e2e.clients.test_psql import SCHEMA
from tests.support.gateway import Gateway

MORE = """
create table "Odd Name" ("Col umn" text default 'a''b', big numeric(10, 2)[], at timestamptz);
insert into "Odd Name" select E'tab\\t\\n\\\\ é ' || n, array[n, null], 'epoch' from generate_series(1, 2000) n;
create table blank ();
create aggregate total (int) (sfunc = int4pl, stype = int, initcond = '0');
create type stretch as range (subtype = date);
create table keys (id int primary key, other int references keys deferrable initially deferred);
insert into keys values (1, 2), (2, 1);
select setval('tickets', 77);
create function defined() returns int language plpgsql security definer set search_path = public
    as $$ begin return (select count(*) from people); end $$;
alter default privileges in schema public grant select on tables to public;
grant select (name) on people to public;
refresh materialized view counts;
"""


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(mode: str, agents: Gateway, benched: str) -> None:
    said = output_of_pgbench(agents, benched, "-n", "-M", mode, "-c", "2", "-j", "2", "-t", "40")
    assert "number of transactions actually processed: 80/80" in said
    assert "number of failed transactions: 0 (0.000%)" in said


def test_pgbench_pipelines(agents: Gateway, benched: str, tmp_path: Path) -> None:
    script = tmp_path / "pipeline.sql"
    script.write_text(
        "\\startpipeline\nselect 1;\nselect abalance from pgbench_accounts where aid = 7;\n"
        "\\syncpipeline\nselect 2;\n\\endpipeline\n"
    )
    said = output_of_pgbench(agents, benched, "-n", "-M", "extended", "-t", "20", "-f", str(script))
    assert "number of failed transactions: 0 (0.000%)" in said


def output_of_pgbench(gateway: Gateway, database: str, *arguments: str) -> str:
    program = gateway.server.binaries / "pgbench"
    done = run(program, *arguments, environment=through(gateway, database))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def benched(builders: Gateway, new_database: NewDatabase) -> str:
    """A database that `pgbench -i` filled through the gateway, foreign keys and partitions too."""
    database = new_database()
    arguments = ("-i", "-s", "1", "--foreign-keys", "--partitions=2")
    output_of_pgbench(builders, database, *arguments)
    counted = "select count(*) from pgbench_accounts"
    assert builders.server.psql(counted, database).strip() == "100000"
    return database


def test_pgbench_makes_its_tables_on_the_server(
    builders: Gateway, new_database: NewDatabase
) -> None:
    """-I with `G` has the server make the rows; before that it drops what is there."""
    database = new_database()
    output_of_pgbench(builders, database, "-i", "-I", "dtGvp")


def test_pgbench_vacuums_before_it_runs(builders: Gateway, benched: str) -> None:
    """Without -n it truncates its history first, which the builders may."""
    said = output_of_pgbench(builders, benched, "-t", "5")
    assert "number of failed transactions: 0 (0.000%)" in said


@pytest.fixture(scope="module")
def full(new_database: NewDatabase) -> str:
    return new_database(SCHEMA + MORE)


def dumped(program: Path, environment: dict[str, str], *arguments: str) -> str:
    """A dump without what differs each time: the keys of \\restrict."""
    text = output(program, *arguments, environment=environment)
    return "\n".join(line for line in text.split("\n") if "restrict " not in line)


@pytest.mark.parametrize(
    "form", [[], ["--inserts", "--rows-per-insert=100"], ["--clean", "--if-exists"]]
)
def test_a_dump_goes_round(
    form: list[str], restorers: Gateway, full: str, new_database: NewDatabase
) -> None:
    """pg_dump | psql, both through the gateway: the copy's own dump is the original's."""
    binaries = restorers.server.binaries
    script = output(binaries / "pg_dump", *form, environment=through(restorers, full))
    assert dumped(binaries / "pg_dump", past(restorers, full), *form) == "\n".join(
        line for line in script.split("\n") if "restrict " not in line
    )
    copy = new_database()
    restored = run(
        binaries / "psql", "-Xqb", "-v", "ON_ERROR_STOP=1",
        environment=through(restorers, copy), text=script,
    )  # fmt: skip
    assert restored.returncode == 0, restored.stderr
    one, two = (dumped(binaries / "pg_dump", past(restorers, name)) for name in (full, copy))
    assert one == two


def test_an_archive_is_restored(
    restorers: Gateway, full: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    """pg_dump in its own format over two connections, pg_restore with two jobs."""
    binaries, archive = restorers.server.binaries, tmp_path / "archive"
    output(
        binaries / "pg_dump", "-Fd", "-j2", "-f", str(archive), environment=through(restorers, full)
    )
    copy = new_database()
    environment = through(restorers, copy)
    restored = run(
        binaries / "pg_restore",
        "-j2",
        "--exit-on-error",
        "-d",
        f"db/{copy}",
        str(archive),
        environment=environment,
    )
    assert restored.returncode == 0, restored.stderr
    one, two = (dumped(binaries / "pg_dump", past(restorers, name)) for name in (full, copy))
    assert one == two


PLAIN = """
create type mood as enum ('calm', 'cross');
create table people (id int primary key, name text not null unique, feels mood, tags text[]);
create table pets (id bigserial, owner int references people on delete cascade, at timestamptz);
create index on pets (owner) where at is not null;
create view elders as select id, name from people;
insert into people select n, 'name ' || n, 'calm', array['a', null] from generate_series(1, 500) n;
insert into pets (owner, at) select 1 + n % 500, 'epoch' from generate_series(1, 1000) n;
"""


def test_plain_tables_go_round_with_every_guardrail_but_one(
    builders: Gateway, new_database: NewDatabase
) -> None:
    """Tables, types, views, keys and rows need no exception but that builders may drop."""
    binaries = builders.server.binaries
    original, copy = new_database(PLAIN), new_database()
    form = ["--no-owner", "--no-privileges", "--clean", "--if-exists"]
    script = output(binaries / "pg_dump", *form, environment=through(builders, original))
    arguments = ("-Xqb", "-v", "ON_ERROR_STOP=1", "--single-transaction")
    for _ in range(2):
        restored = run(
            binaries / "psql", *arguments, environment=through(builders, copy), text=script
        )
        assert restored.returncode == 0, restored.stderr
    one, two = (dumped(binaries / "pg_dump", past(builders, name)) for name in (original, copy))
    assert one == two


def test_agents_may_dump_what_they_may_read(agents: Gateway, full: str) -> None:
    """Reading alone, and every guardrail on: a dump is reads and a lock that hinders nobody."""
    program = agents.server.binaries / "pg_dump"
    tables = ("-t", "people", "-t", "pets")
    got = dumped(program, through(agents, full), *tables)
    assert got == dumped(program, past(agents, full), *tables)
    assert "ada" in got
