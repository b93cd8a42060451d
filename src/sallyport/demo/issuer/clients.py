"""The two clients, both public: what tells them apart from others is where their answers go."""

from __future__ import annotations

import re
from typing import Final

COMMAND_LINE: Final = "sallyport-cli"
WEB: Final = "sallyport-web"
CLIENTS: Final = frozenset({COMMAND_LINE, WEB})

SCOPES: Final = ("openid", "profile", "email", "groups", "offline_access")

WEB_CALLBACKS: Final = ("/login/callback", "/login/callback/demo")
"""Where the gateway hears of a login: by itself, and by the name that this issuer has there."""

_NATIVE: Final = re.compile(
    r"http://(?:127\.0\.0\.1|\[::1\]|localhost)(?::([0-9]{1,5}))?/callback", re.ASCII
)
_UNDER: Final = re.compile(r"/[A-Za-z0-9/._-]{0,200}", re.ASCII)


def takes_answer(client: str, uri: str, gateway: str) -> bool:
    """Whether an answer to `client` may go to `uri`; `gateway` is the address of the API.

    The command line listens on a port of its system's choice (RFC 8252, 7.3 and 8.3). By pattern
    and by the whole text: nothing is left for two readers of an address to differ about.
    """
    if client == COMMAND_LINE:
        found = _NATIVE.fullmatch(uri)
        return found is not None and (found[1] is None or 0 < int(found[1]) < 65536)
    if client != WEB or not gateway:
        return False
    return uri in [f"{gateway}{path}" for path in WEB_CALLBACKS]


def takes_return(client: str, uri: str, gateway: str) -> bool:
    """Whether a browser may be sent to `uri` when `client` has logged out: the gateway's own."""
    if client != WEB or not gateway or not uri.startswith(gateway):
        return False
    return _UNDER.fullmatch(uri.removeprefix(gateway)) is not None


def granted(scope: str) -> tuple[str, ...] | None:
    """Return what is given of the scopes that are asked for; None: it is no OpenID request."""
    asked = scope.split()
    return tuple(one for one in SCOPES if one in asked) if "openid" in asked else None
