"""Detectors: what finds sensitive content in a text, and how a chunk is searched for all of them.

Two steps. A *prefilter* looks at a whole chunk of wire bytes at once; where it hits, the cell there
is cut out and each detector says which of its bytes are what. The prefilter is a true superset:
every detector has a `core`, patterns without any look at their surroundings, and `find` reports
nothing in a text where no core matches. Checksums, number plans and neighbours are asked by `find`.

A new detector is an object with these attributes; `PatternDetector` makes one from RE2 patterns.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol, final

import re2

from sallyport.masking import checks, patterns

Span = tuple[int, int]
"""Start and end of what was found, in bytes."""

_MEMORY = 128 << 20
"""Bound of RE2's automata, in bytes. Reached, RE2 starts its cache anew; it gives nothing up."""


class Detector(Protocol):
    """Finds one kind of content in UTF-8 text.

    INVARIANT: `find(data, hinted)` is empty unless one of `core` (or, hinted, `hinted_core`)
    matches inside `data`; these hold no assertions and never match empty.
    """

    @property
    def name(self) -> str: ...
    @property
    def core(self) -> tuple[str, ...]: ...
    @property
    def hinted_core(self) -> tuple[str, ...]:
        """What more is looked for in a column whose name speaks for it."""

    @property
    def hint(self) -> str:
        """RE2 on a column's name, in lower case; empty: no name matters."""

    @property
    def numbers(self) -> bool:
        """Whether a column of numbers may hold it, without a hint."""

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""


def compile_pattern(pattern: str) -> re2._Regexp:
    """Compile RE2 for bytes that hold UTF-8. Raises: ValueError."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    options.dot_nl = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"pattern does not compile: `{pattern[:80]}`") from error


def check_core(pattern: str) -> None:
    """Refuse a pattern that the prefilter cannot use. Raises: ValueError."""
    position = 0
    in_class = False
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            if pattern[position + 1 : position + 2] in ("b", "B", "A", "z", "C", ""):
                raise ValueError(f"pattern looks around itself: `{pattern[:80]}`")
            position += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
            position += pattern.startswith("^", position + 1)
            position += pattern.startswith("]", position + 1)
        elif char in "^$":
            raise ValueError(f"pattern looks around itself: `{pattern[:80]}`")
        position += 1
    if compile_pattern(pattern).search(b"") is not None:
        raise ValueError(f"pattern matches nothing at all: `{pattern[:80]}`")


Check = Callable[[bytes], bool]


@final
class _Search:
    """One pattern of a detector, and which of its groups is the secret (0: all of it)."""

    __slots__ = ("expression", "group", "least")

    def __init__(self, pattern: str) -> None:
        expression = compile_pattern(pattern)
        self.group = min(int(expression.groups), 1)
        if self.group and pattern.startswith("(") and not pattern.startswith("(?"):
            inner = pattern[1:-1]
            if _balanced(inner):
                # Without a group RE2 needs no more than its automaton.
                expression = compile_pattern(inner)
                self.group = 0
        self.expression = expression
        self.least = 4


def _balanced(pattern: str) -> bool:
    """Whether the parentheses of `pattern` are its own."""
    depth = 0
    for char in _NEUTRAL.sub("", pattern):
        depth += (char == "(") - (char == ")")
        if depth < 0:
            return False
    return depth == 0


_NEUTRAL = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""What holds parentheses that group nothing: escapes and classes."""


def plain(data: bytes) -> str:
    """Return the letters (upper case) and digits of `data`, those of other scripts as ASCII."""
    if data.isascii():
        return "".join(filter(str.isalnum, data.decode("ascii"))).upper()
    out: list[str] = []
    for char in data.decode("utf-8", "replace"):
        digit = unicodedata.decimal(char, -1)
        if digit >= 0:
            out.append(chr(48 + digit))
        elif char.isascii() and char.isalnum():
            out.append(char.upper())
    return "".join(out)


