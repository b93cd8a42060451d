"""From what the API tells to a native client's settings: where, as whom, and with how much TLS.

INVARIANT: a token goes into a client's environment and nowhere else, and there only for a listener
that takes it as a password. What could send anything that is shown to another server than the
gateway, or show something else (`PGHOSTADDR`, a service file), is taken out of there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from msgspec import Struct

from sallyport.cli.errors import USAGE, CommandError
from sallyport.cli.own_certificate import OwnCertificate
from sallyport.identity.names import is_unspecified
from sallyport.identity.secrets import PREFIX, parse_secret

PREFERRED: Final = ("scram", "token", "oauth", "certificate")
"""Mechanisms, the one that shows the least first."""

TAKE_PASSWORDS: Final = ("scram", "token")

REQUIRED: Final = {"oauth": "oauth", "scram": "scram-sha-256"}
"""What libpq calls the mechanisms by which nothing else is shown (`require_auth`)."""

ELSEWHERE: Final = (
    "PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGPASSFILE", "PGREQUIREAUTH", "PGREQUIREPEER",
    "PGCHANNELBINDING", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGSSLNEGOTIATION",
    "PGSSLCERT", "PGSSLKEY", "PGSSLCERTMODE", "PGPASSWORD",
)  # fmt: skip
"""What else of libpq's environment says where to connect, and what to show there."""

CLIENT_ID: Final = "CLIENT_ID"
"""What is printed in the place of a client that the gateway does not name."""

_SOCKET: Final = re.compile(r"\.s\.PGSQL\.([0-9]{1,5})")


class Place(Struct, frozen=True):
    """Where and as whom a client connects.

    `issuer`, `client_id`, `scope`: where and how `oauth` gets its token. `own`: what is shown to
    `certificate`.
    """

    listener: str
    mechanism: str
    host: str
    port: int
    database: str
    user: str
    sslmode: str
    authority: str = ""
    issuer: str = ""
    client_id: str = ""
    scope: str = ""
    own: OwnCertificate | None = None

    def environment(self) -> dict[str, str]:
        """Return libpq's variables, without the password. There are none for `oauth`'s settings.

        A libpq that knows them (16 and later) is kept from showing a password, or nothing; where it
        shall prove the token, from telling it to whoever asks for it instead.
        """
        found = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.database,
            "PGUSER": self.user,
            "PGSSLMODE": self.sslmode,
        }
        if self.authority:
            found["PGSSLROOTCERT"] = self.authority
        if self.mechanism in REQUIRED:
            found["PGREQUIREAUTH"] = REQUIRED[self.mechanism]
        if self.own is not None:
            found |= {"PGSSLCERT": self.own.certificate, "PGSSLKEY": self.own.key}
            found |= {"PGSSLCERTMODE": "require", "PGREQUIREAUTH": "none"}
        return found

    def words(self) -> str:
        """Return libpq's `name=value` string, without the password."""
        named = {
            "host": self.host,
            "port": str(self.port),
            "dbname": self.database,
            "user": self.user,
            **self._more(),
        }
        return " ".join(f"{name}={_word(value)}" for name, value in named.items())

    def url(self) -> str:
        """Return the URL that drivers take, without the password."""
        query = urlencode(self._more(), quote_via=quote, safe="/")
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        user, name = quote(self.user, safe=""), quote(self.database, safe="/")
        return f"postgresql://{user}@{host}:{self.port}/{name}?{query}"

    def _more(self) -> dict[str, str]:
        """Return the settings that a URL has in its query."""
        named = {"sslmode": self.sslmode}
        if self.authority:
            named["sslrootcert"] = self.authority
        if self.own is not None:
            named |= {"sslcert": self.own.certificate, "sslkey": self.own.key}
        if self.mechanism == "oauth":
            named["oauth_issuer"] = self.issuer
            named["oauth_client_id"] = self.client_id or CLIENT_ID
            named |= {"oauth_scope": self.scope} if self.scope else {}
        return named


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
    listeners: Sequence[dict[str, Any]],
    protocol: str,
    token: str,
    wanted: str | None,
    own: OwnCertificate | None = None,
) -> dict[str, Any]:
    """Return the listener to use: `wanted`, else the one that shows the least of the token.

    Whoever names a certificate shows it, and to no listener that does not ask for one.
    """
    if protocol not in ("postgres", "http"):
        raise CommandError(f"there is nothing to paste for protocol `{protocol}`")
    fitting = [one for one in listeners if one["protocol"] == protocol]
    if wanted is not None:
        fitting = [one for one in fitting if one["name"] == wanted]
        if not fitting:
            raise CommandError(f"no listener for this target is named `{wanted}`", code=USAGE)
    elif not token.startswith(PREFIX):  # a JWT is no password that could be proven
        fitting = [one for one in fitting if one["mechanism"] != "scram"]
    if own is not None:
        fitting = [one for one in fitting if one["mechanism"] == "certificate"]
        if not fitting:
            which = "no listener takes" if wanted is None else f"listener `{wanted}` does not take"
            raise CommandError(f"{which} client certificates", code=USAGE)
    known = [one for one in fitting if one["mechanism"] in PREFERRED]
    if not known:
        raise CommandError("the gateway has no listener that you could connect to")
    return min(known, key=lambda one: (PREFERRED.index(one["mechanism"]), not one.get("client_id")))


