"""Names of subjects and groups that are taken, and the networks that sources lie in."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from sallyport.core.visible import shows

MAXIMUM_NAME: Final = 256
MAXIMUM_GROUPS: Final = 512


def is_name(text: object) -> bool:
    """Whether `text` may name a subject or a group: short, and seen by a reader as it is.

    A name with controls or bidi marks would forge log lines and approval requests.
    """
    return (
        isinstance(text, str)
        and 0 < len(text) <= MAXIMUM_NAME
        and text == text.strip()
        and shows(text)
    )


def plain_address(source: str) -> str:
    """Return `source`, as IPv4 where an IPv6 socket has it as that; what is no address as it is."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def in_networks(source: str, networks: Sequence[str]) -> bool:
    """Whether `source` lies in one of `networks` (CIDR, or `unix`).

    FAILS CLOSED: garbage lies nowhere.
    """
    if source == "unix":
        return "unix" in networks
    try:
        address = ipaddress.ip_address(plain_address(source))
    except ValueError:
        return False
    for network in networks:
        try:
            if address in ipaddress.ip_network(network, strict=False):
                return True
        except ValueError:
            continue
    return False


def is_network(text: str) -> bool:
    """Whether `text` can stand in a list of networks."""
    if text == "unix":
        return True
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_loopback(source: str) -> bool:
    """Whether what came from `source` never left this machine."""
    return in_networks(source, ("unix", "127.0.0.0/8", "::1/128"))


def is_unspecified(host: str) -> bool:
    """Whether `host` stands for every address of a machine: one listens there, and calls none."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
