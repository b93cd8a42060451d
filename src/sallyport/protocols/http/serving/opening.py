"""Opening: which version a client speaks (RFC 9113, section 3)."""

from __future__ import annotations

import asyncio
from typing import Final

from sallyport.protocols.base import Leg

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE: Final = 15.0
"""Seconds for the first bytes."""


async def begins_http2(leg: Leg) -> tuple[bool, bytes]:
    """Return whether HTTP/2 is spoken, and the bytes that were read to find out.

    Under TLS the handshake has told (ALPN); in clear it is known by its preface (`prior
    knowledge`): there is no upgrade to it.
    """
    if leg.tls is not None:
        return leg.tls.selected_alpn_protocol() == "h2", b""
    data = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while len(data) < len(PREFACE) and PREFACE.startswith(data):
                more = await leg.read()
                if not more:
                    break
                data += more
    except TimeoutError:
        return False, data
    return data.startswith(PREFACE), data
