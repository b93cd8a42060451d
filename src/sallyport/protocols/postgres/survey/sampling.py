"""Sampling: which relations are looked at, and the bounded queries that read them.

Each relation is read in a read-only transaction of its own, with a deadline for the statement and
for locks. Views and foreign tables are not read: they run code, or reach further.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed, TargetUnavailable
from sallyport.core.visible import visible
from sallyport.masking.plan import whole_setting
from sallyport.protocols.postgres.endpoint import QueryFailed, Rows, SideConnection
from sallyport.sql.catalogue import CatalogueSnapshot, Column, Relation
from sallyport.sql.column_types import ColumnType
from sallyport.sql.rewriting.pieces import identifier

STATEMENT_TIMEOUT: Final = 4000
"""Milliseconds that one query on a relation may take."""
LOCK_TIMEOUT: Final = 500
"""Milliseconds that it may wait for a lock."""
ANSWER_LIMIT: Final = 48 * 1024 * 1024
"""Bytes that it may answer with."""
PAGE_TIME: Final = 4.0
"""Seconds after which a page of a survey begins no further relation."""
RELATION_TIME: Final = 12.0
"""Seconds after which it leaves the last one, unread."""
APART: Final = 20
"""How many times the rows that are asked for a relation has before it is sampled."""
MAXIMUM_NAME: Final = 300
"""Characters of a name that is told: a server may send any."""

Late = Callable[[float], bool]
"""Says whether so many seconds of a page are over."""

Made = TypeVar("Made")


class Apart(Protocol):
    """Runs work away from the loop, on which every session depends."""

    async def __call__(self, work: Callable[[], Made], /) -> Made:
        """Return what `work` returns."""


_TEXTS: Final = frozenset({"text", "varchar", "bpchar", "name", "xml"})
_DOCUMENTS: Final = frozenset({"json", "jsonb"})
_NUMBERS: Final = frozenset({"int2", "int4", "int8", "numeric"})

_RELATIONS: Final = """
select c.oid, c.relkind = 'p', c.reltuples::bigint,
    (select pg_catalog.string_agg(a.attnum::text, ' ') from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        and pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'))
from pg_catalog.pg_class c
where c.relkind in ('r', 'p', 'm') and not c.relispartition and c.relispopulated
    and c.oid >= 16384 and c.relpersistence <> 't'
order by c.oid limit 50000
"""


class Sampled(NamedTuple):
    """A relation that can be read: its size by the server's statistics (rows; -1: not known)."""

    relation: Relation
    partitioned: bool
    size: int
    columns: tuple[Column, ...]

    def source(self, rows: int) -> str:
        """Return what stands between FROM and LIMIT for a look at `rows` of it.

        Of a large one it takes pages from all over, and of these less than one row in `APART`:
        else LIMIT would leave what stands in front.
        """
        name = f"{identifier(self.relation.schema)}.{identifier(self.relation.name)}"
        whole = name if self.partitioned else f"only {name}"
        if self.size <= rows * APART:
            return whole
        share = max(min(100.0, 100.0 * rows * APART / self.size), 0.0001)
        sample = f"tablesample system ({share:.4f})"
        return f"{whole} {sample} where pg_catalog.random() * {APART} < 0.9"


def told(*names: str) -> str:
    """Return a dotted name as it may be told: short, on one line, with nothing hidden."""
    text = ".".join(names)[:MAXIMUM_NAME]
    return visible(text).replace("\n", "<U+000A>").replace("\t", "<U+0009>")


def kind_of(shape: ColumnType) -> str:
    """Return how a column is read: text, texts (an array), document, number, uuid, or nothing."""
    base = _under(shape)
    if base.kind == "array" and base.element is not None:
        return "texts" if kind_of(base.element) == "text" else ""
    if base.kind == "text" or (base.kind == "base" and base.name in _TEXTS):
        return "text"
    if base.kind != "base":
        return ""
    if base.name in _DOCUMENTS:
        return "document"
    if base.name == "uuid":
        return "uuid"
    return "number" if base.name in _NUMBERS else ""


def base_name(shape: ColumnType) -> str:
    """Return the name of the type that detectors see, as its result would have it."""
    base = _under(shape)
    return "text" if base.kind in ("text", "array") else base.name


def masked_columns(
    relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]
) -> frozenset[str]:
    """Return the columns of a relation that a mask replaces. Raises: TargetUnavailable."""
    try:
        return frozenset(
            column.name
            for column in relation.columns
            if whole_setting(
                masks,
                catalogue.origins_of(relation, column.name),
                catalogue.behind_column(relation, column.name),
            )
            is not None
        )
    except MaskingFailed as error:
        raise TargetUnavailable("", str(error)) from None


async def relations(side: SideConnection, catalogue: CatalogueSnapshot) -> list[Sampled]:
    """Return the relations that can be read, by number."""
    found = []
    for oid, partitioned, size, readable in await side.query(_RELATIONS):
        relation = catalogue.relation_by_oid(_number(oid))
        if relation is None or relation.system:
            continue
        numbers = {_number(each) for each in (readable or "").split()}
        columns = tuple(column for column in relation.columns if column.number in numbers)
        found.append(Sampled(relation, partitioned == "t", _number(size), columns))
    return found


async def ask(side: SideConnection, sql: str) -> Rows | None:
    """Return what a query on users' relations answers; None where the server refuses it.

    Raises: TargetUnavailable.
    """
    await side.query("begin isolation level repeatable read read only")
    await side.query(f"set local statement_timeout = {STATEMENT_TIMEOUT}")
    await side.query(f"set local lock_timeout = {LOCK_TIMEOUT}")
    answer: Rows | None = None
    with contextlib.suppress(QueryFailed):
        answer = await side.query(sql, limit=ANSWER_LIMIT)
    await side.query("rollback")
    return answer


def by_number(rows: Rows) -> Mapping[int, Sequence[list[str | None]]]:
    """Return rows by the number that each begins with."""
    found: dict[int, list[list[str | None]]] = {}
    for row in rows:
        found.setdefault(_number(row[0]), []).append(row[1:])
    return found


def _under(shape: ColumnType) -> ColumnType:
    while shape.kind == "domain" and shape.element is not None:
        shape = shape.element
    return shape


def _number(text: str | None) -> int:
    try:
        return int(text or "0")
    except ValueError:
        raise TargetUnavailable("", "its catalogue's answer cannot be read") from None
