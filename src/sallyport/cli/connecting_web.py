"""From what the API tells to an HTTP client's settings: a URL, and where the token goes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from msgspec import Struct

from sallyport.cli.errors import CommandError
from sallyport.identity.names import is_unspecified


class WebPlace(Struct, frozen=True):
    """Where an HTTP client asks. `authority`: a file of who vouches for the listener's TLS."""

    listener: str
    mechanism: str
    url: str
    login: str
    authority: str = ""

    def environment(self, token: str) -> dict[str, str]:
        """Return the variables that a program gets."""
        found = {"SALLYPORT_HTTP_URL": self.url, "SALLYPORT_HTTP_TOKEN": token}
        if self.authority:
            found |= {"CURL_CA_BUNDLE": self.authority, "SSL_CERT_FILE": self.authority}
            found |= {"REQUESTS_CA_BUNDLE": self.authority, "NODE_EXTRA_CA_CERTS": self.authority}
        return found

    def told(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "listener": self.listener,
            "mechanism": self.mechanism,
            "url": self.url,
            "login": self.login,
        }


def web_place_of(
    listener: Mapping[str, Any], api: str, target: str, login: str, authority: str
) -> WebPlace:
    """Return the settings. `api` is where the API was reached: a wildcard's host is its host."""
    if listener["path"]:
        raise CommandError(f"HTTP clients are not told of the socket `{listener['path']}`")
    host = str(listener["host"])
    if is_unspecified(host):
        host = urlsplit(api).hostname or host
    scheme = "http" if listener["tls"] == "none" else "https"
    name = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{name}:{listener['port']}/t/{quote(target, safe='')}"
    plain = scheme == "http"
    return WebPlace(
        str(listener["name"]), str(listener["mechanism"]), url, login, "" if plain else authority
    )


def paste_web(place: WebPlace, command: str) -> str:
    """Return what people paste. `command` is `sallyport connect TARGET ...` for the same place."""
    secret = f"$({command} --password)"
    login = f' -H "X-Sallyport-Login: {place.login}"'
    authority = f" --cacert {shlex.quote(place.authority)}" if place.authority else ""
    return "\n".join(
        (
            "curl",
            f'  curl{authority} -H "Authorization: Bearer {secret}"{login} {place.url}/',
            "a client that takes a user and a password: the login and the token",
            f'  curl{authority} -u "{place.login}:{secret}" {place.url}/',
            "any program, with SALLYPORT_HTTP_URL and SALLYPORT_HTTP_TOKEN in its environment",
            f"  {command} -- python program.py",
            "the URL",
            f"  {place.url}",
        )
    )
