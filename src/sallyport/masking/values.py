"""Whole cells: each transform in each of PostgreSQL's types and both formats.

What comes out is a valid value of the cell's type. A transform that a type has no sense for becomes
the next stronger one that has: redact, then null.
"""

from __future__ import annotations

import re
import struct
import uuid
from datetime import UTC, date, datetime, timedelta

from sallyport.masking.numbers import float_text, numeric_binary, numeric_text, single
from sallyport.masking.transforms import (
    Transform,
    digest,
    hash_text,
    partial_number,
    partial_text,
)
from sallyport.masking.types import Kind, PgType

_EPOCH = date(2000, 1, 1)
_HASH_DAYS = 36524
_HASH_BITS = 53
"""Bits of a hashed number, where the type has room: a double holds it too."""
_MICROSECONDS = 86_400_000_000
_PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_ISO = re.compile(rb"([0-9]{4})-[0-9]{2}-[0-9]{2}(?![0-9])(?!.*BC)", re.DOTALL)


def neutral(kind: PgType, binary: bool) -> bytes | None:
    """Return the harmless value of a type; None (NULL) where it has none."""
    return kind.binary if binary else kind.text


def replace(
    kind: PgType, binary: bool, raw: bytes, transform: Transform, key: bytes
) -> bytes | None:
    """Return what stands for the whole cell `raw`; None is NULL.

    FAILS CLOSED: a value that cannot be read as its type is redacted.
    """
    if transform is Transform.NULL:
        return None
    if transform is Transform.REDACT:
        return neutral(kind, binary)
    try:
        return _reshape(kind, binary, raw, transform, key)
    except (struct.error, OverflowError, UnicodeError, IndexError):
        return neutral(kind, binary)


def _reshape(
    kind: PgType, binary: bool, raw: bytes, transform: Transform, key: bytes
) -> bytes | None:
    hashed = transform is Transform.HASH
    if kind.kind is Kind.TEXT or kind.kind is Kind.XML:
        value = raw.rstrip(b" ") if kind.name == "bpchar" else raw
        return hash_text(value, key) if hashed else partial_text(value)
    if kind.kind is Kind.INTEGER:
        return _integer(kind, binary, raw, hashed, key)
    if kind.kind is Kind.NUMERIC or kind.kind is Kind.FLOAT:
        return _decimal(kind, binary, raw, hashed, key)
    if kind.kind is Kind.DATE or kind.kind is Kind.TIMESTAMP:
        return _moment(kind, binary, raw, hashed, key)
    if kind.kind is Kind.UUID:
        return _uuid(binary, raw, hashed, key)
    if hashed and kind.kind is Kind.BYTEA:
        value = raw if binary else bytea_bytes(raw)
        token = digest(key, b"bytea", value)
        return token if binary else b"\\x" + token.hex().encode()
    if hashed and (kind.kind is Kind.JSON or kind.kind is Kind.JSONB):
        head = raw[:1] if binary and kind.kind is Kind.JSONB else b""
        return head + b'"' + hash_text(raw[len(head) :], key) + b'"'
    return neutral(kind, binary)


def _integer(kind: PgType, binary: bool, raw: bytes, hashed: bool, key: bytes) -> bytes:
    number = int.from_bytes(raw, "big", signed=True) if binary else _whole(raw)
    if binary and len(raw) != kind.width:
        raise struct.error("integer has another width")
    if hashed:
        number = _hashed(str(number), min(_HASH_BITS, 8 * kind.width - 1), key)
    else:
        number = int(partial_number(str(number)))
    return number.to_bytes(kind.width, "big", signed=True) if binary else str(number).encode()


def _hashed(text: str, bits: int, key: bytes) -> int:
    """Return a number that stands for this one in every numeric type with as many bits."""
    if "." in text:
        text = text.rstrip("0").removesuffix(".")
    return int.from_bytes(digest(key, b"number", text.encode())[:8], "big") >> (64 - bits)


def _whole(raw: bytes) -> int:
    if len(raw) > 20 or not raw.removeprefix(b"-").isdigit():
        raise struct.error("integer is not one")
    return int(raw)


