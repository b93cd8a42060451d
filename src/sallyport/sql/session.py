"""A session's own state, as far as the meaning of the next statement depends on it.

Theory of operation: the codec keeps one state for what the server has confirmed, and predicts from
it what the statements in flight will leave: `after(statement)` for each statement that is expected
to succeed. When the server reports an error the codec calls `failed()` on the confirmed state and
forgets the prediction; at each ReadyForQuery it calls `ready(status)`. Names and settings are
transactional (savepoints too); prepared statements are not; cursors end with their transaction
unless they are WITH HOLD.

A plan keeps what its names meant when it was made: the server makes it anew where what it stands on
changed, never because a new relation hides the old one. So each prepared statement and cursor has
an `Age`; one that is older than the names of now is read warily (`Names.wary`).

FAILS CLOSED: after code that nobody read (`opaque`) no setting is known until the server has
reported: before PostgreSQL 18 it never reports search_path, so unqualified names stay unknown
until the session sets one.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct, structs

from sallyport.sql.statement import Change, Name, SessionRelation, Setting, Statement

MAX_NAMED = 1000
"""Prepared statements, and cursors, that a session's state keeps."""
MAX_NAMED_SIZE = 4 << 20
"""Characters of their texts."""
MAX_RELATIONS = 2000
"""Relations of its own that a session's state keeps."""
DEFAULT_PATH = ("$user", "public")

Age = tuple[int, str]
"""When something was prepared: the session's own relations (`SessionState.era`), the catalogue's
epoch. INVARIANT: while neither changed, no name has come to mean another relation."""


class Scope(Struct, frozen=True):
    """What a rollback takes back. Pairs are the session's value and the transaction's (LOCAL)."""

    path: tuple[str, ...] | None
    local_path: tuple[str, ...] | None = None
    path_is_local: bool = False
    role: str | None = ""
    local_role: str | None = None
    role_is_local: bool = False
    strings: bool = True
    utf8: bool = True
    relations: tuple[tuple[Name, SessionRelation | None], ...] = ()
    functions: frozenset[Name] = frozenset()
    operators: frozenset[str] = frozenset()
    schemas: frozenset[str] = frozenset()
    blurred: bool = False
    dropped: bool = False
    """Something was dropped in this transaction, and whatever depended on it may be gone."""
    overfull: bool = False
    """More relations than are kept: no name is certain any more, for the session's rest."""

    @property
    def key(self) -> tuple[object, ...]:
        """Everything that a classification may depend on."""
        path = self.local_path if self.path_is_local else self.path
        role = self.local_role if self.role_is_local else self.role
        blind = self.blurred or self.overfull
        names = (self.relations, self.functions, self.operators, self.schemas, blind, self.dropped)
        return (path, role, self.strings, self.utf8, names)


class Reported(Struct, frozen=True):
    """What the server last reported, before each ReadyForQuery: the truth at that moment.

    `path` is None before PostgreSQL 18, which does not report search_path.
    """

    path: tuple[str, ...] | None = None
    strings: bool = True
    utf8: bool = True


