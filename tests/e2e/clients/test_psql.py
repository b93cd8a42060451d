"""psql 18 and 15: scripts, COPY, TLS, cancelling, and everything that a backslash can describe."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.e2e.clients.conftest import NewDatabase
from tests.e2e.clients.programs import DEBIAN, LIMIT, output, past, run, through
from tests.support.gateway import Gateway
from tests.wire.rig import Certificates

SCHEMA = """
create type mood as enum ('calm', 'cross');
create domain percent as int check (value between 0 and 100);
create table people (id serial primary key, name text not null unique, feels mood default 'calm',
    share percent, born date, data jsonb default '{}');
comment on table people is 'who they are';
create table pets (id bigint generated always as identity, owner int references people on delete
    cascade, name varchar(20), tags text[]) ;
create index pets_name on pets (lower(name)) where owner is not null;
create table events (at date not null, kind text) partition by range (at);
create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01');
create view elders as select id, name from people where born < '1960-01-01';
create materialized view counts as select owner, count(*) as n from pets group by owner;
create sequence tickets start 10;
create function add(a int, b int) returns int language sql immutable return a + b;
create procedure nothing() language plpgsql as $$ begin null; end $$;
create rule quiet as on delete to pets do also select 1;
create function touch() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger touched before update on people for each row execute function touch();
alter table people enable row level security;
create policy everybody on people using (true);
create statistics pets_stats on owner, name from pets;
create publication news for table pets;
insert into people (name, born) values ('ada', '1815-12-10'), ('grace', '1906-12-09'),
    ('barbara', '1939-11-07');
insert into pets (owner, name, tags) values (1, 'rex', '{good,"a b"}'), (2, null, '{}');
"""
SCRIPT = r"""
\set ON_ERROR_STOP on
\timing off
begin;
insert into people (name, feels) values ('edsger', 'cross') returning id;
savepoint before;
update people set share = 50 where name = 'edsger';
rollback to before;
select name, feels, share from people order by id;
commit;
\copy pets (name, tags) from stdin
kit	{a,b}
sam	{}
\.
\copy (select name, tags from pets order by id) to stdout
@BOUND@
select 'select ' || n from generate_series(1, 3) n \gexec
select 1 as one \gset
\echo :one
\x
select * from people where name = 'ada';
\x \\ select 1; select 2 \; select 3;
select 1 as a, 2 as b, 3 as c \crosstabview a b c
prepare who (int) as select name from people where id = $1;
execute who (2);
deallocate who;
declare c cursor with hold for select n from generate_series(1, 5) n;
fetch 2 from c;
move 1 from c;
fetch all from c;
close c;
listen jobs;
notify jobs, 'hello';
unlisten *;
explain (costs off) select * from people where id = 1;
show server_version_num;
\encoding
table elders;
"""
DESCRIBING = [
    r"\d", r"\d+", r"\d people", r"\d+ people", r"\d+ pets", r"\d+ events", r"\d+ elders", r"\d tickets",
    r"\dt", r"\dt+", r"\dv", r"\dv+", r"\dm+", r"\di+", r"\ds+", r"\dE", r"\dtvmsE *.*p*", r"\dP+",
    r"\df", r"\df+", r"\df add", r"\dfp", r"\da", r"\da sum", r"\dT", r"\dT+", r"\dD+", r"\dn", r"\dn+", r"\du", r"\du+",
    r"\dg", r"\dp", r"\z", r"\dp people", r"\dx", r"\dx+", r"\dy", r"\dF", r"\dF+", r"\dFd", r"\dFp", r"\dFt",
    r"\dc", r"\dC", r"\dC+", r"\dO", r"\do", r"\do =", r"\dA", r"\dA+", r"\dAc", r"\dAf", r"\dAo", r"\dAp",
    r"\db", r"\db+", r"\deu", r"\dRs", r"\des+", r"\dew+", r"\det+", r"\dl", r"\drg",  r"\dL", r"\dL+", r"\dd", r"\ddp", r"\des", r"\dew", r"\det", r"\dRp", r"\dRp+",
    r"\dX", r"\dconfig search_path", r"\l", r"\l+", r"\sf add", r"\sf+ add", r"\sv elders", r"\conninfo",
    r"\dS pg_class", r"\dtS+ pg_am*", r"\d pg_catalog.pg_proc", r"\d information_schema.tables",
]  # fmt: skip
REFUSED = {
    r"\deu+": "the passwords of user mappings",
    r"\dRs+": "the connection strings of subscriptions",
    r"\drds": "what other roles' sessions begin with",
}
"""What shows secrets of the catalogue: the guardrail `no-catalogue-secrets` lists it."""


@pytest.fixture(scope="module")
def database(new_database: NewDatabase) -> str:
    return new_database(SCHEMA)


@pytest.fixture(params=["18", "15"])
def psql(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Path:
    """psql of pip's PostgreSQL 18, and of Debian's 15."""
    program = (postgres.binaries if request.param == "18" else DEBIAN) / "psql"
    if not program.exists():
        pytest.skip("Debian's postgresql-client-15 is not installed")
    return program


def test_a_script_prints_the_same(psql: Path, agents: Gateway, new_database: NewDatabase) -> None:
    bound = "= 2;" if psql.is_relative_to(DEBIAN) else r"= $1 \bind 2 \g"
    script = SCRIPT.replace("@BOUND@", f"select name from people where id {bound}")
    expected, got = (
        run(psql, "-X", environment=way(agents, new_database(SCHEMA)), text=script)
        for way in (past, through)
    )
    assert expected.returncode == 0, expected.stderr
    assert (got.returncode, own(got.stdout), own(got.stderr)) == (
        0, own(expected.stdout), own(expected.stderr),
    )  # fmt: skip


def own(text: str) -> str:
    """Without what differs between two sessions: process ids, ports and names of databases."""
    text = re.sub(r"PID \d+", "PID", text)
    return re.sub(r"db/(client_\d+)|client_\d+", "client", text)


def test_it_describes_everything(psql: Path, agents: Gateway, database: str) -> None:
    expected, got = (described(psql, DESCRIBING, way(agents, database)) for way in (past, through))
    assert own(got.pop(r"\conninfo"))
    expected.pop(r"\conninfo")
    for command in DESCRIBING:
        if expected.get(command, "").startswith("ERROR"):
            # psql 15 asks for columns that PostgreSQL 18 has no more.
            assert got.pop(command).startswith("ERROR")
    different = [f"{name}\n{got[name]}" for name in got if own(got[name]) != own(expected[name])]
    assert not different, "\n".join(different)


@pytest.mark.parametrize("command", REFUSED)
def test_secrets_of_the_catalogue_are_refused(
    command: str, psql: Path, agents: Gateway, database: str
) -> None:
    said = described(psql, [command], through(agents, database))[command]
    assert said.startswith("ERROR:  refused by rule `no-catalogue-secrets`")


def described(psql: Path, commands: list[str], environment: dict[str, str]) -> dict[str, str]:
    """What psql prints for each command, errors too."""
    script = "".join(f"\\echo === {number}\n{command}\n" for number, command in enumerate(commands))
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -X 2>&1', psql],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment},
        input=script, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    blocks = done.stdout.split("=== ")[1:]
    assert len(blocks) == len(commands), done.stdout
    return {
        command: block.split("\n", 1)[1] for command, block in zip(commands, blocks, strict=True)
    }


@pytest.fixture
def verified(certificates: dict[str, Path], tls_port: int) -> dict[str, str]:
    """The words that have a client verify the listener's certificate and name."""
    return {
        "host": "localhost", "port": str(tls_port), "sslmode": "verify-full",
        "sslrootcert": str(certificates["ca"]), "gssencmode": "disable",
    }  # fmt: skip


