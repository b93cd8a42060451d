"""Which expression a setting becomes, on columns of one type and another."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sallyport.masking.settings import REDACT, Setting
from sallyport.protocols.postgres.masks.at_source import column_expression, source_mask
from sallyport.sql.catalogue import Column
from sallyport.sql.column_types import ColumnType
from sallyport.sql.rewriting.masks import SourceMask

KEY = "0123456789abcdef"
NUMBER = Column("n", 1, "int4", shape=ColumnType("base", "int4", "pg_catalog.int4"))
SHORT = Column("n", 1, "varchar", shape=ColumnType("base", "varchar", "pg_catalog.varchar(4)"))


@pytest.mark.parametrize(
    ("setting", "mask"),
    [
        (Setting("partial"), SourceMask("ends", 2, 4)),
        (Setting("partial", keep_start=0), SourceMask("kept", 0, 0)),
        (Setting("partial", keep_end=3), SourceMask("kept", 0, 3)),
        (Setting("partial", keys=(("a",),)), SourceMask("kept", 2, 4, keys=(("a",),))),
        (Setting("generalise"), SourceMask("generalise", bucket=Decimal(10))),
        (
            Setting("generalise", bucket=Decimal(100)),
            SourceMask("generalise", bucket=Decimal(100)),
        ),
        (Setting("constant", value=""), SourceMask("constant")),
        (Setting("null", keys=(("a", "b"),)), SourceMask("null", keys=(("a", "b"),))),
        (Setting("hash"), SourceMask("hash")),
    ],
)
def test_a_setting_is_carried_out_by_the_database(setting: Setting, mask: SourceMask) -> None:
    assert source_mask(setting) == mask


@pytest.mark.parametrize("column", [NUMBER, SHORT])
def test_a_constant_that_the_type_cannot_have_is_redacted(column: Column) -> None:
    redacted = column_expression(column, REDACT, KEY)
    assert column_expression(column, Setting("constant", value="somebody"), KEY) == redacted
    assert column_expression(column, Setting("constant", value="7"), KEY) != redacted
