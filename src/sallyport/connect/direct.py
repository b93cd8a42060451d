"""Direct: a target that this host reaches by itself."""

from __future__ import annotations

import asyncio
import contextlib
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
            transport, protocol = await loop.create_connection(factory, address.host, address.port)
    except TimeoutError:
        raise TargetUnavailable(target.name, f"no connection within {DIAL:.0f} s") from None
    except OSError as error:
        raise TargetUnavailable(target.name, f"cannot connect ({_reason(error)})") from None
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return protocol


def _socket_path(host: str, port: int) -> str:
    path = Path(host)
    return str(path / f".s.PGSQL.{port}") if path.is_dir() else host


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
