"""Whoever asks the API much harms themselves alone: sessions go on, operators get in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.cli.errors import NotThereYet
from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import Gateway

FLOOD = 16

CROWDED = "SELECT * FROM " + ", ".join(f"t c{number}" for number in range(2500))
QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("/policy/check", {"text": "".join(f"k{number:06}: 1\n" for number in range(60_000))}),
    ("/policy/explain", {"subject": "a", "target": "db", "statement": CROWDED}),
]


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE flooded OWNER app")
    postgres.psql("CREATE TABLE t (id int); ALTER TABLE t OWNER TO app", "flooded")
    with Gateway(tmp_path_factory.mktemp("flooded"), postgres, database="flooded") as running:
        yield running


async def flood(gateway: Gateway, token: str, where: str, body: dict[str, Any]) -> None:
    """Ask the same many times at once, and do not wait for longer than it takes to do harm."""
    headers = {"authorization": f"Bearer {token}"}
    client = httpx2.AsyncClient(headers=headers, trust_env=False, timeout=8)
    async with client:
        asked = [client.post(f"{gateway.url}/api/v1{where}", json=body) for _ in range(FLOOD)]
        await asyncio.gather(*asked, return_exceptions=True)


@pytest.mark.parametrize(("where", "body"), QUESTIONS, ids=["check", "explain"])
async def test_an_auditors_questions_end_no_session(
    gateway: Gateway, where: str, body: dict[str, Any]
) -> None:
    auditor = gateway.token("auditor", roles=["auditor"])
    before = len(gateway.log())
    session = await psycopg.AsyncConnection.connect(gateway.dsn(), autocommit=True)
    async with session:
        task = asyncio.create_task(flood(gateway, auditor, where, body))
        async with httpx2.AsyncClient(
            headers={"authorization": f"Bearer {gateway.admin_token}"}, trust_env=False, timeout=30
        ) as operator:
            while not task.done():
                await session.execute("SELECT 1")
                answer = await operator.get(f"{gateway.url}/api/v1/whoami")
                assert answer.status_code == 200
                await asyncio.sleep(0.1)
        await task
    assert "control is silent" not in gateway.log()[before:]


def patient(ask: Callable[[], object]) -> None:
    """Ask until there is an answer: one that takes too long is no failure here."""
    deadline = time.monotonic() + 90
    while True:
        try:
            ask()
        except NotThereYet:
            assert time.monotonic() < deadline
        else:
            return


def test_explaining_leaves_nothing_open_at_the_target(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    def connections() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'flooded'"
        return int(postgres.psql(query, "postgres").split()[-1])

    body = {"subject": "a", "target": "db", "statement": "SELECT 1"}
    before = connections()
    patient(
        lambda: gateway.admin.post("/policy/explain", body)
    )  # behind what still waits of a flood
    for _ in range(12):
        assert json.loads(json.dumps(gateway.admin.post("/policy/explain", body)))["text"]
    deadline = time.monotonic() + 5
    while connections() > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert connections() <= before
