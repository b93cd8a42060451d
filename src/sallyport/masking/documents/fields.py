"""Fields: masks in the header of a response."""

from __future__ import annotations

from typing import Final

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.masking.documents.names import FRAMING, SAFE
from sallyport.masking.documents.notation import Notated
from sallyport.masking.documents.terms import Terms, terms_of
from sallyport.masking.documents.values import clean, cookie_value, field_value

Fields = list[tuple[bytes, bytes]]

_ADDRESSES: Final = frozenset(("location", "content-location", "link", "refresh", "sourcemap"))
"""Fields with addresses in them: what stands for a match has to be a part of one."""


def masks_fields(masks: tuple[Mask, ...]) -> bool:
    """Whether any of `masks` has a say in header fields."""
    return any(mask.detectors or mask.headers or mask.cookies for mask in masks)


def mask_fields(masks: tuple[Mask, ...], fields: Fields, key: bytes) -> Fields:
    """Return a response's fields as they may leave; their names are in lower case.

    Fields that say how the body is to be read stay as they are. A value that is masked is visible
    ASCII. FAILS CLOSED. Raises: MaskingFailed.
    """
    if not masks_fields(masks):
        return fields
    terms = terms_of(masks, key)
    searcher, addresses = terms.notated(), terms.notated(word=True, plus=True)
    try:
        return [
            (name, _value(terms, name.decode("latin-1"), value, searcher, addresses))
            for name, value in fields
        ]
    except Exception as error:
        raise MaskingFailed(f"a field cannot be masked ({type(error).__name__})") from None


def _value(
    terms: Terms, name: str, value: bytes, searcher: Notated | None, addresses: Notated | None
) -> bytes:
    if name in FRAMING:
        return value
    if name == "set-cookie":
        masked = _cookie(terms, value)
        if masked is not None:
            return masked
    setting = terms.header(name) if name != "set-cookie" else None
    if setting is not None:
        return field_value(setting, value, terms.key)
    if searcher is None or addresses is None or name in SAFE:
        return value
    by = addresses if name in _ADDRESSES else searcher
    masked = by.mask(value, name.encode())
    return value if masked is value else clean(masked)


def _cookie(terms: Terms, value: bytes) -> bytes | None:
    """Return a Set-Cookie with its cookie's value masked; None: no mask names that cookie."""
    pair, mark, attributes = value.partition(b";")
    name, equals, given = pair.partition(b"=")
    if not equals or not terms.names_cookies:
        return None
    setting = terms.cookie(name.strip(b" \t").decode("latin-1"))
    if setting is None:
        return None
    return name + equals + cookie_value(setting, given.strip(b" \t"), terms.key) + mark + attributes