def place_of(
    listener: Mapping[str, Any],
    api: str,
    target: str,
    login: str,
    token: str,
    authority: str,
    own: OwnCertificate | None = None,
) -> Place:
    """Return the settings. `api` is where the API was reached: a wildcard's host is its host.

    `authority`: a file of who vouches for the listener's TLS; empty: as libpq has it. `own`: what
    is shown there.
    """
    host, port = str(listener["host"]), int(listener["port"])
    if listener["path"]:
        path = Path(str(listener["path"]))
        found = _SOCKET.fullmatch(path.name)
        if found is None:
            raise CommandError(f"clients of PostgreSQL cannot use the socket `{path}`")
        host, port = str(path.parent), int(found[1])
    elif is_unspecified(host):
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
        client_id=str(listener.get("client_id", "")),  # a gateway before it told
        scope=str(listener.get("scope", "")),
        own=own,
    )


def client_environment(place: Place, token: str, before: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a native client. Raises: CommandError by which it cannot log in."""
    if place.mechanism == "certificate" and place.own is None:
        raise CommandError(
            f"listener `{place.listener}` takes client certificates alone",
            hint="give yours by `--cert FILE --key FILE`",
        )
    kept = {name: value for name, value in before.items() if name not in ELSEWHERE}
    if not place.authority and place.sslmode == "verify-full" and not _has_authority(kept):
        kept["PGSSLROOTCERT"] = "system"
    password = {"PGPASSWORD": token} if place.mechanism in TAKE_PASSWORDS else {}
    return kept | place.environment() | password


def paste(place: Place, command: str) -> str:
    """Return what people paste. `command` is `sallyport connect TARGET ...` for the same place."""
    secret = f'"$({command} --password)"'
    export = " ".join(f"{name}={shlex.quote(each)}" for name, each in place.environment().items())
    takes = place.mechanism in TAKE_PASSWORDS
    lines = [
        *_needs(place),
        "psql",
        f"  {command} -- psql",
        f"  {f'PGPASSWORD={secret} ' if takes else ''}psql {shlex.quote(place.words())}",
        "psycopg",
        f"  {command} -- python program.py    # psycopg.connect() needs nothing more",
        "a DSN, with the password from the command below" if takes else "a DSN",
        f"  {place.url()}",
    ]
    if place.mechanism != "oauth":  # which libpq has no variables for
        lines += ["environment", f"  export {export}"]
    if takes:
        lines.append(f"  export PGPASSWORD={secret}")
    return "\n".join(lines)


def oauth_needs(place: Place) -> str:
    """Return what a client must be able to do at a listener that takes OAuth."""
    return (
        f"listener `{place.listener}` takes OAuth: the client itself logs you in at "
        f"{place.issuer}, which libpq 18 and later can where its module libpq-oauth is installed"
    )


def _needs(place: Place) -> list[str]:
    """Return what to know before it is pasted."""
    if place.mechanism == "oauth":
        unnamed = f"{CLIENT_ID} stands for a public client that is registered there"
        return [oauth_needs(place), *([] if place.client_id else [unnamed]), ""]
    if place.mechanism == "certificate" and place.own is None:
        return [
            f"listener `{place.listener}` takes client certificates alone: with `--cert FILE "
            "--key FILE` this names yours",
            "",
        ]
    return []


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
