"""Statements about rights, roles, databases, extensions, upkeep and the like."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from sallyport.core.operation import Effect
from sallyport.sql import objects, tree
from sallyport.sql.column_types import is_made_of
from sallyport.sql.ddl import begin, name_object, walk_calls
from sallyport.sql.draft import Draft
from sallyport.sql.names import TEMPORARY, Found
from sallyport.sql.objects import KINDS
from sallyport.sql.statement import Change
from sallyport.sql.tree import Fields


class _Spec(Struct, frozen=True):
    """A statement that names one object. `field` holds its name; `blurs` what it does to names."""

    verb: str
    kind: str
    field: str
    facts: tuple[str, ...] = ()
    blurs: bool = False


_SPECS: Final[dict[str, _Spec]] = {
    "AlterEventTrigStmt": _Spec("alter-event-trigger", "event-trigger", "trigname"),
    "AlterCollationStmt": _Spec("alter-collation", "collation", "collname"),
    "AlterDatabaseStmt": _Spec("alter-database", "database", "dbname", ("server-administration",)),
    "AlterDatabaseSetStmt": _Spec(
        "alter-database", "database", "dbname", ("weakens-gate", "set-config")
    ),
    "AlterDatabaseRefreshCollStmt": _Spec("alter-database", "database", "dbname"),
    "AlterDomainStmt": _Spec("alter-domain", "domain", "typeName"),
    "AlterEnumStmt": _Spec("alter-type", "type", "typeName"),
    "AlterExtensionStmt": _Spec("alter-extension", "extension", "extname", (), True),
    "AlterExtensionContentsStmt": _Spec("alter-extension", "extension", "extname", (), True),
    "AlterFdwStmt": _Spec("alter-foreign-data-wrapper", "foreign-data-wrapper", "fdwname"),
    "AlterForeignServerStmt": _Spec("alter-server", "server", "servername"),
    "AlterObjectDependsStmt": _Spec("alter-extension", "extension", "extname"),
    "AlterOperatorStmt": _Spec("alter-operator", "operator", "opername", (), True),
    "AlterTypeStmt": _Spec("alter-type", "type", "typeName"),
    "AlterSeqStmt": _Spec("alter-sequence", "sequence", "sequence"),
    "AlterTableSpaceOptionsStmt": _Spec("alter-tablespace", "tablespace", "tablespacename"),
    "AlterTableMoveAllStmt": _Spec("alter-tablespace", "tablespace", "orig_tablespacename"),
    "AlterTSConfigurationStmt": _Spec("alter-text-search", "text-search", "cfgname"),
    "AlterTSDictionaryStmt": _Spec("alter-text-search", "text-search", "dictname"),
    "AlterUserMappingStmt": _Spec("alter-user-mapping", "user-mapping", "servername"),
    "AlterPublicationStmt": _Spec("alter-publication", "publication", "pubname"),
    "AlterSubscriptionStmt": _Spec("alter-subscription", "subscription", "subname"),
    "AlterStatsStmt": _Spec("alter-statistics", "statistics", "defnames"),
    "AlterOpFamilyStmt": _Spec("alter-operator-family", "operator-family", "opfamilyname"),
    "AlterFunctionStmt": _Spec("alter-function", "function", "func", ("dynamic-sql",)),
    "CompositeTypeStmt": _Spec("create-type", "type", "typevar"),
    "CreateAmStmt": _Spec("create-access-method", "access-method", "amname"),
    "CreateCastStmt": _Spec("create-cast", "cast", "targettype", (), True),
    "CreateConversionStmt": _Spec("create-conversion", "conversion", "conversion_name", (), True),
    "CreatedbStmt": _Spec("create-database", "database", "dbname"),
    "CreateDomainStmt": _Spec("create-domain", "domain", "domainname"),
    "CreateEnumStmt": _Spec("create-type", "type", "typeName"),
    "CreateEventTrigStmt": _Spec("create-event-trigger", "event-trigger", "trigname"),
    "CreateExtensionStmt": _Spec("create-extension", "extension", "extname", (), True),
    "CreateFdwStmt": _Spec("create-foreign-data-wrapper", "foreign-data-wrapper", "fdwname"),
    "CreateForeignServerStmt": _Spec("create-server", "server", "servername"),
    "CreateOpClassStmt": _Spec("create-operator-class", "operator-class", "opclassname"),
    "CreateOpFamilyStmt": _Spec("create-operator-family", "operator-family", "opfamilyname"),
    "CreatePLangStmt": _Spec("create-language", "language", "plname"),
    "CreatePublicationStmt": _Spec("create-publication", "publication", "pubname"),
    "CreateRangeStmt": _Spec("create-type", "type", "typeName", (), True),
    "CreateRoleStmt": _Spec("create-role", "role", "role"),
    "CreateStatsStmt": _Spec("create-statistics", "statistics", "defnames"),
    "CreateSubscriptionStmt": _Spec("create-subscription", "subscription", "subname"),
    "CreateTableSpaceStmt": _Spec("create-tablespace", "tablespace", "tablespacename"),
    "CreateTransformStmt": _Spec("create-transform", "transform", "lang", (), True),
    "CreateUserMappingStmt": _Spec("create-user-mapping", "user-mapping", "servername"),
    "DropdbStmt": _Spec("drop-database", "database", "dbname", ("destructive",)),
    "DropOwnedStmt": _Spec("drop-owned", "role", "roles", ("destructive", "privilege"), True),
    "DropRoleStmt": _Spec("drop-role", "role", "roles", ("destructive",)),
    "DropSubscriptionStmt": _Spec("drop-subscription", "subscription", "subname", ("destructive",)),
    "DropTableSpaceStmt": _Spec(
        "drop-tablespace", "tablespace", "tablespacename", ("destructive",)
    ),
    "DropUserMappingStmt": _Spec(
        "drop-user-mapping", "user-mapping", "servername", ("destructive",)
    ),
    "ImportForeignSchemaStmt": _Spec("import-foreign-schema", "server", "server_name", (), True),
    "AlterRoleStmt": _Spec("alter-role", "role", "role"),
    "AlterRoleSetStmt": _Spec("alter-role", "role", "role", ("weakens-gate", "set-config")),
    "AlterSystemStmt": _Spec("alter-system", "setting", "setstmt", ("weakens-gate", "set-config")),
    "AlterDefaultPrivilegesStmt": _Spec("alter-default-privileges", "role", "-", ("privilege",)),
    "ReassignOwnedStmt": _Spec("reassign-owned", "role", "roles", ("ownership",)),
    "GrantRoleStmt": _Spec("grant", "role", "granted_roles", ("privilege", "role")),
}

_TYPES: Final = frozenset(
    {"CreateDomainStmt", "CreateEnumStmt", "CompositeTypeStmt", "CreateRangeStmt"}
)


def simple(draft: Draft, kind: str, fields: Fields) -> None:
    """Any statement of the table."""
    spec = _SPECS[kind]
    verb = spec.verb
    if kind == "GrantRoleStmt" and not tree.flag(fields, "is_grant"):
        verb = "revoke"
    begin(draft, verb, *spec.facts)
    for names in _names(fields, spec.field):
        name_object(draft, spec.kind, names, new=verb.startswith("create-"))
        if kind in _TYPES and _is_temporary(draft, names):
            draft.account.unknown("type", names[-1])  # the catalogue never has it
    walk_calls(draft, fields)
    if kind == "AlterDomainStmt":
        _check_columns(draft, tree.names(fields, "typeName"))
    for relation in objects.ranges({k: v for k, v in fields.items() if k != spec.field}):
        draft.relation(relation, Effect.ADMIN)
    _options(draft, fields)
    draft.change = Change("names", blurs=spec.blurs) if spec.blurs else None


def _is_temporary(draft: Draft, names: list[str]) -> bool:
    return draft.names.creation_schema(names[-2] if len(names) > 1 else "") == TEMPORARY


def _check_columns(draft: Draft, domain: list[str]) -> None:
    """Note the columns of a domain: whether it can be changed tells of what they hold."""
    catalogue = draft.names.catalogue
    for relation in catalogue.raw.relations if catalogue is not None else ():
        for column in relation.columns:
            if domain and is_made_of(column.shape, domain[-1]):
                found = Found((relation.schema, relation.name), relation.kind, relation)
                touch = draft.account.touch(found, Effect.READ)
                draft.account.column(touch, column.name, exposed=True)


def _names(fields: Fields, field: str) -> list[list[str]]:
    value = fields.get(field)
    if isinstance(value, str):
        return [[value]]
    if isinstance(value, list):
        items = tree.nodes(fields, field)
        if all(tree.tag(item) == "String" for item in items):
            return [tree.strings(items)]
        if all(tree.tag(item) == "AccessPriv" for item in items):
            return [[tree.text(tree.body(item), "priv_name") or "?"] for item in items]
        return [objects.parts(item) for item in items] or [["?"]]
    part = tree.struct(fields, field)
    if "relname" in part:
        return [objects.relation_parts(part)]
    if "roletype" in part or "rolename" in part:
        return [[objects.role(part)]]
    for key in ("names", "objname"):
        if key in part:
            return [tree.names(part, key)]
    return [[tree.text(part, "name") or "*"]]


def _options(draft: Draft, fields: Fields) -> None:
    """Note passwords and owners among a statement's options."""
    for node in tree.subnodes(fields):
        if tree.tag(node) == "DefElem":
            name = tree.text(tree.body(node), "defname").lower()
            if "password" in name:
                draft.facts("password")
            if name == "owner":
                draft.facts("ownership")
        elif tree.tag(node) == "RoleSpec":
            draft.add("role", objects.role(tree.body(node)), Effect.ADMIN)


