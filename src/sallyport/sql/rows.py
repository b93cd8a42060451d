"""Statements about rows: SELECT, the four that write, COPY, EXPLAIN, TRUNCATE, LOCK."""

from __future__ import annotations

from typing import Final

from sallyport.core.operation import Effect
from sallyport.sql import tree
from sallyport.sql.account import Output
from sallyport.sql.draft import Draft
from sallyport.sql.names import TEMPORARY
from sallyport.sql.query import relation_columns
from sallyport.sql.session import ON, split_path
from sallyport.sql.settings import judge_setting
from sallyport.sql.statement import (
    Change,
    CopyColumn,
    CopyOptions,
    Origin,
    RelationChange,
    SessionRelation,
    Setting,
)
from sallyport.sql.tree import Fields, Node

_VERBS: Final = {
    "SelectStmt": "select",
    "InsertStmt": "insert",
    "UpdateStmt": "update",
    "DeleteStmt": "delete",
    "MergeStmt": "merge",
}


def query(draft: Draft, kind: str, fields: Fields) -> list[Output]:
    """SELECT, INSERT, UPDATE, DELETE or MERGE."""
    if kind == "SelectStmt" and _is_set_config(draft, fields):
        return []
    draft.verb = _VERBS[kind]
    outputs = draft.query({kind: fields})
    if "intoClause" in fields:
        draft.verb = "select-into"
        draft.facts("select-into")
        into = tree.struct(fields, "intoClause")
        make_relation(draft, tree.struct(into, "rel"), "table", outputs, into)
        draft.returns_rows = False
    return outputs


def _is_set_config(draft: Draft, fields: Fields) -> bool:
    """Take `SELECT set_config('name', 'value', local), ...` for the SET that it is.

    So it does where the name is a column of pg_settings that WHERE pins to one name.
    """
    if any(name in fields for name in ("withClause", "intoClause", "valuesLists")):
        return False
    if fields.get("op", "SETOP_NONE") != "SETOP_NONE":
        return False
    pinned = _pinned(draft, fields)
    if pinned is None:
        return False
    calls = [tree.child(tree.body(node), "val") for node in tree.nodes(fields, "targetList")]
    settings = [_set_config(draft, call, pinned) for call in calls]
    if not settings or None in settings:
        return False
    draft.verb = "set"
    draft.returns_rows = True
    known = tuple(setting for setting in settings if setting is not None)
    for setting in known:
        judged = judge_setting(setting.name, setting.values)
        draft.add("setting", setting.name, judged.effect, *judged.facts)
    draft.change = Change("set", settings=known)
    return True


def _pinned(draft: Draft, fields: Fields) -> str | None:
    """Return the name that `FROM pg_settings WHERE name = '...'` pins; empty without FROM."""
    sources, where = tree.nodes(fields, "fromClause"), tree.child(fields, "whereClause")
    if not sources and where is None:
        return ""
    if len(sources) != 1 or tree.tag(sources[0]) != "RangeVar" or where is None:
        return None
    source, condition = tree.body(sources[0]), tree.body(where)
    found = draft.names.relation(tree.text(source, "schemaname"), tree.text(source, "relname"))
    if found is None or found.name != ("pg_catalog", "pg_settings"):
        return None
    left, right = tree.child(condition, "lexpr"), tree.child(condition, "rexpr")
    if tree.text(condition, "kind") != "AEXPR_OP" or tree.names(condition, "name") != ["="]:
        return None
    if not _is_name(left) or right is None or tree.tag(right) != "A_Const":
        return None
    value = tree.constant(right)
    if value is not None:
        draft.account.column(draft.account.touch(found), "name", exposed=True)
    return value


def _is_name(node: Node | None) -> bool:
    return (
        node is not None
        and tree.tag(node) == "ColumnRef"
        and tree.names(tree.body(node), "fields") == ["name"]
    )