def _joined(data: bytes, start: int) -> bool:
    """Whether an ASCII letter or digit stands before `start`, so that a token began earlier.

    The letter of an escape (`\\n` in a quoted text) is no letter.
    """
    if start == 0 or not data[start - 1 : start].isalnum():
        return False
    return data[start - 2 : start - 1] != b"\\" if start > 1 else True


@final
class PatternDetector:
    """Finds what one of its patterns matches and `check` accepts.

    The first group that took part is what is sensitive; without groups the whole match is. `left`
    and `right` name what must not stand next to the span: `word` (ASCII letters and digits),
    `digit`, or empty for no condition.
    """

    __slots__ = (
        "_check",
        "_expression",
        "_hinted",
        "_left",
        "_right",
        "core",
        "hint",
        "hinted_core",
        "name",
        "numbers",
    )

    def __init__(
        self,
        name: str,
        core: Sequence[str],
        *,
        check: Check | None = None,
        left: str = "",
        right: str = "",
        hint: str = "",
        hinted_core: Sequence[str] = (),
        numbers: bool = False,
    ) -> None:
        for pattern in (*core, *hinted_core):
            check_core(pattern)
        self.name = name
        self.core = tuple(core)
        self.hint = hint
        self.hinted_core = tuple(hinted_core)
        self.numbers = numbers
        self._check = check
        self._left = left
        self._right = right
        self._expression = [_Search(pattern) for pattern in core]
        self._hinted = self._expression + [_Search(pattern) for pattern in hinted_core]

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found: list[Span] = []
        for search in self._hinted if hinted else self._expression:
            self._search(search, data, found)
        return merge(found) if len(found) > 1 else found

    def _search(self, search: _Search, data: bytes, found: list[Span]) -> None:
        expression = search.expression
        group = search.group
        position = 0
        last = len(data) - search.least
        while position <= last:
            match = expression.search(data, position)
            if match is None:
                return
            begin, after = match.span()
            start, end = match.span(group)
            if self._accepts(data, start, end):
                found.append((start, end))
                position = after
            else:
                position = begin + 1

    def _accepts(self, data: bytes, start: int, end: int) -> bool:
        if self._left == "word" and _joined(data, start):
            return False
        if self._left and start and data[start - 1 : start].isdigit():
            return False
        after = data[end : end + 1]
        if self._right and (after.isdigit() or (self._right == "word" and after.isalpha())):
            return False
        return self._check is None or self._check(data[start:end])


@final
class DigitsDetector:
    """Finds numbers with a checksum among digits, however they are grouped.

    A run of digits with separators is cut into its groups; every stretch of whole groups with as
    many digits as `sizes` allows is put to `check`. `shapes` are the groupings that count (empty:
    any), so that a date before a number is not taken for its beginning.
    """

    __slots__ = (
        "_check",
        "_hinted_only",
        "_run",
        "_shapes",
        "_sizes",
        "core",
        "hint",
        "hinted_core",
        "name",
        "numbers",
    )

    def __init__(
        self,
        name: str,
        sizes: tuple[int, int],
        check: Callable[[str], bool],
        *,
        shapes: frozenset[tuple[int, ...]] = frozenset(),
        separator: str = patterns.S,
        first: str = patterns.D,
        hint: str = "",
        numbers: bool = True,
    ) -> None:
        rest = f"(?:{separator}{{0,3}}{patterns.D}){{{sizes[0] - 1}"
        self.name = name
        self.core = tuple(
            f"{separator}{{1,3}}".join(f"{patterns.D}{{{size}}}" for size in shape)
            for shape in sorted(shapes)
        ) or (first + rest + "}",)
        self.hint = hint
        self.hinted_core: tuple[str, ...] = ()
        self.numbers = numbers
        self._sizes = sizes
        self._check = check
        self._shapes = shapes
        self._run = compile_pattern(patterns.D + rest + ",}")

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found: list[Span] = []
        position = 0
        while True:
            match = self._run.search(data, position)
            if match is None:
                return found
            start, position = match.span()
            if not _is_fraction(data, start):
                self._search(data, start, position, found)

    def _search(self, data: bytes, start: int, end: int, found: list[Span]) -> None:
        groups = _groups(data[start:end])
        least, most = self._sizes
        first = 0
        while first < len(groups):
            digits = ""
            best = -1
            for last in range(first, len(groups)):
                digits += groups[last][2]
                if len(digits) > most:
                    break
                if len(digits) >= least and self._accepts(groups, first, last, digits):
                    best = last
            if best >= 0:
                found.append((start + groups[first][0], start + groups[best][1]))
                first = best
            first += 1

    def _accepts(
        self, groups: list[tuple[int, int, str]], first: int, last: int, digits: str
    ) -> bool:
        if self._shapes:
            shape = tuple(len(group[2]) for group in groups[first : last + 1])
            if shape not in self._shapes:
                return False
        return self._check(digits)


