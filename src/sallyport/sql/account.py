"""What one statement touches, gathered while its tree is walked."""

from __future__ import annotations

from msgspec import Struct

from sallyport.core.operation import Effect, Resource, worst
from sallyport.sql.catalogue import VIEWS, Base, CatalogueSnapshot, Function, Relation
from sallyport.sql.effort import Effort
from sallyport.sql.functions import SECRET_RELATIONS, SESSION_RELATIONS, judge
from sallyport.sql.names import TEMPORARY, Found, Names
from sallyport.sql.statement import Name, Origin, Setting
from sallyport.sql.verbs import WRITES

Source = tuple["Touch", str]
"""One column of one touched relation."""

_SYSTEM_SCHEMAS = ("pg_catalog", "information_schema")


class Touch:
    """One relation that the statement touches. `returned`: what a RETURNING list exposes."""

    __slots__ = ("columns", "effect", "exposed", "found", "returned")

    def __init__(self, found: Found) -> None:
        self.found = found
        self.effect = Effect.READ
        self.columns: set[str] = set()
        self.exposed: set[str] = set()
        self.returned: set[str] = set()


class Output(Struct, frozen=True):
    """One column of a query's result.

    `sources` are the columns that its value is made of; `plain`: it is exactly one of them,
    unchanged, and the server would name it as the result's origin. `named` is False where the
    name is the server's choice and not followed here.
    """

    name: str
    sources: frozenset[Source] = frozenset()
    plain: bool = False
    named: bool = True


