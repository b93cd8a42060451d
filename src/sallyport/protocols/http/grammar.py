"""Grammar: what a head may look like, and nothing else (RFC 9110 section 5, RFC 9112 sections 2-7).

An allow-list: what does not match as a whole is refused, never repaired. So bare LF and CR,
obs-fold, blanks before a colon, NUL and HTTP/0.9 have no way in, whatever the next parser makes of
them.
"""

from __future__ import annotations

import re
from typing import Final

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.http.message import Fields

HEAD_LIMIT: Final = 64 * 1024
"""Bytes of a head, and of trailers."""
FIELDS_LIMIT: Final = 256
"""Field lines of a head."""
TARGET_LIMIT: Final = 16 * 1024
"""Bytes of a request's target."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
REQUEST_LINE: Final = re.compile(
    rb"(" + _TOKEN + rb"{1,32}) ([\x21-\x7e]{1,%d}) HTTP/1\.([01])" % TARGET_LIMIT
)
STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_LINE: Final = rb"(" + _TOKEN + rb"{1,256}):([\t\x20-\x7e\x80-\xff]*)\r\n"
_LINES: Final = re.compile(_LINE)
NAME: Final = re.compile(_TOKEN + rb"{1,256}")
VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_QUOTED: Final = rb'"[\x20!\x23-\x5b\x5d-\x7e]*"'
CHUNK_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;" + _TOKEN + rb"+(?:=(?:" + _TOKEN + rb"+|" + _QUOTED + rb"))?)*"
)
"""A chunk's size, and extensions without blanks."""
AUTHORITY: Final = re.compile(
    rb"((?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,253}))|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?"
)
"""`host` or `host:port` (RFC 3986, section 3.2), no user, no percent-encoding."""
ORIGIN_FORM: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")
"""Path and query; `#` has no place in it."""


def is_authority(text: bytes) -> bool:
    """Whether `text` is `host` or `host:port`."""
    match = AUTHORITY.fullmatch(text)
    return match is not None and (match[2] is None or int(match[2]) <= 65_535)


def parse_fields(data: bytes, side: str) -> Fields:
    """Return the field lines of `data`, each ended by CRLF. Raises: ProtocolViolation."""
    found = _LINES.findall(data)
    if sum(len(name) + len(value) for name, value in found) + 3 * len(found) != len(data):
        raise ProtocolViolation(side, "a header line is malformed", "400")
    if len(found) > FIELDS_LIMIT:
        raise ProtocolViolation(side, f"more than {FIELDS_LIMIT} header lines", "431")
    return [(name.lower(), value.strip(b" \t")) for name, value in found]


def content_length(values: list[bytes], side: str) -> int | None:
    """Return what Content-Length says; None: nothing. FAILS CLOSED: two are one too many."""
    if not values:
        return None
    if len(values) > 1 or _DIGITS.fullmatch(values[0]) is None:
        raise ProtocolViolation(side, "Content-Length is not one number", "400")
    return int(values[0])
