"""Telling: statements that show beside the data what masks hide in it.

The server keeps statistics of every column, with values in them, and the texts that it was sent,
which have in them what makes the hashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from msgspec import structs

from sallyport.core.decision import Deny, Mask
from sallyport.core.operation import Effect, Resource
from sallyport.sql.statement import Statement

_TEXTS: Final[Mapping[str, frozenset[str]]] = {
    "pg_catalog.current_query": frozenset(),
    "pg_catalog.pg_backend_memory_contexts": frozenset({"ident"}),
    "pg_catalog.pg_get_backend_memory_contexts": frozenset(),
    "pg_catalog.pg_cursor": frozenset(),
    "pg_catalog.pg_cursors": frozenset({"statement"}),
    "pg_catalog.pg_prepared_statement": frozenset(),
    "pg_catalog.pg_prepared_statements": frozenset({"statement"}),
    "pg_catalog.pg_stat_activity": frozenset({"query"}),
    "pg_catalog.pg_stat_get_activity": frozenset(),
    "pg_catalog.pg_stat_get_backend_activity": frozenset(),
}
"""What shows the texts that the server got, and in which columns (none: always)."""

_ENDS: Final = frozenset({"commit", "prepare-transaction"})
"""Verbs that run the triggers that waited."""
_ATTRIBUTES: Final = "pg_catalog.pg_attribute"
"""It has the value that rows from before a column have in it."""
_NAMES: Final = frozenset(
    {
        "schemaname", "tablename", "attname", "inherited", "statistics_schemaname",
        "statistics_name", "statistics_owner", "attnames", "exprs", "kinds", "expr", "starelid",
        "staattnum", "stainherit", "stxoid", "stxdinherit",
    }
)  # fmt: skip
_STATISTICS: Final = frozenset(
    f"pg_catalog.{name}"
    for name in (
        "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs", "pg_statistic", "pg_statistic_ext_data"
    )
)  # fmt: skip
"""What shows statistics of columns, in any but their `_NAMES`."""


def rules_of(masks: tuple[Mask, ...]) -> tuple[str, ...]:
    """Return the rules of the masks that name columns."""
    return tuple(mask.rule for mask in masks if mask.columns)


def bound_before(masks: tuple[Mask, ...]) -> Deny:
    """Refuse to run what was rewritten, or was not, by masks that may not be those of now."""
    reason = "what is masked has changed since it was bound"
    return Deny(rules_of(masks), reason, "bind it again")


def hashing(masks: tuple[Mask, ...]) -> tuple[str, ...]:
    """Return the rules under which rewritten texts have what makes the hashes in them."""
    return tuple(mask.rule for mask in _hashes(masks))


def is_kept(statements: Sequence[Statement]) -> bool:
    """Whether what runs in the database may keep the text of a message of these statements.

    A trigger can read all of the message that made it run, and where it puts that is not known.
    """
    if any(one.apart is not None for one in statements):
        return True
    return len(statements) > 1 and any(
        one.effect is not Effect.READ or one.verb in _ENDS for one in statements
    )


@lru_cache(maxsize=256)
def without_hashes(masks: tuple[Mask, ...]) -> tuple[Mask, ...]:
    """Return masks that redact columns where these hash them."""
    return tuple(
        structs.replace(mask, transform="redact") if mask in _hashes(masks) else mask
        for mask in masks
    )


def _hashes(masks: tuple[Mask, ...]) -> tuple[Mask, ...]:
    return tuple(mask for mask in masks if mask.columns and mask.transform == "hash")


def telling(
    statement: Statement, masks: tuple[Mask, ...], hashed: tuple[str, ...] = ()
) -> Deny | None:
    """Return why a statement may show what `masks` hide: it reads statistics of columns, texts with
    what makes the hashes, or the plan of one that was prepared.

    `hashed`: the rules under which texts of this session have that in them already.
    """
    rules = tuple(mask.rule for mask in masks if mask.columns)
    if rules:
        for resource in statement.resources:
            missing = resource.name == _ATTRIBUTES and not {"*", "attmissingval"}.isdisjoint(
                resource.columns
            )
            if missing or (resource.name in _STATISTICS and not _shows_only(resource, _NAMES)):
                reason = f"`{resource.name}` shows values of masked columns"
                return Deny(rules[:1], reason, "leave all but the names out")
    return _tells_key(statement, hashing(masks) or hashed)


def _tells_key(statement: Statement, rules: tuple[str, ...]) -> Deny | None:
    if not rules:
        return None
    if statement.verb == "explain" and "execute" in statement.inner:
        reason = "the plan of what was prepared shows what makes the hashes of masked columns"
        return Deny(rules[:1], reason, "explain the SELECT itself")
    for resource in statement.resources:
        columns = _TEXTS.get(resource.name)
        if resource.name.endswith(".pg_stat_statements"):  # in whatever schema
            columns = frozenset({"query"}) if resource.kind != "function" else frozenset()
        if columns is None:
            continue
        if not columns or not resource.columns or (columns | {"*"}) & set(resource.columns):
            reason = (
                f"`{resource.name}` shows statements with what makes the hashes of masked columns"
            )
            return Deny(rules[:1], reason, "leave the statement's text out")
    return None


def _shows_only(resource: Resource, names: frozenset[str]) -> bool:
    return bool(resource.columns) and names.issuperset(resource.columns)
