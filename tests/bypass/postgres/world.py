"""What is attacked: a real server, a gateway with an operator's policy, and what must not change."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import psycopg

from sallyport.cli.client import path
from sallyport.demo.server import EmbeddedPostgres
from tests.bypass.postgres.wire import Wire
from tests.support.gateway import Gateway

SCHEMA = (Path(__file__).parent / "schema.sql").read_text()
DATABASE = "bypass"
TABLES = {
    "table": ["public.*", "pg_temp.*"],
    "view": ["public.*"],
    "materialized-view": ["public.*"],
}
MASKED = ("masked", "masked-writer", "masked-power", "masked-blanket")
SUBJECTS = ("reader", "writer", "power", "listed", *MASKED)
"""Who attacks; each is the only member of the group of its name."""

CLOSED: dict[str, Any] = {
    "name": "vault-stays-closed",
    "effect": "deny",
    "operations": {"resources": {"table": ["public.vault", "private.*"]}},
    "reason": "the vault is for nobody",
}
RULES: list[dict[str, Any]] = [
    {
        "name": "read",
        "effect": "allow",
        "subjects": {"groups": ["reader", "masked", "writer", "masked-writer"]},
        "operations": {"effects": ["read"], "resources": TABLES},
    },
    {
        # Only what is listed: how an operator writes it who trusts nothing.
        "name": "read-orders",
        "effect": "allow",
        "subjects": {"groups": ["listed"]},
        "operations": {
            "verbs": ["select"],
            "effects": ["read"],
            "resources": {"table": ["public.orders"]},
        },
    },
    {
        "name": "write-orders",
        "effect": "allow",
        "subjects": {"groups": ["writer", "masked-writer"]},
        "operations": {
            "effects": ["write"],
            "resources": {
                "table": ["public.orders", "public.notes", "pg_temp.*"],
                "sequence": ["public.notes_id_seq"],
            },
        },
    },
    {
        "name": "power",
        "effect": "allow",
        "subjects": {"groups": ["power", "masked-power", "masked-blanket"]},
        "operations": {"effects": ["read", "write", "admin", "unknown"]},
    },
    {
        "name": "functions",
        "effect": "allow",
        "subjects": {"groups": ["masked-power"]},
        "operations": {
            "effects": ["unknown"],
            "resources": {"function": ["*"], "procedure": ["*"]},
        },
    },
    CLOSED,
    {
        "name": "mask",
        "effect": "mask",
        "subjects": {"groups": list(MASKED)},
        "mask": {
            "columns": ["*.*.ssn", "public.customers.{email,profile,tags,picture,born}"],
            "detectors": ["email"],
            "transform": "redact",
        },
    },
]

_WORD = b"CANARY-"
_SECRETS = [_WORD, b"1981-01-19", b"1982-02-19", b"ada.canary@example.com", b"customers_secret"]
_CLOSED = [b"CANARY-vault", b"CANARY-key"]


def forms(word: bytes) -> set[bytes]:
    """A secret as it may leave: plain, in hex, base64, reversed, in UTF-16."""
    found = {word.lower(), word[::-1].lower(), word.hex().encode()}
    found.add(word.decode().encode("utf-16-be").lower())
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + word)
        found.add(coded[4 if shift else 0 : -4].lower())
    return {form for form in found if len(form) > 5}


_FORBIDDEN = {
    True: {form for word in (*_SECRETS, *_CLOSED) for form in forms(word)},
    False: {form for word in _CLOSED for form in forms(word)},
}


def leaked(seen: bytes, subject: str) -> list[bytes]:
    """Return the secrets in what a subject was sent."""
    lowered = seen.lower()
    return sorted(form for form in _FORBIDDEN[subject in MASKED] if form in lowered)


class World:
    """The server, the gateway, and one connection past it."""

    def __init__(self, folder: Path, server: EmbeddedPostgres, *, database: str = DATABASE) -> None:
        self.server = server
        server.psql(f"drop database if exists {database} with (force)")
        server.psql(f"create database {database} owner app")
        server.psql("set role app;\n" + SCHEMA, database)
        self.files = server.folder / "bypass-files"
        self.files.mkdir(exist_ok=True)
        self.files.chmod(0o777)
        self.direct = psycopg.connect(server.uri(database), autocommit=True)
        self.victim = psycopg.connect(server.uri(database), autocommit=True)
        self.gateway = Gateway(folder, server, database=database, rules=RULES)
        config = self.gateway.config
        config["access"][0]["subjects"] = {"groups": list(SUBJECTS)}
        second = {**config["targets"][0], "name": "super", "login": "postgres"}
        second["logins"] = {"postgres": {"credential": "vault:super"}}
        config["targets"].append(second)
        config["policy"]["guardrails"]["except"] = ["limit-rate", "limit-sessions", "limit-hourly"]
        self.gateway.start()
        self.gateway.admin.put(path("credentials", "super"), {"value": server.password})
        self.tokens = {name: self.gateway.token(name, groups=[name]) for name in SUBJECTS}
        self.known: dict[str, Any] | None = None
        """The state as the last case left it, where nobody has touched anything since."""
        self._tables: dict[tuple[tuple[str, str], ...], str] = {}

    def close(self) -> None:
        """Stop the gateway."""
        self.gateway.stop()
        self.direct.close()
        self.victim.close()

    def connect(self, subject: str, target: str = "db", **parameters: str) -> Wire:
        """Open a session of `subject`."""
        user = "postgres" if target.startswith("super") else "app"
        given = {"user": user, "database": target, **parameters}
        return Wire(self.gateway.port, given, self.tokens[subject])

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the server itself, as its superuser."""
        return self.direct.execute(sql.encode()).fetchall()

    def reload(self, rules: list[dict[str, Any]]) -> None:
        """Put another policy in force."""
        self.gateway.config["policy"]["rules"] = rules
        self.gateway.reload()

    def oid(self, name: str) -> int:
        """Return a relation's or function's oid."""
        kind = "regprocedure" if "(" in name else "regclass"
        if name.startswith("type "):
            kind, name = "regtype", name.removeprefix("type ")
        return int(self.ask(f"select '{name}'::{kind}::oid")[0][0])

    def state(self) -> dict[str, Any]:
        """Return everything that must stay as it is."""
        relations = self.ask(_RELATIONS)
        key = tuple((schema, name) for schema, name, _ in relations)
        if key not in self._tables:
            parts = [_table(schema, name, kind) for schema, name, kind in relations]
            parts += [_catalogue(name, sql) for name, sql in _CATALOGUES.items()]
            self._tables[key] = " union all ".join(parts)
        found: dict[str, Any] = {row[0]: row[1:] for row in self.ask(self._tables[key])}
        found["files"] = sorted(file.name for file in self.files.iterdir())
        found["victim"] = self._victim_pid()
        return found

    def _victim_pid(self) -> int:
        """Return whose session others must leave alone: another one after it was ended."""
        try:
            self.victim.execute("select 1")
        except psycopg.Error:
            uri = self.server.uri(self.direct.info.dbname)
            self.victim = psycopg.connect(uri, autocommit=True)
        return self.victim.info.backend_pid

    def settled(self) -> None:
        """Wait until no session of the gateway's runs a statement or keeps a transaction open."""
        wait = (
            "do $$ begin for i in 1..400 loop perform pg_stat_clear_snapshot(); exit when not"
            " exists (select from pg_stat_activity where datname = current_database() and application_name"
            " is distinct from 'sallyport' and pid not in (pg_backend_pid(), VICTIM)"
            " and state <> 'idle' and backend_type = 'client backend');"
            " perform pg_sleep(0.01); end loop; end $$"
        )
        self.direct.execute(wait.replace("VICTIM", str(self.victim.info.backend_pid)).encode())

    def fill(self, value: Any) -> Any:
        """Put the world's own facts into a case."""
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {name: self.fill(item) for name, item in value.items()}
        if not isinstance(value, str) or "@" not in value:
            return value
        value = value.replace("@FILES@", str(self.files))
        value = value.replace("@PORT@", str(self.server.port))
        value = value.replace("@VICTIM@", str(self.victim.info.backend_pid))
        whole = re.fullmatch(r"@OID:([^@]+)@", value)
        if whole is not None:
            return self.oid(whole[1])
        return re.sub(r"@OID:([^@]+)@", lambda found: str(self.oid(found[1])), value)


