"""Mask expressions against the real server: types, hostile values, what shows and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from sallyport.sql.rewriting.masks import SHOWN_KEY, CannotMask, SourceMask, expression
from tests.unit.sql.rewriting.masked import KEY, Column, Connection

TRANSFORMS = ("redact", "partial", "kept", "hash", "null", "generalise")
DOCUMENT = """{"id": 7, "ssn": "078-05-1120", "contact": [{"email": "alice@example.com", "vip": true},
    {"email": null, "n": [1, 2]}, 3, [{"email": "bob@example.com"}]], "nested": {"ssn": "kept"}}"""
KEYS = (("ssn",), ("contact", "email"))

MODIFIERS = [
    "varchar(5)", "varchar(200)", "char(1)", "char(20)", "numeric(4,2)", "numeric(2,0)", "numeric(3,-2)",
    "numeric(2,3)", "numeric(30,5)", "time(3)", "timetz(0)", "timestamp(3)", "timestamptz(0)",
    "interval(3)", "interval year to month", "interval day to second(2)", "bit(5)", "varbit(7)",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """A database of its own, in which every table is one column."""
    postgres.psql("create database masked")
    with psycopg.connect(
        postgres.uri("masked"), autocommit=True, prepare_threshold=None
    ) as connection:
        connection.execute(SCHEMA)
        yield connection
    postgres.psql("drop database masked with (force)")


SCHEMA = """
create schema masked;
create type mood as enum ('sad', 'it''s \\ ok');
create type address as (street text, "Odd ""number" numeric(4,1), at date);
create type person as (name varchar(12), home address, moods mood[], email text);
create type span as range (subtype = float8);
create domain plain as varchar(12);
create domain present as text check (value is not null);
create domain mail as text check (value ~ '@example.com$');
create domain stacked as mail;
create domain needed as text not null;
create domain strict as mail not null;
create domain homes as address[];
create domain words as text[];
create domain document as jsonb;
"""


# --- types


def test_every_type_keeps_its_type_modifier_and_name(server: Connection) -> None:
    """Every type of the server that a column can have, each with its array, under each transform."""
    names = server.execute(
        "select format_type(t.oid, null) from pg_type t join pg_namespace n on n.oid = typnamespace"
        " where typtype in ('b', 'r', 'm', 'd', 'e', 'c') and nspname = 'public' and typname <> 'strict'"
        " or typtype in ('b', 'r', 'm') and nspname = 'pg_catalog' and typname !~ '^_|^pg_.*_|cstring|^pg_dep|^pg_ndis|^pg_node|^pg_brin|^pg_mcv'"
        " order by 1"
    ).fetchall()
    types = [
        f"{t}{more}" for t in (*(str(name) for (name,) in names), *MODIFIERS) for more in ("", "[]")
    ]
    assert len(types) > 180
    tried = 0
    for type_ in types:
        column = Column(server, type_, ["null"] if type_ not in ("needed", "present") else [])
        for transform in TRANSFORMS:
            if type_ == "needed" and transform == "null":
                continue
            source = column.source(SourceMask(transform))
            assert column.described(source) == column.plain(), (type_, transform)
            assert column.masked(SourceMask(transform)) == column.raw()
            tried += 1
    assert tried > 5 * 180


# What the server takes and a mask might stumble over.
HOSTILE = {
    "text": ["''", "'a'", "'@'", "'a@b'", "'@@@@@@@@@'", "repeat('é@', 200000)", "E'\\n\\t\\'\\\\'", "'😀😀@😀.😀'"],
    "varchar(5)": ["''", "'😀😀😀😀😀'", "'ab@de'"],
    "char(20)": ["''", "'  x'", "'alice@example.com'"],
    "name": ["''", "repeat('n', 63)", "repeat('é', 31)"],
    '"char"': ["''", "'x'", "'\\377'"],
    "smallint": ["-32768", "32767", "0", "-1"],
    "int": ["-2147483648", "2147483647", "0", "-1"],
    "bigint": ["-9223372036854775808", "9223372036854775807", "0", "-1"],
    "numeric": ["'NaN'", "'Infinity'", "'-Infinity'", "1e131071", "-1e131071", "1e-16383", "1e36", "-1e36", "0"],
    "numeric(4,2)": ["'NaN'", "99.99", "-99.99", "0.01", "-0.01"],
    "numeric(2,0)": ["99", "-99", "-95"],
    "numeric(2,3)": ["0.099", "-0.099", "'NaN'"],
    "numeric(3,-2)": ["99900", "-99900", "100"],
    "numeric(1000,0)": ["repeat('9', 1000)::numeric", "-repeat('9', 1000)::numeric"],
    "real": ["'NaN'", "'Infinity'", "'-Infinity'", "3.4e38", "-3.4e38", "1e-45", "'-0'", "1e15"],
    "float8": ["'NaN'", "'Infinity'", "'-Infinity'", "1.7e308", "-1.7e308", "5e-324", "'-0'", "-1e15"],
    "money": ["'-92233720368547758.08'", "'92233720368547758.07'"],
    "date": ["'infinity'", "'-infinity'", "'4713-11-24 BC'", "'5874897-12-31'", "'0001-01-01'", "'9999-12-31'"],
    "timestamp": ["'infinity'", "'-infinity'", "'4713-11-24 BC'", "'294276-12-31 23:59:59.999999'", "'0001-01-01'"],
    "timestamptz": ["'infinity'", "'-infinity'", "'4713-11-24 00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'",
                    "'0001-01-01 00:00+00'", "'9999-12-31 23:59+00'"],
    "time": ["'24:00'", "'00:00'"], "timetz": ["'24:00+15:59'", "'00:00-15:59'"],
    "interval": ["'178000000 years'", "'-178000000 years'", "'2147483647 days'", "'infinity'"],
    "interval year to month": ["'178000000 years'"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    "inet": ["'0.0.0.0/0'", "'255.255.255.255'", "'::/0'", "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'", "'10.1.2.3/25'"],
    "cidr": ["'0.0.0.0/0'", "'255.255.255.255'", "'::/0'", "'10.1.2.0/25'"],
    "macaddr": ["'ff:ff:ff:ff:ff:ff'"], "macaddr8": ["'ff:ff:ff:ff:ff:ff:ff:ff'"],
    "bytea": ["''", "'\\x00ff'", "repeat('a', 100000)::bytea"],
    "bit(5)": ["'10101'"], "bit": ["'1'"], "varbit": ["''", "repeat('1', 9999)::varbit"],
    "jsonb": ["'null'", "'[]'", "'{}'", "'3'", "'\"s\"'", "'true'", "'{\"\": {\"ssn\": 1}}'", "'{\"ssn\": {\"ssn\": [1]}}'",
              "'[{\"ssn\": 1e300}, [[[{\"ssn\": 1}]]]]'", "'{\"contact\": {\"email\": []}}'", "'{\"contact\": \"x\"}'",
              "'{\"ssn\": 1e-16000, \"contact\": [[], [[]], null]}'", "('{\"ssn\": 1' || repeat('0', 9999) || '}')::jsonb",
              "(repeat('[', 3000) || repeat(']', 3000))::jsonb"],
    "json": ["'null'", "' [ ] '", "'{}'", "'3'", "'{\"ssn\": 1, \"ssn\": 2}'", "'{\"x\": \"\\u0000\"}'", "'{\"\\u0000\": 1}'",
             "'{\"ssn\": \"\\ud83d\"}'", "'{\"ssn\": \"\\\\\\ud83d\\ude00\"}'", "'{\"x\": \"\\udc00\\ud800\"}'",
             "'{\"ssn\": 1e1000000}'", "'{\"contact\": {\"email\": -1e-1000000}}'", "'{\"\\u0073sn\": \"\\u00e9\"}'"],
    "tsvector": ["''", "'a b'"], "tsquery": ["'a & b'"], "xid8": ["'5'"], "oid": ["4294967295"],
    "int4range": ["'empty'", "'(,)'"], "int4multirange": ["'{}'", "'{[1,5)}'"], "span": ["'[1,2]'"],
    "point": ["'(NaN,Infinity)'"], "box": ["'(1,2),(3,4)'"], "polygon": ["'((1,2),(3,4))'"],
    "text[]": ["'{}'", "'{NULL}'", "'{a,NULL,alice@example.com}'", "'[-3:-2][7:8]={{a,b},{c,NULL}}'"],
    "int[]": ["'{}'", "'{NULL,-2147483648}'", "'[0:0]={5}'"],
    "numeric(4,2)[]": ["'{99.99,NULL,NaN}'"], "date[]": ["'{infinity,NULL}'"], "jsonb[]": ["'{null,NULL,\"{}\"}'"],
    "mood": ["'sad'"], "mood[]": ["'{sad,NULL}'"], "bool[]": ["'{t,NULL}'"], "box[]": ["'{(1,2),(3,4)}'"],
    "address": ["row(null, null, null)", "row('', 999.9, 'infinity')"], "address[]": ["'{NULL}'"],
    "person": ["row('Alice', null, null, null)", "row('Bob', row('x', -999.9, null), '{sad}', 'a@example.com')"],
    "plain": ["''", "'alice@ex.com'"], "plain[]": ["'{NULL,alice@ex.com}'"], "words": ["'{}'", "'{NULL,a}'"],
    "present": ["''"], "mail": ["'a@example.com'"], "stacked": ["'a@example.com'"], "mail[]": ["'{a@example.com}'"],
    "needed": ["''", "'alice@example.com'"], "needed[]": ["'{a}'"], "homes": ["'{}'"], "document": ["'[]'"],
}  # fmt: skip


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("keys", [(), KEYS, (("ssn", "ssn"), ("", "ssn"))])
@pytest.mark.parametrize("width", ["10", "0.000000000001", "0.3", "1000000000000000"])
def test_no_value_makes_a_mask_fail(
    server: Connection, transform: str, keys: tuple[tuple[str, ...], ...], width: str
) -> None:
    mask = SourceMask(transform, start=1, bucket=Decimal(width), keys=keys)
    for type_, values in hostile(server).items():
        if (type_ == "needed" and transform == "null") or (keys and "json" not in type_):
            continue
        if width != "10" and transform != "generalise":
            continue
        masked = values.masked(mask)
        assert len(masked) == len(HOSTILE[type_]), type_
        assert values.described(values.source(mask)) == values.plain(), type_
        assert masked == values.masked(mask), type_


_made: dict[str, Column] = {}


def hostile(server: Connection) -> dict[str, Column]:
    """Make the tables of `HOSTILE` once."""
    if not _made:
        _made.update({type_: Column(server, type_, values) for type_, values in HOSTILE.items()})
    return _made


@pytest.mark.parametrize("type_", [t for t in HOSTILE if t not in ("bool[]", "needed")])
def test_redact_and_null_tell_no_two_values_apart(server: Connection, type_: str) -> None:
    column = hostile(server)[type_]
    assert len(set(column.masked(SourceMask("null")))) == 1
    if type_ not in ("address", "person"):  # their fields may be NULL, and stay so
        assert len(set(column.masked(SourceMask("redact")))) == 1


def test_no_null_is_lost_or_made(server: Connection) -> None:
    """A NULL stays one; a row of NULLs is none; a domain's NULL is not asked about again."""
    assert Column(server, "address", ["null", "row(null,null,null)"]).masked(
        SourceMask("hash")
    ) == [None, "(,,)"]
    column = Column(server, "needed", ["(select null::needed where false)", "'alice@example.com'"])
    assert column.masked(SourceMask("partial")) == [None, "a***@example.com"]


