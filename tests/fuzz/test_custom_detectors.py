"""Detectors of an operator's own, whatever they are: nothing is missed on the wire, and what is
quick gives what is slow."""

from __future__ import annotations

import json
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sallyport.core.decision import Mask
from sallyport.core.detector import CustomDetector
from sallyport.core.pattern import write
from sallyport.masking.content import Content, Rule, cores
from sallyport.masking.custom import made
from sallyport.masking.detectors import expand
from sallyport.masking.expressions import broadened, check_core, compile_pattern, prefilter
from sallyport.masking.finders import PatternDetector
from sallyport.masking.locate import locator
from sallyport.masking.plan import Column, ResultPlan, plan, text_masker
from sallyport.masking.stream import StreamMasker
from sallyport.masking.transforms import Transform
from sallyport.masking.words import JOINS, WordsDetector, form_of, forms
from sallyport.protocols.postgres.masks.copy_fields import CopyFormat, Fields
from sallyport.protocols.postgres.masks.copy_rows import CopyMasker
from sallyport.protocols.postgres.masks.rows import RowMasker
from tests.fuzz.test_bulk_masking import bodies, messages, plain_field
from tests.fuzz.test_masking import KEY, row

ATOMS = [
    "a", "b", "1", "5", "9", "-", " ", "\u00e9", "K", "\u017f", r"\.", ".", r"\d", r"\w", r"\s",
    r"\D", r"\W", r"\S", r"\x{e9}", r"\x41", "[a-c]", "[^a5]", "[5-9x]", r"[\d.-]", r"[^\w]",
    r"[a\D]", "[[:alpha:]_]", "[[:^digit:]a]", "[^[:^alpha:]]", "[]5]", "[^]5]", "[-5]", "[+-5]",
    "[!-~]", r"[\x00-\x2f]", r"[^\n]", r"\pN", r"\p{Lu}", r"[\PN]", r"[^\PN5]", "(?i:k5)", "(a|15)",
    "(?:a|)", "(?P<x>b5)", "(?i)", "(?-i)", "[[:cntrl:]]", r"\x{663}",
]  # fmt: skip
TIMES = ["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,3}", "*?", "{1,2}?", "{3,6}"]

atom = st.builds(str.__add__, st.sampled_from(ATOMS), st.sampled_from(TIMES))
sequence = st.lists(atom, min_size=1, max_size=4).map("".join)


def grouped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, min_size=1, max_size=3).map("|".join)
    group = st.builds("({}){}".format, several, st.sampled_from(TIMES))
    return st.lists(st.one_of(atom, group), min_size=1, max_size=4).map("".join)


def taken(pattern: str) -> bool:
    try:
        write(pattern)
    except ValueError:
        return False
    return True


PATTERN = st.recursive(sequence, grouped, max_leaves=4).filter(taken)
LETTERS = "aabbc155699-\u00e9\u00c9 kKsS\u017f\u212axX.,\t_\u00fc\u0663[]~+'\"\\\x1f"
LINE = st.text(LETTERS, max_size=16)
CELL = st.one_of(
    st.text(LETTERS + "\n\n\n\n\x00\x00\x00", max_size=24).map(str.encode),
    st.lists(st.sampled_from(["a", "5", "\n", "\x00"]), max_size=12).map("".join).map(str.encode),
    st.binary(max_size=10),
)
NEIGHBOURS = st.sampled_from(["nothing", "word", "digit"])
BY_PATTERN = st.builds(
    CustomDetector,
    name=st.just("own"),
    patterns=st.lists(PATTERN, min_size=1, max_size=3).map(tuple),
    left=NEIGHBOURS,
    right=NEIGHBOURS,
    hint=st.sampled_from(["", "^c"]),
    context=st.sampled_from([(), (), ("a",), ("55", "\u00e9")]),
    checksum=st.sampled_from(["", "", "luhn", "mod97"]),
    numbers=st.booleans(),
)
SOME = ["ab", "1", "55", "\u00e9", "e\u0301", "\u00df", "ss", "\ufb03", "ffi", "k", "\u6771\u4eac",
        "\uac01", "\u1100\u1161\u11a8", "\u0390", "\u1fb3", "\u0130", "x-y", "a b"]  # fmt: skip
