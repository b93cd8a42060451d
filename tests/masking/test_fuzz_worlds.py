"""Random sessions through the two-worlds oracle: whatever they are, the worlds look the same."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.masking.composer import Composer
from tests.masking.oracle import Oracle
from tests.masking.worlds import Worlds

SESSIONS = 1600
"""In one run: about 20 seconds."""
HOUR = 3600.0


def take(oracle: Oracle, composer: Composer, what: str) -> bool:
    """Take one session to both worlds; return whether any of it was served."""
    steps = composer.session()
    outcome = oracle.run(steps)
    said = "\n  ".join(map(str, steps))
    assert not outcome.leak, f"{what}:\n  {said}\n{outcome.leak}"
    return len(outcome.errors) < len(steps) - 2


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
            take(untold, composer, f"seed {seed}, {number}")
