"""Every type of PostgreSQL 18 through every transform, judged by the server itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import pq

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.demo.server import EmbeddedPostgres
from sallyport.masking.plan import Column, plan
from sallyport.masking.types import BY_NAME, BY_OID, Kind, type_of

KEY = b"0123456789abcdef" * 2
TRANSFORMS = ("redact", "partial", "hash", "null")

VALUES: dict[str, list[str]] = {
    "text": ["'Alexandra Quentin'", "''", "'x'", "'naïve 用户 name'", "'it''s \"q\" \\ {1,2}'"],
    "varchar": ["'Alexandra Quentin'"],
    "bpchar": ["'Alexandra '"],
    "name": ["'alexandra_quentin'"],
    '"char"': ["'q'"],
    "bool": ["true", "false"],
    "int2": ["12345", "'-32768'", "0"],
    "int4": ["123456789", "'-2147483648'", "7"],
    "int8": ["4111111111111111", "'-9223372036854775808'", "9223372036854775807", "0"],
    "oid": ["4123456789"],
    "numeric": [
        *("4111111111111111.25", "'-0.000012345'", "123456789012345678901234567890", "'NaN'"),
        *("'Infinity'", "0", "10000", "0.0001"),
    ],
    "float4": ["1234.567", "'NaN'", "1e30", "'-0'"],
    "float8": ["123456.789012", "'-Infinity'", "1e300", "4111111111111111"],
    "money": ["1234567.89"],
    "date": ["'1985-07-23'", "'infinity'", "'0044-03-15 BC'", "'5874897-12-31'"],
    "time": ["'13:14:15.1617'"],
    "timetz": ["'13:14:15+02'"],
    "timestamp": ["'1985-07-23 13:14:15.16'", "'infinity'", "'0044-03-15 BC'"],
    "timestamptz": ["'1985-07-23 13:14:15.16+02'", "'-infinity'"],
    "interval": ["'1 year 2 mons 3 days 04:05:06'"],
    "uuid": ["'f47ac10b-58cc-4372-a567-0e02b2c3d479'"],
    "bytea": ["'\\xdeadbeef00'", "''"],
    "json": ["""'{"a": [1, "\\u00e9\\n", null], "a": 4.5e10}'""", "'\"s\"'", "'17'"],
    "jsonb": ["""'{"a": [1, "é\\n", null], "b": 45000000000}'""", "'null'"],
    "jsonpath": ["'$.a[*] ? (@ > 3)'"],
    "inet": ["'192.168.100.128/25'", "'2001:db8::1'"],
    "cidr": ["'192.168.100.128/25'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'"],
    "point": ["'(1.5,2.5)'"],
    "line": ["'{1,2,3}'"],
    "lseg": ["'[(1,2),(3,4)]'"],
    "box": ["'(3,4),(1,2)'"],
    "path": ["'[(1,2),(3,4)]'"],
    "polygon": ["'((1,2),(3,4),(5,6))'"],
    "circle": ["'<(1,2),3>'"],
    "bit": ["B'1'"],
    "varbit": ["B'10110'"],
    "tsvector": ["'fat:1 cat:2'"],
    "tsquery": ["'fat & cat'"],
    "pg_lsn": ["'16/B374D848'"],
    "pg_snapshot": ["'10:20:10,14,15'"],
    "txid_snapshot": ["'10:20:10,14,15'"],
    "tid": ["'(7,3)'"],
    "xid": ["'731'"],
    "xid8": ["'7310000000'"],
    "cid": ["'3'"],
    "regclass": ["'pg_class'"],
    "regtype": ["'int4'"],
    "regproc": ["'now'"],
    "regprocedure": ["'abs(int4)'"],
    "regoper": ["'||/'"],
    "regoperator": ["'+(int4,int4)'"],
    "regrole": ["'postgres'"],
    "regnamespace": ["'pg_catalog'"],
    "regconfig": ["'english'"],
    "regdictionary": ["'simple'"],
    "regcollation": ["'\"C\"'"],
    "refcursor": ["'cursor_one'"],
    "aclitem": ["'postgres=r/postgres'"],
    "int2vector": ["'1 2 3'"],
    "oidvector": ["'1 2 3'"],
    "int4range": ["'[1,10)'", "'empty'", "'(,5)'"],
    "int8range": ["'[4111111111111111,4111111111111112)'"],
    "numrange": ["'[1.5,2.5]'"],
    "daterange": ["'[2024-01-01,2024-02-01)'"],
    "tsrange": ["'[2024-01-01 10:00,)'"],
    "tstzrange": ["'[2024-01-01 10:00+00,)'"],
    "int4multirange": ["'{[1,3),[5,8)}'"],
    "int8multirange": ["'{[1,3),[5,8)}'"],
    "nummultirange": ["'{[1,3),[5,8)}'"],
    "datemultirange": ["'{[2024-01-01,2024-02-01)}'"],
    "tsmultirange": ["'{}'"],
    "tstzmultirange": ["'{}'"],
    "text[]": [
        "array['Alexandra Quentin', 'b\"c', NULL, 'd,e', '{f}', 'null', '']",
        *("'{}'", "'[2:3]={a,b}'", "'{{a,b},{c,d}}'"),
    ],
    "int8[]": ["'{4111111111111111,NULL,5}'"],
    "numeric[]": ["'{{1.5},{2.5}}'"],
    "date[]": ["'{1985-07-23}'"],
    "uuid[]": ["'{f47ac10b-58cc-4372-a567-0e02b2c3d479}'"],
    "bool[]": ["'{t,f}'"],
    "box[]": ["'{(3,4),(1,2);(7,8),(5,6)}'"],
    "jsonb[]": ["""array['{"a": "b"}'::jsonb]"""],
    "bytea[]": ["""array['\\xdeadbeef'::bytea]"""],
    "timestamptz[]": ["'{1985-07-23 13:14:15+00}'"],
    "int4range[]": ["array['[1,5)'::int4range]"],
    "name[]": ["'{alexandra_quentin}'"],
    "inet[]": ["'{10.20.30.40}'"],
}

NO_SENSE_IN_BINARY = {"aclitem"}


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.uri(), autocommit=True) as connection:
        yield connection


def run(server: psycopg.Connection, sql: str, binary: bool) -> tuple[int, bytes | None]:
    result = server.pgconn.exec_params(sql.encode(), [], result_format=int(binary))
    assert result.status == pq.ExecStatus.TUPLES_OK, result.error_message
    return result.ftype(0), result.get_value(0, 0)


def accepts(server: psycopg.Connection, type: str, value: bytes | None, binary: bool) -> str | None:
    """Return how the server reads a value of `type`; fails when it does not."""
    oid = type_of(type.strip('"')).oid
    result = server.pgconn.exec_params(
        f"SELECT $1::{type}::text".encode(),
        [value],
        param_types=[oid],
        param_formats=[int(binary)],
    )
    assert result.status == pq.ExecStatus.TUPLES_OK, (type, value, result.error_message)
    got = result.get_value(0, 0)
    return None if got is None else got.decode()


CASES = [(kind, value) for kind, values in VALUES.items() for value in values]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_masked_cell_is_a_value_of_its_type(
    server: psycopg.Connection, transform: str, binary: bool
) -> None:
    for kind, value in CASES:
        if binary and kind in NO_SENSE_IN_BINARY:
            continue
        oid, raw = run(server, f"SELECT {value}::{kind}", binary)
        assert raw is not None
        assert oid == type_of(kind.strip('"')).oid, kind
        made = plan(
            (Mask("m", transform, ("*",)),),
            [Column("c", frozenset({("public", "t", "c")}), str(oid), binary)],
            KEY,
        )
        assert made is not None
        cell = made.cells[0]
        assert cell is not None
        masked = cell.mask(raw)
        accepts(server, kind, masked, binary)
        if transform == "null":
            assert masked is None
        elif transform in ("redact", "hash") and masked is not None and len(raw) >= 6:
            known = BY_OID[oid]
            neutral = (known.text or b"", known.binary or b"")
            allowed = b"|".join((*neutral, b" 00:00:00+00", bytes(20)))
            pieces = [raw[i : i + 6] for i in range(len(raw) - 5)]
            if known.kind is Kind.ARRAY:  # what belongs to the array and not to its elements
                frame = re.compile(rb"NULL|[]=]|\0.*\0", re.DOTALL)
                pieces = [piece for piece in pieces if not frame.search(piece)]
            leaked = [piece for piece in pieces if piece in masked and piece not in allowed]
            assert not leaked, (kind, value, masked)


def test_every_type_of_the_server_is_known_or_null(server: psycopg.Connection) -> None:
    rows = server.execute(
        "SELECT t.oid, typname, typelem, typtype FROM pg_type t WHERE typtype IN ('b', 'r', 'm')"
        " AND typnamespace = 'pg_catalog'::regnamespace AND typrelid = 0"
    ).fetchall()
    internal = {"pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "gtsvector"}
    internal |= {"pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "_gtsvector"}
    for oid, name, element, _ in rows:
        known = BY_OID.get(oid)
        if known is None:
            composite = server.execute(
                "SELECT typrelid <> 0 FROM pg_type WHERE oid = %s", (element or oid,)
            ).fetchone()
            assert name in internal or composite == (True,), name
            continue
        assert known.name == name
        if known.kind is Kind.ARRAY:
            assert known.element == element
    assert {kind.strip('"') for kind in VALUES} <= set(BY_NAME)


SECRET = "alice.liddell@wonder.example"
CARD = "4111111111111111"
HOLDERS = {
    "text": f"'mail {SECRET} now'::text",
    "json escaped": """'{"k": "alice.liddell\\u0040wonder.example", "n": 4111111111111111}'::json""",
    "json key": f"""'{{"{SECRET}": {{"{SECRET}": ["{CARD}"]}}}}'::json""",
    "jsonb": f"""'{{"k": "tel\\t{SECRET}", "n": {CARD}, "l": [{CARD}.0]}}'::jsonb""",
    "text array": f"array['{SECRET}', 'x\"y', NULL, 'a, {SECRET} \\']",
    "nested array": f"array[array['{SECRET}','b'],array['c','d']]",
    "json array": f"""array['{{"a": "{SECRET}"}}'::json]""",
    "int8": f"{CARD}::int8",
    "numeric": f"{CARD}.00::numeric",
    "float8": f"{CARD}::float8",
    "int8 array": f"array[{CARD}::int8, 5]",
    "numeric array": f"array[{CARD}::numeric, 5]",
    "int8range": f"int8range({CARD}, {CARD} + 1)",
    "int8multirange": f"int8multirange(int8range({CARD}, {CARD} + 1))",
    "numrange": f"numrange({CARD}, NULL)",
    "bytea": f"'{SECRET}'::bytea",
    "bytea array": f"array['{SECRET}'::bytea]",
    "tsvector": f"to_tsvector('simple', '{SECRET}')",
    "record": f"ROW(1, '{SECRET}', {CARD}::int8, ROW('{SECRET}', 'a \"b\"'))",
    "record of json": """ROW(1, '{"k": "alice.liddell\\u0040wonder.example"}'::json)""",
    "record array": f"array[ROW(1, '{SECRET}')]",
    "row of a table": "(SELECT h FROM holder h)",
    "array of rows": "(SELECT array_agg(h) FROM holder h)",
    "enum": "'alice.liddell@wonder.example'::odd",
    "domain": f"'{SECRET}'::mail",
    "domain array": f"array['{SECRET}'::mail]",
    "name": f"'{SECRET}'::name",
    "aggregate": f"(SELECT json_agg(x) FROM (SELECT '{SECRET}' AS e, {CARD} AS n) x)",
    "json as text": """('{"k": "alice.liddell\\u0040wonder.example"}'::json)::text""",
}


@pytest.fixture(scope="module")
def holders(server: psycopg.Connection) -> psycopg.Connection:
    server.execute("DROP SCHEMA IF EXISTS cells CASCADE; CREATE SCHEMA cells")
    server.execute("SET search_path = cells")
    server.execute(f"CREATE TYPE odd AS ENUM ('{SECRET}')")
    server.execute("CREATE DOMAIN mail AS text CHECK (value <> '')")
    server.execute("CREATE TABLE holder (id int8, mail text, doc json, card int8)")
    server.execute(f"""INSERT INTO holder VALUES (1, '{SECRET}', '{{"m": "{SECRET}"}}', {CARD})""")
    return server


def leaks(data: bytes | None) -> list[str]:
    """Return six-character pieces of the secrets that stand in `data`, in any usual notation."""
    if data is None:
        return []
    texts = [data, data.replace(b"\\", b""), *hexes(data)]
    pieces = [secret[i : i + 6] for secret in (SECRET, CARD) for i in range(len(secret) - 5)]
    binary = int(CARD).to_bytes(8, "big")
    found = [piece for piece in pieces for text in texts if piece.encode() in text]
    return found + (["int8"] if binary in data else [])


def hexes(data: bytes) -> list[bytes]:
    out = []
    for part in data.split(b"\\x")[1:]:
        digits = part[: len(part) - len(part.lstrip(b"0123456789abcdef"))]
        out.append(bytes.fromhex(digits.decode()))
    return out


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("transform", ["redact", "hash", "null"])
@pytest.mark.parametrize("holder", HOLDERS)
def test_detectors_look_inside_every_type(
    holders: psycopg.Connection, holder: str, transform: str, binary: bool
) -> None:
    oid, raw = run(holders, f"SELECT {HOLDERS[holder]}", binary)
    made = plan(
        (Mask("m", transform, (), ("email", "card")),), [Column("c", None, str(oid), binary)], KEY
    )
    assert made is not None
    cell = made.cells[0]
    assert cell is not None
    assert raw is not None
    masked = cell.mask(raw)
    assert masked != raw
    assert leaks(masked) == []
    if oid in BY_OID and "record" not in holder and masked is not None:
        name = BY_OID[oid].name
        accepts(holders, name[1:] + "[]" if name[0] == "_" else name, masked, binary)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_what_holds_nothing_stays_as_it_is(server: psycopg.Connection, binary: bool) -> None:
    for kind, value in CASES:
        if CARD in value or (binary and kind in NO_SENSE_IN_BINARY):
            continue
        oid, raw = run(server, f"SELECT {value}::{kind}", binary)
        assert raw is not None
        made = plan(
            (Mask("m", "redact", (), ("all",)),), [Column("c", None, str(oid), binary)], KEY
        )
        cell = made.cells[0] if made is not None else None
        assert cell is None or cell.mask(raw) is raw, (kind, value)


def masked_as(server: psycopg.Connection, sql: str, transform: str, binary: bool) -> str | None:
    oid, raw = run(server, f"SELECT {sql}", binary)
    made = plan(
        (Mask("m", transform, ("*",)),),
        [Column("c", frozenset({("a", "b", "c")}), str(oid), binary)],
        KEY,
    )
    assert made is not None
    assert made.cells[0] is not None
    cell = made.cells[0]
    assert raw is not None
    return accepts(server, BY_OID[oid].name, cell.mask(raw), binary)


@pytest.mark.parametrize(
    "sql",
    [
        "'Alexandra'::text",
        "123456789::int4",
        "4111111111111111::int8",
        "12.50::numeric",
        "'1985-07-23'::date",
        "'1985-07-23 13:14:15.16'::timestamp",
        "'1985-07-23 13:14:15+02'::timestamptz",
        "'f47ac10b-58cc-4372-a567-0e02b2c3d479'::uuid",
        "'\\xdeadbeef'::bytea",
        "2.5::float8",
    ],
)
def test_a_hash_is_the_same_in_both_formats(server: psycopg.Connection, sql: str) -> None:
    assert masked_as(server, sql, "hash", False) == masked_as(server, sql, "hash", True)


def test_a_hash_joins_numbers_of_different_types(server: psycopg.Connection) -> None:
    hashes = {
        masked_as(server, sql, "hash", binary)
        for sql in ("4111111111111111::int8", "4111111111111111.00::numeric")
        for binary in (False, True)
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize(
    ("sql", "partial"),
    [
        ("'4111 1111 1111 1111'::text", "41*************1111"),
        ("'short'::text", "****t"),
        ("'abc'::text", "***"),
        ("4111111111111111::int8", "4100000000001111"),
        ("'-123456'::int4", "-100006"),
        ("1234.56::numeric", "1000.06"),
        ("'1985-07-23'::date", "1985-01-01"),
        ("'1985-07-23 13:14:15'::timestamp", "1985-01-01 00:00:00"),
        ("'f47ac10b-58cc-4372-a567-0e02b2c3d479'::uuid", "f4000000-0000-0000-0000-00000000d479"),
        ("'用户名字很长的一个人'::text", "用*******一个人"[:8] + "个人"),
    ],
)
def test_partial_keeps_the_ends(
    server: psycopg.Connection, sql: str, partial: str, binary: bool
) -> None:
    assert masked_as(server, sql, "partial", binary) == partial


@pytest.mark.parametrize(
    ("type", "binary", "raw"),
    [
        ("json", False, b'{"a": alice@example.com}'),
        ("json", False, b'"unterminated alice@example.com'),
        ("jsonb", True, b'\x02"alice@example.com"'),
        ("_text", False, b"{alice@example.com"),
        ("_text", False, b"alice@example.com"),
        ("_text", True, b"\0\0\0\1\0\0\0\0\0\0\0\x19\0\0\0\1\0\0\0\1\0\0\0\x7falice@example.com"),
        ("_text", True, b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x19"),
        ("record", False, b"(alice@example.com"),
        ("record", True, b"\0\0\0\2\0\0\0\x19\0\0\0\1a"),
        ("int8", True, b"123"),
        ("numeric", True, b"\0\7\0\0\0\0\0\0"),
        ("numeric", True, b"\x7f\xff\x7f\xff\0\0\0\0" + b"\0\1" * 32767),
        ("bytea", False, b"\\xzz"),
        ("int8range", True, b"\x02\0\0\0\x08"),
    ],
)
def test_a_cell_that_does_not_read_as_its_type_ends_the_result(
    type: str, binary: bool, raw: bytes
) -> None:
    made = plan((Mask("m", "redact", (), ("all",)),), [Column("c", None, type, binary)], KEY)
    assert made is not None
    assert made.cells[0] is not None
    with pytest.raises(MaskingFailed) as caught:
        made.cells[0].mask(raw)
    assert "alice" not in str(caught.value)


def test_nesting_is_bounded() -> None:
    cell = b"\0\0\0\0"
    for _ in range(40):
        cell = b"\0\0\0\1\0\0\x08\xc9" + len(cell).to_bytes(4, "big") + cell
    made = plan((Mask("m", "redact", (), ("card",)),), [Column("c", None, "record", True)], KEY)
    assert made is not None
    assert made.cells[0] is not None
    with pytest.raises(MaskingFailed):
        made.cells[0].mask(cell)


@pytest.mark.parametrize("digits", [1, 0, -8])
@pytest.mark.parametrize("transform", ["partial", "hash"])
def test_how_many_digits_are_written_tells_nothing_of_a_float(
    server: psycopg.Connection, digits: int, transform: str
) -> None:
    """A client may set `extra_float_digits`: what is kept of the text would slide over them."""
    server.execute(f"set extra_float_digits = {digits}")
    assert masked_as(server, "73918264.50197836::float8", transform, False) == "0"


@pytest.mark.parametrize("zone", ["<X>-85:48", "<X>-85:49", "<X>+167:59"])
def test_a_zone_of_days_does_not_move_a_year(server: psycopg.Connection, zone: str) -> None:
    server.execute(f"set timezone = '{zone}'")
    shown = {
        masked_as(server, f"'{moment}'::timestamptz", "partial", False)
        for moment in ("2019-12-28 10:11:12+00", "2020-06-01 00:00:00+00")
    }
    assert len(shown) == 1
