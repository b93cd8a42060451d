"""Recordings, tokens, credentials, policy over the API: what is shown, and what that leaves."""

from __future__ import annotations

import asyncio
import json

import pytest

from sallyport.recording.har import HarWriter
from tests.unit.web.harness import Api, problem


async def test_every_view_of_a_recording_is_itself_on_record(api: Api) -> None:
    await api.recorded("s-1")
    views = {
        "/sessions": "sessions-viewed",
        "/sessions/search?text=select": "operations-searched",
        "/sessions/s-1": "session-viewed",
        "/sessions/s-1/events": "session-replayed",
        "/sessions/s-1/export": "session-exported",
        "/audit": "audit-viewed",
    }
    async with api.client(await api.token("otto", roles=("auditor",))) as client:
        for path, action in views.items():
            before = len(api.audited)
            assert (await client.get("/api/v1" + path)).status_code == 200
            event = api.audited[-1]
            assert len(api.audited) == before + 1
            assert (event.actor, event.action) == ("otto", action)
            assert event.details["token"] and event.details["issuer"] == "sallyport"
        async with client.stream("GET", "/api/v1/sessions/tail?subject=a*") as response:
            assert response.status_code == 200
        assert api.audited[-1].action == "sessions-tailed"
        assert api.audited[-1].details["filter"] == {"subject": "a*"}
        await api.indexed()
        found = (await client.get("/api/v1/audit?action=session-*&actor=otto")).json()["audit"]
        assert {each["action"] for each in found} == {
            "session-viewed", "session-replayed", "session-exported",
        }  # fmt: skip


async def test_what_is_not_there_is_not_put_on_record_as_seen(api: Api) -> None:
    async with api.client(await api.as_role("auditor")) as client:
        before = len(api.audited)
        for path in ("", "/events", "/export"):
            assert problem(await client.get(f"/api/v1/sessions/s-9{path}"))["status"] == 404
        assert len(api.audited) == before


async def test_a_session_of_http_is_exported_as_an_archive(api: Api) -> None:
    await api.recorded("s-1")
    await api.recorded_http("s-2")
    async with api.client(await api.token("otto", roles=("auditor",))) as client:
        answer = await client.get("/api/v1/sessions/s-2/export?format=har")
        assert answer.headers["content-type"] == "application/json" and answer.content.isascii()
        (entry,) = answer.json()["log"]["entries"]
        assert entry["request"]["url"] == "https://api.internal/v1/refunds?dry=1"
        assert entry["response"]["content"]["text"] == '{"id": "\x1b\u00e9"}'
        event = api.audited[-1]
        assert (event.action, event.details["format"]) == ("session-exported", "har")
        before = len(api.audited)
        told = problem(await client.get("/api/v1/sessions/s-1/export?format=har"))
        assert told["status"] == 422 and "`postgres`" in told["detail"]
        assert (await client.get("/api/v1/sessions/s-2/export?format=pdf")).status_code == 422
        assert len(api.audited) == before


