"""What names mean for one session at one moment: search path, temporary names, snapshot.

The rules are those of the server (`namespace.c`): `pg_catalog` is searched first unless the path
names it, temporary relations before that unless the path names `pg_temp`; functions and operators
are never looked for among temporary names; a schema without USAGE is passed over.
FAILS CLOSED: where it is not known whether the role may look into a schema, and a later one has
the same name too, the name does not resolve; without a snapshot or a search path nothing does.
Read warily, a name means every relation that it finds on the path (`Found.behind`). So does the
name of what the session made itself, and any after a DROP in the same transaction: what another
session drops, or a DROP of something else, can take along what the name meant.
"""

from __future__ import annotations

from msgspec import Struct, structs

from sallyport.sql.catalogue import CatalogueSnapshot, Function, Relation
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Name, SessionRelation

TEMPORARY = "pg_temp"


def clipped(name: str) -> str:
    """Return a name as the server keeps it: at most 63 bytes, whole characters."""
    raw = name.encode("utf-8", "surrogatepass")
    return name if len(raw) < 64 else raw[:63].decode("utf-8", "ignore")


class Found(Struct, frozen=True):
    """A relation that a name means. `session` is what the session itself made of it.

    `behind` are those that it hides, where the name may mean them instead.
    """

    name: Name
    kind: str
    relation: Relation | None = None
    session: SessionRelation | None = None
    behind: tuple[Found, ...] = ()


class Names:
    """Looks up names as the server would, for one session state and one snapshot."""

    def __init__(self, state: SessionState, catalogue: CatalogueSnapshot | None) -> None:
        self.state = state
        self.catalogue = catalogue
        scope = state.scope
        self._dropped = scope.dropped
        self._made = dict(scope.relations)
        self._functions = scope.functions
        self._operators = scope.operators
        self.epoch = "" if catalogue is None else catalogue.epoch
        self.wary = state.wary
        self.blind = catalogue is None or scope.blurred or scope.overfull
        self._path = self._expanded()

    def _expanded(self) -> tuple[str, ...] | None:
        path = self.state.search_path
        user = self.state.user
        if path is None or self.blind:
            return None
        schemas: list[str] = []
        for entry in path:
            if entry == "$user":
                if user is not None:
                    schemas.append(user)
                elif self.catalogue is None or self.catalogue.raw.role_schemas:
                    return None
            else:
                schemas.append(clipped(entry))
        if "pg_catalog" not in schemas:
            schemas.insert(0, "pg_catalog")
        return tuple(schemas)

    def creation_schema(self, schema: str) -> str:
        """Return the schema that a new object goes to; empty if that is not known."""
        if schema:
            return schema
        path = self.state.search_path
        if path is None or self.catalogue is None or self.blind:
            return ""
        for entry in path:
            if entry == TEMPORARY:
                return TEMPORARY
            name = (self.state.user or "") if entry == "$user" else clipped(entry)
            known = name in self.catalogue.raw.schemas or name in self.state.scope.schemas
            if known and name != "pg_catalog" and self._usable(name) is not False:
                return name
        return ""

    def relation(self, schema: str, name: str, database: str = "") -> Found | None:
        """Return the relation that a name means; None if none is known."""
        if database and database != self.state.database:
            return None
        if schema:
            return None if self.blind else self._in(schema, name)
        if self._path is None:
            return None
        schemas = self._path if TEMPORARY in self._path else (TEMPORARY, *self._path)
        found = self._first(schemas, name)
        if found is None or not (self.wary or self._dropped or found.session is not None):
            return found
        usable = [schema for schema in schemas if self._usable(schema) is not False]
        others = [self._in(schema, name) for schema in usable]
        behind = tuple(other for other in others if other is not None and other.name != found.name)
        return structs.replace(found, behind=behind)

    def hidden(self, found: Found) -> frozenset[Name]:
        """Return the relations that `found`, by its bare name, hides on the path."""
        others = (self._known((schema, found.name[1])) for schema in self._path or ())
        names = ((other.schema, other.name) for other in others if other is not None)
        return frozenset(name for name in names if name != found.name)

    def exactly(self, name: Name) -> Found | None:
        """Return the relation of this very schema and name."""
        return self._in(*name)

    def is_somewhere(self, name: str) -> bool:
        """Whether a relation of any schema has this name."""
        made = any(known == name for (_, known), session in self._made.items() if session)
        relations = () if self.catalogue is None else self.catalogue.raw.relations
        return made or any(relation.name == name for relation in relations)

    def _first(self, schemas: tuple[str, ...], name: str) -> Found | None:
        doubtful = False
        first: Found | None = None
        for schema in schemas:
            found = self._in(schema, name)
            if found is None:
                continue
            if first is not None:
                return None if doubtful else first
            usable = self._usable(schema)
            if usable is False:
                continue
            first, doubtful = found, usable is None
            if not doubtful:
                return first
        return first

    def _in(self, schema: str, name: str) -> Found | None:
        key = (schema, name)
        if key in self._made:
            session = self._made[key]
            if session is None:
                return None
            relation = self._known(session.formerly) if session.formerly else None
            return Found(key, session.kind, relation, session)
        if schema == TEMPORARY:
            return None
        known = self._known(key)
        return None if known is None else Found(key, known.kind, known)

    def _known(self, name: Name) -> Relation | None:
        return None if self.catalogue is None else self.catalogue.relation(name)

    def _usable(self, schema: str) -> bool | None:
        if schema in ("pg_catalog", "information_schema", TEMPORARY) or self.catalogue is None:
            return True
        return self.catalogue.usable(self.state.user, schema)

    def functions(self, schema: str, name: str) -> tuple[list[Function], bool]:
        """Return every function that a call may mean, and whether one of them is not known.

        Overloads in all schemas of the path compete by their arguments, so all are candidates.
        """
        if self.catalogue is None or self.blind:
            return [], True
        schemas = (schema,) if schema else self._path
        if schemas is None:
            return [], True
        known = [self.catalogue.function((place, name)) for place in schemas]
        unseen = any((place, name) in self._functions for place in schemas)
        return [function for function in known if function is not None], unseen

    def operators(self, schema: str, name: str) -> tuple[list[Name], bool]:
        """Return the user functions that an operator may run, and whether one is not known."""
        if self.catalogue is None or self.blind:
            return [], True
        if name in self._operators:
            return [], True
        known = self.catalogue.raw.operators.get(name, ())
        if not known:
            return [], False
        schemas = (schema,) if schema else self._path
        if schemas is None:
            return [], True
        return [function for place, function in known if place in schemas], False

    def type(self, schema: str, name: str) -> str | None:
        """Return a type's full name (bare if of pg_catalog); None if none is known."""
        if self.catalogue is None or self.blind:
            return None
        schemas = (schema,) if schema else self._path
        for place in schemas or ():
            if (place, name) in self.catalogue.raw.types:
                return name if place == "pg_catalog" else f"{place}.{name}"
        row = self.relation(schema, name)
        return None if row is None else ".".join(row.name)
