"""Ordinary sessions: what ORMs, tools and people send, through a gateway that masks.

Each must look the same in both worlds, and none may fail on the server. How many the gateway refuses
is printed, and may only become less.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.masking import ways
from tests.masking.oracle import Oracle, Outcome, ours
from tests.masking.worlds import Worlds

FILES = sorted((ways.CASES / "ordinary").glob("*.yaml"))
CASES = {f"{file.stem}-{case['name']}": case for file in FILES for case in ways.load(file)}
PLAIN = ("simple", "extended", "binary", "portal")
REFUSED = 0
"""The most that are refused today: a ceiling to be lowered, never raised."""


@pytest.fixture(scope="module")
def taken(worlds: Worlds, gated: Oracle) -> dict[str, Outcome]:
    """Every case once, in one of the plain ways."""
    found = {}
    for number, (name, case) in enumerate(CASES.items()):
        found[name] = gated.run(_steps(case, number))
        if case.get("commits"):
            worlds.restore(case.get("undo", []))
    return found


def _steps(case: dict[str, Any], number: int) -> list[Any]:
    made = ways.sessions({"ways": PLAIN, **case})
    return made.get(PLAIN[number % len(PLAIN)]) or next(iter(made.values()))


@pytest.mark.parametrize("name", CASES)
def test_it_runs_or_is_refused(taken: dict[str, Outcome], name: str) -> None:
    outcome = taken[name]
    assert not outcome.leak
    failed = [fields for fields in outcome.errors if not ours(fields)]
    assert not failed or outcome.refusals, f"the server said no: {failed}"


def test_how_many_are_refused(
    taken: dict[str, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    refused = {name: outcome.refusals[0] for name, outcome in taken.items() if outcome.refusals}
    with capsys.disabled():
        print(
            f"\nrefused: {len(refused)} of {len(taken)} ordinary ({len(refused) / len(taken):.1%})"
        )
        for name, why in refused.items():
            print(f"  {name}: {why}")
    assert len(taken) >= 150
    assert len(refused) <= REFUSED
