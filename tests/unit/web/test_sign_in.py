"""Browsers that sign in, over HTTP: what they are sent, and what of theirs counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from sallyport.connect.tls import listener_context
from sallyport.identity.oidc import IssuerSettings
from sallyport.identity.relying.asking import Client
from sallyport.identity.sign_in import SignInSettings
from tests.support.authority import Authority
from tests.support.hostile import CLIENT, Hostile, hostile
from tests.unit.web.harness import Api, running_api

__all__ = ["hostile"]

WHOAMI = "/api/v1/whoami"
OWN = {"sec-fetch-site": "same-origin"}
ATTEMPT, SESSION = "sallyport-login", "sallyport-session"


@pytest.fixture
async def api(tmp_path: Path, hostile: Hostile) -> AsyncIterator[Api]:
    issuer = IssuerSettings("corp", hostile.url, ("x",), ("RS256",), clients=(CLIENT,))
    async with running_api(tmp_path, issuers=[issuer]) as running:
        settings = SignInSettings(running.url, {"corp": Client(hostile.provider)})
        running.services.sign_ins.settings = settings
        yield running


async def log_in(api: Api, hostile: Hostile, client: httpx2.AsyncClient, back: str = "") -> str:
    """Sign a browser in; return where it was sent on to."""
    begun = await client.get("/login", params={"next": back} if back else None)
    assert begun.status_code == 303
    asked = {k: v[0] for k, v in parse_qs(urlsplit(begun.headers["location"]).query).items()}
    hostile.paths["/token"] = lambda _: hostile.gives(nonce=asked["nonce"], groups=["dba"])
    path = urlsplit(asked["redirect_uri"]).path
    done = await client.get(path, params={"code": "abc", "state": asked["state"]})
    assert done.status_code == 303, done.text
    return str(done.headers["location"])


async def test_a_browser_signs_in_and_is_known(api: Api, hostile: Hostile) -> None:
    async with api.client(None) as browser:
        assert (await browser.get(WHOAMI)).status_code == 401
        assert await log_in(api, hostile, browser) == WHOAMI
        told = (await browser.get(WHOAMI, headers=OWN)).json()
        assert (told["name"], told["groups"], told["roles"]) == ("ann", ["dba"], ["approver"])
        assert list(browser.cookies.keys()) == [SESSION], "the attempt's is dropped"
        approvals = await browser.get("/api/v1/approvals", headers=OWN)
        assert approvals.status_code == 200


async def test_the_cookies_are_kept_from_scripts_and_other_sites(
    api: Api, hostile: Hostile
) -> None:
    async with api.client(None) as browser:
        begun = await browser.get("/login")
        (line,) = begun.headers.get_list("set-cookie")
        assert line.startswith(f"{ATTEMPT}=")
        for word in ("HttpOnly", "Max-Age=600", "Path=/", "SameSite=lax"):
            assert word in line
        assert "Domain" not in line and "Secure" not in line


async def test_over_tls_no_neighbour_can_set_them(tmp_path: Path, hostile: Hostile) -> None:
    pem = Authority().server()
    tls = listener_context(pem.certificate, pem.key)
    issuer = IssuerSettings("corp", hostile.url, ("x",), ("RS256",), clients=(CLIENT,))
    async with running_api(tmp_path, tls, [issuer]) as api:
        settings = SignInSettings(api.url, {"corp": Client(hostile.provider)})
        api.services.sign_ins.settings = settings
        async with httpx2.AsyncClient(base_url=api.url, verify=False) as browser:
            await log_in(api, hostile, browser)
            (name,) = browser.cookies.keys()
            assert name == f"__Host-{SESSION}"
            assert (await browser.get(WHOAMI)).status_code == 200
            value = browser.cookies[name]
            browser.cookies.clear()
            tossed = {"cookie": f"{SESSION}={value}"}
            assert (await browser.get(WHOAMI, headers=tossed)).status_code == 401
            begun = await browser.get("/login")
            assert "Secure" in begun.headers["set-cookie"]


WINDOW = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
CROSS = [
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"sec-fetch-site": "same-site"}, 403),
    ({"sec-fetch-site": ""}, 403),
    ({"sec-fetch-site": "Same-Origin"}, 403),
    ({"sec-fetch-site": "none"}, 200),
    ({"sec-fetch-site": "same-origin"}, 200),
    ({"sec-fetch-site": "cross-site", **WINDOW}, 200),
    ({"sec-fetch-site": "same-site", **WINDOW}, 200),
    ({"sec-fetch-site": "cross-site", **WINDOW, "sec-fetch-dest": "iframe"}, 403),
    ({"sec-fetch-site": "cross-site", **WINDOW, "sec-fetch-mode": "no-cors"}, 403),
    ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, 403),
    ({}, 200),
]


@pytest.mark.parametrize(("headers", "status"), CROSS)
async def test_what_another_site_asks_for_is_not_shown(
    api: Api, hostile: Hostile, headers: dict[str, str], status: int
) -> None:
    async with api.client(None) as browser:
        await log_in(api, hostile, browser)
        assert (await browser.get(WHOAMI, headers=headers)).status_code == status


CHANGES = [
    ({}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "https://evil.example"}, 403),
    ({"origin": "HERE", "sec-fetch-site": "cross-site"}, 403),
    ({"origin": "HERE", "sec-fetch-site": "none"}, 403),
    ({"origin": "https://evil.example", "sec-fetch-site": "cross-site", **WINDOW}, 403),
    ({"origin": "HERE.evil.example"}, 403),
    ({"origin": "HERE"}, 200),
    ({"origin": "null", "sec-fetch-site": "same-origin"}, 200),
    ({"sec-fetch-site": "same-origin"}, 200),
]


@pytest.mark.parametrize(("headers", "status"), CHANGES)
async def test_what_another_site_has_a_browser_do_is_not_done(
    api: Api, hostile: Hostile, headers: dict[str, str], status: int
) -> None:
    shown = {name: value.replace("HERE", api.url) for name, value in headers.items()}
    async with api.client(None) as browser:
        await log_in(api, hostile, browser)
        revoked = await browser.post("/api/v1/whoami/revoke", headers=shown)
        assert revoked.status_code == status, revoked.text
        still = await browser.get(WHOAMI, headers=OWN)
        assert still.status_code == (401 if status == 200 else 200)


async def test_two_cookies_of_one_name_are_none(api: Api, hostile: Hostile) -> None:
    async with api.client(None) as browser:
        await log_in(api, hostile, browser)
        value = browser.cookies[SESSION]
        browser.cookies.clear()
        for line, status in (
            (f"{SESSION}={value}", 200),
            (f"a=b; {SESSION}={value} ;c", 200),
            (f"{SESSION}=x; {SESSION}={value}", 401),
            (f"{SESSION}={value}; {SESSION}={value}", 401),
            (f"{SESSION}=", 401),
            (f"x{SESSION}={value}", 401),
            (f"{SESSION.upper()}={value}", 401),
            (f'{SESSION}="{value}"', 401),
        ):
            answer = await browser.get(WHOAMI, headers={"cookie": line})
            assert answer.status_code == status, line


async def test_a_bearer_token_counts_and_no_cookie_beside_it(api: Api, hostile: Hostile) -> None:
    token = await api.token("bot")
    async with api.client(None) as browser:
        await log_in(api, hostile, browser)
        shown = {"authorization": f"Bearer {token}"}
        assert (await browser.get(WHOAMI, headers=shown)).json()["name"] == "bot"
        wrong = {"authorization": "Bearer sp_nothing"}
        assert (await browser.get(WHOAMI, headers=wrong)).status_code == 401
        basic = {"authorization": "Basic YTpi"}
        assert (await browser.get(WHOAMI, headers=basic)).status_code == 401


async def test_signing_out_ends_it_and_only_from_here(api: Api, hostile: Hostile) -> None:
    hostile.document = {"end_session_endpoint": f"{hostile.url}/end"}
    async with api.client(None) as browser:
        await log_in(api, hostile, browser)
        offered = (await browser.get("/logout")).text
        assert "signed in as ann" in offered and '<form method="post" action="/logout">' in offered
        cross = {"origin": "https://evil.example"}
        assert (await browser.post("/logout", headers=cross)).status_code == 403
        assert (await browser.get(WHOAMI)).status_code == 200
        value = browser.cookies[SESSION]
        done = await browser.post("/logout", headers=OWN)
        assert done.status_code == 303
        assert done.headers["location"].startswith(f"{hostile.url}/end?id_token_hint=")
        assert not browser.cookies
        again = {"cookie": f"{SESSION}={value}"}
        assert (await browser.get(WHOAMI, headers=again)).status_code == 401
        assert (await browser.post("/logout", headers=OWN)).headers["location"] == "/logout"
        assert "You are signed out" in (await browser.get("/logout")).text


async def test_signing_in_again_ends_what_was_before(api: Api, hostile: Hostile) -> None:
    async with api.client(None) as browser:
        await log_in(api, hostile, browser)
        before = browser.cookies[SESSION]
        await log_in(api, hostile, browser)
        assert browser.cookies[SESSION] != before
        stale = {"cookie": f"{SESSION}={before}"}
        browser.cookies.clear()
        assert (await browser.get(WHOAMI, headers=stale)).status_code == 401


async def test_another_browser_finishes_nothing(api: Api, hostile: Hostile) -> None:
    async with api.client(None) as mine, api.client(None) as theirs:
        begun = await mine.get("/login")
        asked = {k: v[0] for k, v in parse_qs(urlsplit(begun.headers["location"]).query).items()}
        hostile.paths["/token"] = lambda _: hostile.gives(nonce=asked["nonce"])
        back = {"code": "abc", "state": asked["state"]}
        await theirs.get("/login")
        refused = await theirs.get("/login/callback/corp", params=back)
        assert refused.status_code == 400 and "not to this login" in refused.text
        assert not theirs.cookies
        assert (await theirs.get("/login/callback/corp", params=back)).status_code == 400
        assert (await mine.get("/login/callback/other", params=back)).status_code == 400
        assert "/token" not in [path for path, _ in hostile.asked]


async def test_pages_say_what_they_are_told_as_text(api: Api, hostile: Hostile) -> None:
    both = {name: Client(hostile.provider) for name in ("corp", "home")}
    api.services.sign_ins.settings = SignInSettings(api.url, both)
    odd = "/x?a=1&b=<script>'\""
    async with api.client(None) as browser:
        page = await browser.get("/login", params={"next": odd})
        assert page.status_code == 200 and "<script" not in page.text
        assert page.text.count("<li>") == 2 and "next=%2Fx%3Fa" in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        unknown = await browser.get("/login", params={"provider": "<b>"})
        assert unknown.status_code == 400 and "<b>" not in unknown.text
        await browser.get("/login", params={"provider": "corp"})
        query = "error=x&error_description=<img+src=x>"
        refused = await browser.get(f"/login/callback/corp?{query}")
        assert refused.status_code == 400 and "<img" not in refused.text
    assert "to the provider" not in hostile.asked


async def test_nobody_signs_in_where_nothing_is_set(tmp_path: Path) -> None:
    async with running_api(tmp_path) as bare, bare.client(None) as browser:
        page = await browser.get("/login")
        assert page.status_code == 400 and "sets `web`" in page.text
        assert (await browser.get("/login/callback/corp?code=x")).status_code == 400


async def test_a_provider_that_is_away_is_no_fault_of_the_browser(
    api: Api, hostile: Hostile
) -> None:
    hostile.paths["/.well-known/openid-configuration"] = lambda _: (503, b"", {})
    async with api.client(None) as browser:
        assert (await browser.get("/login")).status_code == 400
        elsewhere = {
            "corp": Client(hostile.provider.__class__("corp", "http://127.0.0.1:1", "x", ()))
        }
        api.services.sign_ins.settings = SignInSettings(api.url, elsewhere)
        assert (await browser.get("/login")).status_code == 503


async def test_a_slow_provider_keeps_nobody_else_waiting(api: Api, hostile: Hostile) -> None:
    """The probes, and whoever has a token, are answered while many wait for a provider."""
    held = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(_: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        asyncio.run_coroutine_threadsafe(held.wait(), loop).result()
        return 503, b"", {}

    hostile.paths["/.well-known/openid-configuration"] = slow
    async with api.client(None) as browser, api.client(await api.token("bot")) as program:
        waiting = [asyncio.create_task(browser.get("/login")) for _ in range(12)]
        while "/.well-known/openid-configuration" not in [path for path, _ in hostile.asked]:
            await asyncio.sleep(0.01)
        assert (await program.get(WHOAMI)).status_code == 200
        assert (await program.get("/healthz")).status_code == 200
        assert not any(task.done() for task in waiting)
        held.set()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {400}


async def test_a_stream_ends_with_the_browsers_session(api: Api, hostile: Hostile) -> None:
    async with api.client(None) as browser, api.client(None) as other:
        await log_in(api, hostile, browser)
        other.cookies.set(SESSION, browser.cookies[SESSION])
        async with browser.stream("GET", "/api/v1/approvals/watch", headers=OWN) as stream:
            assert stream.status_code == 200
            assert (await other.post("/logout", headers=OWN)).status_code == 303
            async for _ in stream.aiter_bytes():
                pass


async def test_cookies_that_are_guessed_are_counted(api: Api, hostile: Hostile) -> None:
    async with api.client(None) as browser:
        statuses = []
        for number in range(60):
            guess = {"cookie": f"{SESSION}=guess-{number}"}
            statuses.append(browser.get(WHOAMI, headers=guess))
        found = [answer.status_code for answer in await asyncio.gather(*statuses)]
        assert set(found) == {401, 429}
