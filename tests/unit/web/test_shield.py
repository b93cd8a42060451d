"""The door: hosts, headers, bodies, failed logins, and what an error may show."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sallyport.core.errors import SallyportError
from sallyport.web.authentication import FAILURE_BURST, Failures, is_loopback, network_of
from sallyport.web.bodies import MAXIMUM_BODY, MAXIMUM_DEPTH, check_json
from sallyport.web.problems import Problem
from sallyport.web.shield import SECURITY_HEADERS, host_name, hosts_for
from tests.unit.web.harness import Api, problem


async def raw(api: Api, request: bytes) -> bytes:
    """Send bytes as they are and return the whole answer."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "[::2]", "127.0.0.2"]
)
async def test_a_rebound_name_is_refused_before_the_token_is_looked_at(api: Api, host: str) -> None:
    async with api.client(await api.as_role("admin"), host=host) as client:
        assert problem(await client.get("/api/v1/whoami"))["status"] == 421
        assert problem(await client.get("/healthz"))["status"] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "localhost.", "[::1]:80"])
async def test_loopbacks_own_names_are_taken(api: Api, host: str) -> None:
    async with api.client(None, host=host) as client:
        assert (await client.get("/healthz")).status_code == 200


async def test_no_host_and_two_hosts_are_refused(api: Api) -> None:
    two = await raw(
        api, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    none = await raw(api, b"GET /healthz HTTP/1.0\r\nConnection: close\r\n\r\n")
    assert b" 400 " in two.split(b"\r\n")[0]
    assert b" 400 " in none.split(b"\r\n")[0]


async def test_every_answer_carries_the_security_headers(api: Api) -> None:
    async with api.client(await api.as_role("nobody")) as client:
        for path in ("/healthz", "/api/v1/whoami", "/api/v1/tokens", "/api/v1/nothing", "/metrics"):
            headers = (await client.get(path)).headers
            for name, value in SECURITY_HEADERS.items():
                assert headers[name] == value
            assert "server" not in headers
            assert "access-control-allow-origin" not in headers
        preflight = await client.options(
            "/api/v1/whoami",
            headers={"origin": "https://evil.example", "access-control-request-method": "GET"},
        )
        assert preflight.status_code == 405
        assert not [name for name in preflight.headers if name.startswith("access-control")]


async def test_only_one_bearer_token_in_the_header_counts(api: Api) -> None:
    token = await api.as_role("admin")
    async with api.client(None) as client:
        for header in ("", "Bearer", f"Basic {token}", f"Bearer {token} x", f"Bearer {token},x"):
            response = await client.get("/api/v1/whoami", headers={"authorization": header})
            assert problem(response)["status"] == 401
            assert "bearer" in response.headers["www-authenticate"].lower()
        assert (await client.get(f"/api/v1/whoami?access_token={token}")).status_code == 401
        cookie = await client.get("/api/v1/whoami", headers={"cookie": f"token={token}"})
        assert cookie.status_code == 401
        lower = await client.get("/api/v1/whoami", headers={"authorization": f"bearer {token}"})
        assert lower.json()["name"] == "admin-person"
    line = f"Authorization: Bearer {token}\r\n".encode()
    head = b"GET /api/v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert b" 401 " in (await raw(api, head + line + line + b"\r\n")).split(b"\r\n")[0]
    assert b" 200 " in (await raw(api, head + line + b"\r\n")).split(b"\r\n")[0]


async def test_unknown_wrong_revoked_and_mangled_tokens_get_one_answer(api: Api) -> None:
    good = await api.token("someone")
    record, revoked = await api.tokens.create("n", "s", (), (), 60.0, "o")
    await api.tokens.revoke("id", record.id, "o")
    wrong = good[:-8] + ("a" if good[-8] != "a" else "b") + good[-7:]
    answers = set()
    for token in (revoked, wrong, good + "x", "sp_nothing", "e30.e30.e30", "x"):
        async with api.client(token) as client:
            response = await client.get("/api/v1/whoami")
            answers.add((response.status_code, response.text))
    assert len(answers) == 1
    assert answers.pop()[0] == 401


async def test_failures_are_limited_and_lock_nobody_else_out(api: Api) -> None:
    good = await api.token("someone")
    api.services.identity._backoff.note = lambda source, claimed: 0.0  # type: ignore[attr-defined]
    async with api.client("wrong") as client:
        answers = await asyncio.gather(
            *(client.get("/api/v1/whoami") for _ in range(FAILURE_BURST * 2))
        )
    statuses = [answer.status_code for answer in answers]
    assert 401 in statuses and 429 in statuses
    late = next(answer for answer in answers if answer.status_code == 429)
    assert late.headers["retry-after"] and problem(late)
    async with api.client(good) as client:
        assert (await client.get("/api/v1/whoami")).status_code == 200


def test_failures_come_back_with_time_and_stay_bounded() -> None:
    now = [100.0]
    failures = Failures(lambda: now[0])
    for _ in range(FAILURE_BURST):
        assert not failures.used_up("a")
        failures.count("a")
    assert failures.used_up("a") and not failures.used_up("b")
    now[0] += 1.0
    assert not failures.used_up("a")
    for number in range(5000):
        failures.count(str(number))
    assert len(failures._buckets) <= 4096


BAD_BODIES: list[tuple[bytes, int]] = [
    (b"", 422),
    (b"{", 400),
    (b"[]", 422),
    (b"null", 422),
    (b"1e999", 422),
    (b"NaN", 400),
    (b'"text"', 422),
    (b"\xff\xfe", 400),
    (b'{"name": "\\ud800", "subject": "s"}', 400),
    (b'{"\\ud800": 1}', 400),
    (b'{"name": "a", "name": "b", "subject": "s"}', 400),
    (b'{"name": "a", "subject": "s", "admin": true}', 422),
    (b'{"name": 1, "subject": "s"}', 422),
    (b'{"name": "a", "subject": "s", "lifetime": "60"}', 422),
    (b'{"name": "a", "subject": "s", "lifetime": 1e400}', 422),
    (b'{"name": "a", "subject": "s", "lifetime": ' + b"9" * 5000 + b"}", 400),
    (b'{"name": "a", "subject": "s", "lifetime": true}', 422),
    (b'{"name": "a", "subject": "s", "roles": ["root"]}', 422),
    (b'{"name": "a", "subject": "s", "groups": "agents"}', 422),
    (b'{"name": "a\\u202eb", "subject": "s"}', 422),
    (b'{"name": "a", "subject": "s\\u0000"}', 422),
    (b'{"name": "a", "subject": "s", "sources": ["everywhere"]}', 422),
    (b"[" * 30_000, 400),
    (b"[" * 30_000 + b"]" * 30_000, 400),
    (b'{"a":' * 9_000 + b"1" + b"}" * 9_000, 400),
    (b'{"name": "' + b"a" * MAXIMUM_BODY + b'"}', 413),
    (b'{"name": "a", "subject": "s", "groups": [' + b'"g",' * 10_000 + b'"g"]}', 422),
]


async def test_a_bad_body_is_a_problem(api: Api) -> None:
    headers = {"content-type": "application/json"}
    async with api.client(await api.as_role("admin")) as client:
        for body, status in BAD_BODIES:
            for content in (body, _parts(body)):
                response = await client.post("/api/v1/tokens", content=content, headers=headers)
                assert problem(response)["status"] == status, body[:60]
                assert len(response.content) < 5000


async def _parts(body: bytes) -> Any:
    for start in range(0, len(body), 40_000):
        yield body[start : start + 40_000]


async def test_a_body_that_is_not_json_by_name_is_refused(api: Api) -> None:
    async with api.client(await api.as_role("admin")) as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            response = await client.post(
                "/api/v1/tokens",
                content=b'{"name":"a","subject":"s"}',
                headers={"content-type": kind},
            )
            assert problem(response)["status"] == 415


async def test_strangers_cannot_make_the_server_read(api: Api) -> None:
    head = (
        b"POST /api/v1/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 60000\r\nConnection: close\r\n\r\n"
    )
    assert b" 401 " in (await raw(api, head)).split(b"\r\n")[0]


BAD_QUERIES = [
    "/api/v1/sessions?limit=0",
    "/api/v1/sessions?limit=501",
    "/api/v1/sessions?limit=x",
    "/api/v1/sessions?since=yesterday",
    "/api/v1/sessions?decision=maybe",
    "/api/v1/sessions?state=lost",
    "/api/v1/sessions?cursor=%F0%9F%98%80",
    "/api/v1/sessions?cursor=e30",
    "/api/v1/sessions?cursor=LTE",
    "/api/v1/sessions?cursor=W1tb",
    "/api/v1/sessions?cursor=" + "A" * 300,
    "/api/v1/approvals?cursor=MQ",
    "/api/v1/approvals?state=gone",
    "/api/v1/sessions/tail?backlog=1001",
    "/api/v1/sessions/" + "x" * 65,
    "/api/v1/sessions/%00",
    "/api/v1/approvals/%2e%2e%2ftokens",
    "/api/v1/sessions?text=" + "x" * 501,
    "/api/v1/sessions?since=" + "9" * 400,
    "/api/v1/sessions?" + "a" * 8200,
]


async def test_a_bad_query_is_a_problem(api: Api) -> None:
    async with api.client(await api.as_role("admin")) as client:
        for path in BAD_QUERIES:
            response = await client.get(path)
            assert 400 <= problem(response)["status"] < 500, path[:60]


async def test_an_unexpected_error_shows_a_reference_and_nothing_else(api: Api) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password=hunter2 in a stack trace")

    api.tokens.list = broken  # type: ignore[assignment,method-assign]
    async with api.client(await api.as_role("admin")) as client:
        response = await client.get("/api/v1/tokens")
        body = problem(response)
        assert body["status"] == 500 and body["reference"].startswith("e-")
        assert "hunter2" not in response.text and "RuntimeError" not in response.text


async def test_our_own_errors_keep_their_words(api: Api) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise SallyportError("the store is read-only")

    api.tokens.list = refused  # type: ignore[assignment,method-assign]
    async with api.client(await api.as_role("admin")) as client:
        assert problem(await client.get("/api/v1/tokens"))["detail"] == "the store is read-only"


async def test_what_cannot_be_recorded_is_not_shown(api: Api) -> None:
    await api.recorded("s-1")
    paths = ("/sessions", "/sessions/s-1", "/sessions/s-1/events", "/sessions/tail", "/audit")
    async with api.client(await api.as_role("auditor")) as client:
        api.recorder_lost = True
        for path in paths:
            response = await client.get("/api/v1" + path)
            assert problem(response)["status"] == 503
            assert "agent-1" not in response.text
    async with api.client(await api.as_role("auditor")) as client:
        assert (await client.get("/api/v1/whoami")).status_code == 200


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.binary(max_size=200) | st.text(alphabet='{}[]",:\\0ae.-+ \n', max_size=200).map(str.encode)
)
def test_whatever_passes_the_check_is_what_json_reads(body: bytes) -> None:
    try:
        check_json(body)
    except Problem as refused:
        assert refused.status == 400
    else:
        json.loads(body)


