"""Routing, tokens and fields: who asks for what, and what of it crosses the gateway."""

from __future__ import annotations

import base64

import pytest

from sallyport.core.errors import ProtocolViolation, TargetUnavailable
from sallyport.protocols.http import fields, tokens
from sallyport.protocols.http.message import Fields, RequestHead
from sallyport.protocols.http.routing import Route, is_cross_site, route
from sallyport.protocols.http.settings import Inject


def head(target: str, authority: str = "gw", method: str = "GET") -> RequestHead:
    return RequestHead(method, "http", authority, target, [], "HTTP/1.1")


@pytest.mark.parametrize(
    ("target", "authority", "domain", "expected"),
    [
        ("/t/api", "x", "", Route("api", "/", "/t/api")),
        ("/t/api/", "x", "", Route("api", "/", "/t/api")),
        ("/t/api/a/b?c=d", "x", "", Route("api", "/a/b?c=d", "/t/api")),
        ("/t/api?x", "x", "", Route("api", "/?x", "/t/api")),
        ("/a", "x", "", None),
        ("/t/", "x", "", None),
        ("/t//a", "x", "", None),
        ("/t/..%2fx/a", "x", "", None),
        ("*", "x", "", None),
        ("/a", "api.gw.test", "gw.test", Route("api", "/a", "")),
        ("/t/other/a", "api.gw.test:8443", "gw.test", Route("api", "/t/other/a", "")),
        ("/a", "API.GW.TEST.", "gw.test", Route("api", "/a", "")),
        ("/t/api/a", "gw.test", "gw.test", Route("api", "/a", "/t/api")),
        ("/t/api/a", "127.0.0.1:80", "gw.test", Route("api", "/a", "/t/api")),
        ("/t/api/a", "[::1]:80", "gw.test", Route("api", "/a", "/t/api")),
    ],
)
def test_routes(target: str, authority: str, domain: str, expected: Route | None) -> None:
    assert route(head(target, authority.lower()), domain) == expected


@pytest.mark.parametrize(
    "authority", ["evil.test", "gw.test.evil.test", "a.b.gw.test", "evilgw.test", "-x.gw.test"]
)
def test_other_hosts_are_not_served(authority: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        route(head("/t/api/a", authority), "gw.test")
    assert caught.value.code == "421"


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("given", "token", "login", "slot"),
    [
        ([(b"authorization", b"Bearer abc")], "abc", None, b"authorization"),
        ([(b"authorization", b"bearer   abc")], "abc", None, b"authorization"),
        ([(b"authorization", basic("app:abc"))], "abc", "app", b"authorization"),
        ([(b"authorization", basic(":abc"))], "abc", None, b"authorization"),
        ([(b"authorization", basic("abc:"))], "abc", None, b"authorization"),
        ([(b"authorization", basic("a:b:c"))], "b:c", "a", b"authorization"),
        ([(b"proxy-authorization", b"Bearer abc"), (b"authorization", b"Bearer target")],
         "abc", None, b"proxy-authorization"),
        ([(b"x-sallyport-token", b"abc"), (b"authorization", b"Bearer t")],
         "abc", None, b"x-sallyport-token"),
    ],
)  # fmt: skip
def test_where_a_token_stands(given: Fields, token: str, login: str | None, slot: bytes) -> None:
    found = tokens.shown(given)
    assert found is not None
    assert (found.token, found.login, found.slot) == (token, login, slot)