WORD = st.lists(st.sampled_from(SOME), min_size=1, max_size=4).map("".join)
BY_WORDS = st.builds(
    CustomDetector,
    name=st.just("own"),
    words=st.lists(WORD, min_size=1, max_size=12, unique=True).map("\n".join),
    ignore_case=st.booleans(),
    left=NEIGHBOURS,
    right=NEIGHBOURS,
)
PIECES = [*SOME, "E\u0301", "\u1e9e", "SS", "S\u017f", "\ufb00i", "f\ufb01", "\u212a", "K", "AB",
          "\u03b9\u0308\u0301", "i\u0307", "I", " ", "x", "\\n", "\n", "\x00", "5", "-", "\u0301"]  # fmt: skip
WORDY = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)
WORDY_CELL = st.one_of(WORDY.map(str.encode), CELL)


def exactly(char: str) -> str:
    """A pattern for one character."""
    return f"\\x{{{ord(char):x}}}"


def planned_for(definition: CustomDetector, types: list[str]) -> ResultPlan:
    mask = Mask("m", "redact", (), ("own", "email"), custom=(definition,))
    columns = [Column(f"x{place}", None, type_, False) for place, type_ in enumerate(types)]
    made_plan = plan((mask,), columns, KEY)
    assert made_plan is not None
    return made_plan


def spelled(text: str) -> str:
    return "".join(char for char in text if not 0xD800 <= ord(char) < 0xE000)


@given(st.one_of(st.text(max_size=40).map(spelled), PATTERN))
def test_what_is_taken_compiles_and_holds_what_it_says(pattern: str) -> None:
    try:
        written = write(pattern)
    except ValueError:
        return
    check_core(written.text)
    expression = compile_pattern(written.text)
    assert expression.groups == 0 and written.least >= 1
    assert expression.programsize <= written.size + 20


@given(PATTERN, LINE)
def test_a_pattern_matches_what_it_matches_as_it_was_written(pattern: str, line: str) -> None:
    written = compile_pattern(write(pattern).text)
    data = line.encode()
    original = compile_pattern(pattern)
    assert (written.search(data) is None) is (original.search(data) is None)
    assert (written.fullmatch(data) is None) is (original.fullmatch(data) is None)


@given(PATTERN, CELL)
def test_no_match_reaches_over_a_line_end_or_a_nul(pattern: str, cell: bytes) -> None:
    for match in compile_pattern(write(pattern).text).finditer(cell):
        assert match.end() > match.start()
        assert not set(match.group()) & {0, 10}


@pytest.mark.parametrize("part", ATOMS)
@given(st.lists(st.sampled_from(["a", "5", "-", "\n", "\x00"]), max_size=8).map("".join))
def test_no_part_of_a_pattern_matches_a_line_end_or_a_nul(part: str, cell: str) -> None:
    for times in ("", "+", "{1,3}?"):
        if taken(part + times):
            for match in compile_pattern(write(part + times).text).finditer(cell.encode()):
                assert not set(match.group()) & {0, 10}


@given(
    st.one_of(st.tuples(BY_PATTERN, CELL), st.tuples(BY_WORDS, WORDY_CELL)),
    st.binary(max_size=6),
    st.binary(max_size=6),
    st.booleans(),
)
def test_prefilter_and_locator_are_supersets(
    case: tuple[CustomDetector, bytes], before: bytes, after: bytes, hinted: bool
) -> None:
    definition, cell = case
    detector = made(definition)
    rule = Rule(detector, hinted, Transform.REDACT)
    chunk = before + cell + after
    filter_ = prefilter(cores([rule]))
    spans = locator(cores([rule])).spans(chunk)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    found = detector.find(cell, hinted)
    assert all(left[1] <= right[0] for left, right in pairwise(found))
    for start, end in found:
        assert filter_.hits(chunk) and filter_.hits(cell[start:end])
        start, end = start + len(before), end + len(before)
        assert any(span[0] < end and span[1] > start for span in spans)
        assert any(span[0] < end and span[1] > start for span in filter_.spans(chunk))


@given(PATTERN, CELL)
def test_what_is_broadened_matches_wherever_the_pattern_does(pattern: str, cell: bytes) -> None:
    text = write(pattern).text
    wide = compile_pattern(broadened(text))
    for match in compile_pattern(text).finditer(cell):
        assert wide.search(match.group()) is not None


