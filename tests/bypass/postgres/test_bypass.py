"""The corpus of attacks on PostgreSQL: each case of `cases/` against a real server.

Classes 1 to 10 and 15. `runner` says what a case is and what always has to hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.bypass.postgres import runner
from tests.bypass.postgres.world import World

FILES = sorted(runner.CASES.glob("*.yaml"))
CASES = [
    pytest.param(case, id=f"{file.stem}-{case['name']}")
    for file in FILES
    for case in runner.load(file)
]


@pytest.fixture(scope="module")
def world(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("bypass"), postgres)
    yield made
    made.close()


def attempt(world: World, case: dict[str, Any], steps: Any) -> runner.Run:
    run = runner.Run(world, case, case["as"])
    try:
        run.all(steps)
    finally:
        run.finish()
    return run


@pytest.mark.parametrize("case", CASES)
def test_bypass(world: World, case: dict[str, Any]) -> None:
    before = world.known or world.state()
    world.known = None
    try:
        run = attempt(world, case, case["send"])
    finally:
        if "policy" in str(case["send"]):
            world.reload(runner.policy("usual"))
    world.settled()
    after = world.state()
    try:
        assert run.leaks() == [], [(a.kind, a.body) for a in run.answers][:6]
        assert runner.changed(before, after, case.get("may_change", [])) == []
        assert not (complaint := runner.judge(case["want"], run.answers, gone=run.gone)), complaint
    finally:
        for statement in case.get("after", []):
            world.direct.execute(statement.encode())
    if "control" not in case and "after" not in case:
        world.known = after
    if "control" in case:
        control = attempt(world, case, case["control"])
        assert not (complaint := runner.judge("served", control.answers, gone=control.gone)), (
            complaint
        )
