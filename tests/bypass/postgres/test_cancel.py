"""Class 16: cancel requests. Each has its own connection and nothing but a key: whose is it?"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.bypass.postgres import wire
from tests.bypass.postgres.wire import Answer, Gone, Wire
from tests.support.gateway import Gateway
from tests.support.processes import wait_for

CANCEL = 80877102


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("cancel"), postgres, database="app") as running:
        yield running


def open_wire(gateway: Gateway) -> Wire:
    return Wire(gateway.port, {"user": "app", "database": "db"}, gateway.agent)


def key_of(session: Wire) -> bytes:
    return next(answer.body for answer in session.greeting if answer.kind == "K")


def send_cancel(gateway: Gateway, key: bytes, *, length: int | None = None) -> bytes:
    """Send a cancel request as libpq does; return what is answered before the other side closes."""
    body = struct.pack(">I", CANCEL) + key
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as sock:
        sock.sendall(struct.pack(">I", len(body) + 4 if length is None else length) + body)
        said = b""
        try:
            while data := sock.recv(1000):
                said += data
        except ConnectionError:
            pass
        return said


def running(gateway: Gateway, mark: str, count: int = 1) -> None:
    """Wait until the server runs `count` statements with `mark`."""
    asked = (
        "select count(*) from pg_stat_activity where state = 'active' and query like"
        f" '%''{mark}''%' and pid <> pg_backend_pid()"
    )
    wait_for(lambda: int(gateway.server.psql(asked)) >= count, f"`{mark}` runs")


def codes(answers: list[Answer]) -> list[str]:
    return [answer.fields["C"] for answer in answers if answer.kind == "E"]


def test_ones_own_statement_is_cancelled_and_the_session_goes_on(gateway: Gateway) -> None:
    with open_wire(gateway) as session:
        session.send(wire.query("select pg_sleep(60), 'own'"))
        running(gateway, "own")
        assert send_cancel(gateway, key_of(session)) == b""
        assert codes(session.until_ready()) == ["57014"]
        session.send(wire.query("select 1"))
        assert codes(session.until_ready()) == []


def test_another_sessions_key_cancels_that_one_alone(gateway: Gateway) -> None:
    with open_wire(gateway) as attacker, open_wire(gateway) as victim:
        victim.send(wire.query("select pg_sleep(1), 'victim'"))
        attacker.send(wire.query("select pg_sleep(60), 'attacker'"))
        running(gateway, "victim")
        running(gateway, "attacker")
        send_cancel(gateway, key_of(attacker))
        assert codes(attacker.until_ready()) == ["57014"]
        assert codes(victim.until_ready()) == []


def test_guesses_about_a_key_reach_nothing(gateway: Gateway) -> None:
    """The right process id with wrong secrets, its neighbours, and parts of the right secret."""
    with open_wire(gateway) as victim:
        victim.send(wire.query("select pg_sleep(1.5), 'guessed'"))
        running(gateway, "guessed")
        key = key_of(victim)
        guesses = [key[:4] + random.randbytes(len(key) - 4) for _ in range(20)]
        guesses += [key[:-1] + bytes([key[-1] ^ 1]), key[:-1], key + b"\0", key[:4], b"", bytes(8)]
        guesses += [struct.pack(">I", struct.unpack(">I", key[:4])[0] + 1) + key[4:]]
        guesses += [bytes(4) + key[4:], key[4:] + key[:4], b"\xff" * 8, key + bytes(255)]
        for guess in guesses:
            send_cancel(gateway, guess)
        assert codes(victim.until_ready()) == []


def test_the_servers_own_key_is_no_key_of_the_gateways(gateway: Gateway) -> None:
    """The backend's process id can be asked for; it means nothing here, and is not the key's."""
    with open_wire(gateway) as victim:
        victim.send(wire.query("select pg_backend_pid()"))
        pid = int(next(a.cells[0] or b"" for a in victim.until_ready() if a.kind == "D"))
        victim.send(wire.query("select pg_sleep(1), 'backend'"))
        running(gateway, "backend")
        assert key_of(victim)[:4] != struct.pack(">I", pid)
        for _ in range(5):
            send_cancel(gateway, struct.pack(">I", pid) + random.randbytes(4))
        send_cancel(gateway, struct.pack(">I", pid) + key_of(victim)[4:])
        assert codes(victim.until_ready()) == []


def test_a_key_is_worth_nothing_once_its_session_ended(gateway: Gateway) -> None:
    with open_wire(gateway) as first:
        key = key_of(first)
        first.send(wire.TERMINATE)
        with pytest.raises(Gone):
            first.until_ready()
    with open_wire(gateway) as second:
        assert key_of(second) != key
        second.send(wire.query("select pg_sleep(1), 'second'"))
        running(gateway, "second")
        for _ in range(10):
            send_cancel(gateway, key)
        assert codes(second.until_ready()) == []


def test_a_cancel_between_statements_never_hits_the_next(gateway: Gateway) -> None:
    """Fifty times: once the cancel's connection is closed, the next statement is safe."""
    with open_wire(gateway) as session:
        key = key_of(session)
        for turn in range(50):
            assert send_cancel(gateway, key) == b""
            session.send(wire.query(f"select {turn}, pg_sleep(0.01)"))
            assert codes(session.until_ready()) == [], f"turn {turn} was hit"


