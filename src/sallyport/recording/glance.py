"""Glance: no more of an event than the index keeps, read by the thousand.

Every statement of every session comes by here, so many events are decoded in one call, as one
list, and what the index has no use for (rows, columns, facts, digests) is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from sallyport.core.event import (
    Audited,
    FindingsCounted,
    HoldOpened,
    HoldSettled,
    JournalEnded,
    JournalStarted,
    LoginRefused,
    SessionClosed,
    SessionOpened,
)
from sallyport.recording.encoding import stamp


class Decided(Struct, gc=False, tag="operation-decided"):
    """What the index keeps of an `OperationDecided`; `resources` and `rules` as they came."""

    session: str
    at: float
    operation: int
    verb: str
    effect: str
    resources: msgspec.Raw
    text: str
    decision: str
    rules: msgspec.Raw
    reason: str = ""
    approval: str = ""


class Ended(Struct, gc=False, tag="result-ended"):
    """What the index keeps of a `ResultEnded`."""

    session: str
    at: float
    operation: int
    tag: str
    rows: int
    bytes: int
    elapsed: float
    code: str = ""


class _Counted(Struct, gc=False):
    session: str
    at: float


class Described(_Counted, gc=False, tag="result-described"):
    """Only counted."""


class Rows(_Counted, gc=False, tag="result-rows"):
    """Only counted."""


class Released(_Counted, gc=False, tag="operation-released"):
    """Only counted."""


class Forwarded(_Counted, gc=False, tag="request-forwarded"):
    """Only counted: what of it is looked for stands in the decision's text."""


class Begun(_Counted, gc=False, tag="response-begun"):
    """Only counted, as rows are."""


class Notice(_Counted, gc=False, tag="noticed"):
    """Only counted."""


class Unread(Struct, gc=False):
    """An event of a kind that this version does not know, or (`problem`) that cannot be read."""

    session: str
    at: float
    problem: str


Product = Audited | LoginRefused | JournalStarted | JournalEnded
"""The product's own events: they are in no session's file, even if they name one."""

PRODUCT = frozenset({Audited, LoginRefused, JournalStarted, JournalEnded})
COUNTED = frozenset({Described, Rows, Released, Forwarded, Begun, Notice})

_Known = (
    Decided
    | Ended
    | Described
    | Rows
    | Released
    | Forwarded
    | Begun
    | Notice
    | SessionOpened
    | SessionClosed
    | FindingsCounted
    | HoldOpened
    | HoldSettled
    | Product
)
Glance = _Known | Unread

_many = msgspec.msgpack.Decoder(list[_Known])
_one = msgspec.msgpack.Decoder(_Known)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ARRAY = b"\xdd"
"""Before an array of msgpack stands this byte and the count of what follows, as u32."""


def is_product(events: Iterable[Glance]) -> bool:
    """Whether all of these are the product's own."""
    return all(type(event) in PRODUCT for event in events)


def glance_all(payloads: Sequence[bytes]) -> list[Glance] | None:
    """Read many encoded events at once; None if one of them is not as it should be."""
    try:
        found: list[Glance] = _many.decode(  # type: ignore[assignment]
            b"".join((_ARRAY, len(payloads).to_bytes(4, "big"), *payloads))
        )
    except _UNREADABLE:
        return None
    return found


def glance(payload: bytes) -> Glance:
    """Read one encoded event. Raises: FormatError where not even session and time can be read."""
    try:
        found: Glance = _one.decode(payload)
        return found
    except _UNREADABLE as error:
        known = stamp(payload)
        return Unread(known.session, known.at, "" if _is_new(error) else str(error))


def _is_new(error: Exception) -> bool:
    """Whether it is only the kind that is not known: readers pass over such events."""
    return isinstance(error, msgspec.ValidationError) and "Invalid value '" in str(error)
