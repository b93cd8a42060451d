"""What a mask keeps of a value of one of the server's own types, as a SQL expression.

Each function takes the text of an expression of that type and returns one that can be cast to it.
INVARIANT: no value makes it raise an error, and no setting of the session (DateStyle, TimeZone,
extra_float_digits, lc_monetary) changes what it shows: moments are cut in UTC, and what is hashed
is the value's binary form. Ranges are checked before anything that could overflow; CASE keeps
that order.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final, NamedTuple

from sallyport.sql.column_types import NUMERIC_SIZES, ColumnType
from sallyport.sql.rewriting.pieces import (
    FLOAT8,
    INT8,
    NUMERIC,
    TEXT,
    CannotMask,
    call,
    cast,
    constant,
    literal,
    number,
    operate,
)

SHOWN_KEY: Final = "$mask_key"
"""Stands for the key wherever the expression is shown."""
REDACTED: Final = "[redacted]"
_GAP: Final = constant("***", TEXT)
_EMAIL: Final = literal("^[^@[:space:]]{2,}@[^@[:space:]]+$")
_EMAIL_LENGTH: Final = "320"
_BLIND: Final = operate(call("getdatabaseencoding"), "=", constant("SQL_ASCII", "pg_catalog.name"))
"""There a character of several bytes would be cut in two, which no client can be told."""
_HEX: Final = "32"
_HASH_DAYS: Final = "36524"
_VERSION: Final = "^(.{12}).(.{3})."
"""Where a uuid says its version and variant. (OVERLAY is not written down as a function.)"""
_ZEROS: Final = "00000000-0000-0000-0000-000000000000"
_INTEGERS: Final = {"int2": -(2**15), "int4": -(2**31), "int8": -(2**63)}
_BITS: Final = {"int2": 15, "int4": 31, "int8": 53, "float4": 23, "float8": 53}

NEUTRAL: Final[dict[str, str]] = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), REDACTED), "char": "*",
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8", "money"), "0"),
    "bool": "false", "bytea": "", "bit": "0", "varbit": "", "tsvector": "",
    "json": f'"{REDACTED}"', "jsonb": f'"{REDACTED}"', "uuid": _ZEROS,
    "date": "1970-01-01", "timestamp": "1970-01-01 00:00:00",
    "timestamptz": "1970-01-01 00:00:00+00", "time": "00:00:00", "timetz": "00:00:00+00",
    "interval": "00:00:00", "inet": "0.0.0.0", "cidr": "0.0.0.0/32",  # noqa: S104
    "macaddr": "00:00:00:00:00:00", "macaddr8": "00:00:00:00:00:00:00:00",
    "point": "(0,0)", "lseg": "[(0,0),(0,0)]", "box": "(0,0),(0,0)", "path": "((0,0))",
    "polygon": "((0,0))", "line": "{1,0,0}", "circle": "<(0,0),0>",
}  # fmt: skip
"""What redact puts in a value's place. Types without an entry become NULL."""


class SourceMask(NamedTuple):
    """What stands in a column's place.

    `transform`: redact, partial, ends, kept, hash, null, generalise or constant. `start` and `end`:
    characters that partial keeps. `bucket`: width of a number's bucket. `constant`: the literal;
    `fill_null`: it stands for NULL too. `keys`: paths of object keys inside a document: only what
    is found there is masked.
    """

    transform: str
    start: int = 0
    end: int = 4
    bucket: Decimal = Decimal(10)
    constant: str = ""
    fill_null: bool = False
    keys: tuple[tuple[str, ...], ...] = ()


# --- text


