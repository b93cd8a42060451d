"""Classes 17 and 18: what stands before and around messages, and messages that are none."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.bypass.postgres import wire
from tests.bypass.postgres.wire import SYNC, Gone, Wire, text
from tests.support.gateway import Gateway
from tests.support.processes import running, unique_memory, wait_for

SSL = struct.pack(">II", 8, 80877103)
GSS = struct.pack(">II", 8, 80877104)
V3 = 196608
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    made = Gateway(
        tmp_path_factory.mktemp("wire"),
        postgres,
        database="app",
        guardrails={"enabled": True, "except": ["limit-rate", "limit-results", "limit-hourly"]},
    )
    made.config["access"][0]["subjects"] = {"groups": ["agents", "reader"]}
    made.config["policy"]["rules"] = [
        {**made.config["policy"]["rules"][0], "subjects": {"groups": ["agents"]}},
        {"name": "reads", "effect": "allow", "subjects": {"groups": ["reader"]},
         "operations": {"effects": ["read"]}},
    ]  # fmt: skip
    made.config["sessions"] = {"login_timeout": "4s"}
    with made as running_:
        yield running_


@pytest.fixture(scope="module")
def reader(gateway: Gateway) -> str:
    return gateway.token("reader", groups=["reader"])


def packet(code: int, *pairs: tuple[str | bytes, str | bytes], end: bytes = b"\0") -> bytes:
    body = struct.pack(">I", code) + b"".join(text(k) + text(v) for k, v in pairs) + end
    return struct.pack(">I", len(body) + 4) + body


def startup(*more: tuple[str, str], code: int = V3) -> bytes:
    return packet(code, ("user", "app"), ("database", "db"), *more)


def exchange(gateway: Gateway, data: bytes, token: str | None = None) -> bytes:
    """Send `data`, and the token once it is asked for; return all that is said up to the end."""
    said = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as sock:
        try:
            sock.sendall(data)
            asked = False
            while True:
                got = sock.recv(65536)
                if not got:
                    return said
                said += got
                if not asked and b"R\0\0\0\x08\0\0\0\x03" in said:
                    asked = True
                    sock.sendall(wire.message("p", text(token or gateway.agent)))
                elif said.endswith(b"Z\0\0\0\x05I"):
                    return said
        except ConnectionError:
            return said


def refused(said: bytes) -> bool:
    return b"SFATAL\0" in said and b"Z\0\0\0\x05I" not in said


def alive(gateway: Gateway) -> None:
    with open_wire(gateway) as session:
        session.send(wire.query("select 1"))
        assert [answer.kind for answer in session.until_ready()] == ["T", "D", "C", "Z"]


def open_wire(gateway: Gateway, token: str | None = None, **more: str) -> Wire:
    return Wire(gateway.port, {"user": "app", "database": "db", **more}, token or gateway.agent)


# --- 17: before the first message


def test_an_ordinary_login_for_comparison(gateway: Gateway) -> None:
    assert exchange(gateway, startup()).endswith(b"Z\0\0\0\x05I")


STARTUPS: dict[str, bytes] = {
    "replication": startup(("replication", "database")),
    "replication-true": startup(("replication", "true")),
    "replication-physical": startup(("replication", "1")),
    "replication-on": startup(("replication", "ON")),
    "replication-in-odd-letters": startup(("Replication", "database")),
    "replication-off-then-on": startup(("replication", "off"), ("replication", "database")),
    "replication-in-options": startup(("options", "-c replication=database")),
    "user-twice": startup(("user", "postgres")),
    "database-twice": startup(("database", "other")),
    "setting-twice-in-other-letters": startup(("timezone", "UTC"), ("TimeZone", "GMT")),
    "lifts-the-encoding": startup(("client_encoding", "LATIN1")),
    "encoding-by-options": startup(("options", "-c client_encoding=SJIS")),
    "strings-by-options": startup(("options", "-c standard_conforming_strings=off")),
    "strings-by-long-option": startup(("options", "--standard-conforming-strings=off")),
    "strings-with-an-escaped-space": startup(("options", "-c\\ standard_conforming_strings=off")),
    "strings-directly": startup(("standard_conforming_strings", "off")),
    "role-by-options": startup(("options", "-c role=postgres")),
    "session-authorization": startup(("options", "-c session_authorization=postgres")),
    "library": startup(("options", "-c session_preload_libraries=evil")),
    "local-library": startup(("local_preload_libraries", "evil")),
    "superuser-switch": startup(("options", "-O")),
    "system-indexes-switch": startup(("options", "-P")),
    "backslash-switch": startup(("options", "-c log_statement=none")),
    "other-switch": startup(("options", "-d 5")),
    "long-switch-twice": startup(("options", "--search_path=a --role=b")),
    "tab-between": startup(("options", "-c\trole=postgres")),
    "options-without-a-value": startup(("options", "-c")),
    "row-security": startup(("row_security", "off")),
    "backtrace": startup(("options", "-c backtrace_functions=x")),
    "custom-setting": startup(("sallyport.subject", "admin")),
    "protocol-2": packet(2 << 16, ("user", "app")),
    "protocol-4": startup(code=4 << 16),
    "protocol-0": startup(code=0),
    "protocol-huge": startup(code=0xFFFFFFFF),
    "ssl-code-off-by-one": startup(code=80877101),
    "cancel-code-as-startup": startup(code=80877102)[:200],
    "no-terminator": packet(V3, ("user", "app"), ("database", "db"), end=b""),
    "name-without-value": packet(V3, end=b"user\0"),
    "bytes-behind-the-end": packet(V3, ("user", "app"), ("database", "db"), end=b"\0user\0x\0\0"),
    "name-that-is-not-utf8": packet(V3, ("user", "app"), (b"\xff\xfe", "x")),
    "user-that-is-not-utf8": packet(V3, ("user", b"\xff\xfe"), ("database", "db")),
    "sixty-five-parameters": startup(*((f"a{n}", "x") for n in range(65))),
    "long-value": startup(("application_name", "x" * 5000)),
    "long-name": startup(("x" * 100, "y")),
    "length-zero": struct.pack(">I", 0) + bytes(16),
    "length-four": struct.pack(">I", 4) + bytes(16),
    "length-seven": struct.pack(">I", 7) + bytes(16),
    "length-negative": struct.pack(">i", -1) + bytes(16),
    "length-over-the-limit": struct.pack(">II", 10_001, V3) + bytes(20_000),
    "length-of-a-gigabyte": struct.pack(">II", 1 << 30, V3) + bytes(100),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls-without-tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "tls-alert": b"\x15\x03\x01\x00\x02\x02\x28" + bytes(8),
    "ssh": b"SSH-2.0-OpenSSH_9.0\r\n",
    "a-message-before-the-startup": wire.query("select 1") + startup(),
    "ssl-twice": SSL + SSL + startup(),
    "gss-twice": GSS + GSS + startup(),
    "ssl-gss-ssl": SSL + GSS + SSL + startup(),
    "token-stuffed-behind-the-startup": startup() + wire.message("p", b"x\0"),
    "query-stuffed-behind-the-startup": startup() + wire.query("select 1"),
    "cancel-behind-ssl": SSL + struct.pack(">II", 16, 80877102) + bytes(8) + startup(),
}  # fmt: skip


@pytest.mark.parametrize("name", STARTUPS)
def test_a_hostile_start_begins_no_session(gateway: Gateway, name: str) -> None:
    said = exchange(gateway, STARTUPS[name])
    assert b"Z\0\0\0\x05I" not in said
    alive(gateway)


@pytest.mark.parametrize("first", [SSL, GSS, SSL + GSS, GSS + SSL], ids=["ssl", "gss", "sg", "gs"])
def test_a_startup_in_one_piece_with_a_declined_request_is_plain(
    gateway: Gateway, first: bytes
) -> None:
    """The request was declined in the clear, so nothing behind it ever counts as protected."""
    said = exchange(gateway, first + startup())
    assert said.startswith(b"N" * (len(first) // 8) + b"R")
    assert said.endswith(b"Z\0\0\0\x05I")


@pytest.mark.parametrize("minor", [1, 3, 9999, 0xFFFF])
def test_a_newer_minor_version_is_negotiated_down(gateway: Gateway, minor: int) -> None:
    said = exchange(gateway, startup(code=V3 + minor))
    assert said.startswith(b"v") if minor > 2 else said.startswith((b"R", b"v"))
    assert said.endswith(b"Z\0\0\0\x05I")


def test_protocol_options_that_nobody_knows_are_named_back(gateway: Gateway) -> None:
    said = exchange(gateway, startup(("_pq_.evil", "1")))
    assert said.startswith(b"v")
    assert b"_pq_.evil\0" in said


@pytest.mark.parametrize(
    "more",
    [("options", "-c default_transaction_read_only=off"), ("default_transaction_read_only", "off"),
     ("options", "-cdefault_transaction_read_only=false --default-transaction-read-only=no")],
    ids=["options", "direct", "twice"],
)  # fmt: skip
def test_nothing_at_the_start_lifts_the_read_only_state(
    gateway: Gateway, reader: str, more: tuple[str, str]
) -> None:
    try:
        with open_wire(gateway, reader, **{more[0]: more[1]}) as session:
            session.send(wire.query("show default_transaction_read_only"))
            answers = session.until_ready()
            assert [a.cells for a in answers if a.kind == "D"] == [[b"on"]]
            session.send(wire.query("reset all"))
            session.until_ready()
            session.send(wire.query("show transaction_read_only"))
            assert [a.cells for a in session.until_ready() if a.kind == "D"] == [[b"on"]]
    except Gone as gone:
        assert "may not" in str(gone) or "twice" in str(gone)


def test_the_user_name_grants_nothing(gateway: Gateway) -> None:
    """What names no login of the target is not passed on: the session has the default login."""
    for user in ("postgres", "app\n", "APP", "app; drop", "admin", "dana", "../app", "app/x"):
        try:
            with open_wire(gateway, user=user) as session:
                session.send(wire.query("select session_user, current_user"))
                answers = session.until_ready()
                assert [a.cells for a in answers if a.kind == "D"] == [[b"app", b"app"]]
        except Gone as gone:
            assert "no answer" not in str(gone)


# --- 18: messages that are none

LENGTHS: dict[str, bytes] = {
    f"{kind}-{name}": kind.encode() + struct.pack(">I", length)
    for kind in "QPBDECHSXdfcFp"
    for name, length in {
        "negative": 0xFFFFFFFF, "zero": 0, "three": 3, "wrapping": 0x80000000,
        "huge": 0x7FFFFFFF,
    }.items()
    # What is longer than a gate takes is refused at its header; HSXc carry nothing at all.
}  # fmt: skip


def test_lengths_that_no_message_has_end_the_session(gateway: Gateway) -> None:
    for name, data in LENGTHS.items():
        with open_wire(gateway) as session:
            session.send(data + bytes(64))
            with pytest.raises(Gone) as gone:
                session.until_ready()
            assert "no answer" not in str(gone.value), name
    alive(gateway)


BODIES: dict[str, bytes] = {
    "query-without-nul": wire.message("Q", b"select 1"),
    "query-with-a-second-string": wire.message("Q", b"select 1\0drop table x\0"),
    "query-not-utf8": wire.query(b"select '\xff\xfe'"),
    "query-empty-body": wire.message("Q"),
    "parse-without-types": wire.message("P", b"\0select 1\0"),
    "parse-negative-types": wire.message("P", b"\0select 1\0\xff\xff"),
    "parse-more-types-than-bytes": wire.message("P", b"\0select 1\0\x7f\xff"),
    "bind-negative-formats": wire.message("B", b"\0\0\xff\xff"),
    "bind-a-value-of-minus-two": wire.message("B", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"),
    "bind-a-value-longer-than-it": wire.message("B", b"\0\0\0\0\0\1\0\0\xff\xff\0\0"),
    "bind-format-seven": wire.message("B", b"\0\0\0\1\0\7\0\0\0\0"),
    "bind-bytes-behind": wire.message("B", b"\0\0\0\0\0\0\0\0more"),
    "describe-of-nothing": wire.message("D", b"X\0"),
    "describe-empty": wire.message("D"),
    "execute-short": wire.message("E", b"\0\0\0"),
    "close-of-nothing": wire.message("C", b"Q\0"),
    "sync-with-a-body": wire.message("S", b"x"),
    "flush-with-a-body": wire.message("H", b"select"),
    "password-again": wire.message("p", b"token\0"),
    "copy-data-out-of-turn-is-no-statement": wire.message("\x01", b"x"),
    "unknown-type": wire.message("z", b"drop table x\0"),
    "type-of-the-server": wire.message("T", b"\0\0"),
    "type-nul": wire.message("\0"),
    "startup-again": struct.pack(">II", 8, V3),
    "ssl-in-mid-session": SSL,
}


def test_bodies_that_are_none_end_the_session(gateway: Gateway) -> None:
    for name, data in BODIES.items():
        with open_wire(gateway) as session:
            session.send(data + SYNC)
            with pytest.raises(Gone) as gone:
                session.until_ready(2 if name.startswith("query") else 1)
                session.send(wire.query("select 1"))
                session.until_ready(2)
            assert "no answer" not in str(gone.value), name
    alive(gateway)


def test_a_byte_at_a_time_is_the_same_session(gateway: Gateway) -> None:
    """Simple, extended, COPY in and out: answered as in one piece."""
    script = [
        wire.query("create temp table slow (a int, b text)"),
        wire.parse("s", "insert into slow values ($1, $2)") + wire.bind("", "s", ["1", "x"])
        + wire.execute() + SYNC,
        wire.query("copy slow from stdin"),
        wire.message("d", b"2\ttwo\n") + wire.message("d", b"3\t\\N\n") + wire.COPY_DONE,
        wire.query("copy slow to stdout"),
        wire.parse("", "select * from slow order by a") + wire.bind(results=[1])
        + wire.describe() + wire.execute("", 2) + wire.execute() + SYNC,
        wire.query("begin; select 1/0"),
        wire.query("rollback"),
    ]  # fmt: skip
    transcripts: list[list[tuple[str, bytes]]] = []
    for step in (1 << 20, 1):
        with open_wire(gateway) as session:
            found: list[tuple[str, bytes]] = []
            for data in script:
                for position in range(0, len(data), step):
                    session.send(data[position : position + step])
                # oids of temporary tables differ
                found += [(a.kind, a.body if a.kind != "T" else b"") for a in session.until_ready()]
            transcripts.append(found)
    assert transcripts[0] == transcripts[1]


def test_half_a_message_and_silence_holds_nobody_up(gateway: Gateway) -> None:
    halves = []
    for cut in (1, 4, 5, 9):
        session = open_wire(gateway)
        session.send(wire.query("select 'never finished'")[:cut])
        halves.append(session)
    alive(gateway)
    for session in halves:
        session.close()
    wait_for(
        lambda: not gateway.admin.get("/sessions", state="open", limit="100")["sessions"] or None,
        "sessions of clients that left are over",
    )


def test_a_silent_client_before_its_login_is_cut_off(gateway: Gateway) -> None:
    sockets = []
    for data in (b"", startup()[:9], SSL[:3], startup(), SSL + startup()[:1]):
        sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
        sock.sendall(data)
        sockets.append(sock)
    for sock in sockets:
        with sock:
            try:
                while sock.recv(100):
                    pass
            except ConnectionError:
                pass


def test_a_million_tiny_messages_cost_no_memory(gateway: Gateway) -> None:
    """Flush, a million times, then Syncs: nothing piles up, others are served meanwhile."""
    worker = running(gateway, "worker")
    alive(gateway)
    start = unique_memory(worker)
    with open_wire(gateway) as session:
        sender = threading.Thread(
            target=lambda: [session.send(wire.FLUSH * 10_000) for _ in range(100)]
        )
        sender.start()
        alive(gateway)
        sender.join()
        session.send(SYNC * 2_000)
        session.until_ready(2_000)
        grown = unique_memory(worker) - start
    assert grown < 32 * MEGABYTE, grown
    alive(gateway)


def test_a_slow_reader_of_a_big_result_costs_bounded_memory(gateway: Gateway) -> None:
    """200 MB are on their way to somebody who does not read."""
    worker = running(gateway, "worker")
    alive(gateway)
    start = unique_memory(worker)
    with open_wire(gateway) as session:
        session.send(wire.query("select repeat('x', 2000) from generate_series(1, 100000)"))
        most = 0
        for _ in range(10):
            alive(gateway)
            most = max(most, unique_memory(worker) - start)
        assert most < 24 * MEGABYTE, most
    alive(gateway)


def test_a_big_copy_into_a_blocked_table_costs_bounded_memory(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    """The server does not read on; so neither does the gateway."""
    postgres.psql("drop table if exists blocked; create table blocked (a text);"
                  " grant all on blocked to app", "app")  # fmt: skip
    worker = running(gateway, "worker")
    with open_wire(gateway) as locker, open_wire(gateway) as session:
        locker.send(wire.query("begin; lock table blocked in access exclusive mode"))
        locker.until_ready()
        session.send(wire.query("copy blocked from stdin"))
        start = unique_memory(worker)
        stuck = threading.Event()

        def flood() -> None:
            try:
                for _ in range(200):
                    session.send(wire.message("d", b"y" * 999_999 + b"\n"))
            except Gone:
                pass
            stuck.set()

        sender = threading.Thread(target=flood, daemon=True)
        sender.start()
        for _ in range(10):
            alive(gateway)
        assert unique_memory(worker) - start < 24 * MEGABYTE
        assert not stuck.is_set(), "200 MB were taken in while the table was locked"
        session.close()
        locker.send(wire.query("rollback"))
        locker.until_ready()
        sender.join(60)
    alive(gateway)


def test_ten_thousand_prepared_statements_and_portals_are_bounded(gateway: Gateway) -> None:
    worker = running(gateway, "worker")
    start = unique_memory(worker)
    with open_wire(gateway) as session:
        refusals: list[str] = []
        for batch in range(20):
            data = b"".join(
                wire.parse(f"s{batch}-{n}", f"select {n}")
                + wire.bind(f"p{batch}-{n}", f"s{batch}-{n}")
                for n in range(500)
            )
            session.send(data + SYNC)
            answers = session.until_ready()
            refusals += [a.fields["M"] for a in answers if a.kind == "E"]
        grown = unique_memory(worker) - start
        assert grown < 64 * MEGABYTE, grown
    assert all(refusals), refusals
    alive(gateway)


def test_one_huge_statement_is_refused_and_no_more(gateway: Gateway, reader: str) -> None:
    """What is too large to be read is UNKNOWN: no rule of this subject allows that."""
    worker = running(gateway, "worker")
    start = unique_memory(worker)
    for size in (2 * MEGABYTE, 20 * MEGABYTE):
        with open_wire(gateway, reader) as session:
            try:
                session.send(wire.query("select '" + "x" * size + "'"))
                answers = session.until_ready()
                assert next(a.kind for a in answers) == "E"
            except Gone:
                pass
    assert unique_memory(worker) - start < 64 * MEGABYTE
    alive(gateway)


DEEP: dict[str, Any] = {
    "parentheses": "select " + "(" * 5000 + "1" + ")" * 5000,
    "sum": "select " + "1+" * 30_000 + "1",
    "concatenation": "select " + "'a'||" * 3000 + "'a'",
    "not": "select " + "not " * 5000 + "true",
    "subselects": "select " + "(select " * 300 + "1" + ")" * 300,
    "joins": "select 1 from pg_class a0 " + " ".join(f"join pg_class a{n} on true" for n in range(1, 300)),
    "array": "select " + "array[" * 1000 + "1" + "]" * 1000,
    "case": "select " + "case when true then " * 1000 + "1" + " end" * 1000,
    "union": " union all ".join(["select 1"] * 3000),
    "values": "values " + ",".join(["(1)"] * 50_000),
    "comments": "/*" * 5000 + "*/" * 5000 + "select 1",
    "cte": "with " + ",".join(f"c{n} as (select 1)" for n in range(2000)) + " select 1",
    "statements": ";" * 100_000 + "select 1",
    "names": "select " + ".".join(["a"] * 10_000),
    "indirection": "select a" + "[1]" * 10_000,
    "json": "select '" + "[" * 50_000 + "'::jsonb",
}  # fmt: skip


def test_texts_that_break_parsers_break_no_worker(gateway: Gateway) -> None:
    worker = running(gateway, "worker")
    for name, sql in DEEP.items():
        with open_wire(gateway) as session:
            try:
                session.send(wire.query("set statement_timeout = '2s'"))
                session.until_ready()
                session.send(wire.query(sql))
                session.until_ready()
            except Gone as gone:
                assert "no answer" not in str(gone), name
        assert running(gateway, "worker") == worker, f"{name} killed the worker"
    alive(gateway)
