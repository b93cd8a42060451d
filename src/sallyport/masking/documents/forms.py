"""Forms: `application/x-www-form-urlencoded`, pair by pair."""

from __future__ import annotations

from typing import Final, final
from urllib.parse import quote_plus

from sallyport.core.errors import MaskingFailed
from sallyport.masking.documents.notation import Notated, unplussed

LONGEST: Final = 1 << 20
"""Bytes of one pair."""


@final
class FormBody:
    """Names and values are searched as they are meant, and written anew where something is found.

    FAILS CLOSED: a pair longer than `LONGEST` is a MaskingFailed.
    """

    def __init__(self, notated: Notated) -> None:
        self._notated = notated
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now that `data` has come. Raises: MaskingFailed."""
        end = data.rfind(b"&") + 1
        out = b""
        if end:
            whole = b"".join((*self._held, data[:end]))
            self._held.clear()
            self._size = 0
            out = b"&".join(self._pair(pair) for pair in whole.split(b"&"))
        rest = data[end:]
        if rest:
            self._held.append(rest)
            self._size += len(rest)
        if self._size > LONGEST:
            raise _too_long()
        return out

    def finish(self) -> bytes:
        """Return the rest: the body has ended. Raises: MaskingFailed."""
        rest = b"".join(self._held)
        self._held.clear()
        return self._pair(rest)

    def _pair(self, pair: bytes) -> bytes:
        if len(pair) > LONGEST:
            raise _too_long()
        try:
            name, equals, value = pair.partition(b"=")
            plain = unplussed(name)
            return self._part(name, b"") + equals + self._part(value, plain[-64:])
        except Exception as error:
            raise MaskingFailed(f"a form cannot be masked ({type(error).__name__})") from None

    def _part(self, part: bytes, name: bytes) -> bytes:
        if not part:
            return part
        text = unplussed(part)
        masked = self._notated.mask(text, name)
        return part if masked is text else quote_plus(masked).encode("ascii")


def _too_long() -> MaskingFailed:
    return MaskingFailed(f"a form has a value of more than {LONGEST} bytes")