# --- what shows

SHOWN = [
    ("text", "partial", "'078-05-1120'", "***1120"),
    ("text", "partial", "'1234567'", "***"),
    ("text", "partial", "'alice@example.com'", "a***@example.com"),
    ("text", "partial", "'al@example.com'", "a***@example.com"),
    ("text", "partial", "'a@example.com'", "***.com"),
    ("text", "generalise", "'alice'", "a***"),
    ("text", "generalise", "'M'", "***"),
    ("varchar(5)", "redact", "'alice'", "[reda"),
    ("bigint", "partial", "4111111111111111", "1111"),
    ("bigint", "partial", "-123456789", "6789"),
    ("bigint", "partial", "1234567", "0"),
    ("numeric(20,2)", "partial", "12345678.99", "5678.00"),
    ("int", "generalise", "-1", "-10"),
    ("int", "generalise", "19", "10"),
    ("int", "generalise", "-2147483648", "-2147483648"),
    ("numeric(2,0)", "generalise", "-95", "-99"),
    ("numeric", "generalise", "12.3450000", "10"),
    ("float8", "generalise", "-0.5", "-10"),
    ("date", "generalise", "'2020-05-06'", "2020-01-01"),
    ("timestamp(3)", "partial", "'2020-05-06 07:08:09'", "2020-01-01 00:00:00"),
    ("date", "generalise", "'9999-12-31'", "9999-01-01"),
    ("date", "generalise", "'10000-01-01'", "1970-01-01"),
    ("timestamp", "generalise", "'9999-12-31 23:59:59'", "9999-01-01 00:00:00"),
    ("date", "generalise", "'0001-12-31'", "0001-01-01"),
    ("date", "generalise", "'0001-12-31 BC'", "1970-01-01"),
    ("inet", "generalise", "'10.1.2.3'", "10.1.2.0/24"),
    ("inet", "generalise", "'10.1.2.3/8'", "10.0.0.0/8"),
    ("inet", "generalise", "'2001:db8:1:2::3'", "2001:db8:1::/48"),
    ("macaddr", "generalise", "'08:00:2b:01:02:03'", "08:00:2b:00:00:00"),
    ("uuid", "partial", "'12345678-9abc-def0-1234-56789abcdef0'", "00000000-0000-0000-0000-00000000def0"),
    ("text[]", "partial", "'[0:1]={alice@example.com,NULL}'", "{a***@example.com,NULL}"),
    ("text[]", "redact", "'{a,b}'", "{}"),
    ("mail[]", "hash", "'{a@example.com}'", "{}"),
    ("mood", "hash", "'sad'", None),
    ("mail", "partial", "'alice@example.com'", None),
    ("plain", "partial", "'alice@ex.com'", "a***@ex.com"),
    ("address", "partial", "row('Main Street', 17.5, '2020-05-06')", "(***reet,0.0,2020-01-01)"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "transform", "value", "shown"), SHOWN)
