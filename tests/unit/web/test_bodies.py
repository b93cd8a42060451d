"""Reading bodies: many large ones that arrive together leave the loop to others in between."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.types import Message

from sallyport.web import bodies
from sallyport.web.bodies import MAXIMUM_BODY, check_json, read_body
from sallyport.web.problems import Problem

PATH = "/api/v1/policy/check"
LARGE = json.dumps({"text": "x" * MAXIMUM_BODY}).encode()


async def read(body: bytes, one: asyncio.Lock) -> bytes:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return await read_body({"type": "http", "path": PATH, "headers": headers}, receive, one)


async def test_large_bodies_are_looked_through_one_in_a_turn_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = 0
    looked: list[int] = []

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    monkeypatch.setattr(bodies, "check_json", lambda body: looked.append(turns))
    counting = asyncio.create_task(count())
    one = asyncio.Lock()
    assert await asyncio.gather(*(read(LARGE, one) for _ in range(16))) == [LARGE] * 16
    counting.cancel()
    assert len(set(looked)) == 16


async def test_one_that_is_not_strict_keeps_nobody_waiting() -> None:
    one = asyncio.Lock()
    for _ in range(3):
        with pytest.raises(Problem):
            await read(LARGE[:-1], one)
    assert await read(LARGE, one) == LARGE


@pytest.mark.parametrize(
    "text", [r'"\ud800"', r'"\uDFFF"', r'"\\\ud800"', r'{"\ud800": 1}', r'"\ud800\ud800"']
)
def test_halves_of_surrogate_pairs_are_refused(text: str) -> None:
    with pytest.raises(Problem, match="surrogate"):
        check_json(text.encode())


@pytest.mark.parametrize("text", [r'"\ud83d\ude00"', r'"\\ud800"', '"😀"', r'"퟿"'])
def test_whole_pairs_are_taken(text: str) -> None:
    check_json(text.encode())
