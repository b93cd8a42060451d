"""Column names: under which name a column of a result stands in findings.

It is one that a rule can name, and the same for all ways that lead to the data: of a view's
unchanged column the table's, of a partition's or heir's that of the root.
"""

from __future__ import annotations

from typing import Final

from sallyport.protocols.postgres.replies import Field
from sallyport.sql.catalogue import VIEWS, CatalogueSnapshot
from sallyport.sql.statement import CopyColumn, Origin, Statement

_RELATIONS: Final = ("table", "foreign-table", *VIEWS)


def of_field(field: Field, catalogue: CatalogueSnapshot | None, statement: Statement) -> str:
    """Return the name of a result column; see `FindingCount` for those that have none."""
    if field.table and field.attribute > 0 and catalogue is not None:
        origins = catalogue.origin(field.table, field.attribute)
        if origins:
            behind = catalogue.behind(field.table, field.attribute)
            return _stable(origins, behind, catalogue)
    return _computed(statement)


def of_copied(column: CopyColumn, catalogue: CatalogueSnapshot | None, statement: Statement) -> str:
    """Return the same for a column of COPY's rows."""
    if column.origins and catalogue is not None:
        return _stable(column.origins, column.behind, catalogue)
    return _computed(statement)


def _stable(
    origins: frozenset[Origin], behind: frozenset[Origin], catalogue: CatalogueSnapshot
) -> str:
    """Return the one name that counts, by the same choice each time."""
    names = origins - behind or origins
    tables: list[Origin] = []
    roots: list[Origin] = []
    for name in names:
        relation = catalogue.relation(name[:2])
        if relation is None or relation.kind in VIEWS:
            continue
        tables.append(name)
        if not relation.parents:
            roots.append(name)
    return ".".join(min(roots or tables or names))


def _computed(statement: Statement) -> str:
    read = {one.name for one in statement.resources if one.kind in _RELATIONS}
    return f"{read.pop()}.*" if len(read) == 1 else ""
