"""Adversarial sessions: a masked subject cannot tell two worlds apart that differ in secrets only.

Each case of `cases/` is taken in several ways; without the gateway at least one of them must tell
the worlds apart (`leaks_directly`), or the case tests nothing. A `known_leak` is a declared limit of
masking, with its reason: when it leaks no more, its mark has to go.

What is made of a hash's token is that token's, another in each world; so what is more than plain is
taken by somebody who gets no tokens, and by somebody who does no piece of a secret may be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.masking import ways
from tests.masking.oracle import Oracle, Outcome
from tests.masking.worlds import Worlds

LATEST = 18
FILES = sorted(ways.CASES.glob("*.yaml"))
CASES = [
    pytest.param(case, id=f"{file.stem}-{case['name']}")
    for file in FILES
    for case in ways.load(file)
]


def take(worlds: Worlds, oracle: Oracle, case: dict[str, Any]) -> Iterator[tuple[str, Outcome]]:
    """Take the case in all its ways, each from the same state, one after another."""
    for way, steps in ways.sessions(case).items():
        outcome = oracle.run(steps, case.get("startup"))
        if case.get("commits"):
            worlds.restore(case.get("undo", []))
        yield way, outcome


def outcomes(worlds: Worlds, oracle: Oracle, case: dict[str, Any]) -> dict[str, Outcome]:
    """Return what comes of each way."""
    return dict(take(worlds, oracle, case))


@pytest.mark.parametrize("case", CASES)
def test_the_worlds_look_the_same(
    worlds: Worlds, gated: Oracle, untold: Oracle, control: Oracle, case: dict[str, Any]
) -> None:
    plain = case["expect"] == "same"
    seen = outcomes(worlds, gated if plain else untold, case)
    leaks = {way: outcome.leak for way, outcome in seen.items() if outcome.leak}
    if worlds.version < LATEST:  # what it does not know leaks nothing, here or there
        assert not leaks or "known_leak" in case, leaks
        return
    if "known_leak" in case:
        assert leaks, f"it does not leak any more: {case['known_leak']}"
    else:
        assert not leaks, "\n".join(f"{way}: {leak}" for way, leak in leaks.items())
    if case["expect"] in ways.ANSWERED:
        refused = {way: outcome.refusals for way, outcome in seen.items() if outcome.refusals}
        assert not refused
    if not plain and "card" in str(case) and "known_leak" not in case:
        told = outcomes(worlds, gated, case)
        assert not [one.canaries for one in told.values() if one.canaries]
    if case["leaks_directly"]:
        bare = take(worlds, control, case)  # one way that tells is enough
        assert any(outcome.leak for _, outcome in bare), "it tells nothing without a gateway"


def test_there_are_enough() -> None:
    assert sum(len(ways.load(file)) for file in FILES) >= 400
