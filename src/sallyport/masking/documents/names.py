"""Names: the header fields and cookies that a mask may name, and those that it may not."""

from __future__ import annotations

import re
from typing import Final

from sallyport.core.globs import Globs

MOST_NAMES: Final = 64
"""Names or paths of one kind in one mask."""

FRAMING: Final = frozenset(
    "content-length transfer-encoding content-encoding content-type connection keep-alive trailer"
    " upgrade te".split()
)
"""Fields that say how a body is to be read: without them there is no response. Never masked."""
SAFE: Final = FRAMING | frozenset(
    "date last-modified expires age etag cache-control vary accept-ranges content-range allow"
    " retry-after".split()
)
"""Fields that detectors leave alone: moments, counts and validators."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z?{},\\-]+", re.ASCII)
"""The characters of a field's or cookie's name (RFC 9110, section 5.6.2), and those of globs."""


def problem_of_header(name: str) -> str | None:
    """Return what is wrong with a glob over field names that is one; None: nothing."""
    if name.lower() in FRAMING:
        return f"`{name}` says how a body is to be read: it cannot be masked"
    if name.lower() == "set-cookie":
        return "expected `cookies` with their names, not the field `set-cookie`"
    return _problem(name, "header")


def problem_of_cookie(name: str) -> str | None:
    """Return what is wrong with a glob over names of cookies that is one; None: nothing."""
    return _problem(name, "cookie")


def _problem(name: str, what: str) -> str | None:
    if _TOKEN.fullmatch(name) is None:
        return f"expected the name of a {what}, or a glob, not `{name}`"
    return None


def fields_named(patterns: tuple[str, ...]) -> Globs:
    """Return the globs of `patterns` over field names, which are in lower case.

    Raises: ValueError.
    """
    return Globs(pattern.lower() for pattern in patterns)
