"""From what the API tells to a native client's settings: where, as whom, and with how much TLS.

INVARIANT: a token goes into a client's environment and nowhere else, and what could send it to
another server than the gateway (`PGHOSTADDR`, a service file) is taken out of there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from msgspec import Struct

from sallyport.cli.errors import USAGE, CommandError
from sallyport.identity.secrets import PREFIX, parse_secret

PREFERRED: Final = ("scram", "token", "oauth", "certificate")
"""Mechanisms, the one that shows the least first."""

TAKE_PASSWORDS: Final = ("scram", "token")

ELSEWHERE: Final = (
    "PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGPASSFILE", "PGREQUIREAUTH", "PGREQUIREPEER",
    "PGCHANNELBINDING", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGSSLNEGOTIATION",
    "PGSSLCERT", "PGSSLKEY", "PGSSLCERTMODE",
)  # fmt: skip
"""What else of libpq's environment says where to connect, and what to show there."""

_EVERY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104
_SOCKET: Final = re.compile(r"\.s\.PGSQL\.([0-9]{1,5})")


class Place(Struct, frozen=True):
    """Where and as whom a client connects. `issuer`: where `oauth` gets its token."""

    listener: str
    mechanism: str
    host: str
    port: int
    database: str
    user: str
    sslmode: str
    authority: str = ""
    issuer: str = ""

    def environment(self) -> dict[str, str]:
        """Return libpq's variables, without the password."""
        found = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.database,
            "PGUSER": self.user,
            "PGSSLMODE": self.sslmode,
        }
        return found | ({"PGSSLROOTCERT": self.authority} if self.authority else {})

    def words(self) -> str:
        """Return libpq's `name=value` string, without the password."""
        named = {
            "host": self.host,
            "port": str(self.port),
            "dbname": self.database,
            "user": self.user,
            "sslmode": self.sslmode,
        }
        if self.authority:
            named["sslrootcert"] = self.authority
        if self.mechanism == "oauth":
            named["oauth_issuer"] = self.issuer
            named["oauth_client_id"] = "CLIENT_ID"
        return " ".join(f"{name}={_word(value)}" for name, value in named.items())

    def url(self) -> str:
        """Return the URL that drivers take, without the password."""
        query = f"sslmode={self.sslmode}"
        if self.authority:
            query += f"&sslrootcert={quote(self.authority, safe='/')}"
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        user, name = quote(self.user, safe=""), quote(self.database, safe="/")
        return f"postgresql://{user}@{host}:{self.port}/{name}?{query}"


def choose_login(target: Mapping[str, Any], wanted: str | None) -> dict[str, Any]:
    """Return the login that is meant: `wanted`, else what is given, the default before others."""
    logins: Sequence[dict[str, Any]] = target["logins"]
    if wanted is not None:
        found = next((one for one in logins if one["name"] == wanted), None)
        if found is None:
            there = ", ".join(str(one["name"]) for one in logins)
            raise CommandError(f"you do not reach login `{wanted}`", hint=f"there is {there}")
        return found
    return min(logins, key=lambda one: (one["access"] != "given", not one["default"]))


def choose_listener(
    listeners: Sequence[dict[str, Any]], protocol: str, token: str, wanted: str | None
) -> dict[str, Any]:
    """Return the listener to use: `wanted`, else the one that shows the least of the token."""
    if protocol != "postgres":
        raise CommandError(f"there is nothing to paste for protocol `{protocol}`")
    fitting = [one for one in listeners if one["protocol"] == protocol]
    if wanted is not None:
        fitting = [one for one in fitting if one["name"] == wanted]
        if not fitting:
            raise CommandError(f"no listener for this target is named `{wanted}`", code=USAGE)
    elif not token.startswith(PREFIX):  # a JWT is no password that could be proven
        fitting = [one for one in fitting if one["mechanism"] != "scram"]
    known = [one for one in fitting if one["mechanism"] in PREFERRED]
    if not known:
        raise CommandError("the gateway has no listener that you could connect to")
    return min(known, key=lambda one: PREFERRED.index(one["mechanism"]))


def place_of(
    listener: Mapping[str, Any], api: str, target: str, login: str, token: str, authority: str
) -> Place:
    """Return the settings. `api` is where the API was reached: a wildcard's host is its host.

    `authority`: a file of who vouches for the listener's TLS; empty: as libpq has it.
    """
    host, port = str(listener["host"]), int(listener["port"])
    if listener["path"]:
        path = Path(str(listener["path"]))
        found = _SOCKET.fullmatch(path.name)
        if found is None:
            raise CommandError(f"clients of PostgreSQL cannot use the socket `{path}`")
        host, port = str(path.parent), int(found[1])
    elif host in _EVERY_ADDRESS:
        host = urlsplit(api).hostname or host
    plain = listener["tls"] == "none"
    return Place(
        listener=str(listener["name"]),
        mechanism=str(listener["mechanism"]),
        host=host,
        port=port,
        database=target,
        user=_user(str(listener["mechanism"]), login, token),
        sslmode="disable" if plain else "verify-full",
        authority="" if plain else authority,
        issuer=str(listener["issuer"]),
    )


def client_environment(place: Place, token: str, before: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a native client. Raises: CommandError by which it cannot log in."""
    if place.mechanism not in TAKE_PASSWORDS:
        raise CommandError(
            f"listener `{place.listener}` takes no password (`{place.mechanism}`)",
            hint="name another by --listener, or see docs/identity.md for what it needs",
        )
    kept = {name: value for name, value in before.items() if name not in ELSEWHERE}
    if not place.authority and place.sslmode == "verify-full" and not _has_authority(kept):
        kept["PGSSLROOTCERT"] = "system"
    return kept | place.environment() | {"PGPASSWORD": token}


def paste(place: Place, command: str) -> str:
    """Return what people paste. `command` is `sallyport connect TARGET ...` for the same place."""
    secret = f'"$({command} --password)"'
    export = " ".join(f"{name}={shlex.quote(each)}" for name, each in place.environment().items())
    if place.mechanism not in TAKE_PASSWORDS:
        return "\n".join(
            (f"psql (the listener takes `{place.mechanism}`, and no password)",
             f"  psql {shlex.quote(place.words())}")
        )  # fmt: skip
    return "\n".join(
        (
            "psql",
            f"  {command} -- psql",
            f"  PGPASSWORD={secret} psql {shlex.quote(place.words())}",
            "psycopg",
            f"  {command} -- python program.py    # psycopg.connect() needs nothing more",
            "a DSN, with the password from the command below",
            f"  {place.url()}",
            "environment",
            f"  export {export}",
            f"  export PGPASSWORD={secret}",
        )
    )


def _user(mechanism: str, login: str, token: str) -> str:
    if mechanism != "scram":
        return login
    identifier = parse_secret(token)
    if identifier is None:
        raise CommandError(
            "this listener takes tokens `sp_...` alone, and you have another",
            hint="log in with `sallyport login`, or name another listener by --listener",
        )
    return f"{identifier}/{login}"


def _has_authority(environment: Mapping[str, str]) -> bool:
    own = Path(environment.get("HOME", "/")) / ".postgresql" / "root.crt"
    return "PGSSLROOTCERT" in environment or own.exists()


def _word(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._:/@%+-]+", value, re.ASCII):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
