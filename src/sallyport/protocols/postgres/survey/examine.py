"""Examination: what stands round the masks of a target, as far as its catalogue and data tell.

Columns that a rule's `unless_columns` names are taken to be known, and are not told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed, TargetUnavailable
from sallyport.core.globs import Globs
from sallyport.protocols.postgres.endpoint import Rows, SideConnection
from sallyport.protocols.postgres.masks.at_source import source_masks
from sallyport.protocols.postgres.survey.copies import Copies
from sallyport.protocols.postgres.survey.sampling import (
    PAGE_TIME,
    Apart,
    Late,
    by_number,
    masked_columns,
    relations,
    told,
)
from sallyport.protocols.survey import Examination, Exposure, Page
from sallyport.sql.catalogue import VIEWS, CatalogueSnapshot, Relation
from sallyport.sql.rewriting.masks import SHOWN_KEY, CannotMask

_INDEXES: Final = """
select i.indrelid, n.nspname, c.relname, i.indkey[0],
    (select pg_catalog.string_agg(d.refobjsubid::text, ' ') from pg_catalog.pg_depend d
        where d.classid = 1259 and d.objid = i.indexrelid and d.refclassid = 1259
        and d.refobjid = i.indrelid and d.refobjsubid > 0)
from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where i.indrelid >= 16384 and not c.relispartition and n.nspname !~ '^pg_(toast|temp)'
order by i.indexrelid limit 50000
"""
_PARTITION_KEYS: Final = """
select p.partrelid, d.objsubid from pg_catalog.pg_partitioned_table p
join pg_catalog.pg_depend d on d.classid = 1259 and d.objid = p.partrelid and d.objsubid > 0
    and d.refclassid = 1259 and d.refobjid = p.partrelid and d.refobjsubid = 0
    and d.deptype = 'i'
union select p.partrelid, k.attnum from pg_catalog.pg_partitioned_table p,
    pg_catalog.unnest(p.partattrs) k (attnum) where k.attnum > 0
order by 1, 2 limit 50000
"""
PATH: Final = """
select pg_catalog.array_to_json(pg_catalog.current_schemas(false))::pg_catalog.text,
    pg_catalog.set_config('search_path', '', false)
"""
"""The login's own search path, which is emptied for the rest. The first that is asked."""
_OVERLOADS: Final = """
select n.nspname, p.proname, pg_catalog.left(pg_catalog.pg_get_function_identity_arguments(p.oid),
    200)
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where p.oid >= 16384 and exists (select from pg_catalog.pg_proc b
        where b.pronamespace = 11 and b.oid < 16384 and b.proname = p.proname)
    and not exists (select from pg_catalog.pg_depend d where d.classid = 1255
        and d.objid = p.oid and d.deptype = 'e')
order by 1, 2, 3 limit 1000
"""


async def examine(
    side: SideConnection,
    catalogue: CatalogueSnapshot,
    path: tuple[str, ...],
    masks: tuple[Mask, ...],
    page: Page,
    late: Late,
    apart: Apart,
) -> Examination:
    """Return one page, which ends where `late` says so. Raises: TargetUnavailable.

    The first has all that the catalogue tells; copies are looked for in each.
    """
    named = tuple(mask for mask in masks if mask.columns)
    every = await relations(side, catalogue)
    round_ = await apart(lambda: _Masked(catalogue, named))
    found: list[Exposure] = []
    if page.after == 0 and round_.columns:
        found.extend(round_.of_indexes(await side.query(_INDEXES)))
        found.extend(round_.of_partition_keys(await side.query(_PARTITION_KEYS)))
        found.extend(_of_overloads(await side.query(_OVERLOADS), path))
        found.extend(await apart(lambda: list(round_.of_refusals())))
    copies = Copies(side, every, round_.columns, round_.is_known)
    done, last = 0, page.after
    unread: list[str] = []
    pending = [each for each in every if each.relation.oid > page.after]
    for sampled in pending:
        if done and late(PAGE_TIME):
            break
        answer = await copies.within(sampled, late)
        if answer is None:
            unread.append(told(sampled.relation.schema, sampled.relation.name))
        found.extend(answer or ())
        done, last = done + 1, sampled.relation.oid
    return Examination(
        database="",
        masked=sum(map(len, round_.columns.values())),
        relations=len(every),
        done=len(every) - len(pending) + done,
        next=0 if done == len(pending) else last,
        unread=tuple(unread),
        found=tuple(found),
    )


