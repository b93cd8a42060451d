r"""Patterns that operators write: RE2's syntax as far as it is safe, read and written anew.

A detector's pattern is used in three ways: to find matches in a cell, to tell where on the wire one
may stand, and in an automaton with many others. That is sound only for patterns without a look at
their surroundings, and only while no match reaches from one text into the next. So a pattern is
not taken as it is: it is parsed here, what could not be kept is refused, and what is left is
written in few forms that everything after it knows.

INVARIANT of what is written: it holds no assertion and no capturing group; it matches no empty
text; no match holds a NUL or a line end (`.`, negated classes, `\s`, `\D`, `\W`, `\S` and `\P{..}`
leave them out); RE2 compiles it to about `size` instructions at most.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final

MAX_LENGTH: Final = 500
"""Characters of one pattern."""
MAX_SIZE: Final = 20_000
"""Instructions of one pattern's program, as estimated here."""
MAX_REPEAT: Final = 1000
"""Times that anything may repeat, nested repetitions multiplied: RE2's own bound."""
MAX_DEPTH: Final = 50

_TOP: Final = 0x10FFFF
_SURROGATES: Final = (0xD800, 0xDFFF)
_ENDS: Final = (0, 10)
"""What no match holds."""
_ENDLESS: Final = r"\x{0}\x{A}"
_WIDE: Final = 1300
"""Instructions of a class of Unicode's letters, at most, by case or not."""
_NARROW: Final = 20
"""Instructions of what holds all but a few characters, and of a few that are not ASCII."""

_CATEGORIES: Final = frozenset(
    "L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs".split()
)
_SCRIPTS: Final = frozenset(
    "Arabic Armenian Bengali Bopomofo Cyrillic Devanagari Ethiopic Georgian Greek Gujarati "
    "Gurmukhi Han Hangul Hebrew Hiragana Kannada Katakana Khmer Lao Latin Malayalam Mongolian "
    "Myanmar Oriya Sinhala Tamil Telugu Thai Tibetan".split()
)
_PERL: Final = {"d": "0-9", "w": "0-9A-Z_a-z", "s": r"\x{9}\x{C}\x{D}\x{20}"}
_SPOKEN: Final = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_POSIX: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": ((48, 57),),
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}
_ESCAPED: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~ ")
_ASSERTIONS: Final = {"b", "B", "A", "z", "Z", "G"}


class Written(NamedTuple):
    """A pattern as RE2 gets it. `least`: characters of its shortest match; `size`: see above;
    `repeat`: how often the most repeated part of it repeats.
    """

    text: str
    least: int = 0
    size: int = 0
    repeat: int = 1


def write(pattern: str, *, anchors: bool = False) -> Written:
    r"""Return a pattern as it is used. `anchors`: `^`, `$` and `\b` may stand in it (for names).

    Raises: ValueError, which says what is wrong and what to write instead.
    """
    if not pattern:
        raise ValueError("expected a pattern, not an empty text")
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"a pattern has {MAX_LENGTH} characters at most")
    parser = _Parser(pattern, anchors)
    written = parser.alternatives(0)
    if not parser.over:
        raise ValueError("`)` closes nothing: write `\\)` for the character")
    if written.least < 1:
        raise ValueError("the pattern matches an empty text, and so everywhere")
    _bounded(written)
    return written


def literal(code: int) -> str:
    """Return a character as RE2 reads it, in a class or beside one."""
    char = chr(code)
    return char if char.isascii() and char.isalnum() else f"\\x{{{code:X}}}"


def _bounded(written: Written) -> Written:
    if written.size > MAX_SIZE:
        raise ValueError("the pattern is too large: it repeats too much, or too wide classes")
    return written


