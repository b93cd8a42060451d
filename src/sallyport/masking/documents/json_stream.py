"""JSON as it streams by: values at named paths and what detectors find are replaced, all else
leaves byte for byte.

Theory of operation. Bytes are read token by token, as far as whole tokens have come; the rest waits
(`LONGEST` bytes of a string at most). Of what is open no more is kept than where it stands: a frame
for each object and array. A member or element is taken in one step where all of it is there, else
one token at a time; both do the same. Several documents may follow each other (JSON lines,
sequences): each is one by itself.

INVARIANT: what leaves depends on the bytes alone, never on how they were cut into pieces.
FAILS CLOSED: what is no JSON by RFC 8259 and no UTF-8 ends the body, since nobody can say what its
reader makes of it. Values that stand next to each other are looked at one by one: what only their
sequence would show is not found.
"""

from __future__ import annotations

import codecs
import re
from typing import Final, final

from sallyport.core.errors import MaskingFailed
from sallyport.masking.documents import json_tokens as tokens
from sallyport.masking.documents.json_search import NO_KEY, Edit, Key, Search
from sallyport.masking.documents.json_tokens import malformed
from sallyport.masking.documents.jsonpath import Place
from sallyport.masking.documents.terms import Terms
from sallyport.masking.documents.values import scalar
from sallyport.masking.settings import Setting, strongest

_LONG: Final = tokens.LONGEST
_COMMA: Final = 44
_NOBODY: Final[frozenset[str]] = frozenset()
DEEPEST: Final = 512
"""Objects and arrays in each other."""
_MARK: Final = b"\xef\xbb\xbf"
_GUARD: Final = b")]}'"
_GUARD_LINE: Final = re.compile(rb"\)\]\}',?[ \t]{0,8}\r?\n")
"""What some servers write before JSON, so that no page can run it as a script."""
_GUARD_SIZE: Final = 16


_VALUE: Final = 0
_FIRST_VALUE: Final = 1
_KEY: Final = 2
_FIRST_KEY: Final = 3
_COLON: Final = 4
_AFTER: Final = 5
"""What comes next."""
_VALUES: Final = frozenset((_VALUE, _FIRST_VALUE))
_KEYS: Final = frozenset((_KEY, _FIRST_KEY))
_MARKS: Final = frozenset((_COLON, _AFTER))


@final
class _Frame:
    """An object or array that is open, or the place of whole documents (`closer` is empty).

    `place` and `setting` are its own, `member` is the place of its next value, which stands under
    `key`.
    """

    __slots__ = ("closer", "index", "key", "member", "place", "setting")

    def __init__(
        self, closer: bytes, place: Place | None, setting: Setting | None, key: Key
    ) -> None:
        self.closer = closer
        self.place = place
        self.setting = setting
        self.key = key
        self.index = 0
        self.member: Place | None = None


