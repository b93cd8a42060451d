"""Signing in with a browser, and out again. The pages are plain: they hold no script."""

from __future__ import annotations

from html import escape
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sallyport.identity.sign_in import CALLBACK, OUT, PATIENCE, SignInRefused
from sallyport.web.api.common import Services
from sallyport.web.authentication import source_of
from sallyport.web.cookies import ATTEMPT, SESSION, Cookies
from sallyport.web.forms import LOGIN_PATH

router = APIRouter(tags=["sign-in"])

HOME: Final = "/api/v1/whoami"
"""Where a browser goes on that was not on its way anywhere."""

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sallyport</title></head>
<body><h1>Sallyport</h1>
{}
</body></html>
"""

_AGAIN: Final = f'<p><a href="{LOGIN_PATH}">Sign in</a></p>'
_LEAVE: Final = f'<form method="post" action="{OUT}"><button>Sign out</button></form>'
_SEEN: Final[dict[str, object]] = {"content": {"text/html": {}}}


@router.get(
    LOGIN_PATH,
    response_class=HTMLResponse,
    responses={
        200: _SEEN | {"description": "the providers to choose from"},
        303: {"description": "to the provider"},
        400: _SEEN | {"description": "nobody signs in there"},
        503: _SEEN | {"description": "the provider does not answer"},
    },
)
async def begin_sign_in(
    request: Request,
    services: Services,
    provider: Annotated[str, Query(max_length=128, description="one of `issuers`")] = "",
    back: Annotated[
        str, Query(alias="next", max_length=1024, description="the path to go on to")
    ] = HOME,
) -> Response:
    """Send a browser to log in at a provider: the only one, or the one that is named."""
    names = services.sign_ins.names()
    if not provider and len(names) != 1:
        return _choice(names, back)
    try:
        begun = await services.sign_ins.begin(provider or names[0], back)
    except SignInRefused as refused:
        return _refusal(refused)
    response = RedirectResponse(begun.address, 303)
    _cookies(request).set(response, ATTEMPT, begun.cookie, PATIENCE)
    return response


@router.get(
    CALLBACK + "{name}",
    response_class=HTMLResponse,
    responses={
        303: {"description": "signed in; on to where the browser wanted to go"},
        400: _SEEN | {"description": "nobody is signed in"},
        503: _SEEN | {"description": "the provider does not answer"},
    },
)
async def finish_sign_in(request: Request, services: Services, name: str) -> Response:
    """Take a browser back from a provider (OpenID Connect Core, 3.1.2.5)."""
    cookies, source = _cookies(request), source_of(request.scope)
    attempt = cookies.read(request.headers, ATTEMPT) or ""
    before = cookies.read(request.headers, SESSION)
    try:
        query = request.scope["query_string"].decode("ascii", "replace")
        signed_in = await services.sign_ins.finish(name, query, attempt, source)
        if before is not None:
            await services.sign_ins.replace(before)
    except SignInRefused as refused:
        if not refused.busy:
            await services.identity.failed(source, source)
        response = _refusal(refused)
        cookies.drop(response, ATTEMPT)
        return response
    back = HOME if signed_in.back == "/" else signed_in.back
    response = RedirectResponse(back, 303)
    cookies.set(response, SESSION, signed_in.cookie, signed_in.seconds)
    cookies.drop(response, ATTEMPT)
    return response


@router.get(OUT, response_class=HTMLResponse, responses={200: _SEEN})
async def show_sign_out(request: Request, services: Services) -> Response:
    """Say that one is signed out, where providers send browsers; else offer it. It ends nothing."""
    cookie = _cookies(request).read(request.headers, SESSION)
    source = source_of(request.scope)
    who = None if cookie is None else await services.sign_ins.authenticate(cookie, source)
    if who is None:
        return HTMLResponse(_PAGE.format(f"<p>You are signed out.</p>{_AGAIN}"))
    said = f"<p>You are signed in as {escape(who.name)}.</p>"
    return HTMLResponse(_PAGE.format(said + _LEAVE))


@router.post(
    OUT,
    response_class=RedirectResponse,
    status_code=303,
    responses={303: {"description": "signed out; on to where the provider does so, if it does"}},
)
async def sign_out(request: Request, services: Services) -> Response:
    """End a browser's session, here and at the provider."""
    cookies = _cookies(request)
    cookies.demand_same_site(request.scope)
    cookie = cookies.read(request.headers, SESSION)
    there = "" if cookie is None else await services.sign_ins.end(cookie)
    response = RedirectResponse(there or OUT, 303)
    cookies.drop(response, SESSION)
    return response


def _cookies(request: Request) -> Cookies:
    cookies: Cookies = request.scope["state"]["cookies"]
    return cookies


def _choice(names: tuple[str, ...], back: str) -> Response:
    if not names:
        said = "Nobody signs in here with a browser: the operator sets `web` at an issuer."
        return HTMLResponse(_PAGE.format(f"<p>{said}</p>"), 400)
    links = (
        f'<li><a href="{LOGIN_PATH}?{escape(urlencode({"provider": name, "next": back}))}">'
        f"{escape(name)}</a></li>"
        for name in names
    )
    return HTMLResponse(_PAGE.format(f"<p>Sign in by:</p><ul>{''.join(links)}</ul>"))


def _refusal(refused: SignInRefused) -> Response:
    told = (text for text in (refused.message, refused.hint) if text)
    said = "".join(f"<p>{escape(text)}</p>" for text in told)
    return HTMLResponse(_PAGE.format(said + _AGAIN), 503 if refused.busy else 400)
