"""Run-time settings: what setting one means for the gateway."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from sallyport.core.operation import Effect
from sallyport.sql.session import ON, UTF8
from sallyport.sql.statement import Setting

READ_ONLY: Final = frozenset({"default_transaction_read_only", "transaction_read_only"})

_WEAKENING: Final = frozenset(
    {
        "allow_alter_system", "allow_in_place_tablespaces", "allow_system_table_mods",
        "archive_command", "backslash_quote", "data_directory", "dynamic_library_path",
        "event_triggers", "extension_control_path", "ignore_system_indexes", "jit_provider",
        "lo_compat_privileges", "local_preload_libraries", "max_stack_depth", "password_encryption",
        "session_preload_libraries", "session_replication_role", "shared_preload_libraries",
        "ssl_passphrase_command", "syslog_ident", "track_activities", "transform_null_equals",
        "zero_damaged_pages", "createrole_self_grant",
    }
)  # fmt: skip
_WEAKENING_PREFIXES: Final = ("log_", "debug_", "pgaudit.", "auto_explain.")

UNKNOWN_SETTINGS: Final = (
    Setting("search_path"),
    Setting("role"),
    Setting("standard_conforming_strings"),
    Setting("client_encoding"),
)
"""What a set_config may have set whose name cannot be read, of all that a session state keeps."""


class Judged(Struct, frozen=True):
    """What setting a setting does."""

    effect: Effect
    facts: frozenset[str] = frozenset()


_HARMLESS: Final = Judged(Effect.READ, frozenset({"set-config"}))
_WEAKENS: Final = Judged(Effect.ADMIN, frozenset({"set-config", "weakens-gate"}))
_ROLE: Final = Judged(Effect.ADMIN, frozenset({"set-config", "role", "weakens-gate"}))
_WRITE: Final = Judged(Effect.WRITE, frozenset({"set-config", "read-write"}))


def judge_setting(name: str, values: tuple[str, ...] | None, *, default: bool = False) -> Judged:
    """Return what it means to set `name` (lower case).

    `values` is None where the value is not known; `default`: back to what the session began with,
    which is what the gateway enforced. FAILS CLOSED: an unknown value of a setting that matters
    counts as the worst one.
    """
    first = values[0].lower() if values else ""
    if name in ("role", "session_authorization"):
        return _HARMLESS if default else _ROLE
    if name in READ_ONLY:
        return _HARMLESS if default or first in ON else _WRITE
    if name == "standard_conforming_strings":
        return _HARMLESS if default or first in ON else _WEAKENS
    if name == "client_encoding":
        return _HARMLESS if default or first in UTF8 else _WEAKENS
    if name in _WEAKENING or name.startswith(_WEAKENING_PREFIXES):
        return _WEAKENS
    return _HARMLESS