class Account:
    """Gathers resources, facts and names that did not resolve, for one statement."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.effort = Effort()
        self.touched: dict[Name, Touch] = {}
        self.others: dict[tuple[str, str], Effect] = {}
        self.facts: set[str] = set()
        self.verbs: set[str] = set()
        """What the statement and all that stands inside it does."""
        self.unresolved: dict[str, None] = {}
        self._stands_on: dict[int, str] = {}
        self._calls: dict[Name, str] = {}
        self.called: dict[Name, None] = {}
        """The functions that do more than to compute."""
        self.settings: list[Setting] = []
        """What calls of set_config may set, or not: their values stay unknown."""
        self.reads_literals = False
        """Another constant in the same place could have made another account."""
        self.opaque = False
        self.positioned = False
        self.returns = False
        """Its own RETURNING list was walked."""
        self._returning = False
        self.assigned: set[Origin] = set()
        self.hides: frozenset[Name] = frozenset()
        """What bare names hide: they come to mean it when what they mean now is renamed."""
        self._logs: list[set[Source]] = []

    def touch(self, found: Found, effect: Effect = Effect.READ) -> Touch:
        """Note a relation with what is done to it."""
        touch = self.touched.get(found.name)
        if touch is None:
            touch = self.touched[found.name] = Touch(found)
            self._note_system(found)
        touch.effect = worst((touch.effect, self._effect_on(found, effect)))
        for other in found.behind:
            self.column(self.touch(other, effect), "*", exposed=True)
        return touch

    def add(self, kind: str, name: str, effect: Effect, *facts: str) -> None:
        """Note something that is no relation."""
        key = (kind, name)
        self.others[key] = worst((self.others.get(key, Effect.READ), effect))
        self.facts.update(facts)

    def unknown(self, kind: str, name: str) -> None:
        """Note a name that the catalogue does not know."""
        self.unresolved[name] = None
        self.add(kind, name, Effect.UNKNOWN, "unresolved")

    def column(self, touch: Touch, name: str, *, exposed: bool) -> None:
        """Note one column of a touched relation; `*` for all of them."""
        touch.columns.add(name)
        if exposed:
            self.expose(frozenset({(touch, name)}))
        self._note_casts(touch, name)

    def expose(self, sources: frozenset[Source]) -> None:
        """Note that these columns' values are used for more than to be shown as they are."""
        self.effort.spend(len(sources) * (1 + len(self._logs)))
        for touch, name in sources:
            (touch.returned if self._returning else touch.exposed).add(name)
        for log in self._logs:
            log.update(sources)

    def start_log(self) -> set[Source]:
        """Return a set that gathers what is exposed until `end_log`."""
        log: set[Source] = set()
        self._logs.append(log)
        return log

    def end_log(self) -> None:
        """End the latest log."""
        self._logs.pop()

    def start_returning(self) -> None:
        """Keep apart what is exposed until `end_returning`: in the statement's RETURNING list."""
        self.returns = self._returning = True

    def end_returning(self) -> None:
        """End the RETURNING list."""
        self._returning = False

    def add_returned(self) -> None:
        """Count what the RETURNING list exposes with all else."""
        for touch in self.touched.values():
            touch.exposed |= touch.returned

    def call(self, function: Function) -> None:
        """Note the call of a function."""
        if function.version:
            self._calls[function.schema, function.name] = function.version
        judgement = judge(function)
        if judgement.effect is None:
            return
        self.called[function.schema, function.name] = None
        name = f"{function.schema}.{function.name}"
        self.add("function", name, judgement.effect, *judgement.facts)
        if "user-function" in judgement.facts:
            self.opaque = True

    def call_named(self, name: Name) -> None:
        """Note the call of a function by its full name."""
        catalogue = self.names.catalogue
        known = None if catalogue is None else catalogue.function(name)
        if known is None:
            self.unknown("function", ".".join(name))
        else:
            self.call(known)

    def stands_on(self) -> tuple[tuple[int, str], ...]:
        """Return the relations that were touched, and those behind them, once `resources` ran."""
        return tuple(sorted(self._stands_on.items()))

    def reads_own(self) -> bool:
        """Return whether temporary relations are touched, and what they have is known.

        Whatever else the session made has names that masks may mean.
        """
        made = [
            (touch.found.name[0], touch.found.session)
            for touch in self.touched.values()
            if touch.found.session is not None
        ]
        return bool(made) and all(
            schema == TEMPORARY and own.columns is not None and own.formerly is None
            for schema, own in made
        )

    def calls(self) -> tuple[tuple[Name, str], ...]:
        """Return the users' functions that are called, once `resources` ran."""
        return tuple(sorted(self._calls.items()))

    def resources(self) -> tuple[Resource, ...]:
        """Return everything that was noted, with what stands behind views and partitions."""
        state = self.names.state
        found: dict[tuple[str, str], Resource] = {}
        _merge(found, Resource("database", state.database, Effect.READ))
        for touch in list(self.touched.values()):
            self._spread(found, touch)
        if not WRITES.isdisjoint(self.verbs):
            self._rules(found)
        for (kind, name), effect in self.others.items():
            _merge(found, Resource(kind, name, effect))
        return tuple(found.values())

    def _note_secret(self, touch: Touch) -> None:
        schema, name = touch.found.name
        secret = SECRET_RELATIONS.get(name) if schema in _SYSTEM_SCHEMAS else None
        if secret is not None and ("*" in secret | touch.columns or secret & touch.columns):
            self.facts.add("secret-catalog")

    def _spread(self, found: dict[tuple[str, str], Resource], touch: Touch) -> None:
        self._note_secret(touch)
        resource = _resource(touch)
        _merge(found, resource)
        session, relation = touch.found.session, touch.found.relation
        if session is not None:
            for read in session.reads:
                _merge(found, _renewed(read, touch))
        if relation is None or self.names.catalogue is None:
            return
        self._stands_on[relation.oid] = relation.definition or relation.version
        if touch.found.name != (relation.schema, relation.name):
            formerly = f"{relation.schema}.{relation.name}"
            _merge(found, Resource(relation.kind, formerly, touch.effect, ("*",), ("*",)))
        for schema, name in relation.parents:
            parent = Resource("table", f"{schema}.{name}", touch.effect)
            parent = Resource(
                parent.kind, parent.name, touch.effect, resource.columns, resource.exposed
            )
            _merge(found, parent)
        if relation.kind in VIEWS and not relation.system:
            self._behind(found, relation, touch, self.names.catalogue, 0)

    def _behind(
        self,
        found: dict[tuple[str, str], Resource],
        view: Relation,
        touch: Touch,
        catalogue: CatalogueSnapshot,
        depth: int,
    ) -> None:
        exposed = _exposed_behind(view, touch, catalogue)
        seen = {(view.schema, view.name)}
        pending = [view]
        while pending:
            current = pending.pop()
            lineage = catalogue.lineage(current)
            for function in current.functions + (() if lineage is None else lineage.functions):
                self.call_named(function)
            for base in current.bases:
                relation = catalogue.relation(base.name)
                if relation is None:
                    self.unknown("table", ".".join(base.name))
                    continue
                self._stands_on[relation.oid] = relation.definition or relation.version
                full = f"{relation.schema}.{relation.name}"
                columns = ("*",) if base.columns is None else base.columns
                shown = tuple(sorted({c for s, r, c in exposed if (s, r) == base.name}))
                effect = Effect.WRITE if touch.effect is Effect.WRITE else Effect.READ
                _merge(found, Resource(relation.kind, full, effect, columns, shown))
                behind = Touch(Found(base.name, relation.kind, relation))
                behind.columns.update(columns)
                self._note_system(behind.found)
                self._note_secret(behind)
                if relation.kind in VIEWS and not relation.system and base.name not in seen:
                    seen.add(base.name)
                    pending.append(relation)

    def _rules(self, found: dict[tuple[str, str], Resource]) -> None:
        """Note what the rules of written relations read: it decides what is written, or is shown.

        What triggers read is not known. COPY and TRUNCATE run no rules.
        """
        catalogue = self.names.catalogue
        seen: set[Name] = set()
        while catalogue is not None:
            written = [r for r in found.values() if r.effect is Effect.WRITE]
            names = {(schema, name) for schema, _, name in (r.name.partition(".") for r in written)}
            if names <= seen:
                return
            for each in sorted(names - seen):
                seen.add(each)
                relation = catalogue.relation(each)
                for base in relation.ruled if relation is not None else ():
                    self._ruled(found, base, catalogue)
                for function in relation.runs if relation is not None else ():
                    self.call_named(function)

    def _ruled(
        self, found: dict[tuple[str, str], Resource], base: Base, catalogue: CatalogueSnapshot
    ) -> None:
        relation = catalogue.relation(base.name)
        if relation is None:
            self.unknown("table", ".".join(base.name))
            return
        self._stands_on[relation.oid] = relation.definition or relation.version
        columns = base.columns or tuple(column.name for column in relation.columns)
        own = {(relation.schema, relation.name, column) for column in columns}
        behind = (catalogue.origins_of(relation, column) for column in columns)
        for schema, table, column in sorted(own.union(*behind)):
            known = catalogue.relation((schema, table))
            if known is not None:
                name = f"{schema}.{table}"
                _merge(found, Resource(known.kind, name, Effect.READ, (column,), (column,)))

    def _note_system(self, found: Found) -> None:
        schema, name = found.name
        if schema in _SYSTEM_SCHEMAS:
            self.facts.add("catalog")
            if name in SESSION_RELATIONS:
                self.facts.add("other-sessions")
        elif schema == TEMPORARY:
            self.facts.add("temporary")
        elif name in ("pg_stat_statements", "pg_stat_statements_info"):
            self.facts.update(("secret-catalog", "other-sessions"))

    def _effect_on(self, found: Found, effect: Effect) -> Effect:
        if found.name[0] in _SYSTEM_SCHEMAS and effect is Effect.WRITE:
            return Effect.ADMIN
        return effect

    def _note_casts(self, touch: Touch, name: str) -> None:
        catalogue, relation = self.names.catalogue, touch.found.relation
        if catalogue is None or relation is None or not catalogue.raw.casts:
            return
        for type_ in {c.type for c in relation.columns if name in ("*", c.name)}:
            for cast in catalogue.casts_around(type_):
                self.call_named(cast.function)


