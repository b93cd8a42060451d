"""The server's own parse tree (protobuf), which alone can be written down as text again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import postgast
from google.protobuf.message import DecodeError

Message = Any
"""A protobuf message of libpg_query's tree."""


def parse(text: str) -> Message:
    """Return the tree of a text. Raises: ValueError where it cannot be had."""
    try:
        return postgast.parse(text)
    except (postgast.PgQueryError, DecodeError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from error


def deparse(tree: Message) -> str:
    """Return a tree's text. Raises: ValueError where it cannot be written down."""
    try:
        written: str = postgast.deparse(tree)
    except (postgast.PgQueryError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return written


def messages(message: Message) -> Iterator[Message]:
    """Yield a message and all below it, without recursion."""
    pending = [message]
    while pending:
        current = pending.pop()
        yield current
        for field, value in current.ListFields():
            if field.message_type is not None:
                pending.extend(value if field.is_repeated else (value,))


_PLACES: Final = (
    "location", "stmt_location", "stmt_len", "list_start", "list_end", "rexpr_list_start",
    "rexpr_list_end",
)  # fmt: skip


def forget_places(tree: Message) -> list[tuple[str, str]]:
    """Forget where in its text each node stood. Return the relations that it names."""
    named: list[tuple[str, str]] = []
    for message in messages(tree):
        kind = message.DESCRIPTOR.name
        for name in _places(kind, message.DESCRIPTOR):
            message.ClearField(name)
        if kind == "RangeVar":
            named.append((message.schemaname, message.relname))
    return named


_places_of: dict[str, tuple[str, ...]] = {}


def _places(kind: str, descriptor: Message) -> tuple[str, ...]:
    known = _places_of.get(kind)
    if known is None:
        fields = descriptor.fields_by_name
        known = _places_of[kind] = tuple(name for name in _PLACES if name in fields)
    return known
