"""Tallies: what detectors find is counted by column, in every type and format, and never a value."""

from __future__ import annotations

import struct

import pytest

from sallyport.core.decision import Mask
from sallyport.core.event import OTHER_COLUMNS, FindingCount
from sallyport.masking.cells import CellMask
from sallyport.masking.findings import MOST, Keys, Tally
from sallyport.masking.plan import Column, plan

KEY = b"k" * 16
MAIL = b"ada@example.org"
DETECT = Mask("m", "redact", (), ("email", "card"))
CARD = b"4111 1111 1111 1111"


def cell(type_: str, binary: bool = False, *masks: Mask, name: str = "c") -> CellMask:
    origins = frozenset({("public", "t", name)})
    made = plan(masks or (DETECT,), [Column(name, origins, type_, binary)], KEY)
    assert made is not None and made.cells[0] is not None
    return made.cells[0]


def counted(mask: CellMask, *raws: bytes) -> dict[str, tuple[int, int]]:
    """What each way of masking counts: both have to be the same."""
    one, many = Tally(), Tally()
    for raw in raws:
        mask.mask(raw, one.seen)
        if one.seen:
            one.settle(3)
    mask.mask_many(list(raws), many, 3)
    found = one.take()
    assert sorted(found) == sorted(many.take())
    assert one.empty and many.empty
    assert all(column == 3 for column, *_ in found)
    return {name: (hits, cells) for _, name, hits, cells in found}


def array(*texts: bytes) -> bytes:
    body = b"".join(struct.pack(">i", len(text)) + text for text in texts)
    return struct.pack(">iiIii", 1, 0, 25, len(texts), 1) + body


def record(*texts: bytes) -> bytes:
    fields = (struct.pack(">Ii", 25, len(text)) + text for text in texts)
    return struct.pack(">i", len(texts)) + b"".join(fields)


TWICE = MAIL + b" or " + MAIL


@pytest.mark.parametrize(
    ("type_", "binary", "raws", "found"),
    [
        ("text", False, [MAIL, b"nothing", TWICE], {"email": (3, 2)}),
        ("text", True, [MAIL, b"x", b"y"], {"email": (1, 1)}),
        ("text", False, [b"a", b"b", b"c\0" + MAIL], {"email": (1, 1)}),
        ("text", False, [MAIL], {"email": (1, 1)}),
        ("text", False, [MAIL + b", " + CARD, CARD, b"-"], {"email": (1, 1), "card": (2, 2)}),
        ("xml", False, [b"<a>" + TWICE + b"</a>"], {"email": (2, 1)}),
        ("json", False, [b'{"a": "' + MAIL + b'", "b": ["' + MAIL + b'"]}'], {"email": (2, 1)}),
        ("jsonb", True, [b'\x01{"a": "' + MAIL + b'"}', b"\x01{}"], {"email": (1, 1)}),
        ("json", False, [b'{"n": 4111111111111111}'], {"card": (1, 1)}),
        ("bytea", False, [b"\\x" + MAIL.hex().encode(), b"\\x00"], {"email": (1, 1)}),
        ("bytea", True, [MAIL], {"email": (1, 1)}),
        ("_text", False, [b"{" + MAIL + b",x," + MAIL + b"}", b"{x}"], {"email": (2, 1)}),
        ("_text", True, [array(MAIL, b"x", MAIL), array(b"x")], {"email": (2, 1)}),
        ("record", False, [b"(1," + MAIL + b")"], {"email": (1, 1)}),
        ("record", False, [b'(1,"(2,' + MAIL + b')")'], {"email": (1, 1)}),
        ("record", True, [record(b"x", MAIL), record(b"x")], {"email": (1, 1)}),
        ("int8", True, [struct.pack(">q", 4111111111111111), bytes(8)], {"card": (1, 1)}),
        ("int8", False, [b"4111111111111111", b"7"], {"card": (1, 1)}),
        ("mood", False, [MAIL, b"happy"], {"email": (1, 1)}),
        ("int8range", True, [b"\x01"], {}),
    ],
)  # fmt: skip
def test_every_type_is_counted(
    type_: str, binary: bool, raws: list[bytes], found: dict[str, tuple[int, int]]
) -> None:
    assert counted(cell(type_, binary), *raws) == found


def test_a_hinted_number_is_one_match() -> None:
    hinted = cell("int8", True, Mask("m", "redact", (), ("phone",)), name="phone")
    assert counted(hinted, struct.pack(">q", 4930123456)) == {"phone": (1, 1)}


def test_a_null_transform_counts_what_it_takes_away() -> None:
    assert counted(cell("text", False, Mask("m", "null", (), ("email",))), MAIL, b"x", TWICE) == {
        "email": (3, 2)
    }


def test_a_column_that_a_mask_names_is_no_finding() -> None:
    named = Mask("n", "partial", columns=("public.t.c",))
    for type_, raw in (("text", MAIL), ("_text", b"{" + MAIL + b"}"), ("json", b'"' + MAIL + b'"')):
        assert counted(cell(type_, False, DETECT, named), raw, raw, raw) == {}


def test_masking_leaves_the_plan_as_it_was_for_others() -> None:
    """Plans are shared: two results count apart."""
    shared = cell("text")
    first, second = Tally(), Tally()
    shared.mask_many([MAIL] * 5, first)
    shared.mask_many([b"x"] * 5, second)
    assert second.empty
    assert first.take() == [(0, "email", 5, 5)]
    assert first.empty


def test_the_names_of_a_session_are_bounded_and_nothing_is_left_uncounted() -> None:
    keys = Keys()
    many = [FindingCount(f"public.t.c{n}", "email", 2, 1) for n in range(MOST + 50)]
    first = keys.bounded(many)
    assert len(first) == MOST + 1
    assert first[-1] == FindingCount(OTHER_COLUMNS, "email", 100, 50)
    assert sum(one.hits for one in first) == 2 * len(many)
    later = keys.bounded([many[0], many[-1], many[-1], FindingCount("public.t.c0", "card", 1, 1)])
    assert later == (
        FindingCount("public.t.c0", "email", 2, 1),
        FindingCount(OTHER_COLUMNS, "email", 4, 2),
        FindingCount(OTHER_COLUMNS, "card", 1, 1),
    )


def test_counts_of_one_name_come_together() -> None:
    one = FindingCount("public.t.c", "email", 1, 1)
    assert Keys().bounded([one, one]) == (FindingCount("public.t.c", "email", 2, 2),)
