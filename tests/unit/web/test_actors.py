"""Whoever calls the API by somebody is on record with the whole chain, whatever is done."""

from __future__ import annotations

from sallyport.identity.token_records import Given
from sallyport.web.authentication import Role
from tests.unit.identity.clients import new_key, public_pem
from tests.unit.web.harness import Api
from tests.unit.web.test_roles import BODIES, MATRIX, concrete

ACCOUNTS = "/api/v1/service-accounts"
TOKEN = {"name": "n", "subject": "s"}
CHAIN = ("report-bot", "planner")
DONE = {
    "access-requested", "access-viewed", "access-withdrawn",
    "approvals-viewed", "approvals-watched", "audit-viewed",
    "credential-deleted", "credential-set", "credentials-viewed", "findings-viewed",
    "operations-searched", "policy-explained", "policy-reloaded", "policy-viewed",
    "service-account-key-removed", "service-account-removed", "service-accounts-viewed", "session-exported", "session-held",
    "session-killed", "session-released", "session-replayed", "session-viewed",
    "sessions-tailed", "sessions-viewed", "target-checked", "target-discovered",
    "target-masks-checked", "target-setup-shown", "targets-viewed",
    "token-revoked", "tokens-viewed",
}  # fmt: skip
"""All that somebody with every role can do that is put on record."""


async def chained(api: Api, subject: str) -> str:
    """Return the token of a subject that others act for, in every role."""
    _, secret = await api.tokens.create(
        "test", subject, ("dba", "agents"), [role.value for role in Role], 3600.0, "maker",
        given=Given("exchange", actors=CHAIN),
    )  # fmt: skip
    return secret


async def test_every_audited_action_of_a_caller_names_who_acted(api: Api) -> None:
    token = await chained(api, "ann")
    other = await api.token("carl", groups=("dba",))
    await api.recorded("s-1")
    api.live_session("s-1")
    yes, no = await api.waiting(), await api.waiting()
    key = new_key()
    wish = {"target": "shop", "reason": "r"}
    async with api.client(other) as client:
        theirs = (await client.post("/api/v1/access", json=wish)).json()["id"]
    account, keys = {"name": "nightly", "keys": [public_pem(key)]}, f"{ACCOUNTS}/nightly/keys"
    more = {"key": public_pem(new_key("EC"))}
    async with api.client(await api.as_role("admin")) as admin, api.client(token) as client:
        for path, body in ((ACCOUNTS, account), (keys, more), ("/api/v1/tokens", TOKEN)):
            refused = await client.post(path, json=body)
            assert refused.status_code == 403 and "gives nobody" in refused.json()["detail"]
        assert (await admin.post(ACCOUNTS, json=account)).status_code == 201
        added = await admin.post(keys, json=more)
        for path in (f"approvals/{yes.id}/approve", f"approvals/{no.id}/deny"):
            refused = await client.post(f"/api/v1/{path}", json={})
            assert refused.status_code == 409 and "in person" in refused.json()["detail"]
        refused = await client.post(f"/api/v1/access/{theirs}/approve", json={})
        assert refused.status_code == 409 and "in person" in refused.json()["detail"]
        mine = (await client.post("/api/v1/access", json=wish)).json()["id"]
        for method, path in [
            ("DELETE", f"{keys}/{added.json()['id']}"),
            ("DELETE", f"{ACCOUNTS}/nightly"),
            ("POST", f"/api/v1/access/{mine}/withdraw"),
        ]:
            body = {} if method == "POST" else None
            answer = await client.request(method, path, json=body)
            assert answer.status_code == 200, (path, answer.text)
        for method, path in sorted(MATRIX, key=lambda route: route[1].endswith("/whoami/revoke")):
            body = BODIES.get(path, {}) if method in ("post", "put") else None
            request = client.build_request(method.upper(), concrete(path), json=body)
            await (await client.send(request, stream=True)).aclose()
    mine_alone = [event for event in api.audited if event.actor == "ann"]
    assert {event.action for event in mine_alone} == DONE
    assert {event.actors for event in mine_alone} == {CHAIN}
    rest = {event.actors for event in api.audited if event.actor != "ann"}
    assert rest == {()}, "nobody else is said to be acted for"


async def test_the_audit_shows_who_acted(api: Api) -> None:
    async with api.client(await chained(api, "ann")) as client:
        await client.put("/api/v1/credentials/db", json={"value": "v"})
        await api.indexed()
        (one,) = (await client.get("/api/v1/audit?action=credential-set")).json()["audit"]
    assert (one["actor"], one["actors"]) == ("ann", list(CHAIN))
