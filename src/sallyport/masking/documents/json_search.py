"""Search in JSON: what detectors find in the keys, strings and numbers of one piece of it.

The strings of a piece are looked at as one text, each with its key before it, so that a word in a
key counts (`"phone": "030123456"`); only where something is found each is looked at alone.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple, final

from sallyport.masking.content import Content
from sallyport.masking.documents.json_tokens import text_of
from sallyport.masking.documents.notation import Notated
from sallyport.masking.documents.values import quoted
from sallyport.masking.transforms import Transform, span

NAME: Final = 64
"""Bytes of a key, its last, that count for its value."""
_COLON: Final = b'": "'
_KNOWN: Final = 4096
_BOUND: Final = 64
_EXACT: Final = 64
"""Longest number with an exponent that is written out, in characters, and its largest exponent."""


class Edit(NamedTuple):
    """What is written in the place of `data[start:end]`."""

    start: int
    end: int
    new: bytes


@final
class Keys:
    """The keys that were seen: what each says, and what is written in its place."""

    __slots__ = ("_known", "_notated")

    def __init__(self, notated: Notated | None) -> None:
        self._notated = notated
        self._known: dict[bytes, tuple[bytes, bytes]] = {}

    def read(self, token: bytes) -> tuple[bytes, bytes]:
        """Return a key's text, and its token as it leaves: the same object where nothing is found.

        A key has to stay one, so the null transform redacts it.
        """
        known = self._known.get(token)
        if known is not None:
            return known
        text = text_of(token)
        masked = text if self._notated is None else self._notated.mask(text)
        found = (text, token if masked is text else quoted(masked))
        if len(token) <= _BOUND:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[token] = found
        return found


@final
class Search:
    """Gathers the scalars of a piece and tells what becomes of them."""

    __slots__ = ("_content", "_key", "_notated", "_places", "_texts", "_tokens")

    def __init__(self, content: Content, key: bytes) -> None:
        self._content = content
        self._key = key
        self._notated = Notated(content, key)
        self._places: list[tuple[int, int]] = []
        self._tokens: list[tuple[bytes, bytes]] = []
        self._texts: list[bytes] = []

    def string(self, start: int, token: bytes, name: bytes, edits: list[Edit]) -> None:
        """A string stands at `start` under the key `name` (empty: under none)."""
        text = token[1:-1]
        if b"\\" in token or b"%" in token or b"&" in token or b"\0" in name:
            # Decoded, it may hold NULs or escapes of its own, so it is looked at alone.
            new = self._string(text_of(token), token, name)
            if new is not token:
                edits.append(Edit(start, start + len(token), new))
            return
        self._places.append((start, start + len(token)))
        self._tokens.append((token, name))
        self._texts.append(name + _COLON + text if name else text)

    def number(self, start: int, token: bytes, name: bytes) -> None:
        """A number stands at `start` under the key `name`."""
        if len(token) < self._content.shortest:
            return
        self._places.append((start, start + len(token)))
        self._tokens.append((token, name))
        text = _written_out(token)
        self._texts.append(name + _COLON + text if name else text)

    def settle(self, edits: list[Edit]) -> None:
        """Add what becomes of all that was gathered, and begin anew."""
        texts = self._texts
        if not texts:
            return
        for index, masked in enumerate(self._content.mask_many(texts)):
            if masked is texts[index]:
                continue
            token, name = self._tokens[index]
            if token[:1] == b'"':
                new = self._string(token[1:-1], token, name)
            else:
                new = self._number(token, name)
            if new is not token:
                edits.append(Edit(*self._places[index], new))
        self._places.clear()
        self._tokens.clear()
        texts.clear()

    def _string(self, text: bytes, token: bytes, name: bytes) -> bytes:
        hits = self._notated.hits(text, name)
        if not hits:
            return token
        if any(hit.transform is Transform.NULL for hit in hits):
            return b"null"
        new = self._notated.render(text, hits, 0, len(text))
        return quoted(new) if b"\\" in token else b'"' + new + b'"'

    def _number(self, token: bytes, name: bytes) -> bytes:
        seen: list[str] = []
        text = _written_out(token)
        verdict = self._content.number_verdict(text, name, seen)
        if verdict is None:
            return token
        if verdict is Transform.NULL:
            return b"null"
        return quoted(span(text, seen[0], verdict, self._key))


def _written_out(token: bytes) -> bytes:
    """Return a number without its exponent, where that is of a size that a number of use has."""
    if b"e" not in token and b"E" not in token:
        return token
    if len(token) > _EXACT:
        return token
    value = Decimal(token.decode("ascii"))
    if not -_EXACT < value.adjusted() < _EXACT:
        return token
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text).encode("ascii")
