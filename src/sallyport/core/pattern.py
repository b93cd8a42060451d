r"""Patterns that operators write: RE2's syntax as far as it is safe, read and written anew.

A detector's pattern is used in three ways: to find matches in a cell, to tell where on the wire one
may stand, and in an automaton with many others. That is sound only for patterns without a look at
their surroundings, and only while no match reaches from one text into the next. So a pattern is
not taken as it is: it is parsed here, what could not be kept is refused, and what is left is
written in few forms that everything after it knows.

Nor must a text that somebody makes up for it take long. RE2 is linear for one match; all matches
of a text take longer where each looks far ahead, in vain. So what repeats without an end either may
end the match each time, or is one character wide and part of every match: then what was looked at
in vain holds no match, and is looked at twice.

INVARIANT of what is written: it holds no assertion and no capturing group; it matches no empty
text; no match holds a NUL or a line end (`.`, negated classes, `\s`, `\D`, `\W`, `\S` and `\P{..}`
leave them out); RE2 compiles it to about `size` instructions at most.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final

from sallyport.core.pattern_classes import (
    ENDLESS,
    ENDS,
    NARROW,
    POSIX,
    SURROGATES,
    WIDE,
    Members,
    between,
    literal,
)

MAX_LENGTH: Final = 500
"""Characters of one pattern."""
MAX_SIZE: Final = 20_000
"""Instructions of one pattern's program, as estimated here."""
MAX_REPEAT: Final = 1000
"""Times that anything may repeat, nested repetitions multiplied: RE2's own bound."""
MAX_PLACES: Final = 128
"""Characters of its longest match, without what has no end: each is a place where RE2 may be at
the same time."""
MAX_DEPTH: Final = 50

_TOP: Final = 0x10FFFF
_UNENDING: Final = (
    "`*`, `+` and `{2,}` have no end: nothing may have to follow them, but for those of one "
    "character or class that all matches hold; give them one (`{1,40}`), or make two patterns of it"
)
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
_ESCAPED: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~ ")
_ASSERTIONS: Final = {"b", "B", "A", "z", "Z", "G"}


class Written(NamedTuple):
    """A pattern as RE2 gets it. `least`: characters of its shortest match; `size`, `places`: see
    above; `repeat`: how often the most repeated part of it repeats.

    `open`: it ends in a repetition without an end, of single characters (1) or of more (2).
    `strict`: such a one stands inside, so that each match must hold all of this, once.
    """

    text: str
    least: int = 0
    size: int = 0
    places: int = 0
    repeat: int = 1
    open: int = 0
    strict: bool = False
    single: bool = False


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


def _bounded(written: Written) -> Written:
    if written.size > MAX_SIZE:
        raise ValueError("the pattern is too large: it repeats too much, or too wide classes")
    if written.places > MAX_PLACES:
        raise ValueError(f"a match may be {MAX_PLACES} characters long, but for what has no end")
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
        if any(branch.strict for branch in branches):
            raise ValueError(_UNENDING)
        return _bounded(
            Written(
                f"(?:{'|'.join(branch.text for branch in branches)})",
                min(branch.least for branch in branches),
                sum(branch.size for branch in branches) + len(branches),
                sum(branch.places for branch in branches),
                max(branch.repeat for branch in branches),
                2 if any(branch.open for branch in branches) else 0,
            )
        )

    def _sequence(self, depth: int) -> Written:
        parts: list[Written] = []
        while not self.over and self._next() not in "|)":
            part = self._atom(depth)
            if part is not None:
                parts.append(self._repeated(part))
        if len(parts) == 1:
            return _bounded(parts[0])
        open_, behind = 0, 0
        strict = any(part.strict for part in parts)
        for part in reversed(parts):
            if part.open and behind:
                if part.open > 1:
                    raise ValueError(_UNENDING)
                strict = True
            elif part.open:
                open_ = max(open_, part.open)
            behind += part.least
        return _bounded(
            Written(
                "".join(part.text for part in parts),
                behind,
                sum(part.size for part in parts) + 1,
                sum(part.places for part in parts),
                max((part.repeat for part in parts), default=1),
                open_,
                strict,
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
            return Written(f"[^{ENDLESS}]", 1, NARROW, 1, single=True)
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
        if code in ENDS:
            raise ValueError("no match may hold a line end or a NUL: a line is looked at by itself")
        if SURROGATES[0] <= code <= SURROGATES[1]:
            raise ValueError("half a character (a surrogate) matches nothing")
        return self._folded(literal(code), 1 if code < 128 else 4)

    def _folded(self, text: str, size: int) -> Written:
        if self._folds:
            return Written(f"(?i:{text})", 1, 4 * size, 1, single=True)
        return Written(text, 1, size, 1, single=True)

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
        times = max(most, least, 1)
        size = (part.size + 1) * max(most, least + 1, 1)
        open_ = 2 if part.open else 0
        if part.strict or (part.open and part.least and least > 1):
            raise ValueError(_UNENDING)
        if most == 0:
            open_ = 1 if part.single else 2
        return _bounded(
            Written(part.text + mark, part.least * least, size, part.places * times, repeat, open_)
        )

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
                return self._folded(f"[^{inner}{ENDLESS}]", NARROW)
            return self._folded(f"[{inner}]", 4)
        if char in "pP":
            negated, name = self._property()
            inner = f"^\\p{{{name}}}{ENDLESS}" if negated else f"\\p{{{name}}}"
            return self._folded(f"[{inner}]", WIDE)
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
        members = Members(negated)
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

    def _posix(self, members: Members) -> bool:
        end = self._pattern.find(":]", self._at + 2)
        if self._next(2) != "[:" or end < 0:
            return False
        name = self._pattern[self._at + 2 : end]
        self._at = end + 2
        ranges = POSIX.get(name.removeprefix("^"))
        if ranges is None:
            raise ValueError(f"no class is called `[:{name[:20]}:]`")
        if name.startswith("^"):
            inner = "".join(between(low, high) for low, high in ranges)
            members.without(inner, f"[:{name}:]")
        else:
            for low, high in ranges:
                members.add(low, high)
        return True

    def _shorthand(self, members: Members) -> None:
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


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4
