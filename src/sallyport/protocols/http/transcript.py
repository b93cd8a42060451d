"""Transcript: recorded bodies, trailers and WebSocket messages as a person reads them.

A body is text where its type says so, or where it reads as text; anything else is told by size
and type. Of an encoded one gzip and deflate are undone, up to a limit.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from sallyport.core.coding import unpacked
from sallyport.protocols.http.records import BODY, MESSAGE, TRAILERS

LIMIT: Final = 1024 * 1024
"""Bytes of a body that was decoded that are shown."""

_TEXTUAL: Final = re.compile(
    r"text/.*|.*\+(?:json|xml|yaml)|application/(?:json|xml|yaml|javascript|graphql|sql|ndjson|"
    r"x-ndjson|x-yaml|x-javascript|x-www-form-urlencoded)"
)
_CHARSETS: Final = {"iso-8859-1": "latin-1", "latin1": "latin-1", "windows-1252": "cp1252"}
"""Charsets besides UTF-8, of which ASCII is a part."""
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def render_rows(
    encoding: str, data: bytes, formats: tuple[int, ...], types: tuple[str, ...]
) -> list[list[str | None]]:
    """Return recorded bytes as lines, each a row of one cell; a message is one row.

    `types` are a body's Content-Type and Content-Encoding, as far as they are known. A body that
    was cut off is read up to there. Raises: ValueError for an encoding that is not this protocol's.
    """
    if encoding == MESSAGE:
        return [[_shown(data, "", "")]]
    if encoding not in (BODY, TRAILERS):
        raise ValueError(f"encoding `{encoding}` is not known")
    if encoding == TRAILERS:
        types = ("text/plain; charset=iso-8859-1",)
    kind, coding, *_ = (*types, "", "")
    text = _shown(data, kind, coding.strip().lower())
    return [[line] for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n")]


def _shown(data: bytes, kind: str, coding: str) -> str:
    """Return a body as text, or how many bytes of which type it is."""
    essence, _, parameters = kind.partition(";")
    essence = essence.strip().lower()
    if coding not in ("", "identity"):
        plain = unpacked(data, coding, LIMIT)
    else:
        plain, coding = data, ""
    text = None if plain is None else _as_text(plain, essence, parameters)
    return _told(data, essence, coding) if text is None else text


def _as_text(data: bytes, essence: str, parameters: str) -> str | None:
    """Return a body as text; None: it is none."""
    textual = _TEXTUAL.fullmatch(essence) is not None
    found = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters, re.IGNORECASE)
    charset = _CHARSETS.get(found[1].lower(), "utf-8") if found else "utf-8"
    reader = codecs.getincrementaldecoder(charset)()
    try:
        text = reader.decode(data)
        text += reader.getstate()[0].decode(charset, "backslashreplace")  # it was cut off there
    except UnicodeDecodeError:
        return data.decode(charset, "backslashreplace") if textual else None
    return text if textual or _CONTROLS.search(text) is None else None


def _told(data: bytes, essence: str, coding: str) -> str:
    size = "1 byte" if len(data) == 1 else f"{len(data)} bytes"
    kind = f" of {essence}" if essence else ""
    return f"<{size}{kind}{', ' + coding if coding else ''}>"