def test_what_shows(
    server: Connection, type_: str, transform: str, value: str, shown: str | None
) -> None:
    assert Column(server, type_, [value]).masked(SourceMask(transform)) == [shown]


def test_the_ends_that_are_kept_can_be_chosen(server: Connection) -> None:
    column = Column(server, "text", ["'078-05-1120'", "'éàüöñçßøåæœ'"])
    assert column.masked(SourceMask("partial", start=2, end=1)) == ["07***0", "éà***œ"]
    assert column.masked(SourceMask("partial", end=0)) == ["***", "***"]
    assert column.masked(SourceMask("kept", start=2, end=1)) == ["07***0", "éà***œ"]
    mail = Column(server, "text", ["'ann.ray@example.com'", "'a@b.c'"])
    assert mail.masked(SourceMask("kept", start=1, end=3)) == ["a***com", "***"]
    assert mail.masked(SourceMask("kept", end=0)) == ["***", "***"]
    days = Column(server, "date", ["'2020-05-05'"])
    assert days.masked(SourceMask("kept", end=4)) == ["1970-01-01"]
    numbers = Column(server, "bigint", ["7718239045", "12"])
    assert numbers.masked(SourceMask("kept", end=4)) == ["9045", "0"]
    assert numbers.masked(SourceMask("kept", start=3, end=0)) == ["0", "0"]
    uuid = Column(server, "uuid", ["'12345678-9abc-def0-1234-56789abcdef0'"])
    assert uuid.masked(SourceMask("partial", start=99, end=99)) == [
        "12345678-0000-0000-0000-00009abcdef0"
    ]


