"""Where a view's columns come from, through other views, down to tables."""

from __future__ import annotations

from collections.abc import Iterable

from sallyport.sql import grammar, tree
from sallyport.sql.account import Account, Output, Source
from sallyport.sql.catalogue import CatalogueSnapshot, Lineage, Relation
from sallyport.sql.effort import TooDeep
from sallyport.sql.grammar import ParseFailed
from sallyport.sql.names import Names
from sallyport.sql.query import Queries
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Origin
from sallyport.sql.tree import Node
from sallyport.sql.writes import Writes

MAX_DEFINITION = 64 * 1024
"""Longest definition that is read, in bytes. The server bounds its depth."""


def trace(view: Relation, catalogue: CatalogueSnapshot) -> Lineage | None:
    """Return, for each column of `view`, the columns that its values are made of.

    The definition comes from the server with every name qualified, so it is read with an empty
    search path. None where it is not understood: every column that the view reads counts then.
    """
    try:
        parsed = grammar.parse(view.definition, MAX_DEFINITION)
        if len(parsed) != 1:
            return None
        account, outputs = _walk(parsed[0].node, catalogue)
        names = Names(SessionState.start("", "", ""), catalogue)
        conditions, _ = _walk(_without_expressions(parsed[0].node, names), catalogue)
    except (ParseFailed, TooDeep, RecursionError, ValueError, LookupError):
        return None
    if account.unresolved or "unparsed" in account.facts or len(outputs) != len(view.columns):
        return None
    columns = {
        column.name: _origins(output.sources, catalogue)
        for column, output in zip(view.columns, outputs, strict=True)
    }
    exposed = {(t, name) for t in conditions.touched.values() for name in t.exposed}
    computed = frozenset(
        column.name
        for column, output in zip(view.columns, outputs, strict=True)
        if not output.plain or any(_computed(source, catalogue) for source in output.sources)
    )
    return Lineage(columns, computed, _origins(exposed, catalogue), tuple(account.called))


def _walk(node: Node, catalogue: CatalogueSnapshot) -> tuple[Account, list[Output]]:
    account = Account(Names(SessionState.start("", "", ""), catalogue))
    queries = Queries(account)
    Writes(queries)
    return account, queries.query(node, None)


def _without_expressions(node: Node, names: Names) -> Node:
    """Return a view's query with NULL for each computed column: those are masked by their origins.

    What is exposed in it still is a condition. DISTINCT compares what it shows, a window sorts the
    rows, a function that returns a set makes rows, and the server repeats in GROUP BY and ORDER BY
    what these are about.
    """
    fields = tree.body(node)
    if tree.tag(node) != "SelectStmt" or "distinctClause" in fields or "targetList" not in fields:
        return node
    targets = [
        target
        if tree.tag(tree.child(tree.body(target), "val") or {}) == "ColumnRef"
        or any(_makes_rows(inner, names) for inner in tree.subnodes(target))
        else {"ResTarget": {**tree.body(target), "val": {"A_Const": {"isnull": True}}}}
        for target in tree.nodes(fields, "targetList")
    ]
    return {"SelectStmt": {**fields, "targetList": targets}}


def _makes_rows(node: Node, names: Names) -> bool:
    """Whether a part of a column decides which rows there are, or their order."""
    fields = tree.body(node)
    if "over" in fields:
        return True
    if tree.tag(node) != "FuncCall":
        return False
    called = tree.names(fields, "funcname")
    schema = called[-2] if len(called) > 1 else ""
    functions, unseen = names.functions(schema, called[-1]) if called else ([], True)
    return unseen or not functions or any(function.sets for function in functions)


def _computed(source: Source, catalogue: CatalogueSnapshot) -> bool:
    touch, name = source
    relation = touch.found.relation
    return relation is None or catalogue.is_computed(relation, name)


def _origins(sources: Iterable[Source], catalogue: CatalogueSnapshot) -> frozenset[Origin]:
    origins: set[Origin] = set()
    for touch, name in sources:
        relation = touch.found.relation
        if relation is None:
            continue
        names = [c.name for c in relation.columns] if name == "*" else [name]
        for each in names:
            origins |= catalogue.origins_of(relation, each)
    return frozenset(origins)
