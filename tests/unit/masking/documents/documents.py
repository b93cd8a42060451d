"""What the tests of documents share: masks, any cut of a body, what a reader would make of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from sallyport.core.decision import Mask
from sallyport.masking.documents.bodies import BodyMasker, body_masker

KEY = b"0123456789abcdef0123456789abcdef"
EMAIL = "ada@example.com"
CARD = "4111111111111111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def content(*detectors: str, transform: str = "redact") -> Mask:
    return Mask("content", transform, detectors=detectors or ("email", "card", "jwt", "phone"))


def paths(*texts: str, transform: str = "redact", **terms: Any) -> Mask:
    return Mask("paths", transform, json=texts, **terms)


def masker(masks: Sequence[Mask], media_type: str, charset: str = "") -> BodyMasker:
    made = body_masker(tuple(masks), media_type, charset, KEY)
    assert made is not None
    return made


def run(
    masks: Sequence[Mask], data: bytes, media_type: str = "application/json", cuts: Iterable[int] = (),
    charset: str = "",
) -> bytes:  # fmt: skip
    """Return what leaves of a body that comes cut at these places."""
    made = masker(masks, media_type, charset)
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(places)]
    return b"".join(made.feed(piece) for piece in pieces) + made.finish()


def by_steps(
    masks: Sequence[Mask], data: bytes, media_type: str = "application/json", charset: str = ""
) -> bytes:
    """Return what leaves; it has to be the same for every cut into pieces of one size, and two."""
    whole = run(masks, data, media_type, charset=charset)
    for step in (1, 2, 3, 7):
        assert run(masks, data, media_type, range(step, len(data), step), charset) == whole
    for cut in range(len(data)):
        assert run(masks, data, media_type, [cut], charset) == whole
    return whole


def leaves(value: object) -> list[object]:
    """Return all keys and scalars of a document."""
    if isinstance(value, dict):
        return [*value, *(leaf for one in value.values() for leaf in leaves(one))]
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one)]
    return [value]


def parsed(data: bytes) -> Any:
    return json.loads(data)
