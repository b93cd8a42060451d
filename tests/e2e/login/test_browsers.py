"""Chromium signs in at a real provider; what its cookie is good for, and for which pages."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import Chromium
from tests.support.gateway import Gateway
from tests.support.processes import wait_for
from tests.support.provider import OpenIdProvider

ASK = """
const [path, method] = arguments;
const options = {method, credentials: 'include'};
if (method === 'POST') { options.body = '{}'; options.headers = {'content-type': 'application/json'}; }
return fetch(path, options).then(answer => answer.status, error => String(error));
"""
SIMPLE = """
const [path] = arguments;
return fetch(path, {method: 'POST', credentials: 'include', mode: 'no-cors', body: ''}).then(
  answer => answer.type, error => String(error));
"""
FORM = """
const [action] = arguments;
const form = document.createElement('form');
form.method = 'POST'; form.action = action;
document.body.append(form); form.submit();
"""


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(tmp_path) as browser:
        yield browser


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Another site: its name is another one, so that its pages are cross-site."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>elsewhere</title>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def log_in(chromium: Chromium, gateway: Gateway, person: str) -> None:
    chromium.visit(f"{gateway.url}/login")
    chromium.type("input[name=login]", person)
    chromium.type("input[name=password]", "whatever")
    chromium.click("button[type=submit]")
    wait_for(
        lambda: "consent" in chromium.text.lower() or "authorize" in chromium.text.lower(),
        "it asks",
    )
    chromium.click("button[type=submit]")
    wait_for(lambda: chromium.url.startswith(gateway.url), "it is back")


def test_in_and_out_and_what_counts(
    chromium: Chromium, gateway: Gateway, provider: OpenIdProvider, elsewhere: str
) -> None:
    log_in(chromium, gateway, "chris")
    assert chromium.url == f"{gateway.url}/api/v1/whoami" and '"chris"' in chromium.text
    cookie = chromium.cookies()["sallyport-session"]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax"
    assert chromium.run("return document.cookie") == ""
    # The API's own pages use it: one of its answers is one, once its policy lets scripts ask.
    assert "Failed to fetch" in chromium.run(ASK, "/api/v1/whoami", "GET")
    chromium.forget_csp()
    chromium.visit(f"{gateway.url}/api/v1/whoami")
    assert chromium.run(ASK, "/api/v1/whoami", "GET") == 200
    assert chromium.run(ASK, "/api/v1/access/nothing/withdraw", "POST") == 404
    # A page of another site gets nothing by it, and has nothing done.
    chromium.visit(elsewhere)
    for path in ("/api/v1/whoami", "/logout"):
        assert "Failed to fetch" in chromium.run(ASK, f"{gateway.url}{path}", "GET")
    chromium.run(SIMPLE, f"{gateway.url}/logout")
    chromium.run(FORM, f"{gateway.url}/logout")
    wait_for(lambda: "browser ask" in chromium.text, "the form of another site is refused")
    # A link from there leads here, still signed in; one signs out from an own page.
    chromium.visit(elsewhere)
    chromium.run("location.href = arguments[0]", f"{gateway.url}/api/v1/whoami")
    wait_for(lambda: '"chris"' in chromium.text, "a link leads here")
    chromium.visit(f"{gateway.url}/logout")
    assert "signed in as chris" in chromium.text
    chromium.click("button")
    wait_for(lambda: chromium.url.startswith(provider.url), "it logs out there")
    chromium.click("button[name=logout]")
    wait_for(lambda: chromium.url == f"{gateway.url}/logout", "and is back")
    assert "signed out" in chromium.text
    assert "sallyport-session" not in chromium.cookies()
