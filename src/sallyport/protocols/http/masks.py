"""Masks: what an allowed request's masks make of its response."""

from __future__ import annotations

from typing import Final, final

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.masking.documents.bodies import BodyMasker, body_masker, searches
from sallyport.masking.documents.fields import mask_fields, masks_fields
from sallyport.protocols.http.fields import media_type
from sallyport.protocols.http.message import Fields

_PARTIAL: Final = 206


@final
class Masks:
    """The masks of one response. `key` makes the hashes."""

    __slots__ = ("_fields", "_key", "_masks", "any", "bodies")

    def __init__(self, masks: tuple[Mask, ...], key: bytes) -> None:
        self._masks = masks
        self._key = key
        self.any = bool(masks)
        """Whether anything has to be hidden."""
        self.bodies = searches(masks)
        """Whether a body has to be looked into."""
        self._fields = masks_fields(masks)

    def body(self, status: int, fields: Fields) -> BodyMasker | None:
        """Return what masks a body; None: it cannot be looked into.

        Of a part of a body (206) nobody knows where in a value it begins. Raises: MaskingFailed.
        """
        if status == _PARTIAL:
            return None
        kind, charset = media_type(fields)
        return body_masker(self._masks, kind, charset, self._key)

    def message(self, data: bytes) -> bytes:
        """Return a whole text, such as a WebSocket's message, as it may leave: JSON where it is
        some, else plain. Raises: MaskingFailed."""
        for kind in ("application/json", "text/plain"):
            masker = body_masker(self._masks, kind, "utf-8", self._key)
            if masker is None:
                continue
            try:
                return masker.feed(data) + masker.finish()
            except MaskingFailed:
                if kind == "text/plain":
                    raise
        raise MaskingFailed("a message cannot be looked into")

    def fields(self, fields: Fields) -> Fields:
        """Return fields as they may leave; the same object without masks. Raises: MaskingFailed."""
        return mask_fields(self._masks, fields, self._key) if self._fields else fields
