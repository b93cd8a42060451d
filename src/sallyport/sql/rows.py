"""Statements about rows: SELECT, the four that write, COPY, EXPLAIN, TRUNCATE, LOCK."""

from __future__ import annotations

from typing import Final

from sallyport.core.operation import Effect
from sallyport.sql import set_config, tree
from sallyport.sql.account import Output
from sallyport.sql.draft import Draft
from sallyport.sql.names import TEMPORARY
from sallyport.sql.query import into_clause, relation_columns
from sallyport.sql.session import ON
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
    draft.verb = _VERBS[kind]
    settings: tuple[Setting, ...] = ()
    if kind == "SelectStmt":
        fields = set_config.pinned(draft, fields)
        settings = set_config.plain(draft, fields)
    outputs = draft.query({kind: fields})
    draft.whole = _is_whole(fields)
    if settings:
        draft.verb = "set"
        draft.account.settings.clear()
        draft.change = Change("set", settings=settings)
    into = into_clause(fields)
    if into:
        draft.verb = "select-into"
        draft.facts("select-into")
        make_relation(draft, tree.struct(into, "rel"), "table", outputs, into)
        draft.returns_rows = False
    return outputs


_NARROWS: Final = (
    "whereClause", "havingClause", "groupClause", "distinctClause", "limitCount", "limitOffset",
    "lockingClause", "withClause", "intoClause",
)  # fmt: skip


def _is_whole(fields: Fields) -> bool:
    """Whether a SELECT shows all rows of one relation."""
    if any(name in fields for name in _NARROWS):
        return False
    sources = tree.nodes(fields, "fromClause")
    return len(sources) == 1 and tree.tag(sources[0]) == "RangeVar"


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
        draft.expose_all()  # EXECUTE: what it shows is kept, under columns that nobody knows
    into = tree.struct(fields, "into")
    draft.returns_rows = False
    draft.facts("select-into")
    make_relation(
        draft, tree.struct(into, "rel"), "materialized-view" if view else "table", outputs, into
    )


def explain(draft: Draft, kind: str, fields: Fields) -> None:
    """EXPLAIN: what it explains, since planning runs functions; ANALYZE runs it all.

    Costs tell how wide the columns are, ANALYZE how much memory they take: both expose them.
    """
    inner = tree.child(fields, "query") or {}
    draft.nested_statement(inner)
    draft.verb = "explain"
    draft.returns_rows = True
    draft.copy = ""
    draft.facts("explain")
    options = [tree.body(node) for node in tree.nodes(fields, "options")]
    analyzed = any(_is_on(option, "analyze") for option in options)
    costs = [_is_on(option, "costs") for option in options if _is(option, "costs")]
    if analyzed or not costs or any(costs):
        draft.expose_all()
    if analyzed:
        draft.facts("explain-analyze")
        if draft.change is not None and draft.change.kind not in ("set", "names", "opaque"):
            draft.change = None
        return
    draft.change = None
    draft.account.settings.clear()
    draft.touches_catalogue = False


def _is(option: Fields, name: str) -> bool:
    return tree.text(option, "defname") == name


def _is_on(option: Fields, name: str) -> bool:
    if not _is(option, name):
        return False
    value = tree.constant(tree.child(option, "arg"))
    return value is None or value.lower() in ON


def copy(draft: Draft, kind: str, fields: Fields) -> None:
    """COPY in all its directions."""
    incoming = tree.flag(fields, "is_from")
    name = tree.text(fields, "filename")
    source = tree.child(fields, "query")
    if source is not None:
        outputs = draft.query(source)
        draft.whole = _is_whole(tree.body(source))
        if tree.tag(source) == "SelectStmt":
            draft.account.verbs.add("select")
        draft.copy_columns = copy_columns(draft, outputs)
    else:
        _copy_table(draft, fields, incoming=incoming)
        draft.whole = not incoming
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
    found = item.touch.found.relation if item.touch is not None else None
    generated = {c.name for c in found.columns if c.made_of} if found is not None else set()
    outputs = [output for output in item.everything() if output.name not in generated]
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
        behind: set[Origin] = set()
        type_ = ""
        for touch, name in output.sources:
            relation = touch.found.relation
            if relation is None or catalogue is None or name == "*":
                origins.add((*touch.found.name, name))
                continue
            origins |= catalogue.origins_of(relation, name)
            behind |= catalogue.behind_column(relation, name)
            if output.plain:
                type_ = next((c.type for c in relation.columns if c.name == name), "")
        if output.name == "*" and not output.named:
            return None
        columns.append(CopyColumn(output.name, type_, frozenset(origins), frozenset(behind)))
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
