"""The token endpoint over HTTP: forms in, RFC 6749's answers out, whatever is sent."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx2
import pytest

from sallyport.identity.backoff import Backoff
from sallyport.web.bodies import MAXIMUM_BODY
from tests.unit.identity.clients import assertion, client_form, new_key, public_pem
from tests.unit.web.harness import Api, problem

KEY = new_key()
PATH = "/oauth/token"
ENDPOINT = "https://gateway.example/oauth/token"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def refused(answer: httpx2.Response, error: str, status: int = 400) -> dict[str, Any]:
    """Check that an answer is OAuth's way to say no, and return it."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"error", "error_description"}
    found = answer.json()
    assert isinstance(found, dict)
    return found


async def account(api: Api) -> None:
    body = {"name": "nightly", "groups": ["agents"], "keys": [public_pem(KEY)]}
    async with api.client(await api.as_role("admin")) as admin:
        assert (await admin.post("/api/v1/service-accounts", json=body)).status_code == 201


async def test_an_account_gets_a_token_that_the_api_takes(api: Api) -> None:
    await account(api)
    shown = assertion(KEY, "nightly", ENDPOINT, time.time())
    async with api.client(None) as client:
        answer = await client.post(PATH, data=client_form(shown))
        again = await client.post(PATH, data=client_form(shown))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    refused(again, "invalid_client", 401)
    async with api.client(body["access_token"]) as nightly:
        assert (await nightly.get("/api/v1/whoami")).json()["name"] == "nightly"
        assert (await nightly.get("/api/v1/tokens")).status_code == 403
    async with api.client(await api.as_role("admin")) as admin:
        listed = (await admin.get("/api/v1/tokens?subject=nightly")).json()["tokens"]
        gone = (await admin.delete("/api/v1/service-accounts/nightly")).json()
    assert (listed[0]["via"], listed[0]["account"]) == ("client-credentials", "nightly")
    assert gone == {"removed": "nightly", "revoked": 1}
    async with api.client(body["access_token"]) as nightly:
        assert (await nightly.get("/api/v1/whoami")).status_code == 401


BODIES: dict[str, tuple[bytes, dict[str, str], str, int]] = {
    "nothing": (b"", {}, "invalid_request", 400),
    "an empty form": (b"", FORM, "invalid_request", 400),
    "no pair": (b"grant_type", FORM, "invalid_request", 400),
    "an unknown grant": (b"grant_type=password", FORM, "unsupported_grant_type", 400),
    "a parameter twice": (
        b"grant_type=client_credentials&grant_type=client_credentials",
        FORM,
        "invalid_request",
        400,
    ),
    "a blank parameter": (b"grant_type=", FORM, "invalid_request", 400),
    "no client": (b"grant_type=client_credentials", FORM, "invalid_client", 401),
    "a secret": (
        b"grant_type=client_credentials&client_id=a&client_secret=b",
        FORM,
        "invalid_client",
        401,
    ),
    "JSON": (
        b'{"grant_type":"client_credentials"}',
        {"content-type": "application/json"},
        "invalid_request",
        415,
    ),
    "a file": (
        b"--x--",
        {"content-type": "multipart/form-data; boundary=x"},
        "invalid_request",
        415,
    ),
    "no type": (b"grant_type=client_credentials", {}, "invalid_request", 415),
    "bytes": (b"grant_type=\xff\xfe", FORM, "invalid_request", 400),
    "escaped bytes": (b"grant_type=%ff%fe", FORM, "invalid_request", 400),
    "a null": (b"grant_type=client_credentials%00", FORM, "unsupported_grant_type", 400),
    "many fields": (b"&".join(b"a=1" for _ in range(200)), FORM, "invalid_request", 400),
    "too much": (b"a=" + b"x" * MAXIMUM_BODY, FORM, "invalid_request", 413),
    "a bearer beside": (
        b"grant_type=client_credentials",
        {**FORM, "authorization": "Bearer x"},
        "invalid_request",
        400,
    ),
    "a password beside": (
        b"grant_type=client_credentials",
        {**FORM, "authorization": "Basic YTpi"},
        "invalid_request",
        400,
    ),
}


@pytest.mark.parametrize(("body", "headers", "error", "status"), BODIES.values(), ids=BODIES)
async def test_an_odd_form_is_answered_as_oauth_does(
    api: Api, body: bytes, headers: dict[str, str], error: str, status: int
) -> None:
    async with api.client(None) as client:
        refused(await client.post(PATH, content=body, headers=headers), error, status)
        assert (await client.get("/healthz")).status_code == 200


async def test_other_methods_and_queries_get_nothing(api: Api) -> None:
    async with api.client(None) as client:
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            assert problem(await client.request(method, PATH))["status"] == 405
        query = await client.post(f"{PATH}?grant_type=client_credentials", headers=FORM)
        refused(query, "invalid_request")


async def test_whoever_fails_often_waits_and_holds_up_nobody(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    go_on = asyncio.Event()

    async def wait(self: Backoff, seconds: float) -> None:
        waited.append(seconds)
        await go_on.wait()

    monkeypatch.setattr(Backoff, "delay", wait)
    form = client_form(assertion(KEY, "nobody", ENDPOINT, time.time()))
    admin = await api.as_role("admin")
    async with api.client(None) as stranger, api.client(admin) as known:
        failing = [asyncio.ensure_future(stranger.post(PATH, data=form)) for _ in range(16)]
        while len(waited) < 16:
            await asyncio.sleep(0.01)
        assert (await known.get("/api/v1/whoami")).status_code == 200
        assert (await stranger.get("/healthz")).status_code == 200
        assert not any(one.done() for one in failing)
        go_on.set()
        for one in failing:
            refused(await one, "invalid_client", 401)
    assert waited[0] == 0.0 and waited == sorted(waited) and waited[-1] > 0.0


async def test_nothing_is_given_that_cannot_be_recorded(api: Api) -> None:
    await account(api)
    api.recorder_lost = True
    form = client_form(assertion(KEY, "nightly", ENDPOINT, time.time()))
    async with api.client(None) as client:
        assert (await client.post(PATH, data=form)).status_code == 503
    api.recorder_lost = False
    assert [one for one in await api.tokens.list() if one.via] == []


async def test_accounts_and_their_keys(api: Api) -> None:
    await account(api)
    more, path = new_key("RSA"), "/api/v1/service-accounts"
    async with api.client(await api.as_role("admin")) as admin:
        again = await admin.post(path, json={"name": "nightly"})
        assert "already" in problem(again)["detail"]
        added = await admin.post(f"{path}/nightly/keys", json={"key": public_pem(more)})
        assert added.status_code == 201 and added.json()["kind"] == "RSA"
        private = {"key": more.as_pem(private=True).decode()}
        wrong = await admin.post(f"{path}/nightly/keys", json=private)
        assert wrong.status_code == 422 and private["key"] not in wrong.text
        listed = (await admin.get(path)).json()["accounts"]
        assert [len(one["keys"]) for one in listed] == [2]
        assert "jwk" not in str(listed) and listed[0]["owner"] == "admin-person"
        gone = await admin.delete(f"{path}/nightly/keys/{added.json()['id']}")
        assert gone.json() == {"removed": added.json()["id"], "revoked": 0}
        for nothing in ("nightly/keys/x", "nobody/keys/x", "nobody"):
            assert problem(await admin.delete(f"{path}/{nothing}"))["status"] == 404
        key = {"key": public_pem(more)}
        assert problem(await admin.post(f"{path}/nobody/keys", json=key))["status"] == 404