def _is_fraction(data: bytes, start: int) -> bool:
    """Whether the digits at `start` are the decimals of a number: `0.52345...`."""
    if start < 2 or data[start - 1] != 46 or not 48 <= data[start - 2] <= 57:
        return False
    before = data[max(0, start - 13) : start - 1]
    return not (len(before) == 12 and before.isdigit())


def _groups(run: bytes) -> list[tuple[int, int, str]]:
    """Cut a run into its groups of digits: start and end in bytes, and the digits in ASCII."""
    groups: list[tuple[int, int, str]] = []
    start = offset = 0
    digits = ""
    for char in run.decode("utf-8", "replace"):
        value = ord(char) - 48 if char.isascii() else unicodedata.decimal(char, -1)
        size = 1 if char.isascii() else len(char.encode())
        if 0 <= value <= 9:
            if not digits:
                start = offset
            digits += chr(48 + value)
        elif digits:
            groups.append((start, offset, digits))
            digits = ""
        offset += size
    if digits:
        groups.append((start, offset, digits))
    return groups


@final
class IbanDetector:
    """Finds IBANs, in one piece or in groups, upper or lower case."""

    __slots__ = ("_head", "core", "hint", "hinted_core", "name", "numbers")

    def __init__(self) -> None:
        # What follows the two check digits: the first eight characters, by the registry.
        countries = "|".join(checks.IBAN_LENGTHS)
        body = f"(?:{patterns.S}{{0,3}}[A-Za-z0-9])"
        digit = f"(?:{patterns.S}{{0,3}}{patterns.D})"
        head = f"{patterns.S}{{0,3}}{patterns.D}{{2}}"
        lettered = "(?i:" + "|".join(_LETTERED) + ")"
        plain_countries = "(?i:" + "|".join(c for c in countries.split("|") if c not in _LETTERED)
        self.name = "iban"
        self.core = (
            f"{plain_countries}){head}{digit}{{5}}{body}{{6}}",
            f"{lettered}{head}{body}{{11}}",
        )
        self.hint = ""
        self.hinted_core: tuple[str, ...] = ()
        self.numbers = False
        self._head = compile_pattern("|".join(self.core))

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found: list[Span] = []
        position = 0
        while True:
            match = self._head.search(data, position)
            if match is None:
                return found
            end = self._end(data, match.start())
            if end:
                found.append((match.start(), end))
            position = end or match.start() + 1

    def _end(self, data: bytes, start: int) -> int:
        """Return where the IBAN that begins at `start` ends; 0 when there is none."""
        length = checks.IBAN_LENGTHS[data[start : start + 2].decode("ascii").upper()]
        text = ""
        offset = start
        for char in data[start : start + 8 * length].decode("utf-8", "ignore"):
            offset += len(char.encode())
            text += plain(char.encode())
            if len(text) == length:
                return offset if checks.iban(text) else 0
        return 0


_LETTERED = tuple(
    "AZ BG BH BY CR DO GB GE GI GT IE IQ IT JO KW KZ LB LC LV MD MK MT MU NI NL OM PK PS QA RO RU "
    "SA SC SM SV TR UA VG".split()
)
"""Countries whose first five characters after the check digits may be letters."""


