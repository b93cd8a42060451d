"""Typed access to the parse tree, which is JSON: a node is an object with one key, its type.

Fields of a fixed type hold the bare fields; lists and fields of any type hold nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

Fields = dict[str, object]
"""The fields of one node."""
Node = dict[str, Fields]
"""One node: its type and its fields."""

_NONE: Fields = {}


def tag(node: Node) -> str:
    """Return the type of a node."""
    return next(iter(node), "")


def body(node: Node) -> Fields:
    """Return the fields of a node."""
    return next(iter(node.values()), _NONE)


def child(fields: Fields, name: str) -> Node | None:
    """Return the node in a field, if any."""
    value = fields.get(name)
    return cast(Node, value) if isinstance(value, dict) and value else None


def struct(fields: Fields, name: str) -> Fields:
    """Return the bare fields in a field of a fixed type; empty if absent."""
    value = fields.get(name)
    return cast(Fields, value) if isinstance(value, dict) else _NONE


def nodes(fields: Fields, name: str) -> list[Node]:
    """Return the nodes in a list field; empty entries (NULL in a list) are left out."""
    value = fields.get(name)
    if not isinstance(value, list):
        return []
    return [cast(Node, item) for item in value if isinstance(item, dict) and item]


def text(fields: Fields, name: str) -> str:
    """Return a string field; empty if absent."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def flag(fields: Fields, name: str) -> bool:
    """Return a boolean field; False if absent."""
    return fields.get(name) is True


def number(fields: Fields, name: str) -> int:
    """Return an integer field; 0 if absent."""
    value = fields.get(name)
    return value if isinstance(value, int) else 0


def strings(items: list[Node]) -> list[str]:
    """Return the strings of a list of String nodes; any other node stands as `*`."""
    return [text(body(item), "sval") if tag(item) == "String" else "*" for item in items]


def names(fields: Fields, name: str) -> list[str]:
    """Return a dotted name that stands in a list field."""
    return strings(nodes(fields, name))


def constant(node: Node | None) -> str | None:
    """Return the value of a constant as text; None where it is no constant or NULL."""
    if node is None:
        return None
    kind, fields = tag(node), body(node)
    if kind == "TypeCast":
        return constant(child(fields, "arg"))
    if kind == "A_Const":
        return _literal(fields)
    if kind in ("String", "Integer", "Float", "Boolean"):
        return _literal({_BARE[kind]: fields})
    return None


def text_literal(node: Node | None, *casts: str) -> str | None:
    """Return a string constant, bare or cast to text (or to one of `casts`); None otherwise.

    INVARIANT: the server sees exactly these characters: a cast that may cut or convert is none.
    """
    if node is None:
        return None
    kind, fields = tag(node), body(node)
    if kind == "TypeCast":
        type_ = struct(fields, "typeName")
        known = [[*schema, name] for name in ("text", *casts) for schema in ([], ["pg_catalog"])]
        plain = names(type_, "names") in known and not {"typmods", "arrayBounds"} & set(type_)
        arg = child(fields, "arg")
        return text_literal(arg) if plain and arg is not None and tag(arg) == "A_Const" else None
    if kind == "A_Const" and "sval" in fields:
        return text(struct(fields, "sval"), "sval")
    return None


_BARE = {"String": "sval", "Integer": "ival", "Float": "fval", "Boolean": "boolval"}


def _literal(fields: Fields) -> str | None:
    for key in ("sval", "fval", "bsval"):
        if key in fields:
            return text(struct(fields, key), key)
    if "ival" in fields:
        return str(number(struct(fields, "ival"), "ival"))
    if "boolval" in fields:
        return "true" if flag(struct(fields, "boolval"), "boolval") else "false"
    return None


def subnodes(value: object) -> Iterator[Node]:
    """Yield every node at any depth below `value`, without recursion."""
    stack: list[object] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            if len(item) == 1:
                key = next(iter(item))
                if isinstance(key, str) and key[:1].isupper():
                    yield cast(Node, item)
            stack.extend(item.values())