def _set_config(draft: Draft, node: Node | None, pinned: str) -> Setting | None:
    if node is None or tree.tag(node) != "FuncCall":
        return None
    fields = tree.body(node)
    names = tree.names(fields, "funcname")
    arguments = tree.nodes(fields, "args")
    if names not in (["set_config"], ["pg_catalog", "set_config"]) or len(arguments) != 3:
        return None
    if any(name in fields for name in ("agg_filter", "over", "agg_order", "agg_within_group")):
        return None
    functions, unseen = draft.names.functions("" if len(names) == 1 else names[0], "set_config")
    if unseen or [function.builtin for function in functions] != [True]:
        return None
    name = pinned if pinned and _is_name(arguments[0]) else _constant(arguments[0])
    value, local = _constant(arguments[1]), tree.constant(arguments[2])
    if name is None or value is None or local is None:
        return None
    name = name.lower()
    values = split_path(value) if name == "search_path" else (value,)
    return Setting(name, values, local=local.lower() in ON)


def _constant(node: Node) -> str | None:
    return tree.constant(node) if tree.tag(node) == "A_Const" else None


def opaque_settings(draft: Draft) -> None:
    """Note that a call of set_config may have set anything that could not be read."""
    called = ("function", "pg_catalog.set_config") in draft.account.others
    if called or draft.account.sets_anything:
        draft.facts("set-config", "weakens-gate")
    if (called or draft.account.sets_anything) and draft.change is None:
        unknown = (Setting("search_path"), Setting("role"), Setting("standard_conforming_strings"))
        draft.change = Change("set", settings=(*unknown, Setting("client_encoding")))


def make_relation(
    draft: Draft,
    target: Fields,
    kind: str,
    outputs: list[Output] | None,
    into: Fields | None = None,
) -> None:
    """Note a relation that the statement makes. `outputs` None: its columns are not known."""
    name = tree.text(target, "relname")
    temporary = tree.text(target, "relpersistence") == "t"
    schema = tree.text(target, "schemaname")
    schema = TEMPORARY if temporary or schema == TEMPORARY else draft.names.creation_schema(schema)
    temporary = schema == TEMPORARY
    full = (schema, name)
    effect = Effect.WRITE if temporary else Effect.ADMIN
    if not schema:
        draft.account.unknown(kind, name)
    else:
        draft.add(kind, f"{schema}.{name}", effect)
    if temporary:
        draft.facts("temporary")
    draft.touches_catalogue = draft.touches_catalogue or not temporary
    columns = _made_columns(outputs, into)
    known = draft.names.exactly(full)
    until_commit = tree.text(into or {}, "onCommit") == "ONCOMMIT_DROP"
    made = SessionRelation(kind, columns, until_commit=until_commit)
    if known is not None:
        # IF NOT EXISTS, OR REPLACE, or about to fail: it may still be what it was.
        formerly = None if known.relation is None else (known.relation.schema, known.relation.name)
        made = SessionRelation(kind, None, formerly=formerly, until_commit=until_commit)
    if kind in ("view", "materialized-view"):
        reads = tuple(r for r in draft.account.resources() if r.kind in _READABLE and r.columns)
        made = SessionRelation(kind, made.columns, reads, made.formerly, until_commit)
    draft.change = Change("names", relations=(RelationChange(full, made),))


_READABLE: Final = ("table", "view", "materialized-view", "foreign-table")


def _made_columns(outputs: list[Output] | None, into: Fields | None) -> tuple[str, ...] | None:
    if outputs is None:
        return None
    names = tree.names(into or {}, "colNames")
    if all(output.named for output in outputs[len(names) :]):
        return (*names, *(output.name for output in outputs[len(names) :]))
    return None


