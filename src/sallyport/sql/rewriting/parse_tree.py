"""The server's own parse tree (protobuf), which alone can be written down as text again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