@final
class JsonMasker:
    """One body of JSON. `several`: of any number of documents, else of one at most."""

    def __init__(self, terms: Terms, *, several: bool = True) -> None:
        self._terms = terms
        self._paths = terms.paths
        self._keys = terms.keys
        self._search = None
        if terms.values is not None:
            self._search = Search(terms.values, terms.keys, terms.key)
        self._several = several
        root = None if terms.paths is None else terms.paths.root
        setting = None if root is None else terms.setting(root.chosen)
        self._frame = _Frame(b"", root, setting, NO_KEY)
        self._outer: list[_Frame] = []
        self._at = _VALUE
        self._begun = False
        self._apart = True
        self._held: list[bytes] = []
        self._size = 0
        self._odd = False
        self._string_open = False
        self._utf8 = codecs.getincrementaldecoder("utf-8")("strict")

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now that `data` has come. Raises: MaskingFailed."""
        try:
            return self._feed(data, last=False)
        except MaskingFailed:
            raise
        except Exception as error:
            raise malformed(f"cannot be masked ({type(error).__name__})") from None

    def finish(self) -> bytes:
        """Return the rest: the body has ended. Raises: MaskingFailed where it is cut off."""
        try:
            out = self._feed(b"", last=True)
        except MaskingFailed:
            raise
        except Exception as error:
            raise malformed(f"cannot be masked ({type(error).__name__})") from None
        if self._size or self._outer or self._at == _COLON:
            raise malformed("is cut off")
        return out

    # --- what waits

    def _feed(self, data: bytes, *, last: bool) -> bytes:
        self._utf8.decode(data, last)
        if self._string_open and not last and not self._closes(data):
            self._hold(data)
            return b""
        if self._held:
            data = b"".join((*self._held, data))
            self._held.clear()
            self._size = 0
        self._string_open = False
        position = 0
        if not self._begun:
            position = self._begin(data, last)
            if position < 0:
                self._hold(data)
                return b""
            self._begun = True
        edits: list[Edit] = []
        end = self._read(data, position, edits, last)
        if self._search is not None:
            self._search.settle(edits)
        if end < len(data):
            self._hold(data[end:])
        return _written(data, edits, end)

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)
        if self._size > tokens.LONGEST:
            raise malformed(f"has a string of more than {tokens.LONGEST} bytes")

    def _closes(self, data: bytes) -> bool:
        """Whether the string that is open may end in `data`; each byte is looked at once."""
        start = int(self._odd)
        if len(data) < start or not data:
            return False
        rest = tokens.REST.match(data, start)
        end = start if rest is None else rest.end()
        self._odd = data[end : end + 1] == b"\\"
        return end < len(data) and not self._odd

    def _begin(self, data: bytes, last: bool) -> int:
        """Return where the first document begins; -1: that cannot be told yet."""
        start = 0
        if data.startswith(_MARK):
            start = len(_MARK)
        elif not last and _MARK.startswith(data):
            return -1
        rest = data[start:]
        if rest.startswith(_GUARD):
            line = _GUARD_LINE.match(rest)
            if line is not None:
                return start + line.end()
            if last or len(rest) > _GUARD_SIZE:
                raise malformed("does not parse")
            return -1
        return -1 if not last and _GUARD.startswith(rest) else start

    # --- the grammar

    def _read(self, data: bytes, position: int, edits: list[Edit], last: bool) -> int:
        """Read as far as whole tokens go; return how far that is."""
        size = len(data)
        while position < size:
            at = self._at
            if at in _KEYS:
                after = self._run(data, position)
                if after < 0:
                    after = self._member(data, position, edits)
            elif self._frame.closer and at in _VALUES:
                after = self._element(data, position, edits)
            elif at == _AFTER and data[position] == _COMMA:
                self._mark(b",")
                after = position + 1
            else:
                after = -1
            if after < 0:
                after = self._token(data, position, edits, last)
                if after < 0:
                    return -after - 1
            position = after
        return position

    def _run(self, data: bytes, position: int) -> int:
        """Read members that no path names, in a row, at once; -1 where there are none.

        This is what `_member` does of each, in less time.
        """
        frame = self._frame
        place = frame.place
        names = _NOBODY if place is None else place.names
        if names is None or frame.setting is not None:
            return -1
        searched = self._search is not None
        pattern = tokens.run_of(names, place is not None and place.deep, searched)
        found = pattern.match(data, position)
        end = position if found is None else found.end()
        if found is None or end == position or end - position > _LONG:
            return -1
        if self._search is not None:
            self._search.members(position, data[position:end])
        if found.start(1) < 0:
            self._at = _KEY
        else:
            self._close()
        return end

    def _member(self, data: bytes, position: int, edits: list[Edit]) -> int:
        """Read the next member of an object, if all of it is there; else -1."""
        frame, search = self._frame, self._search
        found = tokens.MEMBER.match(data, position)
        if found is None:
            return -1
        name, string, plain, opener, delimiter = found.groups()
        if delimiter is None and opener is None:
            return -1
        self._key(found.start(1), name, edits)
        if opener is not None:
            self._open(opener)
            return found.end(4)
        if string is None or frame.setting or frame.member or len(string) > _LONG:
            self._scalar(found.start(3 if string is None else 2), string or plain, edits)
        elif search is not None:
            search.string(found.start(2), string, frame.key, edits)
        if delimiter == b"}":
            self._close()
        else:
            self._at = _KEY
        return found.end()

    def _record(self, data: bytes, position: int) -> int:
        """Read an object in an array at once, if no path names anything in it; else -1."""
        frame = self._frame
        if frame.setting is not None or (frame.place is not None and not frame.place.ends):
            return -1
        found = tokens.record_of(self._search is not None).match(data, position)
        if found is None or found.end() - position > _LONG:
            return -1
        if self._search is not None:
            self._search.members(position, data[position : found.end()])
        if found[1] == b"]":
            self._close()
        else:
            self._at = _VALUE
        return found.end()

    def _element(self, data: bytes, position: int, edits: list[Edit]) -> int:
        """Read whole elements of an array, as many as there are; -1 where not even one is."""
        match = tokens.ELEMENT.match
        frame = self._frame
        if frame.closer != b"]":
            return -1
        if (after := self._record(data, position)) >= 0:
            return after
        placed = frame.place is not None and not frame.place.ends
        done = -1
        while (found := match(data, position)) is not None:
            string, plain, opener, delimiter = found.groups()
            if delimiter is None and opener is None:
                break
            if placed:
                self._next_element()
            if opener is not None:
                self._open(opener)
                return found.end(3)
            position = done = found.end()
            self._scalar(found.start(1 if plain is None else 2), string or plain, edits)
            if delimiter == b"]":
                self._close()
                return position
            self._at = _VALUE
        return done

    def _token(self, data: bytes, position: int, edits: list[Edit], last: bool) -> int:
        """Read one token; return where it ends.

        Where it is not all there: where it begins, as -1 - begin. Raises: MaskingFailed.
        """
        between = not self._outer and self._at != _COLON
        blank = (tokens.BETWEEN if between else tokens.BLANK).match(data, position)
        begin = position if blank is None else blank.end()
        if begin > position:
            self._apart = True
        char = data[begin : begin + 1]
        if not char:
            return begin
        at = self._at
        if at in _MARKS or char in (b"]", b"}"):
            self._mark(char)
            return begin + 1
        if at in _KEYS:
            return self._name(data, begin, edits, last)
        if between and not self._several and self._frame.index:
            raise malformed("is more than one document")
        found = tokens.VALUE.match(data, begin)
        if found is None:
            return self._unfinished(data, begin, last)
        string, plain, opener = found.groups()
        if plain is not None and (
            data[found.end() : found.end() + 1] not in tokens.ENDS
            or (found.end() == len(data) and not last)
        ):
            return self._unfinished(data, begin, last)
        if between:
            if not self._apart and opener is None:
                raise malformed("has values that nothing keeps apart")
            self._frame.index += 1
            self._apart = False
        elif self._frame.closer == b"]":
            self._next_element()
        if opener is not None:
            self._open(opener)
        else:
            self._scalar(begin, string or plain, edits)
            self._at = _AFTER if self._outer else _VALUE
        return found.end()

    def _mark(self, char: bytes) -> None:
        """Take a colon, a comma or what closes. Raises: MaskingFailed for any other."""
        at, frame = self._at, self._frame
        if at == _COLON and char == b":":
            self._at = _VALUE
        elif at == _AFTER and char == b",":
            self._at = _KEY if frame.closer == b"}" else _VALUE
        elif char == frame.closer and at in (_AFTER, _FIRST_KEY, _FIRST_VALUE):
            self._close()
        else:
            raise malformed("does not parse")

    def _name(self, data: bytes, begin: int, edits: list[Edit], last: bool) -> int:
        found = tokens.STRING.match(data, begin)
        if found is None:
            if data[begin : begin + 1] != b'"':
                raise malformed("does not parse")
            return self._unfinished(data, begin, last)
        self._key(begin, found[0], edits)
        self._at = _COLON
        return found.end()

    def _unfinished(self, data: bytes, begin: int, last: bool) -> int:
        """A token that is not all there begins here. Raises: MaskingFailed where it is none."""
        tail = data[begin:]
        if last:
            raise malformed("is cut off")
        if tail[:1] != b'"':
            if not tokens.may_go_on(tail):
                raise malformed("does not parse")
            return -1 - begin
        rest = tokens.REST.match(tail, 1)
        end = 1 if rest is None else rest.end()
        self._odd = tail[end:] == b"\\"
        if end < len(tail) and not self._odd:
            raise malformed("does not parse")
        self._string_open = True
        return -1 - begin

    # --- the document

    def _key(self, start: int, token: bytes, edits: list[Edit]) -> None:
        key = self._keys.known.get(token)
        if key is None:
            _bounded(token)
            key = self._keys.read(token)
        if key.masked is not None:
            edits.append(Edit(start, start + len(token), key.masked))
        frame = self._frame
        frame.key = key
        place = frame.place
        if place is not None and not place.ends and self._paths is not None:
            member = place.steps.get(key.text)
            frame.member = self._paths.member(place, key.text) if member is None else member
            if frame.member.ends and not frame.member.chosen:
                frame.member = None

    def _next_element(self) -> None:
        frame = self._frame
        place = frame.place
        if place is not None and not place.ends and self._paths is not None:
            frame.member = self._paths.element(place, frame.index)
            frame.index += 1

    def _setting(self) -> Setting | None:
        """Return what becomes of the value that comes next, whole; None: it is searched."""
        frame = self._frame
        inherited = frame.setting
        if frame.member is None or not frame.member.chosen:
            return inherited
        own = self._terms.setting(frame.member.chosen)
        if inherited is None or own is None:
            return inherited or own
        return strongest((inherited, own))

    def _open(self, opener: bytes) -> None:
        if len(self._outer) >= DEEPEST:
            raise malformed(f"nests deeper than {DEEPEST}")
        frame = self._frame
        setting = self._setting()
        place = frame.member if frame.closer else frame.place
        self._outer.append(frame)
        if opener == b"{":
            self._frame = _Frame(b"}", place, setting, frame.key)
            self._at = _FIRST_KEY
        else:
            self._frame = _Frame(b"]", place, setting, frame.key)
            self._at = _FIRST_VALUE

    def _close(self) -> None:
        self._frame = self._outer.pop()
        if self._outer:
            self._at = _AFTER
        else:
            self._at = _VALUE
            self._apart = True

    def _scalar(self, start: int, token: bytes, edits: list[Edit]) -> None:
        """A string, number or word stands here: replace it, or note it to be searched."""
        string = token[:1] == b'"'
        if len(token) > tokens.LONGEST_NUMBER:
            _bounded(token)
        setting = self._setting()
        if setting is not None:
            text = tokens.text_of(token) if string else token
            edits.append(
                Edit(start, start + len(token), scalar(setting, token, text, self._terms.key))
            )
        elif self._search is not None:
            if string:
                self._search.string(start, token, self._frame.key, edits)
            elif token[:1] not in b"tfn":
                self._search.number(start, token, self._frame.key)


def _bounded(token: bytes) -> None:
    """Raises: MaskingFailed for a scalar that is too long."""
    if len(token) > tokens.LONGEST_NUMBER and (token[:1] != b'"' or len(token) > _LONG):
        raise malformed("has a string or a number that is too long")


def _written(data: bytes, edits: list[Edit], end: int) -> bytes:
    """Return `data[:end]` with these edits."""
    if not edits:
        return data[:end]
    edits.sort()
    out: list[bytes] = []
    last = 0
    for edit in edits:
        out.append(data[last : edit.start])
        out.append(edit.new)
        last = edit.end
    out.append(data[last:end])
    return b"".join(out)
