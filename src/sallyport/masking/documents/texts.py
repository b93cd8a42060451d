"""Texts: bodies without a structure that counts here, and those whose bytes are not UTF-8."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol, final

from sallyport.core.errors import MaskingFailed
from sallyport.masking.documents.notation import Notated
from sallyport.masking.stream import StreamMasker

_SNIFFED: Final = 16 << 10
"""Bytes by which it is told whether a text is JSON."""
_JSON: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?[ \t\r\n]*(?:\{[ \t\r\n]*[\"}]|\[[ \t\r\n]*[\[{\"\]])"
)
_MAYBE_JSON: Final = re.compile(rb"(?:\xef(?:\xbb\xbf?)?)?[ \t\r\n]*(?:[\[{][ \t\r\n]*)?")
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")


class BodyMasker(Protocol):
    """Hides what must not be seen in one body, piece by piece."""

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now that `data` has come. Raises: MaskingFailed."""

    def finish(self) -> bytes:
        """Return the rest: the body has ended. Raises: MaskingFailed."""


@final
class TextBody:
    """Text, line by line. `notated` is None where nothing is looked for in texts.

    FAILS CLOSED: a text of two or four bytes a character, which detectors could not read, ends, and
    so does one with a NUL anywhere: that is how most of those show themselves.
    """

    def __init__(self, notated: Notated | None) -> None:
        self._stream = None if notated is None else StreamMasker(notated)
        self._head = b""

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now that `data` has come. Raises: MaskingFailed."""
        if self._stream is None:
            return data
        if len(self._head) < 4:
            self._head = (self._head + data)[:4]
            if self._head[:2] in _WIDE:
                raise _wide()
        if b"\0" in data:
            raise _wide()
        return self._stream.feed(data)

    def finish(self) -> bytes:
        """Return the rest: the body has ended. Raises: MaskingFailed."""
        return b"" if self._stream is None else self._stream.finish()


def _wide() -> MaskingFailed:
    return MaskingFailed("a text is written in more than one byte a character")


@final
class Sniffed:
    """A text that is JSON by another name, where its first characters say so, else a text."""

    def __init__(self, text: BodyMasker, json: Callable[[], BodyMasker]) -> None:
        self._text = text
        self._json = json
        self._held = b""
        self._chosen: BodyMasker | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now that `data` has come. Raises: MaskingFailed."""
        if self._chosen is not None:
            return self._chosen.feed(data)
        self._held += data
        return b"" if len(self._held) < _SNIFFED and self._undecided() else self._choose()

    def _undecided(self) -> bool:
        return _MAYBE_JSON.fullmatch(self._held[:_SNIFFED]) is not None

    def _choose(self) -> bytes:
        """FAILS CLOSED: what cannot be told, for blanks without an end, has to be JSON."""
        data = self._held
        full = len(data) >= _SNIFFED and self._undecided()
        self._held = b""
        is_json = full or _JSON.match(data[:_SNIFFED]) is not None
        self._chosen = self._json() if is_json else self._text
        return self._chosen.feed(data)

    def finish(self) -> bytes:
        """Return the rest: the body has ended. Raises: MaskingFailed."""
        out = self._choose() if self._chosen is None else b""
        return out if self._chosen is None else out + self._chosen.finish()


@final
class Recoded:
    """A body in windows-1252 (or ISO 8859-1, which browsers read as that), looked at as UTF-8.

    The five bytes that mean nothing there stand for themselves.
    """

    def __init__(self, inner: BodyMasker) -> None:
        self._inner = inner
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now that `data` has come. Raises: MaskingFailed."""
        return self._back(self._inner.feed(_to_utf8(data)), last=False)

    def finish(self) -> bytes:
        """Return the rest: the body has ended. Raises: MaskingFailed."""
        return self._back(self._inner.finish(), last=True)

    def _back(self, data: bytes, *, last: bool) -> bytes:
        data = self._rest + data
        self._rest = b""
        if not last:
            # A character may be cut: its first bytes wait.
            size = len(data)
            while size and len(data) - size < 2 and data[size - 1] & 0xC0 == 0x80:
                size -= 1
            if size and data[size - 1] >= 0xC0:
                start = size - 1
                width = 2 if data[start] < 0xE0 else 3
                if len(data) - start < width:
                    data, self._rest = data[:start], data[start:]
        return data.decode("utf-8").translate(_FROM_WESTERN).encode("latin-1", "replace")


_WESTERN: Final = {byte: bytes((byte,)).decode("cp1252", "replace") for byte in range(128, 160)}
_TO_WESTERN: Final = {byte: char for byte, char in _WESTERN.items() if char != "\ufffd"}
_FROM_WESTERN: Final = {ord(char): byte for byte, char in _TO_WESTERN.items()}


def _to_utf8(data: bytes) -> bytes:
    if data.isascii():
        return data
    return data.decode("latin-1").translate(_TO_WESTERN).encode()
