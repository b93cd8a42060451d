"""The services that these tests give a plugin are what the gateway gives it."""

from __future__ import annotations

import inspect

import pytest

from sallyport.protocols.base import Services
from tests.wire.rig import RigServices

METHODS = [
    name for name, one in vars(Services).items() if inspect.isfunction(one) and name[0] != "_"
]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_what_the_gateways_does(name: str) -> None:
    wanted = inspect.signature(getattr(Services, name)).parameters
    given = inspect.signature(getattr(RigServices, name)).parameters
    assert list(given) == list(wanted)
    assert [one.default for one in given.values()] == [one.default for one in wanted.values()]
