"""Load: several clients that insert rows with unique ids, each in its own way, until told to stop."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import psycopg

from tests.support.gateway import Gateway
from tests.support.processes import PATIENCE

PAUSE = 0.005
"""Seconds between two pieces of work, so that a round's records can be read quickly."""

_serial = itertools.count()


def simple(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    text = f"INSERT INTO load VALUES ('{name}-a'); INSERT INTO load VALUES ('{name}-b')"
    result = connection.pgconn.exec_(text.encode())
    if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise psycopg.OperationalError(result.get_error_message())


def extended(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    connection.execute("INSERT INTO load VALUES (%s)", [name])


def prepared(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    connection.execute("INSERT INTO load VALUES (%s)", [name], prepare=True, binary=True)


def transaction(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    with connection.transaction():
        connection.execute("INSERT INTO load VALUES (%s)", [f"{name}-a"])
        connection.execute("INSERT INTO load VALUES (%s)", [f"{name}-b"])


def pipeline(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    with connection.pipeline():
        for letter in "abcde":
            connection.execute("INSERT INTO load VALUES (%s)", [f"{name}-{letter}"])


def copy(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY load FROM STDIN /* {name} */") as rows:
        for number in range(20):
            rows.write_row([f"{name}-{number}"])


KINDS = (simple, extended, prepared, transaction, pipeline, copy)


class Client(threading.Thread):
    """One client. `done` counts statements of all its sessions, `sessions` those that began."""

    def __init__(
        self,
        dsn: str,
        work: Callable[[psycopg.Connection[tuple[object, ...]], str], None],
    ) -> None:
        super().__init__(daemon=True, name=work.__name__)
        self.dsn = dsn
        self.work = work
        self.stopping = threading.Event()
        self.done = 0
        self.sessions = 0
        self.ended: list[str] = []
        self.wrong: list[BaseException] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with psycopg.connect(self.dsn, autocommit=True, connect_timeout=30) as connection:
                    self.sessions += 1
                    while not self.stopping.is_set():
                        self.work(connection, f"{self.work.__name__}-{next(_serial)}")
                        self.done += 1
                        self.stopping.wait(PAUSE)
            except psycopg.OperationalError as error:
                self._over(error)
            except psycopg.errors.InsufficientPrivilege as error:
                if "control does not answer" not in str(error):
                    self.wrong.append(error)
                    return
                self._over(error)
            except BaseException as error:
                self.wrong.append(error)
                return

    def _over(self, error: Exception) -> None:
        self.ended.append(str(error))
        time.sleep(0.02)


class Load:
    """All kinds of clients at once. A context manager; leaving it stops them."""

    def __init__(self, gateway: Gateway) -> None:
        self.clients = [Client(gateway.dsn(), kind) for kind in KINDS]

    def __enter__(self) -> Load:
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop. Raises: AssertionError for a client that hangs or met what it should not have."""
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join(PATIENCE)
        hanging = [client.name for client in self.clients if client.is_alive()]
        assert not hanging, f"clients hang: {hanging}"
        wrong = [(client.name, error) for client in self.clients for error in client.wrong]
        assert not wrong, wrong