@final
class _Parser:
    """Reads a pattern from its beginning, and writes each part when it was read."""

    def __init__(self, pattern: str, anchors: bool) -> None:
        self._pattern = pattern
        self._anchors = anchors
        self._at = 0
        self._folds = False

    @property
    def over(self) -> bool:
        """Whether all of the pattern was read."""
        return self._at >= len(self._pattern)

    def _next(self, size: int = 1) -> str:
        return self._pattern[self._at : self._at + size]

    def _take(self, what: str) -> bool:
        if self._pattern.startswith(what, self._at):
            self._at += len(what)
            return True
        return False

    def alternatives(self, depth: int) -> Written:
        """Read what stands in one group, up to its end."""
        if depth > MAX_DEPTH:
            raise ValueError("groups nest too deep")
        branches = [self._sequence(depth)]
        while self._take("|"):
            branches.append(self._sequence(depth))
        if len(branches) == 1:
            return branches[0]
        return Written(
            f"(?:{'|'.join(branch.text for branch in branches)})",
            min(branch.least for branch in branches),
            sum(branch.size for branch in branches) + len(branches),
            max(branch.repeat for branch in branches),
        )

    def _sequence(self, depth: int) -> Written:
        parts: list[Written] = []
        while not self.over and self._next() not in "|)":
            part = self._atom(depth)
            if part is not None:
                parts.append(self._repeated(part))
        return _bounded(
            Written(
                "".join(part.text for part in parts),
                sum(part.least for part in parts),
                sum(part.size for part in parts) + 1,
                max((part.repeat for part in parts), default=1),
            )
        )

    def _atom(self, depth: int) -> Written | None:
        """Read one part that may be repeated; None for flags, which are none."""
        char = self._next()
        self._at += 1
        if char == "(":
            return self._group(depth)
        if char == "[":
            return self._class()
        if char == ".":
            return Written(f"[^{_ENDLESS}]", 1, _NARROW)
        if char == "\\":
            return self._escape()
        if char in "*+?{":
            raise ValueError(f"`{char}` repeats nothing: write `\\{char}` for the character")
        if char in "^$":
            return self._anchor(char)
        return self._literal(ord(char))

    def _anchor(self, text: str) -> Written:
        if not self._anchors:
            raise ValueError(
                f"`{text}` looks around the match: use `left` and `right` for what must not stand "
                f"next to it"
            )
        return Written(text, 0, 1)

    def _literal(self, code: int) -> Written:
        if code in _ENDS:
            raise ValueError("no match may hold a line end or a NUL: a line is looked at by itself")
        if _SURROGATES[0] <= code <= _SURROGATES[1]:
            raise ValueError("half a character (a surrogate) matches nothing")
        return self._folded(literal(code), 1 if code < 128 else 4)

    def _folded(self, text: str, size: int) -> Written:
        if self._folds:
            return Written(f"(?i:{text})", 1, 4 * size)
        return Written(text, 1, size)

    # --- groups and repetitions

    def _group(self, depth: int) -> Written | None:
        before = self._folds
        if self._take("?") and not self._opened():
            return None
        inner = self.alternatives(depth + 1)
        self._folds = before
        if not self._take(")"):
            raise ValueError("`(` is not closed: write `\\(` for the character")
        return inner._replace(text=f"(?:{inner.text})")

    def _opened(self) -> bool:
        """Read what stands behind `(?`. Returns whether a group follows."""
        for name in ("P<", "<"):
            if self._take(name):
                end = self._pattern.find(">", self._at)
                label = self._pattern[self._at : max(end, self._at)]
                if not label.isidentifier() or not label.isascii():
                    raise ValueError("`(?` is no group that is known: no look behind or ahead")
                self._at = end + 1
                return True
        flags = ""
        while self._next() and self._next() in "i-":
            flags += self._next()
            self._at += 1
        if flags not in ("", "i", "-i") or not (self._take(":") or (flags and self._next() == ")")):
            raise ValueError("`(?` takes `(?:...)`, `(?i:...)`, `(?i)` and names: nothing else")
        if flags:
            self._folds = flags == "i"
        if self._pattern[self._at - 1] == ":":
            return True
        self._at += 1
        return False

    def _repeated(self, part: Written) -> Written:
        least, most, mark = self._repetition()
        if not mark:
            return part
        if self._next() and self._next() in "*+?{":
            raise ValueError("a repetition is repeated: put the first into a group")
        repeat = part.repeat * max(most, least, 1)
        if repeat > MAX_REPEAT:
            raise ValueError(f"nothing repeats more than {MAX_REPEAT} times, groups multiplied")
        size = (part.size + 1) * max(most, least + 1, 1)
        return _bounded(Written(part.text + mark, part.least * least, size, repeat))

    def _repetition(self) -> tuple[int, int, str]:
        """Read a repetition: its least, its most (0: no end), and how it is written."""
        char = self._next()
        if char == "" or char not in "*+?{":
            return 1, 1, ""
        self._at += 1
        if char != "{":
            least, most = {"*": (0, 0), "+": (1, 0), "?": (0, 1)}[char]
            mark = char
        else:
            end = self._pattern.find("}", self._at)
            counts = self._pattern[self._at : max(end, self._at)].split(",")
            digits = [count for count in counts if count]
            if not counts[0] or len(counts) > 2 or not all(map(_is_count, digits)):
                raise ValueError("`{` begins a count as `{2}`, `{2,}`, `{2,5}`: write `\\{` else")
            self._at = end + 1
            least = int(counts[0])
            most = least if len(counts) == 1 else int(counts[1] or 0)
            if most < least and counts[-1]:
                raise ValueError(f"`{{{least},{most}}}`: expected the lower count first")
            if most == 0 and counts[-1]:
                raise ValueError("expected something to repeat more than 0 times")
            mark = f"{{{','.join(str(int(count)) if count else '' for count in counts)}}}"
        return least, most, mark + ("?" if self._take("?") else "")

    # --- escapes and classes

    def _escape(self) -> Written:
        char = self._next()
        if char == "" or char in "QEC" or char.isdigit():
            raise ValueError(f"`\\{char}` is not taken here")
        if char in _ASSERTIONS:
            self._at += 1
            if char in "bB":
                return self._anchor(f"\\{char}")
            raise ValueError(f"`\\{char}` looks around the match: it is not taken here")
        if char.lower() in _PERL:
            self._at += 1
            inner = _PERL[char.lower()]
            if char.isupper():
                return self._folded(f"[^{inner}{_ENDLESS}]", _NARROW)
            return self._folded(f"[{inner}]", 4)
        if char in "pP":
            negated, name = self._property()
            inner = f"^\\p{{{name}}}{_ENDLESS}" if negated else f"\\p{{{name}}}"
            return self._folded(f"[{inner}]", _WIDE)
        return self._literal(self._character())

    def _property(self) -> tuple[bool, str]:
        r"""Read `pL`, `p{Lu}` or `P{Greek}`. Returns whether it is negated, and the name."""
        negated = self._next() == "P"
        self._at += 1
        name = self._next()
        self._at += 1
        if name == "{":
            end = self._pattern.find("}", self._at)
            name = self._pattern[self._at : max(end, self._at)]
            self._at = end + 1
        if name not in _CATEGORIES and name not in _SCRIPTS:
            raise ValueError(
                "`\\p` takes a general category (`L`, `Lu`, `Nd`) or a script (`Greek`) that is "
                "known, and no control characters"
            )
        return negated, name

    def _character(self) -> int:
        r"""Read what stands behind a backslash as one character."""
        char = self._next()
        self._at += 1
        if char == "x":
            return self._hexadecimal()
        if char in _SPOKEN:
            return _SPOKEN[char]
        if (
            not char
            or not char.isascii()
            or char.isalnum()
            or char == "_"
            or not char.isprintable()
        ):
            raise ValueError(
                f"`\\{char if char.isprintable() else '?'}` is no escape that is known"
            )
        return ord(char)

    def _hexadecimal(self) -> int:
        if self._take("{"):
            end = self._pattern.find("}", self._at)
            digits = self._pattern[self._at : max(end, self._at)]
            self._at = end + 1
        else:
            digits = self._next(2)
            self._at += 2
            if len(digits) != 2:
                digits = ""
        if not 0 < len(digits) <= 6 or not set(digits) <= set("0123456789abcdefABCDEF"):
            raise ValueError("`\\x` takes two hexadecimal digits, or up to six in braces")
        code = int(digits, 16)
        if code > _TOP:
            raise ValueError("`\\x` names no character of Unicode")
        return code

    def _class(self) -> Written:
        """Read a class up to its end. What it must not hold is left out of it."""
        negated = self._take("^")
        members = _Members(negated)
        first = True
        while first or self._next() != "]":
            if self.over:
                raise ValueError("`[` is not closed: write `\\[` for the character")
            first = False
            if self._posix(members):
                continue
            if self._next() == "\\" and self._next(2)[1:].lower() in (*_PERL, "p"):
                self._at += 1
                self._shorthand(members)
                continue
            low = self._member()
            high = low
            if self._next() == "-" and self._next(2) != "-]":
                self._at += 1
                high = self._member()
            members.add(low, high)
        self._at += 1
        text, size = members.written()
        return self._folded(text, size)

    def _member(self) -> int:
        if self.over:
            raise ValueError("`[` is not closed: write `\\[` for the character")
        char = self._next()
        self._at += 1
        return self._character() if char == "\\" else ord(char)

    def _posix(self, members: _Members) -> bool:
        end = self._pattern.find(":]", self._at + 2)
        if self._next(2) != "[:" or end < 0:
            return False
        name = self._pattern[self._at + 2 : end]
        self._at = end + 2
        ranges = _POSIX.get(name.removeprefix("^"))
        if ranges is None:
            raise ValueError(f"no class is called `[:{name[:20]}:]`")
        if name.startswith("^"):
            inner = "".join(_range(low, high) for low, high in ranges)
            members.without(inner, f"[:{name}:]")
        else:
            for low, high in ranges:
                members.add(low, high)
        return True

    def _shorthand(self, members: _Members) -> None:
        char = self._next()
        if char in "pP":
            negated, name = self._property()
            members.wide = True
            if negated:
                members.without(f"\\p{{{name}}}", f"\\P{{{name}}}")
            else:
                members.among(f"\\p{{{name}}}")
            return
        self._at += 1
        inner = _PERL[char.lower()]
        if char.isupper():
            members.without(inner, f"\\{char}")
        else:
            members.among(inner)