def test_psql_15_verifies_tls(agents: Gateway, verified: dict[str, str], database: str) -> None:
    """pip's psql 18 is built without TLS."""
    if not (DEBIAN / "psql").exists():
        pytest.skip("Debian's postgresql-client-15 is not installed")
    dsn = agents.dsn(target=f"db/{database}", **verified)
    said = output(DEBIAN / "psql", "-XAtc", r"\conninfo", "-c", "select 1", dsn, environment={})
    assert "SSL connection (protocol: TLSv1.3" in said
    assert said.endswith("1\n")


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_libpq_18_verifies_tls(
    negotiation: str, agents: Gateway, verified: dict[str, str], database: str
) -> None:
    dsn = agents.dsn(target=f"db/{database}", sslnegotiation=negotiation, **verified)
    with psycopg.connect(dsn) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("select 1").fetchone() == (1,)


def test_tls_with_another_authority_or_name_is_refused_by_the_client(
    agents: Gateway, certificates: dict[str, Path], tls_port: int, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Certificates().ca)
    for host, authority in (("localhost", other), ("another.invalid", certificates["ca"])):
        dsn = agents.dsn(
            host=host,
            hostaddr="127.0.0.1",
            port=str(tls_port),
            sslmode="verify-full",
            sslrootcert=str(authority),
        )
        with pytest.raises(psycopg.OperationalError, match=r"certificate|SSL error"):
            psycopg.connect(dsn)


def test_tls_is_demanded(agents: Gateway, tls_port: int) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"TLS|SSL"):
        psycopg.connect(agents.dsn(port=str(tls_port), sslmode="disable"))


def test_an_interrupt_cancels(psql: Path, agents: Gateway, database: str) -> None:
    process = subprocess.Popen(
        [psql, "-X", "-c", "select pg_sleep(80)"],
        env={"PATH": os.environ["PATH"], **through(agents, database)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    running = "select count(*) from pg_stat_activity where query like 'select pg_sleep(80)%'"
    deadline = time.monotonic() + LIMIT
    while agents.server.psql(running).strip() != "1":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complained = process.communicate(timeout=LIMIT)
    assert "canceling statement due to user request" in complained
    assert agents.server.psql(running).strip() == "0"
