"""The door: what every request passes, and what every answer says, errors included.

The `Host` must be the one that the issuer is known by, so no page that rebinds its name to this
machine reads anything. A form counts when its page was ours, and what programs call is not for
pages at all: each by `Origin`, which a page cannot set.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sallyport.web.forms import OAuthProblem, check_form_type, parse_form
from sallyport.web.problems import Problem

MAXIMUM_TARGET: Final = 8192
"""Bytes of path and query together."""

MAXIMUM_FORM: Final = 32 * 1024
FORM_DEADLINE: Final = 10.0
"""Bytes of a form, and seconds within which it must have arrived."""

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    # Not `no-referrer`: browsers would then send a form's `Origin` as `null`.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}

_log = structlog.get_logger("sallyport.demo.issuer")


class Door:
    """The ASGI application around the issuer's routes. `host` is its one name, with its port."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    def stop(self) -> None:
        """Nothing goes on here that would not end by itself."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if (refused := self._refusal(scope)) is not None:
                await refused(scope, receive, send_on)
                return
            await self._app(scope, receive, send_on)
        except Exception as error:
            _log.error("request failed", error=type(error).__name__)
            if not started:
                await Response("something went wrong\n", 500)(scope, receive, send_on)

    def _refusal(self, scope: Scope) -> Response | None:
        if Headers(scope=scope).getlist("host") != [self._host]:
            return Response(f"this is http://{self._host}, and nobody else\n", 421)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAXIMUM_TARGET:
            return Response("the address is too long\n", 414)
        return None


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form, each once. Raises: OAuthProblem."""
    try:
        check_form_type(request.headers.get("content-type", ""))
        async with asyncio.timeout(FORM_DEADLINE):
            body = await _collect(request)
    except Problem as problem:
        raise OAuthProblem("invalid_request", problem.detail, problem.status) from None
    except TimeoutError:
        raise OAuthProblem("invalid_request", "the form did not arrive in time", 408) from None
    return once(parse_form(body))


async def _collect(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAXIMUM_FORM:
            raise Problem(413, f"the form is larger than {MAXIMUM_FORM} bytes")
    return bytes(body)


def once(fields: dict[str, list[str]]) -> dict[str, str]:
    """Return fields that stand once; one without a value counts as left out (RFC 6749, 3.2)."""
    if any(len(values) > 1 for values in fields.values()):
        raise OAuthProblem("invalid_request", "a parameter stands more than once")
    return {name: values[0] for name, values in fields.items() if values[0]}


def demand_own_page(request: Request, origin: str) -> None:
    """Refuse a form that no page of ours has sent. FAILS CLOSED: every browser says which.

    Raises: Problem (403).
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    if request.headers.getlist("origin") != [origin] or site != "same-origin":
        raise Problem(403, "this form was sent by another site")


def demand_program(request: Request) -> None:
    """Refuse what a page of any site has sent: it can be told nothing, and shall do nothing.

    Raises: OAuthProblem.
    """
    if "origin" in request.headers or "sec-fetch-site" in request.headers:
        raise OAuthProblem("invalid_request", "this is for programs, not for pages", 403)
    if "authorization" in request.headers:
        raise OAuthProblem("invalid_client", "the clients are public: they have no secret", 401)
