"""RETURNING: what a write gives back, masked where it stands.

A write sees the table itself, so no subselect can stand in the table's place; nor must it, for
masks would be written as if they were data. Its RETURNING list is the one place where masked
columns are only read: each reference to one becomes the column's mask expression, `*` the columns
one by one, a row of the target taken whole a row of masked columns.

    UPDATE customers SET city = 'X' RETURNING upper(ssn)
    ->  UPDATE public.customers SET city = 'X' RETURNING upper(<mask of customers.ssn>)

INVARIANT: apart from the target, and tables directly beside it, relations with masked columns stand
in subselects of the list alone, behind their own masks. FAILS CLOSED: what cannot be resolved is
`Unfollowed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from sallyport.sql.names import Names
from sallyport.sql.rewriting.parse_tree import Message, forget_places, messages
from sallyport.sql.rewriting.pieces import quoted
from sallyport.sql.rewriting.walk import TABLES, Masked, Unfollowed, Walk, parsed
from sallyport.sql.scope import SYSTEM_COLUMNS

WRITES: Final = ("insert_stmt", "update_stmt", "delete_stmt", "merge_stmt")
"""The statements that have a RETURNING list."""

_BESIDE: Final = {"update_stmt": "from_clause", "delete_stmt": "using_clause"}
_OLD: Final = 1
"""RETURNING_OPTION_OLD."""
_LATERAL: Final = frozenset({"RangeSubselect", "RangeFunction", "RangeTableFunc", "JsonTable"})
"""What sees the FROM items before it: a subselect where it says so, a function always."""
_APART: Final = "write it by itself, and read what it changed with a SELECT"


def mask(node: Message, names: Names, walk: Walk) -> None:
    """Mask the RETURNING list of a write. Raises: Unfollowed."""
    kind = node.WhichOneof("node")
    write = getattr(node, kind)
    if not write.returning_clause.exprs:
        raise Unfollowed("it writes, and masked columns stand in it")
    scope = frozenset[str]()
    if write.HasField("with_clause"):
        scope = walk.with_clause(write.with_clause, scope)
    rows = _Rows(names, walk)
    target = rows.add(write.relation, frozenset(), target=True)
    beside = list(getattr(write, _BESIDE[kind])) if kind in _BESIDE else []
    if kind == "merge_stmt":
        beside.append(write.source_relation)
    for item in beside:
        if item.WhichOneof("node") == "range_var":
            rows.add(item.range_var, scope)
        else:
            rows.called.update(_called(item))
            walk.node(item, scope)
            rows.loose = True
    _see_apart(beside, rows)
    _walk_rest(write, walk, scope, kind)
    if walk.placed or walk.inlined:
        raise Unfollowed("masked columns stand in what it writes from", _APART)
    rows.add_versions(write.returning_clause.options, target)
    walk.placed.extend(
        row.masked for row in rows.named.values() if row.masked and row.kind != "version"
    )
    _List(rows, walk, scope).mask(write.returning_clause)


def _walk_rest(write: Message, walk: Walk, scope: frozenset[str], kind: str) -> None:
    """Write the schemas of all other relations; none of them may be masked."""
    done = {"relation", "with_clause", "returning_clause", "source_relation", _BESIDE.get(kind)}
    for field, value in write.ListFields():
        if field.message_type is None or field.name in done:
            continue
        for part in value if field.is_repeated else (value,):
            walk.any(part, scope)


def _called(item: Message) -> Iterator[str]:
    """Yield the names of the rows that a FROM item gives."""
    kind = item.WhichOneof("node")
    body = getattr(item, kind)
    if body.alias.aliasname:
        yield body.alias.aliasname
    elif kind == "join_expr":
        yield from _called(body.larg)
        yield from _called(body.rarg)
    elif kind == "range_var":
        yield body.relname


def _see_apart(beside: list[Message], rows: _Rows) -> None:
    """See that no FROM item takes masked columns from a table beside it: RETURNING would have them
    by the item's name, without masks.
    """
    for item in beside:
        for lateral in messages(item):
            kind = lateral.DESCRIPTOR.name
            if kind not in _LATERAL or (kind == "RangeSubselect" and not lateral.lateral):
                continue
            for column in _columns(lateral):
                if rows.may_hide(_path(column), kind="beside"):
                    name = ".".join(_path(column))
                    raise Unfollowed(f"what stands in FROM names `{name}`, which may be masked")


class _Row(NamedTuple):
    """What a name stands for whose columns RETURNING sees. `schema`: it can be named with it."""

    alias: str
    schema: str
    columns: tuple[str, ...]
    masked: Masked | None
    kind: str

    def mask_of(self, column: str) -> str:
        """Return the mask expression of a column; empty: it has none."""
        return "" if self.masked is None else self.masked.masks.expressions.get(column, "")


class _Rows:
    """The rows that a RETURNING list sees, by name. `loose`: there are more, without masks, and
    they are `called` so.
    """

    def __init__(self, names: Names, walk: Walk) -> None:
        self._names = names
        self._walk = walk
        self.named: dict[str, _Row] = {}
        self.loose = False
        self.called: set[str] = set()

    def add(self, place: Message, scope: frozenset[str], *, target: bool = False) -> _Row:
        """Add the target, or a relation beside it."""
        alias = place.alias.aliasname or place.relname
        if alias in self.named:
            raise Unfollowed(f"`{alias}` may mean two relations in it", "give each its own alias")
        if place.alias.colnames:
            raise Unfollowed("columns of what it writes from get other names", _APART)
        bare = not place.schemaname and place.relname in scope
        found = None if bare else self._names.relation(place.schemaname, place.relname)
        masked = self._walk.find(place, scope)
        columns: tuple[str, ...] = ()
        schema = ""
        if masked is not None:
            if masked.masks.inlined or masked.relation.kind not in TABLES:
                raise Unfollowed(f"`{alias}` is a {masked.relation.kind}", _APART)
            place.schemaname = masked.relation.schema
        if found is not None and found.relation is not None:
            columns = tuple(column.name for column in found.relation.columns)
            schema = "" if place.HasField("alias") else found.relation.schema
        elif not target:
            self.loose = True
        row = _Row(alias, schema, columns, masked, "target" if target else "beside")
        self.named[alias] = row
        return row

    def add_versions(self, options: Message, target: _Row) -> None:
        """Add the target's row as it was and as it is: `old` and `new`, or what the list says."""
        names = {name: name for name in ("old", "new") if name not in self.called}
        for option in options:
            given = option.returning_option
            names["old" if given.option == _OLD else "new"] = given.value
        for name in names.values():
            if name not in self.named:
                self.named[name] = target._replace(alias=name, schema="", kind="version")

    def with_column(self, name: str) -> list[_Row]:
        """Return the rows that a bare name may be a column of."""
        rows = [row for row in self.named.values() if row.kind != "version"]
        return [row for row in rows if name in row.columns]

    def may_hide(self, path: tuple[str, ...], kind: str = "") -> bool:
        """Whether a name in a subselect may mean a masked column, or a row that has some.

        `kind`: it sees rows of this kind alone.
        """
        name = path[-1]
        rows = [row for row in self.named.values() if row.masked and kind in ("", row.kind)]
        if len(path) == 1:
            return any(row.alias == name or row.mask_of(name) for row in rows)
        row = next((row for row in rows if row.alias == path[-2]), None)
        if row is None:
            return False
        shown = name in row.columns and not row.mask_of(name)
        return not shown and name not in SYSTEM_COLUMNS


