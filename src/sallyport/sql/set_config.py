"""SELECT set_config(...): the two forms of it whose outcome can be told beforehand.

Everywhere else `Expressions` judges a call by the name that it sets, and what it leaves is unknown.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from sallyport.sql import tree
from sallyport.sql.draft import Draft
from sallyport.sql.session import ON, split_path
from sallyport.sql.statement import Change, Setting
from sallyport.sql.tree import Fields, Node

_LIST_ALONE: Final = frozenset({"targetList", "limitOption", "op"})
_ONE_TABLE: Final = _LIST_ALONE | {"fromClause", "whereClause"}
_CALL: Final = frozenset({"funcname", "args", "funcformat", "location"})
_NAMES: Final = (["set_config"], ["pg_catalog", "set_config"])


def plain(draft: Draft, fields: Fields) -> tuple[Setting, ...]:
    """Return what `SELECT set_config('name', 'value', local), ...` sets; empty for all else.

    INVARIANT: such a statement runs each call exactly once, in order: it has no other clause.
    """
    if not set(fields) <= _LIST_ALONE or fields.get("op", "SETOP_NONE") != "SETOP_NONE":
        return ()
    targets = tree.nodes(fields, "targetList")
    settings = [_setting(draft, tree.child(tree.body(node), "val")) for node in targets]
    known = tuple(setting for setting in settings if setting is not None)
    return known if len(known) == len(settings) else ()


def _setting(draft: Draft, node: Node | None) -> Setting | None:
    arguments = _arguments(node)
    if node is None or len(arguments) != 3 or not _is_builtin(draft, node):
        return None
    name, value = tree.text_literal(arguments[0]), tree.text_literal(arguments[1])
    local = tree.constant(arguments[2])
    if name is None or local is None:
        return None
    name = name.lower()
    if value is None:
        return Setting(name) if tree.tag(arguments[1]) == "ParamRef" else None
    values = split_path(value) if name == "search_path" else (value,)
    return Setting(name, values, local=local.lower() in ON)


def _arguments(node: Node | None) -> list[Node]:
    if node is None or tree.tag(node) != "FuncCall":
        return []
    fields = tree.body(node)
    if not set(fields) <= _CALL or tree.names(fields, "funcname") not in _NAMES:
        return []
    return tree.nodes(fields, "args")


def _is_builtin(draft: Draft, node: Node) -> bool:
    names = tree.names(tree.body(node), "funcname")
    functions, unseen = draft.names.functions(names[0] if len(names) > 1 else "", names[-1])
    return not unseen and [function.builtin for function in functions] == [True]


def pinned(draft: Draft, fields: Fields) -> Fields:
    """Return `SELECT set_config(name, ...) FROM pg_settings WHERE name = 'x'` with `x` for `name`.

    pg_dump asks like this for settings that older servers do not have. Only this closed form: one
    call, one relation that is the server's own, one condition by the server's own operator; then
    the call runs with that name or not at all. Anything else comes back as it is.
    """
    targets, items = tree.nodes(fields, "targetList"), tree.nodes(fields, "fromClause")
    if not set(fields) <= _ONE_TABLE or len(targets) != 1 or len(items) != 1:
        return fields
    target = tree.body(targets[0])
    call = tree.child(target, "val")
    arguments = _arguments(call)
    literal = _pin(draft, tree.child(fields, "whereClause"))
    if call is None or literal is None or len(arguments) != 3 or not _is_name(arguments[0]):
        return fields
    if not _is_pg_settings(draft, items[0]):
        return fields
    called = {**tree.body(call), "args": [literal, *arguments[1:]]}
    return {**fields, "targetList": [{"ResTarget": {**target, "val": {"FuncCall": called}}}]}


def _pin(draft: Draft, node: Node | None) -> Node | None:
    """Return the constant of `name = 'constant'`."""
    if node is None or tree.tag(node) != "A_Expr":
        return None
    fields = tree.body(node)
    left, right = tree.child(fields, "lexpr"), tree.child(fields, "rexpr")
    if fields.get("kind") != "AEXPR_OP" or tree.names(fields, "name") != ["="]:
        return None
    if left is None or right is None or not _is_name(left) or tree.tag(right) != "A_Const":
        return None
    if draft.names.operators("", "=") != ([], False) or tree.text_literal(right) is None:
        return None
    return right


def _is_name(node: Node) -> bool:
    return tree.tag(node) == "ColumnRef" and tree.names(tree.body(node), "fields") == ["name"]


def _is_pg_settings(draft: Draft, node: Node) -> bool:
    fields = tree.body(node)
    if tree.tag(node) != "RangeVar" or "alias" in fields:
        return False
    schema, database = tree.text(fields, "schemaname"), tree.text(fields, "catalogname")
    found = draft.names.relation(schema, tree.text(fields, "relname"), database)
    return found is not None and found.name == ("pg_catalog", "pg_settings") and not found.session


def undecided(draft: Draft) -> None:
    """Take back what a query sets for sure: it stands in a cursor, and runs later or never."""
    change = draft.change
    if change is not None and change.settings:
        draft.account.settings.extend(Setting(setting.name) for setting in change.settings)
        draft.change = None if change.kind == "set" else structs.replace(change, settings=())


def settle(draft: Draft) -> None:
    """Add what calls of set_config may have set to what the statement changes."""
    settings = tuple(draft.account.settings)
    if settings:
        change = draft.change or Change("set")
        draft.change = structs.replace(change, settings=(*change.settings, *settings))
