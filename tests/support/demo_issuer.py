"""The development issuer as programs and browsers meet it, on a port of its own."""

from __future__ import annotations

import re
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from sallyport.cli.login.device import GRANT
from sallyport.demo.issuer.server import DevelopmentIssuer
from sallyport.demo.person import read_form
from sallyport.identity.relying.code import challenge

CALLBACK = "http://127.0.0.1:50001/callback"


class Visitor:
    """One program and one browser at an issuer, for one client."""

    def __init__(self, issuer: DevelopmentIssuer, client: str = "sallyport-cli") -> None:
        self.issuer, self.client = issuer, client
        self.origin = f"http://127.0.0.1:{issuer.port}"
        self.http = httpx2.Client(follow_redirects=False, trust_env=False, timeout=30.0)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    # --- a program

    def get(self, path: str, **query: str) -> httpx2.Response:
        return self.http.get(f"{self.issuer.url}{path}", params=query)

    def post(self, path: str, **form: str) -> httpx2.Response:
        return self.http.post(f"{self.issuer.url}{path}", data={"client_id": self.client, **form})

    def code_grant(self, code: str, verifier: str, **more: str) -> httpx2.Response:
        form = {"code": code, "code_verifier": verifier, "redirect_uri": CALLBACK, **more}
        return self.post("/token", grant_type="authorization_code", **form)

    def refresh(self, token: str) -> httpx2.Response:
        return self.post("/token", grant_type="refresh_token", refresh_token=token)

    def poll(self, device_code: str) -> httpx2.Response:
        return self.post("/token", grant_type=GRANT, device_code=device_code)

    # --- a browser

    def press(self, page: httpx2.Response, **button: str) -> httpx2.Response:
        """Press a button of the page's form, as a browser does."""
        action, fields = read_form(page.text)
        return self.http.post(
            action,
            data={**fields, **button},
            headers={"origin": self.origin, "sec-fetch-site": "same-origin"},
        )

    def asking(self, verifier: str, **changed: str | None) -> dict[str, str]:
        """What a good authorization request says; None: it does not say that."""
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": CALLBACK,
            "scope": "openid profile email offline_access",
            "state": "the state",
            "nonce": "the nonce",
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
            **changed,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def authorize(self, person: str = "robin", **changed: str | None) -> tuple[str, str]:
        """Log in; return code and verifier."""
        verifier = secrets.token_urlsafe(32)
        page = self.get("/authorize", **self.asking(verifier, **changed))
        answer = answered(self.press(page, person=person))
        assert (answer["state"], answer["iss"]) == ("the state", self.issuer.url)
        return answer["code"], verifier

    def tokens(self, person: str = "robin", **changed: str | None) -> dict[str, Any]:
        """Log in by the code flow; return what the token endpoint gives."""
        given = self.code_grant(*self.authorize(person, **changed))
        assert given.status_code == 200, given.text
        return dict(given.json())


def answered(response: httpx2.Response) -> dict[str, str]:
    """Return what a browser is sent back to the command line with."""
    assert response.status_code == 303, response.text
    place = response.headers["location"]
    assert place.startswith(f"{CALLBACK}?"), place
    return dict(parse_qsl(urlsplit(place).query))


def error(response: httpx2.Response) -> str:
    """Return OAuth's word for what went wrong."""
    assert 400 <= response.status_code < 500, response.text
    return str(response.json()["error"])


def said(page: httpx2.Response) -> str:
    """Return a page's words, without its tags."""
    return re.sub(r"<[^>]+>", " ", page.text.partition("<body>")[2])


def encoded(form: dict[str, str]) -> bytes:
    return urlencode(form).encode()
