"""Pages: plain HTML without a script. Each says what this issuer is."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from typing import Final

from starlette.responses import Response

from sallyport.demo.issuer.people import PEOPLE

BANNER: Final = "Development issuer: it asks for no password. For this demo alone."
STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:0 auto;padding:1rem;"
    "color:#1b1b1b;background:#fff}"
    ".banner{background:#b00020;color:#fff;font-weight:700;padding:.75rem 1rem}"
    "button,input{font:inherit;padding:.5rem .75rem;margin:.25rem 0}"
    "button{display:block;width:100%;text-align:left;cursor:pointer}"
    "code{font-size:1.5rem;letter-spacing:.1em}"
)
_STYLE_HASH: Final = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode("ascii")


def page(title: str, body: str, status: int = 200, leads_to: str = "'self'") -> Response:
    """Return a page. `body` is HTML; `leads_to` is where its forms, and what they are answered
    with, may take a browser (CSP's `form-action` holds for redirects, too).
    """
    content = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f'<p class="banner" role="alert">{BANNER}</p><h1>{escape(title)}</h1>{body}</body></html>\n'
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {leads_to}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {"content-security-policy": policy}
    return Response(content, status, headers, "text/html; charset=utf-8")


def message(title: str, text: str, status: int = 200) -> Response:
    """Return a page that only says something."""
    return page(title, f"<p>{escape(text)}</p>", status, "'none'")


def people_form(action: str, sealed: str, refuse: str) -> str:
    """Return a form with one button for each person, and one that says no."""
    buttons = "".join(
        f'<button name="person" value="{escape(one.subject)}"><b>{escape(one.subject)}</b>: '
        f"{escape(one.name)}, {escape(', '.join(one.groups))}; {escape(one.does)}</button>"
        for one in PEOPLE.values()
    )
    no = f'<button name="person" value="">{escape(refuse)}</button>'
    return _form(action, sealed, buttons + no)


def code_form(action: str) -> str:
    """Return a form that asks for a code; it changes nothing, so it is sent as a query."""
    return (
        f'<form action="{escape(action)}" method="get"><p><label>The code that your terminal '
        'shows: <input name="user_code" autocomplete="off" autofocus required maxlength="20">'
        "</label></p><button>Continue</button></form>"
    )


def logins_form(action: str, sealed: str, logins: Iterable[tuple[str, str]]) -> str:
    """Return a form with one button for each login: its `sid`, and what it is called."""
    buttons = "".join(
        f'<button name="sid" value="{escape(sid)}">Log out {escape(name)}</button>'
        for sid, name in logins
    )
    return _form(action, sealed, buttons)


def _form(action: str, sealed: str, content: str) -> str:
    return (
        f'<form action="{escape(action)}" method="post">'
        f'<input type="hidden" name="sealed" value="{escape(sealed)}">{content}</form>'
    )