@given(
    st.one_of(
        st.tuples(BY_PATTERN, st.lists(CELL, min_size=1, max_size=8)),
        st.tuples(BY_WORDS, st.lists(WORDY_CELL, min_size=1, max_size=8)),
    ),
    st.booleans(),
    st.booleans(),
)
def test_texts_looked_at_as_one_are_masked_as_each_alone(
    case: tuple[CustomDetector, list[bytes]], hinted: bool, beside: bool
) -> None:
    definition, texts = case
    others = expand(("all",)) if beside else ()
    rules = [Rule(each, hinted, Transform.REDACT) for each in (made(definition), *others)]
    content = Content(rules, KEY)
    together = content.mask_many(texts)
    assert together == [content.mask(text) for text in texts]


@example(
    (
        CustomDetector(name="own", words="\u00df", ignore_case=True, left="word"),
        [[b"", "1\u1e9e".encode()]],
    ),
    "redact",
)
@given(
    st.one_of(
        st.tuples(BY_PATTERN, st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=5)),
        st.tuples(BY_WORDS, st.lists(st.lists(WORDY_CELL, min_size=2, max_size=2), max_size=5)),
    ),
    st.sampled_from(["redact", "hash", "partial", "null"]),
)
def test_rows_are_masked_as_their_cells_are(
    case: tuple[CustomDetector, list[list[bytes]]], transform: str
) -> None:
    definition, rows = case
    mask = Mask("m", transform, (), ("own", "email"), custom=(definition,))
    columns = [Column("c", None, "text", False), Column("d", None, "varchar", False)]
    planned = plan((mask,), columns, KEY)
    assert planned is not None
    want = [
        [
            cell.mask(value) if cell else value
            for cell, value in zip(planned.cells, each, strict=True)
        ]
        for each in rows
    ]
    got = RowMasker(planned).mask(b"".join(row(list(each)) for each in rows))
    assert got == b"".join(map(row, want))


MARKS = ["a", "b", '"', "\\", ",", "\t", "|", "{", "N", "1"]
MARKED = st.text(MARKS, max_size=6)
LITERAL = st.one_of(
    st.text(MARKS, min_size=1, max_size=4),
    st.sampled_from(MARKS).map("a{}b".format),
)


def by_marks(literals: list[str]) -> CustomDetector:
    return CustomDetector("own", tuple("".join(map(exactly, text)) for text in literals))


def marked(literals: list[str]) -> st.SearchStrategy[str]:
    """Texts in which a detector of these literals finds something, as often as not."""
    return st.lists(st.one_of(MARKED, st.sampled_from(literals)), max_size=3).map("".join)


BY_MARKS = st.lists(LITERAL, min_size=1, max_size=3).flatmap(
    lambda literals: st.tuples(
        st.just(by_marks(literals)),
        st.lists(st.lists(marked(literals), min_size=2, max_size=2), min_size=1, max_size=4),
    )
)
FORMATS = [
    CopyFormat(),
    CopyFormat(delimiter=b"|"),
    CopyFormat(delimiter=b"a"),
    CopyFormat(null=b"1"),
    CopyFormat("csv"),
    CopyFormat("csv", delimiter=b";"),
    CopyFormat("csv", escape=b"\\"),
    CopyFormat("csv", quote=b"'"),
]


@given(BY_MARKS, st.sampled_from(FORMATS))
def test_copied_rows_are_masked_as_their_cells_are(
    case: tuple[CustomDetector, list[list[str]]], format: CopyFormat
) -> None:
    definition, texts = case
    rows = [[text.encode() for text in each] for each in texts]
    planned = planned_for(definition, ["text", "varchar"])
    fields = Fields(format)
    lines = [
        format.delimiter.join(plain_field(fields, format, value) for value in each) + b"\n"
        for each in rows
    ]
    want = []
    for each in rows:
        masked = [
            cell.mask(value) if cell else value
            for cell, value in zip(planned.cells, each, strict=True)
        ]
        want.append(
            [
                plain_field(fields, format, old) if new == old else fields.write(new)
                for old, new in zip(each, masked, strict=True)
            ]
        )
    expected = [format.delimiter.join(each) + b"\n" for each in want]
    masker = CopyMasker(planned, format)
    assert bodies(masker.mask(messages(lines)) + masker.finish()) == expected


