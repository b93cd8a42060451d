"""Routing: which target a request is for, by its host or by its path."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.http.message import Fields, RequestHead, get, get_all

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_BY_PATH: Final = re.compile(rf"/t/({_NAME})(/[^?]*)?(\?.*)?", re.DOTALL)
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
OWN: Final = "/.sallyport/"
"""Paths that are the gateway's own, below any target."""


class Route(NamedTuple):
    """`target` is the target's name, `path` the origin form that it gets, `here` what stood before
    that in the client's."""

    target: str
    path: str
    here: str


def route(head: RequestHead, domain: str) -> Route | None:
    """Return where a request goes; None: it names no target.

    By host where the listener has a domain (`orders.gateway.example`), else by path
    (`/t/orders/...`). Raises: ProtocolViolation (421) for another host than the gateway's.
    """
    if domain:
        host = _host(head.authority)
        if host.endswith("." + domain):
            label = host[: -len(domain) - 1]
            if _LABEL.fullmatch(label) is None:
                raise ProtocolViolation("client", "the host names no target", "421")
            return Route(label, head.target, "")
        if host and host != domain and not _is_address(host):
            raise ProtocolViolation("client", "this host is not served here", "421")
    match = _BY_PATH.fullmatch(head.target)
    if match is None:
        return None
    return Route(match[1], (match[2] or "/") + (match[3] or ""), f"/t/{match[1]}")


def _host(authority: str) -> str:
    host = authority.lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].rstrip(".")


def _is_address(host: str) -> bool:
    return host.startswith("[") or host == "localhost" or re.fullmatch(r"[0-9.]+", host) is not None


def is_cross_site(head: RequestHead, fields: Fields) -> bool:
    """Whether a page of another site made a browser send this (`Origin`, `Sec-Fetch-Site`)."""
    site = get(fields, b"sec-fetch-site")
    if site is not None and site.lower() in (b"cross-site", b"same-site"):
        return get(fields, b"sec-fetch-mode") != b"navigate" or head.method not in ("GET", "HEAD")
    origins = get_all(fields, b"origin")
    if not origins:
        return False
    own = f"://{head.authority}".encode()
    return any(not origin.lower().endswith(own.lower()) or b" " in origin for origin in origins)