class _List:
    """Masks one RETURNING list."""

    def __init__(self, rows: _Rows, walk: Walk, scope: frozenset[str]) -> None:
        self._rows = rows
        self._walk = walk
        self._scope = scope

    def mask(self, clause: Message) -> None:
        """Put masks in the place of masked columns; names and order of the columns stay."""
        given = [_copy(node) for node in clause.exprs]
        entries: list[Message] = []
        for node in given:
            value = node.res_target.val
            if value.WhichOneof("node") == "column_ref" and _path(value.column_ref)[-1] == "*":
                entries += self._every(value.column_ref, node)
            else:
                entries.append(node)
        for entry in entries:
            target = entry.res_target
            if _path(target.val.column_ref)[-1:] == ("*",):
                continue
            if not target.name:
                target.name = _shown_name(target.val)
            self._expression(target.val)
        clause.ClearField("exprs")
        clause.exprs.extend(entries)

    def _every(self, star: Message, entry: Message) -> list[Message]:
        """Return one entry for each column that a `*` means."""
        path = _path(star)
        if len(path) == 1:
            rows = [row for row in self._rows.named.values() if row.kind != "version"]
            if len(rows) > 1 or self._rows.loose:
                hint = f"name the columns, or write `{rows[0].alias}.*`"
                raise Unfollowed("`*` gives back columns of several relations", hint)
        else:
            known = self._row(path)
            if known is None:
                return [entry]
            rows = [known]
        if all(row.masked is None for row in rows):
            return [entry]
        entries: list[Message] = []
        for row in rows:
            for column in row.columns:
                one = type(entry)()
                _refer(one.res_target.val, row.alias, column)
                entries.append(one)
        return entries

    def _expression(self, node: Message) -> None:
        """Mask what an expression refers to."""
        kind = node.WhichOneof("node")
        if kind == "column_ref":
            self._column(node)
        elif kind == "select_stmt":
            self._subselect(node)
        elif kind == "a_indirection":
            self._part_of(node.a_indirection)
        elif kind == "xml_expr":
            self._elements(node.xml_expr)
        elif kind is not None:
            self._parts(getattr(node, kind))

    def _part_of(self, taken: Message) -> None:
        """Mask what a field or an element is taken of.

        A CASE in that place is written without the parentheses that it needs, a cast is with them.
        """
        named = taken.arg.WhichOneof("node") == "column_ref"
        self._parts(taken)
        if named and taken.arg.WhichOneof("node") == "case_expr":
            taken.arg.CopyFrom(_enclosed(taken.arg))

    def _elements(self, made: Message) -> None:
        """Mask what XML is made of; what is called like a column there stays so."""
        for part in made.named_args:
            target = part.res_target
            if not target.name and target.val.WhichOneof("node") == "column_ref":
                target.name = _path(target.val.column_ref)[-1]
        self._parts(made)

    def _parts(self, message: Message) -> None:
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            for part in value if field.is_repeated else (value,):
                if field.message_type.name == "Node":
                    self._expression(part)
                elif field.message_type.name in ("SelectStmt", "RangeVar"):
                    raise Unfollowed("a relation stands where it cannot be followed")
                else:
                    self._parts(part)

    def _column(self, node: Message) -> None:
        path = _path(node.column_ref)
        if path[-1] == "*":
            if len(path) == 1 or self._masked_row(path):
                raise Unfollowed("it takes a row of a table apart with `*`", "name the columns")
            return
        if len(path) == 1:
            self._bare(node, path[0])
            return
        row = self._row(path)
        if row is None or row.masked is None:
            return
        if row.mask_of(path[-1]):
            self._put(node, row, path[-1])
        elif path[-1] not in row.columns and path[-1] not in SYSTEM_COLUMNS:
            raise Unfollowed(f"`{row.alias}.{path[-1]}` is no column", "call the function by name")

    def _bare(self, node: Message, name: str) -> None:
        rows = self._rows.with_column(name)
        if rows:
            if any(row.mask_of(name) for row in rows):
                if len(rows) > 1:
                    raise Unfollowed(f"`{name}` may mean several columns", "name its table, too")
                self._put(node, rows[0], name)
            return
        row = None if name in SYSTEM_COLUMNS else self._rows.named.get(name)
        if row is not None and row.masked is not None:
            if self._rows.loose:
                raise Unfollowed(f"`{name}` may mean a column or a row", "name the columns")
            self._put_row(node, row)

    def _row(self, path: tuple[str, ...]) -> _Row | None:
        """Return what the table's name in `table.column` or `schema.table.column` stands for."""
        row = self._rows.named.get(path[-2])
        if row is None or len(path) == 2 or (len(path) == 3 and row.schema == path[0]):
            return row
        if row.masked is not None:
            raise Unfollowed("a column is named by more than its table", "give the table an alias")
        return None

    def _masked_row(self, path: tuple[str, ...]) -> bool:
        row = self._rows.named.get(path[-2])
        return row is not None and row.masked is not None

    def _put(self, node: Message, row: _Row, column: str) -> None:
        """Put a column's mask in its place."""
        text = row.mask_of(column)
        self._walk.spend(len(text))
        value = _copy(_mask(text))
        _make_room(value, row.alias)
        for message in list(messages(value)):
            if message.DESCRIPTOR.name == "ColumnRef" and _path(message) == (column,):
                message.fields[0].string.sval = row.alias
                message.fields.add().string.sval = column
        node.CopyFrom(value)

    def _put_row(self, node: Message, row: _Row) -> None:
        """Put a row of masked columns in the place of one that is taken whole."""
        if row.kind != "target" or row.masked is None:
            raise Unfollowed(f"the row `{row.alias}` is taken whole", "name the columns")
        relation = row.masked.relation
        fields = ", ".join(["NULL"] * len(row.columns))
        text = f"ROW({fields})::{quoted(relation.schema)}.{quoted(relation.name)}"
        node.CopyFrom(_mask(text))
        for column, part in zip(row.columns, node.type_cast.arg.row_expr.args, strict=True):
            _refer(part, row.alias, column)
            if row.mask_of(column):
                self._put(part, row, column)

    def _subselect(self, node: Message) -> None:
        """Mask what a subselect reads. What it sees of the write's own rows has no masked columns.

        A name in it may mean a column of its own; that of a masked column is not taken for one.
        """
        for column in _columns(node):
            path = _path(column)
            if self._rows.may_hide(path):
                raise Unfollowed(
                    f"a subselect in RETURNING names `{'.'.join(path)}`, which may be masked",
                    "read it with a SELECT of its own",
                )
        self._walk.node(node, self._scope)


