"""From a login to a native client at the database."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.cli.errors import CommandError
from sallyport.cli.own_certificate import read_own_certificate
from sallyport.demo.server import EmbeddedPostgres, free_port
from tests.e2e.login.conftest import ON_REQUEST, Person
from tests.support.authority import Authority
from tests.support.gateway import Gateway
from tests.support.oauth_client import needs_libpq_18

SAME = "select current_user || ' ' || current_database()"
PSYCOPG = (
    "--",
    sys.executable,
    "-c",
    "import sys, psycopg\n"
    f"try: print(psycopg.connect().execute({SAME!r}).fetchone()[0])\n"
    "except psycopg.OperationalError as error: sys.exit(str(error))",
)
"""psycopg with nothing but the environment; unlike the server's own psql it has TLS."""

ISSUER = "https://login.example.com"
ROOT = str(Path(__file__).parents[3])
NATIVE = f"""
import json, os, sys
sys.path.insert(0, {ROOT!r})
import psycopg
from tests.support.oauth_client import handing_out

def ask(*words):
    with handing_out(os.environ["BEARER"], at_once=False) as wallet:
        with psycopg.connect(*words) as connection:
            who = connection.execute({SAME!r}).fetchone()[0]
            options = {{one.keyword: one.val for one in connection.pgconn.info}}
    client = options[b"oauth_client_id"].decode()
    print(json.dumps([who, options[b"oauth_issuer"].decode(), client, wallet.asked[-1]]))

ask(*sys.argv[1:])
"""
"""psycopg's libpq 18, with a token that it is handed when it asks for one."""

PROBE = "import os, json; print(json.dumps(dict(os.environ)))"


