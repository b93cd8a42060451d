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
_IN_PARENTHESES = re.compile(r"\([^()]*\)")


def take(oracle: Oracle, composer: Composer, what: str, *, plans: bool = True) -> bool:
    """Take one session to both worlds; return whether any of it was served.

    `plans`: they are the same, too, and with them the order of rows that nothing orders. At length
    tables grow, and the planner's numbers differ: that is declared (`docs/masking.md`).
    """
    steps = composer.session()
    outcome = oracle.run(steps)
    said = [str(step) for step in steps]
    if plans or outcome.canaries or _differ_apart_from_plans(outcome, said):
        shown = "\n  ".join(said)
        assert not outcome.leak, f"{what}:\n  {shown}\n{outcome.leak}"
    return len(outcome.errors) < len(steps) - 2


def _differ_apart_from_plans(outcome: Outcome, said: list[str]) -> bool:
    outermost = "\n".join(said).lower()
    while outermost != (outermost := _IN_PARENTHESES.sub("", outermost)):
        pass
    # What orders one statement's rows says nothing of those of another.
    ordered = "order by" in outermost and sum("select" in step.lower() for step in said) == 1
    some = any(word in outermost for word in ("limit", "fetch"))
    one, other = (_planless(seen, ordered=ordered, some=some) for seen in outcome.seen)
    return one != other


def _planless(seen: list[Seen], *, ordered: bool, some: bool) -> list[Seen]:
    """Return what was seen without plans; rows that nothing orders are in an order of ours.

    `some`: only some of a result's rows are asked for, which they are is up to their order.
    """
    found: list[Seen] = []
    rows: list[Seen] = []
    explained = False
    for message in seen:
        if message[0] in ("D", "d"):
            rows += [] if explained else [message]
            continue
        if ordered:
            found += rows
        elif some or message[0] == "s":
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
    while time.monotonic() < end:
        seed = random.SystemRandom().randrange(1 << 30)
        composer = Composer(seed)
        for number in range(500):
            if number % 100 == 0:
                worlds.restore([])  # what writes leave behind makes tables larger, and other plans
            take(untold, composer, f"seed {seed}, {number}", plans=False)
