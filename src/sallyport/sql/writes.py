"""INSERT, UPDATE, DELETE and MERGE."""

from __future__ import annotations

from typing import Final

from sallyport.core.operation import Effect
from sallyport.sql import tree
from sallyport.sql.account import Output
from sallyport.sql.conditions import Condition
from sallyport.sql.names import Found
from sallyport.sql.query import Queries
from sallyport.sql.scope import Item, Scope, renamed
from sallyport.sql.settings import UNKNOWN_SETTINGS
from sallyport.sql.tree import Fields, Node


class Writes:
    """Walks the statements that write rows, on top of the queries they hold."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._expressions = queries.expressions
        queries.writers.update(
            InsertStmt=self.insert,
            UpdateStmt=self.update,
            DeleteStmt=self.delete,
            MergeStmt=self.merge,
        )

    def insert(self, fields: Fields, scope: Scope) -> list[Output]:
        """Walk an INSERT and return the columns of its RETURNING list."""
        scope.account.verbs.add("insert")
        self._queries.with_clause(fields, scope)
        source = tree.child(fields, "selectStmt")
        if source is not None:
            scope.expose(self._queries.query(source, scope))
        target = self._target(fields, scope)
        self.inserted(target, [tree.text(tree.body(n), "name") for n in tree.nodes(fields, "cols")])
        self._indirections(tree.nodes(fields, "cols"), scope)
        conflict = tree.struct(fields, "onConflictClause")
        if conflict:
            self._on_conflict(conflict, target, scope)
        return self._returning(fields, target, scope)

    def inserted(self, target: Item, names: list[str]) -> None:
        """Note the columns that new rows give; those under a key tell what is there already."""
        if target.touch is None:
            return
        relation = target.touch.found.relation
        catalogue = self._queries.account.names.catalogue
        for name in names or [output.name for output in target.everything()]:
            guarded = relation and catalogue and catalogue.is_guarded(relation, name)
            exposed = bool(guarded) or target.vague
            self._queries.account.column(target.touch, name, exposed=exposed)

    def _on_conflict(self, conflict: Fields, target: Item, scope: Scope) -> None:
        if tree.text(conflict, "action") != "ONCONFLICT_NOTHING":
            scope.account.verbs.add("update")
        infer = tree.struct(conflict, "infer")
        for node in tree.nodes(infer, "indexElems"):
            fields = tree.body(node)
            name = tree.text(fields, "name")
            if name:
                scope.expose(target.find(name))
            self._expressions.walk(tree.child(fields, "expr"), scope)
        self._expressions.walk(tree.child(infer, "whereClause"), scope)
        inner = Scope(scope.account, scope)
        inner.items.append(_twin(target, "excluded"))
        self._assign(tree.nodes(conflict, "targetList"), target, inner)
        self._expressions.walk(tree.child(conflict, "whereClause"), inner)

    def update(self, fields: Fields, scope: Scope) -> list[Output]:
        """Walk an UPDATE and return the columns of its RETURNING list."""
        scope.account.verbs.add("update")
        self._queries.with_clause(fields, scope)
        target = self._target(fields, scope)
        for node in tree.nodes(fields, "fromClause"):
            self._queries.from_item(node, scope)
        self._assign(tree.nodes(fields, "targetList"), target, scope)
        self._where(tree.child(fields, "whereClause"), target, scope)
        return self._returning(fields, target, scope)

    def delete(self, fields: Fields, scope: Scope) -> list[Output]:
        """Walk a DELETE and return the columns of its RETURNING list."""
        scope.account.verbs.add("delete")
        self._queries.with_clause(fields, scope)
        target = self._target(fields, scope)
        for node in tree.nodes(fields, "usingClause"):
            self._queries.from_item(node, scope)
        self._where(tree.child(fields, "whereClause"), target, scope)
        return self._returning(fields, target, scope)

    def merge(self, fields: Fields, scope: Scope) -> list[Output]:
        """Walk a MERGE and return the columns of its RETURNING list."""
        scope.account.verbs.add("merge")
        self._queries.with_clause(fields, scope)
        target = self._target(fields, scope)
        source = tree.child(fields, "sourceRelation")
        if source is not None:
            self._queries.from_item(source, scope)
        join = tree.child(fields, "joinCondition")
        self._expressions.walk(join, scope)
        judged = Condition(target, scope.account.effort)
        for node in tree.nodes(fields, "mergeWhenClauses"):
            clause = tree.body(node)
            condition = tree.child(clause, "condition")
            self._expressions.walk(condition, scope)
            command = tree.text(clause, "commandType")
            scope.account.verbs.update(_ACTIONS.get(command, ()))
            if command == "CMD_INSERT":
                names = [tree.text(tree.body(n), "name") for n in tree.nodes(clause, "targetList")]
                self.inserted(target, names)
            elif command == "CMD_UPDATE":
                self._assign(tree.nodes(clause, "targetList"), target, scope)
            self._expressions.walk_all(tree.nodes(clause, "values"), scope)
            by_source = tree.text(clause, "matchKind") == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE"
            joined = not by_source and judged.narrows(join)
            writes = command in ("CMD_UPDATE", "CMD_DELETE")
            if writes and not joined and not judged.narrows(condition):
                scope.account.facts.add("no-where")
            scope.account.reads_literals |= judged.reads_literals
        return self._returning(fields, target, scope)

    def _target(self, fields: Fields, scope: Scope) -> Item:
        relation = tree.struct(fields, "relation")
        item = self._queries.range_var(relation, scope, Effect.WRITE, ctes=False)
        if item.touch is not None and item.touch.found.name == ("pg_catalog", "pg_settings"):
            # Its rule turns an UPDATE into set_config, in a read-only transaction too.
            scope.account.facts.update(("set-config", "weakens-gate"))
            scope.account.settings.extend(UNKNOWN_SETTINGS)
        return item

    def _where(self, node: Node | None, target: Item, scope: Scope) -> None:
        self._expressions.walk(node, scope)
        condition = Condition(target, scope.account.effort)
        if not condition.narrows(node):
            scope.account.facts.add("no-where")
        scope.account.reads_literals |= condition.reads_literals

    def _assign(self, nodes: list[Node], target: Item, scope: Scope) -> None:
        for node in nodes:
            fields = tree.body(node)
            found = target.find(tree.text(fields, "name"))
            if not found and not target.loose:
                scope.account.unknown("column", tree.text(fields, "name"))
            scope.expose(found)
            self._tied(target, tree.text(fields, "name"))
            value = tree.child(fields, "val")
            if value is not None:
                self._expressions.walk(value, scope)
        self._indirections(nodes, scope)

    def _tied(self, target: Item, name: str) -> None:
        """Note what stands in one check or key with a changed column: that it fails tells of it."""
        account = self._queries.account
        catalogue = account.names.catalogue
        if target.touch is None or catalogue is None:
            return
        found = target.touch.found
        written = [(found.relation, name)]
        for read in found.session.reads if found.session is not None else ():
            schema, _, table = read.name.partition(".")  # of a view that the session made
            written += [(catalogue.relation((schema, table)), column) for column in read.columns]
        for relation, column in written:
            if relation is None:
                continue
            account.assigned |= catalogue.written(relation, column)
            for schema, table, other in catalogue.tied_to(relation, column):
                known = catalogue.relation((schema, table))
                if known is not None and known is found.relation:
                    account.column(target.touch, other, exposed=True)
                elif known is not None:
                    touch = account.touch(Found((schema, table), known.kind, known))
                    account.column(touch, other, exposed=True)

    def _indirections(self, nodes: list[Node], scope: Scope) -> None:
        for node in nodes:
            for part in tree.nodes(tree.body(node), "indirection"):
                if tree.tag(part) != "String":
                    self._expressions.walk(part, scope)

    def _returning(self, fields: Fields, target: Item, scope: Scope) -> list[Output]:
        clause = tree.struct(fields, "returningClause")
        nodes = tree.nodes(clause, "exprs") or tree.nodes(fields, "returningList")
        if not nodes:
            return []
        inner = Scope(scope.account, scope.parent)
        inner.queries = scope.queries
        inner.items = list(scope.items)
        rows = {"old": "old", "new": "new"}
        for option in tree.nodes(clause, "options"):
            body = tree.body(option)
            kind = "old" if tree.text(body, "option") == "RETURNING_OPTION_OLD" else "new"
            rows[kind] = tree.text(body, "value")
        taken = {item.alias for item in inner.items}
        twins = [_twin(target, alias) for alias in rows.values() if alias not in taken]
        for twin in twins:
            twin.hidden = True
        inner.items.extend(twins)
        if scope.parent is not None:
            return self._queries.targets(nodes, inner)
        scope.account.start_returning()
        outputs = self._queries.targets(nodes, inner)
        scope.account.end_returning()
        return outputs


_ACTIONS: Final = {
    "CMD_INSERT": ("insert",),
    "CMD_UPDATE": ("update",),
    "CMD_DELETE": ("delete",),
}


def _twin(target: Item, alias: str) -> Item:
    """Return the same relation's row under another name."""
    return Item(
        alias,
        renamed(target.outputs, ()),
        touch=target.touch,
        loose=target.loose,
        vague=target.vague,
    )
