"""Holds over HTTP: waiting, tickets, answers that come later, and what ends them."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx2
import pytest

from tests.bypass.http.found import Second
from tests.e2e.http_gate.conftest import Begin, asking
from tests.support.gateway import EVERYTHING
from tests.support.http_gateway import HttpGateway
from tests.support.processes import wait_for


def held(**hold: Any) -> list[dict[str, Any]]:
    rule = {
        "name": "looked-at", "effect": "hold", "operations": {"verbs": ["post", "delete"]},
        "hold": {"approvers": ["dba"], "timeout": "90s", **hold},
    }  # fmt: skip
    return [rule, *EVERYTHING]


def in_background(call: Any, *words: Any, **more: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call(*words, **more)))
    thread.start()
    return thread, found


def order(client: httpx2.Client, total: str = "12.50", **headers: str) -> httpx2.Response:
    body = {"customer": 7, "total": total}
    return client.post("/t/orders/orders", json=body, headers=headers)


def test_requests_of_one_connection_wait_by_themselves(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held())
    others = range(3, 63, 2)
    with Second(gateway) as client:
        client.request(1, "DELETE", "/t/orders/orders/18")
        client.h2.end_stream(1)
        client.flush()
        pending = gateway.wait_pending()
        for stream in others:
            client.request(stream, "GET", f"/t/orders/orders/{20 + stream}")
        client.flush()
        assert client.until(lambda: all(client.status(stream) for stream in others))
        assert {client.status(stream) for stream in others} == {200}
        assert client.status(1) == 0
        assert "DELETE /orders/18" in pending["text"]
        gateway.approve(pending["id"])
        assert client.until(lambda: client.status(1) > 0)
        assert client.status(1) == 204
    with asking(gateway) as after:
        assert after.get("/t/orders/orders/18").status_code == 404


def test_a_denial_and_a_timeout_are_told(begin: Begin, orders: Any) -> None:
    gateway = begin({"orders": orders}, rules=held(timeout="2s"))
    with asking(gateway) as client:
        thread, found = in_background(client.delete, "/t/orders/orders/20")
        pending = gateway.wait_pending()
        gateway.deny(pending["id"])
        thread.join()
        assert found[0].status_code == 403
        assert found[0].headers["content-type"] == "application/problem+json"
        assert pending["id"] in found[0].json()["detail"]
        assert found[0].json()["rules"] == ["looked-at"]
        late = client.delete("/t/orders/orders/20")
        assert late.status_code == 403
        assert "expired" in late.json()["detail"]
        assert client.get("/t/orders/orders/20").status_code == 200


def test_a_client_that_leaves_withdraws_its_request(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held())
    with asking(gateway) as client:
        with pytest.raises(httpx2.ReadTimeout):
            client.delete("/t/orders/orders/21", timeout=1.0)
        pending = gateway.approver.get("/approvals", state="pending")["approvals"]
        until = time.monotonic() + 5
        while pending and time.monotonic() < until:
            time.sleep(0.05)
            pending = gateway.approver.get("/approvals", state="pending")["approvals"]
        assert pending == []
        assert client.get("/t/orders/orders/21").status_code == 200


def test_a_ticket_is_good_for_the_same_request_once(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held(ticket=True))
    with asking(gateway) as client:
        first = order(client)
        assert first.status_code == 403
        ticket = first.json()["approval"]
        assert "send the same" in first.json()["hint"]
        gateway.approve(ticket)
        for other in (
            order(client, "999.00"),
            order(client, **{"x-dry-run": "0"}),
            client.put("/t/orders/orders/1", json={"customer": 7, "total": "12.50"}),
        ):
            assert other.status_code in (403, 405)
            assert other.status_code == 405 or other.json()["approval"] != ticket
        again = order(client)
        assert again.status_code == 201
        assert again.headers["location"].startswith("/t/orders/orders/")
        assert order(client).json()["approval"] != ticket


def test_a_body_that_was_not_looked_at_gets_no_ticket(begin: Begin, orders: Any) -> None:
    gateway = begin({"orders": orders}, rules=held(ticket=True), settings={"inspect": "10B"})
    with asking(gateway) as client:
        refused = order(client)
    assert refused.status_code == 403
    assert "no ticket can be given" in refused.json()["detail"]


def settled(client: httpx2.Client, url: str) -> dict[str, Any]:
    until = time.monotonic() + 10
    while True:
        told: dict[str, Any] = client.get(url).json()
        if told["state"] not in ("waiting", "sent") or time.monotonic() > until:
            return told
        time.sleep(0.05)


def test_an_answer_that_comes_later(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held())
    with asking(gateway) as client:
        total = client.get("/t/orders/orders?limit=1").json()["total"]
        accepted = order(client, prefer="respond-async")
        assert accepted.status_code == 202
        assert accepted.headers["preference-applied"] == "respond-async"
        url = accepted.headers["location"]
        assert client.get(url).json()["state"] == "waiting"
        assert client.get(f"{url}/response").status_code == 404
        with asking(gateway, token=gateway.token("other", groups=["agents"])) as other:
            assert other.get(url).status_code == 404
        gateway.approve(gateway.wait_pending()["id"])
        told = settled(client, url)
        assert (told["state"], told["code"]) == ("done", 201)
        response = client.get(told["response"])
        assert response.status_code == 201
        assert response.json()["total"] == "12.50"
        assert client.get("/t/orders/orders?limit=1").json()["total"] == total + 1


def test_what_is_not_held_is_answered_at_once(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held())
    with asking(gateway) as client:
        found = client.get("/t/orders/orders/30", headers={"prefer": "respond-async"})
    assert found.status_code == 200


def test_a_later_answer_that_is_denied(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held())
    with asking(gateway) as client:
        url = order(client, prefer="respond-async").headers["location"]
        gateway.deny(gateway.wait_pending()["id"])
        told = settled(client, url)
        assert (told["state"], told["code"]) == ("refused", 403)


def test_an_outcome_that_was_lost_is_unknown(begin: Begin, tmp_path: Any) -> None:
    from tests.support.http_peers import Scripted

    with Scripted(tmp_path / "peer") as peer:
        peer.scripts["orders"] = ["close"]
        gateway = begin({"orders": peer}, rules=held())
        with asking(gateway) as client:
            url = order(client, prefer="respond-async").headers["location"]
            gateway.approve(gateway.wait_pending()["id"])
            told = settled(client, url)
            assert told["state"] == "unknown"
            assert "it was sent" in told["detail"]
            assert len(peer.counted()) == 1


def test_a_token_that_is_revoked_ends_what_waits_and_what_runs(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held())
    made = gateway.admin.post(
        "/tokens",
        {"name": "short", "subject": "agent-two", "groups": ["agents"], "lifetime": 600},
    )
    with asking(gateway, token=made["secret"]) as client, asking(gateway) as witness:
        waiting, found = in_background(client.delete, "/t/orders/orders/22")
        gateway.wait_pending()
        begun = threading.Event()
        streaming, got = in_background(stream, client, begun)
        assert begun.wait(10)
        started = time.monotonic()
        gateway.admin.post("/tokens/revoke", {"id": made["token"]["id"]})
        waiting.join(10)
        streaming.join(10)
        assert time.monotonic() - started < 8
        assert found[0].status_code == 403
        assert "session is over" in found[0].json()["detail"]
        assert isinstance(got[0], httpx2.RemoteProtocolError)
        assert client.get("/t/orders/orders/22").status_code == 401
        assert witness.get("/t/orders/orders/22").status_code == 200


def stream(client: httpx2.Client, begun: threading.Event) -> Any:
    """Read events until they end, or are cut off."""
    try:
        with client.stream("GET", "/t/orders/events?count=100") as response:
            for _ in response.iter_bytes():
                begun.set()
    except httpx2.HTTPError as error:
        return error
    return None


def test_a_quota_that_is_used_up(begin: Begin, orders: Any) -> None:
    few = {"name": "few", "effect": "limit", "limit": {"statements_per_minute": 3}}
    gateway = begin({"orders": orders}, rules=[few, *EVERYTHING])
    with asking(gateway) as client:
        codes = [client.get("/t/orders/orders/30").status_code for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]


def test_a_response_that_is_too_large_is_cut_off(begin: Begin, orders: Any) -> None:
    small = {"name": "small", "effect": "limit", "limit": {"bytes_per_result": "1KiB"}}
    gateway = begin({"orders": orders}, rules=[small, *EVERYTHING])
    with asking(gateway) as client:
        assert client.get("/t/orders/orders/30").status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get("/t/orders/orders?limit=100")
        assert client.get("/t/orders/orders/30").status_code == 200


def sessions_of(gateway: HttpGateway) -> list[dict[str, Any]]:
    return list(gateway.admin.get("/sessions")["sessions"])


def test_many_connections_are_one_session(begin: Begin, orders: Any) -> None:
    gateway = begin({"orders": orders}, rules=EVERYTHING)
    for _ in range(5):
        with asking(gateway, limits=httpx2.Limits(max_keepalive_connections=0)) as client:
            assert client.get("/t/orders/orders/30").status_code == 200
    with asking(gateway, token=gateway.token("other", groups=["agents"])) as client:
        assert client.get("/t/orders/orders/30").status_code == 200
    wait_for(lambda: len(sessions_of(gateway)) >= 2, "both are listed")
    assert len(sessions_of(gateway)) == 2
