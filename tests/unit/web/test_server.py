"""The server's own limits: who only holds a connection keeps nobody out."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sallyport.connect.tls import listener_context
from sallyport.web import server as listening
from tests.unit.web.harness import Api, running_api
from tests.wire.rig import Certificates

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def crowd(api: Api, count: int, said: bytes = b"") -> AsyncIterator[list[Stream]]:
    """Hold `count` connections that say `said` and nothing more."""
    port = int(api.url.rpartition(":")[2])
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        for _, writer in held:
            writer.write(said)
        await asyncio.sleep(0.2)
        yield held
    finally:
        for _, writer in held:
            writer.transport.abort()


async def ends(stream: Stream, seconds: float = 5.0) -> bool:
    """Whether the server closes the connection in time."""
    try:
        async with asyncio.timeout(seconds):
            await stream[0].read()
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"\x16"])
async def test_who_says_nothing_keeps_nobody_out(api: Api, monkeypatch: Any, said: bytes) -> None:
    monkeypatch.setattr(listening, "MAXIMUM_CONNECTIONS", 20)
    async with crowd(api, 60, said), api.client(await api.as_role("admin")) as client:
        for _ in range(5):
            response = await client.get("/api/v1/whoami")
            assert response.status_code == 200
        assert (await client.post("/api/v1/tokens/revoke", json={"id": "x"})).status_code == 200


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/backchannel-logout", "/logout", "/login"])
async def test_who_sends_half_a_body_keeps_nobody_out_and_fills_no_log(
    api: Api, monkeypatch: Any, capfd: pytest.CaptureFixture[str], path: str
) -> None:
    monkeypatch.setattr(listening, "MAXIMUM_CONNECTIONS", 20)
    said = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\na".encode()
    async with crowd(api, 60, said), api.client(await api.as_role("admin")) as client:
        for _ in range(5):
            assert (await client.get("/api/v1/whoami")).status_code == 200
        assert (await client.post("/api/v1/tokens/revoke", json={"id": "x"})).status_code == 200
    async with api.client(await api.as_role("admin")) as client:
        assert (await client.get("/api/v1/whoami")).status_code == 200
    told = capfd.readouterr()
    assert "request failed" not in told.out + told.err


async def test_the_longest_idle_goes_first_and_nobody_who_is_served(
    api: Api, monkeypatch: Any
) -> None:
    monkeypatch.setattr(listening, "MAXIMUM_CONNECTIONS", 10)
    token = await api.as_role("auditor")
    async with (
        api.client(token) as client,
        client.stream("GET", "/api/v1/sessions/tail") as stream,
        crowd(api, 30),
    ):
        await api.recorded("s-1")
        async for line in stream.aiter_lines():
            if "s-1" in line:
                break


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nG",
    ],
    ids=["nothing", "half a request", "one request", "one and a half"],
)
async def test_an_idle_connection_has_its_time(api: Api, monkeypatch: Any, said: bytes) -> None:
    monkeypatch.setattr(listening, "IDLE", 0.5)
    async with crowd(api, 1, said) as held:
        assert await ends(held[0])


async def test_a_handshake_has_its_time_and_its_place(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(listening, "HANDSHAKE", 0.5)
    monkeypatch.setattr(listening, "MAXIMUM_CONNECTIONS", 20)
    pem = Certificates()
    tls = listener_context(pem.certificate, pem.key)
    async with running_api(tmp_path, tls) as api, crowd(api, 60, b"\x16") as held:
        trust = ssl.create_default_context(cadata=pem.ca.decode())
        port = int(api.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname="localhost"
        )
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        for stream in held:
            assert await ends(stream)


async def test_what_is_no_http_fills_no_log(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    for said in (b"\x00\r\n\r\n", upgrade):
        async with crowd(api, 20, said):
            pass
    assert "\n" not in capfd.readouterr().err
