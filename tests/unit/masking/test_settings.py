"""Settings of masks: which counts where several meet, and which cannot be carried out."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.masking.plan import Column, plan, whole_setting
from sallyport.masking.settings import REDACT, Setting, setting_of, strongest
from sallyport.masking.transforms import Transform

KEY = b"0123456789abcdef" * 2
ORIGIN = ("public", "customers", "ssn")
HASH, NULL, PARTIAL = Setting("hash"), Setting("null"), Setting("partial")
ENDS = Setting("partial", keep_end=2)
TENS = Setting("generalise")
HUNDREDS = Setting("generalise", bucket=Decimal(100))
ONE, OTHER = Setting("constant", value="a"), Setting("constant", value="b")
EMAIL, PHONE = Setting("redact", keys=(("email",),)), Setting("redact", keys=(("phone",),))
HASHED = Setting("hash", keys=(("email",),))


@pytest.mark.parametrize(
    ("met", "counts"),
    [
        ((), None),
        ((ENDS,), ENDS),
        ((ENDS, ENDS), ENDS),
        ((PARTIAL, TENS), TENS),
        ((TENS, HASH), HASH),
        ((HASH, REDACT), REDACT),
        ((REDACT, ONE), ONE),
        ((ONE, NULL), NULL),
        ((PARTIAL, ENDS), REDACT),
        ((TENS, HUNDREDS), REDACT),
        ((ONE, OTHER), REDACT),
        ((ONE, OTHER, NULL), NULL),
        ((PARTIAL, ENDS, HASH), HASH),
        ((EMAIL, PHONE), Setting("redact", keys=(("email",), ("phone",)))),
        ((EMAIL, HASHED), REDACT),
        ((EMAIL, PARTIAL), REDACT),
        ((EMAIL, HASH), REDACT),
        ((EMAIL, ONE), ONE),
        ((HASHED, NULL), NULL),
    ],
)
def test_the_strongest_counts_in_any_order(
    met: tuple[Setting, ...], counts: Setting | None
) -> None:
    assert all(strongest(order) == counts for order in itertools.permutations(met))


@pytest.mark.parametrize(
    "mask",
    [
        Mask("m", "generalise", ("*",)),
        Mask("m", "generalise", ("*",), bucket=Decimal("0.5")),
        Mask("m", "constant", ("*",), value="somebody"),
        Mask("m", "partial", ("*",), keep_start=0),
        Mask("m", "partial", ("*",), keep_end=4),
        Mask("m", "null", ("*",), keys=("a.b",)),
    ],
)
@pytest.mark.parametrize("type", ["25", "23", "3802", "1009", "16999"])
@pytest.mark.parametrize("binary", [False, True])
def test_results_redact_what_only_the_database_can_mask(
    mask: Mask, type: str, binary: bool
) -> None:
    made = plan((mask,), [Column("x", frozenset({ORIGIN}), type, binary)], KEY)
    assert made is not None and made.cells[0] is not None
    assert made.cells[0].whole is Transform.REDACT
    assert made.cells[0].mask(b"\x01secret") != b"\x01secret"


def test_what_is_computed_from_such_a_column_is_null() -> None:
    mask = Mask("m", "constant", ("public.customers.ssn",), value="x")
    behind = frozenset({ORIGIN})
    tail = frozenset({("public", "customers", "tail"), ORIGIN})
    assert whole_setting((mask,), tail, behind) == NULL


@pytest.mark.parametrize(
    "mask",
    [
        Mask("m", "blur"),
        Mask("m", "constant"),
        Mask("m", "redact", value="x"),
        Mask("m", "hash", keep_end=4),
        Mask("m", "partial", keep_start=-1),
        Mask("m", "partial", keep_end=101),
        Mask("m", "redact", bucket=Decimal(10)),
        Mask("m", "generalise", bucket=Decimal(0)),
        Mask("m", "generalise", bucket=Decimal(-1)),
        Mask("m", "generalise", bucket=Decimal("NaN")),
        Mask("m", "generalise", bucket=Decimal("1e16")),
        Mask("m", "generalise", bucket=Decimal("1e-13")),
        Mask("m", "redact", keys=("",)),
        Mask("m", "redact", keys=("a..b",)),
        Mask("m", "redact", keys=("a\0b",)),
        Mask("m", "redact", keys=(".".join("abcdefghi"),)),
        Mask("m", "redact", keys=tuple(map(str, range(65)))),
    ],
)
def test_what_cannot_be_carried_out_ends_the_result(mask: Mask) -> None:
    with pytest.raises(ValueError, match=r"."):
        setting_of(mask)
    with pytest.raises(MaskingFailed):
        plan((mask,), [Column("x", frozenset({ORIGIN}), "25", False)], KEY)
