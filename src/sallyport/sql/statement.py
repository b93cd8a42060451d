"""What a statement is, once it has been understood: the words that policy and codec read."""

from __future__ import annotations

from msgspec import Struct

from sallyport.core.operation import Effect, Resource

Name = tuple[str, str]
"""Schema and name of a relation or function, as resolved."""

Origin = tuple[str, str, str]
"""Schema, relation and column that a value comes from unchanged."""


class Setting(Struct, frozen=True):
    """One run-time setting as a statement leaves it.

    `values` is None where it cannot be known (a parameter, an expression); `default` returns the
    setting to what the session started with; `local` holds to the end of the transaction.
    """

    name: str
    values: tuple[str, ...] | None = None
    default: bool = False
    local: bool = False


class SessionRelation(Struct, frozen=True):
    """A relation that a session made or changed where the catalogue snapshot cannot see it.

    `columns` is None where they are not known; `reads` are what a view's query reads; `formerly`
    is the committed relation that this one is, under its name in the snapshot.
    """

    kind: str
    columns: tuple[str, ...] | None = None
    reads: tuple[Resource, ...] = ()
    formerly: Name | None = None
    until_commit: bool = False


class RelationChange(Struct, frozen=True):
    """A relation (`pg_temp` is a schema too) made, changed, or, where None, taken away."""

    name: Name
    relation: SessionRelation | None


class Change(Struct, frozen=True):
    """What a statement does to the session's own state, if it succeeds.

    `kind` is one of begin, commit, rollback, savepoint, release, rollback-to, set, reset-all,
    discard-all, discard-temp, prepare, deallocate, deallocate-all, declare, close, close-all,
    names (relations, functions, operators made or taken away), opaque (see there). Whatever the
    kind, `settings` are set first. `name` is the savepoint, prepared statement or cursor; `text`
    the whole PREPARE or DECLARE, `epoch` that of the catalogue that it was read with; `chain` is
    AND CHAIN; `hold` WITH HOLD.
    """

    kind: str
    name: str = ""
    text: str = ""
    epoch: str = ""
    chain: bool = False
    hold: bool = False
    settings: tuple[Setting, ...] = ()
    relations: tuple[RelationChange, ...] = ()
    functions: tuple[Name, ...] = ()
    operators: tuple[str, ...] = ()
    opaque: bool = False
    """Code ran (or will run) that may have set anything."""
    schemas: tuple[str, ...] = ()
    blurs: bool = False
    """Whole schemas or roles changed their names: nothing resolves until the transaction ends."""
    drops: bool = False
    """Something was dropped, and what depended on it may be gone as well."""


class CopyColumn(Struct, frozen=True):
    """One column of a COPY's rows. `origins` is empty where the value is computed.

    `behind` are those that it is computed from in a view, or generated from.
    """

    name: str
    type: str
    origins: frozenset[Origin]
    behind: frozenset[Origin] = frozenset()


class CopyOptions(Struct, frozen=True):
    """How the rows of a COPY are written. `format` is text, csv or binary."""

    format: str = "text"
    delimiter: str = "\t"
    null: str = "\\N"
    quote: str = '"'
    escape: str = '"'
    header: bool = False
    utf8: bool = True


class Statement(Struct, frozen=True):
    """One statement: what it does (`verb`, `effect`), to what (`resources`), and how (`facts`).

    `verb` is of `sql.verbs.VERBS`, `facts` of `sql.facts.FACTS`. `inner` are the verbs of what runs
    with it: what EXPLAIN, EXECUTE, FETCH or COPY hold, what WITH writes, what MERGE or ON CONFLICT
    may do. `text` is the statement's own slice of the client's text. `unresolved` are the names
    that the catalogue does not know:
    INVARIANT: with any of them the effect is UNKNOWN. `copy` is ``, `in` or `out`, for COPY that
    moves rows over the wire; `copy_columns` is None where they are not known.
    `transaction`: the statement itself begins or ends a transaction block, or runs in an aborted
    one. `touches_catalogue`: once it succeeded, the catalogue must be looked at again.
    """

    text: str
    verb: str
    effect: Effect
    resources: tuple[Resource, ...]
    facts: frozenset[str]
    fingerprint: bytes
    change: Change | None = None
    copy: str = ""
    copy_columns: tuple[CopyColumn, ...] | None = None
    copy_options: CopyOptions | None = None
    returns_rows: bool = False
    unresolved: tuple[str, ...] = ()
    touches_catalogue: bool = False
    doubtful: bool = False
    """It names something by IF EXISTS that the catalogue does not know: worth a newer one."""
    hides: frozenset[Name] = frozenset()
    stands_on: tuple[tuple[int, str], ...] = ()
    """The relations that its names mean, by oid, each view with its definition. INVARIANT: where
    this changed, the same text is another statement: no approval of the one is for the other."""
    calls: tuple[tuple[Name, str], ...] = ()
    """The users' functions that it calls, each with its version. INVARIANT: as of `stands_on`."""
    shared: bool = False
    """Any statement that differs from this one in its constants alone is understood as this one."""
    inner: tuple[str, ...] = ()
    reads: str = ""
    """The cursor that FETCH reads, or the prepared statement that EXECUTE runs."""
    runs: str = ""
    """The text that opened or prepared it; empty: not known."""
    assigned: frozenset[Origin] = frozenset()
    """The columns of tables that rows which are there already get new values in."""
    whole: bool = False
    """It shows all rows of one relation: nothing in it says which."""
    own: bool = False
    """It reads temporary relations that the session itself made, and what they have is known."""
    apart: tuple[Resource, ...] | None = None
    """Of a write with RETURNING: `resources`, where what that list alone exposes is not exposed."""
    positioned: bool = False
    """It works on the row that a cursor stands on."""

    @property
    def bound(self) -> bool:
        """Whether text, parameters and what names mean are all that it depends on, but for data."""
        unknown = bool(self.reads) and not self.runs
        return not unknown and not self.positioned and self.copy != "in"

    @property
    def transaction(self) -> bool:
        """Whether this is transaction control."""
        return self.change is not None and self.change.kind in _TRANSACTION


_TRANSACTION = frozenset({"begin", "commit", "rollback", "savepoint", "release", "rollback-to"})


class Classified(Struct, frozen=True):
    """A whole text. FAILS CLOSED: what cannot be understood is one statement of effect UNKNOWN.

    `needs` is `` or `catalogue` (a name did not resolve: refresh, then ask once more) or `parse`
    (too large for the loop's thread: `Classifier.prepare` it elsewhere, then ask once more). It is
    advice: the statements beside it are complete and may be decided as they are. `error` says in
    words why nothing was understood. An empty text has one statement with verb `empty`.
    """

    statements: tuple[Statement, ...]
    needs: str = ""
    error: str = ""