def number_text(kind: PgType, binary: bool, raw: bytes) -> str:
    """Return a number's text, whatever its format. Raises: struct.error when it is malformed."""
    if not binary:
        text = raw.decode("ascii")
        return float_text(float(text)) if kind.kind is Kind.FLOAT else text
    if kind.kind is Kind.INTEGER:
        if len(raw) != kind.width:
            raise struct.error("integer has another width")
        return str(int.from_bytes(raw, "big", signed=True))
    if kind.kind is Kind.NUMERIC:
        try:
            return numeric_text(raw)
        except ValueError as error:
            raise struct.error(str(error)) from None
    if kind.width == 4:
        return float_text(single(raw))
    return float_text(float(struct.unpack(">d", raw)[0]))


def _decimal(kind: PgType, binary: bool, raw: bytes, hashed: bool, key: bytes) -> bytes | None:
    if kind.kind is Kind.FLOAT:
        return neutral(kind, binary)  # how many digits its text has is for the client to say
    text = number_text(kind, binary, raw)
    if hashed:
        text = str(_hashed(text, _HASH_BITS, key))
    elif _PLAIN.fullmatch(text):
        text = partial_number(text)
    else:
        return neutral(kind, binary)
    return numeric_binary(text) if binary else text.encode()


def _moment(kind: PgType, binary: bool, raw: bytes, hashed: bool, key: bytes) -> bytes | None:
    """Keep the year of a date or time stamp, or put a day of the last century in its place."""
    value = _canonical(kind, binary, raw)
    if hashed:
        token = int.from_bytes(digest(key, b"date", value)[:8], "big")
        day = date(1900, 1, 1) + timedelta(days=token % _HASH_DAYS)
    else:
        match = _ISO.match(value)
        if match is None or int(match[1]) == 0:
            return neutral(kind, binary)
        day = date(int(match[1]), 1, 1)
    if binary:
        days = (day - _EPOCH).days
        if kind.kind is Kind.DATE:
            return struct.pack(">i", days)
        return struct.pack(">q", days * _MICROSECONDS)
    text = day.isoformat()
    if kind.kind is Kind.TIMESTAMP:
        text += " 00:00:00" + ("+00" if kind.name == "timestamptz" else "")
    return text.encode()


def _canonical(kind: PgType, binary: bool, raw: bytes) -> bytes:
    """Return one text for one moment, in either format, where DateStyle is ISO.

    Raises: struct.error for the text of a moment in a zone of 24 hours or more.
    """
    if binary and kind.kind is Kind.DATE:
        return (_EPOCH + timedelta(days=struct.unpack(">i", raw)[0])).isoformat().encode()
    if binary:
        moment = datetime(2000, 1, 1) + timedelta(microseconds=struct.unpack(">q", raw)[0])
        return moment.isoformat(" ", "microseconds").encode()
    if kind.kind is Kind.DATE or not _ISO.match(raw):
        return raw
    try:
        moment = datetime.fromisoformat(raw.decode("ascii"))
    except ValueError as error:
        raise struct.error("a moment in no zone") from error
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(" ", "microseconds").encode()


def _uuid(binary: bool, raw: bytes, hashed: bool, key: bytes) -> bytes:
    try:
        value = uuid.UUID(bytes=raw) if binary else uuid.UUID(raw.decode("ascii"))
    except ValueError as error:
        raise struct.error(str(error)) from None
    if hashed:
        masked = uuid.UUID(bytes=digest(key, b"uuid", value.bytes)[:16], version=4)
    else:
        ends = value.bytes[:1] + bytes(13) + value.bytes[14:]
        masked = uuid.UUID(bytes=ends)
    return masked.bytes if binary else str(masked).encode()


_OCTAL = re.compile(rb"\\(\\|[0-3][0-7]{2})")


def bytea_bytes(raw: bytes) -> bytes:
    """Return the bytes that a bytea's text stands for (`hex` or `escape` output)."""
    if raw.startswith(b"\\x"):
        try:
            return bytes.fromhex(raw[2:].decode("ascii"))
        except ValueError as error:
            raise struct.error("bytea is not hexadecimal") from error
    return _OCTAL.sub(lambda match: b"\\" if match[1] == b"\\" else bytes([int(match[1], 8)]), raw)
