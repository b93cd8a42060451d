"""PostgreSQL's types as masking sees them: how a cell is walked, and a harmless value of each.

A type is named by its oid (what RowDescription says) or its name. `text` and `binary` are the
neutral value in either format: what redact puts in place of a cell; None where no such value
exists, which makes it NULL. Unknown types (user-defined ones) have none.
"""

from __future__ import annotations

import enum
from typing import NamedTuple, final


class Kind(enum.Enum):
    """How the inside of a cell is found."""

    TEXT = "text"
    XML = "xml"
    JSON = "json"
    JSONB = "jsonb"
    BYTEA = "bytea"
    INTEGER = "integer"
    FLOAT = "float"
    NUMERIC = "numeric"
    DATE = "date"
    TIMESTAMP = "timestamp"
    UUID = "uuid"
    ARRAY = "array"
    RECORD = "record"
    RANGE = "range"
    BLIND = "blind"
    """Too small or too regular to hold what a detector finds: never searched."""
    OTHER = "other"
    """Searched as it stands, replaced as a whole."""
    UNKNOWN = "unknown"


@final
class PgType(NamedTuple):
    """One type. `width` is a number's size in bytes; `element` the oid of what is inside."""

    name: str
    oid: int
    kind: Kind
    text: bytes | None = None
    binary: bytes | None = None
    width: int = 0
    element: int = 0


REDACTED = b"[redacted]"

