"""Tokens of JSON (RFC 8259), as they stand in bytes, whole or cut off."""

from __future__ import annotations

import json
import re
from functools import lru_cache
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


_CLEAR: Final = rb'"(?!:)[^"\\%&\x00-\x1f]*+"'
"""A string that is searched as it stands. It begins with no colon: `":` ends keys alone."""
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]{0,39}+)(?:\.[0-9]{1,40}+)?+"
_KEY: Final = rb'"(?!:)[^"\\%&\x00-\x1f]{0,64}+"'
_NO_NAME: Final = re.compile(r'["\\\x00-\x1f]')
_NESTED: Final = 3
"""How deep objects nest that are read at once."""


def _scalar_of(searched: bool) -> bytes:
    return (_CLEAR if searched else _STRING) + rb"|" + _NUMBER + rb"|true|false|null"


def _member_of(key: bytes, value: bytes, searched: bool) -> bytes:
    colon = rb":[ ]?+" if searched else _BLANK + rb":" + _BLANK
    return _BLANK + key + colon + rb"(?:" + value + rb")" + _BLANK


def _object_of(depth: int, searched: bool) -> bytes:
    member = _member_of(_KEY, _value_of(depth - 1, searched), searched)
    return rb"\{(?:" + member + rb"(?:," + member + rb")*+|" + _BLANK + rb")\}"


def _value_of(depth: int, searched: bool) -> bytes:
    value = _scalar_of(searched)
    if not depth:
        return value
    empty = rb"|\[" + _BLANK + rb"\]"
    if searched:
        # A key counts for each element of an array, though it stands before the first alone.
        return value + empty + rb"|" + _object_of(depth, searched)
    inner = _BLANK + rb"(?:" + _value_of(depth - 1, searched) + rb")" + _BLANK
    array = rb"|\[" + inner + rb"(?:," + inner + rb")*+\]"
    return value + empty + array + rb"|" + _object_of(depth, searched)


@lru_cache(maxsize=256)
def run_of(names: frozenset[str], flat: bool, searched: bool) -> re.Pattern[bytes]:
    """Return what matches members of an object in a row, and the object's end where it is there.

    None of them is called like one of `names`. `flat`: only scalars. `searched`: what matches can
    be searched as it stands, for it has no escapes, one blank at most behind a colon, and no arrays
    but empty ones.
    """
    key = _KEY
    written = [re.escape(name.encode()) for name in sorted(names) if not _NO_NAME.search(name)]
    if written:
        key = rb'(?!"(?:' + b"|".join(written) + rb')")' + key
    member = _member_of(key, _value_of(0 if flat else _NESTED, searched), searched)
    return re.compile(rb"(?:" + member + rb",)*+(?:" + member + rb"(\}))?+")


@lru_cache(maxsize=2)
def record_of(searched: bool) -> re.Pattern[bytes]:
    """Return what matches an object in an array, and what ends the element."""
    return re.compile(_BLANK + _object_of(_NESTED, searched) + _BLANK + rb"([,\]])")


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