def _columns(node: Message) -> Iterator[Message]:
    return (one for one in messages(node) if one.DESCRIPTOR.name == "ColumnRef")


def _path(column: Message) -> tuple[str, ...]:
    return tuple(part.string.sval if part.HasField("string") else "*" for part in column.fields)


def _copy(node: Message) -> Message:
    copied = type(node)()
    copied.CopyFrom(node)
    return copied


def _enclosed(case: Message) -> Message:
    """Return the cast that is all that the result of a mask's CASE is, around all of it."""
    result = case.case_expr.defresult
    if result.WhichOneof("node") != "type_cast":
        raise Unfollowed("a part of a masked value is taken", "take the value whole")
    cast = _copy(result)
    cast.type_cast.arg.CopyFrom(case)
    return cast


def _make_room(mask: Message, alias: str) -> None:
    """Rename what a mask itself calls like the row that it is to be of, and would hide inside."""
    named = {one.aliasname for one in messages(mask) if one.DESCRIPTOR.name == "Alias"}
    if alias not in named:
        return
    fresh = f"{alias}_"
    while fresh in named:
        fresh += "_"
    for message in messages(mask):
        if message.DESCRIPTOR.name == "Alias" and message.aliasname == alias:
            message.aliasname = fresh
        elif message.DESCRIPTOR.name == "ColumnRef" and _path(message)[0] == alias:
            message.fields[0].string.sval = fresh


