"""A target's catalogue at one moment: what names mean there.

Built by `protocols.postgres.catalog.build`; read by classification (which names resolve to what)
and by masking (which column a value of a result comes from).
"""

from __future__ import annotations

from msgspec import Struct

from sallyport.sql.statement import Name, Origin


class Column(Struct, frozen=True):
    """One column of a relation. `guarded`: under a unique, exclusion or foreign key.

    `type` is the type's name, qualified unless it is of pg_catalog.
    """

    name: str
    number: int
    type: str
    not_null: bool = False
    guarded: bool = False


class ViewColumn(Struct, frozen=True):
    """Where a view's column comes from. `plain`: unchanged from exactly those columns.

    INVARIANT: a column that is computed, or whose definition was not understood, is not plain.
    """

    origins: frozenset[Origin]
    plain: bool


class Relation(Struct, frozen=True):
    """A table, view, materialized view, foreign table or sequence.

    `parents` are those that it inherits from or is a partition of, all the way up. `bases` are
    the relations that a view reads, through other views too, with the columns it reads of each
    (None: not known, so all); `lineage` is by column name. `functions` are the user functions
    that a view calls.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    parents: tuple[Name, ...] = ()
    bases: tuple[tuple[Name, str, tuple[str, ...] | None], ...] = ()
    lineage: dict[str, ViewColumn] = {}
    functions: tuple[Name, ...] = ()
    system: bool = False


class Function(Struct, frozen=True):
    """All functions of one name in one schema. `volatility` is the worst of them: i, s or v.

    `builtin`: every one came with the server; `extension`: every one belongs to that extension;
    `kinds` of f, a, w, p; `languages` are distinct.
    """

    schema: str
    name: str
    volatility: str
    kinds: str
    languages: tuple[str, ...]
    builtin: bool
    extension: str = ""


class Catalogue(Struct, frozen=True):
    """The raw parts of a snapshot, before it is indexed."""

    version: int
    epoch: str
    relations: tuple[Relation, ...]
    functions: tuple[Function, ...]
    schemas: frozenset[str]
    types: frozenset[Name]
    operators: dict[str, tuple[tuple[str, Name], ...]]
    casts: dict[str, tuple[Name, ...]]
    unusable: frozenset[tuple[str, str]]
    judged: frozenset[str]
    truncated: bool = False


class CatalogueSnapshot:
    """A catalogue, indexed. Immutable once made; `epoch` changes whenever its content does."""

    __slots__ = ("_functions", "_names", "_oids", "epoch", "raw", "version")

    def __init__(self, raw: Catalogue) -> None:
        self.raw = raw
        self.version = raw.version
        self.epoch = raw.epoch
        self._names = {(relation.schema, relation.name): relation for relation in raw.relations}
        self._oids = {relation.oid: relation for relation in raw.relations}
        self._functions = {(known.schema, known.name): known for known in raw.functions}

    def relation(self, name: Name) -> Relation | None:
        """Return the relation of this schema and name."""
        return self._names.get(name)

    def relation_by_oid(self, oid: int) -> Relation | None:
        """Return the relation with this oid."""
        return self._oids.get(oid)

    def function(self, name: Name) -> Function | None:
        """Return the functions of this schema and name."""
        return self._functions.get(name)

    def origin(self, oid: int, number: int) -> frozenset[Origin] | None:
        """Return the columns whose values a result column of this origin may show.

        For a table's column: itself, and the same column of each ancestor (children inherit
        masks). For a view's: also the base columns. None: this relation or column is not known.
        """
        relation = self._oids.get(oid)
        if relation is None:
            return None
        column = next((known for known in relation.columns if known.number == number), None)
        if column is None:
            return None
        names = (*self.mask_names(oid),)
        origins = {(schema, name, column.name) for schema, name in names}
        traced = relation.lineage.get(column.name)
        if traced is not None:
            origins |= traced.origins
        return frozenset(origins)

    def mask_names(self, oid: int) -> tuple[Name, ...]:
        """Return the relation's own name and those of all its ancestors: masks hold for each."""
        relation = self._oids.get(oid)
        if relation is None:
            return ()
        return ((relation.schema, relation.name), *relation.parents)
