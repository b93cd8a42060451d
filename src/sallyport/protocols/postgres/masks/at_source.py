"""Masking at the source: what an Allow's masks mean for a statement that uses masked columns.

The statement is rewritten (`sql.rewriting`) with a mask expression for each column that a mask
covers, by any of the names that its values have: its own, those of the tables that it inherits
from or that inherit from it, those of the columns that a view's or a generated column is made of.
Rewritings are kept by everything that they depend on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final, final

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.masking.plan import text_masker, whole_setting
from sallyport.masking.settings import REDACT, Setting, setting_of
from sallyport.masking.transforms import source_key
from sallyport.protocols.postgres.masks.following import Following, keep
from sallyport.sql.catalogue import VIEWS, CatalogueSnapshot, Column, Relation
from sallyport.sql.column_types import is_rounded
from sallyport.sql.names import Names
from sallyport.sql.rewriting.inlining import obstacle
from sallyport.sql.rewriting.masks import SHOWN_KEY, CannotMask, SourceMask, expression
from sallyport.sql.rewriting.rewrite import Rewritten, SourceMasks, Unfollowed, rewrite
from sallyport.sql.rewriting.walk import READ_TABLE
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Name, Origin, Statement

_DEFAULT_BUCKET: Final = Decimal(10)
_DEFAULT_KEPT: Final = (2, 4)
_NAMED: Final = 20
"""Columns of one relation that a notice names."""


@lru_cache(maxsize=1024)
def _some_only_at_source(masks: tuple[Mask, ...]) -> bool:
    """Whether one of these can be put on a column by the database alone.

    FAILS CLOSED: a mask that cannot be carried out ends the result, where it is planned.
    """
    try:
        return any(
            mask.columns and (mask.transform == "hash" or setting_of(mask).only_at_source)
            for mask in masks
        )
    except ValueError:
        return False


def touches_masked(
    statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot | None
) -> bool:
    """Whether a relation that it reads has a masked column. FAILS CLOSED without a catalogue."""
    if catalogue is None:
        return True
    relations = [catalogue.relation_by_oid(oid) for oid, _ in statement.stands_on]
    return any(
        relation is None
        or any(
            whole_setting(masks, catalogue.origins_of(relation, column.name)) is not None
            for column in relation.columns
        )
        for relation in relations
    )


def _is_same_at_source(
    relations: Sequence[Relation | None], catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]
) -> bool:
    """Whether some columns are masked, and the database makes of all of them what results show."""
    settings = [
        whole_setting(masks, catalogue.origins_of(each, column.name))
        for relation in relations
        if relation is not None
        for each in (relation, *catalogue.descendants(relation))
        for column in each.columns
    ]
    found = [one for one in settings if one is not None]
    return bool(found) and all(
        one.transform in ("redact", "null") and not one.keys for one in found
    )


@final
class AtSource:
    """Rewrites the statements of one session. `key` makes the hashes."""

    def __init__(self, key: bytes) -> None:
        self._cells = key
        self._key = source_key(key)
        self._rewritings: OrderedDict[tuple[object, ...], Rewritten] = OrderedDict()
        self._expressions: OrderedDict[tuple[object, ...], SourceMasks] = OrderedDict()
        self.following = Following()
        self._specials: OrderedDict[tuple[object, ...], bool] = OrderedDict()
        self._sames: OrderedDict[tuple[object, ...], bool] = OrderedDict()
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
            known = keep(self._rewritings, key, found)
        return known

    def wanted(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot | None
    ) -> bool:
        """Whether the database should mask what is only shown: a column has a mask that results
        cannot carry out, all of a relation is shown, or tables of the session's own stand beside.
        """
        if catalogue is None or not any(mask.columns for mask in masks):
            return False
        if _some_only_at_source(masks):
            relations = (catalogue.relation_by_oid(oid) for oid, _ in statement.stands_on)
            if any(self._special(one, catalogue, masks) for one in relations if one is not None):
                return True
        if statement.own:
            return touches_masked(statement, masks, catalogue)
        if not statement.whole or not self.following.shows_masked(statement, masks, catalogue):
            return False
        return self._same(statement, masks, catalogue)

    def _same(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot
    ) -> bool:
        key = (statement.stands_on, catalogue.epoch, masks)
        known = self._sames.get(key)
        if known is None:
            relations = [catalogue.relation_by_oid(oid) for oid, _ in statement.stands_on]
            found = _is_same_at_source(relations, catalogue, masks)
            known = keep(self._sames, key, found)
        return known

    def _special(
        self, relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]
    ) -> bool:
        key = (relation.oid, catalogue.epoch, masks)
        known = self._specials.get(key)
        if known is None:
            settings = [
                (whole_setting(masks, catalogue.origins_of(each, column.name)), column)
                for each in (relation, *catalogue.descendants(relation))
                for column in each.columns
            ]
            special = any(
                one.only_at_source or (one.transform == "hash" and is_rounded(column.shape))
                for one, column in settings
                if one is not None
            )
            known = keep(self._specials, key, special)
        return known

    def shown(self, text: str, masks: tuple[Mask, ...]) -> str:
        """Return a rewritten text as it is recorded: masked as the client's own text is, and
        without what makes the hashes. FAILS CLOSED: a text that cannot be masked is not shown.
        """
        shown = self.keyless(text)
        try:
            masker = text_masker(masks, self._cells)
            return shown if masker is None else masker.mask_text(shown)
        except MaskingFailed:
            return "hidden by the gateway"

    def keyless(self, text: str) -> str:
        """Return a rewritten text without what makes the hashes."""
        return text.replace(self._key, SHOWN_KEY)

    def news(self, found: Rewritten, masks: tuple[Mask, ...]) -> list[str]:
        """Return what the client is told, once for each relation of a session."""
        fresh = [one for one in found.relations if one[0] not in self._told]
        self._told.update(name for name, _ in fresh)
        names = sorted({mask.rule for mask in masks if mask.columns})
        rules = f"rule{'' if len(names) == 1 else 's'} {', '.join(names)}"
        return [
            f"masked here: {_listed(columns)} of {schema}.{name}; the statement works on the "
            f"masked values ({rules})"
            for (schema, name), columns in fresh
        ]

    def _hidden(
        self, relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]
    ) -> SourceMasks:
        key = (relation.oid, catalogue.epoch, masks)
        known = self._expressions.get(key)
        if known is None:
            try:
                found = source_masks(relation, catalogue, masks, self._key)
            except (MaskingFailed, CannotMask) as error:
                hint = READ_TABLE if relation.kind in VIEWS else ""
                raise Unfollowed(str(error), hint) from None
            known = keep(self._expressions, key, found)
        return known


def source_masks(
    relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...], key: str
) -> SourceMasks:
    """Return what masks a relation where it is read. Raises: MaskingFailed, CannotMask.

    A view with its rows by masked columns is taken apart: what it reads is masked below, and only
    the masks that name the view itself stand around it.
    """
    if not _is_decided_by_masked(relation, catalogue, masks):
        return SourceMasks(mask_expressions(relation, catalogue, masks, key))
    reason = obstacle(relation, catalogue)
    if reason:
        raise CannotMask(f"{_decided(relation)}, and {reason}")
    found: dict[str, str] = {}
    for column in relation.columns:
        origins = frozenset({(relation.schema, relation.name, column.name)})
        setting = whole_setting(masks, origins)
        if setting is not None:
            found[column.name] = column_expression(column, setting, key)
    return SourceMasks(found, inlined=True)


def _listed(columns: Sequence[str]) -> str:
    rest = len(columns) - _NAMED
    return ", ".join(columns[:_NAMED]) + (f" and {rest} more columns" if rest > 0 else "")


def _is_decided_by_masked(
    relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]
) -> bool:
    conditions = catalogue.conditions_of(relation)
    return any(whole_setting(masks, frozenset({one})) is not None for one in conditions)


def _decided(view: Relation) -> str:
    return f"masked columns decide which rows the view `{view.name}` has"


def mask_expressions(
    relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...], key: str
) -> dict[str, str]:
    """Return the mask expression of each masked column. Raises: MaskingFailed, CannotMask."""
    found: dict[str, str] = {}
    if _is_decided_by_masked(relation, catalogue, masks):
        raise CannotMask(_decided(relation))
    heirs = catalogue.descendants(relation)
    for column in relation.columns:
        origins: frozenset[Origin] = frozenset()
        behind: frozenset[Origin] = frozenset()
        for each in (relation, *heirs):
            if any(own.name == column.name for own in each.columns):
                origins |= catalogue.origins_of(each, column.name)
                behind |= catalogue.behind_column(each, column.name)
        setting = whole_setting(masks, origins, behind)
        if setting is not None:
            found[column.name] = column_expression(column, setting, key)
    return found


def column_expression(column: Column, setting: Setting, key: str) -> str:
    """Return what stands in a column's place. A constant that its type cannot have is redacted."""
    try:
        return expression(column.name, column.shape, source_mask(setting), key)
    except CannotMask:
        if setting.transform != "constant":
            raise
    return expression(column.name, column.shape, source_mask(REDACT), key)


def source_mask(setting: Setting) -> SourceMask:
    """Return how the database carries a setting out.

    INVARIANT: of a text it makes what results show, where results can be masked so.
    """
    keys = setting.keys
    if setting.transform == "partial":
        start, end = setting.keep_start, setting.keep_end
        if start is not None or end is not None:
            return SourceMask("kept", start or 0, end or 0, keys=keys)
        return SourceMask("kept" if keys else "ends", *_DEFAULT_KEPT, keys=keys)
    if setting.transform == "generalise":
        bucket = _DEFAULT_BUCKET if setting.bucket is None else setting.bucket
        return SourceMask("generalise", bucket=bucket, keys=keys)
    if setting.transform == "constant":
        return SourceMask("constant", constant=setting.value or "", keys=keys)
    return SourceMask(setting.transform, keys=keys)
