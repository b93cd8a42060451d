"""Tokens of JSON (RFC 8259), as they stand in bytes, whole or cut off."""

from __future__ import annotations

import json
import re
from typing import Final

from sallyport.core.errors import MaskingFailed

LONGEST: Final = 1 << 20
"""Bytes of one string, as it is written."""
LONGEST_NUMBER: Final = 4096

_BLANK: Final = rb"[ \t\r\n]*+"
_STRING: Final = rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_PLAIN: Final = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|true|false|null"
_SCALAR: Final = rb"(?:(" + _STRING + rb")|(" + _PLAIN + rb")|([{\[]))"

MEMBER: Final = re.compile(
    _BLANK + rb"(" + _STRING + rb")" + _BLANK + rb":" + _BLANK + _SCALAR + _BLANK + rb"([,}])?+"
)
"""A key, its value (a string, any other scalar, or what opens), and what ends it."""
ELEMENT: Final = re.compile(_BLANK + _SCALAR + _BLANK + rb"([,\]])?+")
VALUE: Final = re.compile(_SCALAR)
STRING: Final = re.compile(_STRING)
BLANK: Final = re.compile(rb"[ \t\r\n]*+")
BETWEEN: Final = re.compile(rb"[ \t\r\n\x1e]*+")
"""What stands between documents of a sequence (RFC 7464)."""
ENDS: Final = frozenset(bytes((byte,)) for byte in b" \t\r\n\x1e,]}") | {b""}
"""What may follow a number or a word."""
REST: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
"""What follows in a string, up to its end or a backslash that nothing follows yet."""

_UNFINISHED: Final = re.compile(rb"-?[0-9]*+(?:\.[0-9]*+)?+(?:[eE][+-]?[0-9]*+)?+")
_WORDS: Final = (b"true", b"false", b"null")


def may_go_on(tail: bytes) -> bool:
    """Whether a number or a word may still come of what the bytes so far end with."""
    if any(word.startswith(tail) for word in _WORDS):
        return True
    return len(tail) <= LONGEST_NUMBER and _UNFINISHED.fullmatch(tail) is not None


def text_of(token: bytes) -> bytes:
    """Return what a string says, in UTF-8; a lone surrogate as the three bytes it would have."""
    if b"\\" not in token:
        return token[1:-1]
    text: str = json.loads(token.decode("utf-8", "surrogateescape"))
    return text.encode("utf-8", "surrogatepass")


def malformed(what: str) -> MaskingFailed:
    """Return the error of a document that cannot be read; it holds nothing of it."""
    return MaskingFailed(f"a JSON body {what}")
