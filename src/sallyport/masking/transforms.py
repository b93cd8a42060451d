"""Transforms: what is put in the place of what must not be seen.

`redact` puts a fixed word, `partial` keeps the ends, `hash` puts a keyed digest that is the same
wherever the same value stands, `null` leaves nothing. By definition partial shows shape and hash
shows equality; redact and null show neither. NULL stays NULL under all of them.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from functools import lru_cache

from sallyport.masking.finders import plain

_HEX = 32
"""Hex digits of a whole hashed text: 128 bits."""
_SPAN_HEX = 16
_NORMALIZED = frozenset({"card", "iban", "ssn", "bsn", "dni", "nir", "pesel", "nrn", "steuer-id"})


class Transform(enum.IntEnum):
    """The transforms of results, in order of strength."""

    PARTIAL = 1
    HASH = 2
    REDACT = 3
    NULL = 4


_NAMES = {transform.name.lower(): transform for transform in Transform}


def transform_of(name: str) -> Transform:
    """Return the transform called `name`. FAILS CLOSED. Raises: ValueError for any other."""
    found = _NAMES.get(name)
    if found is None:
        raise ValueError(f"no transform is called `{name}`")
    return found


def digest(key: bytes, domain: bytes, value: bytes) -> bytes:
    """Return HMAC-SHA-256 of `value`; `domain` keeps values of different kinds apart.

    Raises: ValueError without a key, since a digest without one can be guessed.
    """
    if len(key) < 16:
        raise ValueError("the hash transform needs a key of 16 bytes or more")
    return hmac.digest(key, domain + b"\x00" + value, "sha256")


@lru_cache(maxsize=64)
def source_key(key: bytes) -> str:
    """Return what makes the hashes where the database computes them: text that may stand in SQL.

    Raises: ValueError without a key, as `digest` does.
    """
    return digest(key, b"at the source", b"").hex()


def hash_text(data: bytes, key: bytes) -> bytes:
    """Return 32 hex digits that stand for `data` everywhere.

    INVARIANT: they are those that `sql.masks` has the database compute for a text.
    """
    inner = hashlib.sha256(data).digest()
    outer = hashlib.sha256(f"{source_key(key)}:text:".encode() + inner)
    return outer.hexdigest()[:_HEX].encode()


def kept(length: int) -> tuple[int, int]:
    """Return how many characters partial keeps at the head and at the tail: 2 and 4 at most.

    Of a short text it keeps less: never more than five twelfths in all.
    """
    return min(2, length // 6), min(4, length // 4)


def partial_text(data: bytes) -> bytes:
    """Return `data` with a `*` for each character but the ends."""
    text = data.decode("utf-8", "surrogateescape")
    head, tail = kept(len(text))
    middle = "*" * (len(text) - head - tail)
    masked = text[:head] + middle + (text[-tail:] if tail else "")
    return masked.encode("utf-8", "surrogateescape")


def partial_number(text: str) -> str:
    """Return a number's text with a 0 for each digit but the ends."""
    places = [place for place, char in enumerate(text) if char.isdigit()]
    head, tail = kept(len(places))
    hidden = frozenset(places[head : len(places) - tail])
    return "".join("0" if place in hidden else char for place, char in enumerate(text))


def span(data: bytes, name: str, transform: Transform, key: bytes, word: bool = False) -> bytes:
    """Return what stands for the match `data` of detector `name`, inside a text.

    `word`: only letters and digits, where anything else could break the notation around it.
    """
    if transform is Transform.PARTIAL:
        return partial_text(data)
    if transform is Transform.HASH:
        value = plain(data).encode() if name in _NORMALIZED else data
        token = digest(key, b"text", value).hex()[:_SPAN_HEX]
        return f"h{token}".encode() if word else f"[{name}:{token}]".encode()
    return b"REDACTED" if word else redacted(name)


@lru_cache(maxsize=256)
def redacted(name: str) -> bytes:
    """Return what redact puts in the place of a match of detector `name`."""
    return f"[redacted:{name}]".encode()
