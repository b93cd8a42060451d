"""Texts as people read them: how long something lasts."""

from __future__ import annotations

import pytest

from sallyport.cli.units import seconds
from sallyport.core.visible import lasting


@pytest.mark.parametrize(
    ("lasts", "text"),
    [
        (45, "45s"),
        (60, "1m"),
        (90, "90s"),
        (300, "5m"),
        (5400, "90m"),
        (7200, "2h"),
        (86_400, "24h"),
    ],
)
def test_how_long_is_said_as_it_is_written(lasts: int, text: str) -> None:
    assert lasting(lasts) == lasting(float(lasts)) == text
    assert seconds(text) == lasts


def test_parts_of_a_second() -> None:
    assert (lasting(0.5), lasting(0)) == ("0.5s", "0s")
