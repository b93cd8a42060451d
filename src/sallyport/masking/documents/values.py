"""Values: what stands for a scalar of a JSON document, or for a field's value, that is named.

The transforms are those of columns. Where one has no sense it becomes redact: generalise, partial
and hash of `true` and `false` (two values: any end, any digest tells which), and partial of what
is too short. NULL stays NULL.
"""

from __future__ import annotations

import json
import re
from typing import Final

from sallyport.masking.settings import Setting
from sallyport.masking.transforms import hash_text, partial_text

REDACTED: Final = b"[redacted]"
_HIDDEN: Final = b"***"
_NO_COOKIE: Final = re.compile(r"[^\x21\x23-\x2B\x2D-\x3A\x3C-\x5B\x5D-\x7E]")


def replaced(setting: Setting, text: bytes, key: bytes) -> bytes | None:
    """Return what stands for the whole of a text in UTF-8; None: nothing does.

    Raises: ValueError for a hash without a key.
    """
    if setting.transform == "null":
        return None
    if setting.transform == "constant":
        return (setting.value or "").encode("utf-8", "replace")
    if setting.transform == "hash":
        return hash_text(text, key)
    if setting.transform != "partial":
        return REDACTED
    if setting.keep_start is None and setting.keep_end is None:
        return partial_text(text.decode("utf-8", "replace").encode())
    return _ends(text.decode("utf-8", "replace"), setting.keep_start or 0, setting.keep_end or 0)


def _ends(text: str, start: int, end: int) -> bytes:
    """Keep these ends of a text that is at least twice as long."""
    if len(text) < 2 * (start + end):
        return _HIDDEN
    return (text[:start] + "***" + (text[-end:] if end else "")).encode()


def scalar(setting: Setting, token: bytes, text: bytes, key: bytes) -> bytes:
    """Return the JSON that stands for a scalar: `token` as it was written, `text` what it says.

    Raises: ValueError for a hash without a key.
    """
    if token == b"null":
        return token
    if token in (b"true", b"false") and setting.transform in ("partial", "hash"):
        return quoted(REDACTED)
    new = replaced(setting, text, key)
    return b"null" if new is None else quoted(new)


def quoted(text: bytes) -> bytes:
    """Return a text in UTF-8 as a JSON string, in ASCII."""
    return json.dumps(text.decode("utf-8", "surrogatepass")).encode("ascii")


def field_value(setting: Setting, value: bytes, key: bytes) -> bytes:
    """Return what stands for a field's value: visible ASCII. Raises: ValueError, as `replaced`."""
    new = replaced(setting, value.decode("latin-1").encode(), key) or b""
    return clean(new)


def cookie_value(setting: Setting, value: bytes, key: bytes) -> bytes:
    """Return what stands for a cookie's value, of characters that one may have."""
    if value[:1] == b'"' and value[-1:] == b'"':
        value = value[1:-1]
    text = field_value(setting, value, key).decode("ascii")
    return _NO_COOKIE.sub("-", text).encode("ascii")


def clean(value: bytes) -> bytes:
    """Return a text in UTF-8 as it may stand in a field: `?` for what is no printable ASCII."""
    text = value.decode("utf-8", "replace")
    return "".join(char if " " <= char <= "~" else "?" for char in text).strip().encode("ascii")