def grant(draft: Draft, kind: str, fields: Fields) -> None:
    """GRANT and REVOKE on objects."""
    begin(draft, "grant" if tree.flag(fields, "is_grant") else "revoke", "privilege")
    what = KINDS.get(tree.text(fields, "objtype"), "?")
    whole = tree.text(fields, "targtype") == "ACL_TARGET_ALL_IN_SCHEMA"
    for node in tree.nodes(fields, "objects"):
        if tree.tag(node) == "RangeVar":
            draft.relation(tree.body(node), Effect.ADMIN)
        elif whole:
            draft.add("schema", ".".join(objects.parts(node)), Effect.ADMIN)
        else:
            draft.add(what, ".".join(objects.parts(node)), Effect.ADMIN)
    for node in tree.nodes(fields, "grantees"):
        draft.add("role", objects.role(tree.body(node)), Effect.ADMIN)


def refresh(draft: Draft, kind: str, fields: Fields) -> None:
    """REFRESH MATERIALIZED VIEW: what it computes fails by the values, and tells them. So does what
    stands under a key of its own.
    """
    begin(draft, "refresh")
    draft.touches_catalogue = False
    found = draft.queries.find(tree.struct(fields, "relation"))
    if found is None:
        return
    touch = draft.account.touch(found, Effect.WRITE)
    catalogue, relation = draft.names.catalogue, found.relation
    for column in relation.columns if relation is not None else ():
        if (
            catalogue is None
            or relation is None
            or column.guarded
            or catalogue.is_computed(relation, column.name)
        ):
            draft.account.column(touch, column.name, exposed=True)


