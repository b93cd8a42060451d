"""Setup: the SQL of a login that sees masked views alone, whatever way it reaches the target.

The masks then hold beside the gateway, too: the views' owner reads the relations, the login may
not. INVARIANT: no key is in it: hash redacts here. A relation whose SQL could not be read as it is
written (control and invisible characters in names) is left out, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.core.visible import shows
from sallyport.protocols.postgres.masks.at_source import mask_expressions
from sallyport.protocols.postgres.survey.sampling import masked_columns, told
from sallyport.sql.catalogue import CatalogueSnapshot, Relation
from sallyport.sql.rewriting.masks import SHOWN_KEY, CannotMask
from sallyport.sql.rewriting.pieces import identifier

LONGEST_ROLE: Final = 50
LONGEST_NAME: Final = 63
"""Bytes of a name, as the server has it."""
OWNER: Final = "_views"
SCHEMA: Final = "_masked"

_HEAD: Final = """\
-- A login that sees masked views alone. Read it; run it in database {database} as a
-- superuser, with `psql -v ON_ERROR_STOP=1`. Then set a password: \\password {role}
-- It does not see to functions: one that is SECURITY DEFINER, and that PUBLIC may call, may read
-- what the login may not.
-- Columns under a hash are redacted here: a hash would need its key in the view, where it can be
-- read.
BEGIN;
CREATE ROLE {owner} NOLOGIN;
CREATE ROLE {login} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
"""


def setup(catalogue: CatalogueSnapshot, masks: tuple[Mask, ...], database: str, role: str) -> str:
    """Return the SQL. Raises: ValueError for a role's name that cannot be taken."""
    if not role or not shows(role) or len(role.encode()) > LONGEST_ROLE or role[:3] == "pg_":
        raise ValueError(
            f"a role's name has up to {LONGEST_ROLE} bytes that can be seen, and no `pg_` in front"
        )
    keyless = tuple(
        msgspec.structs.replace(mask, transform="redact") if mask.transform == "hash" else mask
        for mask in masks
    )
    login, owner = identifier(role), identifier(role + OWNER)
    head = _HEAD.format(database=told(database), role=login, owner=owner, login=login)
    made = [head, *_views(catalogue, keyless, login, owner)]
    path = ", ".join(identifier(name) for name in _schemas(catalogue, keyless))
    if path and shows(database):
        made.append(
            f"ALTER ROLE {login} IN DATABASE {identifier(database)} SET search_path = {path};\n"
        )
    made.append("-- What has no masked columns is not granted: GRANT SELECT ON what it may read.\n")
    made.append("COMMIT;\n")
    return "\n".join(made)


def _relations(catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]) -> Iterator[Relation]:
    for relation in catalogue.raw.relations:
        if not relation.system and masked_columns(relation, catalogue, masks):
            yield relation


def _schemas(catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]) -> list[str]:
    """Return the schemas of the views, by name."""
    names = {relation.schema for relation in _relations(catalogue, masks)}
    return sorted(_schema(name) for name in names if shows(name))


def _schema(name: str) -> str:
    """Return the schema that the masked views of a schema stand in."""
    room = LONGEST_NAME - len(SCHEMA)
    return name.encode()[:room].decode("utf-8", "ignore") + SCHEMA


def _views(
    catalogue: CatalogueSnapshot, masks: tuple[Mask, ...], login: str, owner: str
) -> Iterator[str]:
    """Yield the SQL of each relation with masked columns, and of the schemas before them."""
    for name in _schemas(catalogue, masks):
        schema = identifier(name)
        yield (
            f"CREATE SCHEMA {schema} AUTHORIZATION {owner};\n"
            f"GRANT USAGE ON SCHEMA {schema} TO {login};"
        )
    used: set[str] = set()
    for relation in _relations(catalogue, masks):
        name = told(relation.schema, relation.name)
        if not shows(relation.schema + relation.name):
            yield f"-- {name}: left out, its name cannot be shown. REVOKE it from {login}."
            continue
        raw = f"{identifier(relation.schema)}.{identifier(relation.name)}"
        yield f"REVOKE ALL ON {raw} FROM PUBLIC, {login};"
        try:
            view = _view(relation, catalogue, masks)
        except (CannotMask, MaskingFailed) as error:
            yield f"-- {name}: no view, it cannot be masked ({told(str(error))})."
            continue
        if not shows(view):
            yield f"-- {name}: no view, names in it cannot be shown."
            continue
        if relation.schema not in used:
            used.add(relation.schema)
            yield f"GRANT USAGE ON SCHEMA {identifier(relation.schema)} TO {owner};"
        masked = f"{identifier(_schema(relation.schema))}.{identifier(relation.name)}"
        yield (
            f"GRANT SELECT ON {raw} TO {owner};\n"
            f"CREATE VIEW {masked} AS {view};\n"
            f"ALTER VIEW {masked} OWNER TO {owner};\n"
            f"GRANT SELECT ON {masked} TO {login};"
        )


def _view(relation: Relation, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]) -> str:
    """Return the query of a relation's masked view. Raises: CannotMask, MaskingFailed."""
    hidden = mask_expressions(relation, catalogue, masks, SHOWN_KEY)
    columns = [
        f"{hidden[column.name]} AS {identifier(column.name)}"
        if column.name in hidden
        else identifier(column.name)
        for column in relation.columns
    ]
    return (
        f"SELECT {', '.join(columns)} "
        f"FROM {identifier(relation.schema)}.{identifier(relation.name)}"
    )