def create_table_as(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE TABLE AS, CREATE MATERIALIZED VIEW."""
    view = tree.text(fields, "objtype") == "OBJECT_MATVIEW"
    draft.verb = "create-materialized-view" if view else "create-table-as"
    inner = tree.child(fields, "query") or {}
    outputs: list[Output] | None = None
    if tree.tag(inner) == "SelectStmt":
        outputs = draft.query(inner)
        for output in outputs:
            draft.account.expose(output.sources)
    else:
        draft.nested_statement(inner)
    into = tree.struct(fields, "into")
    draft.returns_rows = False
    draft.facts("select-into")
    make_relation(
        draft, tree.struct(into, "rel"), "materialized-view" if view else "table", outputs, into
    )


def explain(draft: Draft, kind: str, fields: Fields) -> None:
    """EXPLAIN: what it explains, since planning runs functions; ANALYZE runs it all."""
    inner = tree.child(fields, "query") or {}
    draft.nested_statement(inner)
    draft.verb = "explain"
    draft.change = None
    draft.returns_rows = True
    draft.copy = ""
    draft.touches_catalogue = False
    draft.facts("explain")
    for node in tree.nodes(fields, "options"):
        option = tree.body(node)
        if tree.text(option, "defname") == "analyze":
            value = tree.constant(tree.child(option, "arg"))
            if value is None or value.lower() in ON:
                draft.facts("explain-analyze")


def copy(draft: Draft, kind: str, fields: Fields) -> None:
    """COPY in all its directions."""
    incoming = tree.flag(fields, "is_from")
    name = tree.text(fields, "filename")
    source = tree.child(fields, "query")
    if source is not None:
        outputs = draft.query(source)
        draft.copy_columns = copy_columns(draft, outputs)
    else:
        _copy_table(draft, fields, incoming=incoming)
    draft.returns_rows = False
    if tree.flag(fields, "is_program"):
        draft.verb = "copy-program"
        draft.add("program", name, Effect.ADMIN, "server-program")
    elif name:
        draft.verb = "copy-file"
        draft.add("file", name, Effect.ADMIN, "server-file")
    else:
        draft.copy = "in" if incoming else "out"
        draft.verb = f"copy-{draft.copy}"
    draft.copy_options = _copy_options(tree.nodes(fields, "options"))


def _copy_table(draft: Draft, fields: Fields, *, incoming: bool) -> None:
    scope = draft.scope()
    effect = Effect.WRITE if incoming else Effect.READ
    relation = tree.struct(fields, "relation")
    item = draft.queries.range_var(relation, scope, effect, ctes=False)
    names = tree.names(fields, "attlist")
    if incoming:
        draft.writes.inserted(item, names)
        draft.expressions.walk(tree.child(fields, "whereClause"), scope)
        return
    outputs = item.everything()
    if names:
        outputs = [output for name in names for output in item.find(name)]
        if len(outputs) != len(names) and not item.vague:
            draft.account.unknown("column", ", ".join(names))
    scope.record(outputs)
    if item.touch is not None:
        columns = relation_columns(item.touch.found)
        draft.copy_columns = None if columns is None else copy_columns(draft, outputs)


def copy_columns(draft: Draft, outputs: list[Output]) -> tuple[CopyColumn, ...] | None:
    """Return what a mask plan needs to know of the columns; None where they are not all known."""
    columns: list[CopyColumn] = []
    catalogue = draft.names.catalogue
    for output in outputs:
        origins: set[Origin] = set()
        type_ = ""
        for touch, name in output.sources:
            relation = touch.found.relation
            if relation is None or catalogue is None or name == "*":
                origins.add((*touch.found.name, name))
                continue
            origins |= catalogue.origins_of(relation, name)
            if output.plain:
                type_ = next((c.type for c in relation.columns if c.name == name), "")
        if output.name == "*" and not output.named:
            return None
        columns.append(CopyColumn(output.name, type_, frozenset(origins)))
    return tuple(columns)


def _copy_options(nodes: list[Node]) -> CopyOptions:
    given: dict[str, str] = {}
    for node in nodes:
        fields = tree.body(node)
        value = tree.constant(tree.child(fields, "arg"))
        given[tree.text(fields, "defname").lower()] = "true" if value is None else value
    kind = given.get("format", "text").lower()
    csv = kind == "csv"
    quote = given.get("quote", '"')
    return CopyOptions(
        format=kind,
        delimiter=given.get("delimiter", "," if csv else "\t"),
        null=given.get("null", "" if csv else "\\N"),
        quote=quote,
        escape=given.get("escape", quote),
        header=given.get("header", "false").lower() in (*ON, "match"),
        utf8=given.get("encoding", "utf8").lower() in ("utf8", "utf-8", "unicode"),
    )


def truncate(draft: Draft, kind: str, fields: Fields) -> None:
    """TRUNCATE."""
    draft.verb = "truncate"
    draft.facts("destructive")
    for node in tree.nodes(fields, "relations"):
        draft.relation(tree.body(node), Effect.WRITE)


def lock(draft: Draft, kind: str, fields: Fields) -> None:
    """LOCK TABLE: ACCESS SHARE hinders nobody but DDL, the others do."""
    draft.verb = "lock"
    draft.facts("lock")
    effect = Effect.READ if tree.number(fields, "mode") == 1 else Effect.WRITE
    for node in tree.nodes(fields, "relations"):
        found = draft.queries.find(tree.body(node))
        if found is not None:
            draft.account.touch(found, effect)
