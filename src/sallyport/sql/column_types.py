"""The type of a column, down to what it is made of: what a mask on it must know.

`COLUMN_TYPES` asks a server (13 to 18) for the types of all columns; `read`
makes `ColumnType`s of its rows. Ask with an empty search_path: then format_type qualifies every
type that is not of pg_catalog.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

Kind = Literal[
    "base", "text", "array", "domain", "enum", "composite", "range", "multirange", "opaque"
]
"""`text`: a base type of an extension that is text underneath, like citext. `opaque`: not known,
or a pseudo-type, which nothing can be cast to."""


class ColumnType(NamedTuple):
    """A type with its modifier. `spelled` is how SQL names both, qualified; `name` pg_type's.

    `element` is what an array is made of, or what a domain stands on; `fields` are a composite's,
    `labels` an enum's. `checked` and `not_null` tell a domain's own constraints.
    """

    kind: Kind
    name: str
    spelled: str
    element: ColumnType | None = None
    fields: tuple[tuple[str, ColumnType], ...] = ()
    labels: tuple[str, ...] = ()
    checked: bool = False
    not_null: bool = False


def is_rounded(type: ColumnType) -> bool:
    """Return whether the text of such a value depends on settings: it holds a float."""
    if type.kind == "base":
        return type.name in ("float4", "float8")
    parts = [part for _, part in type.fields]
    return any(map(is_rounded, parts if type.element is None else [*parts, type.element]))


def is_made_of(type: ColumnType, domain: str) -> bool:
    """Return whether a domain of this bare name stands in a type, however deep."""
    if type.kind == "domain" and (type.name == domain or type.name.endswith(f".{domain}")):
        return True
    parts = [part for _, part in type.fields]
    parts += [type.element] if type.element is not None else []
    return any(is_made_of(part, domain) for part in parts)


NUMERIC_SIZES: Final = re.compile(r"numeric\((\d+),(-?\d+)\)")
"""Precision and scale of a numeric, as it is spelled."""

UNKNOWN_TYPE: Final = ColumnType("opaque", "?", "?")
"""What nothing is known of: it cannot be masked."""

Key = tuple[int, int]
"""A type's oid and modifier."""

COLUMN_TYPES: Final = """
with recursive used (type, modifier) as (
    select a.atttypid, a.atttypmod from pg_catalog.pg_attribute a
    join pg_catalog.pg_class c on c.oid = a.attrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped
        and n.nspname !~ '^pg_(toast|temp)'
    union
    select part.type, part.modifier from used join pg_catalog.pg_type t on t.oid = used.type,
    lateral (
        select t.typbasetype, t.typtypmod where t.typtype = 'd'
        union all select e.oid, used.modifier from pg_catalog.pg_type e
        where e.oid = t.typelem and e.typarray = t.oid
        union all select a.atttypid, a.atttypmod from pg_catalog.pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) part (type, modifier)
)
select used.type, used.modifier, n.nspname, t.typname, t.typtype,
    pg_catalog.format_type(used.type, used.modifier),
    case when t.typtype = 'd' then t.typbasetype when e.oid is not null then e.oid else 0 end,
    case when t.typtype = 'd' then t.typtypmod else used.modifier end,
    t.typnotnull,
    exists (select from pg_catalog.pg_constraint k where k.contypid = t.oid and k.contype = 'c'),
    t.typtype = 'b' and 2 = (select count(*) from pg_catalog.pg_cast k where k.castmethod = 'b'
        and (k.castsource, k.casttarget) in ((t.oid, 25), (25, t.oid))),
    (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
            a.attname, a.atttypid::bigint, a.atttypmod) order by a.attnum), '[]')::text
        from pg_catalog.pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped),
    (select coalesce(pg_catalog.json_agg(v.enumlabel order by v.enumsortorder), '[]')::text
        from pg_catalog.pg_enum v where v.enumtypid = t.oid)
from used join pg_catalog.pg_type t on t.oid = used.type
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
left join pg_catalog.pg_type e on e.oid = t.typelem and e.typarray = t.oid
limit 200000
"""
"""Two milliseconds without JIT, whose compiler takes a hundred times that: switch it off."""

_KEYWORDS = re.compile(
    r"(?:bigint|bit varying|bit(?=\()|boolean|character varying|character(?=\()|double precision"
    r"|integer|interval|numeric|real|smallint|time|timestamp)(?=[ (\[]|$)"
)
"""Types that the grammar itself puts into pg_catalog."""


def spelled(schema: str, formatted: str) -> str:
    """Return a type's text so that no search path changes what it means."""
    if schema != "pg_catalog" or _KEYWORDS.match(formatted):
        return formatted
    return "pg_catalog." + formatted


def read(rows: Iterable[Sequence[str | None]]) -> dict[Key, ColumnType]:
    """Return the types by oid and modifier, from the rows of `COLUMN_TYPES` as the wire has them.

    FAILS CLOSED: what holds itself, or a part that is not known, is of no known kind inside.
    """
    raw = {(_number(row[0]), _number(row[1])): row for row in rows}
    return {key: _build(key, raw, ()) for key in raw}


def _build(key: Key, raw: dict[Key, Sequence[str | None]], around: tuple[Key, ...]) -> ColumnType:
    if key in around or key not in raw:
        return UNKNOWN_TYPE
    row = raw[key]
    schema, name, type_, formatted = (_text(row[index]) for index in (2, 3, 4, 5))
    inside = (*around, key)
    part = (_number(row[6]), _number(row[7]))
    own = schema == "pg_catalog"
    fields: list[tuple[str, int, int]] = json.loads(_text(row[11]))
    return ColumnType(
        _kind(type_, part[0] != 0, row[10] == "t" and not own),
        name if own else f"{schema}.{name}",
        spelled(schema, formatted),
        _build(part, raw, inside) if part[0] else None,
        tuple((field, _build((oid, modifier), raw, inside)) for field, oid, modifier in fields),
        tuple(json.loads(_text(row[12]))),
        checked=row[9] != "f",
        not_null=row[8] != "f",
    )


def _kind(type_: str, made: bool, like_text: bool) -> Kind:
    if type_ == "d":
        return "domain"
    if made:
        return "array"
    kinds: dict[str, Kind] = {
        "e": "enum",
        "c": "composite",
        "r": "range",
        "m": "multirange",
        "p": "opaque",
    }
    return kinds.get(type_, "text" if like_text else "base")


def _number(value: str | None) -> int:
    return int(_text(value))


def _text(value: str | None) -> str:
    if value is None:
        raise ValueError("the catalogue's answer has a NULL where none can be")
    return value