def test_depth_is_counted_outside_strings() -> None:
    check_json(json.dumps({"text": "[" * 1000 + '"\\' + "{" * 1000}).encode())
    check_json(b"[" * MAXIMUM_DEPTH + b"]" * MAXIMUM_DEPTH)
    with pytest.raises(Problem):
        check_json(b"[" * (MAXIMUM_DEPTH + 1) + b"]" * (MAXIMUM_DEPTH + 1))


def test_names_of_hosts_and_addresses() -> None:
    assert host_name("[::1]:80") == "::1"
    assert host_name("LocalHost.:80") == "localhost"
    assert hosts_for("0.0.0.0") is None
    assert "127.0.0.5" in (hosts_for("127.0.0.5") or ())
    assert is_loopback("::ffff:127.0.0.1") and is_loopback("unix")
    assert not is_loopback("10.0.0.1") and not is_loopback("localhost.evil")
    assert network_of("2001:db8::1") == network_of("2001:db8::2")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")


async def test_metrics_are_for_this_machine_or_an_auditor(api: Api) -> None:
    async with api.client(None) as client:
        await client.get("/healthz")
        response = await client.get("/metrics")
        assert response.status_code == 200
        assert "sallyport_sessions_live 0.0" in response.text
        assert 'sallyport_workers{state="up"} 1.0' in response.text
        assert 'route="/healthz"' in response.text
        for name in ("x-forwarded-for", "forwarded", "x-real-ip", "via"):
            proxied = await client.get("/metrics", headers={name: "192.0.2.1"})
            assert problem(proxied)["status"] == 401
    async with api.client(await api.as_role("auditor"), via="1.1 proxy") as client:
        await client.get("/api/v1/sessions/s-secret-path")
        text = (await client.get("/metrics")).text
        assert 'route="/api/v1/sessions/{identifier}"' in text
        assert "s-secret-path" not in text
