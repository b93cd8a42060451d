"""Walks through cells that hold other values: arrays, records, ranges and JSON, in both formats.

Each takes a function for the values inside and puts its answers in their place, so that what
comes out is a valid literal again. FAILS CLOSED: what does not read as its type is a ValueError.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable

Inner = Callable[[bytes], bytes | None]
"""One value inside, to what stands for it; None is NULL. The same object: unchanged."""
Named = Callable[[bytes, bytes], bytes | None]
"""The same, with the name that the value stands under; empty where it has none."""
Typed = Callable[[int, bytes], bytes | None]
"""The same, with the oid of the value's type."""

_QUOTED = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_JSON = re.compile(
    _QUOTED + rb"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|[\s,:{}\[\]]+|true|false|null",
    re.DOTALL,
)
_ARRAYS = {
    mark: re.compile(_QUOTED + rb"|[{}" + mark + rb']|[^{}"\\' + mark + rb"]+", re.DOTALL)
    for mark in (b",", b";")
}
_FIELD = re.compile(rb'(?:"(?:[^"\\]|""|\\.)*"|[^,()"\\])*', re.DOTALL)
_PLAIN_ELEMENT = re.compile(rb'[^{}"\\,;\s]+')
_UNESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_FIELD_ESCAPE = re.compile(rb'""|\\(.)', re.DOTALL)
_UNICODE = re.compile(rb"\\u([0-9a-fA-F]{4})")
_COLON = re.compile(rb"\s*:")
_NAME = 64
_DIMENSIONS = 6
_FIELDS = 1664


def json_text(data: bytes, string: Named, number: Named) -> bytes | None:
    """Walk the strings (keys too) and numbers of a JSON text. None: a value inside became NULL.

    Values come with the key that was read last; keys with none. A string with escapes is decoded
    first, so that `\\u0040` hides no `@`.
    """
    out: list[bytes] = []
    changed = False
    position = 0
    name = b""
    while position < len(data):
        match = _JSON.match(data, position)
        if match is None:
            raise ValueError("json does not parse")
        token = match.group()
        position = match.end()
        first = token[0]
        if first == 34:
            key = _COLON.match(data, position) is not None
            masked = _json_string(token, b"" if key else name, string)
            name = token[1:-1][-_NAME:] if key else name
        elif first == 45 or 48 <= first <= 57:
            masked = number(token, name)
        else:
            masked = token
        if masked is None:
            return None
        changed = changed or masked is not token
        out.append(masked)
    return b"".join(out) if changed else data


def _json_string(token: bytes, name: bytes, string: Named) -> bytes | None:
    if b"\\" not in token:
        inner = token[1:-1]
        masked = string(inner, name)
        if masked is inner:
            return token
        return None if masked is None else b'"' + masked + b'"'
    text = json.loads(token.decode("utf-8", "surrogateescape"), strict=False)
    raw = text.encode("utf-8", "surrogatepass")
    masked = string(raw, name)
    if masked is raw:
        return token
    if masked is None:
        return None
    return json.dumps(masked.decode("utf-8", "surrogatepass")).encode("ascii")


def array_text(data: bytes, inner: Inner, delimiter: bytes = b",") -> bytes:
    """Walk the elements of an array literal (array_out); NULL elements are passed over."""
    tokens = _ARRAYS[delimiter]
    start = data.find(b"=") + 1 if data.startswith(b"[") else 0
    out: list[bytes] = [data[:start]]
    changed = False
    position, depth = start, 0
    while position < len(data):
        match = tokens.match(data, position)
        if match is None:
            raise ValueError("array does not parse")
        token = match.group()
        position = match.end()
        if token in (b"{", b"}"):
            depth += 1 if token == b"{" else -1
        elif token not in (delimiter, b"NULL"):
            if depth == 0:
                raise ValueError("array does not parse")
            masked = _element(token, inner)
            changed = changed or masked is not token
            token = masked
        out.append(token)
    if depth or start == len(data):
        raise ValueError("array does not parse")
    return b"".join(out) if changed else data


