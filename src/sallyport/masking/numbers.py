"""PostgreSQL's binary numbers to text and back (numeric.c: numeric_send, numeric_recv)."""

from __future__ import annotations

import struct

_NEGATIVE = 0x4000
_SPECIAL = 0xC000
_SIGN_MASK = 0xC000
_SINGLE_LIMIT = 3.40282356e38
_WEIGHT_LIMIT = 0x7FFF // 4


def numeric_text(raw: bytes) -> str:
    """Return the decimal text of a binary numeric. Raises: ValueError when it is malformed."""
    if len(raw) < 8:
        raise ValueError("numeric is too short")
    count, weight, sign, scale = struct.unpack_from(">HhHH", raw)
    if len(raw) != 8 + 2 * count:
        raise ValueError("numeric has another length than it says")
    if sign & _SIGN_MASK == _SPECIAL:
        return {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}.get(sign, "NaN")
    groups = struct.unpack_from(f">{count}H", raw, 8)
    if any(group > 9999 for group in groups) or abs(weight) > _WEIGHT_LIMIT:
        raise ValueError("numeric has a bad digit")
    digits = "".join(f"{group:04d}" for group in groups)
    point = 4 * (weight + 1)
    whole = digits[: max(point, 0)].ljust(max(point, 0), "0").lstrip("0") or "0"
    fraction = ("0" * max(-point, 0) + digits[max(point, 0) :]).ljust(scale, "0")[:scale]
    text = f"{whole}.{fraction}" if scale else whole
    return "-" + text if sign == _NEGATIVE else text


def numeric_binary(text: str) -> bytes:
    """Return the binary numeric of a plain decimal text (digits, a point, a sign)."""
    sign = _NEGATIVE if text.startswith("-") else 0
    whole, _, fraction = text.lstrip("-").partition(".")
    scale = len(fraction)
    whole = whole.lstrip("0")
    whole = whole.rjust(-(-len(whole) // 4) * 4, "0")
    fraction = fraction.ljust(-(-len(fraction) // 4) * 4, "0")
    digits = whole + fraction
    groups = [int(digits[place : place + 4]) for place in range(0, len(digits), 4)]
    weight = len(whole) // 4 - 1
    while groups and groups[0] == 0:
        groups.pop(0)
        weight -= 1
    while groups and groups[-1] == 0:
        groups.pop()
    if not groups:
        weight = sign = 0
    return struct.pack(f">HhHH{len(groups)}H", len(groups), weight, sign, scale, *groups)


def float_text(value: float) -> str:
    """Return a float's shortest text without an exponent where it is a whole number below 2^53."""
    if value == value and abs(value) < 2**53 and value == int(value):
        return str(int(value))
    return repr(value)


def single(raw: bytes) -> float:
    """Return the shortest decimal that is this float4, as the server writes it in text.

    Raises: struct.error when it is malformed.
    """
    value = float(struct.unpack(">f", raw)[0])
    for digits in range(1, 9):
        short = float(f"{value:.{digits}g}")
        if abs(short) < _SINGLE_LIMIT and struct.pack(">f", short) == raw:
            return short
    return float(f"{value:.9g}")
