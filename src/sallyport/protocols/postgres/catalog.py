"""The snapshot of a PostgreSQL target's catalogue, made of the answers to `catalog_queries`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from sallyport.core.operation import Tags
from sallyport.protocols.postgres.catalog_queries import FIRST_USER_OID, MAX_ROWS
from sallyport.sql.catalogue import (
    Base,
    Cast,
    Catalogue,
    CatalogueSnapshot,
    Column,
    Function,
    Relation,
)
from sallyport.sql.column_types import UNKNOWN_TYPE
from sallyport.sql.column_types import read as column_types
from sallyport.sql.lineage import trace
from sallyport.sql.statement import Name, Origin
from sallyport.sql.tags import tags_of

Rows = list[list[str | None]]

_KINDS: Final = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized-view",
    "f": "foreign-table",
    "S": "sequence",
}


def build(rows: dict[str, Rows]) -> CatalogueSnapshot:
    """Return the snapshot that the answers to `QUERIES` make.

    Raises: ValueError where an answer does not have the shape that was asked for.
    """
    try:
        return CatalogueSnapshot(_catalogue(rows), trace)
    except (KeyError, IndexError, TypeError, msgspec.MsgspecError) as error:
        raise ValueError(f"the catalogue's answer cannot be read: {error!r}") from error


def _catalogue(rows: dict[str, Rows]) -> Catalogue:
    version = int(_text(rows["settings"][0][0]))
    usage = [_texts(row) for row in rows["usage"]]
    return Catalogue(
        version=version // 10000,
        epoch=_text(rows["digest"][0][0]),
        relations=tuple(_relations(rows)),
        functions=tuple(_functions(rows["functions"])),
        schemas=frozenset(_text(row[0]) for row in rows["schemas"]),
        types=frozenset((_text(row[0]), _text(row[1])) for row in rows["types"]),
        operators=_operators(rows["operators"]),
        casts=tuple(_casts(rows["casts"])),
        holders=_holders(rows["holders"]),
        unusable=frozenset((role, schema) for role, schema, usable in usage if usable != "t"),
        role_schemas=frozenset(_text(row[0]) for row in rows["role_schemas"]),
        tags=_tags(rows),
        judged=frozenset(role for role, _, _ in usage),
        role=_text(rows["settings"][0][1]),
        cascades=_cascades(rows),
    )


def _cascades(rows: dict[str, Rows]) -> dict[Name, frozenset[Name]]:
    names = {_text(row[0]): (_text(row[1]), _text(row[2])) for row in rows["relations"]}
    found: defaultdict[Name, set[Name]] = defaultdict(set)
    for referred, referring in (_texts(row) for row in rows["cascades"]):
        found[names[referred]].add(names[referring])
    return {name: frozenset(holders) for name, holders in found.items()}


def _tags(rows: dict[str, Rows]) -> Tags:
    """FAILS CLOSED: with more comments than are read there is no snapshot."""
    if len(rows["comments"]) >= MAX_ROWS:
        raise ValueError(f"the comments of more than {MAX_ROWS} columns may have tags")
    known = [_texts(row) for row in rows["relations"]]
    columns = {
        (oid, number): (schema, name, column[0])
        for oid, schema, name, _, described, _, _ in known
        for column in _columns(described)
        for number in (str(column[1]),)
    }
    comments = (_texts(row) for row in rows["comments"])
    return tags_of((columns[o, n], text) for o, n, text in comments if (o, n) in columns)


def _relations(rows: dict[str, Rows]) -> Iterable[Relation]:
    known = [_texts(row) for row in rows["relations"]]
    names: dict[str, Name] = {row[0]: (row[1], row[2]) for row in known}
    columns = {row[0]: _columns(row[4]) for row in known}
    made = _made_columns(rows, names, columns)
    parents = _ancestors(rows["inherits"])
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows["keys"]:
        keys[_text(row[0])].append(_text(row[1]))
    definitions = {_text(row[0]): _text(row[1]) for row in rows["views"] if row[1] is not None}
    bases = _bases(rows["reads"], names, columns)
    functions = _called(rows["reads"], rows["functions"])
    ruled = _bases(rows["rules"], names, columns)
    runs = _called(rows["rules"], rows["functions"])
    unreadable = {_text(row[0]) for row in rows["unreadable"]}
    for oid, schema, name, kind, _, secured, version in known:
        yield Relation(
            oid=int(oid),
            schema=schema,
            name=name,
            kind=_KINDS[kind],
            columns=made[oid],
            parents=tuple(names[parent] for parent in parents.get(oid, ()) if parent in names),
            bases=tuple(bases.get(oid, ())),
            functions=tuple(functions.get(oid, ())),
            definition=definitions.get(oid, ""),
            system=int(oid) < FIRST_USER_OID,
            key=tuple(keys.get(oid, ())),
            secured=secured != "f",
            version=version,
            readable=oid not in unreadable,
            ruled=tuple(ruled.get(oid, ())),
            runs=tuple(runs.get(oid, ())),
        )


def _made_columns(
    rows: dict[str, Rows], names: dict[str, Name], columns: dict[str, _Columns]
) -> dict[str, tuple[Column, ...]]:
    """Return the columns of each relation, by oid.

    FAILS CLOSED: what checks and keys a foreign table has where it stands is not known, so that
    each of its columns may be in one with all others.
    """
    foreign = {_text(row[0]) for row in rows["relations"] if row[3] == "f"}
    types = column_types(rows["column_types"])
    generated = _generated(rows["generated"], columns)
    guarded = _guarded(rows["guarded"], generated, columns)
    refers = _refers(rows["refers"], names, columns)
    elsewhere: Rows = [[oid, "0", "t"] for oid in sorted(foreign)]
    tied = _tied([*rows["tied"], *elsewhere], generated, columns)
    virtual = {(_text(row[0]), _text(row[1])) for row in rows["generated"] if row[3] == "v"}
    return {
        oid: tuple(
            Column(
                column,
                number,
                type_,
                not_null,
                oid in foreign or number in guarded.get(oid, ()),
                types.get((type_oid, modifier), UNKNOWN_TYPE),
                generated.get((oid, number), ()),
                tuple(refers.get((oid, number), ())),
                tuple(sorted(tied.get((oid, number), ()))),
                (oid, str(number)) in virtual,
                filled,
            )
            for column, number, type_, not_null, type_oid, modifier, filled in described
        )
        for oid, described in columns.items()
    }


_Columns = list[tuple[str, int, str, bool, int, int, bool]]
_columns = msgspec.json.Decoder(_Columns).decode


def _ancestors(rows: Rows) -> dict[str, list[str]]:
    direct: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        direct[_text(row[0])].append(_text(row[1]))
    ancestors: dict[str, list[str]] = {}
    for oid in direct:
        found: list[str] = []
        pending = list(direct[oid])
        while pending:
            parent = pending.pop()
            if parent not in found:
                found.append(parent)
                pending.extend(direct.get(parent, ()))
        ancestors[oid] = found
    return ancestors


def _generated(rows: Rows, columns: dict[str, _Columns]) -> dict[tuple[str, int], tuple[str, ...]]:
    parts: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for row in rows:
        oid, number, part, _ = _texts(row)
        parts[oid, int(number)].add(int(part))
    return {
        (oid, number): tuple(c[0] for c in columns.get(oid, ()) if c[1] in wanted)
        for (oid, number), wanted in parts.items()
    }


def _guarded(
    rows: Rows, generated: dict[tuple[str, int], tuple[str, ...]], columns: dict[str, _Columns]
) -> dict[str, set[int]]:
    """Return the columns that a key stands on, or that a column with a key is generated from."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        found[_text(row[0])].add(int(_text(row[1])))
    for (oid, number), parts in generated.items():
        if number in found.get(oid, ()):
            found[oid].update(c[1] for c in columns[oid] if c[0] in parts)
    return found


