"""The closed set of verbs: what a PostgreSQL statement can be called in a policy."""

from __future__ import annotations

from typing import Final

_PLAIN: Final = (
    "select insert update delete merge truncate copy-in copy-out copy-file copy-program explain "
    "grant revoke set reset show discard set-role "
    "begin commit rollback savepoint release prepare-transaction commit-prepared rollback-prepared "
    "prepare execute deallocate declare fetch close listen unlisten notify lock call do "
    "vacuum analyze cluster reindex refresh checkpoint load comment security-label "
    "create-table-as select-into alter-system alter-default-privileges drop-owned reassign-owned "
    "import-foreign-schema set-constraints empty unknown"
).split()

WRITES: Final = frozenset({"insert", "update", "delete", "merge"})
"""Verbs that change rows, and can give them back."""

OBJECTS: Final = frozenset(
    "table view materialized-view foreign-table sequence index function procedure aggregate "
    "type domain schema database role extension trigger event-trigger rule policy publication "
    "subscription server user-mapping foreign-data-wrapper tablespace collation conversion "
    "operator operator-class operator-family cast transform language statistics text-search "
    "access-method large-object constraint".split()
)
"""Kinds of objects that CREATE, ALTER and DROP name: `create-table`, `drop-view`, ..."""

VERBS: Final[frozenset[str]] = frozenset(_PLAIN) | {
    f"{action}-{kind}" for action in ("create", "alter", "drop") for kind in OBJECTS
}
"""Every verb that a classification can give. `unknown`: a text that was not understood."""

KINDS: Final[frozenset[str]] = OBJECTS | frozenset(
    "setting file program channel cursor statement column lock transaction parameter".split()
)
"""Every kind of resource that a classification can give."""

QUALIFIED: Final[frozenset[str]] = frozenset(
    "table view materialized-view foreign-table sequence function procedure aggregate type domain "
    "index".split()
)
"""Kinds whose resources are named `schema.name`."""