EQUAL = [
    ("text", "partial", ["'078-05-1120'", "'some other text that ends so 1120'", "'99991120'"]),
    ("text", "partial", ["'alice@example.com'", "'alexander.the.great@example.com'"]),
    ("text", "partial", ["'x'", "''", "'1234567'"]),
    ("text", "generalise", ["'alice'", "'another'"]),
    ("bigint", "partial", ["4111111111111111", "-99991111", "5500000000001111"]),
    ("numeric", "generalise", ["12.5", "19.99999", "10.000"]),
    ("float8", "generalise", ["12.5", "19.99999"]),
    ("timestamptz", "generalise", ["'2020-01-01 00:00+00'", "'2020-12-31 23:59:59+00'"]),
    ("inet", "generalise", ["'10.1.2.3'", "'10.1.2.99'", "'10.1.2.3/28'"]),
    ("uuid", "partial", ["'12345678-9abc-def0-1234-56789abcdef0'", "'00000000-9abc-1ef0-1234-56789abcdef0'"]),
    ("numeric", "hash", ["1", "1.00"]),
    ("float8", "hash", ["0", "'-0'"]),
    ("char(9)", "hash", ["'a'", "'a  '"]),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "transform", "values"), EQUAL)
def test_values_whose_visible_part_is_equal_look_equal(
    server: Connection, type_: str, transform: str, values: list[str]
) -> None:
    column = Column(server, type_, values)
    assert len(set(column.raw())) == len(values) or transform == "hash"
    assert len(set(column.masked(SourceMask(transform)))) == 1


# --- hashes

