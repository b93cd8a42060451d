"""Shield: what every request passes before a route, and every answer on its way out.

Outermost of all, so that it also covers what the framework itself answers:

    Host check -> who is it? -> body read whole, bounded, strict JSON -> turn -> route -> headers

A page that rebinds its name to 127.0.0.1 is stopped by the Host check; there is no CORS, and a
cookie counts for this site's own pages alone, so no other site reads an answer or borrows a login.
FAILS CLOSED: an unexpected error is a problem with a reference; its text goes to the log alone.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sallyport.core.errors import ControlLost, RecorderLost, SallyportError, TargetUnavailable
from sallyport.core.identifiers import new_identifier
from sallyport.core.subject import Subject
from sallyport.web.authentication import Authentication, checks_itself, is_loopback
from sallyport.web.bodies import read_body
from sallyport.web.forms import as_oauth
from sallyport.web.problems import Problem
from sallyport.web.turns import Turn, Turns

log = structlog.get_logger("sallyport.web")

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
"""Headers of every response, errors included."""

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names by which an API on loopback may be called."""

MAXIMUM_TARGET = 8192
"""Bytes of path and query together."""

Observe = Callable[[Scope, int, float], None]
"""Called after each request with its scope, status and seconds: the metrics."""


class Shield:
    """The ASGI application around the API.

    `hosts` are the names that `Host` may say (without port), or None for any: an address that is
    not loopback is known by names that only its operator knows.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authentication: Authentication,
        hosts: frozenset[str] | None,
        tls: bool,
        observe: Observe,
        stopping: Callable[[], None],
    ) -> None:
        self._app = app
        self._authentication = authentication
        self._hosts = hosts
        self._headers = dict(SECURITY_HEADERS)
        if tls:
            self._headers["strict-transport-security"] = "max-age=31536000"
        self._observe = observe
        self._stopping = stopping
        self._turns = Turns()
        self._large = asyncio.Lock()

    def stop(self) -> None:
        """End what would not end by itself: the server stops."""
        self._stopping()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; anything but HTTP is closed without a word."""
        if scope["type"] != "http":
            await _decline(scope, receive, send)
            return
        begun = time.monotonic()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        try:
            await self._serve(scope, receive, send_on, lambda: status != 0)
        finally:
            self._observe(scope, status, time.monotonic() - begun)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, started: Callable[[], bool]
    ) -> None:
        try:
            self._check_target(scope)
            self._check_host(scope)
            await self._authentication.admit(scope)
            body = await read_body(scope, receive, self._large)
            if checks_itself(scope["path"]):  # as logins, they wait for nobody's turn
                await self._app(scope, _Replay(body, receive), send)
                return
            with closing(await self._turns.take(_caller(scope), _gone(receive))) as turn:
                await self._app(scope, _Replay(body, receive), _until_answered(send, turn))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not started():  # else the routes' own handler has answered it
                problem = as_oauth(problem_of(error), scope["path"])
                await problem.response()(scope, receive, send)

    def _check_target(self, scope: Scope) -> None:
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAXIMUM_TARGET:
            raise Problem(414, f"path and query are longer than {MAXIMUM_TARGET} bytes")

    def _check_host(self, scope: Scope) -> None:
        given = Headers(scope=scope).getlist("host")
        if len(given) != 1 or not given[0]:
            raise Problem(400, "exactly one Host header is expected")
        if self._hosts is not None and host_name(given[0]) not in self._hosts:
            raise Problem(
                421,
                "this Host is not one that the API answers to",
                hint="call it by the address in `api.address`, or by localhost",
            )


class _Replay:
    """Gives the body that was read already, then whatever the server says (a disconnect)."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._receive()


def _caller(scope: Scope) -> str:
    """Return in whose line a request waits; all that need no token wait in one."""
    subject = scope.get("state", {}).get("subject")
    return f"{subject.issuer} {subject.name}" if isinstance(subject, Subject) else ""


async def _gone(receive: Receive) -> None:
    """Return when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _until_answered(send: Send, turn: Turn) -> Send:
    async def send_on(message: Message) -> None:
        turn.close()
        await send(message)

    return send_on


async def _decline(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})


def host_name(host: str) -> str:
    """Return the name in a Host header, without port and brackets, in lower case."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def hosts_for(host: str, origin: str = "") -> frozenset[str] | None:
    """Return the names that an API listening on `host` answers to; None: any (not loopback).

    `origin`: what browsers call it by, where that is another name.
    """
    name = host.strip("[]").lower()
    if name in LOCAL_NAMES or is_loopback(name):
        called = urlsplit(origin).hostname
        return LOCAL_NAMES | {name} | ({called} if called else set())
    return None


def described(error: BaseException) -> dict[str, object]:
    """Return an error for the log: what, and where. No values of variables: they hold secrets."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": f"{type(error).__name__}: {error}"[:500], "where": where[-12:]}


async def on_error(request: Request, error: Exception) -> Response:
    """Answer whatever a route raised that is no `Problem`."""
    return problem_of(error).response()


def problem_of(error: Exception) -> Problem:
    """Turn whatever a route raised into a problem that is safe to show."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RecorderLost):
        return Problem(
            503,
            "nothing can be recorded, so nothing may be done or shown",
            hint="look at the disk that holds the journal, then at `/readyz`",
        )
    if isinstance(error, ControlLost):
        return Problem(503, "control does not answer", hint="look at `/readyz`")
    if isinstance(error, TargetUnavailable):
        return Problem(502, str(error))
    if isinstance(error, SallyportError):
        return Problem(503, str(error))
    reference = new_identifier("e")
    log.error("request failed", reference=reference, **described(error))
    return Problem(
        500,
        "something went wrong inside the gateway",
        hint="look for the reference in the log",
        reference=reference,
    )
