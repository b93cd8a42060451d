"""Expressions: which columns they use and what they run.

An expression's columns all count as exposed: whoever sees its value learns of theirs. The walk
keeps its own stack, so that a long chain of operators needs no recursion; only a subselect
recurses, up to a limit.

FAILS CLOSED: a node type that is not listed here makes the statement UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sallyport.core.operation import Effect
from sallyport.sql import tree
from sallyport.sql.account import Output, Source
from sallyport.sql.functions import SECRET_SETTINGS
from sallyport.sql.scope import Scope
from sallyport.sql.settings import UNKNOWN_SETTINGS, judge_setting
from sallyport.sql.statement import Setting
from sallyport.sql.tree import Fields, Node

Subquery = Callable[[Node, Scope], list[Output]]
"""Walks a query inside an expression and returns its columns."""

_PLAIN: Final = frozenset(
    {
        "A_ArrayExpr", "A_Const", "A_Indices", "A_Star", "BoolExpr", "BooleanTest", "Boolean",
        "BitString", "CaseWhen", "CoalesceExpr", "Float", "GroupingFunc",
        "GroupingSet", "Integer", "JsonAggConstructor", "JsonArgument", "JsonArrayAgg",
        "JsonArrayConstructor", "JsonBehavior", "JsonFormat", "JsonFuncExpr", "JsonIsPredicate",
        "JsonKeyValue", "JsonObjectAgg", "JsonObjectConstructor", "JsonOutput", "JsonParseExpr",
        "JsonReturning", "JsonScalarExpr", "JsonSerializeExpr", "JsonTable", "JsonTableColumn",
        "JsonTablePathSpec", "JsonValueExpr", "List", "MergeSupportFunc", "MinMaxExpr",
        "MultiAssignRef", "NamedArgExpr", "NullTest", "ParamRef", "RangeTableFuncCol", "ResTarget",
        "RowExpr", "SQLValueFunction", "SetToDefault", "String", "WindowDef", "XmlExpr",
        "XmlSerialize", "CollateClause", "RangeTableFunc",
    }
)  # fmt: skip
"""Node types of which only the parts matter."""


class Expressions:
    """Walks expressions of one statement. `subquery` walks what stands in parentheses."""

    def __init__(self, subquery: Subquery) -> None:
        self._subquery = subquery
        self._special: Final = {
            "ColumnRef": self._column,
            "FuncCall": self._call,
            "A_Expr": self._operator,
            "CaseExpr": self._case,
            "TypeCast": self._cast,
            "SubLink": self._sublink,
            "A_Indirection": self._indirection,
            "JsonArrayQueryConstructor": self._json_query,
            "SortBy": self._sort,
            "CurrentOfExpr": self._current_of,
            "ColumnDef": self._definition,
        }

    def walk(self, node: Node | None, scope: Scope) -> None:
        """Note everything that an expression touches."""
        if node:
            self._run([node], scope)

    def walk_all(self, nodes: list[Node], scope: Scope) -> None:
        """Note everything that several expressions touch."""
        self._run(list(reversed(nodes)), scope)

    def walk_fields(self, fields: Fields, scope: Scope) -> None:
        """Note everything that the parts of a node touch."""
        stack: list[Node] = []
        self._push_parts(fields, stack, scope)
        self._run(stack, scope)

    def value(self, node: Node, scope: Scope) -> Output:
        """Return the column that an expression of a select list makes, without its name."""
        if tree.tag(node) == "ColumnRef":
            found = self.reference(tree.body(node), scope)
            if found is not None:
                scope.record(found)
                sources = frozenset[Source]().union(*(output.sources for output in found))
                plain = len(found) == 1 and found[0].plain
                if not plain:
                    scope.account.expose(sources)
                return Output("", sources, plain=plain)
            return Output("")
        log = scope.account.start_log()
        self.walk(node, scope)
        scope.account.end_log()
        return Output("", frozenset(log))

    def _run(self, stack: list[Node], scope: Scope) -> None:
        while stack:
            node = stack.pop()
            kind, fields = tree.tag(node), tree.body(node)
            special = self._special.get(kind)
            if kind != "A_Const":
                scope.account.effort.spend(1)
            if special is not None:
                special(fields, stack, scope)
            elif kind in _PLAIN:
                if kind != "A_Const":
                    self._push_parts(fields, stack, scope)
            elif kind in ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
                scope.expose(self._subquery(node, scope))
            else:
                scope.account.add("statement", kind or "?", Effect.UNKNOWN, "unparsed")

    def _push_parts(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        for name, value in fields.items():
            if isinstance(value, list):
                stack.extend(tree.nodes(fields, name))
            elif isinstance(value, dict) and value:
                self._push_part(name, tree.struct(fields, name), stack, scope)

    def _push_part(self, name: str, part: Fields, stack: list[Node], scope: Scope) -> None:
        if name in ("typeName", "type_name") or ("typemod" in part and "names" in part):
            self.type(part, scope)
            return
        key = next(iter(part))
        if len(part) == 1 and key[:1].isupper():
            stack.append({key: tree.struct(part, key)})
        else:
            self._push_parts(part, stack, scope)

    def _column(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        found = self.reference(fields, scope)
        if found is not None:
            scope.expose(found)

    def reference(self, fields: Fields, scope: Scope) -> list[Output] | None:
        """Return the columns that a reference means; None where it does not resolve."""
        parts = tree.names(fields, "fields")
        if parts[-1] == "*":
            return self._star(parts, scope)
        if len(parts) == 1:
            found = scope.column(parts[0])
        elif len(parts) > 4:
            found = None
        else:
            *path, alias, name = parts
            schema = path[-1] if path else ""
            found = scope.qualified(schema, alias, name)
            if found is None and not path:
                found = self._whole_row_call(alias, name, scope)
            elif not any(item.has(name) for item in scope.aliased(schema, alias) or ()):
                self._attribute(name, scope)  # no column that is known: maybe a call after all
        if found is None:
            scope.account.unknown("column", ".".join(parts))
        return found

    def _star(self, parts: list[str], scope: Scope) -> list[Output] | None:
        if len(parts) == 1:
            return scope.everything()
        items = scope.aliased(parts[-3] if len(parts) > 2 else "", parts[-2])
        if items is None:
            scope.account.unknown("table", ".".join(parts[:-1]))
            return None
        return [output for item in items for output in item.everything()]

    def _whole_row_call(self, alias: str, name: str, scope: Scope) -> list[Output] | None:
        """Return `alias.name` as the call `name(alias)`, which it is if no column has that name."""
        items = scope.aliased("", alias)
        if items is None:
            return None
        functions, unseen = scope.account.names.functions("", name)
        if not functions and not unseen:
            return None
        self._functions("", name, scope)
        return [
            Output(output.name, output.sources) for item in items for output in item.everything()
        ]

    def _call(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        names = tree.names(fields, "funcname")
        arguments = tree.nodes(fields, "args")
        schema = names[-2] if len(names) > 1 else ""
        if len(names) > 3 or (len(names) == 3 and names[0] != scope.account.names.state.database):
            scope.account.unknown("function", ".".join(names))
        elif names[-1] == "current_setting" and schema in ("", "pg_catalog"):
            self._setting(arguments, scope)
        elif names[-1] == "set_config" and schema in ("", "pg_catalog"):
            self._set_config(schema, arguments, scope)
        elif self._functions(schema, names[-1], scope, cast=len(arguments) == 1):
            self._sequence(names[-1], arguments, scope)
        self._push_parts({k: v for k, v in fields.items() if k != "funcname"}, stack, scope)

    def _functions(self, schema: str, name: str, scope: Scope, *, cast: bool = False) -> bool:
        account = scope.account
        account.effort.spend(5)
        functions, unseen = account.names.functions(schema, name)
        type_ = account.names.type(schema, name) if cast else None
        if type_ is not None:
            self._casts(type_, scope)  # `type(value)` is a conversion where no function fits
            if not functions and not unseen:
                return False
        if unseen or not functions:
            full = f"{schema}.{name}" if schema else name
            account.unknown("function", full)
        for function in functions:
            account.call(function)
        return bool(functions)

    def _setting(self, arguments: list[Node], scope: Scope) -> None:
        scope.account.reads_literals = True
        name = tree.text_literal(arguments[0]) if arguments else None
        functions, unseen = scope.account.names.functions("", "current_setting")
        if name is None or unseen or any(not function.builtin for function in functions):
            self._functions("", "current_setting", scope)
            return
        show_setting(name, scope)

    def _set_config(self, schema: str, arguments: list[Node], scope: Scope) -> None:
        """Judge a call of set_config by the name that it sets.

        FAILS CLOSED: the call may run or not, or often, so that what it leaves is not known; where
        the name cannot be read, it may be any.
        """
        account = scope.account
        account.reads_literals = True
        functions, unseen = account.names.functions(schema, "set_config")
        name = tree.text_literal(arguments[0]) if len(arguments) == 3 else None
        if name is None or unseen or [function.builtin for function in functions] != [True]:
            self._functions(schema, "set_config", scope)
            account.facts.add("weakens-gate")
            account.settings.extend(UNKNOWN_SETTINGS)
            return
        value = tree.text_literal(arguments[1])
        judged = judge_setting(name.lower(), None if value is None else (value,))
        account.add("setting", name.lower(), judged.effect, *judged.facts)
        account.settings.append(Setting(name.lower()))

    def _sequence(self, name: str, arguments: list[Node], scope: Scope) -> None:
        if name not in ("nextval", "setval", "currval") or not arguments:
            return
        scope.account.reads_literals = True
        text = tree.text_literal(arguments[0], "regclass")
        effect = Effect.READ if name == "currval" else Effect.WRITE
        parts = None if text is None else split_name(text)
        if parts is None:
            return
        schema = parts[-2] if len(parts) > 1 else ""
        found = scope.account.names.relation(schema, parts[-1])
        if found is None:
            scope.account.unknown("sequence", text or "")
        else:
            scope.account.touch(found, effect)

    def _operator(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        names = tree.names(fields, "name")
        for name in _BETWEEN if "BETWEEN" in tree.text(fields, "kind") else ():
            self.operator([name], scope)
        self.operator(names, scope)
        for side in ("rexpr", "lexpr"):
            node = tree.child(fields, side)
            if node:
                stack.append(node)

    def _case(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        if "arg" in fields:
            self.operator(["="], scope)
        self._push_parts(fields, stack, scope)

    def operator(self, names: list[str], scope: Scope) -> None:
        """Note what an operator may run."""
        if not names:
            return
        schema = names[-2] if len(names) > 1 else ""
        functions, unseen = scope.account.names.operators(schema, names[-1])
        if unseen:
            scope.account.unknown("operator", ".".join(names))
        for function in functions:
            scope.account.call_named(function)

    def _cast(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        node = tree.child(fields, "arg")
        self.type(tree.struct(fields, "typeName"), scope, value=node)
        if node:
            stack.append(node)

    def type(self, fields: Fields, scope: Scope, *, value: Node | None = None) -> None:
        """Note what a conversion (of `value`) to a type may run."""
        names = tree.names(fields, "names")
        if not names:
            return
        schema = names[-2] if len(names) > 1 else ""
        if schema == "pg_catalog" and not self._has_casts(scope):
            return
        if tree.flag(fields, "pct_type"):
            return
        full = scope.account.names.type(schema, names[-1])
        if full is None:
            if names[-1] not in _SERIAL:
                scope.account.unknown("type", ".".join(names))
            return
        self._casts(full, scope, value=value)

    def _has_casts(self, scope: Scope) -> bool:
        catalogue = scope.account.names.catalogue
        return catalogue is not None and bool(catalogue.raw.casts)

    def _casts(self, full: str, scope: Scope, *, value: Node | None = None) -> None:
        """Note what runs where `value` becomes `full`, and what may run with a value of that."""
        catalogue = scope.account.names.catalogue
        if catalogue is None or not catalogue.raw.casts:
            return
        casts = catalogue.casts_around(full)
        if value is None or not _is_read(value):
            casts += catalogue.casts_to(full)
        for cast in casts:
            scope.account.call_named(cast.function)

    def _sublink(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        query = tree.child(fields, "subselect")
        if query:
            scope.expose(self._subquery(query, scope))
        any_of = tree.text(fields, "subLinkType") == "ANY_SUBLINK"
        self.operator(tree.names(fields, "operName") or ["="] * any_of, scope)
        node = tree.child(fields, "testexpr")
        if node:
            stack.append(node)

    def _json_query(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        query = tree.child(fields, "query")
        if query:
            scope.expose(self._subquery(query, scope))
        self._push_parts({k: v for k, v in fields.items() if k != "query"}, stack, scope)

    def _indirection(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        node = tree.child(fields, "arg")
        if node:
            stack.append(node)
        for part in tree.nodes(fields, "indirection"):
            if tree.tag(part) == "String":
                self._attribute(tree.text(tree.body(part), "sval"), scope)
            else:
                stack.append(part)

    def _attribute(self, name: str, scope: Scope) -> None:
        """Note `(expression).name`: a field, or the function of that name, or that type's cast."""
        functions, _ = scope.account.names.functions("", name)
        for function in functions:
            scope.account.call(function)
        if self._has_casts(scope):
            type_ = scope.account.names.type("", name)
            if type_ is not None:
                self._casts(type_, scope)
        if scope.account.names.blind:
            scope.account.unknown("function", name)

    def _sort(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        self.operator(tree.names(fields, "useOp"), scope)
        node = tree.child(fields, "node")
        if node:
            stack.append(node)

    def _definition(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        """Note the type in `AS t (column type)`."""
        self.type(tree.struct(fields, "typeName"), scope)

    def _current_of(self, fields: Fields, stack: list[Node], scope: Scope) -> None:
        name = tree.text(fields, "cursor_name")
        scope.account.positioned = True
        scope.account.add("cursor", name or "?", Effect.READ, "cursor")


_BETWEEN: Final = (">=", "<=", ">", "<")


def _is_read(value: Node) -> bool:
    """Whether a type reads this constant, rather than that its own type's value is converted."""
    fields = tree.body(value)
    return tree.tag(value) == "A_Const" and ("sval" in fields or tree.flag(fields, "isnull"))


_SERIAL: Final = frozenset({"serial", "serial2", "serial4", "serial8", "bigserial", "smallserial"})


def show_setting(name: str, scope: Scope) -> None:
    """Note that a setting's value is read."""
    facts = ("secret-catalog",) if name.lower() in SECRET_SETTINGS else ()
    scope.account.add("setting", name.lower(), Effect.READ, *facts)


def split_name(text: str) -> list[str] | None:
    """Return the parts of a name in a string, as `regclass` reads it; None if it is none."""
    parts: list[str] = []
    rest = text.strip()
    while rest:
        if rest.startswith('"'):
            end = rest.find('"', 1)
            if end < 0 or rest[end + 1 : end + 2] == '"':
                return None
            parts.append(rest[1:end])
            rest = rest[end + 1 :]
        else:
            head, _, _ = rest.partition(".")
            parts.append(head.strip().lower())
            rest = rest[len(head) :]
        if rest and not rest.startswith("."):
            return None
        rest = rest[1:]
    return parts or None