def test_a_late_cancel_never_hits_the_next_statement(gateway: Gateway) -> None:
    """Fifty times the cancel races with its statement's end; whoever wins, the next one runs."""
    hit = 0
    with open_wire(gateway) as session:
        key = key_of(session)
        for turn in range(50):
            session.send(wire.query("select pg_sleep(0.02)"))
            time.sleep(0.001 * (turn % 25))
            canceller = threading.Thread(target=send_cancel, args=(gateway, key))
            canceller.start()
            hit += codes(session.until_ready()) == ["57014"]
            canceller.join()
            session.send(wire.query(f"select {turn}, pg_sleep(0.02)"))
            assert codes(session.until_ready()) == [], f"turn {turn}: the next was hit"
    assert hit, "no cancel ever came in time"


def test_a_cancel_in_a_pipeline_ends_one_batch_alone(gateway: Gateway) -> None:
    def batch(sql: str) -> bytes:
        return wire.parse("", sql) + wire.bind() + wire.execute() + wire.SYNC

    with open_wire(gateway) as session:
        session.send(batch("select pg_sleep(60), 'piped'") + batch("select 2") + batch("select 3"))
        running(gateway, "piped")
        send_cancel(gateway, key_of(session))
        answers = session.until_ready(3)
    assert codes(answers) == ["57014"]
    assert sum(answer.kind == "D" for answer in answers) == 2


def test_a_malformed_cancel_is_dropped_without_a_word(gateway: Gateway) -> None:
    with open_wire(gateway) as victim:
        victim.send(wire.query("select pg_sleep(1), 'malformed'"))
        running(gateway, "malformed")
        key = key_of(victim)
        for length in (8, 12, 15, 9999):
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as sock:
                sock.sendall(struct.pack(">II", length, CANCEL) + key)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1000):
                    pass
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as sock:
            # A startup packet may not follow a cancel on the same connection.
            body = struct.pack(">I", CANCEL) + bytes(8)
            sock.sendall(struct.pack(">I", 16) + body + struct.pack(">II", 8, 196608))
            said = b""
            try:
                while data := sock.recv(1000):
                    said += data
            except ConnectionError:
                pass
            assert b"R" not in said[:1]
        assert codes(victim.until_ready()) == []


def test_a_flood_of_cancels_stops_nobody(gateway: Gateway) -> None:
    with open_wire(gateway) as victim:
        victim.send(wire.query("select pg_sleep(2), 'flooded'"))
        running(gateway, "flooded")
        sockets = []
        for _ in range(300):
            sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
            sock.sendall(struct.pack(">II", 16, CANCEL) + random.randbytes(8))
            sockets.append(sock)
        with open_wire(gateway) as other:
            other.send(wire.query("select 1"))
            assert codes(other.until_ready()) == []
        for sock in sockets:
            with contextlib.suppress(ConnectionError):
                assert sock.recv(1000) == b""
            sock.close()
        assert codes(victim.until_ready()) == []
