"""Messages: the head of a request and of a response, whatever version carries them (RFC 9110)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

Fields = list[tuple[bytes, bytes]]
"""Field lines in order; names in lower case, values without blanks around them."""

NO_BODY: Final = frozenset({204, 304})
"""Statuses of responses that never have a body (RFC 9110, section 6.4.1)."""


class RequestHead(Struct):
    """What a request asks. `target` is in origin form (`/path?query`) or `*`.

    `length` is its body's size, where that is told; None: it ends by itself. `expects`: the client
    waits for 100 before it sends the body. `upgrade`: the protocol that it asks to change to.
    """

    method: str
    scheme: str
    authority: str
    target: str
    fields: Fields
    version: str
    length: int | None = 0
    expects: bool = False
    upgrade: str = ""
    keep: bool = True


class ResponseHead(Struct):
    """What a response says. `length` as a request's."""

    status: int
    reason: str
    fields: Fields
    version: str = "HTTP/1.1"
    length: int | None = 0
    keep: bool = True


def get(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the value of the first field of that name."""
    for key, value in fields:
        if key == name:
            return value
    return None


def get_all(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return the values of all fields of that name."""
    return [value for key, value in fields if key == name]


def listed(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return the elements of a field that is a list (RFC 9110, section 5.6.1), in lower case."""
    return [
        word
        for key, value in fields
        if key == name
        for part in value.split(b",")
        if (word := part.strip(b" \t").lower())
    ]


def without(fields: Fields, *names: bytes) -> Fields:
    """Return the fields that have none of these names."""
    return [field for field in fields if field[0] not in names]


def readable(fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Return fields as text, each byte a character."""
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)