def _refers(
    rows: Rows, names: dict[str, Name], columns: dict[str, _Columns]
) -> dict[tuple[str, int], list[Origin]]:
    found: defaultdict[tuple[str, int], list[Origin]] = defaultdict(list)
    for row in rows:
        oid, number, other, part = _texts(row)
        named = [c[0] for c in columns.get(other, ()) if str(c[1]) == part]
        found[oid, int(number)] += [(*names[other], name) for name in named]
    return found


def _tied(
    rows: Rows, generated: dict[tuple[str, int], tuple[str, ...]], columns: dict[str, _Columns]
) -> dict[tuple[str, int], set[str]]:
    """Return the columns that stand beside each one in a check, a key, an index, or what a column
    is generated from. A check that takes the row whole has every column in it.
    """
    found: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    groups: list[tuple[str, dict[int, str]]] = []
    for oid, joined, checks in (_three(row) for row in rows):
        held = {c[1]: c[0] for c in columns.get(oid, ())}
        numbers = set(joined.split())
        if not ("0" in numbers and (checks == "t" or numbers == {"0"})):
            held = {number: name for number, name in held.items() if str(number) in numbers}
        groups.append((oid, held))
    for (oid, number), parts in generated.items():
        held = {c[1]: c[0] for c in columns.get(oid, ()) if c[0] in parts or c[1] == number}
        groups.append((oid, held))
    for oid, held in groups:
        for number, name in held.items():
            found[oid, number] |= {*held.values()} - {name}
    return found