@final
class _Members:
    """What stands in a class."""

    def __init__(self, negated: bool) -> None:
        self._negated = negated
        self._inside: list[str] = []
        self._others: list[str] = []
        self._size = 0
        self.wide = False

    def add(self, low: int, high: int) -> None:
        """Add a range; without the characters that no match may hold."""
        if high < low:
            raise ValueError("a range in a class ends before it begins")
        if low == high and low in _ENDS and not self._negated:
            raise ValueError("no match may hold a line end or a NUL: a line is looked at by itself")
        pieces = [(low, high)]
        for gap_low, gap_high in ((0, 0), (10, 10), _SURROGATES):
            pieces = [
                part
                for start, end in pieces
                for part in ((start, min(end, gap_low - 1)), (max(start, gap_high + 1), end))
                if part[0] <= part[1]
            ]
        for piece in dict.fromkeys(pieces):
            self._inside.append(_range(*piece))
            self._size += 1 if piece[1] < 128 else _NARROW

    def among(self, inner: str) -> None:
        """Add what is written so in a class."""
        self._inside.append(inner)
        self._size += 4

    def without(self, inner: str, spelled: str) -> None:
        """Add all but what is written so; RE2 spells it `spelled` in a class."""
        if self._negated:
            self._inside.append(spelled)
        else:
            self._others.append(f"[^{inner}{_ENDLESS}]")

    def written(self) -> tuple[str, int]:
        """Return the class as RE2 gets it, and about how large it is."""
        size = (_WIDE if self.wide else 0) + self._size + _NARROW * len(self._others)
        if self._negated:
            return f"[^{''.join(self._inside)}{_ENDLESS}]", size + _NARROW
        parts = [f"[{''.join(self._inside)}]"] if self._inside else []
        parts += self._others
        if not parts:
            raise ValueError("a class holds nothing that could match")
        return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})", size


def _range(low: int, high: int) -> str:
    return literal(low) if low == high else f"{literal(low)}-{literal(high)}"


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4