def _element(token: bytes, inner: Inner) -> bytes:
    value = _UNESCAPE.sub(rb"\1", token[1:-1]) if token[:1] == b'"' else token
    masked = inner(value)
    if masked is value:
        return token
    if masked is None:
        return b"NULL"
    if _PLAIN_ELEMENT.fullmatch(masked) and masked.upper() != b"NULL":
        return masked
    return b'"' + masked.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def record_text(data: bytes, inner: Inner) -> bytes:
    """Walk the fields of a record literal (record_out).

    Its fields' types are not known in this format, so a field that changes becomes NULL: the one
    value that is valid for all of them.
    """
    if data[:1] != b"(" or data[-1:] != b")":
        raise ValueError("record does not parse")
    out: list[bytes] = []
    changed = False
    position, end = 1, len(data) - 1
    while True:
        match = _FIELD.match(data, position, end)
        if match is None:
            raise ValueError("record does not parse")
        field = match.group()
        position = match.end()
        value = _field(field)
        if value and inner(value) is not value:
            field = b""
            changed = True
        out.append(field)
        if position == end:
            break
        if data[position : position + 1] != b",":
            raise ValueError("record does not parse")
        position += 1
    return b"(" + b",".join(out) + b")" if changed else data


def _field(field: bytes) -> bytes:
    if field[:1] != b'"':
        return field
    return _FIELD_ESCAPE.sub(lambda m: b'"' if m[1] is None else m[1], field[1:-1])


def unescaped(data: bytes) -> bytes:
    """Return text of no known notation without its escapes, to be searched and thrown away."""
    plain = _UNICODE.sub(lambda match: chr(int(match[1], 16)).encode("utf-8", "replace"), data)
    return plain.replace(b"\\", b"").replace(b'""', b'"')


def array_binary(data: bytes, typed: Typed) -> bytes:
    """Walk the elements of a binary array (array_send). Raises: ValueError, struct.error."""
    dimensions, _, element = struct.unpack_from(">iiI", data)
    if not 0 <= dimensions <= _DIMENSIONS:
        raise ValueError("array has a bad number of dimensions")
    position = 12 + 8 * dimensions
    if len(data) < position:
        raise ValueError("array is cut off")
    head = data[:position]
    out: list[bytes] = []
    changed = nulled = False
    while position < len(data):
        value, position = _value(data, position)
        masked = value
        if value is not None:
            masked = typed(element, value)
            changed = changed or masked is not value
        nulled = nulled or masked is None
        out.append(_prefixed(masked))
    if not changed:
        return data
    flags = b"\x00\x00\x00\x01" if nulled else head[4:8]
    return head[:4] + flags + head[8:] + b"".join(out)


def record_binary(data: bytes, typed: Typed) -> bytes:
    """Walk the fields of a binary record (record_send). Raises: ValueError, struct.error."""
    (count,) = struct.unpack_from(">i", data)
    if not 0 <= count <= _FIELDS:
        raise ValueError("record has a bad number of fields")
    out: list[bytes] = [data[:4]]
    changed = False
    position = 4
    for _ in range(count):
        (oid,) = struct.unpack_from(">I", data, position)
        value, after = _value(data, position + 4)
        masked = value
        if value is not None:
            masked = typed(oid, value)
            changed = changed or masked is not value
        out.append(data[position : position + 4] + _prefixed(masked))
        position = after
    if position != len(data):
        raise ValueError("record has bytes left over")
    return b"".join(out) if changed else data


def _value(data: bytes, position: int) -> tuple[bytes | None, int]:
    (length,) = struct.unpack_from(">i", data, position)
    position += 4
    if length == -1:
        return None, position
    if length < 0 or position + length > len(data):
        raise ValueError("value reaches beyond its cell")
    return data[position : position + length], position + length


def _prefixed(value: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if value is None else struct.pack(">i", len(value)) + value


def range_bounds(data: bytes) -> list[bytes]:
    """Return the bounds inside a binary range (range_send). Raises: ValueError, struct.error."""
    flags = data[0]
    position = 1
    bounds: list[bytes] = []
    for infinite in (0x08, 0x10):
        if not flags & (infinite | 0x01):
            value, position = _value(data, position)
            bounds.append(value or b"")
    if position != len(data):
        raise ValueError("range has bytes left over")
    return bounds


def multirange_parts(data: bytes) -> list[bytes]:
    """Return the ranges inside a binary multirange (multirange_send)."""
    (count,) = struct.unpack_from(">i", data)
    position = 4
    parts: list[bytes] = []
    while position < len(data):
        value, position = _value(data, position)
        parts.append(value or b"")
    if len(parts) != count:
        raise ValueError("multirange has another number of ranges than it says")
    return parts
