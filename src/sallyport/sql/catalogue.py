"""A target's catalogue at one moment: what names mean there.

Built by `protocols.postgres.catalog.build`; read by classification (which names resolve to what)
and by masking (which column a value of a result comes from).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from sallyport.core.operation import Tags
from sallyport.sql.column_types import UNKNOWN_TYPE, ColumnType
from sallyport.sql.statement import Name, Origin


class Column(Struct, frozen=True):
    """One column of a relation. `guarded`: under a unique, exclusion or foreign key.

    `type` is the type's name, qualified unless it is of pg_catalog; `shape` all that a mask has to
    know of it, with its modifier. `made_of` are the columns that a generated column's value is
    computed from, `refers` the columns that foreign keys of it refer to, `tied` those that stand
    in one check or key with it: whether it may be written tells of them. `virtual`: it is generated
    when it is read. `filled`: a row that leaves it out has a default there.
    """

    name: str
    number: int
    type: str
    not_null: bool = False
    guarded: bool = False
    shape: ColumnType = UNKNOWN_TYPE
    made_of: tuple[str, ...] = ()
    refers: tuple[Origin, ...] = ()
    tied: tuple[str, ...] = ()
    virtual: bool = False
    filled: bool = False


class Base(Struct, frozen=True):
    """A relation that a view reads. `columns` are those it reads of it; None: not known, so all."""

    name: Name
    columns: tuple[str, ...] | None


class Relation(Struct, frozen=True):
    """A table, view, materialized view, foreign table or sequence.

    `parents` are those that it inherits from or is a partition of, all the way up. `bases` are
    what a view reads itself, `functions` the user functions that it calls, `definition` its
    query. `key`: the columns of its primary key. `system`: it came with the server. `secured`: it
    has row level security, or is a security barrier. `readable`: the login that took the snapshot
    may read all of it; asked of what views read. `version`: another one whenever its columns or
    their defaults changed. `ruled` are what its rules read when it is written, `runs` the user
    functions that they call.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    parents: tuple[Name, ...] = ()
    bases: tuple[Base, ...] = ()
    functions: tuple[Name, ...] = ()
    definition: str = ""
    system: bool = False
    key: tuple[str, ...] = ()
    secured: bool = False
    readable: bool = True
    version: str = ""
    ruled: tuple[Base, ...] = ()
    runs: tuple[Name, ...] = ()


class Function(Struct, frozen=True):
    """All functions of one name in one schema.

    `volatility` is the worst of them: i, s or v; `kinds` are of f, a, w, p; `compiled`: every one
    is LANGUAGE internal or C, or one in SQL that was read (citext's); `builtin`: every one came
    with the server; `extension`: every one belongs to that extension. `version`: another one
    whenever one of a user's was replaced. `sets`: one of them returns a set of rows.
    """

    schema: str
    name: str
    volatility: str
    kinds: str
    compiled: bool
    builtin: bool
    extension: str = ""
    version: str = ""
    sets: bool = False


class Cast(Struct, frozen=True):
    """A cast that a user made, and that runs a function.

    `context` is e (explicit), a (assignment) or i (implicit).
    """

    source: str
    target: str
    context: str
    function: Name

    @property
    def unasked(self) -> bool:
        """Whether the server may run it where no cast stands: functions of JSON look for those."""
        return self.context != "e" or self.target == "json"


class Catalogue(Struct, frozen=True):
    """The parts of a snapshot, before it is indexed.

    `version` is the major version. `operators` gives by name those that users made, as (schema,
    function). `holders` gives by type what it is made of (an array's elements, a domain's
    base, a row's columns, all the way down), as far as `casts` name that. `unusable` are (role,
    schema) pairs without USAGE, for the roles in `judged`; of other roles nothing is known.
    `role_schemas` have the name of a role. `tags`: what comments say of columns (`sql.tags`).
    `role` took the snapshot. `cascades` gives by relation those with a foreign key to it that does
    more than to refuse: CASCADE, SET NULL, SET DEFAULT.
    """

    version: int
    epoch: str
    relations: tuple[Relation, ...] = ()
    functions: tuple[Function, ...] = ()
    schemas: frozenset[str] = frozenset()
    types: frozenset[Name] = frozenset()
    operators: dict[str, tuple[tuple[str, Name], ...]] = {}
    casts: tuple[Cast, ...] = ()
    holders: dict[str, frozenset[str]] = {}
    unusable: frozenset[tuple[str, str]] = frozenset()
    judged: frozenset[str] = frozenset()
    role_schemas: frozenset[str] = frozenset()
    tags: Tags = ()
    role: str = ""
    cascades: dict[Name, frozenset[Name]] = {}


