"""Properties of masking: the prefilter misses nothing, cuts change nothing, the rest stays."""

from __future__ import annotations

import struct
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed, ProtocolViolation
from sallyport.masking.detectors import BUILTIN, expand
from sallyport.masking.expressions import prefilter
from sallyport.masking.finders import Detector
from sallyport.masking.numbers import numeric_binary, numeric_text
from sallyport.masking.plan import Column, ResultPlan, plan, text_masker
from sallyport.masking.stream import HOLD, StreamMasker
from sallyport.protocols.postgres.masks.copy_fields import CopyFormat
from sallyport.protocols.postgres.masks.copy_rows import CopyMasker
from sallyport.protocols.postgres.masks.rows import RowMasker
from tests.unit.masking.samples import HARMLESS, IN_CONTEXT, SAMPLES

KEY = b"0123456789abcdef" * 2
SECRETS = [sample for samples in SAMPLES.values() for sample in samples]
SECRETS += [text for cases in IN_CONTEXT.values() for text, _ in cases]
NOISE = st.sampled_from(
    [
        *HARMLESS,
        " ",
        "-",
        ".",
        "1",
        "4",
        "41",
        "a",
        "é",
        "@",
        "\n",
        "\t",
        "\\",
        '"',
        "\u00a0",
        "/",
        "+",
    ]
)
PIECES = st.lists(st.one_of(st.sampled_from(SECRETS), NOISE, st.text(max_size=8)), max_size=6)
TEXT = PIECES.map("".join)
MASKS = (Mask("m", "redact", (), ("all",)),)


def text_plan(count: int, masks: tuple[Mask, ...] = MASKS) -> ResultPlan:
    made = plan(masks, [Column(f"c{i}", None, "text", False) for i in range(count)], KEY)
    assert made is not None
    return made


def row(cells: list[bytes | None]) -> bytes:
    body = struct.pack(">h", len(cells))
    for cell in cells:
        body += b"\xff\xff\xff\xff" if cell is None else struct.pack(">i", len(cell)) + cell
    return b"D" + struct.pack(">i", len(body) + 4) + body


@given(TEXT, st.binary(max_size=8), st.binary(max_size=8), st.sampled_from(sorted(BUILTIN)))
def test_the_prefilter_is_a_superset(text: str, before: bytes, after: bytes, name: str) -> None:
    """Whatever `find` reports in a cell lies under a hit on the wire, whatever stands around."""
    detector: Detector = BUILTIN[name]
    cell = text.encode("utf-8", "surrogatepass")
    for hinted in (False, True):
        cores = detector.core + (detector.hinted_core if hinted else ())
        found = detector.find(cell, hinted)
        hits = prefilter(cores).spans(before + cell + after)
        for start, end in found:
            start, end = start + len(before), end + len(before)
            assert any(hit[0] < end and hit[1] > start for hit in hits)


@given(TEXT, st.sampled_from(sorted(BUILTIN)))
def test_spans_are_ordered_and_inside(text: str, name: str) -> None:
    cell = text.encode("utf-8", "surrogatepass")
    last = 0
    for start, end in BUILTIN[name].find(cell, True):
        assert last <= start < end <= len(cell)
        last = end


@given(st.lists(st.lists(st.one_of(st.none(), TEXT), min_size=3, max_size=3), max_size=5))
def test_a_chunk_is_masked_as_its_cells_are(table: list[list[str | None]]) -> None:
    made = text_plan(3)
    cells = [
        [None if cell is None else cell.encode("utf-8", "surrogatepass") for cell in each]
        for each in table
    ]
    want = b"".join(
        row(
            [
                value if value is None or cell is None else cell.mask(value)
                for cell, value in zip(made.cells, each, strict=True)
            ]
        )
        for each in cells
    )
    assert RowMasker(made).mask(b"".join(map(row, cells))) == want


@given(
    st.lists(st.lists(st.one_of(st.none(), st.binary(max_size=40)), min_size=4, max_size=4)),
    st.sets(st.integers(0, 3)),
)
def test_unmasked_cells_stay_as_they_are(table: list[list[bytes | None]], masked: set[int]) -> None:
    columns = [Column(f"c{i}", frozenset({("s", "t", f"c{i}")}), "text", False) for i in range(4)]
    masks = (Mask("m", "redact", tuple(f"s.t.c{i}" for i in masked)),)
    made = plan(masks, columns, KEY)
    chunk = b"".join(map(row, table))
    if made is None:
        assert not masked
        return
    want = [
        [b"[redacted]" if i in masked and cell is not None else cell for i, cell in enumerate(each)]
        for each in table
    ]
    assert RowMasker(made).mask(chunk) == b"".join(map(row, want))


