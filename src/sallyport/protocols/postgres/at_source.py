"""Masking at the source: what an Allow's masks mean for a statement that uses masked columns.

The statement is rewritten (`sql.rewrite`) with a mask expression for each column that a mask
covers, by any of the names that its values have: its own, those of the tables that it inherits
from or that inherit from it, those of the columns that a view's or a generated column is made of.
Rewritings are kept by everything that they depend on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, TypeVar, final

from sallyport.core.decision import Deny, Mask
from sallyport.core.errors import MaskingFailed
from sallyport.masking.plan import text_masker, whole_transform
from sallyport.masking.transforms import Transform, source_key, transform_of
from sallyport.sql.catalogue import CatalogueSnapshot, Relation
from sallyport.sql.masks import SHOWN_KEY, CannotMask, SourceMask, expression
from sallyport.sql.names import Names
from sallyport.sql.rewrite import Rewritten, Unfollowed, rewrite
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Name, Origin, Statement

_KEPT: Final = 256
"""Rewritings, and relations with their expressions, that one session keeps."""

_MASKS: Final = {
    Transform.PARTIAL: SourceMask("ends", start=2, end=4),
    Transform.HASH: SourceMask("hash"),
    Transform.REDACT: SourceMask("redact"),
    Transform.NULL: SourceMask("null"),
}
"""INVARIANT: of a text they make what results show under the same transform."""

_TELLING: Final[Mapping[str, frozenset[str]]] = {
    "pg_catalog.current_query": frozenset(),
    "pg_catalog.pg_cursor": frozenset(),
    "pg_catalog.pg_cursors": frozenset({"statement"}),
    "pg_catalog.pg_stat_activity": frozenset({"query"}),
    "pg_catalog.pg_stat_get_activity": frozenset(),
    "pg_catalog.pg_stat_get_backend_activity": frozenset(),
}
"""What shows the texts that the server got, and in which columns (none: always)."""

Kept = TypeVar("Kept")


def telling(statement: Statement, masks: tuple[Mask, ...]) -> Deny | None:
    """Return why a statement may show what makes the hashes: it reads rewritten texts."""
    hashes = [m.rule for m in masks if m.columns and transform_of(m.transform) is Transform.HASH]
    if not hashes:
        return None
    for resource in statement.resources:
        columns = _TELLING.get(resource.name)
        if columns is None:
            continue
        if not columns or not resource.columns or (columns | {"*"}) & set(resource.columns):
            reason = (
                f"`{resource.name}` shows statements with what makes the hashes of masked columns"
            )
            return Deny((hashes[0],), reason, "leave the statement's text out")
    return None


@final
class AtSource:
    """Rewrites the statements of one session. `key` makes the hashes."""

    def __init__(self, key: bytes) -> None:
        self._cells = key
        self._key = source_key(key)
        self._rewritings: OrderedDict[tuple[object, ...], Rewritten] = OrderedDict()
        self._expressions: OrderedDict[tuple[object, ...], Mapping[str, str]] = OrderedDict()
        self._followed: OrderedDict[tuple[object, ...], tuple[str, ...]] = OrderedDict()
        self._told: set[Name] = set()

    def rewrite(
        self,
        text: str,
        state: SessionState,
        catalogue: CatalogueSnapshot | None,
        masks: tuple[Mask, ...],
    ) -> Rewritten:
        """Return what is sent in the place of `text`. Raises: Unfollowed."""
        if catalogue is None:
            raise Unfollowed("the target's catalogue is not known at this moment")
        key = (text, catalogue.epoch, state.names_key, masks)
        known = self._rewritings.get(key)
        if known is None:
            found = rewrite(
                text,
                Names(state, catalogue),
                lambda relation: self._hidden(relation, catalogue, masks),
            )
            known = _keep(self._rewritings, key, found)
        return known

    def through_heirs(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot | None
    ) -> str:
        """Return the masked column of an heir or partition that is followed through its parent.

        Policy sees the names that a statement touches, and those of heirs are not among them.
        """
        if catalogue is None or not any(mask.columns for mask in masks):
            return ""
        exposed = {one.name: {*one.exposed} for one in statement.resources if one.exposed}
        for oid, _ in statement.stands_on if exposed else ():
            relation = catalogue.relation_by_oid(oid)
            if relation is None or not catalogue.descendants(relation):
                continue
            name = f"{relation.schema}.{relation.name}"
            used = exposed.get(name, set())
            for column in self._inherited(relation, catalogue, masks) if used else ():
                if column in used or "*" in used:
                    return f"{name}.{column}"
        return ""

    def may_become(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot | None
    ) -> str:
        """Return the relation with masked columns that a bare name may mean when it is run.

        While a statement waits for a lock, another session can rename what its names mean.
        """
        for name in statement.hides if catalogue is not None else ():
            relation = None if catalogue is None else catalogue.relation(name)
            if catalogue and relation and self._inherited(relation, catalogue, masks):
                return ".".join(name)
        return ""

    def _inherited(
        self, relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]
    ) -> tuple[str, ...]:
        """Return the columns of a parent that are masked, in itself or in an heir."""
        key = (relation.oid, catalogue.epoch, masks)
        known = self._followed.get(key)
        if known is None:
            found = tuple(
                column.name
                for column in relation.columns
                if whole_transform(masks, catalogue.origins_of(relation, column.name)) is not None
            )
            known = _keep(self._followed, key, found)
        return known

    def shown(self, text: str, masks: tuple[Mask, ...]) -> str:
        """Return a rewritten text as it is recorded: masked as the client's own text is, and
        without what makes the hashes. FAILS CLOSED: a text that cannot be masked is not shown.
        """
        shown = text.replace(self._key, SHOWN_KEY)
        try:
            masker = text_masker(masks, self._cells)
            return shown if masker is None else masker.mask_text(shown)
        except MaskingFailed:
            return "hidden by the gateway"

    def news(self, found: Rewritten, masks: tuple[Mask, ...]) -> list[str]:
        """Return what the client is told, once for each relation of a session."""
        fresh = [name for name in found.relations if name not in self._told]
        self._told.update(fresh)
        rules = ", ".join(sorted({mask.rule for mask in masks if mask.columns}))
        return [
            f"columns of {schema}.{name} are masked here, and the statement works on the masked "
            f"values (rule {rules})"
            for schema, name in fresh
        ]

    def _hidden(
        self, relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]
    ) -> Mapping[str, str]:
        key = (relation.oid, catalogue.epoch, masks)
        known = self._expressions.get(key)
        if known is None:
            try:
                found = mask_expressions(relation, catalogue, masks, self._key)
            except (MaskingFailed, CannotMask) as error:
                raise Unfollowed(str(error)) from None
            known = _keep(self._expressions, key, found)
        return known


def mask_expressions(
    relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...], key: str
) -> dict[str, str]:
    """Return the mask expression of each masked column. Raises: MaskingFailed, CannotMask."""
    found: dict[str, str] = {}
    decides = catalogue.conditions_of(relation)
    if any(whole_transform(masks, frozenset({one})) is not None for one in decides):
        raise CannotMask(f"masked columns decide which rows the view `{relation.name}` has")
    heirs = catalogue.descendants(relation)
    for column in relation.columns:
        origins: frozenset[Origin] = frozenset()
        behind: frozenset[Origin] = frozenset()
        for each in (relation, *heirs):
            if any(own.name == column.name for own in each.columns):
                origins |= catalogue.origins_of(each, column.name)
                behind |= catalogue.behind_column(each, column.name)
        transform = whole_transform(masks, origins, behind)
        if transform is not None:
            found[column.name] = expression(column.name, column.shape, _MASKS[transform], key)
    return found


def _keep(
    cache: OrderedDict[tuple[object, ...], Kept], key: tuple[object, ...], value: Kept
) -> Kept:
    cache[key] = value
    if len(cache) > _KEPT:
        cache.popitem(last=False)
    return value