def partial_text(text: str, start: int, end: int, emails: bool = False) -> str:
    """Keep the ends of a text, if it is at least twice as long as they are.

    Of an address of mail its first character and the domain, if there is more before the @.
    In a database of encoding SQL_ASCII nothing.
    """
    kept = start + end
    ends = [call("left", text, str(start))] * (start > 0) + [_GAP]
    ends += [call("right", text, str(end))] * (end > 0)
    cases = f"WHEN {_BLIND} THEN {_GAP} " if kept or emails else ""
    if emails:
        exact = f'{text} COLLATE pg_catalog."C"'
        mail = operate(f"({exact})", "~", _EMAIL)
        long = operate(call("length", text), ">", _EMAIL_LENGTH)
        domain = call("substr", text, call("strpos", exact, literal("@")))
        masked = _joined([call("left", text, "1"), _GAP, domain])
        cases += f"WHEN CASE WHEN {long} THEN false ELSE {mail} END THEN {masked} "
    if kept:
        enough = operate(call("length", text), ">=", str(2 * kept))
        cases += f"WHEN {enough} THEN {_joined(ends)} "
    return f"CASE {cases}ELSE {_GAP} END" if cases else _GAP


def _joined(parts: list[str]) -> str:
    joined = parts[0]
    for part in parts[1:]:
        joined = operate(joined, "||", part)
    return joined


# --- hashes


def check_key(key: str) -> None:
    """Raises: CannotMask for a key that could be guessed, or reads differently somewhere."""
    if key != SHOWN_KEY and (len(key) < 16 or not key.isascii() or not key.isprintable()):
        raise CannotMask("the key of a hash must have 16 printable ASCII characters or more")


def digest(key: str, kind: str, data: str) -> str:
    """Return the keyed digest of some bytes; `kind` keeps values of different kinds apart.

    The key goes before the digest of the bytes: no copy of a long value, nothing to go on from.
    """
    prefix = call("convert_to", literal(f"{key}:{kind}:"), literal("UTF8"))
    return call("sha256", operate(prefix, "||", call("sha256", data)))


def hash_text(text: str, key: str) -> str:
    """Return 32 hex digits that stand for a text everywhere."""
    # Into the encoding that it has: from SQL_ASCII into UTF8 could fail.
    data = call("convert_to", text, call("getdatabaseencoding"))
    return _hex(digest(key, "text", data))


def _hex(bytes_: str) -> str:
    return call("left", call("encode", bytes_, literal("hex")), _HEX)


def _hash_bits(token: str, bits: int) -> str:
    """Return the first bits of a digest as an int8."""
    digits = operate(constant("x", TEXT), "||", call("left", _hex(token), "15"))
    return operate(
        call("int8", call("bit_in", call("textout", digits), "0", "60")), ">>", str(60 - bits)
    )


# --- numbers


def _room(type_: ColumnType) -> tuple[Decimal | None, int]:
    """Return the least value of a number's type, and the bits of a hash that fits."""
    if type_.name in _INTEGERS:
        return Decimal(_INTEGERS[type_.name]), _BITS[type_.name]
    sizes = NUMERIC_SIZES.fullmatch(type_.spelled)
    if type_.name != "numeric" or sizes is None:
        return None, _BITS.get(type_.name, 53)
    precision, scale = int(sizes[1]), int(sizes[2])
    whole = min(max(precision - scale, 0), 16)
    least = Decimal((1, (9,) * precision, -scale))
    return least, min((10**whole).bit_length() - 1, 53)


def bucket(value: str, width: Decimal) -> str:
    """Return the lower bound of the bucket that a numeric is in."""
    step = number(f"{width:f}")
    rest = call("mod", operate(call("mod", value, step), "+", step), step)
    # How many zeros a number was written with is nobody's business.
    return call("trim_scale", operate(value, "-", rest))


def within(value: str, bound: str, type_: str) -> str:
    """Return whether a number is small enough to count with: NaN and Infinity are not."""
    low, high = constant("-" + bound, type_), constant(bound, type_)
    return f"{operate(value, '>', low)} AND {operate(value, '<', high)}"


def _lower_bound(value: str, type_: ColumnType, mask: SourceMask, _key: str) -> str:
    floating = type_.name in ("float4", "float8")
    exact = cast(value, FLOAT8 if floating else NUMERIC)
    guard = within(exact, "1e15" if floating else "1e36", FLOAT8 if floating else NUMERIC)
    lower = bucket(cast(exact, NUMERIC), mask.bucket)
    least, _ = _room(type_)
    if least is not None:
        lower = f"GREATEST({lower}, {number(f'{least:f}')})"
    return f"CASE WHEN {guard} THEN {lower} ELSE {number('0')} END"