def _resource(touch: Touch) -> Resource:
    schema, name = touch.found.name
    return Resource(
        touch.found.kind,
        f"{schema}.{name}",
        touch.effect,
        tuple(sorted(_with_generated(touch, touch.columns))),
        tuple(sorted(_with_generated(touch, touch.exposed))),
    )


def _with_generated(touch: Touch, names: set[str]) -> set[str]:
    """Return the columns with those that the generated ones among them are made of."""
    relation = touch.found.relation
    if relation is None:
        return names
    parts = (c.made_of for c in relation.columns if c.made_of and c.name in names)
    return names.union(*parts)


def _renewed(read: Resource, touch: Touch) -> Resource:
    """Return what a session's own view reads: its columns may be shown anywhere."""
    return Resource(
        read.kind, read.name, worst((read.effect, touch.effect)), read.columns, read.columns
    )


def _exposed_behind(
    view: Relation, touch: Touch, catalogue: CatalogueSnapshot
) -> frozenset[tuple[str, str, str]]:
    names = touch.exposed
    if "*" in names:
        names = {column.name for column in view.columns}
    own = (view.schema, view.name)
    behind = {o for name in names for o in catalogue.origins_of(view, name)}
    behind |= catalogue.conditions_of(view)
    return frozenset(origin for origin in behind if origin[:2] != own)


def _merge(found: dict[tuple[str, str], Resource], resource: Resource) -> None:
    key = (resource.kind, resource.name)
    known = found.get(key)
    if known is None:
        found[key] = resource
        return
    found[key] = Resource(
        resource.kind,
        resource.name,
        worst((known.effect, resource.effect)),
        _union(known.columns, resource.columns),
        _union(known.exposed, resource.exposed),
    )


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if one == other or not other:
        return one
    return tuple(sorted({*one, *other}))
