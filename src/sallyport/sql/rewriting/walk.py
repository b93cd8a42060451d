"""The walk over one tree: every reference to a relation with masked columns gets its subselect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from sallyport.sql.catalogue import Relation
from sallyport.sql.names import Names
from sallyport.sql.rewriting import inlining, parse_tree
from sallyport.sql.rewriting.parse_tree import Message, forget_places, messages
from sallyport.sql.rewriting.pieces import quoted
from sallyport.sql.scope import SYSTEM_COLUMNS
from sallyport.sql.statement import Name

MAX_WRITTEN: Final = 64 * 1024
"""Most that all subselects of a rewriting may have in characters: each reference has its own."""

_COST_OF_VIEW: Final = 2000
"""What taking a view apart counts for, beside four times its definition, which is read first."""

_WRITES: Final = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
TABLES: Final = frozenset({"table", "partitioned-table"})
READ_TABLE: Final = "read the tables that it is made of"


class SourceMasks(NamedTuple):
    """The mask expression of each masked column of a relation; empty where it has none.

    `inlined`: it is a view with its rows by masked columns, and its query takes its place.
    """

    expressions: Mapping[str, str]
    inlined: bool = False


Hidden = Callable[[Relation], SourceMasks]


class Unfollowed(Exception):
    """What the statement does with masked columns cannot be followed. `hint`: what to write."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint or "write it without that, or leave the masked columns out"


