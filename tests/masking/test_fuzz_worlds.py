"""Random sessions through the two-worlds oracle: whatever they are, the worlds look the same."""

from __future__ import annotations

import os
import random
import re
import time

import pytest

from tests.masking.composer import Composer
from tests.masking.oracle import Oracle, Outcome, Seen
from tests.masking.worlds import Worlds

SESSIONS = 1600
"""In one run: about 20 seconds."""
HOUR = 3600.0
RARE = 0.005
"""The share of sessions at length that may differ by their plans: an order that tells of masked
values would show in every sixth."""
MOST = 5
"""As many may before the share counts."""
_IN_PARENTHESES = re.compile(r"\([^()]*\)")


def take(oracle: Oracle, composer: Composer, what: str, by_plan: list[str] | None = None) -> bool:
    """Take one session to both worlds; return whether any of it was served.

    `by_plan`: takes those that differ in the plan and the order of their rows alone. At length
    tables grow, and the planner's numbers differ: that is declared (`docs/masking.md`), as long as
    it is seldom.
    """
    steps = composer.session()
    outcome = oracle.run(steps)
    said = [str(step) for step in steps]
    told = f"{what}:\n  " + "\n  ".join(said) + f"\n{outcome.leak}"
    if by_plan is None or outcome.canaries or _differ_apart_from_plans(outcome, said):
        assert not outcome.leak, told
    elif outcome.leak:
        by_plan.append(told)
    return len(outcome.errors) < len(steps) - 2


def _differ_apart_from_plans(outcome: Outcome, said: list[str]) -> bool:
    outermost = "\n".join(said).lower()
    while outermost != (outermost := _IN_PARENTHESES.sub("", outermost)):
        pass
    some = any(word in outermost for word in ("limit", "fetch"))
    one, other = (_planless(seen, some=some) for seen in outcome.seen)
    return one != other


def _planless(seen: list[Seen], *, some: bool) -> list[Seen]:
    """Return what was seen without plans, rows in an order of ours.

    `some`: only some of a result's rows are asked for, which they are is up to their order.
    """
    found: list[Seen] = []
    rows: list[Seen] = []
    explained = False
    for message in seen:
        if message[0] in ("D", "d"):
            rows += [] if explained else [message]
            continue
        if some or message[0] == "s":
            found.append(("rows", len(rows)))
        else:
            found += sorted(rows, key=repr)
        found.append(message)
        rows = []
        if message[0] == "T":
            explained = "QUERY PLAN" in repr(message[1])
    return found


@pytest.mark.parametrize("seed", [11_071, 20_260])
def test_the_worlds_look_the_same_at_random(untold: Oracle, seed: int) -> None:
    composer = Composer(seed)
    served = sum(take(untold, composer, f"seed {seed}, {n}") for n in range(SESSIONS // 2))
    assert served > SESSIONS // 10, f"seed {seed}: only {served} were served"


def test_without_a_gateway_they_do_not(control: Oracle) -> None:
    composer = Composer(11_071)
    told = sum(bool(control.run(composer.session()).leak) for _ in range(100))
    assert told > 30


@pytest.mark.long
@pytest.mark.timeout(0)
def test_at_length(untold: Oracle, worlds: Worlds) -> None:
    seconds = float(os.environ.get("FUZZ_SECONDS", HOUR))
    end = time.monotonic() + seconds
    taken, by_plan = 0, list[str]()
    while time.monotonic() < end:
        seed = random.SystemRandom().randrange(1 << 30)
        composer = Composer(seed)
        for number in range(500):
            if number % 100 == 0:
                worlds.restore([])  # what writes leave behind makes tables larger, and other plans
            take(untold, composer, f"seed {seed}, {number}", by_plan)
            taken += 1
            assert len(by_plan) <= max(MOST, taken * RARE), "\n\n".join(by_plan[-20:])
