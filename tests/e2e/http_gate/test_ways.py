"""The ways in and the ways on: hosts, paths, tokens, and how a target is shown its credential."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sallyport.cli.client import path
from tests.e2e.http_gate.conftest import Begin, asking, unverified
from tests.support.authority import Authority
from tests.support.http_gateway import CREDENTIAL, HttpGateway
from tests.support.processes import wait_for
from tests.support.provider import OpenIdProvider

SEEN: list[dict[str, Any]] = []


async def tell(request: Request) -> Response:
    told = {
        "path": request.url.path, "query": request.url.query,
        "headers": dict(request.headers.items()),
    }  # fmt: skip
    SEEN.append(told)
    return JSONResponse(told)


async def away(request: Request) -> Response:
    response = RedirectResponse("http://127.0.0.1:9/elsewhere", 302)
    response.set_cookie("a", "b", domain="inner.test", path="/x")
    return response


async def here(request: Request) -> Response:
    return RedirectResponse(str(request.url.replace(path="/there")), 307)


@pytest.fixture(scope="module")
def everything(serve: Callable[..., Any]) -> Any:
    routes = [Route("/away", away), Route("/here", here, methods=["GET", "POST"]),
              Route("/{rest:path}", tell, methods=["GET", "POST", "DELETE"])]  # fmt: skip
    return serve(Starlette(routes=routes))


@pytest.fixture
def site(everything: Any) -> Any:
    SEEN.clear()
    return everything


def test_by_host(begin: Begin, site: Any) -> None:
    gateway = begin({"api": site}, listener={"domain": "gw.test"})
    with asking(gateway) as client:
        assert client.get("/a/b?c=d", headers={"host": "api.gw.test"}).json()["path"] == "/a/b"
        moved = client.get("/here", headers={"host": "api.gw.test"})
        assert moved.headers["location"] == "/there"
        assert client.get("/a", headers={"host": "other.test"}).status_code == 421
        assert client.get("/a", headers={"host": "x.api.gw.test"}).status_code == 421
        assert client.get("/t/api/a", headers={"host": "gw.test"}).json()["path"] == "/a"
        assert client.get("/a", headers={"host": "nothing.gw.test"}).status_code == 403


def test_by_path(shared: Begin, site: Any) -> None:
    gateway = shared({"api": site})
    with asking(gateway) as client:
        told = client.get("/t/api/a%2Fb//c?d=e&f").json()
        assert told["query"] == "d=e&f"
        assert client.get("/t/api/here").headers["location"] == "/t/api/there"
        moved = client.get("/t/api/away")
        assert moved.headers["location"] == "http://127.0.0.1:9/elsewhere"
        assert "domain" not in moved.headers["set-cookie"].lower()
        assert "path=/t/api/x" in moved.headers["set-cookie"].lower()
        assert client.get("/").status_code == 404
        assert client.get("/t/nowhere/a").status_code == 403
    assert not [one for one in SEEN if one["path"] == "/elsewhere"]


def test_a_wrong_token_and_none(shared: Begin, site: Any) -> None:
    gateway = shared({"api": site})
    url = f"http://127.0.0.1:{gateway.port}/t/api/a"
    with httpx2.Client(trust_env=False) as client:
        bare = client.get(url)
        assert bare.status_code == 401
        assert bare.headers.get_list("www-authenticate") == [
            'Bearer realm="sallyport"', 'Basic realm="sallyport", charset="UTF-8"',
        ]  # fmt: skip
        texts = set()
        for token in ("sp_nothing", "a.b.c", gateway.agent[:-1], gateway.agent + "x"):
            found = client.get(url, headers={"authorization": f"Bearer {token}"})
            assert found.status_code == 401
            texts.add(found.text)
        assert len(texts) == 1
    assert SEEN == []


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"authorization": "Bearer TOKEN"}, None),
        ({"x-sallyport-token": "TOKEN", "authorization": "Bearer own"}, None),
        ({"proxy-authorization": "Bearer TOKEN", "cookie": "a=b"}, "cookie"),
    ],
)
def test_of_the_gateways_token_the_target_sees_nothing(
    shared: Begin, site: Any, headers: dict[str, str], kept: str | None
) -> None:
    gateway = shared({"api": site})
    shown = {name: value.replace("TOKEN", gateway.agent) for name, value in headers.items()}
    shown["x-sallyport-task"] = "ticket-1"
    shown["x-forwarded-for"] = "10.0.0.1"
    shown["x_real_ip"] = "10.0.0.1"
    response = httpx2.get(
        f"http://127.0.0.1:{gateway.port}/t/api/a", headers=shown, trust_env=False
    )
    assert response.status_code == 200
    (seen,) = SEEN
    assert gateway.agent not in str(seen)
    assert seen["headers"]["authorization"] == f"Bearer {CREDENTIAL}"
    assert not any(name.startswith("x") for name in seen["headers"])
    if kept:
        assert kept in seen["headers"]
    assert CREDENTIAL not in response.text
    assert "Bearer " + "*" * len(CREDENTIAL) in response.text
    (session, *_) = wait_for(lambda: gateway.admin.get("/sessions")["sessions"], "a session")
    assert session["task"] == "ticket-1"


@pytest.mark.parametrize("place", ["query", "header", "body", "path"])
def test_a_token_where_the_target_would_see_it_is_refused(
    shared: Begin, site: Any, place: str
) -> None:
    gateway = shared({"api": site})
    url, more = "/t/api/a", {}
    if place == "query":
        url = f"/t/api/a?key={gateway.agent}"
    elif place == "path":
        url = f"/t/api/{gateway.agent}/a"
    elif place == "header":
        more = {"headers": {"cookie": f"key={gateway.agent}"}}
    with asking(gateway) as client:
        data = gateway.agent if place == "body" else "x"
        assert client.post(url, content=data, **more).status_code == 400
    assert SEEN == []


@pytest.mark.parametrize(
    ("inject", "seen"),
    [
        ({"as": "bearer"}, ("authorization", f"Bearer {CREDENTIAL}")),
        ({"as": "header", "name": "X-Api-Key"}, ("x-api-key", CREDENTIAL)),
        ({"as": "header", "name": "Authorization", "prefix": "Token "},
         ("authorization", f"Token {CREDENTIAL}")),
    ],
)  # fmt: skip
def test_a_credential_in_a_header(
    begin: Begin, site: Any, inject: dict[str, str], seen: tuple[str, str]
) -> None:
    gateway = begin({"api": site}, settings={"inject": inject})
    with asking(gateway) as client:
        assert client.get("/t/api/a", headers={"x-api-key": "own"}).status_code == 200
    assert SEEN[0]["headers"][seen[0]] == seen[1]
    assert "own" not in SEEN[0]["headers"].get(seen[0], "")


def test_basic_and_query(begin: Begin, site: Any) -> None:
    gateway = begin({"api": site}, settings={"inject": {"as": "basic", "user": "robot"}})
    with asking(gateway) as client:
        client.get("/t/api/a")
    basic = httpx2.BasicAuth("robot", CREDENTIAL)._auth_header
    assert SEEN[-1]["headers"]["authorization"] == basic
    gateway = begin({"api": site}, settings={"inject": {"as": "query", "name": "key"}})
    with asking(gateway) as client:
        told = client.get("/t/api/a?key=own&x=1").json()
    assert SEEN[-1]["query"] == f"x=1&key={CREDENTIAL}"
    assert told["query"] == "x=1&key=" + "*" * len(CREDENTIAL)
    (session, *_) = wait_for(lambda: gateway.admin.get("/sessions")["sessions"], "a session")

    def exported() -> str:
        return str(list(gateway.admin.lines(path("sessions", session["id"], "export"))))

    wait_for(lambda: "x=1" in exported(), "the request is on record")
    assert CREDENTIAL not in exported()


def test_a_client_certificate(begin: Begin, serve: Callable[..., Any], tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.server().files(tmp_path, "server")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    site = serve(
        Starlette(routes=[Route("/{rest:path}", tell)]),
        ssl_certfile=str(certificate), ssl_keyfile=str(key), ssl_ca_certs=str(ca),
        ssl_cert_reqs=2,
    )  # fmt: skip
    gateway = begin({"api": site}, settings={"inject": {"as": "certificate"}})
    with asking(gateway) as client:
        assert client.get("/t/api/a").status_code == 502
        own = authority.client("robot")
        pem = (own.certificate + own.key).decode()
        gateway.admin.put(path("credentials", "web"), {"value": pem})
    with asking(gateway, token=gateway.token("two", groups=["agents"])) as client:
        assert client.get("/t/api/a").status_code == 200


def test_an_access_token_by_client_credentials(begin: Begin, site: Any, tmp_path: Path) -> None:
    folder = tmp_path / "provider"
    folder.mkdir()
    with OpenIdProvider(folder) as provider:
        inject = {"as": "oauth2", "token_url": f"{provider.url}/token", "scope": "openid"}
        gateway = begin({"api": site}, settings={"inject": inject})
        gateway.admin.put(path("credentials", "web"), {"value": "machine:only-for-tests: 100%"})
        with asking(gateway) as client:
            told = [client.get("/t/api/a").json() for _ in range(3)]
        shown = {one["headers"]["authorization"] for one in SEEN}
        assert len(shown) == 1
        token = shown.pop().removeprefix("Bearer ")
        assert len(token) > 20
        assert token not in str(told)
        gateway.admin.put(path("credentials", "web"), {"value": "machine:wrong"})
        with asking(gateway, token=gateway.token("two", groups=["agents"])) as client:
            refused = client.get("/t/api/a")
        assert refused.status_code == 502
        assert "wrong" not in refused.text


def curl(*words: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "20", *words], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_where_tls_is_demanded_nothing_passes_in_clear(
    begin: Begin, site: Any, tmp_path: Path
) -> None:
    authority = Authority()
    certificate, key = authority.server().files(tmp_path, "server")
    secured = {"certificate": f"file:{certificate}", "key": f"file:{key}", "required": True}
    gateway = begin({"api": site}, listener={"tls": secured})
    bearer = f"Authorization: Bearer {gateway.agent}"
    said = curl("-i", "-H", bearer, f"http://127.0.0.1:{gateway.port}/t/api/a")
    assert "426" in said.splitlines()[0]
    assert SEEN == []
    for version in ("--http1.1", "--http2"):
        said = curl("-ki", version, "-H", bearer, f"https://127.0.0.1:{gateway.port}/t/api/a")
        assert " 200" in said.splitlines()[0]
    found = httpx2.get(
        f"https://127.0.0.1:{gateway.port}/t/api/a", headers={"authorization": bearer[15:]},
        verify=unverified(), trust_env=False,
    )  # fmt: skip
    assert found.status_code == 200


def test_pages_of_other_sites_do_nothing_with_a_browsers_password(shared: Begin, site: Any) -> None:
    gateway = shared({"api": site})
    url = f"http://127.0.0.1:{gateway.port}/t/api/a"
    own = f"http://127.0.0.1:{gateway.port}"
    basic = ("app", gateway.agent)
    with httpx2.Client(trust_env=False, auth=basic) as client:
        assert client.post(url, headers={"origin": own}).status_code == 200
        refused = client.post(url, headers={"origin": "http://evil.test"})
        assert refused.status_code == 403
        assert refused.json()["rules"] == ["cross-site"]
        assert client.get(url, headers={"sec-fetch-site": "cross-site",
                                        "sec-fetch-mode": "cors"}).status_code == 403  # fmt: skip


def test_logins_are_named_and_checked(shared: Begin, site: Any) -> None:
    gateway = shared({"api": site})
    with asking(gateway) as client:
        assert client.get("/t/api/a", headers={"x-sallyport-login": "app"}).status_code == 200
        refused = client.get("/t/api/a", headers={"x-sallyport-login": "root"})
        assert refused.status_code == 403
    assert len(SEEN) == 1


def test_a_target_that_is_not_there(begin: Begin, site: Any) -> None:
    gateway: HttpGateway = begin({"api": site})
    gateway.config["targets"][0]["address"] = "127.0.0.1:9"
    gateway.reload()
    with asking(gateway, token=gateway.token("two", groups=["agents"])) as client:
        refused = client.get("/t/api/a")
    assert refused.status_code == 502
    assert refused.json()["rules"] == ["target"]
