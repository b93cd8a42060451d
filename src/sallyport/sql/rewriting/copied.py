"""COPY of a table, as COPY of a query with the same rows: that can be masked at the source."""

from __future__ import annotations

from sallyport.sql.catalogue import CatalogueSnapshot, Relation
from sallyport.sql.names import Names
from sallyport.sql.rewriting.parse_tree import Message, parse


def as_query(copy: Message, names: Names) -> None:
    """Put the query in the table's place that COPY TO reads: ONLY the table itself, and of its
    columns those that are not generated.

    Raises: ValueError, with the reason, where that would not be the same.
    """
    place = copy.relation
    found = names.relation(place.schemaname, place.relname, place.catalogname)
    if found is None or found.relation is None or found.behind or found.session is not None:
        raise ValueError(f"`{place.relname}` is not known")
    _check(found.relation, names.catalogue)
    given = [node.string.sval for node in copy.attlist]
    stored = [column.name for column in found.relation.columns if not column.made_of]
    if not set(given) <= set(stored):
        raise ValueError("it copies columns that are generated, or not known")
    tree = parse("SELECT FROM ONLY t")
    select = tree.stmts[0].stmt.select_stmt
    for name in given or stored:
        target = select.target_list.add().res_target
        target.val.column_ref.fields.add().string.sval = name
    source = select.from_clause[0].range_var
    source.schemaname, source.relname = found.relation.schema, found.relation.name
    copy.query.CopyFrom(tree.stmts[0].stmt)
    copy.ClearField("relation")
    copy.ClearField("attlist")


def _check(relation: Relation, catalogue: CatalogueSnapshot | None) -> None:
    """The server refuses to copy a partitioned table, and copies rows under row security its own
    way."""
    if relation.kind != "table" or relation.secured or catalogue is None:
        raise ValueError(f"what it copies is a {relation.kind}")
    if catalogue.descendants(relation):
        raise ValueError("what it copies may be partitioned")
