"""The guide for plugin authors names every part of the contract, and nothing else."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from sallyport.core.decision import Obligations
from sallyport.protocols import base, inspecting
from sallyport.testing import contract

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()


def parts(protocol: type) -> list[str]:
    """Return the names that a Protocol demands: methods, properties and attributes."""
    named = {name for name in vars(protocol) if not name.startswith("_")}
    return sorted(named | set(inspect.get_annotations(protocol)))


@pytest.mark.parametrize(
    "protocol",
    [
        base.Plugin, base.Services, base.Codec, base.Connection, base.Rendering,
        inspecting.Inspector, base.Leg, Obligations,
    ],
)  # fmt: skip
def test_every_part_is_in_the_guide(protocol: type) -> None:
    assert parts(protocol)
    missing = [name for name in parts(protocol) if not re.search(rf"`{name}\b", GUIDE)]
    assert not missing, f"{protocol.__name__}: the guide says nothing of {missing}"


def test_every_event_is_in_the_guide_with_its_fields() -> None:
    for event in get_args(base.Event):
        said = re.search(rf"`{event.__name__}\(([a-z_, ]*)\)`", GUIDE)
        assert said, event.__name__
        assert tuple(filter(None, said[1].split(", "))) == event.__struct_fields__


def test_every_check_of_the_contract_is_in_the_guide() -> None:
    checks = re.findall(r"^    \d .*`(\w+)`$", contract.__doc__ or "", re.MULTILINE)
    assert len(checks) == 6
    for name in checks:
        assert callable(getattr(contract, name))
        assert f"`{name}`" in GUIDE


@pytest.mark.parametrize("name", ["Codec", "Services"])
def test_the_guides_tables_name_nothing_that_is_not_there(name: str) -> None:
    """A call in a table's first column is a method of that protocol."""
    heading = {"Codec": "| call | when |", "Services": "| ask | get |"}[name]
    table = GUIDE.partition(heading)[2].partition("\n\n")[0]
    named = set()
    for row in table.splitlines()[2:]:
        named |= set(re.findall(r"`([a-z_]+)", row.split(" | ")[0]))
    assert named
    assert named == set(parts(getattr(base, name)))
