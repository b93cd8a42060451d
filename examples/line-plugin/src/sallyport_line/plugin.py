"""The plugin: login, target, and then the relay runs the codec."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from sallyport.core.errors import TargetUnavailable
from sallyport.core.subject import Evidence, Refused
from sallyport.protocols.base import Connection, Leg, Services, Wait
from sallyport_line.codec import LONGEST_LINE, LineCodec

LOGIN = 10.0
"""Seconds for the first line."""


class LinePlugin:
    """The line protocol."""

    name = "line"
    verbs = frozenset({"get", "set", "del", "unknown"})
    facts: frozenset[str] = frozenset()
    kinds = frozenset({"store", "key"})
    qualified: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._mask_key = b""

    def configure(self, settings: Mapping[str, object]) -> None:
        """Take the key of hashing masks."""
        key = settings.get("mask_key")
        self._mask_key = key if isinstance(key, bytes) else b""

    async def serve(self, connection: Connection, services: Services) -> None:
        """Serve one connection until it ends."""
        client = await connection.open(encrypted=connection.tls is not None)
        try:
            async with asyncio.timeout(LOGIN):
                words = (await _first_line(client)).split(" ")
        except (TimeoutError, ValueError):
            client.close()
            return
        if len(words) != 3 or words[0] != "AUTH":
            _say(client, "ERR say AUTH <token> <target> first")
            return
        encrypted = connection.tls is not None
        evidence = Evidence(self.name, connection.listener, connection.source, words[1], encrypted)
        subject = await services.authenticate(evidence)
        if isinstance(subject, Refused):
            _say(client, f"ERR {subject.reason}")
            return
        grant = await services.authorize(subject, connection, words[2], None, "", encrypted)
        if isinstance(grant, Refused):
            _say(client, f"ERR {grant.reason}")
            return
        try:
            target = await services.dial(grant)
        except TargetUnavailable as error:
            _say(client, f"ERR {error.message}")
            return
        client.write(b"OK\n")
        codec = LineCodec(grant.session, grant.target.name, time.time, self._mask_key)
        await services.relay(grant, client, target, codec, prepare=_nothing, cancel=_no_cancel)

    def stale(self, target: str, database: str) -> None:
        """There is no catalogue."""


async def _first_line(client: Leg) -> str:
    """Return the first line. FAILS CLOSED: nothing may follow it before it is answered."""
    line = b""
    while not line.endswith(b"\n"):
        more = await client.read()
        line += more
        if not more or len(line) > LONGEST_LINE or b"\n" in line[:-1]:
            raise ValueError("no single first line")
    return line.decode("utf-8", "strict").strip()


def _say(client: Leg, text: str) -> None:
    client.write(text.encode() + b"\n")
    client.close()


async def _nothing(wait: Wait) -> None:
    return


async def _no_cancel() -> None:
    return