class Masked(NamedTuple):
    """A relation with masked columns."""

    relation: Relation
    masks: SourceMasks

    @property
    def name(self) -> Name:
        """Its schema and name."""
        return self.relation.schema, self.relation.name

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are masked, in their order."""
        masks = self.masks.expressions
        return tuple(column.name for column in self.relation.columns if column.name in masks)


class Walk:
    """Walks one tree and changes it. `placed`: the relations that were replaced, one a place;
    `inlined`: the views whose queries stand in their place."""

    def __init__(self, names: Names, hidden: Hidden, tree: Message) -> None:
        self._names = names
        self._hidden = hidden
        self._known: dict[Name, Masked] = {}
        self.placed: list[Masked] = []
        self.inlined: set[Name] = set()
        self._depth = 0
        self._room = MAX_WRITTEN
        self._aliases: set[str] = set()
        self._bare: set[Name] = set()
        self._system: set[str] = set()
        star = False
        for message in messages(tree):
            kind = message.DESCRIPTOR.name
            if kind == "Alias":
                self._aliases.add(message.aliasname)
            elif kind == "RangeVar" and not message.HasField("alias"):
                self._bare.add((message.schemaname, message.relname))
            elif kind == "ColumnRef":
                last = message.fields[-1]
                star = star or last.HasField("a_star")
                if last.HasField("string") and last.string.sval in SYSTEM_COLUMNS:
                    self._system.add(last.string.sval)
        self._star = star

    def node(self, node: Message, scope: frozenset[str]) -> None:
        """Walk a node of any type; one that is a relation is replaced in its place."""
        kind = node.WhichOneof("node")
        if kind == "range_var":
            self._relation(node, scope)
        elif kind == "range_table_sample":
            self._sample(node.range_table_sample, scope)
        elif kind is not None:
            self._message(getattr(node, kind), scope)

    def any(self, message: Message, scope: frozenset[str]) -> None:
        """Walk a node, or a message that stands without one around it."""
        if message.DESCRIPTOR.name == "Node":
            self.node(message, scope)
        else:
            self._message(message, scope)

    def _message(self, message: Message, scope: frozenset[str]) -> None:
        kind = message.DESCRIPTOR.name
        if kind == "SelectStmt":
            self._select(message, scope)
        elif kind == "ColumnRef":
            self._column(message)
        elif kind in _WRITES:
            raise Unfollowed("it writes, and masked columns stand in it")
        elif kind == "RangeVar":
            raise Unfollowed("a relation stands where it cannot be followed")
        else:
            self._fields(message, scope)

    def _fields(self, message: Message, scope: frozenset[str], but: tuple[str, ...] = ()) -> None:
        for field, value in message.ListFields():
            if field.message_type is None or field.name in but:
                continue
            for part in value if field.is_repeated else (value,):
                if field.message_type.name == "Node":
                    self.node(part, scope)
                else:
                    self._message(part, scope)

    def _select(self, select: Message, scope: frozenset[str]) -> None:
        if select.HasField("into_clause"):
            raise Unfollowed("SELECT INTO would keep masked values as if they were data")
        others = (len(self.placed), len(self.inlined))
        if select.HasField("with_clause"):
            scope = self.with_clause(select.with_clause, scope)
        self._fields(select, scope, but=("with_clause", "locking_clause"))
        if select.locking_clause and others != (len(self.placed), len(self.inlined)):
            raise Unfollowed("rows with masked columns cannot be locked", "leave FOR UPDATE out")
        _depend(select, self._known)

    def with_clause(self, clause: Message, scope: frozenset[str]) -> frozenset[str]:
        """Walk WITH queries; return the names that the query itself sees.

        Without RECURSIVE a query sees those before it, with it all of them.
        """
        queries = [node.common_table_expr for node in clause.ctes]
        if clause.recursive:
            scope = scope | {query.ctename for query in queries}
        for query in queries:
            self._fields(query, scope)
            scope = scope | {query.ctename}
        return scope

    # --- relations

    def _relation(self, node: Message, scope: frozenset[str]) -> None:
        place = node.range_var
        masked = self.find(place, scope)
        if masked is None:
            return
        alias = place.alias.aliasname or place.relname
        columns = [name.string.sval for name in place.alias.colnames]
        if masked.masks.inlined:
            subselect = self._inline(masked, inherits=place.inh)
        else:
            text = _template(masked, self._exposed(masked.relation), only=not place.inh)
            self.spend(len(text))
            self.placed.append(masked)
            subselect = _subselect(text)
        node.Clear()
        node.range_subselect.subquery.CopyFrom(subselect)
        node.range_subselect.alias.aliasname = alias
        for name in columns:
            node.range_subselect.alias.colnames.add().string.sval = name

    def spend(self, size: int) -> None:
        """Take so many characters of what may be written. Raises: Unfollowed, at the end of it."""
        self._room -= size
        if self._room < 0:
            raise Unfollowed(
                "relations with masked columns stand in it too often, or have too many columns",
                "read each of them once, in a WITH query",
            )

    def _inline(self, masked: Masked, *, inherits: bool) -> Message:
        """Return the subselect that has a view's query in it, with every mask below it."""
        view = masked.relation
        self.spend(_COST_OF_VIEW + 4 * len(view.definition))  # it is read, too
        if not inherits or self._depth >= inlining.MAX_DEPTH:
            raise Unfollowed(f"the view `{view.name}` cannot be taken apart here", READ_TABLE)
        try:
            query = inlining.definition(view, self._names)
        except ValueError as error:
            raise Unfollowed(
                f"masked columns decide which rows the view `{view.name}` has, and {error}",
                READ_TABLE,
            ) from None
        self.inlined.add((view.schema, view.name))
        forget_places(query)
        self._depth += 1
        self.node(query, frozenset())
        self._depth -= 1
        text = f"SELECT {_columns(masked)} FROM (SELECT) AS {quoted(view.name)}"
        self.spend(len(text))
        subselect = type(query)()
        subselect.CopyFrom(_subselect(text))
        place = subselect.select_stmt.from_clause[0].range_subselect
        place.subquery.CopyFrom(query)
        for column in view.columns:
            place.alias.colnames.add().string.sval = column.name
        return subselect

    def _sample(self, sample: Message, scope: frozenset[str]) -> None:
        if sample.relation.WhichOneof("node") != "range_var":
            raise Unfollowed("what TABLESAMPLE is of cannot be followed")
        if self.find(sample.relation.range_var, scope) is not None:
            raise Unfollowed("rows of masked columns cannot be sampled", "leave TABLESAMPLE out")
        self._fields(sample, scope, but=("relation",))

    def find(self, place: Message, scope: frozenset[str]) -> Masked | None:
        """Return the masked relation that a place names; write the schema of any other there."""
        if not place.schemaname and not place.catalogname and place.relname in scope:
            return None
        if self._depth and not place.schemaname:
            place.schemaname = "pg_catalog"
        found = self._names.relation(place.schemaname, place.relname, place.catalogname)
        if found is None:
            raise Unfollowed(f"`{place.relname}` is not known")
        if found.behind:
            raise Unfollowed(f"`{place.relname}` may mean several relations")
        if found.session is not None:
            if (
                self._depth
                or found.session.formerly is not None
                or found.session.kind not in TABLES
            ):
                raise Unfollowed(f"`{place.relname}` was changed in this transaction")
            return None
        if found.relation is None:
            raise Unfollowed(f"`{place.relname}` is not known")
        relation = found.relation
        masks = self._hidden(relation)
        if not masks.expressions and not masks.inlined:
            place.schemaname = relation.schema
            return None
        return self._known.setdefault(found.name, Masked(relation, masks))

    def _exposed(self, relation: Relation) -> tuple[str, ...]:
        """Return the system columns that have to be seen through the subselect."""
        if not self._system or self._depth or relation.kind not in TABLES:
            return ()
        if self._star:
            raise Unfollowed(
                "`*` stands beside a system column of a table with masked columns",
                "name the columns that are needed",
            )
        return tuple(sorted(self._system))

    def _masks(self, relation: Relation) -> bool:
        masks = self._hidden(relation)
        return bool(masks.expressions) or masks.inlined

    # --- columns

    def _column(self, column: Message) -> None:
        """Take the schema from `schema.table.column`: the subselect has the table's name alone."""
        parts = [part.string.sval for part in column.fields if part.HasField("string")]
        if len(column.fields) < 3:
            return
        found = self._names.relation(parts[0], parts[1]) if len(parts) > 1 else None
        masked = found is not None and found.relation is not None and self._masks(found.relation)
        if len(column.fields) > 3 or (masked and self._is_shared(parts[1])):
            raise Unfollowed("a column is named by more than its table", "give the table an alias")
        if masked:
            del column.fields[0]

    def _is_shared(self, name: str) -> bool:
        """Whether a table's name alone may mean another row: an alias, another schema's table."""
        found = [self._names.relation(*one) for one in self._bare if one[1] == name]
        return name in self._aliases or len({one.name if one else None for one in found}) > 1