_RELATIONS = """
select n.nspname, c.relname, c.relkind::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid >= 16384 and c.relkind in ('r', 'm', 'S') and n.nspname !~ '^pg_' order by 1, 2
"""
_CATALOGUES = {
    "relations": "select oid, relname, relnamespace, relowner, relacl::text, relkind, relrowsecurity"
    " from pg_class where oid >= 16384 and relpersistence <> 't' and relnamespace <> 99 order by 1",
    "functions": "select oid, proname, xmin::text from pg_proc where oid >= 16384 order by 1",
    "roles": "select oid, rolname, rolsuper, rolcreaterole, rolpassword, xmin::text from pg_authid"
    " order by 1",
    "settings": "select * from pg_db_role_setting order by 1, 2",
    "system": "select coalesce(pg_read_file('postgresql.auto.conf', 0, 1000000, true), '')",
    "triggers": "select oid, tgname, tgenabled from pg_trigger where not tgisinternal order by 1",
    "rules": "select oid, rulename, ev_enabled from pg_rewrite where oid >= 16384 order by 1",
    "policies": "select oid, polname from pg_policy order by 1",
    "large objects": "select oid from pg_largeobject_metadata order by 1",
    "schemas": "select oid, nspname, nspowner, nspacl::text from pg_namespace"
    " where nspname !~ '^pg_(toast_)?temp' order by 1",
    "types": "select t.oid, typname from pg_type t join pg_namespace n on n.oid = typnamespace"
    " where t.oid >= 16384 and nspname !~ '^pg_(toast_)?temp' order by 1",
    "casts": "select oid from pg_cast where oid >= 16384 order by 1",
    "operators": "select oid from pg_operator where oid >= 16384 order by 1",
    "extensions": "select oid, extname from pg_extension order by 1",
    "databases": "select oid, datname, datacl::text, datdba from pg_database order by 1",
    "prepared": "select gid from pg_prepared_xacts order by 1",
    "slots": "select slot_name from pg_replication_slots order by 1",
    "comments": "select * from pg_description where objoid >= 16384 order by 1, 2, 3",
    "event triggers": "select oid, evtname from pg_event_trigger order by 1",
    "publications": "select oid, pubname from pg_publication order by 1",
}


def _catalogue(name: str, sql: str) -> str:
    return f"select '{name}', count(*), md5(coalesce(string_agg(x::text, '|'), '')) from ({sql}) x"


def _table(schema: str, name: str, kind: str) -> str:
    full = f'"{schema}"."{name}"'
    if kind == "S":
        return f"select '{full}', 0::bigint, last_value || is_called::text from {full}"
    return (
        f"select '{full}', count(*), md5(coalesce(string_agg(t.xmin || ' ' || t.ctid || t::text,"
        f" '|'), '')) from {full} t"
    )
