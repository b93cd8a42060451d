"""Cookies: how a browser that signed in is known, and what else it must show.

A browser sends its cookies whoever made it ask. So a cookie counts for this site's own pages alone:
the browser says so (`Sec-Fetch-Site`, which no page can forge); one too old to say it must show an
`Origin` that is this site's for what changes something. A link from elsewhere may lead here, for
what changes nothing. What programs use is a bearer token: where one is shown, no cookie counts.

Over TLS the cookies have the prefix `__Host-`: no neighbouring name can set them (RFC 6265bis). On
loopback without TLS other ports of this machine are sent them as well: for one's own machine alone.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from sallyport.web.problems import Problem

SESSION: Final = "sallyport-session"
ATTEMPT: Final = "sallyport-login"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""


class Cookies:
    """The two cookies of the API. `tls`: whether browsers reach it over TLS."""

    def __init__(self, *, tls: bool) -> None:
        self._tls = tls

    def read(self, headers: Headers, name: str) -> str | None:
        """Return one cookie's value; None: it is not there, or more than once."""
        wanted = self._name(name)
        lines = ";".join(headers.getlist("cookie"))
        pairs = (pair.partition("=") for pair in lines.split(";"))
        found = [value.strip() for key, _, value in pairs if key.strip() == wanted]
        return found[0] if len(found) == 1 and found[0] else None

    def set(self, response: Response, name: str, value: str, seconds: float) -> None:
        """Have a browser keep a cookie, for this API alone, away from scripts."""
        response.set_cookie(
            self._name(name),
            value,
            max_age=int(seconds),
            path="/",
            secure=self._tls,
            httponly=True,
            samesite="lax",
        )

    def drop(self, response: Response, name: str) -> None:
        """Have a browser forget a cookie."""
        response.delete_cookie(
            self._name(name), path="/", secure=self._tls, httponly=True, samesite="lax"
        )

    def demand_same_site(self, scope: Scope) -> None:
        """Refuse what another site made a browser ask. FAILS CLOSED. Raises: Problem (403)."""
        headers = Headers(scope=scope)
        asked_by, safe = headers.getlist("sec-fetch-site"), scope["method"] in SAFE
        if asked_by:
            own = asked_by == ["same-origin"] or (safe and _goes_there(headers, asked_by))
        else:
            own = safe or headers.getlist("origin") == [self._origin(headers)]
        if not own:
            raise _foreign()

    def _origin(self, headers: Headers) -> str:
        return f"{'https' if self._tls else 'http'}://{headers.get('host', '')}".lower()

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self._tls else name


def _goes_there(headers: Headers, asked_by: list[str]) -> bool:
    """Whether the whole window goes to what is asked for: typed, or by a link or redirect from
    elsewhere, which then sees nothing of it."""
    window = [headers.getlist(f"sec-fetch-{name}") for name in ("mode", "dest")]
    return asked_by == ["none"] or window == [["navigate"], ["document"]]


def _foreign() -> Problem:
    return Problem(
        403,
        "another site made this browser ask",
        hint="programs show a token: `Authorization: Bearer TOKEN`",
    )
