"""Copies: unmasked columns that hold the values of masked ones.

Compared by the server: some distinct values of each masked column, with a bounded part of each
other column. No value leaves it, and none stands in a query. Case and spaces around do not count.
What is short, or a number that another column may hold by chance, is no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from sallyport.protocols.postgres.endpoint import SideConnection
from sallyport.protocols.postgres.survey.sampling import (
    RELATION_TIME,
    Late,
    Sampled,
    ask,
    kind_of,
    told,
)
from sallyport.protocols.survey import Exposure
from sallyport.sql.catalogue import Relation
from sallyport.sql.rewriting.pieces import identifier

VALUES: Final = 100
"""Distinct values that are taken of a masked column."""
SCANNED: Final = 2000
"""Rows of its relation that they are taken from."""
SEARCHED: Final = 100_000
"""Rows of another relation that they are looked for in."""
SHORTEST: Final = 5
SHORTEST_NUMBER: Final = 7
"""Characters below which a value is no evidence."""
LONGEST: Final = 256
"""Characters that are compared."""
TOGETHER: Final = 20
"""Masked columns, and other ones, that one query compares."""
SHARE: Final = 20
"""One value in so many that have to be found, and one at least."""

_COMPARED: Final = ("text", "number", "uuid")


class _Source(NamedTuple):
    """A masked column that values are taken of."""

    name: str
    sql: str


class Copies:
    """Looks for copies, relation by relation.

    `masked` has the masked columns by their relation's number; `known` says which others are meant
    to hold what they hold.
    """

    def __init__(
        self,
        side: SideConnection,
        every: Sequence[Sampled],
        masked: Mapping[int, frozenset[str]],
        known: Callable[[Relation, str], bool],
    ) -> None:
        self._side = side
        self._masked = masked
        self._known = known
        self._sources = [source for sampled in every for source in self._taken_of(sampled)]

    async def within(self, sampled: Sampled, late: Late) -> list[Exposure] | None:
        """Return the columns of one relation that hold values of masked ones; None: not read.

        Raises: TargetUnavailable.
        """
        relation = sampled.relation
        masked = self._masked.get(relation.oid, frozenset())
        others = [
            column.name
            for column in sampled.columns
            if kind_of(column.shape) in _COMPARED
            and column.name not in masked
            and not self._known(relation, column.name)
        ]
        found: list[Exposure] = []
        for start in range(0, len(others), TOGETHER):
            for first in range(0, len(self._sources), TOGETHER):
                sources = self._sources[first : first + TOGETHER]
                if late(RELATION_TIME):
                    return None
                some = others[start : start + TOGETHER]
                answer = await self._compare(sampled, some, sources)
                if answer is None:
                    return None
                found += answer
        return found

    def _taken_of(self, sampled: Sampled) -> list[_Source]:
        """Return the queries that take the values of a relation's masked columns."""
        relation, found = sampled.relation, []
        for column in sampled.columns:
            kind = kind_of(column.shape)
            if kind in _COMPARED and column.name in self._masked.get(relation.oid, ()):
                least = SHORTEST_NUMBER if kind == "number" else SHORTEST
                value = _compared(identifier(column.name))
                rows = f"select {value} as v from {sampled.source(SCANNED)} limit {SCANNED}"
                sql = (
                    f"select distinct v from ({rows}) r "
                    f"where pg_catalog.length(v) >= {least} limit {VALUES}"
                )
                found.append(_Source(told(relation.schema, relation.name, column.name), sql))
        return found

    async def _compare(
        self, sampled: Sampled, others: Sequence[str], sources: Sequence[_Source]
    ) -> list[Exposure] | None:
        """Return what some columns of one relation hold of some masked columns' values."""
        taken = " union all ".join(f"select {i}, v from ({s.sql}) s" for i, s in enumerate(sources))
        columns = ", ".join(f"{_compared(identifier(name))} as c{j}" for j, name in _each(others))
        spread = ", ".join(f"({j}, c{j})" for j, _ in _each(others))
        answer = await ask(
            self._side,
            f"""
with taken (i, v) as materialized ({taken}),
searched as (select {columns} from {sampled.source(SEARCHED)} limit {SEARCHED}),
other (j, v) as (select x.j, x.v from searched, lateral (values {spread}) x (j, v)
    where x.v is not null)
select i, j, (select pg_catalog.count(*) from taken t where t.i = m.i), pg_catalog.count(*)
from (select distinct i, j, v from taken join other using (v)) m group by i, j order by i, j
""",
        )
        if answer is None:
            return None
        relation, found = sampled.relation, []
        for row in answer:
            i, j, values, hits = (int(cell or 0) for cell in row)
            if not (0 <= i < len(sources) and 0 <= j < len(others)) or hits * SHARE < values:
                continue
            name = told(relation.schema, relation.name, others[j])
            text = f"{name} holds {hits} of {values} sampled values of {sources[i].name}"
            found.append(Exposure("copy", name, text, "name it in the mask rule, or waive it"))
        return found


def _compared(value: str) -> str:
    """Return what is compared of a value."""
    text = f"pg_catalog.left(CAST({value} AS pg_catalog.text), {LONGEST})"
    return f"pg_catalog.lower(pg_catalog.btrim({text}))"


def _each(names: Sequence[str]) -> list[tuple[int, str]]:
    return list(enumerate(names))
