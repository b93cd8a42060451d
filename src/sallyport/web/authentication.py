"""Authentication of the API: one bearer token a request, decided before anything else is read.

A browser that signed in shows a cookie instead, which counts for this site's own pages alone: see
`web.cookies`. What identity
refuses is answered in one way, whatever was wrong with it. Failures are counted by source and
answered with 429 beyond a rate (identity delays them too); a right token is never refused for
what others did, so nobody can lock out somebody else who shares their address.
"""

from __future__ import annotations

import enum
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Protocol

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import Scope

from sallyport.core.subject import Evidence, Refused, Subject
from sallyport.identity.sign_in import CALLBACK, OUT
from sallyport.web.cookies import SESSION, Cookies
from sallyport.web.forms import FORM_PATHS, LOGIN_PATH, PROVIDERS_PATH
from sallyport.web.problems import Problem

MAXIMUM_TOKEN = 16 * 1024
"""Characters of the longest bearer token."""

FAILURE_BURST = 20
"""Failed authentications that one source may have at once."""

FAILURE_RATE = 2.0
"""How many of them it gets back each second."""

MAXIMUM_SOURCES = 4096
"""Sources counted at once; the longest unseen go first."""

OPEN_PATHS = frozenset({"/healthz", "/readyz", PROVIDERS_PATH})
"""Paths that need no token: they tell a load balancer yes or no, and people where to log in."""

SELF_AUTHENTICATED = FORM_PATHS | {LOGIN_PATH, OUT}
"""Paths that take no bearer token and check what they are shown, each by itself."""

METRICS_PATH = "/metrics"
FORWARDING = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers by which a proxy gives itself away: then loopback is not the caller's address."""

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


class Role(enum.StrEnum):
    """What a subject may do to the product itself."""

    ADMIN = "admin"
    AUDITOR = "auditor"
    APPROVER = "approver"
    OPERATOR = "operator"


class Identity(Protocol):
    """Who shows this evidence? The same answer, in the same time, for unknown and for wrong."""

    async def authenticate(self, evidence: Evidence) -> Subject | Refused:
        """Return the subject, or a refusal."""

    async def failed(self, source: str, claimed: str) -> None:
        """Count a failure of `source`, and return the later the more of them there were."""


class Browsers(Protocol):
    """Whose is this browser's session?"""

    async def authenticate(self, cookie: str, source: str) -> Subject | None:
        """Return the subject, or None."""


Look = Callable[[], Awaitable[Subject | Refused | None]]
"""Looks whose it is, what was shown; as often as it is called."""


class Failures:
    """Failed authentications a source, in a bounded table of token buckets."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def used_up(self, source: str) -> bool:
        """Whether `source` has to wait."""
        return self._left(source) < 1.0

    def count(self, source: str) -> None:
        """Take one off `source`."""
        left = max(0.0, self._left(source) - 1.0)
        self._buckets[source] = (left, self._clock())
        self._buckets.move_to_end(source)
        if len(self._buckets) > MAXIMUM_SOURCES:
            self._buckets.popitem(last=False)

    def _left(self, source: str) -> float:
        left, at = self._buckets.get(source, (float(FAILURE_BURST), 0.0))
        return min(float(FAILURE_BURST), left + (self._clock() - at) * FAILURE_RATE)


class Authentication:
    """Who is calling? Answered once a request, and again and again while a stream runs."""

    def __init__(
        self,
        identity: Identity,
        browsers: Browsers,
        cookies: Cookies,
        *,
        tls: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity
        self._browsers = browsers
        self._tls = tls
        self.cookies = cookies
        self._failures = Failures(clock)

    async def admit(self, scope: Scope) -> None:
        """Put the caller into `scope`. Raises: Problem (401 or 429)."""
        path = scope["path"]
        state = scope.setdefault("state", {})
        state["cookies"] = self.cookies
        if path in OPEN_PATHS or checks_itself(path):
            return
        headers = Headers(scope=scope)
        shown = "authorization" in headers
        if path == METRICS_PATH and not shown and is_direct_loopback(scope):
            return
        source = source_of(scope)
        cookie = None if shown else self.cookies.read(headers, SESSION)
        if cookie is None:
            look = self._by_token(bearer_token(headers), source)
        else:
            self.cookies.demand_same_site(scope)
            look = self._by_cookie(cookie, source)
        subject = await self._demand(look, source)
        state["subject"] = subject
        state["still"] = lambda: self.still(look, subject)

    async def still(self, look: Look, subject: Subject) -> bool:
        """Whether what was shown is still good for the same subject with the same roles and
        groups."""
        again = await look()
        return (
            isinstance(again, Subject)
            and again.name == subject.name
            and again.roles == subject.roles
            and again.groups == subject.groups
        )

    def _by_token(self, token: str, source: str) -> Look:
        return lambda: self._identity.authenticate(Evidence("api", "api", source, token, self._tls))

    def _by_cookie(self, cookie: str, source: str) -> Look:
        async def look() -> Subject | None:
            subject = await self._browsers.authenticate(cookie, source)
            if subject is None:
                await self._identity.failed(source, source)
            return subject

        return look

    async def _demand(self, look: Look, source: str) -> Subject:
        found = await look()
        if isinstance(found, Subject):
            return found
        key = network_of(source)
        if self._failures.used_up(key):
            raise Problem(
                429,
                "too many failed logins from this address",
                hint="wait a few seconds, then check the token",
                headers={"retry-after": "5"},
            )
        self._failures.count(key)
        raise _unauthorized("the token is not valid, or no longer")


def checks_itself(path: str) -> bool:
    """Whether a path takes no bearer token and checks what it is shown by itself."""
    return path in SELF_AUTHENTICATED or path.startswith(CALLBACK)


def bearer_token(headers: Headers) -> str:
    """Return the one bearer token in `headers`. Raises: Problem (401)."""
    given = headers.getlist("authorization")
    if not given:
        raise _unauthorized("a bearer token is needed")
    match = _BEARER.fullmatch(given[0].strip())
    if len(given) > 1 or match is None or len(match[1]) > MAXIMUM_TOKEN:
        raise _unauthorized("exactly one `Authorization: Bearer TOKEN` is expected")
    return match[1]


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401,
        detail,
        hint="log in with `sallyport login`, or in a browser at `/login`, or ask an administrator "
        "for a token",
        headers={"www-authenticate": 'Bearer realm="sallyport"'},
    )


def source_of(scope: Scope) -> str:
    """Return the peer's address. INVARIANT: no header is believed."""
    client = scope.get("client")
    return str(client[0]) if client else "unix"