@pytest.fixture(scope="module")
def house(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway with a listener for each mechanism."""
    folder = tmp_path_factory.mktemp("connect")
    gateway = Gateway(folder / "gateway", postgres, database="app")
    server = Authority("servers")
    certificate, key = server.server().files(folder, "server")
    (folder / "ca.pem").write_bytes(server.certificate)
    tls = {"certificate": f"file:{certificate}", "key": f"file:{key}"}
    signer = Authority("clients")
    (folder / "clients.pem").write_bytes(signer.certificate)
    (folder / "clients.pem").chmod(0o600)
    signer.client("ann", units=["agents"]).files(folder, "ann")
    signer.client("old", units=["agents"], ends=-60).files(folder, "old")
    takes = {**tls, "client_ca": f"file:{folder}/clients.pem", "client_groups": True}
    corp = {"issuer": ISSUER, "audience": ["sallyport"]}
    gateway.config["issuers"] = [
        {"name": "corp", **corp, "login": {"client_id": "native=app's"}},
        {"name": "mute", **corp, "issuer": "https://mute.example.com"},
    ]
    asked = {"issuer": "corp", "scope": "openid groups"}
    for name, more in (
        ("proof", {"authentication": "scram", "tls": tls}),
        ("bearer", {"authentication": "oauth", "oauth": asked}),
        ("mute", {"authentication": "oauth", "oauth": {"issuer": "mute"}}),
        ("badges", {"authentication": "certificate", "tls": takes}),
        ("elsewhere", {"public": "db.example.com:5432"}),
    ):
        address = f"127.0.0.1:{free_port()}"
        gateway.config["listeners"].append(
            {"name": name, "protocol": "postgres", "address": address, **more}
        )
    gateway.config["access"].append(ON_REQUEST)
    with gateway:
        yield gateway


@pytest.fixture
def agent(house: Gateway, tmp_path: Path, postgres: EmbeddedPostgres) -> Person:
    """A person with a token, and psql."""
    person = Person(tmp_path / "home", house.url)
    person.environment["SALLYPORT_TOKEN"] = house.agent
    person.environment["PATH"] = f"{postgres.binaries}:{os.environ['PATH']}"
    return person


def psql(*words: str) -> tuple[str, ...]:
    return ("--", "psql", "-XAtw", *words)


def test_psql_runs_and_its_exit_code_is_the_commands(agent: Person) -> None:
    token = ("connect", "db", "--listener", "postgres")
    assert agent.run(*token, *psql("-c", SAME)).strip() == "app app"
    agent.start(*token, *psql("-c", "select 1/0")).end(1)
    agent.start(*token, *psql("-v", "ON_ERROR_STOP=1", "-f", "/nowhere")).end(1)
    agent.start(*token, "--", sys.executable, "-c", "raise SystemExit(42)").end(42)


def test_it_prefers_a_proof_and_verifies_tls(agent: Person, house: Gateway) -> None:
    ca = house.folder.parent / "ca.pem"
    assert agent.run("connect", "db", "--ca", str(ca), *PSYCOPG).strip() == "app app"
    told = agent.told("connect", "db", "--ca", str(ca))
    assert (told["listener"], told["mechanism"]) == ("proof", "scram")
    assert (told["sslmode"], told["user"]) == ("verify-full", house.agent.split("_")[1] + "/app")
    running = agent.start("connect", "db", *PSYCOPG)
    running.end(1)
    assert "certificate verify failed" in "".join(running.said), (
        "a listener that nobody vouches for"
    )


def test_another_database_of_the_target(agent: Person, postgres: EmbeddedPostgres) -> None:
    words = ("connect", "db/postgres", "--listener", "postgres")
    assert agent.run(*words, *psql("-c", SAME)).strip() == "app postgres"


def test_the_token_is_in_the_clients_environment_alone(agent: Person, house: Gateway) -> None:
    hostile = {
        "PGHOSTADDR": "192.0.2.1",
        "PGSERVICE": "evil",
        "PGSSLMODE": "disable",
        "PGPASSFILE": "/tmp/x",
        "PGREQUIREAUTH": "password",
        "PGOPTIONS": "-c statement_timeout=5s",
    }
    words = ("connect", "db", "--", sys.executable, "-c", PROBE)
    seen = json.loads(agent.run(*words, **hostile))
    assert seen["PGPASSWORD"] == house.agent
    assert (seen["PGHOST"], seen["PGDATABASE"]) == ("127.0.0.1", "db")
    assert (seen["PGSSLMODE"], seen["PGSSLROOTCERT"]) == ("verify-full", "system")
    assert seen["PGOPTIONS"] == hostile["PGOPTIONS"], "what does not say where is the user's"
    assert not {"PGHOSTADDR", "PGSERVICE", "PGPASSFILE"} & set(seen)
    assert seen["PGREQUIREAUTH"] == "scram-sha-256", "it is proven, and told to nobody"
    running = agent.start("connect", "db", "--", "sleep", "20")
    try:
        deadline = time.monotonic() + 20
        line = b""
        while line.split(b"\0")[0] != b"sleep" and time.monotonic() < deadline:
            line = Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
            time.sleep(0.05)
        assert line == b"sleep\x0020\0", "it became the client, and no line holds the token"
    finally:
        running.process.kill()
        running.process.wait()


def test_what_is_printed_can_be_pasted_and_holds_no_token(agent: Person, house: Gateway) -> None:
    printed = agent.run("connect", "db", "--listener", "postgres")
    assert house.agent not in printed
    (line,) = [one for one in printed.splitlines() if " psql 'host=" in one]
    (export,) = [one for one in printed.splitlines() if "export PGHOST" in one]
    assert agent.run("connect", "db", "--password").strip() == house.agent
    folder = agent.home / "bin"
    folder.mkdir()
    command = folder / "sallyport"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sallyport.cli "$@"\n')
    command.chmod(0o755)
    environment = {**agent.environment, "PATH": f"{folder}:{agent.environment['PATH']}"}
    (password,) = [one for one in printed.splitlines() if "export PGPASSWORD" in one]
    for script in (
        f"{line} -XAtwc {shlex.quote(SAME)}",
        f"{export}\n{password}\npsql -XAtwc {shlex.quote(SAME)}",
    ):
        done = subprocess.run(
            ["sh", "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "app app", done.stderr


def test_programs_are_told_all_but_the_password(agent: Person, house: Gateway) -> None:
    told = agent.told("connect", "db", "--listener", "postgres")
    assert house.agent not in json.dumps(told)
    assert told["environment"] == {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(house.port),
        "PGDATABASE": "db",
        "PGUSER": "app",
        "PGSSLMODE": "disable",
    }
    assert told["dsn"] == f"postgresql://app@127.0.0.1:{house.port}/db?sslmode=disable"
    assert (told["login"], told["write"], told["ends"]) == ("app", True, None)
    public = agent.told("connect", "db", "--listener", "elsewhere")
    assert (public["host"], public["port"]) == ("db.example.com", 5432)


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("connect", "nothing"), "you neither reach target `nothing`", 1),
        (("connect", "db", "--login", "root"), "you do not reach login `root`", 1),
        (("connect", "db", "--listener", "x"), "no listener for this target is named `x`", 2),
        (("connect", "db", "--listener", "mute", "--", "psql"), "nobody says by which client", 1),
        (("connect", "db", "--listener", "badges", "--", "psql"), "`--cert FILE --key FILE`", 1),
        (("connect", "db", "--cert", "x"), "`--cert` and `--key` go together", 2),
        (("connect", "db", "--", "no-such-program"), "there is no program `no-such-program`", 127),
        (("connect", "db", "--", "/etc"), "`/etc` cannot be run: permission denied", 126),
    ],
)
def test_what_cannot_be_is_told(agent: Person, words: Any, said: str, code: int) -> None:
    assert said in agent.refused(*words, code=code)


def test_who_reaches_nothing_is_told_nothing(agent: Person, house: Gateway) -> None:
    agent.environment["SALLYPORT_TOKEN"] = house.token("stranger")
    assert "you neither reach target `db`" in agent.refused("connect", "db")


def test_access_on_request_is_asked_for_and_waited_for(agent: Person, house: Gateway) -> None:
    agent.environment["SALLYPORT_TOKEN"] = house.token("erin", groups=["engineers"])
    said = agent.refused("connect", "db")
    assert "given on request" in said
    assert "sallyport connect db --login app --request 'why' --for 1h" in said
    words = ("connect", "db", "--listener", "postgres", "--request", "ticket 4711", "--for", "5m")
    running = agent.start(*words, *psql("-c", SAME))
    identifier = running.hear("waits for dba").split()[0]
    house.approver.post(f"/access/{identifier}/approve", {"reason": "yes"})
    assert running.end().strip() == "app app"
    told = agent.told("connect", "db", "--listener", "postgres")
    assert 200 < told["ends"] - time.time() < 300
    agent.environment["SALLYPORT_TOKEN"] = house.token("fred", groups=["engineers"])
    running = agent.start(*words, *psql("-c", SAME))
    identifier = running.hear("waits for dba").split()[0]
    house.approver.post(f"/access/{identifier}/deny", {"reason": "not today"})
    running.end(1)
    assert f"{identifier} is denied: not today" in "".join(running.said)


def shown(house: Gateway, name: str) -> tuple[str, ...]:
    folder = house.folder.parent
    files = ("--cert", str(folder / f"{name}.crt"), "--key", str(folder / f"{name}.key"))
    return ("--ca", str(folder / "ca.pem"), *files)


def test_a_certificate_is_shown_and_no_token(agent: Person, house: Gateway) -> None:
    words = ("connect", "db", *shown(house, "ann"))
    assert agent.run(*words, *PSYCOPG).strip() == "app app"
    sessions = house.admin.get("/sessions", subject="ann")["sessions"]
    assert [one["issuer"] for one in sessions] == ["certificate"]
    told = agent.told(*words)
    assert (told["listener"], told["mechanism"]) == ("badges", "certificate")
    assert f"sslkey={house.folder.parent}/ann.key" in told["dsn"]
    stray = {"PGPASSWORD": "mine", "PGSSLCERT": "/x", "PGSSLCERTMODE": "disable"}
    probe = ("--", sys.executable, "-c", PROBE)
    seen = json.loads(agent.run(*words, *probe, **stray))
    assert "PGPASSWORD" not in seen
    assert (seen["PGSSLCERTMODE"], seen["PGREQUIREAUTH"]) == ("require", "none")
    assert seen.items() >= told["environment"].items()


@pytest.mark.debian
def test_what_is_printed_for_a_certificate_can_be_pasted(agent: Person, house: Gateway) -> None:
    printed = agent.run("connect", "db", *shown(house, "ann"))
    assert "PGPASSWORD" not in printed and house.agent not in printed
    (line,) = [one for one in printed.splitlines() if one.startswith("  psql 'host=")]
    (export,) = [one for one in printed.splitlines() if "export PGHOST" in one]
    (url,) = [one.strip() for one in printed.splitlines() if "postgresql://" in one]
    psql15 = "/usr/lib/postgresql/15/bin/psql"
    ask = f"-XAtwc {shlex.quote(SAME)}"
    for script in (
        f"{line.replace('psql', psql15, 1)} {ask}",
        f"{export}\n{psql15} {ask}",
        f"{psql15} {shlex.quote(url)} {ask}",
    ):
        done = subprocess.run(
            ["sh", "-c", script], env={"HOME": str(agent.home), "PATH": os.environ["PATH"]},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.strip() == "app app", done.stderr


def test_a_certificate_that_cannot_do_is_told_before(agent: Person, house: Gateway) -> None:
    words = ("connect", "db", *shown(house, "old"), "--", "no-such-program")
    assert "is in force from" in agent.refused(*words), "and no client was started"
    words = ("connect", "db", *shown(house, "ann"), "--listener", "postgres")
    assert "listener `postgres` does not take client certificates" in agent.refused(*words, code=2)


@needs_libpq_18
def test_libpq_18_is_given_what_it_needs_for_oauth(agent: Person, house: Gateway) -> None:
    words = ("connect", "db", "--listener", "bearer")
    native = (sys.executable, "-c", NATIVE)
    discovery = f"{ISSUER}/.well-known/openid-configuration"
    wanted = ["app app", ISSUER, "native=app's", [discovery, "openid groups"]]
    hostile = {"PGSERVICE": "evil", "PGSERVICEFILE": "/x", "PGPASSWORD": "mine"}
    running = agent.start(*words, "--", *native, BEARER=house.agent, **hostile)
    assert json.loads(running.end()) == wanted
    assert f"logs you in at {ISSUER}" in "".join(running.said)
    (file,) = (agent.home / ".local/state/sallyport/oauth-needs-libpq-18").glob("*")
    assert file.stat().st_mode & 0o777 == 0o600 and "host" not in file.read_text()
    told = agent.told(*words)
    assert told["oauth"] == {
        "issuer": ISSUER,
        "client_id": "native=app's",
        "scope": "openid groups",
    }
    printed = agent.run(*words)
    (line,) = [one for one in printed.splitlines() if one.startswith("  psql 'host=")]
    (words_of_line,) = shlex.split(line)[1:]
    for conninfo in (words_of_line, told["dsn"]):
        done = subprocess.run(
            [*native, conninfo], env={**agent.environment, "BEARER": house.agent},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == wanted


def test_the_token_is_not_given_to_who_logs_in_by_itself(agent: Person, house: Gateway) -> None:
    words = ("connect", "db", "--listener", "bearer", "--", sys.executable, "-c", PROBE)
    seen = json.loads(agent.run(*words, PGPASSWORD="mine"))
    assert "PGPASSWORD" not in seen and seen["PGREQUIREAUTH"] == "oauth"


def test_a_client_that_nobody_names_is_for_the_user_to_fill_in(
    agent: Person, house: Gateway
) -> None:
    printed = agent.run("connect", "db", "--listener", "mute")
    assert "oauth_client_id=CLIENT_ID" in printed
    assert "stands for a public client that is registered there" in printed


@pytest.mark.debian
def test_an_older_psql_says_what_it_lacks(agent: Person, house: Gateway) -> None:
    words = ("connect", "db", "--listener", "bearer", "--", "/usr/lib/postgresql/15/bin/psql")
    running = agent.start(*words)
    running.end(2)
    said = "".join(running.said)
    assert "libpq 18 and later can" in said and "oauth-needs-libpq-18/" in said


def test_a_psql_18_without_its_module_says_so(agent: Person, house: Gateway) -> None:
    version = agent.start("connect", "db", "--listener", "postgres", "--", "psql", "--version")
    if int(version.end().split()[2].split(".")[0]) < 18:
        pytest.skip("the server of these tests brings an older psql")
    words = ("connect", "db", "--listener", "bearer", "--", "psql", "-Xc", "select 1")
    running = agent.start(*words)
    running.end(2)
    assert "no OAuth flows are available" in "".join(running.said)


def test_keys_are_refused_that_libpq_itself_refuses(house: Gateway, tmp_path: Path) -> None:
    """The rule is libpq's, and so is the judge."""
    pair = [shutil.copy(house.folder.parent / f"ann.{end}", tmp_path) for end in ("crt", "key")]
    badges = next(one for one in house.config["listeners"] if one["name"] == "badges")
    words = {
        "host": "127.0.0.1", "port": badges["address"].split(":")[1], "dbname": "db",
        "user": "app", "sslmode": "verify-full", "sslrootcert": str(house.folder.parent / "ca.pem"),
        "sslcert": str(pair[0]), "sslkey": str(pair[1]),
    }  # fmt: skip
    owners = (0, 65534) if os.geteuid() == 0 else (os.geteuid(),)
    verdicts = set()
    for owner, mode in itertools.product(owners, (0o600, 0o400, 0o640, 0o620, 0o644, 0o610)):
        os.chown(pair[1], owner, -1)
        Path(pair[1]).chmod(mode)
        try:
            read_own_certificate(*map(str, pair))
        except CommandError:
            ours = False
        else:
            ours = True
        try:
            psycopg.connect(**words).close()
        except psycopg.OperationalError as error:
            assert "has group or world access" in str(error)
            theirs = False
        else:
            theirs = True
        assert ours is theirs, (owner, oct(mode))
        verdicts.add(ours)
    assert verdicts == {True, False}
