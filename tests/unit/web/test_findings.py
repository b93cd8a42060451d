"""Findings over the API: pages of counts, for administrators, and each look on record."""

from __future__ import annotations

import json

from sallyport.core.event import FindingCount, FindingsCounted, RecordedEvent
from tests.unit.web.harness import Api, problem, session_events


async def fill(api: Api, *found: FindingCount, session: str = "s-1") -> None:
    events: list[RecordedEvent] = session_events(session)
    for event in [*events[:-1], FindingsCounted(session, 1001.0, 1, found), events[-1]]:
        api.journal.record(event)
    await api.indexed()


async def test_what_was_found_is_listed_with_most_hits_first(api: Api) -> None:
    many = [FindingCount(f"public.t.c{n}", "email", n, 1) for n in range(1, 6)]
    await fill(api, *many)
    seen: list[dict[str, object]] = []
    query = {"limit": "2", "target": "shop"}
    async with api.client(await api.token("ada", roles=("admin",))) as client:
        while True:
            page = (await client.get("/api/v1/findings", params=query)).json()
            seen += page["findings"]
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
        assert [one["hits"] for one in seen] == [5, 4, 3, 2, 1]
        assert seen[0] == {
            "target": "shop", "database": "shop", "column": "public.t.c5", "detector": "email",
            "hits": 5, "cells": 1, "first": 1001.0, "last": 1001.0, "subject": "agent-1",
            "rules": [],
        }  # fmt: skip
        for name, value in (("target", "prod"), ("database", "x"), ("since", "1002")):
            answer = await client.get("/api/v1/findings", params={name: value})
            assert answer.json() == {"findings": [], "next": None}
        assert problem(await client.get("/api/v1/findings?cursor=x"))["status"] == 400
        assert problem(await client.get("/api/v1/findings?since=soon"))["status"] == 422
    looked = [event for event in api.audited if event.action == "findings-viewed"]
    assert [event.object for event in looked[:3]] == ["shop"] * 3
    assert (looked[0].actor, looked[0].details["count"]) == ("ada", 2)


async def test_without_a_recorder_nothing_is_shown(api: Api) -> None:
    await fill(api, FindingCount("public.t.c", "email", 1, 1))
    async with api.client(await api.as_role("admin")) as client:
        api.recorder_lost = True
        answer = await client.get("/api/v1/findings")
        assert problem(answer)["status"] == 503
        assert "public.t.c" not in answer.text


async def test_a_live_look_shows_them_to_auditors(api: Api) -> None:
    """They are events of the session like all others."""
    await fill(api, FindingCount("public.t.c", "email", 3, 2))
    async with api.client(await api.as_role("auditor")) as client:
        lines = (await client.get("/api/v1/sessions/s-1/export")).text.splitlines()
        (line,) = [json.loads(line) for line in lines if "findings-counted" in line]
        assert line["found"] == [
            {"column": "public.t.c", "detector": "email", "hits": 3, "cells": 2}
        ]
        assert problem(await client.get("/api/v1/findings"))["status"] == 403
