"""Approvals over the API: who sees what, who may answer, and what a watcher is shown."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx2

from sallyport.web import streams
from tests.unit.web.harness import Api, problem


async def test_everybody_sees_theirs_approvers_their_groups_overseers_all(api: Api) -> None:
    mine = await api.waiting(subject="agent-1", approvers=("dba",))
    other = await api.waiting(subject="agent-2", approvers=("finance",))
    everybody = {mine.id, other.id}
    visible: dict[str, set[str]] = {
        await api.token("agent-1"): {mine.id},
        await api.token("agent-2"): {other.id},
        await api.token("agent-3", groups=("agents",)): set(),
        await api.token("dora", groups=("dba",)): {mine.id},
        await api.token("fred", groups=("finance",)): {other.id},
        await api.token("both", groups=("finance", "dba")): everybody,
        await api.token("plain", groups=("ops",), roles=("approver",)): set(),
        await api.token("root", roles=("admin",)): everybody,
        await api.token("otto", roles=("auditor",)): everybody,
    }
    for token, expected in visible.items():
        async with api.client(token) as client:
            listed = (await client.get("/api/v1/approvals")).json()["approvals"]
            assert {each["id"] for each in listed} == expected
            for request in (mine, other):
                shown = await client.get(f"/api/v1/approvals/{request.id}")
                nothing = await client.get("/api/v1/approvals/apr-nothing")
                if request.id in expected:
                    assert shown.json()["text"] == request.text
                else:
                    absent = problem(nothing)["detail"].replace("apr-nothing", request.id)
                    assert problem(shown)["detail"] == absent
                    assert shown.status_code == nothing.status_code == 404


async def test_the_same_name_from_another_issuer_is_somebody_else(api: Api) -> None:
    from sallyport.core.subject import Subject
    from sallyport.web.api.asked import may_see

    request = await api.waiting(subject="agent-1")
    assert may_see(api.services, Subject("agent-1", (), "sallyport", "t"), request)
    assert not may_see(api.services, Subject("agent-1", (), "https://evil.example", "t"), request)
    assert not may_see(api.services, Subject("Agent-1", (), "sallyport", "t"), request)


async def test_an_approver_cannot_answer_what_they_cannot_see(api: Api) -> None:
    request = await api.waiting(approvers=("finance",))
    async with api.client(await api.token("dora", groups=("dba",))) as client:
        for verb in ("approve", "deny"):
            response = await client.post(f"/api/v1/approvals/{request.id}/{verb}", json={})
            assert problem(response)["status"] == 404
    found = await api.approvals.show(request.id)
    assert found is not None and found.state == "pending" and found.votes == ()


async def test_nobody_answers_their_own_request(api: Api) -> None:
    request = await api.waiting(subject="dora")
    async with api.client(await api.token("dora", groups=("dba",))) as client:
        response = await client.post(f"/api/v1/approvals/{request.id}/approve", json={})
        assert problem(response)["status"] == 409
    async with api.client(await api.token("maker", groups=("dba",))) as client:
        response = await client.post(f"/api/v1/approvals/{request.id}/approve", json={})
        assert problem(response)["status"] == 409


async def test_fifty_answers_at_once_count_one_person_once(api: Api) -> None:
    request = await api.waiting(people=2)
    async with api.client(await api.token("dora", groups=("dba",))) as client:
        url = f"/api/v1/approvals/{request.id}/approve"
        answers = await asyncio.gather(*(client.post(url, json={}) for _ in range(50)))
    assert sorted({answer.status_code for answer in answers}) == [200, 409]
    assert [answer.status_code for answer in answers].count(200) == 1
    found = await api.approvals.show(request.id)
    assert found is not None and found.state == "pending" and len(found.votes) == 1


async def test_pages_show_each_once_and_nothing_that_is_hidden(api: Api) -> None:
    mine = [(await api.waiting(subject=f"a-{n}", approvers=("dba",))).id for n in range(7)]
    for number in range(5):
        await api.waiting(subject=f"b-{number}", approvers=("finance",))
    seen: list[str] = []
    cursor: str | None = None
    async with api.client(await api.token("dora", groups=("dba",))) as client:
        for _ in range(10):
            query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await client.get("/api/v1/approvals", params=query)).json()
            assert len(page["approvals"]) <= 2
            seen += [each["id"] for each in page["approvals"]]
            cursor = page["next"]
            if cursor is None:
                break
    assert seen == mine[::-1]


async def lines(response: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in response.aiter_lines() if line.strip()]


async def test_a_watcher_sees_only_what_it_may(api: Api) -> None:
    async with (
        api.client(await api.token("dora", groups=("dba",))) as client,
        client.stream("GET", "/api/v1/approvals/watch") as response,
    ):
        assert response.headers["content-type"].startswith("application/x-ndjson")
        upcoming = response.aiter_lines()
        first = asyncio.ensure_future(anext(upcoming))
        await asyncio.sleep(0.3)
        await api.waiting(subject="b", approvers=("finance",))
        mine = await api.waiting(subject="a", approvers=("dba",))
        line = await asyncio.wait_for(first, 20)
        while not line.strip():
            line = await asyncio.wait_for(anext(upcoming), 20)
        assert json.loads(line)["approval"]["id"] == mine.id


async def test_a_revoked_token_ends_its_stream(api: Api, monkeypatch: Any) -> None:
    monkeypatch.setattr(streams, "BEAT", 0.1)
    record, secret = await api.tokens.create("n", "dora", ("dba",), (), 60.0, "o")
    async with (
        api.client(secret) as client,
        client.stream("GET", "/api/v1/approvals/watch") as response,
    ):
        await asyncio.sleep(0.3)
        await api.tokens.revoke("id", record.id, "o")
        said = await asyncio.wait_for(lines(response), 20)
    assert said == [{"type": "ended", "reason": "the token is not valid"}]


async def test_a_stream_ends_when_the_server_stops(api: Api) -> None:
    async with (
        api.client(await api.as_role("nobody")) as client,
        client.stream("GET", "/api/v1/approvals/watch") as response,
    ):
        await asyncio.sleep(0.2)
        api.stop()
        said = await asyncio.wait_for(lines(response), 20)
    assert said == [{"type": "ended", "reason": "the gateway stops"}]


async def test_streams_are_few(api: Api) -> None:
    async with api.client(await api.as_role("nobody")) as client:
        opened = []
        for _ in range(streams.MAXIMUM_STREAMS_A_SUBJECT):
            request = client.build_request("GET", "/api/v1/approvals/watch")
            opened.append(await client.send(request, stream=True))
        assert problem(await client.get("/api/v1/approvals/watch"))["status"] == 429
        async with api.client(await api.as_role("approver")) as other:
            request = other.build_request("GET", "/api/v1/approvals/watch")
            response = await other.send(request, stream=True)
            assert response.status_code == 200
            await response.aclose()
        for response in opened:
            await response.aclose()
        for _ in range(100):
            request = client.build_request("GET", "/api/v1/approvals/watch")
            response = await client.send(request, stream=True)
            await response.aclose()
            if response.status_code == 200:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("places of closed streams are not given back")


async def test_agents_leave_room_for_those_who_watch_over_them(api: Api) -> None:
    async with contextlib.AsyncExitStack() as stack:
        statuses = []
        for agent in range(streams.MAXIMUM_STREAMS // streams.MAXIMUM_STREAMS_A_SUBJECT):
            secret = await api.token(f"agent-{agent}", groups=("agents",))
            client = await stack.enter_async_context(api.client(secret))
            for _ in range(streams.MAXIMUM_STREAMS_A_SUBJECT):
                request = client.build_request("GET", "/api/v1/approvals/watch")
                response = await client.send(request, stream=True)
                stack.push_async_callback(response.aclose)
                statuses.append(response.status_code)
        assert 200 in statuses and 429 in statuses
        for role, where in (("approver", "approvals/watch"), ("auditor", "sessions/tail")):
            client = await stack.enter_async_context(api.client(await api.as_role(role)))
            request = client.build_request("GET", f"/api/v1/{where}")
            response = await client.send(request, stream=True)
            stack.push_async_callback(response.aclose)
            assert response.status_code == 200


async def test_server_sent_events_cannot_be_forged(api: Api) -> None:
    await api.waiting(subject="agent-1", text="x\n\nevent: forged\ndata: {}\n\n")
    headers = {"accept": "text/event-stream"}
    async with (
        api.client(await api.token("agent-1"), **headers) as client,
        client.stream("GET", "/api/v1/approvals/watch") as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        upcoming = response.aiter_lines()
        got = [await asyncio.wait_for(anext(upcoming), 20) for _ in range(3)]
    assert got[0] == "event: approval" and got[1].startswith("data: {") and got[2] == ""
    assert "forged" in json.loads(got[1].removeprefix("data: "))["approval"]["text"]