class _Masked:
    """The masked columns of a catalogue, and what stands round them in it.

    `columns` has them by their relation's number.
    """

    def __init__(self, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]) -> None:
        self._catalogue = catalogue
        self._masks = masks
        self._known = Globs(glob for mask in masks for glob in mask.unless_columns)
        self.columns: dict[int, frozenset[str]] = {}
        for relation in catalogue.raw.relations:
            if not relation.system and (one := masked_columns(relation, catalogue, masks)):
                self.columns[relation.oid] = one

    def is_known(self, relation: Relation, column: str) -> bool:
        """Whether a rule names this column to leave it alone."""
        return self._known.matches(f"{relation.schema}.{relation.name}.{column}")

    def of_indexes(self, rows: Rows) -> Iterator[Exposure]:
        """Yield the indexes that begin with a masked column, or compute something of one."""
        for oid, indexes in by_number(rows).items():
            for schema, name, first, read in indexes:
                numbers = (read or "").split() if first == "0" else [first or ""]
                column = self._masked(oid, numbers)
                if column is not None:
                    index = told(schema or "", name or "")
                    yield Exposure(
                        "index",
                        index,
                        f"index {index} begins with {column}: where nothing orders, the order of "
                        "rows may show that of the values",
                        "lead the index with another column, or waive it",
                    )

    def of_partition_keys(self, rows: Rows) -> Iterator[Exposure]:
        """Yield the masked columns that say in which partition a row stands."""
        for oid, keys in by_number(rows).items():
            column = self._masked(oid, [key[0] or "" for key in keys])
            if column is not None:
                yield Exposure(
                    "partition-key",
                    column,
                    f"{column} is a partition key: the partition that a row stands in tells of it",
                    "deny the partitions themselves (`operations.resources`), or waive it",
                )

    def of_refusals(self) -> Iterator[Exposure]:
        """Yield what masking at the source refuses: statements that do more than show it fail."""
        for oid in self.columns:
            relation = self._catalogue.relation_by_oid(oid)
            if relation is not None and (why := self._refusal(relation)):
                name = told(relation.schema, relation.name)
                yield Exposure(
                    "view" if relation.kind in VIEWS else "column",
                    name,
                    f"{name} is refused in more than a plain select list: {told(why)}",
                    "read what it is made of, or waive it"
                    if relation.kind in VIEWS
                    else "mask it by another transform, or waive it",
                )
        yield from self._of_conditions()

    def _of_conditions(self) -> Iterator[Exposure]:
        """Yield the views that show no masked column, and have their rows by one."""
        for relation in self._catalogue.raw.relations:
            if relation.kind not in VIEWS or relation.system or relation.oid in self.columns:
                continue
            if self._refusal(relation):
                name = told(relation.schema, relation.name)
                yield Exposure(
                    "view",
                    name,
                    f"{name} has its rows, or their order, by a masked column",
                    "deny the view to whom the mask is for, or waive it",
                )

    def _refusal(self, relation: Relation) -> str:
        try:
            source_masks(relation, self._catalogue, self._masks, SHOWN_KEY)
        except CannotMask as error:
            return str(error)
        except MaskingFailed as error:
            raise TargetUnavailable("", str(error)) from None
        return ""

    def _masked(self, oid: int, numbers: list[str]) -> str | None:
        relation = self._catalogue.relation_by_oid(oid)
        for column in relation.columns if relation is not None else ():
            if relation is None or str(column.number) not in numbers:
                continue
            if column.name in self.columns.get(oid, ()):
                return told(relation.schema, relation.name, column.name)
        return None


def _of_overloads(rows: Rows, path: tuple[str, ...]) -> Iterator[Exposure]:
    """Yield the users' functions on the search path that are called like one of the server's."""
    for schema, name, arguments in rows:
        if schema in path:
            function = told(schema or "", name or "")
            yield Exposure(
                "function",
                function,
                f"function {function}({told(arguments or '')}) has the name of one of the server's:"
                " a call of that may run it, with values as they are",
                "rename it, move it off the search path, or waive it",
            )
