"""The server keeps 63 bytes of a protocol name: longer ones are one and the same to it."""

from __future__ import annotations

from typing import Any

from tests.masking.oracle import Oracle, Step

STEM = "n" * 63


def swapped(end: str) -> list[Step]:
    """Prepare under a name, close and prepare again under others alike in 63 bytes, then run it."""
    messages: list[list[Any]] = [
        [["parse", f"{STEM}a{end}", "select 1 as one"], "sync"],
        [["close", "S", f"{STEM}b{end}"], "sync"],
        [["parse", f"{STEM}c{end}", "select 2 as two"], "sync"],
        [["bind", "", f"{STEM}a{end}"], ["describe", "P", ""], ["execute", ""], "sync"],
    ]
    return [{"raw": raw} for raw in messages]


def test_one_statement_is_not_decided_and_another_run(gated: Oracle, control: Oracle) -> None:
    assert "two" in str(control.run(swapped("")).seen[0]), "the server tells them apart"
    assert "two" not in str(gated.run(swapped("")).seen[0])


def test_what_is_longer_in_the_servers_encoding_is_too_long(gated: Oracle) -> None:
    steps: list[Step] = [{"raw": [["parse", "\u00e9" * 16, "select 1 as one"], "sync"]}]
    assert "1" not in [kind for kind, _ in gated.run(steps).seen[0]]
    steps = [{"raw": [["parse", "\u00e9" * 15, "select 1 as one"], "sync"]}]
    assert "1" in [kind for kind, _ in gated.run(steps).seen[0]]


def test_63_bytes_are_a_name(gated: Oracle) -> None:
    steps: list[Step] = [
        {"raw": [["parse", STEM, "select 1 as one"], ["bind", STEM, STEM],
                 ["describe", "P", STEM], ["execute", STEM], "sync"]},
    ]  # fmt: skip
    assert "one" in str(gated.run(steps).seen[0])
