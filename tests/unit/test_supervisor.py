"""Sockets that the supervisor binds: what is in the way is said, and never taken from others."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sallyport.config.types import Address
from sallyport.core.errors import ConfigError
from sallyport.supervisor import bind


def test_a_socket_in_use_is_not_taken_from_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "clients.sock"
    with bind(Address(path=path)) as first:
        with pytest.raises(ConfigError, match="in use"):
            bind(Address(path=path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            first.setblocking(True)
            first.accept()[0].close()


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "clients.sock"
    bind(Address(path=path)).close()
    bind(Address(path=path)).close()


@pytest.mark.parametrize(
    "address",
    [Address("a" * 70, 1), Address("host.invalid", 1), Address(path=Path("/" + "s" * 200))],
    ids=["a label too long", "no such host", "a path too long"],
)
def test_what_cannot_be_bound_is_said_in_words(address: Address) -> None:
    with pytest.raises(ConfigError, match="cannot listen on") as raised:
        bind(address)
    assert not str(raised.value).endswith("None")