def _template(masked: Masked, system: Iterable[str], *, only: bool) -> str:
    """Return the text of the subselect that stands for a relation."""
    relation = masked.relation
    source = f"{'ONLY ' if only else ''}{quoted(relation.schema)}.{quoted(relation.name)}"
    return f"SELECT {', '.join([_columns(masked), *system])} FROM {source}"


def _columns(masked: Masked) -> str:
    """Return the select list that has every column of a relation, the masked ones as masks."""
    expressions = masked.masks.expressions
    return ", ".join(
        f"{expressions[column.name]} AS {quoted(column.name)}"
        if column.name in expressions
        else quoted(column.name)
        for column in masked.relation.columns
    )


@lru_cache(maxsize=256)
def _subselect(text: str) -> Message:
    """Return the tree of a subselect of ours, to be copied."""
    tree = parsed(text)
    if len(tree.stmts) != 1:
        raise Unfollowed("a mask of its columns is more than an expression")
    forget_places(tree)
    return tree.stmts[0].stmt


def _depend(select: Message, known: Mapping[Name, Masked]) -> None:
    """Group by what depends on a grouped primary key, too: a subselect hides that it is a key.

    GROUP BY of a whole key makes every column of its table usable; those that are used are added.
    """
    grouped = [
        _path(node.column_ref) for node in select.group_clause if node.HasField("column_ref")
    ]
    if not grouped or len(grouped) != len(select.group_clause):
        return
    used = [
        _path(message)
        for field in ("target_list", "sort_clause", "window_clause")
        for part in getattr(select, field)
        for message in messages(part)
        if message.DESCRIPTOR.name == "ColumnRef"
    ]
    used += [
        _path(message)
        for message in messages(select.having_clause)
        if message.DESCRIPTOR.name == "ColumnRef"
    ]
    for alias, masked in _direct(select.from_clause, known):
        keys = masked.relation.key
        if not keys or not all((alias, k) in grouped or (k,) in grouped for k in keys):
            continue
        own = {column.name for column in masked.relation.columns}
        for path in dict.fromkeys(used):
            if path[-1] in own and path[:-1] in ((), (alias,)) and path not in grouped:
                added = select.group_clause.add().column_ref
                for name in path:
                    added.fields.add().string.sval = name
                grouped.append(path)


def _direct(nodes: Iterable[Message], known: Mapping[Name, Masked]) -> Iterator[tuple[str, Masked]]:
    """Yield the masked relations among FROM items, by alias."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        kind = node.WhichOneof("node")
        if kind == "join_expr":
            pending += [node.join_expr.larg, node.join_expr.rarg]
        elif kind == "range_subselect":
            inner = node.range_subselect.subquery.select_stmt.from_clause
            if len(inner) == 1 and inner[0].WhichOneof("node") == "range_var":
                place = inner[0].range_var
                masked = known.get((place.schemaname, place.relname))
                if masked is not None:
                    yield node.range_subselect.alias.aliasname, masked


def _path(column: Message) -> tuple[str, ...]:
    return tuple(part.string.sval if part.HasField("string") else "*" for part in column.fields)


def parsed(text: str) -> Message:
    """Return the tree of a text. Raises: Unfollowed."""
    try:
        return parse_tree.parse(text)
    except ValueError as error:
        raise Unfollowed("its tree is nested too deeply to be rewritten") from error
