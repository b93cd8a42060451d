"""Codings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Decoder(Protocol):
    """Decodes a body that arrives in pieces."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what it holds, in bounded pieces."""

    def finish(self) -> None:
        """It is whole."""


def decoders(coding: str) -> Decoder | None:
    """Return what decodes a body; None: that is not known."""
    return None