_Z = bytes.fromhex
_SNAPSHOT = bytes(11) + b"\x01" + bytes(7) + b"\x01"
# name, oid, oid of its array, kind, text, binary, width
_BASE: tuple[tuple[str, int, int, Kind, bytes | None, bytes | None, int], ...] = (
    ("bool", 16, 1000, Kind.BLIND, b"f", _Z("00"), 0),
    ("bytea", 17, 1001, Kind.BYTEA, b"\\x", b"", 0),
    ("char", 18, 1002, Kind.BLIND, b"*", b"*", 0),
    ("name", 19, 1003, Kind.TEXT, REDACTED, REDACTED, 0),
    ("int8", 20, 1016, Kind.INTEGER, b"0", bytes(8), 8),
    ("int2", 21, 1005, Kind.INTEGER, b"0", bytes(2), 2),
    ("int4", 23, 1007, Kind.INTEGER, b"0", bytes(4), 4),
    ("regproc", 24, 1008, Kind.OTHER, b"-", bytes(4), 0),
    ("text", 25, 1009, Kind.TEXT, REDACTED, REDACTED, 0),
    ("oid", 26, 1028, Kind.BLIND, b"0", bytes(4), 0),
    ("tid", 27, 1010, Kind.BLIND, b"(0,0)", bytes(6), 0),
    ("xid", 28, 1011, Kind.BLIND, b"0", bytes(4), 0),
    ("cid", 29, 1012, Kind.BLIND, b"0", bytes(4), 0),
    ("json", 114, 199, Kind.JSON, b'"[redacted]"', b'"[redacted]"', 0),
    ("xml", 142, 143, Kind.XML, b"REDACTED", b"REDACTED", 0),
    ("point", 600, 1017, Kind.OTHER, b"(0,0)", bytes(16), 0),
    ("lseg", 601, 1018, Kind.OTHER, b"[(0,0),(0,0)]", bytes(32), 0),
    ("path", 602, 1019, Kind.OTHER, b"((0,0))", _Z("0100000001") + bytes(16), 0),
    ("box", 603, 1020, Kind.OTHER, b"(0,0),(0,0)", bytes(32), 0),
    ("polygon", 604, 1027, Kind.OTHER, b"((0,0))", _Z("00000001") + bytes(16), 0),
    ("line", 628, 629, Kind.OTHER, b"{1,0,0}", _Z("3ff0000000000000") + bytes(16), 0),
    ("cidr", 650, 651, Kind.BLIND, b"0.0.0.0/32", _Z("0220010400000000"), 0),
    ("float4", 700, 1021, Kind.FLOAT, b"0", bytes(4), 4),
    ("float8", 701, 1022, Kind.FLOAT, b"0", bytes(8), 8),
    ("unknown", 705, 0, Kind.TEXT, REDACTED, REDACTED, 0),
    ("circle", 718, 719, Kind.OTHER, b"<(0,0),0>", bytes(24), 0),
    ("macaddr8", 774, 775, Kind.BLIND, b"00:00:00:00:00:00:00:00", bytes(8), 0),
    ("money", 790, 791, Kind.BLIND, b"0", bytes(8), 0),
    ("macaddr", 829, 1040, Kind.BLIND, b"00:00:00:00:00:00", bytes(6), 0),
    ("inet", 869, 1041, Kind.BLIND, b"0.0.0.0", _Z("0220000400000000"), 0),
    ("aclitem", 1033, 1034, Kind.OTHER, None, None, 0),
    ("bpchar", 1042, 1014, Kind.TEXT, REDACTED, REDACTED, 0),
    ("varchar", 1043, 1015, Kind.TEXT, REDACTED, REDACTED, 0),
    ("date", 1082, 1182, Kind.DATE, b"1970-01-01", _Z("ffffd533"), 0),
    ("time", 1083, 1183, Kind.BLIND, b"00:00:00", bytes(8), 0),
    ("timestamp", 1114, 1115, Kind.TIMESTAMP, b"1970-01-01 00:00:00", _Z("fffca2fec4c82000"), 0),
    (
        *("timestamptz", 1184, 1185, Kind.TIMESTAMP),
        *(b"1970-01-01 00:00:00+00", _Z("fffca2fec4c82000"), 0),
    ),
    ("interval", 1186, 1187, Kind.BLIND, b"00:00:00", bytes(16), 0),
    ("timetz", 1266, 1270, Kind.BLIND, b"00:00:00+00", bytes(12), 0),
    ("bit", 1560, 1561, Kind.OTHER, b"0", _Z("0000000100"), 0),
    ("varbit", 1562, 1563, Kind.OTHER, b"", bytes(4), 0),
    ("numeric", 1700, 1231, Kind.NUMERIC, b"0", bytes(8), 0),
    ("refcursor", 1790, 2201, Kind.TEXT, REDACTED, REDACTED, 0),
    ("regprocedure", 2202, 2207, Kind.OTHER, b"-", bytes(4), 0),
    ("regoper", 2203, 2208, Kind.OTHER, b"0", bytes(4), 0),
    ("regoperator", 2204, 2209, Kind.OTHER, b"0", bytes(4), 0),
    ("regclass", 2205, 2210, Kind.OTHER, b"-", bytes(4), 0),
    ("regtype", 2206, 2211, Kind.OTHER, b"-", bytes(4), 0),
    ("cstring", 2275, 1263, Kind.TEXT, REDACTED, REDACTED, 0),
    ("void", 2278, 0, Kind.BLIND, b"", b"", 0),
    ("uuid", 2950, 2951, Kind.UUID, b"00000000-0000-0000-0000-000000000000", bytes(16), 0),
    ("txid_snapshot", 2970, 2949, Kind.BLIND, b"1:1:", _SNAPSHOT, 0),
    ("pg_lsn", 3220, 3221, Kind.BLIND, b"0/0", bytes(8), 0),
    ("tsvector", 3614, 3643, Kind.OTHER, b"", bytes(4), 0),
    ("tsquery", 3615, 3645, Kind.OTHER, b"", None, 0),
    ("regconfig", 3734, 3735, Kind.OTHER, b"-", bytes(4), 0),
    ("regdictionary", 3769, 3770, Kind.OTHER, b"-", bytes(4), 0),
    ("jsonb", 3802, 3807, Kind.JSONB, b'"[redacted]"', b'\x01"[redacted]"', 0),
    ("jsonpath", 4072, 4073, Kind.OTHER, b"$", b"\x01$", 0),
    ("regnamespace", 4089, 4090, Kind.OTHER, b"-", bytes(4), 0),
    ("regrole", 4096, 4097, Kind.OTHER, b"-", bytes(4), 0),
    ("regcollation", 4191, 4192, Kind.OTHER, b"-", bytes(4), 0),
    ("pg_snapshot", 5038, 5039, Kind.BLIND, b"1:1:", _SNAPSHOT, 0),
    ("xid8", 5069, 271, Kind.BLIND, b"0", bytes(8), 0),
)