def network_of(source: str) -> str:
    """Return what failures are counted by: an IPv4 address, or an IPv6 /64."""
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(IPv6Address(int(address) >> 64 << 64))
    return source


def is_loopback(address: str) -> bool:
    """Whether `address` is of this machine alone."""
    if address == "unix":
        return True
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return bool((mapped or parsed).is_loopback)


def is_direct_loopback(scope: Scope) -> bool:
    """Whether a process of this machine asks for itself, not a proxy for somebody else."""
    headers = Headers(scope=scope)
    return is_loopback(source_of(scope)) and not any(name in headers for name in FORWARDING)


class Guard:
    """The dependency that every route has: the caller, if they have one of `roles`.

    No roles at all means anybody who is authenticated. A test walks all routes and looks for it.
    """

    def __init__(self, *roles: Role) -> None:
        self.roles = frozenset(roles)

    def __call__(self, request: Request) -> Subject:
        """Return the caller. Raises: Problem (401 or 403)."""
        subject = getattr(request.state, "subject", None)
        if not isinstance(subject, Subject):  # FAILS CLOSED: nobody was admitted
            raise _unauthorized("a bearer token is needed")
        if self.roles and not self.roles.intersection(subject.roles):
            needed = " or ".join(sorted(self.roles))
            raise Problem(
                403,
                f"this needs the role {needed}",
                hint="`sallyport whoami` shows the roles you have",
            )
        return subject


class PersonGuard(Guard):
    """Lets nobody in who acts for somebody else: what they gave out would not say who made it."""

    def __call__(self, request: Request) -> Subject:
        """Return the caller. Raises: Problem (401 or 403)."""
        subject = super().__call__(request)
        if subject.actors:
            raise Problem(
                403,
                "who acts for somebody gives nobody a credential",
                hint="do it with a login of your own: `sallyport login`",
            )
        return subject


class MetricsGuard(Guard):
    """Lets this machine's own processes in without a token, and auditors from anywhere."""

    def __call__(self, request: Request) -> Subject | None:  # type: ignore[override]
        """Return the caller, None for a process of this machine. Raises: Problem."""
        if "authorization" not in request.headers and is_direct_loopback(request.scope):
            return None
        return super().__call__(request)


Anybody = Annotated[Subject, Depends(Guard())]
Administrator = Annotated[Subject, Depends(Guard(Role.ADMIN))]
AdministratorInPerson = Annotated[Subject, Depends(PersonGuard(Role.ADMIN))]
Auditor = Annotated[Subject, Depends(Guard(Role.ADMIN, Role.AUDITOR))]
Operator = Annotated[Subject, Depends(Guard(Role.ADMIN, Role.OPERATOR))]
Overseer = Annotated[Subject, Depends(Guard(Role.ADMIN, Role.AUDITOR, Role.OPERATOR))]
Approver = Annotated[Subject, Depends(Guard(Role.APPROVER))]
Metrics = Annotated[Subject | None, Depends(MetricsGuard(Role.ADMIN, Role.AUDITOR, Role.OPERATOR))]


def oversees(subject: Subject) -> bool:
    """Whether `subject` may see what others did."""
    return Role.ADMIN in subject.roles or Role.AUDITOR in subject.roles
