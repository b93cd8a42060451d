"""Masks: what of a response has to be hidden, before it is looked into."""

from __future__ import annotations

from typing import Protocol, final

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.protocols.http.message import Fields


class BodyMasker(Protocol):
    """Hides in a body that arrives in pieces."""

    def feed(self, data: bytes) -> bytes:
        """Return what may leave by now."""

    def finish(self) -> bytes:
        """Return the rest."""


@final
class Masks:
    """The masks of one response."""

    def __init__(self, masks: tuple[Mask, ...], key: bytes) -> None:
        self._masks = masks
        self._key = key

    @property
    def bodies(self) -> bool:
        """Whether a body has to be looked into."""
        return bool(self._masks)

    def body(self, status: int, fields: Fields) -> BodyMasker | None:
        """Return what hides in this body; None: it cannot be looked into."""
        return None

    def message(self, data: bytes) -> bytes:
        """Return a WebSocket's text with what must be hidden hidden. Raises: MaskingFailed."""
        raise MaskingFailed("not yet")

    def fields(self, fields: Fields) -> Fields:
        """Return fields with what must be hidden hidden."""
        return fields