def _refer(node: Message, alias: str, column: str) -> None:
    node.Clear()
    for name in (alias, column):
        node.column_ref.fields.add().string.sval = name


def _shown_name(node: Message) -> str:
    """Return the name that the server gives an entry that is a column at its core; else nothing:
    it is another part that gives the name, and that stays (`FigureColname` in parse_target.c).
    """
    while True:
        kind = node.WhichOneof("node")
        if kind == "column_ref":
            return _path(node.column_ref)[-1]
        if kind == "type_cast":
            node = node.type_cast.arg
        elif kind == "collate_clause":
            node = node.collate_clause.arg
        elif kind == "case_expr":
            node = node.case_expr.defresult
        elif kind == "a_indirection" and not any(
            part.HasField("string") for part in node.a_indirection.indirection
        ):
            node = node.a_indirection.arg
        else:
            return ""


@lru_cache(maxsize=256)
def _mask(text: str) -> Message:
    """Return the tree of an expression of ours, to be copied."""
    tree = parsed(f"SELECT {text}")
    statements = list(tree.stmts)
    targets = list(statements[0].stmt.select_stmt.target_list)
    if len(statements) != 1 or len(targets) != 1:
        raise Unfollowed("a mask of its columns is more than an expression")
    forget_places(tree)
    return targets[0].res_target.val
