"""Plans: which column gets what, and what cannot be carried out."""

from __future__ import annotations

import pytest

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.core.operation import Parameter
from sallyport.masking.plan import Column, ResultPlan, mask_text, plan, text_masker

KEY = b"0123456789abcdef" * 2


def column(name: str, *origins: str, type: str = "text", binary: bool = False) -> Column:
    parts = frozenset(tuple(origin.split(".")) for origin in origins)
    return Column(name, parts or None, type, binary)  # type: ignore[arg-type]


def made(*masks: Mask, columns: list[Column]) -> ResultPlan:
    result = plan(masks, columns, KEY)
    assert result is not None
    return result


SSN = column("ssn", "public.customers.ssn")
NOTE = column("note", "public.customers.note")
COMPUTED = column("upper")


def test_no_mask_no_plan() -> None:
    assert plan((), [SSN], KEY) is None
    assert plan((Mask("m", "redact", ("public.other.*",)),), [SSN], KEY) is None


def test_a_column_is_masked_by_its_origin_not_its_name() -> None:
    masks = (Mask("m", "redact", ("public.customers.ssn",)),)
    result = made(*masks, columns=[column("harmless", "public.customers.ssn"), NOTE])
    assert result.transforms == ("redact", "")
    assert plan(masks, [column("ssn", "public.orders.ssn"), column("ssn")], KEY) is None


def test_any_origin_counts() -> None:
    both = column("x", "public.child.ssn", "public.customers.ssn")
    assert made(Mask("m", "null", ("public.customers.*",)), columns=[both]).transforms == ("null",)


@pytest.mark.parametrize(
    ("transforms", "strongest"),
    [
        (("partial", "hash"), "hash"),
        (("hash", "redact", "partial"), "redact"),
        (("null", "redact"), "null"),
        (("partial",), "partial"),
    ],
)
def test_the_strongest_transform_counts(transforms: tuple[str, ...], strongest: str) -> None:
    masks = [Mask(name, name, ("*.customers.ssn",)) for name in transforms]
    assert made(*masks, columns=[SSN]).transforms == (strongest,)
    assert made(*reversed(masks), columns=[SSN]).transforms == (strongest,)


def test_detectors_search_every_column_but_the_masked() -> None:
    result = made(Mask("m", "redact", ("*.*.ssn",), ("email",)), columns=[SSN, NOTE, COMPUTED])
    assert [cell is not None and cell.content is not None for cell in result.cells] == [
        False,
        True,
        True,
    ]


def test_unless_columns_exempts_from_detectors() -> None:
    mask = Mask("m", "redact", (), ("email",), ("public.customers.note",))
    assert plan((mask,), [NOTE], KEY) is None


def test_unless_columns_never_exempts_a_computed_column() -> None:
    mask = Mask("m", "redact", (), ("email",), ("*",))
    assert plan((mask,), [COMPUTED], KEY) is not None


def test_unless_columns_must_name_every_origin() -> None:
    mixed = column("x", "public.customers.note", "public.customers.email")
    mask = Mask("m", "redact", (), ("email",), ("public.customers.note",))
    assert plan((mask,), [mixed], KEY) is not None


def test_an_exemption_of_one_mask_does_not_lift_another() -> None:
    first = Mask("a", "redact", (), ("email",), ("*.*.note",))
    second = Mask("b", "redact", (), ("email",))
    assert plan((first, second), [NOTE], KEY) is not None


def test_numbers_are_searched_for_what_may_be_one() -> None:
    mask = Mask("m", "redact", (), ("email", "ssn"))
    assert plan((mask,), [column("id", type="20")], KEY) is None
    assert plan((mask,), [column("ssn", type="20")], KEY) is not None
    assert plan((mask,), [column("x", "public.t.ssn", type="20")], KEY) is not None
    assert plan((Mask("m", "redact", (), ("card",)),), [column("id", type="20")], KEY) is not None


@pytest.mark.parametrize(
    "mask",
    [
        Mask("m", "redact", (), ("nothing",)),
        Mask("m", "blur", ("*",)),
        Mask("m", "redact", ("{",)),
        Mask("m", "redact", ("*",), (), ("{",)),
    ],
)
def test_a_mask_that_cannot_be_carried_out_ends_the_result(mask: Mask) -> None:
    with pytest.raises(MaskingFailed):
        plan((mask,), [SSN], KEY)


def test_a_hash_needs_a_key() -> None:
    with pytest.raises(MaskingFailed):
        plan((Mask("m", "hash", ("*",)),), [SSN], b"short")


def test_a_hash_is_the_same_in_every_column_and_differs_by_key() -> None:
    mask = (Mask("m", "hash", ("*",)),)
    one, two = made(*mask, columns=[SSN, column("other", "a.b.c", type="varchar")]).cells
    assert one is not None
    assert two is not None
    assert one.mask(b"123-45-6789") == two.mask(b"123-45-6789") != one.mask(b"123-45-6780")
    other = plan(mask, [SSN], b"another key of sixteen bytes")
    assert other is not None
    assert other.cells[0] is not None
    assert other.cells[0].mask(b"123-45-6789") != one.mask(b"123-45-6789")


MASKS = (Mask("m", "redact", ("public.customers.ssn",), ("email", "card")),)


def test_texts_are_masked() -> None:
    text = "duplicate key: (email)=(alice@example.com), card 4111 1111 1111 1111"
    assert mask_text(text, MASKS, KEY) == (
        "duplicate key: (email)=([redacted:email]), card [redacted:card]"
    )
    assert mask_text("nothing", MASKS, KEY) == "nothing"
    assert mask_text("a@b.com", (), KEY) == "a@b.com"


def test_a_text_under_null_is_redacted() -> None:
    masks = (Mask("m", "null", (), ("email",)),)
    assert mask_text("to a@b.com", masks, KEY) == "to [redacted:email]"


def test_a_mask_without_detectors_leaves_texts() -> None:
    assert text_masker((Mask("m", "redact", ("*",)),), KEY) is None


def test_text_that_is_no_utf8_survives() -> None:
    masker = text_masker(MASKS, KEY)
    assert masker is not None
    assert masker.mask_bytes(b"\xff\xfe a@b.com \xc3") == b"\xff\xfe [redacted:email] \xc3"
    assert masker.mask_text("\ud800 a@b.com") is not None


def test_parameters_are_masked_in_their_format() -> None:
    masker = text_masker(MASKS, KEY)
    assert masker is not None
    given = (
        Parameter("$1", "25", b"alice@example.com", False),
        Parameter("$2", "20", (4111111111111111).to_bytes(8, "big"), True),
        Parameter("$3", "20", (41).to_bytes(8, "big"), True),
        Parameter("$4", "0", b"alice@example.com", False),
        Parameter("$5", "0", b"\x00\x01alice@example.com", True),
        Parameter("$6", "114", b'{"not json alice@example.com', False),
        Parameter("$7", "25", None, False),
    )
    values = [parameter.value for parameter in masker.mask_parameters(given)]
    assert values == [
        b"[redacted:email]",
        bytes(8),
        (41).to_bytes(8, "big"),
        b"[redacted:email]",
        None,
        b'{"not json [redacted:email]',
        None,
    ]
    clean = given[2:3]
    assert masker.mask_parameters(clean) is clean
