"""Transcript: recorded rows as a person reads them.

`postgres/rows` are DataRow bodies, `postgres/copy` CopyData bodies, each after its length as int32.
The hash of a `ResultEnded` is over the messages that these were: type byte, length, body
(`hash_of`), so a recording that was not cut off proves what left.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from sallyport.protocols.postgres import frames
from sallyport.protocols.postgres.results import COPY, ROWS

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_HEADER: Final = struct.Struct(">Bi")


def bodies(data: bytes) -> Iterator[bytes]:
    """Yield the bodies in a recorded chunk. Raises: ValueError where it is not one."""
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise ValueError("recorded rows are cut off")
        size = int.from_bytes(data[position : position + 4], "big")
        position += 4
        if position + size > len(data):
            raise ValueError("recorded rows are cut off")
        yield data[position : position + size]
        position += size


def hash_of(encoding: str, chunks: list[bytes]) -> bytes:
    """Return the hash that a `ResultEnded` has when all of its rows are in `chunks`."""
    kind = frames.DATA_ROW if encoding == ROWS else frames.COPY_DATA
    state = hashlib.sha256()
    for chunk in chunks:
        for body in bodies(chunk):
            state.update(_HEADER.pack(kind, len(body) + 4))
            state.update(body)
    return state.digest()


def render_rows(
    encoding: str, data: bytes, formats: tuple[int, ...], types: tuple[str, ...]
) -> list[list[str | None]]:
    """Return the cells of recorded rows as text; what cannot be read is shown as hexadecimal.

    Raises: ValueError for an encoding that is not this protocol's, and for data that is not its.
    """
    if encoding == COPY:
        return [_copied(body, formats) for body in bodies(data)]
    if encoding != ROWS:
        raise ValueError(f"encoding `{encoding}` is not known")
    return [_row(body, formats, types) for body in bodies(data)]


def _row(body: bytes, formats: tuple[int, ...], types: tuple[str, ...]) -> list[str | None]:
    count = int.from_bytes(body[:2], "big")
    position = 2
    cells: list[str | None] = []
    for index in range(count):
        size = int.from_bytes(body[position : position + 4], "big", signed=True)
        position += 4
        if size < 0:
            cells.append(None)
            continue
        raw = body[position : position + size]
        position += size
        binary = index < len(formats) and formats[index] == 1
        cells.append(_cell(raw, binary, types[index] if index < len(types) else ""))
    return cells


def _copied(body: bytes, formats: tuple[int, ...]) -> list[str | None]:
    """Return a copied row; text is cut at tabs, CSV stays one cell, binary is shown in hex."""
    if 1 in formats:
        return ["\\x" + body.hex()]
    line = body.decode("utf-8", "replace").rstrip("\n")
    return [None if cell == "\\N" else cell for cell in line.split("\t")]


def _cell(raw: bytes, binary: bool, type: str) -> str:
    if not binary:
        return raw.decode("utf-8", "replace")
    reader = _READERS.get(type)
    if reader is None:
        return _hex(raw)
    try:
        return reader(raw)
    except (ValueError, OverflowError, struct.error, IndexError):
        return _hex(raw)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8")


def _integer(raw: bytes) -> str:
    return str(int.from_bytes(raw, "big", signed=True))


def _unsigned(raw: bytes) -> str:
    return str(int.from_bytes(raw, "big"))


def _boolean(raw: bytes) -> str:
    return "t" if raw == b"\1" else "f"


def _float4(raw: bytes) -> str:
    return repr(struct.unpack(">f", raw)[0])


def _float8(raw: bytes) -> str:
    return repr(struct.unpack(">d", raw)[0])


def _uuid(raw: bytes) -> str:
    return str(UUID(bytes=raw))


def _date(raw: bytes) -> str:
    days = int.from_bytes(raw, "big", signed=True)
    return date.fromordinal(_EPOCH.toordinal() + days).isoformat()


def _timestamp(raw: bytes) -> str:
    moment = _EPOCH + timedelta(microseconds=int.from_bytes(raw, "big", signed=True))
    text = moment.replace(tzinfo=None).isoformat(" ")
    return text.rstrip("0") if "." in text else text


def _timestamptz(raw: bytes) -> str:
    return _timestamp(raw) + "+00"


def _jsonb(raw: bytes) -> str:
    if raw[:1] != b"\1":
        raise ValueError("jsonb of another version")
    return raw[1:].decode("utf-8")


def _numeric(raw: bytes) -> str:
    """Read numeric: digits in base 10,000, the weight of the first, a sign, a scale."""
    count, weight, sign, scale = struct.unpack_from(">hhHh", raw)
    special = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}.get(sign)
    if special is not None:
        return special
    digits = struct.unpack_from(f">{count}h", raw, 8)
    if not -1000 <= weight <= 40_000 or not 0 <= scale <= 20_000:
        raise ValueError("numeric out of bounds")
    whole = "".join(f"{_digit(digits, i):04d}" for i in range(weight + 1)).lstrip("0") or "0"
    groups = range(weight + 1, weight + 1 + (scale + 3) // 4)
    fraction = "".join(f"{_digit(digits, i):04d}" for i in groups)[:scale]
    return ("-" if sign == 0x4000 else "") + whole + ("." + fraction if scale else "")


def _digit(digits: tuple[int, ...], index: int) -> int:
    return digits[index] if 0 <= index < len(digits) else 0


def _hex(raw: bytes) -> str:
    return "\\x" + raw.hex()


_READERS: Final[dict[str, Callable[[bytes], str]]] = {
    "16": _boolean,
    "17": _hex,
    "18": _text,
    "19": _text,
    "20": _integer,
    "21": _integer,
    "23": _integer,
    "25": _text,
    "26": _unsigned,
    "114": _text,
    "700": _float4,
    "701": _float8,
    "1042": _text,
    "1043": _text,
    "1082": _date,
    "1114": _timestamp,
    "1184": _timestamptz,
    "1700": _numeric,
    "2950": _uuid,
    "3802": _jsonb,
}
"""How the binary form of a type is read, by its oid."""
