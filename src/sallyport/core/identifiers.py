"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_identifier(prefix: str) -> str:
    """Return `prefix-` and 20 characters of Crockford's base 32: 48 bits of ms, 52 random."""
    number = (time.time_ns() // 1_000_000) << 52 | int.from_bytes(os.urandom(7), "big") >> 4
    return f"{prefix}-" + "".join(_ALPHABET[number >> shift & 31] for shift in range(95, -1, -5))
