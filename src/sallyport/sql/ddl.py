"""Statements that make, change or drop things. Their effect is ADMIN, but for temporary ones.

Every relation that stands anywhere in such a statement counts as touched as a whole, and every
function in it as called: planning, defaults and index builds run them.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from sallyport.core.operation import Effect
from sallyport.sql import objects, tree
from sallyport.sql.account import Output
from sallyport.sql.draft import Draft
from sallyport.sql.names import TEMPORARY, Found
from sallyport.sql.objects import KINDS, ON_RELATION, RELATIONS
from sallyport.sql.rows import make_relation
from sallyport.sql.statement import Change, Name, RelationChange, SessionRelation
from sallyport.sql.tree import Fields

_DESTRUCTIVE: Final = frozenset(
    {
        "AT_DropColumn", "AT_DropConstraint", "AT_AlterColumnType", "AT_DetachPartition",
        "AT_DetachPartitionFinalize", "AT_DropInherit", "AT_DropIdentity", "AT_DropExpression",
        "AT_SetExpression", "AT_DropOids", "AT_SetUnLogged", "AT_DropOf", "AT_DropCluster",
    }
)  # fmt: skip
_INTERCEPTING: Final = ("AT_EnableTrig", "AT_DisableTrig", "AT_EnableRule", "AT_DisableRule",
                        "AT_EnableAlways", "AT_EnableReplica", "AT_EnableRow", "AT_DisableRow",
                        "AT_ForceRow", "AT_NoForceRow")  # fmt: skip
_FACTS_OF_KIND: Final = {
    "trigger": ("intercepts",),
    "event-trigger": ("intercepts",),
    "rule": ("intercepts",),
    "policy": ("intercepts",),
    "role": ("role",),
    "user-mapping": ("password",),
    "publication": ("replication",),
    "subscription": ("replication", "password"),
    "large-object": ("large-object",),
    "server": ("password",),
}


def begin(draft: Draft, verb: str, *facts: str) -> None:
    """Note what every DDL statement has in common."""
    draft.verb = verb
    draft.touches_catalogue = True
    draft.facts(*facts, *_FACTS_OF_KIND.get(verb.partition("-")[2], ()))


def name_object(
    draft: Draft, kind: str, names: list[str], *, new: bool = False, missing_ok: bool = False
) -> None:
    """Note an object by its dotted name."""
    if kind in RELATIONS and kind != "index" and not new:
        _existing(draft, objects.as_range(names), Effect.ADMIN)
        return
    if kind in ON_RELATION and len(names) > 1 and not new:
        _existing(draft, objects.as_range(names[:-1]), Effect.ADMIN, missing_ok=missing_ok)
    if kind == "schema" and not new and names:
        _whole_schema(draft, names[-1])
    draft.add(kind, ".".join(names) or "?", Effect.ADMIN)


def _whole_schema(draft: Draft, schema: str) -> None:
    """Note all relations of a schema, for rules know them by its name. None of them is read."""
    catalogue = draft.names.catalogue
    for relation in catalogue.raw.relations if catalogue is not None else ():
        if relation.schema == schema:
            found = Found((relation.schema, relation.name), relation.kind)
            draft.account.column(draft.account.touch(found, Effect.ADMIN), "*", exposed=True)


def _existing(
    draft: Draft, fields: Fields, effect: Effect, *, what: str = "table", missing_ok: bool = False
) -> Found | None:
    """Note a relation as a whole. `missing_ok`: the server only gives a notice if there is none.

    Then it is named all the same, as `what`, once a new look at the catalogue has not found it.
    """
    names = objects.relation_parts(fields)
    database = tree.text(fields, "catalogname")
    here = database in ("", draft.names.state.database)
    if missing_ok and here and not draft.names.blind:
        schema = tree.text(fields, "schemaname") or draft.names.creation_schema("")
        if schema and draft.names.relation(*_schema_and_name(names), database) is None:
            draft.doubtful = True
            draft.add(what, f"{schema}.{names[-1]}", effect)
            return None
    found = draft.queries.find(fields)
    if found is None:
        return None
    if found.name[0] == TEMPORARY and effect is Effect.ADMIN:
        effect = Effect.WRITE
    touch = draft.account.touch(found, effect)
    draft.account.column(touch, "*", exposed=True)
    return found


def _schema_and_name(names: list[str]) -> tuple[str, str]:
    return (names[-2] if len(names) > 1 else "", names[-1])


def walk_calls(draft: Draft, fields: object) -> None:
    """Note every function, operator, type and subselect in a statement that is not a query."""
    scope = draft.scope()
    for node in tree.subnodes(fields):
        kind, inner = tree.tag(node), tree.body(node)
        if kind == "FuncCall":
            bare = {key: value for key, value in inner.items() if key in ("funcname",)}
            draft.expressions.walk({"FuncCall": bare}, scope)
        elif kind == "A_Expr":
            draft.expressions.operator(tree.names(inner, "name"), scope)
        elif kind == "TypeCast":
            draft.expressions.type(tree.struct(inner, "typeName"), scope)
        elif kind == "SubLink":
            query = tree.child(inner, "subselect")
            if query is not None:
                scope.expose(draft.queries.query(query, scope))


def reaches_out(draft: Draft, fields: object) -> None:
    """Note options by which a foreign table makes the server read a file or run a program."""
    for node in tree.subnodes(fields):
        name = tree.text(tree.body(node), "defname").lower()
        if tree.tag(node) == "DefElem" and name in _REACHES_OUT:
            draft.facts(_REACHES_OUT[name])


_REACHES_OUT: Final = {"program": "server-program", "filename": "server-file"}


def _other_relations(draft: Draft, fields: object, but: Fields | None = None) -> None:
    for found in objects.ranges(fields):
        if found is not but and not _same(found, but):
            _existing(draft, found, Effect.ADMIN)


def _same(one: Fields, other: Fields | None) -> bool:
    keys = ("catalogname", "schemaname", "relname")
    return other is not None and all(one.get(key) == other.get(key) for key in keys)


def create_table(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE TABLE and CREATE FOREIGN TABLE."""
    foreign = kind == "CreateForeignTableStmt"
    base = tree.struct(fields, "base") if foreign else fields
    begin(draft, "create-foreign-table" if foreign else "create-table")
    draft.touches_catalogue = False
    relation = tree.struct(base, "relation")
    walk_calls(draft, fields)
    elements = tree.nodes(base, "tableElts")
    plain = all(tree.tag(node) in ("ColumnDef", "Constraint") for node in elements)
    plain = plain and not any(name in base for name in ("inhRelations", "ofTypename", "partbound"))
    columns = [tree.text(tree.body(n), "colname") for n in elements if tree.tag(n) == "ColumnDef"]
    outputs = [Output(name) for name in columns] if plain else None
    if foreign:
        draft.add("server", tree.text(fields, "servername"), Effect.ADMIN, "server-file")
        reaches_out(draft, fields)
    _other_relations(draft, {k: v for k, v in base.items() if k != "relation"})
    into: Fields = {"onCommit": base.get("oncommit", "")}
    make_relation(draft, relation, "foreign-table" if foreign else "table", outputs, into)


