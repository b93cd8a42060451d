"""A deadline for a whole answer: a client's own timeouts begin anew with each byte.

A provider that sends a byte of its headers now and then is never late by those, and keeps for good
whoever waits for it. Here its connection is shut when the time is over, wherever the answer stands.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

_OPENED: Final = (".connect_tcp.complete", ".start_tls.complete")
"""Ends of what httpcore tells by its `trace` extension when a connection is there."""


class Deadlines:
    """The deadlines of one client, which asks one thing at a time."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[threading.Event]:
        """Shut what is open `seconds` from now, unless the block has ended; the event says so."""
        over = threading.Event()
        timer = threading.Timer(seconds, self._shut, (over,))
        timer.daemon = True
        timer.start()
        try:
            yield over
        finally:
            timer.cancel()

    def trace(self, name: str, told: dict[str, Any]) -> None:
        """Remember a connection, which may serve for several questions."""
        if not name.endswith(_OPENED):
            return
        opened = told["return_value"].get_extra_info("socket")
        if isinstance(opened, socket.socket):
            self._sockets = [one for one in self._sockets if one.fileno() >= 0] + [opened]

    def _shut(self, over: threading.Event) -> None:
        over.set()
        for one in self._sockets:
            with contextlib.suppress(OSError):  # it is closed already
                socket.socket.shutdown(one, socket.SHUT_RDWR)  # below TLS, which another thread has
