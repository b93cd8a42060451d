"""Turns: a bounded number at once, and a line of one's own for everybody."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from sallyport.web.problems import Problem
from sallyport.web.turns import EACH, TOGETHER, Turns


async def never() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    """The caller has gone already."""


async def settle() -> None:
    """Let all that can go on do so, however busy the machine is."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_one_subject_holds_few_and_keeps_nobody_waiting() -> None:
    turns = Turns()
    working: list[str] = []
    go_on = asyncio.Event()

    async def ask(subject: str) -> None:
        with closing(await turns.take(subject, never())):
            working.append(subject)
            await go_on.wait()

    flood = [asyncio.create_task(ask("agent")) for _ in range(100)]
    await settle()
    assert working == ["agent"] * EACH
    others = [asyncio.create_task(ask(f"other-{n}")) for n in range(TOGETHER)]
    await settle()
    assert len(working) == TOGETHER
    assert working.count("agent") == EACH
    go_on.set()
    await asyncio.gather(*flood, *others)
    assert len(turns) == 0


async def test_who_gives_up_in_line_leaves_nothing_behind() -> None:
    turns = Turns()
    held = [await turns.take("a", never()) for _ in range(EACH)]
    with pytest.raises(Problem):
        await turns.take("a", at_once())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await turns.take("a", never())
    await asyncio.sleep(0)
    assert len(turns) == EACH
    for turn in held:
        turn.close()
        turn.close()
    assert len(turns) == 0
    for _ in range(3):
        with pytest.raises(Problem):
            await turns.take("a", at_once())
    await asyncio.sleep(0)
    assert len(turns) == 0