@pytest.mark.parametrize(
    "given",
    [
        [],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
        [(b"authorization", b"Digest abc")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic !!!")],
        [(b"authorization", basic("nothing"))],
        [(b"authorization", basic(":"))],
        [(b"authorization", b"Bearer \xff")],
        [(b"x-sallyport-token", b"")],
        [(b"x-sallyport-token", b"a"), (b"x-sallyport-token", b"b")],
        [(b"authorization", b"Bearer " + b"a" * 20_000)],
    ],
)
def test_what_is_no_token(given: Fields) -> None:
    """Two in one slot are none: nobody knows which counts."""
    assert tokens.shown(given) is None


def test_of_the_token_nothing_is_left() -> None:
    given = [
        (b"authorization", b"Bearer theirs"), (b"x-sallyport-token", b"abc"),
        (b"x-sallyport-task", b"t"), (b"proxy-authorization", b"x"), (b"accept", b"*/*"),
    ]  # fmt: skip
    kept = tokens.without_token(given, b"x-sallyport-token")
    assert kept == [(b"authorization", b"Bearer theirs"), (b"accept", b"*/*")]
    assert tokens.leaks("abc", [(b"cookie", b"x=abc")])
    assert not tokens.leaks("abc", kept)


def test_fields_of_one_leg_and_of_proxies_stay() -> None:
    given = [
        (b"connection", b"close, x-one"), (b"x-one", b"1"), (b"te", b"gzip"), (b"host", b"h"),
        (b"x-forwarded-for", b"1.2.3.4"), (b"x_forwarded_for", b"1"), (b"forwarded", b"for=x"),
        (b"content-length", b"3"), (b"cookie", b"a=b"), (b"x-two", b"2"), (b"expect", b"x"),
    ]  # fmt: skip
    assert fields.to_target(given) == [(b"cookie", b"a=b"), (b"x-two", b"2")]


@pytest.mark.parametrize(
    ("inject", "target", "added"),
    [
        (Inject(), "/a", (b"authorization", b"Bearer s3cret")),
        (Inject("basic", user="app"), "/a", (b"authorization", basic("app:s3cret"))),
        (Inject("header", name="X-Key", prefix="k "), "/a", (b"x-key", b"k s3cret")),
        (Inject("query", name="key"), "/a?key=s3cret", None),
    ],
)
def test_the_credential_has_its_slot_alone(
    inject: Inject, target: str, added: tuple[bytes, bytes] | None
) -> None:
    given = [(b"authorization", b"Bearer own"), (b"x-key", b"own"), (b"accept", b"*/*")]
    got, made = fields.inject(inject, b"s3cret\n", "/a", given, "api")
    assert got == target
    if added is None:
        assert made == given
    else:
        assert [field for field in made if field[0] == added[0]] == [added]
        assert (b"accept", b"*/*") in made


def test_a_clients_own_key_in_the_query_is_replaced() -> None:
    inject = Inject("query", name="api_key")
    got, _ = fields.inject(inject, b"s&c", "/a?x=1&api%5Fkey=own&api_key=2", [], "api")
    assert got == "/a?x=1&api_key=s%26c"


def test_a_credential_that_fits_no_header() -> None:
    with pytest.raises(TargetUnavailable):
        fields.inject(Inject(), b"a\r\nx: y", "/", [], "api")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"/a/b", b"/t/api/a/b"),
        (b"http://inner:8080/a?b", b"/t/api/a?b"),
        (b"HTTP://INNER:8080", b"/t/api/"),
        (b"http://inner:8080?x", b"/t/api/?x"),
        (b"http://inner:80801/a", b"http://inner:80801/a"),
        (b"https://else.test/a", b"https://else.test/a"),
        (b"//else.test/a", b"//else.test/a"),
        (b"relative", b"relative"),
        (b"", b""),
    ],
)
def test_locations_lead_through_the_gateway(value: bytes, expected: bytes) -> None:
    assert fields.rewrite_location(value, ("http://inner:8080",), "/t/api") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a=b", b"a=b; Path=/t/api/"),
        (b"a=b; Path=/x; Secure", b"a=b; Path=/t/api/x; Secure"),
        (b"a=b; Domain=inner; path=/", b"a=b; Path=/t/api/"),
        (b"a=b; Path=", b"a=b; Path=/t/api/"),
    ],
)
def test_cookies_stay_below_their_target(value: bytes, expected: bytes) -> None:
    assert fields.rewrite_cookie(value, "/t/api") == expected


@pytest.mark.parametrize(
    ("given", "method", "expected"),
    [
        ([], "POST", False),
        ([(b"origin", b"http://gw")], "POST", False),
        ([(b"origin", b"http://evil.test")], "POST", True),
        ([(b"origin", b"null")], "POST", True),
        ([(b"origin", b"http://evil.gw")], "POST", True),
        ([(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"no-cors")], "GET", True),
        ([(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate")], "GET", False),
        ([(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate")], "POST", True),
        ([(b"sec-fetch-site", b"same-site"), (b"sec-fetch-mode", b"cors")], "GET", True),
        ([(b"sec-fetch-site", b"same-origin"), (b"sec-fetch-mode", b"cors")], "POST", False),
    ],
)
def test_pages_of_other_sites(given: Fields, method: str, expected: bool) -> None:
    assert is_cross_site(head("/a", method=method), given) is expected