HASHED = [
    "text", "varchar(40)", "name", "bigint", "numeric", "float8", "date", "timestamp", "timestamptz", "uuid",
    "inet", "bytea", "json", "jsonb", "text[]", "address",
]  # fmt: skip
SAMPLES = {
    "float8": "g", "date": "'2020-01-01'::date + g", "timestamp": "'2020-01-01'::timestamp + g * interval '1 hour'",
    "timestamptz": "'2020-01-01'::timestamptz + g * interval '1 hour'", "inet": "'10.0.0.0'::inet + g",
    "uuid": "md5(g::text)::uuid", "json": "to_json(g)", "jsonb": "to_jsonb(g)", "text[]": "array[g::text]",
    "bytea": "g::text::bytea", "address": "row(g, 1, null)::address", "bigint": "g", "numeric": "g",
}  # fmt: skip


@pytest.mark.parametrize("type_", HASHED)
def test_a_hash_is_consistent_keyed_and_tells_values_apart(server: Connection, type_: str) -> None:
    column = Column(server, type_)
    for _ in range(2):
        sample = SAMPLES.get(type_, "g::text")
        server.execute(
            f"insert into {column.table} (c) select {sample} from generate_series(1, 50) g"
        )
    hashed = column.masked(SourceMask("hash"))
    assert hashed[:50] == hashed[50:]
    assert len(set(hashed)) == 50
    other = column.masked(SourceMask("hash"), "another key of the same size")
    assert not set(hashed) & set(other)
    assert not set(hashed) & set(column.raw())


def test_a_hash_is_the_same_in_all_types_of_text_and_of_numbers(server: Connection) -> None:
    values = [
        Column(server, t, ["'alice'"]).masked(SourceMask("hash"))
        for t in ("text", "varchar(40)", "name", "needed", "varchar(32)")
    ]
    assert len({value for (value,) in values}) == 1
    numbers = [
        Column(server, t, ["42"]).masked(SourceMask("hash"))
        for t in ("bigint", "numeric", "numeric(20,0)")
    ]
    assert len({value for (value,) in numbers}) == 1
    leaf = Column(server, "jsonb", ["""'{"ssn": "alice"}'"""])
    assert leaf.masked(SourceMask("hash", keys=KEYS)) == [f'{{"ssn": "{values[0][0]}"}}']


def test_the_key_can_stand_for_itself_where_the_text_is_shown(server: Connection) -> None:
    type_ = Column(server, "text").type
    shown = expression("c", type_, SourceMask("hash"), SHOWN_KEY)
    assert expression("c", type_, SourceMask("hash"), KEY).replace(KEY, SHOWN_KEY) == shown
    assert f"'{SHOWN_KEY}:text:'" in shown
    for key in ("", "short", "a" * 15 + "é", "a" * 20 + "\n"):
        with pytest.raises(CannotMask, match="the key of a hash"):
            expression("c", type_, SourceMask("hash"), key)
    quoted = "it's \\ a key 0123456789"
    assert len(Column(server, "text", ["'x'"]).masked(SourceMask("hash"), quoted)[0] or "") == 32


# --- sessions


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_no_setting_changes_what_shows(server: Connection, transform: str) -> None:
    """Else a client could look at a value through one setting after the other."""
    settings = {
        "TimeZone": ("UTC", "Pacific/Kiritimati", "<UTC>+12", "UTC+9"), "DateStyle": ("ISO", "SQL, DMY", "German"),
        "extra_float_digits": ("1", "-15"), "IntervalStyle": ("postgres", "sql_standard"), "lc_monetary": ("C",),
        "bytea_output": ("hex", "escape"), "standard_conforming_strings": ("on", "off"), "xmloption": ("document",),
        "quote_all_identifiers": ("on",), "backslash_quote": ("off",), "array_nulls": ("off",),
    }  # fmt: skip
    types = (
        "text", "timestamptz", "date", "float8", "real", "numeric", "interval", "bytea", "json", "jsonb", "address",
        "inet", "date[]",
    )  # fmt: skip
    for type_ in types:
        column = hostile(server)[type_]
        # what a setting does to the text of the result is its own affair: compare inside the server
        query = column.source(SourceMask(transform, keys=KEYS))
        server.execute("reset all")
        server.execute(f"drop table if exists masked.before; create table masked.before as {query}")
        for name, values in settings.items():
            for value in values:
                server.execute("select set_config(%s, %s, false)", (name, value))
                rows = server.execute(
                    f"select count(*) from ({query}) q join masked.before b using (n)"
                    f" where not (q.c is null and b.c is null) and record_send(row(q.c)) <> record_send(row(b.c))"
                ).fetchone()
                assert rows == (0,), (type_, name, value)
                server.execute(f"reset {name}")


