"""Following: masked columns that a statement uses without policy seeing it.

Policy sees the names that a statement touches. Values of a masked column are used, too, through an
heir's parent, through a foreign key, by what is computed of them, and by what a name may come to
mean.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple, TypeVar, final

from msgspec import structs

from sallyport.core.decision import Mask
from sallyport.core.operation import Effect
from sallyport.masking.plan import whole_setting
from sallyport.sql.catalogue import CatalogueSnapshot, Relation
from sallyport.sql.statement import Name, Origin, Statement

_KEPT: Final = 256
"""Answers of one kind that one session keeps."""
_TAKES: Final = frozenset({"delete", "merge", "truncate"})
"""Verbs that take rows away, or may."""
_MAKES: Final = frozenset({"insert", "merge", "copy-in"})
"""Verbs that make rows, or may."""

Kept = TypeVar("Kept")


class Must(NamedTuple):
    """Why a statement has to be masked at the source, and what to write where it cannot be."""

    reason: str
    hint: str


_OTHERS: Final = "have somebody do it who sees that column"
_HIDES: Final = (
    "a name in it hides `{}`, which has masked columns", "write the schema before the name",
)  # fmt: skip
_USED: Final = (
    "`{}` is masked here and is used in more than a plain select list",
    "leave the column out of the statement",
)
_WRITTEN: Final = (
    "`{}` is masked here, and more of the write than its RETURNING list uses it",
    "set other columns, by conditions on other columns",
)
_COMPUTED: Final = (
    "`{}` is computed from masked columns when it is read",
    "leave the column out of the statement",
)
_COMPARED: Final = ("the default of `{}` is compared with what is masked", _OTHERS)
_REFERS: Final = (
    "the masked `{}` refers to it: whether this can be done tells who does", _OTHERS,
)  # fmt: skip


@final
class Following:
    """Finds what must be masked at the source for other reasons than policy sees."""

    def __init__(self) -> None:
        self._masked: OrderedDict[tuple[object, ...], tuple[str, ...]] = OrderedDict()
        self._computed: OrderedDict[tuple[object, ...], frozenset[str]] = OrderedDict()

    def must(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot | None
    ) -> Must | None:
        """Return why the database has to mask what a statement reads; None: it need not."""
        if catalogue is None or not any(mask.columns for mask in masks):
            return None
        computed = self._shown_computed(statement, masks, catalogue)
        if computed:
            return Must(_COMPUTED[0].format(computed), _COMPUTED[1])
        return self._must(statement, masks, catalogue)

    def _must(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot
    ) -> Must | None:
        for find, reason, hint in (
            (self._may_become, *_HIDES),
            (self._through_heirs, *_USED),
            (_filled, *_COMPARED),
            (self._referring, *_REFERS),
        ):
            found = find(statement, masks, catalogue)
            if found:
                return Must(reason.format(found), hint)
        return None

    def refused(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot | None
    ) -> Must | None:
        """Return why a mask with `predicates: refuse` forbids a statement; None: none does."""
        refusing = tuple(mask for mask in masks if mask.predicates == "refuse")
        if not refusing or catalogue is None:
            return None
        found = _exposes(statement, refusing, catalogue)
        return Must(_USED[0].format(found), _USED[1]) if found else None

    def apart(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot | None
    ) -> Must | None:
        """Return why masks in its RETURNING list are not enough for a write; None: they are."""
        if statement.apart is None or catalogue is None:
            return None
        written = structs.replace(statement, resources=statement.apart)
        found = _exposes(written, masks, catalogue)
        if found:
            return Must(_WRITTEN[0].format(found), _WRITTEN[1])
        return self._must(written, masks, catalogue)

    def shows_masked(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot
    ) -> bool:
        """Whether a masked column is among those that a statement touches."""
        columns = {one.name: one.columns for one in statement.resources}
        for oid, _ in statement.stands_on:
            relation = catalogue.relation_by_oid(oid)
            if relation is None:
                continue
            used = columns.get(f"{relation.schema}.{relation.name}", ())
            masked = self._inherited(relation, catalogue, masks)
            if masked and ("*" in used or not set(used).isdisjoint(masked)):
                return True
        return False

    def _through_heirs(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot
    ) -> str:
        """Return the masked column that is followed through another: that of an heir or partition
        through its parent's, or one that a foreign key refers to.
        """
        exposed = {one.name: {*one.exposed} for one in statement.resources if one.exposed}
        for oid, _ in statement.stands_on if exposed else ():
            relation = catalogue.relation_by_oid(oid)
            if relation is None:
                continue
            if not catalogue.descendants(relation) and not catalogue.refers(relation):
                continue
            name = f"{relation.schema}.{relation.name}"
            used = exposed.get(name, set())
            for column in self._inherited(relation, catalogue, masks) if used else ():
                if column in used or "*" in used:
                    return f"{name}.{column}"
        return ""

    def _may_become(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot
    ) -> str:
        """Return the relation with masked columns that a bare name may mean when it is run.

        While a statement waits for a lock, another session can rename what its names mean.
        """
        for name in statement.hides:
            relation = catalogue.relation(name)
            if relation and self._inherited(relation, catalogue, masks):
                return ".".join(name)
        return ""

    def _shown_computed(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot
    ) -> str:
        """Return the column that is computed from a masked one while the statement runs.

        What it makes is hidden in the result, but not that it fails, and with what words.
        """
        for oid, _ in statement.stands_on:
            relation = catalogue.relation_by_oid(oid)
            computed = relation and self._computed_of(relation, masks, catalogue)
            if relation is None or not computed:
                continue
            name = f"{relation.schema}.{relation.name}"
            for resource in statement.resources:
                if resource.name == name and not computed.isdisjoint(resource.columns):
                    return f"{name}.{min(computed.intersection(resource.columns))}"
                if resource.name == name and "*" in resource.columns:
                    return f"{name}.{min(computed)}"
        return ""

    def _computed_of(
        self, relation: Relation, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot
    ) -> frozenset[str]:
        key = (relation.oid, catalogue.epoch, masks)
        known = self._computed.get(key)
        if known is None:
            heirs = catalogue.descendants(relation)
            names = frozenset(
                column.name
                for each in (relation, *heirs)
                for column in each.columns
                if (column.virtual or _is_computed(each, column.name, catalogue))
                and whole_setting(masks, catalogue.origins_of(each, column.name)) is not None
            )
            known = keep(self._computed, key, names)
        return known

    def _referring(
        self, statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot
    ) -> str:
        """Return the masked column whose foreign key tells what a write takes away is used.

        Where both are masked it tells which row means which, which hashes alone show anyway.
        """
        for name, columns in _taken(statement, catalogue).items():
            referring = _keys_to(name, columns, catalogue)
            for referred, column in referring:
                if not _is_masked(column, masks, catalogue):
                    continue
                both = (column, referred)
                if not all(_is_hashed(one, masks, catalogue) for one in both):
                    return ".".join(column)
        return ""

    def _inherited(
        self, relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]
    ) -> tuple[str, ...]:
        """Return the columns that are masked, by whatever name their values have."""
        key = (relation.oid, catalogue.epoch, masks)
        known = self._masked.get(key)
        if known is None:
            found = tuple(
                column.name
                for column in relation.columns
                if whole_setting(masks, catalogue.origins_of(relation, column.name)) is not None
            )
            known = keep(self._masked, key, found)
        return known


def _exposes(statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot) -> str:
    """Return a masked column that is used for more than to be shown. FAILS CLOSED: any column of
    what is not known is masked."""
    for resource in statement.resources:
        schema, _, table = resource.name.partition(".")
        relation = catalogue.relation((schema, table))
        for column in resource.exposed:
            name = f"{resource.name}.{column}"
            if relation is None:
                if column == "*" or whole_setting(masks, frozenset({(schema, table, column)})):
                    return name
                continue
            used = [one.name for one in relation.columns] if column == "*" else [column]
            if any(_is_masked((schema, table, one), masks, catalogue) for one in used):
                return name
    return ""


def _taken(statement: Statement, catalogue: CatalogueSnapshot) -> dict[Name, frozenset[str] | None]:
    """Return the relations that a write takes rows from (None), or values of these columns, with
    those that lose theirs along with them."""
    found: dict[Name, frozenset[str] | None] = {}
    for schema, table, column in statement.assigned:
        known = found.get((schema, table), frozenset()) or frozenset()
        found[schema, table] = known | {column}
    takes = not _TAKES.isdisjoint((statement.verb, *statement.inner))
    for resource in statement.resources if takes else ():
        schema, _, table = resource.name.partition(".")
        if resource.effect in (Effect.WRITE, Effect.ADMIN):
            found[schema, table] = None
    pending = list(found)
    while pending:
        name = pending.pop()
        holders = {column[:2] for _, column in _keys_to(name, found[name], catalogue)}
        for holder in holders & catalogue.cascades(name):
            if found.get(holder, frozenset()) is not None:
                found[holder] = None
                pending.append(holder)
    return found


def _keys_to(
    name: Name, columns: frozenset[str] | None, catalogue: CatalogueSnapshot
) -> list[tuple[Origin, Origin]]:
    """Return the pairs (referred to, referring) of the foreign keys to a relation, or to one of its
    heirs, that have one of these columns in them (None: of all)."""
    relation = catalogue.relation(name)
    found: list[tuple[Origin, Origin]] = []
    for each in (relation, *catalogue.descendants(relation)) if relation else ():
        pairs = catalogue.referring((each.schema, each.name))
        holders = {own[:2] for column, own in pairs if columns is None or column in columns}
        found += [
            ((each.schema, each.name, column), own) for column, own in pairs if own[:2] in holders
        ]
    return found


def _filled(statement: Statement, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot) -> str:
    """Return the masked column that new rows leave to its default, and that a key stands on: that
    a row is refused tells of those that are there.
    """
    if _MAKES.isdisjoint((statement.verb, *statement.inner)):
        return ""
    for resource in statement.resources:
        if resource.effect is not Effect.WRITE:
            continue
        schema, _, table = resource.name.partition(".")
        relation = catalogue.relation((schema, table))
        for column in relation.columns if relation is not None else ():
            if relation is None or column.name in resource.columns or "*" in resource.columns:
                continue
            if not catalogue.is_guarded(relation, column.name):
                continue
            for origin in catalogue.origins_of(relation, column.name):
                if _is_filled(origin, catalogue) and _is_masked(origin, masks, catalogue):
                    return ".".join(origin)
    return ""


def _is_filled(column: Origin, catalogue: CatalogueSnapshot) -> bool:
    relation = catalogue.relation(column[:2])
    columns = relation.columns if relation is not None else ()
    return any(each.filled for each in columns if each.name == column[2])


def _is_computed(relation: Relation, column: str, catalogue: CatalogueSnapshot) -> bool:
    return relation.kind == "view" and catalogue.is_computed(relation, column)


def _is_hashed(column: Origin, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot) -> bool:
    relation = catalogue.relation(column[:2])
    if relation is None:
        return False
    setting = whole_setting(masks, catalogue.origins_of(relation, column[2]))
    return setting is not None and setting.transform == "hash"


def _is_masked(column: Origin, masks: tuple[Mask, ...], catalogue: CatalogueSnapshot) -> bool:
    relation = catalogue.relation(column[:2])
    if relation is None:
        return True
    return whole_setting(masks, catalogue.origins_of(relation, column[2])) is not None


def keep(
    cache: OrderedDict[tuple[object, ...], Kept], key: tuple[object, ...], value: Kept
) -> Kept:
    """Keep an answer among the latest, and return it."""
    cache[key] = value
    if len(cache) > _KEPT:
        cache.popitem(last=False)
    return value
