"""Pages: lists in parts, with an opaque cursor.

A cursor says where the next page begins and nothing else: the filter is that of the request, so a
cursor that somebody made up shows nothing that they could not ask for.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from sallyport.web.problems import Problem

MAXIMUM_PAGE = 500
"""Items of the largest page."""

MAXIMUM_OFFSET = 1_000_000

Limit = Annotated[int, Query(ge=1, le=MAXIMUM_PAGE, description="items of one page")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next` of the page before; absent: the first")
]
Moment = Annotated[
    float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="epoch seconds")
]
T = TypeVar("T")
_IDENTIFIER = re.compile(r"[A-Za-z0-9-]{1,64}")


def encode_cursor(place: int | str) -> str:
    """Return the cursor of the page that begins at offset `place`, or after the id `place`."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int:
    """Return the offset where the page begins. Raises: Problem (400)."""
    if cursor is None:
        return 0
    offset = _decode(cursor)
    if type(offset) is not int or not 0 <= offset <= MAXIMUM_OFFSET:
        raise _not_ours()
    return offset


def decode_place(cursor: str | None) -> str | None:
    """Return the id after which the page begins. Raises: Problem (400)."""
    if cursor is None:
        return None
    place = _decode(cursor)
    if not isinstance(place, str) or _IDENTIFIER.fullmatch(place) is None:
        raise _not_ours()
    return place


def cut(items: Sequence[T], limit: int, offset: int) -> tuple[Sequence[T], str | None]:
    """Return a page out of `items`, of which one more than `limit` was asked from `offset` on."""
    more = len(items) > limit
    return items[:limit], encode_cursor(offset + limit) if more else None


def _decode(cursor: str) -> object:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        value: object = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        raise _not_ours() from None
    return value


def _not_ours() -> Problem:
    return Problem(400, "the cursor is not one that this API gave", hint="begin without one")