EVIL = """
create schema evil;
create function evil.left(text, int) returns text language sql as 'select ''evil''';
create function evil.length(text) returns int language sql as 'select 99';
create function evil.unnest(text[]) returns setof text language sql as 'select ''evil''';
create function evil.jsonb_each(jsonb, out key text, out value jsonb) returns setof record
    language sql as 'select ''evil'', $1';
create function evil.fail(text, text) returns bool language plpgsql as
    $$ begin raise exception 'evil'; end $$;
create function evil.fail(int, int) returns bool language plpgsql as
    $$ begin raise exception 'evil'; end $$;
create function evil.join(text, text) returns text language sql as 'select ''evil''';
create operator evil.= (leftarg = text, rightarg = text, function = evil.fail);
create operator evil.= (leftarg = int, rightarg = int, function = evil.fail);
create operator evil.>= (leftarg = int, rightarg = int, function = evil.fail);
create operator evil.|| (leftarg = text, rightarg = text, function = evil.join);
create domain evil.text as pg_catalog.text check (value = 'evil');
create domain evil.jsonb as pg_catalog.jsonb check (false);
create domain evil.date as pg_catalog.date check (false);
create domain evil.uuid as pg_catalog.uuid check (false);
create domain evil.inet as pg_catalog.inet check (false);
create domain evil."numeric" as pg_catalog.int4 check (false);
create domain evil.float8 as pg_catalog.float8 check (false);
create domain evil.int8 as pg_catalog.int8 check (false);
create domain evil.timestamptz as pg_catalog.timestamptz check (false);
create domain evil."timestamp" as pg_catalog.timestamp check (false);
create domain evil.name as pg_catalog.name check (false);
"""


def test_no_search_path_changes_what_a_mask_means(server: Connection) -> None:
    server.execute(EVIL)
    try:
        for type_, column in hostile(server).items():
            for transform in TRANSFORMS:
                if type_ == "needed" and transform == "null":
                    continue
                mask = SourceMask(transform, keys=KEYS)
                query, before = column.source(mask), column.masked(mask)
                server.execute("set search_path = evil, pg_catalog")
                rows = server.execute(
                    f"select {column.quoted} from ({query}) q order by n"
                ).pgresult  # type: ignore[arg-type]
                assert rows is not None
                cells = [rows.get_value(row, 0) for row in range(rows.ntuples)]
                server.execute("reset search_path")
                after = [None if cell is None else cell.decode() for cell in cells]
                assert after == before, (type_, transform)
    finally:
        server.execute("reset search_path; drop schema evil cascade")


@pytest.mark.parametrize(
    "name",
    ['"; drop table x; --', "it's", 'a"b', "naïve 😀", "select", "v", "k", "pv", "pn", "pk", "qv", "p1", "pe", "p", "\\", "A B", "%s $1"],
)  # fmt: skip
@pytest.mark.parametrize("type_", ["text", "text[]", "jsonb", "address", "mail"])
def test_any_name_of_a_column_will_do(server: Connection, name: str, type_: str) -> None:
    value = {"jsonb": f"'{DOCUMENT}'", "text[]": "'{a}'", "address": "row('a', 1, null)"}.get(
        type_, "'a@example.com'"
    )
    column, plain = Column(server, type_, [value], name), Column(server, type_, [value])
    for transform in TRANSFORMS:
        mask = SourceMask(transform, keys=KEYS)
        assert column.masked(mask) == plain.masked(mask)
        assert column.described(column.source(mask)) == column.plain()


def test_a_name_that_no_server_has_is_refused(server: Connection) -> None:
    type_ = Column(server, "text").type
    for name in ("", "a\0b", "\ud800"):
        with pytest.raises(CannotMask):
            expression(name, type_, SourceMask("redact"), KEY)


def test_the_columns_own_collation_stays(server: Connection) -> None:
    column = Column(server, 'text collate "POSIX"', ["'alice@example.com'", "'078-05-1120'"])
    for transform in ("redact", "partial", "hash", "generalise"):
        query = column.source(SourceMask(transform))
        rows = server.execute(f"select collation for (c) from ({query}) q").fetchall()
        assert {str(row[0]) for row in rows} == {'"POSIX"'}
    assert column.masked(SourceMask("partial")) == ["a***@example.com", "***1120"]
    joined = f"select 1 from ({query}) q join {column.table} t on q.c = t.c order by q.c || t.c"
    server.execute(joined)