@final
class BlockDetector:
    """Finds what reaches from a begin line to an end line; without one, to the end of the text."""

    __slots__ = ("_begin", "_ends", "_lines", "core", "hint", "hinted_core", "name", "numbers")

    def __init__(self, name: str, blocks: Sequence[tuple[str, str]], lines: Sequence[str]) -> None:
        self.name = name
        self.core = (*(begin for begin, _ in blocks), *lines)
        self.hint = ""
        self.hinted_core: tuple[str, ...] = ()
        self.numbers = False
        self._begin = [compile_pattern(begin) for begin, _ in blocks]
        self._ends = [compile_pattern(end) for _, end in blocks]
        self._lines = PatternDetector(name, lines)

    def find(self, data: bytes, hinted: bool) -> list[Span]:
        """Return what was found, in order, without overlaps."""
        found = self._lines.find(data, hinted)
        for begin, end in zip(self._begin, self._ends, strict=True):
            position = 0
            while True:
                opened = begin.search(data, position)
                if opened is None:
                    break
                closed = end.search(data, opened.end())
                position = len(data) if closed is None else closed.end()
                found.append((opened.start(), position))
        return merge(found)

    def opened(self, data: bytes) -> tuple[int, int, int]:
        """Return where the first block begins that `data` does not end, where its begin line ends,
        and which kind it is; -1 for all when there is none."""
        first = (-1, -1, -1)
        for kind, (begin, end) in enumerate(zip(self._begin, self._ends, strict=True)):
            position = 0
            while True:
                opened = begin.search(data, position)
                if opened is None:
                    break
                closed = end.search(data, opened.end())
                if closed is None:
                    if first[0] < 0 or opened.start() < first[0]:
                        first = (int(opened.start()), int(opened.end()), kind)
                    break
                position = closed.end()
        return first

    def end_of(self, kind: int, data: bytes) -> int:
        """Return where a block of this kind ends in `data`; -1 when it does not."""
        match = self._ends[kind].search(data)
        return -1 if match is None else int(match.end())


def merge(spans: list[Span]) -> list[Span]:
    """Sort spans and join those that overlap."""
    spans.sort()
    out: list[Span] = []
    for start, end in spans:
        if out and start < out[-1][1]:
            if end > out[-1][1]:
                out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return out


def _text(check: Callable[[str], bool]) -> Check:
    return lambda data: check(plain(data))


def _phone(data: bytes) -> bool:
    return 7 <= len(plain(data)) <= 15


def _password(data: bytes) -> bool:
    """Whether this is no port with a path behind it, as in `host:8443/path@x`."""
    port, slash, _ = data.partition(b"/")
    return not (slash and port.isdigit() and len(port) <= 5)


_PHONE_HINT = r"phone|mobil|(^|_)(tel|cell|fax|gsm|sms|whatsapp|msisdn)|telefon|handy"
_FIRST_OF_CARD = "(?:[2-689]|[^\\x00-\\x7f])"

