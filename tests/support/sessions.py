"""Sessions through a gateway, as the tests of its life use them: in the foreground and beside it."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import psycopg

from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import Gateway
from tests.support.processes import PATIENCE, wait_for

Connection = psycopg.Connection[tuple[Any, ...]]


class Background(threading.Thread):
    """One statement in a session of its own, run beside the test; `error` or `rows` tell how."""

    def __init__(self, dsn: str, statement: str) -> None:
        super().__init__(daemon=True)
        self.notices: list[str] = []
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.connection.add_notice_handler(
            lambda notice: self.notices.append(str(notice.message_primary))
        )
        self.statement = statement
        self.error: psycopg.Error | None = None
        self.rows: list[tuple[Any, ...]] | None = None
        self.start()

    def run(self) -> None:
        try:
            cursor = self.connection.execute(self.statement.encode())
            self.rows = cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            self.error = error

    def result(self) -> Background:
        """Wait for the end, whatever it is."""
        self.join(PATIENCE)
        assert not self.is_alive(), f"hangs: {self.statement}"
        return self

    @property
    def why(self) -> str:
        """What the error says, to its last field."""
        if self.error is None:
            return ""
        diagnosis = self.error.diag
        return f"{self.error} {diagnosis.message_detail or ''} {diagnosis.message_hint or ''}"


class Listener:
    """An idle session that notices how it is ended."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.codes: list[str | None] = []
        self.texts: list[str | None] = []
        self.connection.add_notice_handler(self._noticed)

    def _noticed(self, notice: psycopg.errors.Diagnostic) -> None:
        self.codes.append(notice.sqlstate)
        self.texts.append(notice.message_primary)

    def over(self) -> bool:
        """Whether the session is over; asks nothing of it."""
        pgconn = self.connection.pgconn
        if pgconn.status == psycopg.pq.ConnStatus.OK:
            with contextlib.suppress(psycopg.OperationalError):
                pgconn.consume_input()
                pgconn.is_busy()
        return pgconn.status != psycopg.pq.ConnStatus.OK


def connect(gateway: Gateway, token: str | None = None, **options: str) -> Connection:
    """Begin a session."""
    return psycopg.connect(gateway.dsn(token, **options), autocommit=True)


def connect_soon(gateway: Gateway, token: str | None = None) -> Connection:
    """Begin a session as soon as that is possible again."""

    def attempt() -> Connection | None:
        with contextlib.suppress(psycopg.OperationalError):
            return connect(gateway, token)
        return None

    return wait_for(attempt, "a session can begin")


def at_work(postgres: EmbeddedPostgres, mark: str) -> None:
    """Wait until the target runs a statement that holds `mark`."""
    wait_for(lambda: _running(postgres, mark), f"the target runs {mark}")


def at_rest(postgres: EmbeddedPostgres, mark: str) -> None:
    """Wait until the target runs no statement that holds `mark`."""
    wait_for(lambda: not _running(postgres, mark), f"the target runs {mark} no more")


def _running(postgres: EmbeddedPostgres, mark: str) -> bool:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
        f"AND pid <> pg_backend_pid() AND query LIKE '%{mark}%'"
    )
    return postgres.psql(query).strip() != "0"