def create_view(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE VIEW."""
    begin(draft, "create-view", *(("replaces",) if tree.flag(fields, "replace") else ()))
    draft.touches_catalogue = False
    query = tree.child(fields, "query")
    outputs = draft.query(query) if query else []
    draft.returns_rows = False
    for output in outputs:
        draft.account.expose(output.sources)
    into: Fields = {"colNames": fields.get("aliases", [])}
    make_relation(draft, tree.struct(fields, "view"), "view", outputs, into)


def create_sequence(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE SEQUENCE."""
    begin(draft, "create-sequence")
    draft.touches_catalogue = False
    make_relation(draft, tree.struct(fields, "sequence"), "sequence", None)


def create_index(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE INDEX: builds its expressions over every row."""
    begin(draft, "create-index")
    walk_calls(draft, fields)
    found = _existing(draft, tree.struct(fields, "relation"), Effect.ADMIN)
    schema = "" if found is None else f"{found.name[0]}."
    temporary = found is not None and found.name[0] == TEMPORARY
    effect = Effect.WRITE if temporary else Effect.ADMIN
    draft.add("index", schema + (tree.text(fields, "idxname") or "?"), effect)


def alter_table(draft: Draft, kind: str, fields: Fields) -> None:
    """ALTER TABLE and what shares its form (views, indexes, sequences, types)."""
    what = KINDS.get(tree.text(fields, "objtype"), "table")
    begin(draft, f"alter-{what}")
    relation = tree.struct(fields, "relation")
    commands = tree.nodes(fields, "cmds")
    for node in commands:
        _command(draft, tree.body(node))
    walk_calls(draft, commands)
    reaches_out(draft, commands)
    _other_relations(draft, commands)
    if what in ("index", "type"):
        draft.add(what, ".".join(objects.relation_parts(relation)), Effect.ADMIN)
        draft.change = Change("names", drops=True)
        return
    missing_ok = tree.flag(fields, "missing_ok")
    found = _existing(draft, relation, Effect.ADMIN, what=what, missing_ok=missing_ok)
    cascades = any(tree.text(tree.body(n), "behavior") == "DROP_CASCADE" for n in commands)
    if found is not None:
        draft.change = structs.replace(_moved(found, found.name), drops=cascades)


def _command(draft: Draft, command: Fields) -> None:
    subtype = tree.text(command, "subtype")
    if subtype in _DESTRUCTIVE:
        draft.facts("destructive")
    if subtype == "AT_ChangeOwner":
        draft.facts("ownership")
        draft.add("role", objects.role(tree.struct(command, "newowner")), Effect.ADMIN)
    if subtype.startswith(_INTERCEPTING):
        draft.facts("intercepts")


def _moved(found: Found, new: Name) -> Change:
    """Return the change by which a relation has a new name, or columns that are not known."""
    session, relation = found.session, found.relation
    formerly = None if relation is None else (relation.schema, relation.name)
    reads = () if session is None else session.reads
    made = SessionRelation(found.kind, None, reads, formerly)
    gone = () if new == found.name else (RelationChange(found.name, None),)
    relations = (*gone, RelationChange(new, made))
    return Change("names", relations=relations, blurs=bool(found.behind))


def rename(draft: Draft, kind: str, fields: Fields) -> None:
    """ALTER ... RENAME."""
    what = KINDS.get(tree.text(fields, "renameType"), "")
    holder = KINDS.get(tree.text(fields, "relationType"), "table")
    column = tree.text(fields, "renameType") in ("OBJECT_COLUMN", "OBJECT_TABCONSTRAINT")
    begin(draft, f"alter-{holder if column and holder in RELATIONS else what or 'table'}")
    new = tree.text(fields, "newname")
    relation = tree.struct(fields, "relation")
    if what in ON_RELATION or column:
        found = _existing(draft, relation, Effect.ADMIN)
        if not column:
            draft.add(what, tree.text(fields, "subname") or "?", Effect.ADMIN)
        elif found is not None:
            draft.change = _moved(found, found.name)
    elif what == "index" or tree.text(fields, "renameType") == "OBJECT_ATTRIBUTE":
        found = _lenient(draft, what, relation)
        if found is not None:
            renamed = (found.name[0], new) if what == "index" else found.name
            draft.change = _moved(found, renamed)
    elif what in RELATIONS:
        found = _existing(draft, relation, Effect.ADMIN)
        if found is not None:
            draft.change = _moved(found, (found.name[0], new))
    else:
        node = tree.child(fields, "object")
        names = objects.parts(node) if node else [tree.text(fields, "subname") or "?"]
        name_object(draft, what or "?", names)
        draft.change = _renamed_other(draft, what, [*names[:-1], new])


def _lenient(draft: Draft, what: str, relation: Fields) -> Found | None:
    """Note an index or composite type, and return the relation where its name is that of one.

    `ALTER INDEX x RENAME` renames any relation, and `ALTER TYPE x RENAME ATTRIBUTE` the column of
    any. The catalogue has no indexes and types. FAILS CLOSED: where the name may be a relation's.
    """
    names = objects.relation_parts(relation)
    draft.add(what, ".".join(names), Effect.ADMIN)
    schema, name = _schema_and_name(names)
    if draft.names.relation(schema, name, tree.text(relation, "catalogname")) is not None:
        return _existing(draft, relation, Effect.ADMIN)
    if draft.names.blind or (not schema and draft.names.is_somewhere(name)):
        draft.account.unknown(what, ".".join(names))
    draft.doubtful = True  # it may have been made since
    return None


def _renamed_other(draft: Draft, what: str, names: list[str]) -> Change:
    if what in ("function", "procedure", "aggregate"):
        return _new_function(draft, names)
    return Change("names", blurs=what in ("schema", "role", "type", "extension", "operator"))


def set_schema(draft: Draft, kind: str, fields: Fields) -> None:
    """ALTER ... SET SCHEMA."""
    what = KINDS.get(tree.text(fields, "objectType"), "?")
    begin(draft, f"alter-{what}")
    schema = tree.text(fields, "newschema")
    draft.add("schema", schema, Effect.ADMIN)
    relation = tree.struct(fields, "relation")
    if relation:
        found = _existing(draft, relation, Effect.ADMIN)
        if found is not None:
            draft.change = _moved(found, (schema, found.name[1]))
        return
    node = tree.child(fields, "object")
    names = objects.parts(node) if node else ["?"]
    name_object(draft, what, names)
    if what in ("function", "procedure", "aggregate"):
        draft.change = _new_function(draft, [schema, names[-1]])
    else:
        draft.change = Change("names", blurs=True)


def set_owner(draft: Draft, kind: str, fields: Fields) -> None:
    """ALTER ... OWNER TO."""
    what = KINDS.get(tree.text(fields, "objectType"), "?")
    begin(draft, f"alter-{what}", "ownership")
    node = tree.child(fields, "object")
    relation = tree.struct(fields, "relation")
    if relation:
        name_object(draft, what, objects.relation_parts(relation))
    elif node:
        name_object(draft, what, objects.parts(node))
    draft.add("role", objects.role(tree.struct(fields, "newowner")), Effect.ADMIN)


def drop(draft: Draft, kind: str, fields: Fields) -> None:
    """DROP of anything that has a name."""
    what = KINDS.get(tree.text(fields, "removeType"), "?")
    begin(draft, f"drop-{what}", "destructive")
    gone: list[RelationChange] = []
    temporary = what in RELATIONS
    missing_ok = tree.flag(fields, "missing_ok")
    for node in tree.nodes(fields, "objects"):
        names = objects.parts(node)
        if what not in RELATIONS or what == "index":
            name_object(draft, what, names, missing_ok=missing_ok)
            temporary = False
            continue
        fields_of = objects.as_range(names)
        found = _existing(draft, fields_of, Effect.ADMIN, what=what, missing_ok=missing_ok)
        if found is not None:
            gone.append(RelationChange(found.name, None))
        temporary = temporary and found is not None and found.name[0] == TEMPORARY
        temporary = temporary and not (found and found.behind)
    if temporary:
        draft.account.facts.discard("destructive")
        draft.touches_catalogue = False
    blurs = what in ("schema", "extension", "server", "foreign-data-wrapper")
    draft.change = Change("names", relations=tuple(gone), blurs=blurs, drops=True)


def create_function(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE FUNCTION and CREATE PROCEDURE: the body is read by nobody here."""
    what = "procedure" if tree.flag(fields, "is_procedure") else "function"
    replaces = ("replaces",) if tree.flag(fields, "replace") else ()
    begin(draft, f"create-{what}", "dynamic-sql", *replaces)
    names = tree.names(fields, "funcname")
    draft.add(what, _full(draft, names), Effect.ADMIN)
    draft.change = _new_function(draft, names)


def _new_function(draft: Draft, names: list[str]) -> Change:
    schema = draft.names.creation_schema(names[-2] if len(names) > 1 else "")
    if not schema:
        return Change("names", blurs=True)
    return Change("names", functions=((schema, names[-1]),))


def _full(draft: Draft, names: list[str]) -> str:
    schema = draft.names.creation_schema(names[-2] if len(names) > 1 else "")
    return f"{schema}.{names[-1]}" if schema else names[-1]


def define(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE AGGREGATE, OPERATOR, TYPE, COLLATION, TEXT SEARCH."""
    what = KINDS.get(tree.text(fields, "kind"), "type")
    replaces = ("replaces",) if tree.flag(fields, "replace") else ()
    begin(draft, f"create-{what}", *replaces)
    names = tree.names(fields, "defnames")
    draft.add(what, _full(draft, names), Effect.ADMIN)
    if what in ("aggregate", "operator"):
        _made_of_functions(draft, fields)
    if what == "aggregate":
        draft.change = _new_function(draft, names)
    elif what == "operator":
        draft.change = Change("names", operators=(names[-1],))
    else:
        draft.change = Change("names", blurs=what == "type")


def _made_of_functions(draft: Draft, fields: Fields) -> None:
    """Note what an operator or aggregate runs, as if it were called: those may call it for others.

    What it is made of is not told from the types beside it: a type's name calls nothing.
    """
    for node in tree.nodes(fields, "definition"):
        names = tree.names(tree.body(tree.child(tree.body(node), "arg") or {}), "names")
        schema = names[-2] if len(names) > 1 else ""
        functions, _ = draft.names.functions(schema, names[-1]) if names else ([], False)
        for function in functions:
            draft.account.call(function)


def create_trigger(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE TRIGGER."""
    begin(draft, "create-trigger", *(("replaces",) if tree.flag(fields, "replace") else ()))
    walk_calls(draft, fields)
    _on_relation(draft, "trigger", tree.text(fields, "trigname"), tree.struct(fields, "relation"))
    draft.add("function", _full(draft, tree.names(fields, "funcname")), Effect.ADMIN)


def create_rule(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE RULE."""
    begin(draft, "create-rule", *(("replaces",) if tree.flag(fields, "replace") else ()))
    walk_calls(draft, fields)
    relation = tree.struct(fields, "relation")
    _other_relations(draft, tree.nodes(fields, "actions"))
    _on_relation(draft, "rule", tree.text(fields, "rulename"), relation)


def policy(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE POLICY and ALTER POLICY."""
    begin(draft, "create-policy" if kind == "CreatePolicyStmt" else "alter-policy", "intercepts")
    walk_calls(draft, fields)
    _on_relation(draft, "policy", tree.text(fields, "policy_name"), tree.struct(fields, "table"))


def _on_relation(draft: Draft, kind: str, name: str, relation: Fields) -> None:
    found = _existing(draft, relation, Effect.ADMIN)
    prefix = "" if found is None else f"{found.name[0]}.{found.name[1]}."
    draft.add(kind, prefix + name, Effect.ADMIN)


def create_schema(draft: Draft, kind: str, fields: Fields) -> None:
    """CREATE SCHEMA, maybe with what stands in it."""
    begin(draft, "create-schema")
    name = tree.text(fields, "schemaname") or objects.role(tree.struct(fields, "authrole"))
    draft.add("schema", name, Effect.ADMIN)
    elements = tree.nodes(fields, "schemaElts")
    if "authrole" in fields:
        draft.facts("ownership")
    walk_calls(draft, elements)
    for element in elements:
        draft.add("statement", tree.tag(element), Effect.ADMIN)
    if any(tree.tag(element) not in ("CreateStmt", "IndexStmt") for element in elements):
        draft.add("statement", "CREATE SCHEMA elements", Effect.UNKNOWN, "unparsed")
    draft.change = Change("names", schemas=(name,), blurs=bool(elements))


def comment(draft: Draft, kind: str, fields: Fields) -> None:
    """COMMENT and SECURITY LABEL. A comment can be what masks a column: it counts as used."""
    what = KINDS.get(tree.text(fields, "objtype"), "?")
    begin(draft, "comment" if kind == "CommentStmt" else "security-label")
    node = tree.child(fields, "object")
    names = objects.parts(node) if node else ["?"]
    if tree.text(fields, "objtype") == "OBJECT_COLUMN" and len(names) > 1:
        found = draft.queries.find(objects.as_range(names[:-1]))
        draft.touches_catalogue = found is None or found.name[0] != TEMPORARY
        if found is not None:
            touch = draft.account.touch(found, Effect.ADMIN)
            draft.account.column(touch, names[-1], exposed=True)
        return
    draft.touches_catalogue = False
    if tree.text(fields, "objtype") == "OBJECT_TABCONSTRAINT":
        names = names[:-1]
    draft.add(what, ".".join(names), Effect.ADMIN)


HANDLERS: Final = {
    "CreateStmt": create_table,
    "CreateForeignTableStmt": create_table,
    "ViewStmt": create_view,
    "CreateSeqStmt": create_sequence,
    "IndexStmt": create_index,
    "AlterTableStmt": alter_table,
    "RenameStmt": rename,
    "AlterObjectSchemaStmt": set_schema,
    "AlterOwnerStmt": set_owner,
    "DropStmt": drop,
    "CreateFunctionStmt": create_function,
    "DefineStmt": define,
    "CreateTrigStmt": create_trigger,
    "RuleStmt": create_rule,
    "CreatePolicyStmt": policy,
    "AlterPolicyStmt": policy,
    "CreateSchemaStmt": create_schema,
    "CommentStmt": comment,
    "SecLabelStmt": comment,
}
