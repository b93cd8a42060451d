"""Where a view's columns come from, through other views, down to tables."""

from __future__ import annotations

from sallyport.sql import grammar
from sallyport.sql.account import Account
from sallyport.sql.catalogue import CatalogueSnapshot, Lineage, Relation
from sallyport.sql.effort import TooDeep
from sallyport.sql.grammar import ParseFailed
from sallyport.sql.names import Names
from sallyport.sql.query import Queries
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Origin
from sallyport.sql.writes import Writes

MAX_DEFINITION = 64 * 1024
"""Longest definition that is read, in bytes. The server bounds its depth."""


def trace(view: Relation, catalogue: CatalogueSnapshot) -> Lineage | None:
    """Return, for each column of `view`, the columns that its values are made of.

    The definition comes from the server with every name qualified, so it is read with an empty
    search path. None where it is not understood: every column that the view reads counts then.
    """
    state = SessionState.start("", "", "")
    account = Account(Names(state, catalogue))
    queries = Queries(account)
    Writes(queries)
    try:
        parsed = grammar.parse(view.definition, MAX_DEFINITION)
        if len(parsed) != 1:
            return None
        outputs = queries.query(parsed[0].node, None)
    except (ParseFailed, TooDeep, RecursionError, ValueError, LookupError):
        return None
    if account.unresolved or "unparsed" in account.facts or len(outputs) != len(view.columns):
        return None
    lineage: Lineage = {}
    for column, output in zip(view.columns, outputs, strict=True):
        origins: set[Origin] = set()
        for touch, name in output.sources:
            if touch.found.relation is not None:
                origins |= catalogue.origins_of(touch.found.relation, name)
        lineage[column.name] = frozenset(origins)
    return lineage