_BUILTIN: tuple[Detector, ...] = (
    PatternDetector("email", (patterns.EMAIL,)),
    PatternDetector(
        "phone",
        patterns.PHONE,
        check=_phone,
        left="digit",
        right="digit",
        hint=_PHONE_HINT,
        hinted_core=(f"({patterns.PHONE_NUMBER})",),
    ),
    DigitsDetector("card", (13, 19), checks.card, first=_FIRST_OF_CARD),
    IbanDetector(),
    PatternDetector(
        "ssn",
        patterns.SSN,
        check=_text(checks.ssn),
        left="digit",
        right="digit",
        hint=r"(^|_)(ssn|social|tin|tax_?id|taxpayer)",
        hinted_core=(f"({patterns.D}{{9}})",),
    ),
    DigitsDetector(
        "bsn",
        (9, 9),
        checks.bsn,
        shapes=frozenset({(9,), (3, 3, 3), (4, 2, 3), (4, 3, 2), (2, 3, 4)}),
        separator=patterns.DOTTED,
        hint="bsn|burgerservice|sofi",
        numbers=False,
    ),
    PatternDetector("dni", patterns.DNI, check=_text(checks.dni), left="word", right="word"),
    PatternDetector(
        "nir", patterns.NIR, check=_text(checks.nir), left="digit", right="digit", numbers=True
    ),
    PatternDetector(
        "codice-fiscale",
        patterns.CODICE_FISCALE,
        check=_text(checks.codice_fiscale),
        left="word",
        right="word",
    ),
    DigitsDetector("pesel", (11, 11), checks.pesel, shapes=frozenset({(11,)})),
    DigitsDetector(
        "nrn",
        (11, 11),
        checks.nrn,
        shapes=frozenset({(11,), (2, 2, 2, 3, 2), (6, 3, 2), (6, 5), (9, 2)}),
        separator=patterns.DOTTED,
    ),
    DigitsDetector(
        "steuer-id",
        (11, 11),
        checks.steuer_id,
        shapes=frozenset({(11,), (2, 3, 3, 3), (3, 3, 3, 2), (2, 3, 6)}),
    ),
    PatternDetector("jwt", patterns.JWT, left="word"),
    BlockDetector(
        "private-key",
        (
            (patterns.PEM_BEGIN, patterns.PEM_END),
            (patterns.PUTTY_BEGIN, patterns.PUTTY_END),
        ),
        patterns.PRIVATE_KEY_LINES,
    ),
    *(PatternDetector(name, cores, left="word") for name, cores in patterns.KEYS.items()),
    PatternDetector("url-password", patterns.URL_PASSWORD, check=_password),
)

BUILTIN: dict[str, Detector] = {detector.name: detector for detector in _BUILTIN}
"""The detectors that come with Sallyport, by name."""

NATIONAL_IDS = ("ssn", "bsn", "dni", "nir", "codice-fiscale", "pesel", "nrn", "steuer-id")
PII = ("email", "phone", "card", "iban", *NATIONAL_IDS)
SECRETS = ("jwt", "private-key", *patterns.KEYS, "url-password")
GROUPS: dict[str, tuple[str, ...]] = {
    "national-id": NATIONAL_IDS,
    "pii": PII,
    "api-key": tuple(patterns.KEYS),
    "secret": SECRETS,
    "all": PII + SECRETS,
}
"""Names that stand for several detectors."""

NAMES = frozenset(BUILTIN) | frozenset(GROUPS)
"""Every name that a policy may use."""


def expand(names: Sequence[str], known: dict[str, Detector] = BUILTIN) -> tuple[Detector, ...]:
    """Return the detectors that `names` stand for, each once.

    FAILS CLOSED: an unknown name is an error, never a detector less. Raises: ValueError.
    """
    out: dict[str, Detector] = {}
    for name in names:
        for single in GROUPS.get(name, (name,)):
            if single not in known:
                raise ValueError(f"no detector is called `{single}`")
            out[single] = known[single]
    return tuple(out.values())


@final
class Prefilter:
    """One automaton for many cores: whether, and where, a chunk may hold what they find."""

    __slots__ = ("_expression",)

    def __init__(self, cores: Sequence[str]) -> None:
        self._expression = compile_pattern("|".join(f"(?:{core})" for core in dict.fromkeys(cores)))

    def hits(self, chunk: bytes) -> bool:
        """Whether anything in `chunk` may be sensitive."""
        return self._expression.search(chunk) is not None

    def spans(self, chunk: bytes) -> list[Span]:
        """Return where: every true match overlaps one of these."""
        return [match.span() for match in self._expression.finditer(chunk)]


@lru_cache(maxsize=128)
def prefilter(cores: tuple[str, ...]) -> Prefilter:
    """Return the prefilter of `cores`, made once."""
    return Prefilter(cores)
