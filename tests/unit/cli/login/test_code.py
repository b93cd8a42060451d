"""The code flow on this machine: one answer of the browser, and nothing else that knocks."""

from __future__ import annotations

import http.client
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from sallyport.cli.errors import CommandError
from sallyport.cli.login import code
from sallyport.cli.login.loopback import Loopback
from sallyport.identity.relying.errors import ProviderError
from sallyport.identity.relying.provider import Web, discover
from tests.support.hostile import Hostile


def log_in(hostile: Hostile, web: Web, **changed: str) -> Any:
    """Log in with a browser that answers at once, with `changed` in its answer."""

    def show(url: str) -> None:
        asked = parse_qs(urlsplit(url).query)
        answer = {"code": "abc", "state": asked["state"][0], **changed}
        threading.Thread(
            target=lambda: httpx2.get(asked["redirect_uri"][0], params=answer, trust_env=False)
        ).start()

    return code.log_in(web, discover(web), hostile.provider, show, 10.0)


def test_whole(hostile: Hostile, web: Web) -> None:
    hostile.paths["/token"] = lambda _: hostile.gives()
    tokens, nonce = log_in(hostile, web)
    assert tokens.refresh_token == "refresh-2" and nonce
    form = hostile.asked[-1][1]
    assert (form["grant_type"], form["code"]) == ("authorization_code", "abc")
    assert len(form["code_verifier"]) == 43
    assert form["redirect_uri"].startswith("http://127.0.0.1:")


def test_a_wrong_state_asks_for_no_token(hostile: Hostile, web: Web) -> None:
    with pytest.raises(ProviderError, match="state"):
        log_in(hostile, web, state="forged")
    with pytest.raises(ProviderError, match="another issuer"):
        log_in(hostile, web, iss="https://evil.example")
    assert "/token" not in [path for path, _ in hostile.asked]


def test_a_browser_that_never_comes(hostile: Hostile, web: Web) -> None:
    with pytest.raises(CommandError, match="has not come back"):
        code.log_in(web, discover(web), hostile.provider, lambda _: None, 0.2)


# --- the loopback


def knock(place: Loopback, target: str, host: str | None = None, method: str = "GET") -> int:
    connection = http.client.HTTPConnection(place.authority, timeout=5)
    headers = {} if host is None else {"host": host}
    connection.request(method, target, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_it_hears_one_answer_and_nothing_else() -> None:
    with Loopback().listening() as place:
        assert knock(place, "/favicon.ico") == 404
        assert knock(place, "/callback?code=x", host="evil.example") == 400
        assert knock(place, "/callback?code=x", host="localhost:1") == 400
        assert knock(place, "/callback?code=x", method="POST") == 501
        assert knock(place, "/callback?code=" + "x" * 9000) == 404
        assert place.wait(0.0 + 0.05) is None
        assert knock(place, "/callback?code=1") == 200
        assert knock(place, "/callback?code=2") == 410
        assert place.wait(1.0) == "code=1"


def test_an_idle_connection_keeps_nobody_out() -> None:
    """Browsers open connections ahead of time and leave them."""
    with Loopback().listening() as place:
        idle = [http.client.HTTPConnection(place.authority) for _ in range(5)]
        for one in idle:
            one.connect()
        assert knock(place, "/callback?code=1") == 200
        for one in idle:
            one.close()
