"""Content: a response's body on its way: decoded, masked, and without the target's credential."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

from sallyport.core.errors import MaskingFailed, TargetUnavailable
from sallyport.masking.documents.bodies import BodyMasker
from sallyport.protocols.http.codings import decoders
from sallyport.protocols.http.withheld import Withholding

SLICE: Final = 4 * 1024
"""Bytes that are masked at once: others may go on between two of them."""


@final
class Content:
    """One body. `coding` is what the target encoded it with; `forms` are the credential's.

    What is masked leaves decoded; what is not leaves as it came. FAILS CLOSED: an encoded body is
    decoded beside, and is cut off where the credential stands in it.
    """

    def __init__(self, masker: BodyMasker | None, coding: str, forms: tuple[bytes, ...]) -> None:
        encoded = coding not in ("", "identity")
        self._masker = masker
        self._decoder = decoders(coding) if encoded and (masker is not None or forms) else None
        if masker is not None and encoded and self._decoder is None:
            raise MaskingFailed("the body's coding is not known")
        self._aside = self._decoder if masker is None else None
        self._withholding = Withholding(forms)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what may leave by now. Raises: MaskingFailed, TargetUnavailable."""
        if self._aside is not None:
            for _ in self._look(self._aside.feed(data)):
                yield b""
            yield data
        elif self._masker is None:
            yield self._withholding.feed(data)
        else:
            for piece in self._decoder.feed(data) if self._decoder is not None else (data,):
                for start in range(0, len(piece), SLICE):
                    masked = self._masker.feed(piece[start : start + SLICE])
                    yield self._withholding.feed(masked)

    def finish(self) -> bytes:
        """Return the rest. Raises: MaskingFailed."""
        if self._aside is not None:
            return b""
        rest = b""
        if self._masker is not None:
            if self._decoder is not None:
                self._decoder.finish()
            rest = self._withholding.feed(self._masker.finish())
        return rest + self._withholding.finish()

    def _look(self, pieces: Iterator[bytes]) -> Iterator[None]:
        """Look through what is decoded beside; a body that cannot be is the client's to judge."""
        try:
            for piece in pieces:
                self._withholding.feed(piece)
                yield
        except MaskingFailed:
            self._aside = None
        if self._withholding.found:
            raise TargetUnavailable("", "its response shows the credential that it was asked with")