def _three(row: list[str | None]) -> tuple[str, str, str]:
    return _text(row[0]), _text(row[1]), row[2] or ""


def _bases(
    rows: Rows, names: dict[str, Name], columns: dict[str, _Columns]
) -> dict[str, list[Base]]:
    read: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for row in rows:
        view, catalogue, oid, number = _texts(row)
        if catalogue == "1259":
            read[view, oid].add(int(number))
    bases: defaultdict[str, list[Base]] = defaultdict(list)
    for (view, oid), numbers in read.items():
        if oid not in names:
            bases[view].append(Base(("", oid), None))
            continue
        used = tuple(name for name, number, *_ in columns[oid] if number in numbers)
        # A dependency on the whole relation alone: the view counts its rows, or takes them whole.
        bases[view].append(Base(names[oid], used or None))
    return bases


def _called(rows: Rows, functions: Rows) -> dict[str, list[Name]]:
    names: dict[str, Name] = {}
    for row in functions:
        for oid, _, _ in (each.partition(":") for each in _text(row[8]).split()):
            names[oid] = (_text(row[0]), _text(row[1]))
    called: defaultdict[str, list[Name]] = defaultdict(list)
    for row in rows:
        view, catalogue, oid, _ = _texts(row)
        if catalogue == "1255":
            called[view].append(names.get(oid, ("", oid)))
    return called


def _functions(rows: Rows) -> Iterable[Function]:
    for row in rows:
        schema, name, volatility, kinds, rows_, compiled, builtin, extension, version = _texts(row)
        yield Function(
            schema, name, volatility, kinds, compiled == "t", builtin == "t", extension, version,
            rows_ == "t",
        )  # fmt: skip


def _operators(rows: Rows) -> dict[str, tuple[tuple[str, Name], ...]]:
    operators: defaultdict[str, list[tuple[str, Name]]] = defaultdict(list)
    for row in rows:
        name, schema, function_schema, function = _texts(row)
        operators[name].append((schema, (function_schema, function)))
    return {name: tuple(known) for name, known in operators.items()}


def _casts(rows: Rows) -> Iterable[Cast]:
    for row in rows:
        from_schema, source, to_schema, target, context, schema, function = _texts(row)
        yield Cast(
            _type(from_schema, source), _type(to_schema, target), context, (schema, function)
        )


def _holders(rows: Rows) -> dict[str, frozenset[str]]:
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        schema, holder, part_schema, part = _texts(row)
        holders[_type(schema, holder)].add(_type(part_schema, part))
    return {holder: frozenset(parts) for holder, parts in holders.items()}


def _type(schema: str, name: str) -> str:
    return name if schema == "pg_catalog" else f"{schema}.{name}"


def _texts(row: list[str | None]) -> list[str]:
    return [_text(cell) for cell in row]


def _text(cell: str | None) -> str:
    if cell is None:
        raise ValueError("the catalogue's answer holds a null")
    return cell
