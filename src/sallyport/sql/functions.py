"""What calling a function does: `functions.json` is the reviewed list.

A built-in is pure only if it stands in the list; `tools/derive_functions.py` finds candidates on
live servers. A function of a reviewed extension is pure if it is compiled, or one of citext's in
SQL, and not volatile.
FAILS CLOSED: everything else (users' functions, built-ins that nobody reviewed) is UNKNOWN.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

import msgspec
from msgspec import Struct

from sallyport.core.operation import Effect
from sallyport.sql.catalogue import Function


class Judgement(Struct, frozen=True):
    """What a call does. `effect` is None for a pure function, which is no resource at all."""

    effect: Effect | None
    facts: frozenset[str] = frozenset()


_PURE: Final = Judgement(None)
_USER: Final = Judgement(Effect.UNKNOWN, frozenset({"user-function"}))
_UNREVIEWED: Final = Judgement(Effect.UNKNOWN, frozenset({"unknown-function"}))
_DYNAMIC: Final = Judgement(Effect.UNKNOWN, frozenset({"user-function", "dynamic-sql"}))
_MONITOR: Final = Judgement(Effect.READ, frozenset({"secret-catalog", "other-sessions"}))

_LISTS: Final[dict[str, tuple[Effect, str]]] = {
    "volatile": (Effect.READ, "volatile-function"),
    "advisory_lock": (Effect.WRITE, "volatile-function advisory-lock"),
    "sequence": (Effect.WRITE, "volatile-function writes-function"),
    "notify": (Effect.WRITE, "volatile-function writes-function notify"),
    "set_config": (Effect.ADMIN, "volatile-function set-config"),
    "large_object_read": (Effect.READ, "volatile-function large-object"),
    "large_object_write": (Effect.WRITE, "volatile-function writes-function large-object"),
    "large_object_file": (Effect.ADMIN, "volatile-function large-object server-file"),
    "dynamic_sql": (Effect.UNKNOWN, "dynamic-sql"),
    "server_file": (Effect.ADMIN, "volatile-function server-file"),
    "secret": (Effect.READ, "secret-catalog"),
    "other_sessions_read": (Effect.READ, "secret-catalog other-sessions"),
    "other_sessions_admin": (Effect.ADMIN, "volatile-function other-sessions"),
    "replication": (Effect.ADMIN, "volatile-function replication"),
    "admin": (Effect.ADMIN, "volatile-function writes-function server-administration"),
}


def _load() -> tuple[dict[str, Judgement], frozenset[str], frozenset[str]]:
    raw = resources.files("sallyport.sql").joinpath("functions.json").read_bytes()
    data = msgspec.json.decode(raw, type=dict[str, list[str]])
    judged = dict.fromkeys(data["pure"] + data["pure_in_spite_of_volatile"], _PURE)
    for key, (effect, facts) in _LISTS.items():
        judged.update({name: Judgement(effect, frozenset(facts.split())) for name in data[key]})
    return judged, frozenset(data["extensions"]), frozenset(data["dynamic_extensions"])


_JUDGED, _EXTENSIONS, _DYNAMIC_EXTENSIONS = _load()


def judge(function: Function) -> Judgement:
    """Return what calling any of these functions may do."""
    if function.builtin and function.schema == "pg_catalog":
        return _JUDGED.get(function.name, _UNREVIEWED)
    if function.builtin and function.schema == "information_schema":
        return _PURE if function.volatility != "v" else _UNREVIEWED
    if function.extension in _EXTENSIONS and function.compiled:
        if function.volatility != "v":
            return _PURE
        if function.name.startswith(("uuid_generate_", "gen_random_", "gen_salt")):
            return Judgement(Effect.READ, frozenset({"volatile-function"}))
    if function.extension in _DYNAMIC_EXTENSIONS:
        return _DYNAMIC
    if function.extension == "pg_stat_statements" and function.name == "pg_stat_statements":
        return _MONITOR
    return _USER


_WHOLE: Final = frozenset({"*"})
SECRET_RELATIONS: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(
        [
            "pg_authid", "pg_shadow", "pg_statistic", "pg_statistic_ext_data",
            "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs", "pg_largeobject",
            "pg_stat_activity", "pg_hba_file_rules", "pg_ident_file_mappings",
            "pg_file_settings", "pg_stat_wal_receiver", "pg_stat_replication",
            "pg_stat_subscription", "pg_replication_origin_status",
            "pg_prepared_xacts", "_pg_user_mappings", "user_mapping_options",
        ],
        _WHOLE,
    ),
    "pg_db_role_setting": frozenset({"setconfig"}),
    "pg_user_mapping": frozenset({"umoptions"}),
    "pg_user_mappings": frozenset({"umoptions"}),
    "pg_subscription": frozenset({"subconninfo"}),
}  # fmt: skip
"""Catalogue relations that show passwords, values of columns, or what others run, and in which
columns (`*`: whichever is read)."""

SESSION_RELATIONS: Final = frozenset(
    {
        "pg_stat_activity", "pg_stat_replication", "pg_stat_ssl", "pg_stat_gssapi", "pg_locks",
        "pg_stat_progress_analyze", "pg_stat_progress_basebackup", "pg_stat_progress_cluster",
        "pg_stat_progress_copy", "pg_stat_progress_create_index", "pg_stat_progress_vacuum",
        "pg_prepared_xacts", "pg_stat_wal_receiver", "pg_stat_subscription",
    }
)  # fmt: skip
"""Catalogue relations that show other sessions."""

SECRET_SETTINGS: Final = frozenset(
    {
        "primary_conninfo", "ssl_passphrase_command", "archive_command", "restore_command",
        "hba_file", "ident_file", "config_file", "data_directory", "krb_server_keyfile",
        "ssl_key_file",
    }
)  # fmt: skip
"""Settings whose value tells where the server keeps its secrets, or is one."""
