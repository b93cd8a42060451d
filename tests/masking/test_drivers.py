"""Cursors and prepared statements of a driver, over what is rewritten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.bypass.postgres import wire
from tests.masking.worlds import NAMES, Worlds

TEXT = "select id, upper(ssn) from customers where id < %s order by ssn, id"


@pytest.fixture
def connection(worlds: Worlds) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(
        host="127.0.0.1", port=worlds.gateway.port, user="app", password=worlds.tokens["masked"],
        dbname=NAMES[0],
    ) as made:  # fmt: skip
        yield made


def good(rows: list[Any]) -> bool:
    return len(rows) > 3 and {row[1] for row in rows} <= {"[REDACTED]", None}


def test_a_named_cursor_is_read_in_pieces(connection: psycopg.Connection[Any]) -> None:
    for binary in (False, True):
        with connection.cursor("named", binary=binary, scrollable=True) as cursor:
            cursor.itersize = 2
            assert good(list(cursor.execute(TEXT, (100,))))
            cursor.scroll(0, mode="absolute")
            assert len(cursor.fetchmany(2)) == 2


def test_a_held_cursor_outlives_its_transaction(connection: psycopg.Connection[Any]) -> None:
    with connection.cursor("held", withhold=True) as cursor:
        cursor.execute(TEXT, (100,))
        connection.commit()
        assert good(cursor.fetchall())
        connection.commit()


def test_a_name_serves_one_query_after_another(connection: psycopg.Connection[Any]) -> None:
    for text in (TEXT, "select id, name from customers where id < %s", TEXT) * 3:
        with connection.cursor("again") as cursor:
            assert len(cursor.execute(text, (100,)).fetchall()) > 3
        connection.commit()


def test_what_is_run_often_is_prepared(connection: psycopg.Connection[Any]) -> None:
    for _ in range(12):
        assert good(connection.execute(TEXT, (100,)).fetchall())


def test_a_failed_cursor_leaves_the_next_one(connection: psycopg.Connection[Any]) -> None:
    with connection.cursor("torn") as cursor, pytest.raises(psycopg.errors.DivisionByZero):
        cursor.execute("select 1 / (id - id) from customers where ssn > ''").fetchall()
    connection.rollback()
    with connection.cursor("torn") as cursor:
        assert good(cursor.execute(TEXT, (100,)).fetchall())


def test_copy_streams(connection: psycopg.Connection[Any]) -> None:
    with connection.cursor() as cursor:
        text = b"copy (select id, upper(ssn) from customers order by ssn, id) to stdout"
        with cursor.copy(text) as copy:
            assert good(list(copy.rows()))


def test_copies_of_one_message_are_masked_each_by_itself(worlds: Worlds) -> None:
    """One is rewritten, the others are masked in their rows, or not at all."""
    session = worlds.connect(0, direct=False)
    session.send(
        wire.query(
            "copy (select id, ssn from customers where id = 1) to stdout;"
            "copy (select upper(ssn), ssn from customers where id = 1) to stdout;"
            "copy (select id from customers where id = 1) to stdout;"
            "copy customers (ssn) to stdout"
        )
    )
    rows = [answer.body for answer in session.until_ready(1) if answer.kind == "d"]
    session.close()
    assert rows[:3] == [b"1\t[redacted]\n", b"[REDACTED]\t[redacted]\n", b"1\n"]
    assert len(rows) > 5 and set(rows[3:]) <= {b"[redacted]\n", b"\\N\n"}