def _partial_number(value: str, type_: ColumnType, mask: SourceMask, _key: str) -> str | None:
    """Keep the last digits of a whole number that has at least twice as many."""
    if type_.name in ("float4", "float8") or not 0 < mask.end <= 18:
        return None
    whole = call("trunc", cast(value, NUMERIC))
    least = number("1" + "0" * (2 * mask.end - 1))
    guard = f"{within(whole, '1e36', NUMERIC)} AND {operate(call('abs', whole), '>=', least)}"
    last = call("mod", call("abs", whole), number("1" + "0" * mask.end))
    return f"CASE WHEN {guard} THEN {last} ELSE {number('0')} END"


def _hash_number(value: str, type_: ColumnType, _mask: SourceMask, key: str) -> str | None:
    _, bits = _room(type_)
    if bits == 0:
        return None
    if type_.name in ("float4", "float8"):
        # -0 is 0 too
        same = operate(cast(value, FLOAT8), "+", constant("0", FLOAT8))
        return _hash_bits(digest(key, "float", call("float8send", same)), bits)
    data = call("numeric_send", call("trim_scale", cast(value, NUMERIC)))
    return _hash_bits(digest(key, "number", data), bits)


# --- moments


def _year(value: str, type_: ColumnType, _mask: SourceMask, _key: str) -> str:
    """Return the start of the year, in UTC. Infinity, and what lies before Christ, is redacted."""
    plain, year = "pg_catalog.timestamp", constant("year", TEXT)
    zone = "+00" if type_.name == "timestamptz" else ""
    last = "" if type_.name == "date" else " 23:59:59.999999"
    own = f"pg_catalog.{type_.name}"
    low, high = constant(f"0001-01-01{zone}", own), constant(f"9999-12-31{last}{zone}", own)
    guard = f"{operate(value, '>=', low)} AND {operate(value, '<=', high)}"
    if type_.name == "timestamptz":
        start = _utc(call("date_trunc", year, _utc(value)))
    else:
        start = cast(call("date_trunc", year, cast(value, plain)), own)
    return f"CASE WHEN {guard} THEN {start} ELSE {constant(NEUTRAL[type_.name], own)} END"


def _utc(value: str) -> str:
    # No zone by name: a session can give `UTC` another meaning.
    return call("timezone", call("make_interval"), value)


def _hash_moment(value: str, type_: ColumnType, _mask: SourceMask, key: str) -> str:
    token = _hash_bits(digest(key, type_.name, call(f"{type_.name}_send", value)), 53)
    days = cast(operate(token, "%", constant(_HASH_DAYS, INT8)), "pg_catalog.int4")
    day = operate(constant("1900-01-01", "pg_catalog.date"), "+", days)
    if type_.name == "date":
        return day
    moment = cast(day, "pg_catalog.timestamp")
    return _utc(moment) if type_.name == "timestamptz" else moment


# --- addresses, identifiers, bytes, documents


def _network(value: str, type_: ColumnType, _mask: SourceMask, _key: str) -> str:
    """Return the /24 or /48 that an address is in; a wider network stays."""
    own = f"pg_catalog.{type_.name}"
    size = f"CASE WHEN {operate(call('family', value), '=', '4')} THEN 24 ELSE 48 END"
    narrow = call("set_masklen", cast(value, "pg_catalog.inet"), "LEAST({}, {})".format(
        call("masklen", value), size))  # fmt: skip
    return cast(call("network", narrow), own)


def _hash_address(value: str, type_: ColumnType, _mask: SourceMask, key: str) -> str:
    token = _hash_bits(digest(key, "inet", call("inet_send", cast(value, "pg_catalog.inet"))), 60)
    address = operate(constant("fd00::", "pg_catalog.inet"), "+", token)
    return call("network", address) if type_.name == "cidr" else address


def _maker(value: str, _type: ColumnType, _mask: SourceMask, _key: str) -> str:
    return call("trunc", value)


