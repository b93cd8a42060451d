"""What browsers open: the page to log in by, the one to enter a device code, and the way out."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sallyport.demo.issuer import pages
from sallyport.demo.issuer.clients import CLIENTS, granted, takes_answer, takes_return
from sallyport.demo.issuer.devices import Devices
from sallyport.demo.issuer.door import demand_own_page, once, read_form
from sallyport.demo.issuer.logins import Login, Logins
from sallyport.demo.issuer.people import PEOPLE, Person
from sallyport.demo.issuer.seals import Seals
from sallyport.demo.issuer.tokens import Signer
from sallyport.web.forms import parse_form
from sallyport.web.problems import Problem

MAXIMUM_VALUE: Final = 1024
"""Characters of `state` and of `nonce`."""

SHOWN: Final = 50
"""Logins that the page to log out lists."""

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_NO: Final = "Nobody: refuse it"

Tell = Callable[[Login], Awaitable[str]]
"""Tells a client that a login has ended; returns why that could not be done, "" when it was."""


class Browsing:
    """The routes that answer with pages. `gateway` is the address of the API, once it is known."""

    def __init__(
        self,
        issuer: str,
        signer: Signer,
        logins: Logins,
        devices: Devices,
        tell: Tell,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.gateway = ""
        self._issuer = issuer
        self._origin = "{0.scheme}://{0.netloc}".format(urlsplit(issuer))
        self._signer = signer
        self._logins = logins
        self._devices = devices
        self._tell = tell
        self._seals = Seals(clock)

    def routes(self) -> list[Route]:
        """Return them, by their paths below the issuer's."""
        return [
            Route("/authorize", self.show_people),
            Route("/authorize", self.log_in, methods=["POST"]),
            Route("/device", self.show_device),
            Route("/device", self.confirm_device, methods=["POST"]),
            Route("/logout", self.show_logout),
            Route("/logout", self.log_out, methods=["POST"]),
        ]

    # --- authorization (RFC 6749, 4.1; OpenID Connect Core 3.1.2)

    async def show_people(self, request: Request) -> Response:
        """Ask who logs in. An answer is sent nowhere before client and address are known ones."""
        query = _query(request)
        client, back = query.get("client_id", ""), query.get("redirect_uri", "")
        if client not in CLIENTS:
            raise Problem(400, "this client is not known here")
        if not takes_answer(client, back, self.gateway):
            raise Problem(400, "`redirect_uri` is not one of this client's")
        if wrong := _wrong(query):
            return self._answer(query, {"error": wrong[0], "error_description": wrong[1]})
        names = ("client_id", "redirect_uri", "state", "nonce", "scope", "code_challenge")
        sealed = self._seals.seal("authorize", {name: query.get(name, "") for name in names})
        form = pages.people_form(f"{self._issuer}/authorize", sealed, _NO)
        text = f"<p>The client is {client}.</p>"
        return pages.page("Who logs in?", text + form, leads_to=_leads_to(back))

    async def log_in(self, request: Request) -> Response:
        """Begin a login, and send its code to the client."""
        form = await self._own_form(request)
        asked = self._seals.open("authorize", form.get("sealed", ""))
        person = _person(form)
        if person is None:
            return self._answer(asked, {"error": "access_denied"})
        login = self._logins.begin(person, asked["client_id"], granted(asked["scope"]) or ())
        code = self._logins.give_code(
            login, asked["redirect_uri"], asked["code_challenge"], asked["nonce"]
        )
        return self._answer(asked, {"code": code})

    def _answer(self, asked: dict[str, str], answer: dict[str, str]) -> Response:
        """Send the browser back; each answer names its issuer (RFC 9207)."""
        if asked.get("state"):
            answer["state"] = asked["state"]
        answer["iss"] = self._issuer
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)

    # --- device codes (RFC 8628, 3.3)

    async def show_device(self, request: Request) -> Response:
        """Ask for the code, or show it to be compared, and ask who logs in."""
        typed = _query(request).get("user_code", "")
        action = f"{self._issuer}/device"
        if not typed:
            return pages.page("Log in at a terminal", pages.code_form(action))
        device = self._devices.entered(typed)
        if device is None:
            text = "<p>Nothing waits under that code: it is wrong, over, or was answered.</p>"
            return pages.page("Log in at a terminal", text + pages.code_form(action), 404)
        sealed = self._seals.seal("device", {"user_code": device.user_code})
        text = (
            f"<p>A terminal waits with the code</p><p><code>{device.user_code}</code></p>"
            "<p>If yours shows another, or you began nothing, refuse it.</p>"
        )
        form = pages.people_form(action, sealed, _NO)
        return pages.page("Who logs in at the terminal?", text + form)

    async def confirm_device(self, request: Request) -> Response:
        """Begin the login that a terminal waits for, or refuse it."""
        form = await self._own_form(request)
        asked = self._seals.open("device", form.get("sealed", ""))
        person, device = _person(form), self._devices.entered(asked["user_code"])
        if device is None:
            raise Problem(404, "nothing waits under that code any more")
        if person is None:
            device.refused = True
            return pages.message("Refused", "The terminal is told so.")
        device.login = self._logins.begin(person, device.client, device.scopes)
        return pages.message(f"You are {person.subject}", "Go back to the terminal.")

    # --- logging out (RP-Initiated Logout 1.0)

    async def show_logout(self, request: Request) -> Response:
        """End the login that an ID token is of; without one, ask which."""
        query = _query(request)
        hint = self._signer.read_hint(query.get("id_token_hint", ""))
        if hint is None:
            return self._ask_which()
        client, sid = hint
        if query.get("client_id", client) != client:
            raise Problem(400, "`client_id` and `id_token_hint` are of two clients")
        back = query.get("post_logout_redirect_uri", "")
        if back and not takes_return(client, back, self.gateway):
            raise Problem(400, "`post_logout_redirect_uri` is not one of this client's")
        said = await self._end(sid)
        if not back:
            return said
        state = query.get("state", "")
        return RedirectResponse(f"{back}?{urlencode({'state': state})}" if state else back, 303)

    async def log_out(self, request: Request) -> Response:
        """End the login whose button was pressed."""
        form = await self._own_form(request)
        self._seals.open("logout", form.get("sealed", ""))
        return await self._end(form.get("sid", ""))

    def _ask_which(self) -> Response:
        logins = self._logins.all()[:SHOWN]
        if not logins:
            return pages.message("Log out", "Nobody is logged in.")
        named = [
            (one.sid, f"{one.person.subject}, {one.client}, since {_clock_time(one.since)}")
            for one in logins
        ]
        form = pages.logins_form(f"{self._issuer}/logout", self._seals.seal("logout", {}), named)
        return pages.page("Which login shall end?", form)

    async def _end(self, sid: str) -> Response:
        login = self._logins.end(sid)
        if login is None:
            return pages.message("Logged out", "That login was over.")
        problem = await self._tell(login)
        who = f"{login.person.subject} is logged out here"
        if problem:
            return pages.message("Logged out", f"{who}, and the gateway was not told: {problem}.")
        return pages.message("Logged out", f"{who} and at the gateway.")

    async def _own_form(self, request: Request) -> dict[str, str]:
        demand_own_page(request, self._origin)
        return await read_form(request)


