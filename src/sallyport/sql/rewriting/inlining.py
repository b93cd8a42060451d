"""Inlining: a view's own query in the place of its name, so that masks stand below its conditions.

A view whose rows are decided by a masked column cannot be masked from outside. Its definition, as
the server wrote it down under an empty search path, is read, and whatever that path leaves bare
gets `pg_catalog`: functions, types, operators, collations, relations. So it means the same under
any path of a session.

FAILS CLOSED: what cannot be shown to mean the same, or would run with other rights than the view's,
is refused. Without the view in between the login needs rights on what the view reads; row level
security and `security_barrier` hold for whom the view was made, so these are never taken apart.
"""

from __future__ import annotations

from typing import Any, Final

from sallyport.sql.catalogue import CatalogueSnapshot, Relation
from sallyport.sql.names import Names
from sallyport.sql.rewriting.parse_tree import Message, messages, parse
from sallyport.sql.scope import SYSTEM_COLUMNS

MAX_DEFINITION: Final = 8192
"""Longest definition that is inlined, in bytes: its tree is walked and written on the loop."""
MAX_DEPTH: Final = 8
"""How many views may stand in each other."""

_SYSTEM: Final = "pg_catalog"
_SPELLED: Final = frozenset({"AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL"})
"""Kinds of operators that OPERATOR() can be written for."""
_REFUSED: Final = {
    "RangeTableSample": "it samples rows",
    "LockingClause": "it locks rows",
    "IntoClause": "it makes a table",
    "CurrentOfExpr": "it reads a cursor",
    "ParamRef": "it has parameters",
}

_NAMING: Final = frozenset(
    {
        "regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper",
        "regoperator", "regproc", "regprocedure", "regrole", "regtype", "regdatabase",
    }
)  # fmt: skip
"""Types whose texts are looked up when they are read."""


def obstacle(view: Relation, catalogue: CatalogueSnapshot) -> str:
    """Return why a view's query cannot stand in its place, as far as its catalogue tells."""
    if view.kind != "view" or view.system:
        return f"what a {view.kind} has is stored"
    if not view.definition:
        return "its definition is not known at this moment"
    if len(view.definition.encode()) > MAX_DEFINITION:
        return f"its definition is longer than {MAX_DEFINITION} bytes"
    if view.secured:
        return "it is a security barrier"
    for base in view.bases:
        relation = catalogue.relation(base.name)
        name = ".".join(base.name)
        if relation is None:
            return f"`{name}`, which it reads, is not known"
        if relation.secured and relation.kind != "view":
            return f"`{name}`, which it reads, has row level security"
        if not relation.readable:
            return f"the login may not read `{name}`, which it reads"
    return ""


def definition(view: Relation, names: Names) -> Message:
    """Return the tree of a view's query, every name in it with its schema.

    Its relations are still to be looked up: a bare one is of `pg_catalog`, if no WITH query has
    its name. Raises: ValueError, with the reason, where it cannot stand in the view's place.
    """
    catalogue = names.catalogue
    if catalogue is None or catalogue.raw.role != names.state.user:
        raise ValueError("whether the login may read what it reads is not known")
    reason = obstacle(view, catalogue)
    if reason:
        raise ValueError(reason)
    tree = _parsed(view.definition)
    bare: set[str] = set()
    for message in messages(tree):
        _qualify(message, bare)
    if any(names.operators("", operator) != ([], False) for operator in bare):
        raise ValueError("an operator in it is of a user's own making")
    return tree


def _parsed(text: str) -> Message:
    try:
        tree = parse(text)
    except ValueError:
        raise ValueError("its definition is not understood") from None
    if len(tree.stmts) != 1 or tree.stmts[0].stmt.WhichOneof("node") != "select_stmt":
        raise ValueError("its definition is not understood")
    return tree.stmts[0].stmt


def _qualify(message: Message, bare: set[str]) -> None:
    """Write `pg_catalog` where a node has a bare name; note operators that have to stay bare."""
    kind = message.DESCRIPTOR.name
    if kind in _REFUSED:
        raise ValueError(_REFUSED[kind])
    if kind == "ColumnRef":
        _plain_column(message)
    elif kind == "FuncCall":
        _prefix(message.funcname)
    elif kind == "TypeName":
        _prefix(message.names)
        if message.names and message.names[-1].string.sval in _NAMING:
            raise ValueError("it has a name in a constant, which the search path gives its meaning")
    elif kind == "CollateClause":
        _prefix(message.collname)
    elif kind == "A_Expr":
        _operator(message, bare)
    elif kind in ("SubLink", "SortBy"):
        name = message.oper_name if kind == "SubLink" else message.use_op
        bare.update(("=",) if kind == "SubLink" and not name else ())
        _prefix(name)
    elif kind == "CaseExpr" or (kind == "JoinExpr" and message.using_clause):
        bare.add("=")
    elif kind == "JoinExpr" and message.is_natural:
        raise ValueError("it has a NATURAL JOIN")


def _operator(message: Message, bare: set[str]) -> None:
    kind = message.DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number[message.kind].name
    if kind in _SPELLED:
        _prefix(message.name)
    else:
        bare.update(part.string.sval for part in message.name)


def _plain_column(column: Message) -> None:
    last = column.fields[-1]
    if not last.HasField("string"):
        raise ValueError("it takes a row of a table whole")
    if last.string.sval in SYSTEM_COLUMNS:
        raise ValueError("it shows a system column")


def _prefix(names: Any) -> None:
    """Put `pg_catalog` before a name that stands alone."""
    if len(names) != 1:
        return
    name = names[0].string.sval
    names[0].string.sval = _SYSTEM
    names.add().string.sval = name
