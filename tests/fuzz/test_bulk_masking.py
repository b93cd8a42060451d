"""The quick ways through bulk results: what comes out is what the slow way gives, cell by cell."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.masking.cells import CellMask
from sallyport.masking.checks import luhn
from sallyport.masking.content import Content, Rule
from sallyport.masking.detectors import BUILTIN, expand
from sallyport.masking.expressions import compile_pattern
from sallyport.masking.finders import Detector, PatternDetector
from sallyport.masking.locate import ANYWHERE, Locator, quick
from sallyport.masking.plan import Column, ResultPlan, plan
from sallyport.masking.transforms import Transform
from sallyport.masking.types import type_of
from sallyport.protocols.postgres.masks.copy_fields import CopyFormat, Fields
from sallyport.protocols.postgres.masks.copy_rows import CopyMasker
from sallyport.protocols.postgres.masks.rows import RowMasker
from tests.fuzz.test_masking import KEY, NOISE, SECRETS, TEXT, row

CELL = TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))
EDGES = [b"", b"\\", b"\\N", b'"', b'""', b"\t", b"\n", b",", b"\x00", b"[redacted]", b"\xff", b"1"]
ANY_CELL = st.one_of(CELL, st.sampled_from(EDGES), st.binary(max_size=12))
NULLABLE = st.one_of(st.none(), ANY_CELL)
NO_NUL = st.one_of(st.none(), ANY_CELL.map(lambda cell: cell.replace(b"\x00", b"")))

Names = tuple[str, ...]
RULES: list[tuple[Names, str]] = [
    (("all",), "redact"),
    (("email",), "hash"),
    (("card", "nir", "iban"), "partial"),
    (("private-key", "phone"), "null"),
    (("url-password", "ssn", "dni", "aws-key"), "redact"),
]
SHORT = PatternDetector("short", ("ab", "x.y", r"q[^z]*z"))
"""Not what a detector should be: shorter than any secret, and not kept from a NUL."""


def contents() -> list[Content]:
    out = [
        Content([Rule(each, hinted, Transform[transform.upper()]) for each in expand(names)], KEY)
        for names, transform in RULES
        for hinted in (False, True)
    ]
    mixed = [
        Rule(each, False, list(Transform)[number % 4])
        for number, each in enumerate(expand(("all",)))
    ]
    return [*out, Content(mixed, KEY), Content([Rule(SHORT, False, Transform.REDACT)], KEY)]


CONTENTS = contents()
SHORTS = st.sampled_from(
    [b"a", b"ab", b"xab", b"x\xc3\xa9y", b"q", b"qz", b"aqrz", b"x\x00y", b"z"]
)


@given(st.sampled_from(CONTENTS), st.lists(st.one_of(ANY_CELL, SHORTS), min_size=1, max_size=12))
def test_texts_looked_at_as_one_are_masked_as_each_alone(
    content: Content, texts: list[bytes]
) -> None:
    together = content.mask_many(texts)
    assert together == [content.mask(text) for text in texts]
    for text, masked in zip(texts, together, strict=True):
        assert masked != text or masked is text


@given(st.sampled_from(sorted(BUILTIN)), st.lists(CELL, min_size=1, max_size=8), st.booleans())
def test_a_detector_finds_the_same_in_texts_kept_apart(
    name: str, texts: list[bytes], hinted: bool
) -> None:
    detector = BUILTIN[name]
    texts = [text.replace(b"\x00", b"") for text in texts]
    want = []
    start = 0
    for text in texts:
        want += [(start + a, start + b) for a, b in detector.find(text, hinted)]
        start += len(text) + 1
    got = detector.find_apart(b"\x00".join(texts), hinted)  # type: ignore[attr-defined]
    assert got == want or (got is None and name == "private-key")


@pytest.mark.parametrize(
    "texts",
    [
        [b"qaa", b"az", b"-"],  # a match may not reach into the next text
        [b"ab", b"-ab-", b"ab"],  # too short a text is not looked at
        [b"q\x00z", b"-", b"-"],
    ],
)
def test_a_detector_with_a_careless_pattern_finds_what_it_finds_alone(texts: list[bytes]) -> None:
    content = Content([Rule(SHORT, False, Transform.REDACT)], KEY)
    assert content.mask_many(texts) == [content.mask(text) for text in texts]


def test_an_iban_is_not_made_of_two_texts_and_a_nul_inside_hides_none() -> None:
    content = Content([Rule(BUILTIN["iban"], False, Transform.REDACT)], KEY)
    apart = [b"DE893704004405320130", b"00", b"DE89370400440532013000"]
    assert content.mask_many(apart) == [*apart[:2], b"[redacted:iban]"]
    inside = [b"DE893704004405320130\x0000", b"x", b"y"]
    assert content.mask_many(inside) == [b"[redacted:iban]", b"x", b"y"]


def test_much_that_is_rejected_is_looked_at_alone() -> None:
    """Where one text would be accepted for its length, many as one are not."""
    noise = b"x" + b"12345678a" * 9000
    texts = [noise, b"12345678Z", noise]
    rules = [Rule(BUILTIN["dni"], False, Transform.REDACT)]
    assert BUILTIN["dni"].find_apart(b"\x00".join(texts), False) is None  # type: ignore[attr-defined]
    content = Content(rules, KEY)
    assert content.mask_many(texts) == [content.mask(text) for text in texts]


ALL_CORES = tuple(core for each in expand(("all",)) for core in each.core + each.hinted_core)
LOCATOR = Locator(tuple(dict.fromkeys(ALL_CORES)))


@given(CELL, st.binary(max_size=8), st.binary(max_size=8), st.sampled_from(sorted(BUILTIN)))
def test_the_locator_is_a_superset(cell: bytes, before: bytes, after: bytes, name: str) -> None:
    detector: Detector = BUILTIN[name]
    spans = LOCATOR.spans(before + cell + after)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    for hinted in (False, True):
        for start, end in detector.find(cell, hinted):
            start, end = start + len(before), end + len(before)
            assert any(span[0] < end and span[1] > start for span in spans)


@given(st.sampled_from(ALL_CORES), CELL, st.integers(0, 40))
def test_the_quick_search_is_the_search(core: str, text: bytes, position: int) -> None:
    expression = compile_pattern(core)
    position = min(position, len(text))
    spans = quick(expression)(ANYWHERE, text, position, len(text))
    match = expression.search(text, position)
    assert spans[0] == ((-1, -1) if match is None else match.span())
    if match is not None and expression.groups:
        assert spans[1] == match.span(1)


DIGITS = st.lists(st.one_of(st.sampled_from(SECRETS), NOISE), max_size=5).map("".join)
WIDE = {48 + digit: 0xFF10 + digit for digit in range(10)}


@given(DIGITS, st.sampled_from(["bsn", "pesel", "nrn", "steuer-id"]))
def test_digits_of_ascii_are_grouped_as_those_of_any_script(text: str, name: str) -> None:
    detector = BUILTIN[name]
    wide = text.translate(WIDE)
    if "." in text:
        return  # a fraction is told by its ASCII digits
    narrow_found = [text.encode()[a:b].decode() for a, b in detector.find(text.encode(), False)]
    wide_found = [wide.encode()[a:b].decode() for a, b in detector.find(wide.encode(), False)]
    assert [each.translate(WIDE) for each in narrow_found] == wide_found


# --- whole results

TYPES = ["text", "text", "bytea", "int8", "varchar", "text"]
MASKS: list[tuple[Mask, ...]] = [
    (Mask("m", "redact", ("s.t.c1",)),),
    (Mask("m", "null", ("s.t.c0", "s.t.c5")),),
    (Mask("m", "hash", ("s.t.c4",)), Mask("n", "redact", ("s.t.c1",))),
    (Mask("m", "redact", ("s.t.c1",), ("all",)),),
    (Mask("m", "partial", (), ("all",)),),
    (Mask("m", "redact", (), ("email", "card")), Mask("n", "partial", ("s.t.c0",))),
    (Mask("m", "redact", ("*",)),),
]


def planned(masks: tuple[Mask, ...], binary: bool = False) -> ResultPlan:
    columns = [
        Column(f"c{i}", frozenset({("s", "t", f"c{i}")}), kind, binary)
        for i, kind in enumerate(TYPES)
    ]
    made = plan(masks, columns, KEY)
    assert made is not None
    return made


def table(cell: st.SearchStrategy[bytes | None]) -> st.SearchStrategy[list[list[bytes | None]]]:
    raw = cell.map(lambda value: None if value is None else b"\\x" + value.hex().encode())
    number = st.one_of(st.none(), st.integers(0, 10**16).map(lambda n: str(n).encode()))
    kinds = {"bytea": raw, "int8": number}
    cells = st.tuples(*(kinds.get(kind, cell) for kind in TYPES)).map(list)
    return st.lists(cells, max_size=6)


@given(table(NULLABLE), st.sampled_from(MASKS))
def test_rows_are_masked_as_their_cells_are(
    rows: list[list[bytes | None]], masks: tuple[Mask, ...]
) -> None:
    made = planned(masks)
    want = [
        [
            value if value is None or cell is None else cell.mask(value)
            for cell, value in zip(made.cells, each, strict=True)
        ]
        for each in rows
    ]
    masker = RowMasker(made)
    assert masker.mask(b"".join(map(row, rows))) == b"".join(map(row, want))
    assert [masker.mask(row(each)) for each in rows] == list(map(row, want))


FORMATS = [
    CopyFormat(),
    CopyFormat(delimiter=b"|"),
    CopyFormat(delimiter=b" ", null=b"nil"),
    CopyFormat(null=b"[redacted]"),
    CopyFormat("csv"),
    CopyFormat("csv", null=b"NIL", delimiter=b";"),
    CopyFormat("csv", escape=b"\\"),
    CopyFormat("csv", header=True),
]


def messages(bodies: list[bytes]) -> bytes:
    return b"".join(b"d" + struct.pack(">i", len(body) + 4) + body for body in bodies)


def bodies(chunk: bytes) -> list[bytes]:
    out = []
    while chunk:
        (length,) = struct.unpack_from(">i", chunk, 1)
        out.append(chunk[5 : 1 + length])
        chunk = chunk[1 + length :]
    return out


def slowly(made: ResultPlan, format: CopyFormat, stream: bytes) -> bytes:
    """A byte at a time no message is a row, so that every cell is looked at."""
    masker = CopyMasker(made, format)
    fed = [masker.feed(stream[at : at + 1]) for at in range(len(stream))]
    return b"".join(fed) + b"".join(bodies(masker.finish()))


def plain_field(fields: Fields, format: CopyFormat, value: bytes | None) -> bytes:
    """As the server writes it: quoted only where that is needed."""
    written = fields.write(value)
    if format.name == "text" or value is None:
        return written
    hard = (format.delimiter, format.quote, b"\n", b"\r")
    return written if value == format.null or any(mark in value for mark in hard) else value


@given(
    table(NO_NUL), st.sampled_from(MASKS), st.sampled_from(FORMATS), st.lists(st.integers(0, 900))
)
def test_copied_rows_are_the_same_quickly_and_a_byte_at_a_time(
    rows: list[list[bytes | None]], masks: tuple[Mask, ...], format: CopyFormat, cuts: list[int]
) -> None:
    made, fields = planned(masks), Fields(format)
    lines = [
        format.delimiter.join(plain_field(fields, format, value) for value in each) + b"\n"
        for each in rows
    ]
    if format.header:
        lines.insert(0, format.delimiter.join([b"c"] * len(TYPES)) + b"\n")
    stream = b"".join(lines)
    want = slowly(made, format, stream)

    masker = CopyMasker(made, format)
    masked = bodies(masker.mask(messages(lines)))
    assert b"".join(masked) + b"".join(bodies(masker.finish())) == want
    assert len(masked) == len(lines)

    masker = CopyMasker(made, format)
    assert b"".join(bodies(masker.mask(messages([stream])) + masker.finish())) == want

    masker = CopyMasker(made, format)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parts = [stream[a:b] for a, b in pairwise(places)]
    out = b"".join(masker.mask(messages([part])) for part in parts) + masker.finish()
    assert b"".join(bodies(out)) == want


def test_a_quoted_row_over_two_messages_is_one_row() -> None:
    rows = [b'1,"a\n', b'b",c,1,d,"e\n', b'a@b.com"\n']
    for masks in MASKS:
        made = planned(masks)
        masker = CopyMasker(made, CopyFormat("csv"))
        assert b"".join(bodies(masker.mask(messages(rows)))) == slowly(
            made, CopyFormat("csv"), b"".join(rows)
        )


def test_a_cell_is_masked_once() -> None:
    """A card's hash is a number too, and one in twenty may be a card's again."""
    made = plan(
        (Mask("m", "hash", (), ("card", "ssn")),), [Column("ssn", None, "int8", False)], KEY
    )
    assert made is not None
    cell = made.cells[0]
    assert cell is not None
    cards = [card for card in range(4111111111110000, 4111111111120000) if luhn(str(card))]
    once = [cell.mask(str(card).encode()) or b"" for card in cards]
    assert any(cell.mask(value) != value for value in once)
    chunk = b"".join(row([str(card).encode()]) for card in cards)
    assert RowMasker(made).mask(chunk) == b"".join(row([value]) for value in once)
    lines = [str(card).encode() + b"\n" for card in cards]
    copied = CopyMasker(made, CopyFormat()).mask(messages(lines))
    assert bodies(copied) == [value + b"\n" for value in once]


@pytest.mark.parametrize("format", FORMATS[:2] + FORMATS[4:6], ids=["tab", "bar", "csv", "other"])
@pytest.mark.parametrize("masks", MASKS)
def test_a_row_with_a_cell_more_or_less_is_refused(
    format: CopyFormat, masks: tuple[Mask, ...]
) -> None:
    made = planned(masks)
    for count in (1, len(TYPES) - 1, len(TYPES) + 1):
        line = format.delimiter.join([b"a@b.com"] * count) + b"\n"
        with pytest.raises(Exception, match=f"row has {count} fields"):
            CopyMasker(made, format).mask(messages([line]))


def test_a_cell_that_cannot_be_masked_among_many_ends_the_result() -> None:
    class Broken:
        name, core, hint, hinted_core, numbers = "broken", ("boom",), "", (), False

        def find(self, data: bytes, hinted: bool) -> list[tuple[int, int]]:
            raise KeyError("secret")

    content = Content([Rule(Broken(), False, Transform.REDACT)], KEY)
    cell = CellMask(type_of("text"), False, None, content, KEY)
    with pytest.raises(MaskingFailed, match="cannot be masked") as caught:
        cell.mask_many([b"boom"] * 5)
    assert "secret" not in str(caught.value)
