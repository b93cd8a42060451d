"""Visible: recorded text so that no byte of it acts on a terminal or misleads a reader.

Control characters become their pictures; what has no width, turns the direction of writing, or is
not assigned becomes its number.
"""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
"""Letters and marks that show nothing."""


def visible(text: str, *, lines: bool = False) -> str:
    """Return `text` with everything shown. `lines`: leave newlines and tabs as they are."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character, lines) for character in text)


def _shown(character: str, lines: bool) -> str:
    code = ord(character)
    if lines and character in "\n\t":
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if 0x20 <= code < 0x7F:
        return character
    if unicodedata.category(character) in _HIDDEN or character in _BLANK or _selector(code):
        return f"<U+{code:04X}>"
    return character


def _selector(code: int) -> bool:
    """Variation selectors: they change how the character before them looks, or hide data."""
    return 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or 0x180B <= code <= 0x180F