def maintain(draft: Draft, kind: str, fields: Fields) -> None:
    """VACUUM, ANALYZE, CLUSTER, REINDEX: they run index expressions, and lock."""
    draft.verb = {"ClusterStmt": "cluster", "ReindexStmt": "reindex"}.get(
        kind, "vacuum" if tree.flag(fields, "is_vacuumcmd") else "analyze"
    )
    found = objects.ranges(fields)
    index = tree.text(fields, "kind") == "REINDEX_OBJECT_INDEX"
    for relation in found:
        if index:
            draft.add("index", ".".join(objects.relation_parts(relation)), Effect.ADMIN)
            continue
        known = draft.queries.find(relation)
        if known is not None:
            touch = draft.account.touch(known, Effect.ADMIN)
            if draft.verb == "cluster":  # the order of its rows is that of an index from now
                draft.account.column(touch, "*", exposed=True)
    if not found and draft.verb == "cluster":
        draft.account.unknown("table", "*")
    if not found:
        name = tree.text(fields, "name") or draft.names.state.database
        draft.add(
            "schema" if "SCHEMA" in tree.text(fields, "kind") else "database", name, Effect.ADMIN
        )


HANDLERS: Final = {
    **dict.fromkeys(_SPECS, simple),
    "GrantStmt": grant,
    "RefreshMatViewStmt": refresh,
    "VacuumStmt": maintain,
    "ClusterStmt": maintain,
    "ReindexStmt": maintain,
}
