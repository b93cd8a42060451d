"""The written form of a token's secret: `sp_` id `_` 32 random bytes and a checksum, in base 62.

The prefix lets scanners find a secret where it should not be; the checksum tells a typing error
before anything is asked. Neither proves anything: only the store's hash does.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Final

PREFIX: Final = "sp_"
ID_LENGTH: Final = 16
BODY_LENGTH: Final = 43
CHECKSUM_LENGTH: Final = 6
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM: Final = re.compile(rf"sp_([0-9a-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{49}})", re.ASCII)
_LONGEST: Final = len(PREFIX) + ID_LENGTH + 1 + BODY_LENGTH + CHECKSUM_LENGTH


def new_secret() -> tuple[str, str]:
    """Return a fresh token id and its secret (256 random bits)."""
    identifier = "".join(secrets.choice(_ALPHABET[:10] + _ALPHABET[36:]) for _ in range(ID_LENGTH))
    body = _base62(int.from_bytes(secrets.token_bytes(32), "big"), BODY_LENGTH)
    return identifier, f"{PREFIX}{identifier}_{body}{_checksum(identifier, body)}"


def parse_secret(secret: str) -> str | None:
    """Return the token id in `secret`, or None when its form or its checksum is wrong."""
    if len(secret) != _LONGEST:
        return None
    match = _FORM.fullmatch(secret)
    if match is None:
        return None
    identifier, rest = match[1], match[2]
    body, checksum = rest[:BODY_LENGTH], rest[BODY_LENGTH:]
    return identifier if checksum == _checksum(identifier, body) else None


def digest_secret(secret: str) -> bytes:
    """Return what is stored of a secret. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _checksum(identifier: str, body: str) -> str:
    return _base62(zlib.crc32(f"{identifier}_{body}".encode()), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
