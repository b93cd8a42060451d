"""Sealed text: statements in the store, encrypted where recordings are.

A column stays a text: `a mark + base64(nonce + AES-256-GCM)`. What was written before
encryption was switched on has no mark, and is read as it is.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MARK = "\x01sealed:"
RAW_MARK = b"\xffsealed:"
"""The same of bytes, which begin with another one."""
NONCE = 12
UNREADABLE = "(encrypted under another key)"
"""Stands where a text cannot be opened; FAILS CLOSED: never the stored bytes."""


class SealedText:
    """Seals and opens the texts of one kind of column. `key` None: nothing is sealed."""

    def __init__(self, key: bytes | None, column: str) -> None:
        self._label = column.encode()
        self._gcm: AESGCM | None = None
        if key is not None:
            self._gcm = AESGCM(HKDF(hashes.SHA256(), 32, None, b"sallyport store text").derive(key))

    @property
    def seals(self) -> bool:
        """Whether what is written is encrypted."""
        return self._gcm is not None

    def seal(self, text: str) -> str:
        """Return `text` as it is to be stored."""
        if self._gcm is None:
            return text
        nonce = os.urandom(NONCE)
        body = self._gcm.encrypt(nonce, text.encode("utf-8", "surrogatepass"), self._label)
        return MARK + b64encode(nonce + body).decode()

    def seal_bytes(self, plain: bytes) -> bytes:
        """Return `plain` as it is to be stored in a column of bytes."""
        if self._gcm is None:
            return plain
        nonce = os.urandom(NONCE)
        return RAW_MARK + nonce + self._gcm.encrypt(nonce, plain, self._label)

    def open_bytes(self, stored: bytes) -> bytes | None:
        """Return what was sealed; None where it cannot be opened: FAILS CLOSED."""
        if not stored.startswith(RAW_MARK):
            return stored
        if self._gcm is None:
            return None
        raw = stored[len(RAW_MARK) :]
        try:
            return self._gcm.decrypt(raw[:NONCE], raw[NONCE:], self._label)
        except (InvalidTag, ValueError):
            return None

    def open(self, stored: str) -> str:
        """Return what was sealed; a text without the mark as it is."""
        if not stored.startswith(MARK):
            return stored
        if self._gcm is None:
            return UNREADABLE
        try:
            raw = b64decode(stored[len(MARK) :], validate=True)
            plain = self._gcm.decrypt(raw[:NONCE], raw[NONCE:], self._label)
        except (Base64Error, InvalidTag, ValueError):
            return UNREADABLE
        return plain.decode("utf-8", "surrogatepass")
