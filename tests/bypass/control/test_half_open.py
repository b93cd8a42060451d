"""Connections that never log in keep nobody out."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import Gateway
from tests.support.processes import running
from tests.wire.rig import Certificates

MAXIMUM = 12

STARTUP = b"\x00\x03\x00\x00user\x00app\x00database\x00db\x00\x00"
HALVES = {
    "nothing": b"",
    "half a length": b"\x00\x00",
    "half a startup": struct.pack("!i", len(STARTUP) + 4) + STARTUP[:9],
    "a startup without a token": struct.pack("!i", len(STARTUP) + 4) + STARTUP,
    "a cancel of nobody's": struct.pack("!iiii", 16, 80877102, 1, 2)[:15],
}


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("half-open")
    extra = {"sessions": {"maximum": MAXIMUM, "login_timeout": "60s"}}
    with Gateway(folder, postgres, extra=extra) as one:
        yield one


@pytest.mark.parametrize("said", HALVES.values(), ids=HALVES.keys())
def test_strangers_keep_nobody_out_and_end_no_session(gateway: Gateway, said: bytes) -> None:
    with contextlib.ExitStack() as stack, psycopg.connect(gateway.dsn(), autocommit=True) as there:
        for _ in range(MAXIMUM * 3):
            stranger = socket.create_connection(("127.0.0.1", gateway.port))
            stack.enter_context(stranger)
            stranger.sendall(said)
        time.sleep(0.3)
        for _ in range(3):
            with psycopg.connect(gateway.dsn(), autocommit=True) as another:
                assert another.execute("SELECT 1").fetchone() == (1,)
        assert there.execute("SELECT 2").fetchone() == (2,)


def test_sessions_are_never_more_than_the_maximum(gateway: Gateway) -> None:
    with contextlib.ExitStack() as stack:
        opened = 0
        for _ in range(MAXIMUM + 4):
            with contextlib.suppress(psycopg.OperationalError):
                stack.enter_context(psycopg.connect(gateway.dsn(), connect_timeout=5))
                opened += 1
        assert opened == MAXIMUM


def test_handshakes_that_are_never_made_are_let_go(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    pem = Certificates()
    for name, text in (("cert", pem.certificate), ("key", pem.key)):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(text)
    tls = {"certificate": f"file:{tmp_path}/cert", "key": f"file:{tmp_path}/key"}
    with Gateway(
        tmp_path / "tls", postgres, listener={"tls": tls}, extra={"sessions": {"maximum": MAXIMUM}}
    ) as gateway:
        before = descriptors(gateway)
        for said in (b"\x16", struct.pack("!ii", 8, 80877103)):
            with contextlib.ExitStack() as stack:
                for _ in range(MAXIMUM * 4):
                    stranger = socket.create_connection(("127.0.0.1", gateway.port))
                    stack.enter_context(stranger)
                    stranger.sendall(said)
                time.sleep(0.3)
                with psycopg.connect(gateway.dsn(sslmode="require")) as another:
                    assert another.execute("SELECT 1").fetchone() == (1,)
                deadline = time.monotonic() + 5
                while descriptors(gateway) > before + MAXIMUM + 4 and time.monotonic() < deadline:
                    time.sleep(0.1)
                assert descriptors(gateway) <= before + MAXIMUM + 4


def descriptors(gateway: Gateway) -> int:
    """Return how many file descriptors the worker has open."""
    return len(os.listdir(f"/proc/{running(gateway, 'worker')}/fd"))