@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_a_violation_or_passes(chunk: bytes, rows: bool) -> None:
    masks = (Mask("m", "redact", ("*",), ("all",)), Mask("n", "hash", (), ("card",)))
    columns = [
        Column("a", frozenset({("s", "t", "a")}), "text", False),
        Column("b", None, "json", False),
        Column("c", None, "numeric", True),
    ]
    made = plan(masks, columns, KEY)
    assert made is not None
    try:
        if rows:
            RowMasker(made).mask(b"D" + struct.pack(">ih", len(chunk) + 6, 3) + chunk)
        else:
            message = b"d" + struct.pack(">i", len(chunk) + 4) + chunk
            for name in ("text", "csv", "binary"):
                CopyMasker(made, CopyFormat(name)).mask(message)
    except (MaskingFailed, ProtocolViolation):
        pass


@given(st.binary(max_size=80), st.sampled_from(["json", "jsonb", "_text", "record", "_int8"]))
def test_garbage_in_a_cell_is_a_failure_or_masked(raw: bytes, type: str) -> None:
    for binary in (False, True):
        made = plan(MASKS, [Column("c", None, type, binary)], KEY)
        assert made is not None
        assert made.cells[0] is not None
        try:
            masked = made.cells[0].mask(raw + b"alice@example.com")
        except MaskingFailed:
            continue
        assert masked is None or b"alice@example.com" not in masked


@given(TEXT.map(lambda text: text.replace("\0", "")), st.lists(st.integers(0, 400), max_size=5))
def test_a_copy_cut_anywhere_gives_the_same(text: str, cuts: list[int]) -> None:
    value = text.encode("utf-8", "surrogatepass")
    quoted = b'"' + value.replace(b'"', b'""') + b'"'
    stream = b"1," + quoted + b"\n2,," + b"\n" + quoted + b"," + quoted + b"\n"
    stream = stream.replace(b"\n2,,\n", b"\n2,\n")
    made = text_plan(2)

    def copied(parts: list[bytes]) -> bytes:
        masker = CopyMasker(made, CopyFormat("csv"))
        return b"".join(map(masker.feed, parts)) + masker.finish()

    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parts = [stream[a:b] for a, b in pairwise(places)]
    assert copied(parts) == copied([stream])


@given(st.lists(TEXT, max_size=4).map("\n".join), st.lists(st.integers(0, 300), max_size=6))
def test_a_stream_cut_anywhere_gives_the_same(text: str, cuts: list[int]) -> None:
    stream = text.encode("utf-8", "surrogatepass")
    masker = text_masker(MASKS, KEY)
    assert masker is not None

    def streamed(parts: list[bytes]) -> bytes:
        each = StreamMasker(masker)
        return b"".join(map(each.feed, parts)) + each.finish()

    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parts = [stream[a:b] for a, b in pairwise(places)]
    whole = streamed([stream])
    assert streamed(parts) == whole
    assert streamed([stream[i : i + 1] for i in range(len(stream))]) == whole


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3 * HOLD),
    st.sampled_from(SECRETS),
    st.integers(1, HOLD),
    st.sampled_from([" ", "x", "4", "é", "ab ", "-"]),
)
def test_a_long_line_hides_nothing(place: int, secret: str, step: int, filler: str) -> None:
    before = (filler * (place // len(filler) + 1))[:place] + " ; "
    stream = (before + secret + " ; tail").encode()
    masker = text_masker(MASKS, KEY)
    assert masker is not None
    each = StreamMasker(masker)
    out = b"".join(each.feed(stream[i : i + step]) for i in range(0, len(stream), step))
    out += each.finish()
    other = StreamMasker(masker)
    assert out == other.feed(stream) + other.finish()
    for name in SAMPLES:
        for start, end in BUILTIN[name].find(secret.encode(), False):
            assert secret.encode()[start:end] not in out


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6) | st.integers().map(str))
def test_binary_numerics_go_there_and_back(value: object) -> None:
    text = f"{value:f}" if not isinstance(value, str) else value
    if text.startswith("-") and not text.strip("-0."):
        text = text[1:]
    assert numeric_text(numeric_binary(text)) == text


def test_all_detectors_together_hit_what_each_hits() -> None:
    together = prefilter(tuple(core for each in expand(("all",)) for core in each.core))
    for name, samples in SAMPLES.items():
        for sample in samples:
            assert together.hits(sample.encode()), name
