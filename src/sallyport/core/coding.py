"""Codings: undoing what packed a body (RFC 9110, section 8.4.1), up to a limit."""

from __future__ import annotations

import zlib
from typing import Final

_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 47}


def unpacked(data: bytes, coding: str, limit: int) -> bytes | None:
    """Return a body without its coding, at most `limit` bytes of it; what was cut off, up to there.

    None: the coding is not known, or the body is not in it. For showing what was recorded alone.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return data[:limit]
    bits = _BITS.get(coding)
    if bits is None:
        return None
    try:
        return zlib.decompressobj(bits).decompress(data, limit)
    except zlib.error:
        return None
