"""Direct: a target that this host reaches by itself."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sallyport.core.errors import TargetUnavailable
from sallyport.core.grant import Target

DIAL = 10.0
"""Seconds that a target has to accept a connection."""


_P = TypeVar("_P", bound=asyncio.BaseProtocol)


async def dial(target: Target, factory: Callable[[], _P]) -> _P:
    """Connect to `target`, plain, and return the protocol that `factory` made.

    Raises: TargetUnavailable, with a text that is safe to show.
    """
    loop = asyncio.get_running_loop()
    address = target.address
    try:
        async with asyncio.timeout(DIAL):
            if address.host.startswith("/"):
                path = _socket_path(address.host, address.port)
                _, protocol = await loop.create_unix_connection(factory, path)
                return protocol
            sock = await _connected(address.host, address.port)
            _, protocol = await loop.create_connection(factory, sock=sock)
    except TimeoutError:
        raise TargetUnavailable(target.name, f"no connection within {DIAL:.0f} s") from None
    except OSError as error:
        raise TargetUnavailable(target.name, f"cannot connect ({_reason(error)})") from None
    return protocol


async def _connected(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to the first of the host's addresses that answers.

    A name is resolved once, and what was looked at is what is dialled. FAILS CLOSED: a name that
    leads to this machine or its link (a metadata service, say) is refused: such an address has to
    be configured as one. Raises: OSError.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    named = not _is_address(host) and host.rstrip(".").lower() != "localhost"
    failure = OSError("the name has no address")
    for family, kind, protocol, _, where in found:
        if named and _is_near(where[0]):
            failure = OSError("the name leads to this machine or its link")
            continue
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, where)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return sock
    raise failure


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_near(host: object) -> bool:
    """Whether an address is this machine's own, or its link's alone (RFC 6890)."""
    address = ipaddress.ip_address(str(host).partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return (
        address.is_loopback or address.is_link_local
        or address.is_unspecified or address.is_multicast
    )  # fmt: skip


def _socket_path(host: str, port: int) -> str:
    path = Path(host)
    return str(path / f".s.PGSQL.{port}") if path.is_dir() else host


def _reason(error: OSError) -> str:
    """Return why, without the address: the loop writes it into the error's own text."""
    told = os.strerror(error.errno) if error.errno else str(error)
    return (told or type(error).__name__).lower()