# name, oid, oid of its array, oid of its bounds
_RANGES = (
    ("int4range", 3904, 3905, 23),
    ("numrange", 3906, 3907, 1700),
    ("tsrange", 3908, 3909, 1114),
    ("tstzrange", 3910, 3911, 1184),
    ("daterange", 3912, 3913, 1082),
    ("int8range", 3926, 3927, 20),
)
_MULTIRANGES = (
    ("int4multirange", 4451, 6150, 3904),
    ("nummultirange", 4532, 6151, 3906),
    ("tsmultirange", 4533, 6152, 3908),
    ("tstzmultirange", 4534, 6153, 3910),
    ("datemultirange", 4535, 6155, 3912),
    ("int8multirange", 4536, 6157, 3926),
)
# PostgreSQL writes these like arrays in binary, and in a way of their own in text.
_VECTORS = (("int2vector", 22, 1006), ("oidvector", 30, 1013))

UNKNOWN = PgType("?", 0, Kind.UNKNOWN)
RECORD = PgType("record", 2249, Kind.RECORD)

_ALIASES = {
    "boolean": "bool",
    "integer": "int4",
    "bigint": "int8",
    "smallint": "int2",
    "real": "float4",
    "double precision": "float8",
    "decimal": "numeric",
    "character varying": "varchar",
    "character": "bpchar",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
    "time with time zone": "timetz",
    "bit varying": "varbit",
    "citext": "text",
}


def _array(name: str, oid: int, element: int) -> PgType:
    neutral = bytes(8) + element.to_bytes(4, "big")
    return PgType(name, oid, Kind.ARRAY, b"{}", neutral, element=element)


def _build() -> tuple[dict[int, PgType], dict[str, PgType]]:
    types: list[PgType] = [RECORD, _array("_record", 2287, 2249)]
    for name, oid, array, kind, text, binary, width in _BASE:
        types.append(PgType(name, oid, kind, text, binary, width))
        if array:
            types.append(_array("_" + name, array, oid))
    for name, oid, array, element in _RANGES:
        types.append(PgType(name, oid, Kind.RANGE, b"empty", b"\x01", element=element))
        types.append(_array("_" + name, array, oid))
    for name, oid, array, element in _MULTIRANGES:
        types.append(PgType(name, oid, Kind.RANGE, b"{}", bytes(4), element=element))
        types.append(_array("_" + name, array, oid))
    for name, oid, array in _VECTORS:
        types.append(PgType(name, oid, Kind.BLIND, b"", None))
        types.append(_array("_" + name, array, oid))
    names = {entry.name: entry for entry in types}
    for alias, name in _ALIASES.items():
        names[alias] = names[name]
        names[alias + "[]"] = names["_" + name]
    for entry in types:
        names.setdefault(entry.name.removeprefix("_") + "[]", entry)
        if "_" + entry.name in names:
            names[entry.name + "[]"] = names["_" + entry.name]
    return {entry.oid: entry for entry in types}, names


BY_OID, BY_NAME = _build()


def type_of(name: str) -> PgType:
    """Return the type called `name`, or with that oid in digits; `UNKNOWN` for any other."""
    if name.isdecimal():
        return BY_OID.get(int(name), UNKNOWN)
    return BY_NAME.get(name.removeprefix("pg_catalog."), UNKNOWN)