# --- documents


@pytest.mark.parametrize("type_", ["jsonb", "json", "document"])
def test_named_keys_are_masked_and_the_rest_stays(server: Connection, type_: str) -> None:
    column = Column(server, type_, [f"'{DOCUMENT}'"])
    rest = (
        '{"id": 7, "ssn": %s, "contact": [{"email": %s, "vip": true}, {"email": null, "n": [1, 2]}, 3,'
        ' "[redacted]"], "nested": {"ssn": "kept"}}'
    )
    shown = {
        "redact": ('"[redacted]"', '"[redacted]"'), "partial": ('"***1120"', '"a***@example.com"'),
        "null": ("null", "null"), "generalise": ('"0***"', '"a***"'),
    }  # fmt: skip
    for transform, values in shown.items():
        query = column.source(SourceMask(transform, keys=KEYS))
        same = server.execute(
            f"select c::text::jsonb = %s::jsonb from ({query}) q", (rest % values,)
        )
        assert same.fetchall() == [(True,)], transform


DOCUMENTS = [
    ('{"ssn": {"a": 1}}', '{"ssn": "[redacted]"}'),
    ('{"ssn": [1, 2]}', '{"ssn": "[redacted]"}'),
    ('{"ssn": 123456789}', '{"ssn": "***6789"}'),
    ('{"ssn": true}', '{"ssn": "[redacted]"}'),
    ('{"ssn": null}', '{"ssn": null}'),
    ('{"a": {"ssn": "x"}}', '{"a": {"ssn": "x"}}'),
    ('[{"ssn": "123456789"}, {"b": 1}]', '[{"ssn": "***6789"}, {"b": 1}]'),
    ('[[{"ssn": "123456789"}]]', '["[redacted]"]'),
    ('{"contact": {"email": {"x": "y"}}}', '{"contact": {"email": "[redacted]"}}'),
    ('{"contact": []}', '{"contact": []}'),
    ("[]", "[]"), ("{}", "{}"), ("null", "null"), ('"x"', '"x"'), ("7", "7"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "shown"), DOCUMENTS)
def test_what_is_found_at_a_key(server: Connection, document: str, shown: str) -> None:
    column = Column(server, "jsonb", [f"'{document}'"])
    assert column.masked(SourceMask("partial", keys=KEYS)) == [shown]


def test_json_whose_escapes_cannot_be_read_is_redacted_whole(server: Connection) -> None:
    column = Column(server, "json", [f"'{value}'" for value in (
        '{"x": "\\u0000", "ssn": 1}', '{"x": "\\ud83d\\ude00"}', '{"\\u0073sn": "\\u00e9tc, etc"}')])  # fmt: skip
    assert column.masked(SourceMask("partial", keys=KEYS)) == [
        '"[redacted]"', '"[redacted]"', '{ "ssn" : "*** etc" }',
    ]  # fmt: skip


def test_documents_inside_arrays_and_rows_have_keys_too(server: Connection) -> None:
    server.execute("create type holder as (id int, doc jsonb)")
    array = Column(server, "jsonb[]", ['array[\'{"ssn": 1, "a": 2}\'::jsonb, null]'])
    assert array.masked(SourceMask("null", keys=KEYS)) == ['{"{\\"a\\": 2, \\"ssn\\": null}",NULL}']
    row = Column(server, "holder", ['row(7, \'{"ssn": 1, "a": 2}\')'])
    assert row.masked(SourceMask("redact", keys=KEYS)) == [
        '(0,"{""a"": 2, ""ssn"": ""[redacted]""}")'
    ]


def test_keys_on_a_column_that_is_no_document_hide_all_of_it(server: Connection) -> None:
    column = Column(server, "text", ["'{\"ssn\": 1}'"])
    assert column.masked(SourceMask("redact", keys=KEYS)) == ["[redacted]"]


def test_a_path_has_bounds(server: Connection) -> None:
    column = Column(server, "jsonb", ["""'{"a": {"b": {"c": {"d": {"e": [{"f": 1}]}}}}}'"""])
    masked = column.masked(SourceMask("null", keys=(tuple("abcdef"), ("a", "x"), tuple("abc"))))
    assert masked == ['{"a": {"b": {"c": null}}}']
    deep = column.masked(SourceMask("null", keys=(tuple("abcdef"),)))
    assert deep == ['{"a": {"b": {"c": {"d": {"e": [{"f": null}]}}}}}']
    for keys in (((),), (("k",) * 9,), tuple((str(n),) for n in range(65))):
        with pytest.raises(CannotMask):
            expression("c", column.type, SourceMask("null", keys=keys), KEY)


