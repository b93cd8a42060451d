"""Queries: SELECT in all its forms, and what their columns are made of.

A query gives its output columns with their sources. Only a plain column of the outermost list may
stay unexposed: everything else (a predicate, an order, a set operation, a subselect's value)
exposes the columns that it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sallyport.core.operation import Effect
from sallyport.sql import tree
from sallyport.sql.account import Account, Output, Source, Touch
from sallyport.sql.effort import MAX_OUTPUTS, TooDeep
from sallyport.sql.expression import Expressions
from sallyport.sql.names import Found
from sallyport.sql.scope import Item, Scope, renamed
from sallyport.sql.tree import Fields, Node

MAX_DEPTH: Final = 60
"""Deepest nesting of queries that is followed."""


class Queries:
    """Walks the queries of one statement into an account."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.expressions = Expressions(self.query)
        self.writers: dict[str, Callable[[Fields, Scope], list[Output]]] = {}
        """How the statements that write are walked, by node type; `Writes` sets it."""
        self._depth = 0

    def query(self, node: Node, parent: Scope | None) -> list[Output]:
        """Walk a query (or a statement that writes, inside WITH) and return its columns.

        Raises: TooDeep.
        """
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TooDeep
        try:
            kind, fields = tree.tag(node), tree.body(node)
            scope = Scope(self.account, parent)
            if kind == "SelectStmt":
                return self._select(fields, scope)
            if kind in self.writers:
                return self.writers[kind](fields, scope)
            self.account.add("statement", kind or "?", Effect.UNKNOWN, "unparsed")
            return []
        finally:
            self._depth -= 1

    def _select(self, fields: Fields, scope: Scope) -> list[Output]:
        self.with_clause(fields, scope)
        if fields.get("op", "SETOP_NONE") != "SETOP_NONE":
            outputs = self._set_operation(fields, scope)
        elif "valuesLists" in fields:
            outputs = self._values(fields, scope)
        else:
            outputs = self._simple(fields, scope)
        self.order(tree.nodes(fields, "sortClause"), outputs, scope)
        for name in ("limitOffset", "limitCount"):
            self.expressions.walk(tree.child(fields, name), scope)
        self._locking(fields, scope)
        if into_clause(fields):
            scope.expose(outputs)
        return outputs

    def _set_operation(self, fields: Fields, scope: Scope) -> list[Output]:
        arms: list[Fields] = []
        stack = [fields]
        while stack:
            current = stack.pop()
            nested = current.get("op", "SETOP_NONE") != "SETOP_NONE"
            if current is not fields and (not nested or _has_own_clauses(current)):
                arms.append(current)
                continue
            stack.append(tree.struct(current, "rarg"))
            stack.append(tree.struct(current, "larg"))
        columns = [self.query({"SelectStmt": arm}, scope) for arm in arms]
        for outputs in columns:
            scope.expose(outputs)
        merged: list[Output] = []
        self.account.effort.spend(len(columns) * len(columns[0]))
        for position, first in enumerate(columns[0]):
            sources = frozenset[Source]().union(
                *(outputs[position].sources for outputs in columns if position < len(outputs))
            )
            merged.append(Output(first.name, sources, named=first.named))
        return merged

    def _values(self, fields: Fields, scope: Scope) -> list[Output]:
        rows = tree.nodes(fields, "valuesLists")
        self.expressions.walk_all(rows, scope)
        width = len(tree.nodes(tree.body(rows[0]), "items")) if rows else 0
        return [Output(f"column{number + 1}") for number in range(width)]

    def _simple(self, fields: Fields, scope: Scope) -> list[Output]:
        for node in tree.nodes(fields, "fromClause"):
            self.from_item(node, scope)
        outputs = self.targets(tree.nodes(fields, "targetList"), scope)
        for name in ("whereClause", "havingClause"):
            self.expressions.walk(tree.child(fields, name), scope)
        self._group(tree.nodes(fields, "groupClause"), outputs, scope)
        self.expressions.walk_all(tree.nodes(fields, "windowClause"), scope)
        if "distinctClause" in fields:
            distinct = tree.nodes(fields, "distinctClause")
            if distinct:
                self.order(distinct, outputs, scope)
            else:
                scope.expose(outputs)
        return outputs

    def targets(self, nodes: list[Node], scope: Scope) -> list[Output]:
        """Return the columns of a select list or RETURNING list."""
        outputs: list[Output] = []
        if len(nodes) > MAX_OUTPUTS:
            raise TooDeep
        for node in nodes:
            fields = tree.body(node)
            value = tree.child(fields, "val")
            if value is None:
                continue
            if is_star(value):
                found = self.expressions.reference(tree.body(value), scope) or []
                scope.record(found)
                outputs.extend(found)
                _bound(outputs)
                continue
            output = self.expressions.value(value, scope)
            name = tree.text(fields, "name")
            named = bool(name) or tree.tag(value) == "ColumnRef"
            name = name or column_name(value)
            outputs.append(Output(name, output.sources, output.plain, named))
        _bound(outputs)
        return outputs

    def order(self, nodes: list[Node], outputs: Sequence[Output], scope: Scope) -> None:
        """Walk ORDER BY or DISTINCT ON: a position or an output's name exposes that output."""
        for node in nodes:
            inner = tree.child(tree.body(node), "node") if tree.tag(node) == "SortBy" else node
            named = self._named(inner, outputs, scope)
            if named is None:
                self.expressions.walk(node, scope)
                continue
            scope.expose(named)
            self.expressions.operator(tree.names(tree.body(node), "useOp"), scope)

    def _group(self, nodes: list[Node], outputs: Sequence[Output], scope: Scope) -> None:
        pending = list(nodes)
        while pending:
            node = pending.pop()
            if tree.tag(node) == "GroupingSet":
                pending.extend(tree.nodes(tree.body(node), "content"))
                continue
            if tree.tag(node) == "RowExpr":
                pending.extend(tree.nodes(tree.body(node), "args"))
                continue
            named = self._named(node, outputs, scope)
            if named is None:
                self.expressions.walk(node, scope)
            else:
                scope.expose(named)

    def _named(
        self, node: Node | None, outputs: Sequence[Output], scope: Scope
    ) -> Sequence[Output] | None:
        """Return the outputs that an item means; a name counts as a column too, if it is one."""
        if node is None:
            return []
        self.account.effort.spend(1 + len(outputs))
        fields = tree.body(node)
        if tree.tag(node) == "A_Const" and "ival" in fields:
            self.account.reads_literals = True
            position = tree.number(tree.struct(fields, "ival"), "ival")
            if not all(output.named for output in outputs):
                return outputs
            return outputs[position - 1 : position]
        if tree.tag(node) != "ColumnRef":
            return None
        parts = tree.names(fields, "fields")
        found = [output for output in outputs if output.name == parts[0] and len(parts) == 1]
        if not found:
            return None
        return [*found, *(scope.column(parts[0]) or ())]

    def _locking(self, fields: Fields, scope: Scope) -> None:
        clauses = tree.nodes(fields, "lockingClause")
        if not clauses:
            return
        self.account.facts.add("lock")
        for clause in clauses:
            wanted = {
                tree.text(tree.body(n), "relname")
                for n in tree.nodes(tree.body(clause), "lockedRels")
            }
            for item in scope.items:
                if item.touch is not None and (not wanted or item.alias in wanted):
                    self.account.touch(item.touch.found, Effect.WRITE)
                elif item.touch is None and (not wanted or item.alias in wanted):
                    self._lock_sources(item)

    def _lock_sources(self, item: Item) -> None:
        for output in item.outputs:
            for touch, _ in output.sources:
                self.account.touch(touch.found, Effect.WRITE)

    def with_clause(self, fields: Fields, scope: Scope) -> None:
        """Walk the WITH queries of a statement and put their names in scope."""
        clause = tree.struct(fields, "withClause")
        recursive = tree.flag(clause, "recursive")
        queries = [tree.body(node) for node in tree.nodes(clause, "ctes")]
        if recursive:
            for query in queries:
                scope.queries[tree.text(query, "ctename")] = [Output("", named=False)]
        for query in queries:
            node = tree.child(query, "ctequery")
            if node is None:
                continue
            outputs = self.query(node, scope)
            if tree.tag(node) != "SelectStmt":
                self.account.facts.add("writable-cte")
            names = list(tree.names(query, "aliascolnames"))
            outputs = renamed(outputs, names)
            for extra in ("search_clause", "cycle_clause"):
                if extra in query:
                    scope.expose(outputs)
                    outputs = [*outputs, Output("", named=False)]
            if recursive:
                scope.expose(outputs)
            scope.queries[tree.text(query, "ctename")] = outputs

    def from_item(self, node: Node, scope: Scope) -> list[Item]:
        """Walk one FROM item and put it in scope."""
        kind, fields = tree.tag(node), tree.body(node)
        if kind == "RangeVar":
            return [self.range_var(fields, scope)]
        if kind == "JoinExpr":
            return self._join(fields, scope)
        if kind == "RangeSubselect":
            return [self._subselect(fields, scope)]
        if kind == "RangeFunction":
            return [self._function(fields, scope)]
        if kind == "RangeTableSample":
            return self._sample(fields, scope)
        if kind in ("RangeTableFunc", "JsonTable"):
            self.expressions.walk_fields({k: v for k, v in fields.items() if k != "alias"}, scope)
            return [self._put(scope, Item(_alias(fields), [], loose=True))]
        self.account.add("statement", kind or "?", Effect.UNKNOWN, "unparsed")
        return []

    def range_var(
        self, fields: Fields, scope: Scope, effect: Effect = Effect.READ, *, ctes: bool = True
    ) -> Item:
        """Put a relation, or a WITH query, in scope."""
        name, schema = tree.text(fields, "relname"), tree.text(fields, "schemaname")
        alias, names = _alias(fields) or name, _column_names(fields)
        if ctes and not schema:
            outputs = scope.query(name)
            if outputs is not None:
                loose = not all(output.named for output in outputs)
                return self._put(scope, Item(alias, renamed(outputs, names), loose=loose))
        found = self.find(fields)
        if found is None:
            return self._put(scope, Item(alias, [], loose=True))
        return self._put(scope, self.relation_item(found, alias, names, effect))

    def find(self, fields: Fields) -> Found | None:
        """Return the relation that a RangeVar names, noting it if none is known."""
        name, schema = tree.text(fields, "relname"), tree.text(fields, "schemaname")
        database = tree.text(fields, "catalogname")
        self.account.effort.spend(10)
        found = self.account.names.relation(schema, name, database)
        if found is None:
            self.account.unknown("table", f"{schema}.{name}" if schema else name)
        elif not schema:
            self.account.hides |= self.account.names.hidden(found)
        return found

    def relation_item(
        self, found: Found, alias: str, names: Sequence[str] = (), effect: Effect = Effect.READ
    ) -> Item:
        """Return the FROM item of a relation, noting its touch."""
        touch = self.account.touch(found, effect)
        columns = relation_columns(found)
        self.account.effort.spend(len(columns or ()))
        return Item(
            alias,
            renamed(_outputs(touch, columns or ()), names),
            touch=touch,
            schema=found.name[0],
            vague=columns is None,
        )

    def _put(self, scope: Scope, item: Item) -> Item:
        scope.items.append(item)
        return item

    def _subselect(self, fields: Fields, scope: Scope) -> Item:
        node = tree.child(fields, "subquery") or {}
        parent = scope if tree.flag(fields, "lateral") else _around(scope)
        outputs = renamed(self.query(node, parent), _column_names(fields))
        return self._put(scope, Item(_alias(fields), outputs))

    def _function(self, fields: Fields, scope: Scope) -> Item:
        for entry in tree.nodes(fields, "functions"):
            self.expressions.walk(entry, scope)
        for definition in tree.nodes(fields, "coldeflist"):
            self.expressions.type(tree.struct(tree.body(definition), "typeName"), scope)
        named = [tree.text(tree.body(n), "colname") for n in tree.nodes(fields, "coldeflist")]
        names = [*_column_names(fields), *named]
        alias = _alias(fields)
        outputs = [Output(name) for name in names]
        if alias and not names:
            outputs.append(Output(alias))
        return self._put(scope, Item(alias, outputs, loose=True))

    def _sample(self, fields: Fields, scope: Scope) -> list[Item]:
        method = tree.names(fields, "method")
        if method not in (["bernoulli"], ["system"]):
            self.account.unknown("function", ".".join(method))
        self.expressions.walk_all(tree.nodes(fields, "args"), scope)
        self.expressions.walk(tree.child(fields, "repeatable"), scope)
        relation = tree.child(fields, "relation")
        return self.from_item(relation, scope) if relation else []

    def _join(self, fields: Fields, scope: Scope) -> list[Item]:
        chain = [fields]
        while True:
            left = tree.child(chain[-1], "larg")
            if left is None or tree.tag(left) != "JoinExpr":
                break
            chain.append(tree.body(left))
        items = self.from_item(left, scope) if left else []
        for join in reversed(chain):
            right = tree.child(join, "rarg")
            others = self.from_item(right, scope) if right else []
            items = self._joined(join, items, others, scope)
        return items

    def _joined(
        self, join: Fields, left: list[Item], right: list[Item], scope: Scope
    ) -> list[Item]:
        shared = tree.names(join, "usingClause")
        if tree.flag(join, "isNatural"):
            self.account.effort.spend(sum(1 + len(item.outputs) for item in (*left, *right)))
            names = {output.name for item in left for output in item.everything()}
            both = {o.name for i in right for o in i.everything()} & names
            shared = sorted(both)
            if any(item.vague for item in (*left, *right)):
                scope.expose([o for i in (*left, *right) for o in i.everything()])
        merged: list[Output] = []
        if shared:
            self.expressions.operator(["="], scope)
        for name in shared:
            self.account.effort.spend(len(left) + len(right))
            found = [output for item in (*left, *right) for output in item.find(name)]
            scope.expose(found)
            sources = frozenset[Source]().union(*(output.sources for output in found))
            merged.append(Output(name, sources))
        self.expressions.walk(tree.child(join, "quals"), scope)
        items = [*left, *right]
        using = tree.struct(join, "join_using_alias")
        if using:
            self._put(scope, Item(tree.text(using, "aliasname"), merged)).hidden = True
        alias = tree.struct(join, "alias")
        if not alias:
            return items
        self.account.effort.spend(sum(1 + len(item.outputs) for item in items))
        merging = set(shared)
        outputs = [*merged, *(o for i in items for o in i.everything() if o.name not in merging)]
        loose = any(item.loose for item in items)
        for item in items:
            item.hidden, item.alias = True, ""
        outer = Item(tree.text(alias, "aliasname"), renamed(outputs, tree.names(alias, "colnames")))
        outer.loose = outer.loose or loose
        return [self._put(scope, outer)]