def _query(request: Request) -> dict[str, str]:
    return once(parse_form(request.scope["query_string"]))


def _wrong(query: dict[str, str]) -> tuple[str, str] | None:
    """Return why nobody can log in by this request, in OAuth's word and in ours."""
    for name in ("request", "request_uri"):
        if name in query:
            return f"{name}_not_supported", f"`{name}` is not taken"
    if query.get("response_type") != "code" or query.get("response_mode", "query") != "query":
        return "unsupported_response_type", "expected `response_type=code`, and a query"
    if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(
        query.get("code_challenge", "")
    ):
        return "invalid_request", "expected PKCE with S256"
    if any(len(query.get(name, "")) > MAXIMUM_VALUE for name in ("state", "nonce")):
        return "invalid_request", "`state` or `nonce` is too long"
    if granted(query.get("scope", "")) is None:
        return "invalid_scope", "expected `openid` in `scope`"
    if "none" in query.get("prompt", "").split():
        return "login_required", "nobody is logged in without a click"
    return None


def _person(form: dict[str, str]) -> Person | None:
    """Return whom a button named, None: nobody was to be. Raises: Problem (400)."""
    named = form.get("person")
    if named is None:
        return None
    if named not in PEOPLE:
        raise Problem(400, "nobody of that name is here")
    return PEOPLE[named]


def _leads_to(back: str) -> str:
    """Return CSP's sources for where an answer goes; it has no words for an IPv6 address."""
    parts = urlsplit(back)
    return "'self' http:" if "[" in parts.netloc else f"'self' http://{parts.netloc}"


def _clock_time(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