# --- constants and refusals

CONSTANTS = [
    ("text", "it's \\ fine", "it's \\ fine"), ("varchar(5)", "12345", "12345"), ("int", "-5", "-5"), ("bool", "true", "t"),
    ("numeric(4,2)", "99.99", "99.99"), ("float8", "0.5", "0.5"), ("date", "2020-02-29", "2020-02-29"),
    ("timestamptz", "2020-01-01 00:00:00+00:00", "2020-01-01 00:00:00+00"), ("uuid", "12345678-9abc-def0-1234-56789abcdef0", None),
    ("jsonb", '{"a": "\\n"}', None), ("bytea", "\\x00ff", None), ("inet", "10.0.0.1/8", None), ("cidr", "10.0.0.0/8", None),
    ("mood", "it's \\ ok", None), ("bit(3)", "101", None), ("plain", "x", None), ("needed", "x", None), ("time", "23:59:59", None),
    ("timetz", "23:59:59+01:00", "23:59:59+01"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "constant", "shown"), CONSTANTS)
def test_a_constant_of_the_columns_type(
    server: Connection, type_: str, constant: str, shown: str | None
) -> None:
    column = Column(server, type_, ["null"] if type_ != "needed" else [])
    mask = SourceMask("constant", constant=constant, fill_null=True)
    server.execute(f"insert into {column.table} (c) values ($a${constant}$a$)")
    assert column.described(column.source(mask)) == column.plain()
    assert set(column.masked(mask)) == {shown or constant}
    kept = column.masked(mask._replace(fill_null=False))
    assert kept == [None] * (type_ != "needed") + [shown or constant]
    assert column.described(column.source(mask._replace(fill_null=False))) == column.plain()


WRONG = [
    ("varchar(5)", "123456"), ("text", "a\0b"), ("int", "2147483648"), ("int", "1.5"), ("int", "\u0661"), ("numeric(4,2)", "100"),
    ("numeric(4,2)", "1.234"), ("numeric", "NaN"), ("float8", "1e999"), ("date", "2020-02-30"), ("date", "today"),
    ("timestamptz", "2020-01-01 00:00:00"), ("uuid", "no"), ("jsonb", "{"), ("jsonb", '"\\u0000"'), ("jsonb", "NaN"),
    ("jsonb", "1e99999"), ("bytea", "\\x0"), ("inet", "10.0.0.1/33"), ("cidr", "10.0.0.1/8"), ("mood", "happy"),
    ("bit(3)", "1"), ("mail", "a@example.com"), ("text[]", "{}"), ("address", "(a,1,)"), ("money", "1"), ("tsvector", "a"),
    ("int4range", "empty"), ("time", "24:00:00"), ("bool", "yes"), ("timetz", "00:00:00+16:00"), ("name", "é" * 32),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "constant"), WRONG)
def test_what_is_no_literal_of_the_type_is_refused(
    server: Connection, type_: str, constant: str
) -> None:
    with pytest.raises(CannotMask) as caught:
        expression("c", Column(server, type_).type, SourceMask("constant", constant=constant), KEY)
    assert len(constant) < 4 or constant not in str(caught.value)


def test_a_domain_that_takes_no_masked_value_is_refused(server: Connection) -> None:
    for transform in TRANSFORMS:
        with pytest.raises(CannotMask, match=r"domain `public\.strict` is NOT NULL"):
            expression("c", Column(server, "strict").type, SourceMask(transform), KEY)
    with pytest.raises(CannotMask, match=r"domain `public\.needed` is NOT NULL"):
        expression("c", Column(server, "needed").type, SourceMask("null"), KEY)


@pytest.mark.parametrize("mask", [
    SourceMask("reverse"), SourceMask("partial", start=-1), SourceMask("partial", end=1001),
    SourceMask("generalise", bucket=Decimal(0)), SourceMask("generalise", bucket=Decimal("NaN")),
    SourceMask("generalise", bucket=Decimal("1e16")), SourceMask("generalise", bucket=Decimal("1e-13")),
])  # fmt: skip
def test_a_mask_that_makes_no_sense_is_refused(server: Connection, mask: SourceMask) -> None:
    with pytest.raises(CannotMask):
        expression("c", Column(server, "text").type, mask, KEY)
