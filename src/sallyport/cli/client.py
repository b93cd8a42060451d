"""Client: the API over HTTP, with errors that say what to do next.

The token goes nowhere but to the API that was named: no redirects are followed, no proxy of the
environment is used, and plain HTTP is refused off loopback.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from sallyport.cli.errors import REFUSED, UNREACHABLE, USAGE, CommandError, NotThereYet

PREFIX = "/api/v1"
TIMEOUT = 30.0
"""Seconds to wait for an answer (streams: for the next line, which beats more often)."""

MAXIMUM_LINE = 64 * 1024 * 1024
"""Characters of one streamed line."""

_ERRNO = re.compile(r"^\[Errno -?\d+\] ")

Json = dict[str, Any]


class Client:
    """The API at `url`, called with `token`; None: only what needs none."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = checked_url(url)
        shown = {} if token is None else {"authorization": f"Bearer {token}"}
        self._http = httpx2.Client(
            base_url=self._url,
            headers={"accept": "application/json", **shown},
            timeout=httpx2.Timeout(TIMEOUT, connect=5.0),
            follow_redirects=False,
            trust_env=False,
            verify=_authorities(),
        )

    def get(self, path: str, **query: object) -> Json:
        """Return what a path holds."""
        return self._ask("GET", path, query=query)

    def post(self, path: str, body: Json | None = None, **query: object) -> Json:
        """Do something."""
        return self._ask("POST", path, body=body if body is not None else {}, query=query)

    def put(self, path: str, body: Json) -> Json:
        """Set something."""
        return self._ask("PUT", path, body=body)

    def delete(self, path: str, **query: object) -> Json:
        """Take something away."""
        return self._ask("DELETE", path, query=query)

    def pages(self, path: str, key: str, limit: int, **query: object) -> list[Json]:
        """Return up to `limit` items of a list, page by page."""
        found: list[Json] = []
        cursor: str | None = None
        while len(found) < limit:
            page = self.get(path, limit=min(limit - len(found), 200), cursor=cursor, **query)
            found += page.get(key) or []
            cursor = page.get("next")
            if not cursor:
                break
        return found[:limit]

    def get_open(self, path: str) -> Json:
        """Return what a path outside the API's prefix holds, which needs no token."""
        return self._send("GET", path)

    def post_form(self, path: str, form: dict[str, str]) -> Json:
        """Send a form to a path outside the API's prefix, as OAuth has it."""
        return self._send("POST", path, data=form)

    def lines(self, path: str, **query: object) -> Iterator[Json]:
        """Yield the objects of a stream of JSON lines until it ends."""
        try:
            with self._http.stream(
                "GET",
                PREFIX + path,
                params=_query(query),
                headers={"accept": "application/x-ndjson"},
            ) as response:
                if response.status_code >= 300:
                    response.read()
                    raise _refusal(response)
                for line in response.iter_lines():
                    if len(line) > MAXIMUM_LINE:
                        raise CommandError("the API sent a line that is too long")
                    if line.strip():
                        yield _object(line)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from None

    def _ask(
        self, method: str, path: str, *, body: Json | None = None, query: Json | None = None
    ) -> Json:
        return self._send(method, PREFIX + path, json=body, params=_query(query or {}))

    def _send(self, method: str, path: str, **content: Any) -> Json:
        try:
            response = self._http.request(method, path, **content)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from None
        if response.status_code >= 300:
            raise _refusal(response)
        return _object(response.text) if response.content else {}

    def _unreachable(self, error: Exception) -> CommandError:
        reason = _ERRNO.sub("", str(error)).lower() or type(error).__name__
        return NotThereYet(
            f"cannot reach the API at {self._url}: {reason}",
            hint="is `sallyport serve` running, and is --url (SALLYPORT_URL) right?",
            code=UNREACHABLE,
        )


def path(*parts: str) -> str:
    """Join path segments, each quoted whole: an id with a slash stays one segment."""
    return "".join("/" + quote(part, safe="") for part in parts)


def _authorities() -> ssl.SSLContext | bool:
    """Return whom to believe: the system's authorities, or those of SSL_CERT_FILE."""
    file = os.environ.get("SSL_CERT_FILE")
    if not file:
        return True
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError):
        raise CommandError(
            f"`{file}` holds no certificates of authorities (SSL_CERT_FILE)", code=USAGE
        ) from None


def checked_url(url: str) -> str:
    """Return the API's address without its last slash. Raises: CommandError."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandError(f"`{url}` is not an http:// or https:// address", code=USAGE)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise CommandError("the address holds more than scheme, host, port and path", code=USAGE)
    if parts.scheme == "http" and not _local(parts.hostname):
        raise CommandError(
            f"plain http to `{parts.hostname}` would show the token to the network",
            hint="use https://, or reach the gateway through an ssh tunnel",
            code=USAGE,
        )
    return url.rstrip("/")


def _local(host: str) -> bool:
    from ipaddress import ip_address

    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _query(query: Json) -> dict[str, str]:
    return {
        key: ("true" if value is True else "false" if value is False else str(value))
        for key, value in query.items()
        if value is not None
    }


def _object(text: str) -> Json:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise CommandError("the API's answer is not JSON", hint="is --url right?") from None
    if not isinstance(value, dict):
        raise CommandError("the API's answer is not an object", hint="is --url right?")
    return value


def _refusal(response: httpx2.Response) -> CommandError:
    if response.is_redirect:
        return CommandError("the API redirects elsewhere", hint="is --url right?")
    try:
        problem = json.loads(response.text)
    except (ValueError, RecursionError):
        problem = None
    if isinstance(problem, dict) and "error_description" in problem:
        return CommandError(str(problem["error_description"]), code=REFUSED)
    if not isinstance(problem, dict) or "detail" not in problem:
        return CommandError(
            f"the answer (status {response.status_code}) is not the API's", hint="is --url right?"
        )
    message = str(problem["detail"])
    for each in problem.get("errors") or []:
        if isinstance(each, dict):
            message += f"\n  {each.get('field')}: {each.get('message')}"
    if reference := problem.get("reference"):
        message += f" (reference {reference})"
    return CommandError(message, hint=str(problem.get("hint") or ""), code=REFUSED)
