"""Where people log in, what they reach, and giving a token back: over HTTP."""

from __future__ import annotations

import httpx2

from tests.unit.web.harness import Api

LOGOUT = "/oauth/backchannel-logout"


async def test_anybody_is_told_where_to_log_in_and_nothing_else(api: Api) -> None:
    async with api.client(None) as client:
        answer = await client.get("/oauth/providers")
        assert (await client.post("/oauth/providers", json={})).status_code == 405
    assert answer.json() == {
        "providers": [
            {
                "name": "corp",
                "issuer": "https://corp.example",
                "client_id": "cli",
                "scopes": ["openid"],
                "flow": "auto",
                "ca": "",
                "public_secret": "",
            },
            {
                "name": "home",
                "issuer": "https://home.example",
                "client_id": "sallyport",
                "scopes": ["openid", "email"],
                "flow": "code",
                "ca": "(a PEM)",
                "public_secret": "",
            },
        ]
    }


async def test_who_reaches_nothing_is_told_of_no_listener(api: Api) -> None:
    async with api.client(await api.token("ann")) as client:
        found = (await client.get("/api/v1/connections")).json()
    assert found == {"listeners": [], "targets": []}


async def test_who_reaches_something_is_told_where_and_as_whom(api: Api) -> None:
    async with api.client(await api.token("bot", groups=["agents"])) as client:
        found = (await client.get("/api/v1/connections")).json()
        narrow = (await client.get("/api/v1/connections?target=shop")).json()
        other = (await client.get("/api/v1/connections?target=stock")).json()
    assert [one["name"] for one in found["listeners"]] == ["postgres"], "by protocol"
    (target,) = found["targets"]
    assert [(one["name"], one["access"]) for one in target["logins"]] == [
        ("app", "given"),
        ("owner", "request"),
    ]
    assert narrow == found
    assert other == {"listeners": [], "targets": []}


async def test_a_token_is_given_back_by_who_has_it(api: Api) -> None:
    mine, other = await api.token("ann"), await api.token("ann")
    async with api.client(mine) as client:
        assert (await client.post("/api/v1/whoami/revoke", json={})).json() == {"revoked": 1}
        assert (await client.get("/api/v1/whoami")).status_code == 401
    async with api.client(other) as client:
        assert (await client.get("/api/v1/whoami")).status_code == 200, "no other one is touched"
    (revoked,) = [one for one in api.audited if one.action == "token-revoked"]
    assert (revoked.actor, revoked.details["by"]) == ("ann", "id")


def refused(answer: httpx2.Response) -> None:
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_every_logout_that_is_not_done_is_400(api: Api) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    async with api.client(None) as client:
        refused(await client.post(LOGOUT, data={"logout_token": "x"}))
        refused(await client.post(LOGOUT, data={"logout_token": "a.b.c"}))
        refused(await client.post(LOGOUT, data={"logout_token": ""}))
        refused(await client.post(LOGOUT, data={}))
        refused(await client.post(LOGOUT, content=b"logout_token=x&logout_token=y", headers=form))
        refused(await client.post(LOGOUT, content=b"%ff%", headers=form))
        refused(await client.post(LOGOUT, json={"logout_token": "x"}))
        refused(await client.post(LOGOUT, content=b"x" * 100_000, headers=form))
        refused(await client.post(LOGOUT, data={"logout_token": "x" * 40_000}))
    async with api.client(await api.as_role("admin")) as client:
        refused(await client.post(LOGOUT, data={"logout_token": "x"}))