class Lineage(Struct, frozen=True):
    """What a view is made of.

    `columns`: by column, the table columns that its values come from, unchanged or not.
    `computed`: the columns that are no column of a table unchanged. `conditions`: what decides
    which rows it has, or in what order. `functions`: those that it calls, of users or of the
    server, as far as calling them does more than to compute.
    """

    columns: dict[str, frozenset[Origin]]
    computed: frozenset[str] = frozenset()
    conditions: frozenset[Origin] = frozenset()
    functions: tuple[Name, ...] = ()


class CatalogueSnapshot:
    """A catalogue, indexed. Its content never changes; `epoch` tells two contents apart.

    `trace` computes the lineage of a view; it is called at most once for each.
    """

    def __init__(
        self,
        raw: Catalogue,
        trace: Callable[[Relation, CatalogueSnapshot], Lineage | None] | None = None,
    ) -> None:
        self.raw = raw
        self.version = raw.version
        self.epoch = raw.epoch
        self.tags = raw.tags
        self._trace = trace
        self._names = {(relation.schema, relation.name): relation for relation in raw.relations}
        self._oids = {relation.oid: relation for relation in raw.relations}
        self._functions = {(known.schema, known.name): known for known in raw.functions}
        self._lineages: dict[int, Lineage | None] = {}
        self._heirs: dict[Name, list[Relation]] | None = None
        self._inheritances: dict[tuple[int, str], frozenset[Origin]] = {}
        self._references: dict[tuple[int, str], frozenset[Origin]] = {}
        self._referring: dict[Name, list[tuple[str, Origin]]] | None = None

    def relation(self, name: Name) -> Relation | None:
        """Return the relation of this schema and name."""
        return self._names.get(name)

    def relation_by_oid(self, oid: int) -> Relation | None:
        """Return the relation with this oid."""
        return self._oids.get(oid)

    def function(self, name: Name) -> Function | None:
        """Return the functions of this schema and name."""
        return self._functions.get(name)

    def casts_to(self, type_: str) -> list[Cast]:
        """Return the casts that a conversion to `type_` may run."""
        made_of = self.raw.holders.get(type_, frozenset({type_}))
        return [cast for cast in self.raw.casts if cast.target in made_of]

    def casts_around(self, type_: str) -> list[Cast]:
        """Return the casts that the server may run by itself where a value of `type_` stands.

        To a type of the server's own only a value of the cast's source is converted.
        """
        made_of = self.raw.holders.get(type_, frozenset({type_}))
        return [
            cast
            for cast in self.raw.casts
            if cast.unasked
            and (cast.source in made_of or ("." in cast.target and cast.target in made_of))
        ]

    def usable(self, role: str | None, schema: str) -> bool | None:
        """Return whether `role` may look into `schema`; None where that is not known."""
        if role is None or role not in self.raw.judged:
            return None
        return (role, schema) not in self.raw.unusable

    def origin(self, oid: int, number: int) -> frozenset[Origin] | None:
        """Return the columns whose values a result column of this origin may show.

        For a table's column: itself, what it is generated from, and the same columns of each
        ancestor (children inherit masks) and heir (whose rows it shows). For a view's: also the
        base columns that it is made of, through other views. For a system column: all of its
        relation's, since where a row lies, and since when, can tell of any of them.
        None: this relation or column is not known.
        """
        relation = self._oids.get(oid)
        if relation is None:
            return None
        if number < 0:
            return self._all_of_rows(relation)
        for column in relation.columns:
            if column.number == number:
                return self.origins_of(relation, column.name)
        return None

    def _all_of_rows(self, relation: Relation) -> frozenset[Origin] | None:
        """Return all columns of a table's rows, its heirs' too; None for what is no plain table."""
        if relation.kind in VIEWS or relation.system:
            return None
        rows = (relation, *self.descendants(relation))
        return frozenset[Origin]().union(
            *(self.origins_of(each, column.name) for each in rows for column in each.columns)
        )

    def behind(self, oid: int, number: int) -> frozenset[Origin]:
        """Return those origins of a result column that its value is only computed from."""
        relation = self._oids.get(oid)
        for column in relation.columns if relation is not None else ():
            if relation is not None and column.number == number:
                return self.behind_column(relation, column.name)
        return frozenset()

    def behind_column(self, relation: Relation, column: str) -> frozenset[Origin]:
        """Return those origins of a relation's column that its value is only computed from."""
        if not self.is_computed(relation, column):
            return frozenset()
        own = {(*name, column) for name in self.mask_names(relation.oid)}
        return self.origins_of(relation, column) - own

    def is_computed(self, relation: Relation, column: str) -> bool:
        """Return whether a column is generated, or is no column of a view's base unchanged."""
        if relation.kind not in VIEWS or relation.system:
            return any(c.made_of for c in relation.columns if c.name == column)
        lineage = self.lineage(relation)
        return lineage is None or column in lineage.computed

    def origins_of(self, relation: Relation, column: str) -> frozenset[Origin]:
        """Return the columns whose values this column of `relation` may show, itself included.

        What a foreign key refers to is among them: its values are those.
        """
        own = self._near(relation, column) | self._referred(relation, column)
        if relation.kind not in VIEWS or relation.system:
            return frozenset(own)
        lineage = self.lineage(relation)
        if lineage is None:
            return frozenset(own).union(*(self._everything(base) for base in relation.bases))
        return frozenset(own) | lineage.columns.get(column, frozenset())

    def _near(self, relation: Relation, column: str) -> frozenset[Origin]:
        """Return a column with what it is generated from, in ancestors and heirs too."""
        made_of = next((c.made_of for c in relation.columns if c.name == column), ())
        names = self.mask_names(relation.oid)
        own = frozenset((*name, part) for name in names for part in (column, *made_of))
        return own | self._inherited(relation, column)

    def _referred(self, relation: Relation, column: str) -> frozenset[Origin]:
        """Return the columns that foreign keys of this one, and of those near it, refer to."""
        key = (relation.oid, column)
        known = self._references.get(key)
        if known is None:
            found: set[Origin] = set()
            seen: set[Origin] = set()
            pending = list(self._near(relation, column))
            while pending:
                origin = pending.pop()
                if origin in seen:
                    continue
                seen.add(origin)
                other = self._names.get(origin[:2])
                for each in other.columns if other is not None else ():
                    for referred in each.refers if each.name == origin[2] else ():
                        target = self._names.get(referred[:2])
                        near = {referred} if target is None else self._near(target, referred[2])
                        found |= near
                        pending += near
            known = self._references[key] = frozenset(found)
        return known

    def referring(self, name: Name) -> list[tuple[str, Origin]]:
        """Return the foreign keys to a relation: its column, and the one that refers to it."""
        if self._referring is None:
            self._referring = {}
            for other in self.raw.relations:
                for column in other.columns:
                    for schema, table, referred in column.refers:
                        origin = (other.schema, other.name, column.name)
                        self._referring.setdefault((schema, table), []).append((referred, origin))
        return self._referring.get(name, [])

    def cascades(self, name: Name) -> frozenset[Name]:
        """Return the relations whose rows change when what they refer to in this one goes."""
        relation = self._names.get(name)
        heirs = self.descendants(relation) if relation is not None else []
        names = (name, *((heir.schema, heir.name) for heir in heirs))
        return frozenset[Name]().union(*(self.raw.cascades.get(one, ()) for one in names))

    def refers(self, relation: Relation) -> bool:
        """Return whether a foreign key stands on a column of `relation`."""
        return any(column.refers for column in relation.columns)

    def _inherited(self, relation: Relation, column: str) -> frozenset[Origin]:
        """Return the columns of heirs and partitions that are read as this one of `relation`."""
        heirs = self.descendants(relation)
        if not heirs:
            return frozenset()
        known = self._inheritances.get((relation.oid, column))
        if known is None:
            known = self._inheritances[relation.oid, column] = frozenset(
                (*name, part)
                for heir in heirs
                for own in heir.columns
                if own.name == column
                for name in self.mask_names(heir.oid)
                for part in (column, *own.made_of)
            )
        return known

    def conditions_of(self, view: Relation) -> frozenset[Origin]:
        """Return the columns that decide which rows a view has, or in what order.

        FAILS CLOSED: of a view whose definition is not understood, every column that it reads.
        """
        found: set[Origin] = set()
        seen, pending = {view.oid}, [view]
        while pending:
            current = pending.pop()
            if current.kind not in VIEWS or current.system:
                continue
            lineage = self.lineage(current)
            if lineage is not None:
                found |= lineage.conditions
            for base in current.bases:
                if lineage is None:
                    found |= self._everything(base)
                relation = self._names.get(base.name)
                if relation is not None and relation.oid not in seen:
                    seen.add(relation.oid)
                    pending.append(relation)
        return frozenset(found)

    def written(self, relation: Relation, column: str) -> frozenset[Origin]:
        """Return the columns that a write of this one goes to: itself, and those of a view's base.

        FAILS CLOSED: of a view that is not understood, every column that it reads.
        """
        own = frozenset({(relation.schema, relation.name, column)})
        if relation.kind not in VIEWS or relation.system:
            return own
        lineage = self.lineage(relation)
        if lineage is None:
            return own.union(*(self._everything(base) for base in relation.bases))
        return own | lineage.columns.get(column, frozenset())

    def tied_to(self, relation: Relation, column: str) -> frozenset[Origin]:
        """Return what stands in one check, key or index with this column, or with one that a write
        of it goes to: of a view's base, of heirs and partitions.
        """
        found: set[Origin] = set()
        for schema, name, part in self.written(relation, column):
            known = self._names.get((schema, name))
            if known is None:
                continue
            for each in (known, *self.descendants(known)):
                for own in each.columns:
                    if own.name == part:
                        found |= {self._in_parent(known, each, other) for other in own.tied}
        return frozenset(found)

    def _in_parent(self, parent: Relation, heir: Relation, column: str) -> Origin:
        """Return an heir's column as its parent has it; its own, where that one has none."""
        shared = any(own.name == column for own in parent.columns)
        holder = parent if shared else heir
        return (holder.schema, holder.name, column)

    def is_guarded(self, relation: Relation, column: str) -> bool:
        """Return whether a key stands on this column, or on one behind a view's."""
        origins = {(*name, column) for name in self.mask_names(relation.oid)}
        for schema, name, part in origins | self.origins_of(relation, column):
            known = self._names.get((schema, name))
            if known and any(c.guarded for c in known.columns if c.name == part):
                return True
        return False

    def lineage(self, relation: Relation) -> Lineage | None:
        """Return the lineage of a view; None where it is not known."""
        if relation.oid not in self._lineages:
            self._lineages[relation.oid] = None  # a view that reads itself must not loop
            if self._trace is not None:
                self._lineages[relation.oid] = self._trace(relation, self)
        return self._lineages[relation.oid]

    def descendants(self, relation: Relation) -> list[Relation]:
        """Return the relations that inherit from this one, or are partitions of it."""
        if self._heirs is None:
            self._heirs = {}
            for heir in self.raw.relations:
                for parent in heir.parents:
                    self._heirs.setdefault(parent, []).append(heir)
        return self._heirs.get((relation.schema, relation.name), [])

    def mask_names(self, oid: int) -> tuple[Name, ...]:
        """Return the relation's own name and those of all its ancestors: masks hold for each."""
        relation = self._oids.get(oid)
        if relation is None:
            return ()
        return ((relation.schema, relation.name), *relation.parents)

    def _everything(self, base: Base) -> frozenset[Origin]:
        relation = self._names.get(base.name)
        if relation is None:
            return frozenset({(*base.name, "*")})
        columns = (
            [column.name for column in relation.columns] if base.columns is None else base.columns
        )
        return frozenset[Origin]().union(*(self.origins_of(relation, name) for name in columns))


VIEWS = ("view", "materialized-view")
