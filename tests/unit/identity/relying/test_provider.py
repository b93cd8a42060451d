"""What a provider says: taken in form, within bounds, and from where it belongs."""

from __future__ import annotations

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sallyport.identity.relying import provider as module
from sallyport.identity.relying.provider import (
    MAXIMUM_BODY,
    OAuthError,
    ProviderError,
    Web,
    ask_tokens,
    discover,
    scopes_for,
)
from tests.support.hostile import Answer, Form, Hostile, answer

WELL_KNOWN = "/.well-known/openid-configuration"


def test_an_honest_one_is_found(hostile: Hostile, web: Web) -> None:
    hostile.document = {"authorization_response_iss_parameter_supported": True}
    found = discover(web)
    assert (found.token, found.device) == (f"{hostile.url}/token", f"{hostile.url}/device")
    assert found.names_itself and found.challenges == ("S256",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://other.example"},
        {"issuer": ...},
        {"token_endpoint": ...},
        {"token_endpoint": 7},
        {"token_endpoint": "http://192.0.2.1/token"},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": "https://user:pw@example.com/token"},
        {"jwks_uri": "http://example.com/jwks"},
        {"device_authorization_endpoint": "http://example.com/device"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"revocation_endpoint": "https://example.com/\x1b[2J"},
        {"authorization_endpoint": "https://example.com/" + "x" * 5000},
    ],
)
def test_a_document_that_is_odd_is_refused(
    hostile: Hostile, web: Web, wrong: dict[str, Any]
) -> None:
    hostile.document = wrong
    with pytest.raises(ProviderError):
        discover(web)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"issuer": "a", "issuer": "b"}', b"\xff"])
def test_what_is_no_document_is_refused(hostile: Hostile, web: Web, body: bytes) -> None:
    hostile.paths[WELL_KNOWN] = lambda _: (200, body, {})
    with pytest.raises(ProviderError):
        discover(web)


def test_no_redirect_is_followed(hostile: Hostile, web: Web) -> None:
    endpoints = discover(web)
    for path in (WELL_KNOWN, "/token", "/jwks"):
        hostile.paths[path] = lambda _: answer({}, 307, location=f"{hostile.url}/elsewhere")
    for ask in (
        lambda: discover(web),
        lambda: ask_tokens(web, endpoints, {"refresh_token": "secret"}),
        lambda: module.find_key(web, endpoints, "one", "RS256"),
    ):
        with pytest.raises(ProviderError, match="status 307"):
            ask()
    assert "/elsewhere" not in [path for path, _ in hostile.asked]


def test_a_huge_answer_is_read_to_its_bound_alone(hostile: Hostile, web: Web) -> None:
    hostile.paths[WELL_KNOWN] = lambda _: (200, b" " * (MAXIMUM_BODY * 4), {})
    with pytest.raises(ProviderError, match="more than"):
        discover(web)


def test_a_packed_answer_is_refused(hostile: Hostile, web: Web) -> None:
    hostile.paths[WELL_KNOWN] = lambda _: (200, b"{}", {"content_encoding": "gzip"})
    with pytest.raises(ProviderError, match="encoding"):
        discover(web)


def test_a_slow_answer_is_given_up(hostile: Hostile) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 20.0
        return now[0]

    web = Web(hostile.url, clock)
    with pytest.raises(ProviderError, match="too slow"):
        discover(web)
    web.close()


@pytest.mark.parametrize("before", [0, 1], ids=["first", "kept-alive"])
def test_headers_that_come_byte_by_byte_are_given_up(
    monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    whole: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        """Answers in the end, and says a byte of its headers now and then until it does."""

        protocol_version = "HTTP/1.1"
        served = 0

        def do_GET(self) -> None:
            self.served += 1
            with contextlib.suppress(OSError):  # nobody waits for it
                self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
                for _ in range(60 if self.served > before else 0):
                    self.wfile.write(b"a")
                    time.sleep(0.05)
                self.wfile.write(b"a\r\ncontent-length: 2\r\n\r\n{}")
                whole.append(self.served)

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setattr(module, "DEADLINE", 0.5)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        web = Web(f"http://127.0.0.1:{server.server_address[1]}")
        for _ in range(before):
            assert web.get(web.issuer) == b"{}"
        with pytest.raises(ProviderError, match="too slow") as why:
            web.get(web.issuer)
        assert why.value.unreachable
        assert len(whole) == before, "it was not waited for"
        web.close()
        server.shutdown()


def test_nobody_there_is_told(hostile: Hostile) -> None:
    web = Web("http://127.0.0.1:1")
    with pytest.raises(ProviderError, match="cannot reach") as why:
        discover(web)
    assert why.value.unreachable
    web.close()


def test_an_issuer_that_is_not_private_is_not_asked() -> None:
    for url in ("http://login.example.com", "ftp://x", "https://a@b.example", "nothing"):
        with pytest.raises(ProviderError):
            Web(url)


def test_an_issuer_elsewhere_names_nothing_on_this_machine() -> None:
    with pytest.raises(ProviderError, match="must be https"):
        module._demand_private("https://login.example.com", "http://127.0.0.1:8642/token")


@pytest.mark.parametrize(
    "wrong",
    [
        {"token_type": "mac"},
        {"token_type": ...},
        {"id_token": ...},
        {"id_token": 7},
        {"access_token": ""},
        {"access_token": "a\nb"},
        {"refresh_token": ["r"]},
        {"id_token": "x" * 70_000},
    ],
)
def test_an_odd_answer_gives_no_tokens(hostile: Hostile, web: Web, wrong: dict[str, Any]) -> None:
    whole = {"token_type": "bearer", "access_token": "a", "id_token": "i", "refresh_token": "r"}
    given = {name: v for name, v in {**whole, **wrong}.items() if v is not ...}
    hostile.paths["/token"] = lambda _: answer(given)
    with pytest.raises(ProviderError):
        ask_tokens(web, discover(web), {})


def test_a_refusal_says_the_providers_word_for_it_and_no_more_than_fits(
    hostile: Hostile, web: Web
) -> None:
    def refuse(_: Form) -> Answer:
        return answer({"error": "invalid_grant", "error_description": "x" * 5000}, 400)

    hostile.paths["/token"] = refuse
    with pytest.raises(OAuthError) as why:
        ask_tokens(web, discover(web), {})
    assert why.value.error == "invalid_grant" and len(why.value.message) < 400


def test_offline_access_is_asked_where_it_may_be_known(hostile: Hostile, web: Web) -> None:
    for known, scope in (
        (..., "openid offline_access"),
        (["openid", "offline_access"], "openid offline_access"),
        (["openid", "email"], "openid"),
    ):
        hostile.document = {"scopes_supported": known}
        assert scopes_for(hostile.provider, discover(web)) == scope