def in_array(texts: list[str]) -> str:
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def in_record(texts: list[str]) -> str:
    quoted = (text.replace("\\", "\\\\").replace('"', '""') for text in texts)
    return "(" + ",".join(f'"{text}"' for text in quoted) + ")"


@given(BY_MARKS, st.integers(0, 10**7))
def test_what_stands_in_documents_arrays_and_records_is_found_on_the_wire(
    case: tuple[CustomDetector, list[list[str]]], number: int
) -> None:
    definition, cases = case
    planned = planned_for(definition, ["json", "text[]", "record", "float8"])
    rows: list[list[bytes | None]] = [
        [
            json.dumps(texts).encode(),
            in_array(texts).encode(),
            in_record(texts).encode(),
            f"{number:.3e}".encode(),
        ]
        for texts in cases
    ]
    want = [
        [
            cell.mask(value or b"") if cell else value
            for cell, value in zip(planned.cells, each, strict=True)
        ]
        for each in rows
    ]
    assert RowMasker(planned).mask(b"".join(map(row, rows))) == b"".join(map(row, want))


@given(
    st.one_of(st.tuples(BY_PATTERN, CELL), st.tuples(BY_WORDS, WORDY_CELL)),
    st.lists(st.integers(0, 30), max_size=4),
)
def test_a_stream_is_masked_line_by_line_however_it_is_cut(
    case: tuple[CustomDetector, bytes], cuts: list[int]
) -> None:
    definition, text = case
    mask = Mask("m", "redact", (), ("own",), custom=(definition,))
    masker = text_masker((mask,), KEY)
    assert masker is not None
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    stream = StreamMasker(masker)
    out = b"".join(stream.feed(text[a:b]) for a, b in pairwise(places)) + stream.finish()
    assert out == b"\n".join(map(masker.mask_bytes, text.split(b"\n")))


def slowly(definition: CustomDetector, text: str) -> list[tuple[int, int]]:
    """Every stretch of whole characters that has a word's form; the longest first, from the left."""
    fold = definition.ignore_case
    known = {form for word in definition.words.split("\n") for form in forms(word, fold)}
    left, right = JOINS[definition.left], JOINS[definition.right]
    found = []
    start = 0
    while start < len(text):
        ends = [
            end
            for end in range(start + 1, len(text) + 1)
            if "".join(form_of(char, fold) for char in text[start:end]) in known
            and not (end < len(text) and right(text[end]) and right(text[end - 1]))
        ]
        before = text[start - 1] if start else ""
        escaped = start > 1 and text[start - 2] == "\\" and before.isascii()
        if ends and not (before and left(before) and left(text[start]) and not escaped):
            found.append((len(text[:start].encode()), len(text[: ends[-1]].encode())))
            start = ends[-1]
        else:
            start += 1
    return found


@given(BY_WORDS, WORDY)
def test_words_are_found_wherever_their_form_stands(definition: CustomDetector, text: str) -> None:
    detector = made(definition)
    assert isinstance(detector, WordsDetector)
    assert detector.find(text.encode(), False) == slowly(definition, text)


@given(BY_WORDS, st.sampled_from(["NFC", "NFD"]), st.sampled_from([str, str.upper, str.lower]))
def test_a_word_is_found_however_it_is_composed_and_in_any_case(
    definition: CustomDetector, form: str, case: type[str]
) -> None:
    detector = made(definition)
    for word in definition.words.split("\n"):
        text = unicodedata.normalize(form, word)
        if definition.ignore_case:
            text = unicodedata.normalize(form, case(text))
        assume(not unicodedata.normalize("NFD", text).startswith("\u0301"))
        assert detector.find(text.encode(), False), (word, text)


@given(BY_PATTERN, CELL)
def test_conditions_add_nothing_to_what_a_pattern_finds(
    definition: CustomDetector, cell: bytes
) -> None:
    detector = made(definition)
    assert isinstance(detector, PatternDetector)
    without = CustomDetector(definition.name, definition.patterns)
    if not made(without).find(cell, False):
        assert not detector.find(cell, False)
