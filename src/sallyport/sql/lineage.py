"""Where a view's columns come from, through other views, down to tables."""

from __future__ import annotations

from sallyport.sql.catalogue import CatalogueSnapshot, Lineage, Relation


def trace(view: Relation, catalogue: CatalogueSnapshot) -> Lineage:
    """Return, for each column of `view`, the columns that its values come from."""
    raise NotImplementedError
