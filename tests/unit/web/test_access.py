"""Requests for access over the API: who sees them, who answers, what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.web.harness import Api
from tests.unit.web.harness import problem as body_of

BODY = {"target": "shop", "reason": "ticket 4711", "for": 3600}


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = body_of(answer)
    return found


async def asked(api: Api, token: str, **more: Any) -> dict[str, Any]:
    async with api.client(token) as client:
        answer = await client.post("/api/v1/access", json=BODY | more)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


async def test_from_asking_to_the_end(api: Api) -> None:
    agent, approver = await api.as_role("nobody"), await api.as_role("approver")
    made = await asked(api, agent)
    assert (made["state"], made["login"], made["duration"]) == ("pending", "app", 3600)
    async with api.client(approver) as client:
        listed = (await client.get("/api/v1/access?state=pending")).json()["access"]
        assert [one["id"] for one in listed] == [made["id"]]
        answer = await client.post(f"/api/v1/access/{made['id']}/approve", json={"reason": "ok"})
        given = answer.json()
        assert (given["state"], given["ends"]) == ("approved", given["begins"] + 3600)
        assert [vote["name"] for vote in given["votes"]] == ["approver-person"]
    async with api.client(agent) as client:
        done = await client.post(f"/api/v1/access/{made['id']}/revoke", json={"reason": "done"})
        assert done.json()["state"] == "revoked"
        again = await client.post(f"/api/v1/access/{made['id']}/revoke", json={})
        assert problem(again, 409)["detail"].endswith("there is nothing to revoke")


async def test_what_is_not_for_the_caller_is_not_there(api: Api) -> None:
    made = await asked(api, await api.as_role("nobody"))
    stranger = await api.token("stranger", groups=["other"], roles=["approver"])
    async with api.client(stranger) as client:
        assert (await client.get("/api/v1/access")).json()["access"] == []
        for verb in ("approve", "deny", "withdraw", "revoke"):
            answer = await client.post(f"/api/v1/access/{made['id']}/{verb}", json={})
            problem(answer, 404)
        problem(await client.get(f"/api/v1/access/{made['id']}"), 404)


async def test_nobody_says_yes_to_themselves(api: Api) -> None:
    both = await api.token("both", groups=["dba"], roles=["approver"])
    made = await asked(api, both)
    async with api.client(both) as client:
        answer = await client.post(f"/api/v1/access/{made['id']}/approve", json={})
        assert "asked for" in problem(answer, 409)["detail"]
        assert (await client.post(f"/api/v1/access/{made['id']}/withdraw")).json()[
            "state"
        ] == "withdrawn"


async def test_an_approver_of_other_targets_sees_and_answers_nothing(api: Api) -> None:
    made = await asked(api, await api.as_role("nobody"))
    waiting = await api.waiting()
    elsewhere = await api.token("not-at-shop", groups=["dba"], roles=["approver"])
    auditing = await api.token("not-at-shop", groups=["dba"], roles=["approver", "auditor"])
    async with api.client(elsewhere) as client:
        assert (await client.get("/api/v1/access")).json()["access"] == []
        assert (await client.get("/api/v1/approvals")).json()["approvals"] == []
        for kind, identifier in (("access", made["id"]), ("approvals", waiting.id)):
            for verb in ("approve", "deny"):
                path = f"/api/v1/{kind}/{identifier}/{verb}"
                problem(await client.post(path, json={"reason": ""}), 404)
    async with api.client(auditing) as client:
        for kind, identifier in (("access", made["id"]), ("approvals", waiting.id)):
            path = f"/api/v1/{kind}/{identifier}/approve"
            answer = problem(await client.post(path, json={"reason": ""}), 403)
            assert "does not approve at target `shop`" in answer["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"target": "shop"},
        {"target": "shop", "reason": ""},
        {"target": "shop", "reason": "x" * 1001},
        {"target": "shop", "reason": "r", "for": 0},
        {"target": "shop", "reason": "r", "for": "3600"},
        {"target": "shop", "reason": "r", "for": 1e99},
        {"target": "shop", "reason": "r", "extra": 1},
        {"target": "shop", "reason": "r", "subject": "root"},
    ],
    ids=str,
)
async def test_what_is_not_as_it_should_be_is_refused(api: Api, body: dict[str, Any]) -> None:
    async with api.client(await api.as_role("nobody")) as client:
        problem(await client.post("/api/v1/access", json=body), 422)


async def test_what_cannot_be_asked_for_says_so(api: Api) -> None:
    async with api.client(await api.as_role("nobody")) as client:
        answer = await client.post("/api/v1/access", json=BODY | {"target": "elsewhere"})
        assert "no access" in problem(answer, 409)["detail"]


async def test_pages_hold_what_the_caller_may_see(api: Api) -> None:
    agent = await api.as_role("nobody")
    mine = [(await asked(api, agent, reason=f"ticket {n}"))["id"] for n in range(5)]
    await asked(api, await api.token("other"), reason="theirs")
    async with api.client(agent) as client:
        first = (await client.get("/api/v1/access?limit=3")).json()
        rest = (await client.get("/api/v1/access", params={"cursor": first["next"]})).json()
    got = [one["id"] for one in first["access"] + rest["access"]]
    assert got == list(reversed(mine)) and rest["next"] is None
