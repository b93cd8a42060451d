"""The kinds of objects that DDL names, and how their names stand in the tree."""

from __future__ import annotations

from typing import Final

from sallyport.sql import tree
from sallyport.sql.tree import Fields, Node

KINDS: Final = {
    "OBJECT_ACCESS_METHOD": "access-method",
    "OBJECT_AGGREGATE": "aggregate",
    "OBJECT_ATTRIBUTE": "type",
    "OBJECT_CAST": "cast",
    "OBJECT_COLLATION": "collation",
    "OBJECT_COLUMN": "table",
    "OBJECT_CONVERSION": "conversion",
    "OBJECT_DATABASE": "database",
    "OBJECT_DOMAIN": "domain",
    "OBJECT_DOMCONSTRAINT": "domain",
    "OBJECT_EVENT_TRIGGER": "event-trigger",
    "OBJECT_EXTENSION": "extension",
    "OBJECT_FDW": "foreign-data-wrapper",
    "OBJECT_FOREIGN_SERVER": "server",
    "OBJECT_FOREIGN_TABLE": "foreign-table",
    "OBJECT_FUNCTION": "function",
    "OBJECT_INDEX": "index",
    "OBJECT_LANGUAGE": "language",
    "OBJECT_LARGEOBJECT": "large-object",
    "OBJECT_MATVIEW": "materialized-view",
    "OBJECT_OPCLASS": "operator-class",
    "OBJECT_OPERATOR": "operator",
    "OBJECT_OPFAMILY": "operator-family",
    "OBJECT_POLICY": "policy",
    "OBJECT_PROCEDURE": "procedure",
    "OBJECT_PUBLICATION": "publication",
    "OBJECT_ROLE": "role",
    "OBJECT_ROUTINE": "function",
    "OBJECT_RULE": "rule",
    "OBJECT_SCHEMA": "schema",
    "OBJECT_SEQUENCE": "sequence",
    "OBJECT_STATISTIC_EXT": "statistics",
    "OBJECT_SUBSCRIPTION": "subscription",
    "OBJECT_TABCONSTRAINT": "table",
    "OBJECT_TABLE": "table",
    "OBJECT_TABLESPACE": "tablespace",
    "OBJECT_TRANSFORM": "transform",
    "OBJECT_TRIGGER": "trigger",
    "OBJECT_TSCONFIGURATION": "text-search",
    "OBJECT_TSDICTIONARY": "text-search",
    "OBJECT_TSPARSER": "text-search",
    "OBJECT_TSTEMPLATE": "text-search",
    "OBJECT_TYPE": "type",
    "OBJECT_USER_MAPPING": "user-mapping",
    "OBJECT_VIEW": "view",
    "OBJECT_PARAMETER_ACL": "setting",
}
"""Resource kind by the grammar's object type."""

RELATIONS: Final = frozenset(
    {"table", "view", "materialized-view", "foreign-table", "sequence", "index"}
)
ON_RELATION: Final = frozenset({"trigger", "rule", "policy"})
"""Objects whose name follows that of their relation."""


def parts(node: Node) -> list[str]:
    """Return the dotted name that a node of a DDL statement gives."""
    kind, fields = tree.tag(node), tree.body(node)
    if kind == "List":
        return [part for item in tree.nodes(fields, "items") for part in parts(item)]
    if kind == "String":
        return [tree.text(fields, "sval")]
    if kind == "ObjectWithArgs":
        return tree.names(fields, "objname")
    if kind == "TypeName":
        return tree.names(fields, "names")
    if kind == "RangeVar":
        return relation_parts(fields)
    if kind == "RoleSpec":
        return [role(fields)]
    if kind in ("Integer", "Float"):
        return [tree.constant(node) or "?"]
    return ["?"]


def relation_parts(fields: Fields) -> list[str]:
    """Return the parts of a RangeVar's name."""
    schema, name = tree.text(fields, "schemaname"), tree.text(fields, "relname")
    return [schema, name] if schema else [name]


def role(fields: Fields) -> str:
    """Return the role that a RoleSpec names."""
    given = tree.text(fields, "rolename")
    if given:
        return given
    kind = tree.text(fields, "roletype").removeprefix("ROLESPEC_").lower()
    return kind or "?"


def as_range(names: list[str]) -> Fields:
    """Return the fields of a RangeVar for a dotted name."""
    fields: Fields = {"relname": names[-1] if names else "?"}
    if len(names) > 1:
        fields["schemaname"] = names[-2]
    if len(names) > 2:
        fields["catalogname"] = names[-3]
    return fields


def ranges(value: object) -> list[Fields]:
    """Return every RangeVar at any depth below a value, also where the grammar fixes the type."""
    found: list[Fields] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            if isinstance(item.get("relname"), str):
                found.append(item)
            stack.extend(item.values())
    return found
