"""Asking providers from within the gateway: who is slow keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from sallyport.identity.relying import asking
from sallyport.identity.relying.asking import MAXIMUM_WAITING, THREADS, Asking, Client
from sallyport.identity.relying.errors import ProviderError
from tests.support.hostile import Answer, Form, Hostile, answer

WELL_KNOWN = "/.well-known/openid-configuration"


@pytest.fixture
def stuck() -> Iterator[Hostile]:
    """A provider that answers nothing while the test runs."""
    go = threading.Event()

    def waiting(form: Form) -> Answer:
        go.wait(60)
        return answer({}, 503)

    with Hostile() as provider:
        for path in (WELL_KNOWN, "/token"):
            provider.paths[path] = waiting
        yield provider
        go.set()


async def test_a_provider_that_is_stuck_keeps_no_other_waiting(
    stuck: Hostile, hostile: Hostile
) -> None:
    everybody = Asking()
    slow = Client(stuck.provider)
    questions = [
        asyncio.create_task(everybody._ask(slow, lambda web: web.get(f"{stuck.url}/token")))
        for _ in range(THREADS + 1)
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        found = await everybody.endpoints(Client(hostile.provider))
    assert found.issuer == hostile.url
    assert not any(question.done() for question in questions)
    for question in questions:
        question.cancel()


async def test_so_many_wait_to_learn_where_to_ask_and_no_more(
    stuck: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "FAILED", 60.0)
    everybody, client = Asking(), Client(stuck.provider)
    waiting = [
        asyncio.create_task(everybody.endpoints(client)) for _ in range(MAXIMUM_WAITING + 10)
    ]
    async with asyncio.timeout(10):
        done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(left) == MAXIMUM_WAITING
    for one in done:
        error = one.exception()
        assert isinstance(error, ProviderError) and "too many" in error.message
    for one in left:
        one.cancel()
