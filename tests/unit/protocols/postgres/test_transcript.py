"""Recorded rows read as the server itself would write them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import pq

from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres.transcript import bodies, hash_of, render_rows
from tests.unit.protocols.postgres.script import row

VALUES = [
    "true",
    "1::int2",
    "-2::int4",
    "9007199254740993::int8",
    "4294967295::oid",
    "1.5::float4",
    "-2.25::float8",
    "'text'::text",
    "'name'::name",
    "'x'::varchar",
    "'{\"a\": 1}'::json",
    "'{\"a\": [1, null]}'::jsonb",
    "'\\xdeadbeef'::bytea",
    "'6b1e7c56-9d0a-4c57-8c35-7e4f4b6a2f11'::uuid",
    "'2024-02-29'::date",
    "'1969-07-20 20:17:40.5'::timestamp",
    "0::numeric",
    "-12345.678900::numeric",
    "1e20::numeric",
    "0.00001234::numeric",
    "10000000000000000.0001::numeric(30,4)",
    "'NaN'::numeric",
    "null::int4",
]


def recorded(*cells: bytes | None) -> bytes:
    body = row(*cells)[5:]
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("value", VALUES)
def test_binary_reads_as_text(postgres: EmbeddedPostgres, value: str) -> None:
    with psycopg.connect(postgres.uri("app"), autocommit=True) as connection:
        results = [
            connection.pgconn.exec_params(f"select {value}".encode(), [], result_format=code)
            for code in (0, 1)
        ]
    text, binary = results
    assert text.status == binary.status == pq.ExecStatus.TUPLES_OK
    data = recorded(binary.get_value(0, 0))
    ((found,),) = render_rows("postgres/rows", data, (1,), (str(binary.ftype(0)),))
    expected = text.get_value(0, 0)
    assert found == (None if expected is None else expected.decode().replace("+00:00", "+00"))


def test_what_cannot_be_read_is_shown_as_hexadecimal() -> None:
    data = recorded(b"\1\2", b"not a date", b"")
    assert render_rows("postgres/rows", data, (1, 1, 1), ("600", "1082", "1700")) == [
        ["\\x0102", "\\x6e6f7420612064617465", "\\x"]
    ]


def test_copied_rows_read_as_lines() -> None:
    data = b"".join(len(line).to_bytes(4, "big") + line for line in (b"1\ta\n", b"\\N\tb\n"))
    assert render_rows("postgres/copy", data, (0, 0), ()) == [["1", "a"], [None, "b"]]


def test_a_cut_off_recording_is_an_error() -> None:
    with pytest.raises(ValueError, match="cut off"):
        list(bodies(recorded(b"1")[:-1]))
    with pytest.raises(ValueError, match="not known"):
        render_rows("mysql/rows", b"", (), ())


def test_the_hash_depends_on_how_rows_are_cut() -> None:
    assert hash_of("postgres/rows", [recorded(b"ab")]) != hash_of(
        "postgres/rows", [recorded(b"a"), recorded(b"b")]
    )
