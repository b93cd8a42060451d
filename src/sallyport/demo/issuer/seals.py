"""Seals: what a page's form brings back is what the page was made with, and of this issuer.

No other site can read a page of ours, so none has a seal to send; nothing is stored for a page that
was only looked at.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from sallyport.web.problems import Problem

GOOD_FOR: Final = 600.0
"""Seconds that a page may be looked at before its button counts no more."""


class _Sealed(msgspec.Struct, frozen=True):
    purpose: str
    until: float
    content: dict[str, str]


class Seals:
    """Seals of one run: the key is nowhere else. `clock` in epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock

    def seal(self, purpose: str, content: Mapping[str, str]) -> str:
        """Return `content` as a form's field."""
        sealed = _Sealed(purpose, self._clock() + GOOD_FOR, dict(content))
        body = msgspec.json.encode(sealed)
        return urlsafe_b64encode(self._mac(body) + body).decode("ascii")

    def open(self, purpose: str, field: str) -> dict[str, str]:
        """Return what was sealed for `purpose`. FAILS CLOSED. Raises: Problem (403)."""
        try:
            raw = urlsafe_b64decode(field.encode("ascii"))
            body = raw[32:]
            if not hmac.compare_digest(raw[:32], self._mac(body)):
                raise ValueError
            sealed = msgspec.json.decode(body, type=_Sealed)
        except ValueError:
            raise Problem(403, "this form is not one of this issuer's pages") from None
        if sealed.purpose != purpose or self._clock() > sealed.until:
            raise Problem(403, "this page is too old, or another's: begin again")
        return sealed.content

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)