class SessionState(Struct, frozen=True):
    """Immutable. Made with `SessionState.start` from what the login on the target reported."""

    database: str
    login: str
    scope: Scope
    defaults: Scope
    base: Scope
    """What a rollback of the whole transaction returns to."""
    savepoints: tuple[tuple[str, Scope], ...] = ()
    block: bool = False
    aborted: bool = False
    prepared: tuple[tuple[str, str, Age], ...] = ()
    cursors: tuple[tuple[str, str, bool, Age], ...] = ()
    """Name, text and whether it outlives its transaction."""
    era: int = 0
    """Another one whenever the session's own relations changed; it never comes back."""
    era_relations: tuple[tuple[Name, SessionRelation | None], ...] = ()
    wary: bool = False
    """What is read was planned before: a name may mean what another relation hides by now."""
    told: Reported = Reported()
    names_key: tuple[object, ...] = ()
    """What any statement's meaning depends on; EXECUTE's and FETCH's on the rest of `key` too."""
    key: tuple[object, ...] = ()
    """Everything of this state that a classification depends on."""

    @classmethod
    def start(
        cls, database: str, login: str, search_path: str | None = None, server_version: int = 0
    ) -> SessionState:
        """Return the state right after login.

        `search_path` is the setting as SHOW gives it, None for the server's default;
        `server_version` is the major version.
        """
        path = DEFAULT_PATH if search_path is None else split_path(search_path)
        scope = Scope(path=path)
        reported = Reported(path if server_version >= 18 else None)
        return cls(database, login, scope, scope, scope, told=reported)._keyed()

    @property
    def search_path(self) -> tuple[str, ...] | None:
        """The setting in force, with `$user` as it stands; None: not known."""
        return self.scope.local_path if self.scope.path_is_local else self.scope.path

    @property
    def user(self) -> str | None:
        """The role in force; None: not known."""
        role = self.scope.local_role if self.scope.role_is_local else self.scope.role
        return self.login if role == "" else role

    def after(self, statement: Statement) -> SessionState:
        """Return the state once `statement` succeeded."""
        change = statement.change
        return self if change is None else self.changed(change)

    def changed(self, change: Change) -> SessionState:
        """Return the state once a statement with `change` succeeded."""
        if change.opaque or change.settings:
            scope = _opaque(self.scope) if change.opaque else self.scope
            for setting in change.settings:
                scope = _set(scope, setting, self.defaults)
            self = structs.replace(self, scope=scope)
        kind = change.kind
        if kind in _BLOCKS:
            return self._transaction(change)._keyed()
        if kind in ("set", "opaque"):
            return self._keyed()
        if kind == "names":
            return structs.replace(self, scope=_renamed(self.scope, change))._keyed()
        if kind == "reset-all":
            return structs.replace(self, scope=self._reset())._keyed()
        if kind in ("discard-temp", "discard-all"):
            return self._discard(change)._keyed()
        return self._named(change)._keyed()

    def failed(self) -> SessionState:
        """Return the state after an error: a block is aborted, all else is taken back."""
        if self.block:
            return structs.replace(self, aborted=True)._keyed()
        return self._ended(committed=False)._keyed()

    def ready(self, status: str) -> SessionState:
        """Return the state that the server's ReadyForQuery (`I`, `T` or `E`) leaves.

        The server's word counts. FAILS CLOSED: when a block is over and it is not known how, what
        it changed is unknown.
        """
        if status != "I":
            open_ = structs.replace(self, block=True, aborted=status == "E")
            return structs.replace(open_, scope=_as_reported(open_.scope, self.told))._keyed()
        if not self.block:
            ended = self._ended(committed=True)
        elif self.aborted:
            ended = self._ended(committed=False)
        else:
            ended = structs.replace(self._ended(committed=False), scope=self._doubtful())
        scope = _as_reported(ended.scope, self.told)
        return structs.replace(ended, scope=scope, base=scope)._keyed()

    def reported(self, name: str, value: str) -> SessionState:
        """Return the state after the server reported a parameter (ParameterStatus).

        It counts from the next ReadyForQuery on.
        """
        if name == "search_path":
            known = structs.replace(self.told, path=split_path(value))
        elif name == "standard_conforming_strings":
            known = structs.replace(self.told, strings=value == "on")
        elif name == "client_encoding":
            known = structs.replace(self.told, utf8=value.upper() == "UTF8")
        else:
            return self
        return structs.replace(self, told=known)

    def warily(self) -> SessionState:
        """Return the state for reading what was planned when names may have meant others."""
        return structs.replace(self, wary=True)._keyed()

    def age(self, epoch: str) -> Age:
        """Return the age of what is prepared now, with a catalogue of this epoch.

        What is read warily is of no age: it is older than can be told.
        """
        return (-1, "") if self.wary else (self.era, epoch)

    def with_prepared(self, name: str, text: str, age: Age) -> SessionState:
        """Return the state with a named statement of the wire protocol: EXECUTE can run it."""
        return structs.replace(
            self, prepared=_kept(_put(self.prepared, (name, text, age)))
        )._keyed()

    def without_prepared(self, name: str) -> SessionState:
        """Return the state after the wire protocol closed a named statement."""
        return structs.replace(self, prepared=_drop(self.prepared, name))._keyed()

    def with_cursor(self, name: str, text: str, age: Age) -> SessionState:
        """Return the state with a named portal of the wire protocol: FETCH can read it."""
        return structs.replace(
            self, cursors=_kept(_put(self.cursors, (name, text, False, age)))
        )._keyed()

    def without_cursor(self, name: str) -> SessionState:
        """Return the state after the wire protocol closed a named portal."""
        return structs.replace(self, cursors=_drop(self.cursors, name))._keyed()

    def prepared_text(self, name: str) -> str | None:
        """Return the text that was prepared under `name`."""
        return next((text for known, text, _ in self.prepared if known == name), None)

    def prepared_age(self, name: str) -> Age | None:
        """Return when `name` was prepared."""
        return next((age for known, _, age in self.prepared if known == name), None)

    def cursor_text(self, name: str) -> str | None:
        """Return the text that opened the cursor `name`."""
        return next((text for known, text, *_ in self.cursors if known == name), None)

    def cursor_age(self, name: str) -> Age | None:
        """Return when the cursor `name` was opened."""
        return next((age for known, *_, age in self.cursors if known == name), None)

    def _keyed(self) -> SessionState:
        names_key = (self.database, self.login, self.wary, self.scope.key)
        key = (names_key, self.prepared, self.cursors)
        if key == self.key:
            return self
        era, relations = self.era, self.scope.relations
        if self.era_relations is not relations and self.era_relations != relations:
            era = hash((era, relations))
        return structs.replace(self, key=key, names_key=names_key, era=era, era_relations=relations)

    def _transaction(self, change: Change) -> SessionState:
        kind, name = change.kind, change.name
        if kind == "begin":
            return self if self.block else structs.replace(self, block=True)
        if kind in ("commit", "rollback"):
            ended = self._ended(committed=kind == "commit" and not self.aborted)
            return structs.replace(ended, block=True) if change.chain and self.block else ended
        if kind == "savepoint":
            return structs.replace(self, savepoints=(*self.savepoints, (name, self.scope)))
        found = max(
            (i for i, (known, _) in enumerate(self.savepoints) if known == name), default=-1
        )
        if found < 0:
            return self
        if kind == "release":
            return structs.replace(self, savepoints=self.savepoints[:found])
        scope = self.savepoints[found][1]
        kept = self.savepoints[: found + 1]
        return structs.replace(self, scope=scope, savepoints=kept, aborted=False)

    def _ended(self, *, committed: bool) -> SessionState:
        scope = _settled(self.scope) if committed else self.base
        cursors = tuple(cursor for cursor in self.cursors if cursor[2])
        return structs.replace(
            self,
            scope=scope,
            base=scope,
            savepoints=(),
            block=False,
            aborted=False,
            cursors=cursors,
        )

    def _doubtful(self) -> Scope:
        settled, base = _settled(self.scope), self.base
        if settled.key == base.key:
            return base
        path = base.path if settled.path == base.path else None
        role = base.role if settled.role == base.role else None
        return structs.replace(
            base,
            path=path,
            role=role,
            strings=base.strings and settled.strings,
            utf8=base.utf8 and settled.utf8,
            relations=settled.relations,
        )

    def _reset(self) -> Scope:
        defaults = self.defaults
        return structs.replace(
            self.scope,
            path=defaults.path,
            path_is_local=False,
            strings=defaults.strings,
            utf8=defaults.utf8,
        )

    def _discard(self, change: Change) -> SessionState:
        if change.kind == "discard-temp":
            return structs.replace(self, scope=_without_temporary(self.scope))
        scope = structs.replace(
            _without_temporary(self._reset()), role=self.defaults.role, role_is_local=False
        )
        return structs.replace(self, scope=scope, base=scope, prepared=(), cursors=())

    def _named(self, change: Change) -> SessionState:
        kind, name = change.kind, change.name
        if kind == "prepare":
            statement = (name, change.text, self.age(change.epoch))
            return structs.replace(self, prepared=_kept(_put(self.prepared, statement)))
        if kind == "deallocate":
            return structs.replace(self, prepared=_drop(self.prepared, name))
        if kind == "deallocate-all":
            return structs.replace(self, prepared=())
        if kind == "declare":
            cursor = (name, change.text, change.hold, self.age(change.epoch))
            return structs.replace(self, cursors=_kept(_put(self.cursors, cursor)))
        if kind == "close":
            return structs.replace(self, cursors=_drop(self.cursors, name))
        return structs.replace(self, cursors=())