def into_clause(fields: Fields) -> Fields:
    """Return the INTO of a SELECT; empty if it has none.

    The grammar leaves it in the first arm of a set operation, and it counts for the whole.
    """
    while fields.get("op", "SETOP_NONE") != "SETOP_NONE":
        fields = tree.struct(fields, "larg")
    return tree.struct(fields, "intoClause")


def relation_columns(found: Found) -> tuple[str, ...] | None:
    """Return the names of a relation's columns; None if they are not known."""
    if found.session is not None:
        return found.session.columns
    return tuple(column.name for column in found.relation.columns) if found.relation else None


def _outputs(touch: Touch, columns: Sequence[str]) -> list[Output]:
    return [Output(name, frozenset({(touch, name)}), plain=True) for name in columns]


def _around(scope: Scope) -> Scope:
    """Return what a subselect in FROM sees without LATERAL: WITH queries, and queries around."""
    around = Scope(scope.account, scope.parent)
    around.queries = scope.queries
    return around


def _alias(fields: Fields) -> str:
    return tree.text(tree.struct(fields, "alias"), "aliasname")


def _column_names(fields: Fields) -> list[str]:
    return tree.names(tree.struct(fields, "alias"), "colnames")


def _bound(outputs: list[Output]) -> None:
    if len(outputs) > MAX_OUTPUTS:
        raise TooDeep


def is_star(node: Node) -> bool:
    """Return whether a select list's entry is `*` or `t.*`."""
    if tree.tag(node) != "ColumnRef":
        return False
    parts = tree.nodes(tree.body(node), "fields")
    return bool(parts) and tree.tag(parts[-1]) == "A_Star"


def column_name(node: Node) -> str:
    """Return the name that the server gives a column reference or a plain call."""
    fields = tree.body(node)
    names = tree.names(fields, "fields" if tree.tag(node) == "ColumnRef" else "funcname")
    return names[-1] if names else "?column?"


def _has_own_clauses(fields: Fields) -> bool:
    return any(
        name in fields
        for name in ("withClause", "sortClause", "limitCount", "limitOffset", "lockingClause")
    )
