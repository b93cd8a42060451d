"""What a request is for: ways of asking that were decided as something else than was done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bypass.http.found import Target, ask
from tests.support.http_gateway import HttpGateway

RULES = [
    {
        "name": "all",
        "effect": "allow",
        "operations": {"effects": ["read", "write"]},
        "unless": {"subjects": {"groups": ["few"]}},
    },
    {
        "name": "one-user",
        "effect": "allow",
        "subjects": {"groups": ["few"]},
        "operations": {"resources": {"path": ["/users/*", "/users/*/mail"], "api": ["*"]}},
    },
    {
        "name": "no-admin",
        "effect": "deny",
        "operations": {"resources": {"path": ["/admin", "/admin/**"]}},
    },
    {"name": "no-overrides", "effect": "deny", "operations": {"facts": ["method-override"]}},
]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Target(tmp_path_factory.mktemp("told")) as peer:
        assert isinstance(peer, Target)
        yield peer


@pytest.fixture(scope="module")
def gateway(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpGateway]:
    with HttpGateway(tmp_path_factory.mktemp("gateway"), {"told": target}, rules=RULES) as running:
        yield running


@pytest.mark.parametrize(
    "path",
    [
        "//x/admin/users",
        "//x:1/admin",
        "///x/admin/users",
        "/%5Cx/admin/users",
        "/%2Fx/admin/users",
        "/admin%3Fa",
        "/admin%23a",
        "/admin/users%253Fa",
    ],
)
def test_a_path_is_read_as_an_address_or_decoded_before_its_query(
    gateway: HttpGateway, target: Target, path: str
) -> None:
    target.clear()
    assert ask(gateway, f"GET /t/told{path}").status in (400, 403)
    assert target.seen == []


FORM = "Content-Type: application/x-www-form-urlencoded"
PARTS = b"--b\r\nContent-Disposition: form-data; name=%s\r\n\r\nDELETE\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("query", "kind", "body"),
    [
        ("?a;_method=DELETE", "", b""),
        ("?.method=DELETE", "", b""),
        ("", FORM, b"a=1;_method=DELETE"),
        ("", FORM, b".method=DELETE"),
        ("", FORM, b"[method=DELETE"),
        ("", FORM, b"+_method=DELETE"),
        ("", "X-None: 1", b"_method=DELETE"),
        ("", "Content-Type: application/json", b'{"_method": "DELETE"}'),
        ("", "Content-Type: multipart/form-data; boundary=b", PARTS % b'"_method"'),
        ("", "Content-Type: multipart/form-data; boundary=b", PARTS % b"_Method"),
    ],
)
def test_parameters_that_ask_for_another_method_are_seen(
    gateway: HttpGateway, target: Target, query: str, kind: str, body: bytes
) -> None:
    target.clear()
    fields = [kind] if kind else []
    assert ask(gateway, f"POST /t/told/things/1{query}", *fields, body=body).status == 403
    assert target.seen == []


def test_a_parameter_that_only_ends_like_it_is_none(gateway: HttpGateway, target: Target) -> None:
    target.clear()
    body = b"payment_method=card&method=x"
    assert ask(gateway, "POST /t/told/things/1", FORM, body=body).status == 200


@pytest.mark.parametrize(
    "destination", ["/admin/users", "http://told.example/admin/users", "/x/%61dmin/..", "//h/admin"]
)
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_what_a_copy_writes_to_is_a_resource_of_its_own(
    gateway: HttpGateway, target: Target, method: str, destination: str
) -> None:
    target.clear()
    line = f"{method} /t/told/files/a"
    assert ask(gateway, line, f"Destination: {destination}").status in (400, 403)
    assert target.seen == []
    assert ask(gateway, line, "Destination: http://told.example/files/b").status == 200


TRUSTED = [
    "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Uri", "X-Forwarded-Ssl",
    "X-Original-Uri", "X-Original-Method", "X-Middleware-Subrequest", "X-Envoy-Original-Path",
    "X-Ms-Client-Principal", "X-Goog-Authenticated-User-Email", "X-Goog-Iap-Jwt-Assertion",
    "X-Amzn-Oidc-Data", "X-Consumer-Username", "X-Auth-Request-Access-Token",
]  # fmt: skip


def test_what_servers_trust_a_proxy_to_say_goes_nowhere(
    gateway: HttpGateway, target: Target
) -> None:
    target.clear()
    fields = [f"{name}: forged" for name in TRUSTED]
    assert ask(gateway, "GET /t/told/x", *fields).status == 200
    assert "forged" not in target.seen[0].head


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"role": "user", "ROLE": "admin"}'),
        ("application/json", b'{"role": "user", "r\\u00f4le": 1, "R\\u00d4LE": 2}'),
        ("application/json", b'{"role": "user", "most": 1e999}'),
        ("application/json; charset=utf-7; charset=utf-8", b'{"role": "user+ACIALA-"}'),
    ],
)
def test_a_body_that_parsers_read_differently_is_not_looked_at(
    gateway: HttpGateway, target: Target, kind: str, body: bytes
) -> None:
    target.clear()
    answer = ask(gateway, "POST /t/told/roles", f"Content-Type: {kind}", body=body)
    assert answer.status == 403
    assert "ambiguous" in answer.text
    assert target.seen == []


@pytest.mark.parametrize("method", ["DELIVER", "MESSAGE", "WEBSOCKET", "deliver"])
def test_what_the_gateway_calls_its_own_operations_is_no_method(
    gateway: HttpGateway, target: Target, method: str
) -> None:
    target.clear()
    assert ask(gateway, f"{method} /t/told/things").status == 403
    assert target.seen == []


def test_an_allow_of_one_thing_does_not_cover_the_collection(
    gateway: HttpGateway, target: Target
) -> None:
    """`/users/` is `/users` to servers that route without regard to the last slash."""
    target.clear()
    token = gateway.token("agent-few", groups=["agents", "few"])
    assert ask(gateway, "GET /t/told/users/7", token=token).status == 200
    assert ask(gateway, "GET /t/told/users/7/mail", token=token).status == 200
    assert ask(gateway, "GET /t/told/users/", token=token).status == 403
    assert ask(gateway, "GET /t/told/users//mail", token=token).status == 403
    assert len(target.seen) == 2