_BLOCKS = frozenset({"begin", "commit", "rollback", "savepoint", "release", "rollback-to"})

_Entry = TypeVar("_Entry", bound=tuple[object, ...])


def _put(entries: tuple[_Entry, ...], entry: _Entry) -> tuple[_Entry, ...]:
    return (*(known for known in entries if known[0] != entry[0]), entry)


def _kept(entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    """Return the newest entries within the bounds. Those that are forgotten resolve no more."""
    size = sum(len(str(entry[1])) for entry in entries)
    first = 0
    while len(entries) - first > MAX_NAMED or (size > MAX_NAMED_SIZE and first < len(entries)):
        size -= len(str(entries[first][1]))
        first += 1
    return entries[first:]


def _drop(entries: tuple[_Entry, ...], name: object) -> tuple[_Entry, ...]:
    return tuple(known for known in entries if known[0] != name)


def _settled(scope: Scope) -> Scope:
    """Return what a commit leaves: no LOCAL value; of the relations only temporary ones."""
    relations = tuple(
        (name, relation)
        for name, relation in scope.relations
        if name[0] == "pg_temp" and relation is not None and not relation.until_commit
    )
    return Scope(
        scope.path,
        role=scope.role,
        strings=scope.strings,
        utf8=scope.utf8,
        relations=relations,
        overfull=scope.overfull,
    )


def _renamed(scope: Scope, change: Change) -> Scope:
    relations = scope.relations
    for altered in change.relations:
        relations = _put(relations, (altered.name, altered.relation))
    overfull = scope.overfull or len(relations) > MAX_RELATIONS
    return structs.replace(
        scope,
        relations=relations,
        functions=scope.functions.union(change.functions),
        operators=scope.operators.union(change.operators),
        schemas=scope.schemas.union(change.schemas),
        blurred=scope.blurred or change.blurs,
        dropped=scope.dropped or change.drops,
        overfull=overfull,
    )


def _opaque(scope: Scope) -> Scope:
    """Return what is known after code ran that nobody read: nothing of the settings."""
    return structs.replace(
        scope,
        path=None,
        path_is_local=False,
        role=None,
        role_is_local=False,
        strings=False,
        utf8=False,
    )


def _as_reported(scope: Scope, told: Reported) -> Scope:
    scope = structs.replace(scope, strings=told.strings, utf8=told.utf8)
    if told.path is None:
        return scope
    if scope.path_is_local:
        return structs.replace(scope, local_path=told.path)
    return structs.replace(scope, path=told.path)


def _without_temporary(scope: Scope) -> Scope:
    kept = tuple(entry for entry in scope.relations if entry[0][0] != "pg_temp")
    return structs.replace(scope, relations=kept)


def _set(scope: Scope, setting: Setting, defaults: Scope) -> Scope:
    values, name = setting.values, setting.name
    if name == "search_path":
        path = defaults.path if setting.default else values
        if setting.local:
            return structs.replace(scope, local_path=path, path_is_local=True)
        return structs.replace(scope, path=path, path_is_local=False)
    if name in ("role", "session_authorization"):
        role = "" if setting.default else (values[0] if values else None)
        role = "" if role == "none" else role
        if setting.local:
            return structs.replace(scope, local_role=role, role_is_local=True)
        return structs.replace(scope, role=role, role_is_local=False)
    if name == "standard_conforming_strings":
        on = setting.default or (values is not None and values[0].lower() in ON)
        return structs.replace(scope, strings=on)
    if name == "client_encoding":
        utf8 = setting.default or (values is not None and values[0].lower() in UTF8)
        return structs.replace(scope, utf8=utf8)
    return scope


ON = frozenset({"on", "true", "yes", "1", "t", "y", "tr", "tru", "ye"})
UTF8 = frozenset({"utf8", "utf-8", "unicode"})


def split_path(value: str) -> tuple[str, ...] | None:
    """Return the names in a search_path as SHOW gives it; None where it does not read as one."""
    names: list[str] = []
    position, end = 0, len(value)
    while position < end:
        while position < end and value[position] in " \t\n\r,":
            position += 1
        if position >= end:
            break
        if value[position] == '"':
            closing = position + 1
            while closing < end and (
                value[closing] != '"' or value[closing + 1 : closing + 2] == '"'
            ):
                closing += 2 if value[closing] == '"' else 1
            if closing >= end:
                return None
            names.append(value[position + 1 : closing].replace('""', '"'))
            position = closing + 1
        else:
            closing = value.find(",", position)
            closing = end if closing < 0 else closing
            names.append(value[position:closing].strip().lower())
            position = closing
    return tuple(names)
