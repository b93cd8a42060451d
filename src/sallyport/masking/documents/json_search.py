"""Search in JSON: what detectors find in the keys, strings and numbers of one piece of it.

The strings of a piece are looked at as one text, each with its key before it, so that a word in a
key counts (`"phone": "030123456"`); only where something is found each is looked at alone.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple, final

from sallyport.masking.content import Content
from sallyport.masking.documents.json_tokens import MEMBER, text_of
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


class Key(NamedTuple):
    """A key: what it says, what of it counts for its value, and what leaves in its place.

    `before` stands before the value where that is searched. `masked` is None where nothing is found
    in the key.
    """

    text: bytes
    name: bytes
    before: bytes
    masked: bytes | None


NO_KEY: Final = Key(b"", b"", b"", None)
"""Of a value that stands under none."""


@final
class Keys:
    """The keys that were seen."""

    __slots__ = ("_notated", "known")

    def __init__(self, notated: Notated | None) -> None:
        self._notated = notated
        self.known: dict[bytes, Key] = {}

    def read(self, token: bytes) -> Key:
        """Return a key. It has to stay one, so the null transform redacts it."""
        text = text_of(token)
        found = text if self._notated is None else self._notated.mask(text)
        name = text[-NAME:]
        before = name + _COLON if name else b""
        key = Key(text, name, before, None if found is text else quoted(found))
        if len(token) <= _BOUND:
            if len(self.known) >= _KNOWN:
                self.known.clear()
            self.known[token] = key
        return key


@final
class Search:
    """Gathers the scalars of a piece and tells what becomes of them."""

    __slots__ = ("_content", "_found", "_key", "_keys", "_notated", "_texts", "shortest")

    def __init__(self, content: Content, keys: Keys, key: bytes) -> None:
        self._content = content
        self._keys = keys
        self._key = key
        self._notated = Notated(content, key)
        self.shortest = content.shortest
        """How short a number can be that is looked at, in characters."""
        self._found: list[tuple[int, bytes, bytes]] = []
        self._texts: list[bytes] = []

    def string(self, start: int, token: bytes, key: Key, edits: list[Edit]) -> None:
        """A string stands at `start` under this key."""
        if b"\\" in token or b"%" in token or b"&" in token:
            # Decoded, it may hold NULs or escapes of its own, so it is looked at alone.
            new = self._string(text_of(token), token, key.name)
            if new is not token:
                edits.append(Edit(start, start + len(token), new))
            return
        self._found.append((start, token, key.name))
        self._texts.append(key.before + token[1:-1])

    def number(self, start: int, token: bytes, key: Key) -> None:
        """A number stands at `start` under this key."""
        if len(token) < self.shortest:
            return
        self._found.append((start, token, key.name))
        self._texts.append(key.before + _written_out(token))

    def members(self, start: int, run: bytes) -> None:
        """Members that stand in a row (`run_of`) begin at `start`: they are looked at as they are.

        INVARIANT: where something is found in one of them, something is found in all of them
        together, since each value stands there behind its key as it would alone.
        """
        self._found.append((start, run, b""))
        bare = run.replace(b'": ', b'":').replace(b'":"', b'":')
        self._texts.append(bare.replace(b'":', _COLON))

    def settle(self, edits: list[Edit]) -> None:
        """Add what becomes of all that was gathered, and begin anew."""
        texts, found = self._texts, self._found
        if not texts:
            return
        for index, masked in enumerate(self._content.mask_many(texts)):
            if masked is texts[index]:
                continue
            start, token, name = found[index]
            if token[-1:] in b",}]":
                self._each(start, token, edits)
            else:
                self._edit(start, token, name, edits)
        found.clear()
        texts.clear()

    def _each(self, start: int, run: bytes, edits: list[Edit]) -> None:
        """Something may be found in one of these members: look at each."""
        for member in MEMBER.finditer(run):
            token, string, plain = member.group(1, 2, 3)
            key = self._keys.known.get(token) or self._keys.read(token)
            if key.masked is not None:
                edits.append(Edit(start + member.start(1), start + member.end(1), key.masked))
            if string is not None:
                self._edit(start + member.start(2), string, key.name, edits)
            elif plain is not None and len(plain) >= self.shortest and plain[:1] not in b"tfn":
                self._edit(start + member.start(3), plain, key.name, edits)

    def _edit(self, start: int, token: bytes, name: bytes, edits: list[Edit]) -> None:
        if token[:1] == b'"':
            new = self._string(token[1:-1], token, name)
        else:
            new = self._number(token, name)
        if new is not token:
            edits.append(Edit(start, start + len(token), new))

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