def _partial_uuid(value: str, _type: ColumnType, mask: SourceMask, _key: str) -> str:
    start, end = min(mask.start, 8), min(mask.end, 8)
    text = call("textin", call("uuid_out", value))
    parts = [call("left", text, str(start)), constant(_ZEROS[start : 36 - end], TEXT)]
    return call("uuid_in", call("textout", _joined([*parts, call("right", text, str(end))])))


def _hash_uuid(value: str, _type: ColumnType, _mask: SourceMask, key: str) -> str:
    digits = _hex(digest(key, "uuid", call("uuid_send", value)))
    made = call("regexp_replace", digits, literal(_VERSION), literal(r"\1" "4" r"\2" "8"))
    return call("uuid_in", call("textout", made))


def _hash_bytes(value: str, _type: ColumnType, _mask: SourceMask, key: str) -> str:
    return call("substr", digest(key, "bytea", value), "1", "16")


def _hash_document(value: str, type_: ColumnType, _mask: SourceMask, key: str) -> str:
    text = call("textin", call(f"{type_.name}_out", value))
    return call(f"to_{type_.name}", hash_text(text, key))


def _partial_string(value: str, _type: ColumnType, mask: SourceMask, _key: str) -> str:
    return partial_text(cast(value, TEXT), mask.start, mask.end, emails=True)


def _kept(value: str, _type: ColumnType, mask: SourceMask, _key: str) -> str:
    return partial_text(cast(value, TEXT), mask.start, mask.end)


def _ends(value: str, _type: ColumnType, mask: SourceMask, _key: str) -> str:
    """Keep of a text what results under `partial` keep, with a `*` for each other character.

    At most `start` and `end` characters, and a sixth and a quarter of them all.
    """
    text = cast(value, TEXT)
    length = call("length", text)
    head = f"LEAST({mask.start}, {operate(length, '/', '6')})"
    tail = f"LEAST({mask.end}, {operate(length, '/', '4')})"
    hidden = operate(operate(length, "-", head), "-", tail)
    stars = call("repeat", constant("*", TEXT), hidden)
    ends = _joined([call("left", text, head), stars, call("right", text, tail)])
    return f"CASE WHEN {_BLIND} THEN {_GAP} ELSE {ends} END"


def _first_character(value: str, _type: ColumnType, _mask: SourceMask, _key: str) -> str:
    return partial_text(cast(value, TEXT), 1, 0)


def _hash_string(value: str, _type: ColumnType, _mask: SourceMask, key: str) -> str:
    return hash_text(cast(value, TEXT), key)


Shape = Callable[[str, ColumnType, SourceMask, str], str | None]
_TEXTS: Final = ("text", "varchar", "bpchar", "name")
_NUMBERS: Final = ("int2", "int4", "int8", "numeric", "float4", "float8")
_MOMENTS: Final = ("date", "timestamp", "timestamptz")
_FAMILIES: Final[tuple[tuple[tuple[str, ...], dict[str, Shape]], ...]] = (
    (
        _TEXTS,
        {
            "partial": _partial_string,
            "ends": _ends,
            "kept": _kept,
            "hash": _hash_string,
            "generalise": _first_character,
        },
    ),
    (
        _NUMBERS,
        {
            "partial": _partial_number,
            "kept": _partial_number,
            "hash": _hash_number,
            "generalise": _lower_bound,
        },
    ),
    (_MOMENTS, {"partial": _year, "hash": _hash_moment, "generalise": _year}),
    (("inet", "cidr"), {"partial": _network, "hash": _hash_address, "generalise": _network}),
    (("macaddr", "macaddr8"), {"partial": _maker, "generalise": _maker}),
    (("uuid",), {"partial": _partial_uuid, "kept": _partial_uuid, "hash": _hash_uuid}),
    (("bytea",), {"hash": _hash_bytes}),
    (("json", "jsonb"), {"hash": _hash_document}),
)
SHAPES: Final[dict[tuple[str, str], Shape]] = {
    (name, transform): shape
    for names, shapes in _FAMILIES
    for name in names
    for transform, shape in shapes.items()
}
"""By type and transform. Where there is none, or it gives None, the value is redacted."""