async def test_an_archive_that_breaks_off_is_no_json(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.recorded_http("s-2")

    def broken(writer: HarWriter) -> str:
        raise OSError("the file is not whole")

    monkeypatch.setattr(HarWriter, "end", broken)
    async with api.client(await api.as_role("auditor")) as client:
        text = (await client.get("/api/v1/sessions/s-2/export?format=har")).text
    assert "entries" in text and "ended" not in text
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(text)


async def test_pages_of_sessions(api: Api) -> None:
    for number in range(5):
        await api.recorded(f"s-{number}", at=1000.0 + number)
    seen: list[str] = []
    query: dict[str, str] = {"limit": "2", "subject": "agent-*"}
    async with api.client(await api.as_role("auditor")) as client:
        while True:
            page = (await client.get("/api/v1/sessions", params=query)).json()
            seen += [each["id"] for each in page["sessions"]]
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
    assert seen == ["s-4", "s-3", "s-2", "s-1", "s-0"]


async def test_an_open_session_is_followed_to_its_end(api: Api) -> None:
    await api.recorded("s-1", closed=False)
    async with (
        api.client(await api.as_role("auditor")) as client,
        client.stream("GET", "/api/v1/sessions/s-1/events?follow=true") as response,
    ):
        upcoming = response.aiter_lines()
        types = [json.loads(await anext(upcoming))["type"] for _ in range(5)]
        assert types[0] == "session-opened"
        from sallyport.core.event import SessionClosed

        api.journal.record(SessionClosed("s-1", 1005.0, "client left"))
        await api.indexed()
        rest = [json.loads(line) async for line in upcoming if line.strip()]
    assert [each["type"] for each in rest] == ["session-closed"]


async def test_secrets_are_shown_once_or_never(api: Api) -> None:
    async with api.client(await api.as_role("admin")) as client:
        made = await client.post("/api/v1/tokens", json={"name": "n", "subject": "s"})
        assert made.status_code == 201
        secret = made.json()["secret"]
        answers = [await client.put("/api/v1/credentials/db", json={"value": "hunter2-hunter2"})]
        paths = ("/tokens", "/credentials", "/audit", "/policy", "/targets", "/status")
        answers += [await client.get("/api/v1" + path) for path in paths]
        for answer in answers:
            assert answer.status_code == 200
            assert secret not in answer.text and "hunter2" not in answer.text
        read = await client.get("/api/v1/credentials/db")
        assert problem(read)["status"] == 405
        wrong = await client.put("/api/v1/credentials/db", json={"value": 5, "x": "hunter2"})
        assert problem(wrong)["status"] == 422 and "hunter2" not in wrong.text
        empty = await client.put("/api/v1/credentials/db", json={"value": ""})
        assert problem(empty)["status"] == 422
        own = await client.put("/api/v1/credentials/@mask-key", json={"value": "x"})
        assert problem(own)["status"] == 422
    assert secret not in str(api.audited) and "hunter2" not in str(api.audited)


async def test_the_maker_of_a_token_owns_it(api: Api) -> None:
    async with api.client(await api.token("root", roles=("admin",))) as client:
        body = {"name": "n", "subject": "s", "groups": ["dba"], "roles": ["approver"]}
        made = (await client.post("/api/v1/tokens", json=body)).json()["token"]
        assert made["owner"] == "root"
        forged = await client.post("/api/v1/tokens", json={**body, "owner": "somebody"})
        assert problem(forged)["status"] == 422


async def test_revoking_takes_exactly_one_choice(api: Api) -> None:
    async with api.client(await api.as_role("admin")) as client:
        for body in ({}, {"id": "a", "subject": "b"}, {"id": "a", "all": True}, {"all": False}):
            response = await client.post("/api/v1/tokens/revoke", json=body)
            assert problem(response)["status"] == 422
        await api.token("bob")
        done = await client.post("/api/v1/tokens/revoke", json={"subject": "bob"})
        assert done.json() == {"revoked": 1}
        assert (await client.post("/api/v1/tokens/revoke", json={"all": True})).status_code == 200
        assert (await client.get("/api/v1/whoami")).status_code == 401


async def test_a_bad_configuration_changes_nothing_and_says_why(api: Api) -> None:
    async with api.client(await api.as_role("admin")) as client:
        assert (await client.post("/api/v1/policy/reload", json={})).json() == {"revision": "r2"}
        api.bad_config = True
        body = problem(await client.post("/api/v1/policy/reload", json={}))
        assert body["status"] == 409 and body["errors"][0]["field"] == "line 3"
        large = "version: 1\n" + "# \n" * 200_000
        checked = await client.post("/api/v1/policy/check", json={"text": large})
        assert checked.json() == {"valid": True, "problems": []}
        bad = await client.post("/api/v1/policy/check", json={"text": "x"})
        assert bad.json()["problems"] == [{"message": "`version` expected", "line": 1}]


async def test_a_stream_that_breaks_says_so(api: Api) -> None:
    await api.recorded("s-1")

    async def broken(name: str, *, follow: bool = False):  # type: ignore[no-untyped-def]
        raise RuntimeError("secret detail")
        yield

    api.library.events = broken  # type: ignore[method-assign]
    async with api.client(await api.as_role("auditor")) as client:
        response = await client.get("/api/v1/sessions/s-1/events")
        assert json.loads(response.text) == {"type": "ended", "reason": "the source broke"}


async def test_a_client_that_goes_gives_its_place_back(api: Api) -> None:
    token = await api.as_role("auditor")
    host, port = api.url.removeprefix("http://").split(":")
    for _ in range(12):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET /api/v1/sessions/tail HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()
    for _ in range(100):
        async with (
            api.client(token) as client,
            client.stream("GET", "/api/v1/sessions/tail") as response,
        ):
            if response.status_code == 200:
                return
        await asyncio.sleep(0.05)
    raise AssertionError("places of closed streams are not given back")
