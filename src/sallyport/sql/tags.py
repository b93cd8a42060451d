"""Tags: what the comments of columns say that they hold.

`COMMENT ON COLUMN customers.born IS 'pii.birth-date'`: a word of `pii`, `pci`, `phi` or `gdpr`, by
itself or with a kind behind a dot, `secret`, or `sensitive`, anywhere in the comment's first 4,000
characters. Any other tag stands behind `sallyport:`, several with commas or semicolons between
them, on as many lines as that takes. Case does
not count.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from sallyport.core.globs import glob_of
from sallyport.core.operation import Tags

_WORD: Final = re.compile(
    r"(?<![\w.-])(?:(?:pii|pci|phi|gdpr)(?:\.[a-z][a-z0-9_-]*)?|secret|sensitive)(?![\w-])",
    re.IGNORECASE | re.ASCII,
)
_TAG: Final = r"[a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)*"
_LISTED: Final = re.compile(
    rf"(?<!\w)sallyport\s*:[\s,;]*({_TAG}(?:\s*[,;][\s,;]*{_TAG})*)", re.IGNORECASE | re.ASCII
)
_READ: Final = 4000
"""Characters of a comment in which a tag may begin. More are read: its end may lie behind."""


def tags_in(comment: str) -> tuple[str, ...]:
    """Return the tags of one comment, in lower case, each once."""
    found = [match[0] for match in _WORD.finditer(comment) if match.start() < _READ]
    for listed in _LISTED.finditer(comment):
        if listed.start() < _READ:
            found += re.split(r"[\s,;]+", listed[1])
    return tuple(dict.fromkeys(tag.lower() for tag in found))


def tags_of(comments: Iterable[tuple[tuple[str, str, str], str]]) -> Tags:
    """Return by tag the columns that have it, of (schema, table, column) and comment."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for names, comment in comments:
        for tag in tags_in(comment):
            found[tag].append(glob_of(*names))
    return tuple((tag, tuple(sorted(globs))) for tag, globs in sorted(found.items()))
