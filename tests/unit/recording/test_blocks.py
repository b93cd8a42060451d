"""Blocks: what was packed comes out again, and what is no block is said to be none."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sallyport.recording.blocks import PACKED, Columns, pack, places, unpack_columns, unpack_texts
from sallyport.recording.files import FormatError


@given(st.lists(st.text(), max_size=200))
def test_texts_come_out_as_they_went_in(texts: list[str]) -> None:
    assert unpack_texts(pack(texts)) == texts


@given(st.integers(0, 300))
def test_columns_come_out_as_they_went_in(count: int) -> None:
    some = list(range(count))
    names = [str(n % 7) for n in some]
    at = [n / 3 for n in some]
    columns = Columns(some, at, some, some, names, names, names, some, some, at)
    assert unpack_columns(pack(columns)) == columns


def test_many_alike_are_small() -> None:
    count = 1000
    zeros, names, ends = [0] * count, [""] * count, [0.001] * count
    columns = Columns(
        list(range(count)), [1e9 + n for n in range(count)], zeros, zeros, names,
        ["SELECT 1"] * count, names, [1] * count, [9] * count, ends,
    )  # fmt: skip
    assert len(pack(columns)) < 8 * count


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\0\xc1",
        PACKED + b"no zstd",
        PACKED + zstandard.ZstdCompressor().compress(b"\xc1"),
        PACKED + bytes.fromhex("28b52ffde000000000000000ff"),
    ],
)
def test_what_is_no_block_is_refused(stored: bytes) -> None:
    with pytest.raises(FormatError):
        unpack_texts(stored)
    with pytest.raises(FormatError):
        unpack_columns(stored)


def test_places_are_those_that_are_asked_for() -> None:
    columns = Columns([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], [7, 8, 7, 8], [0, 0, 1, 1])
    every = (columns, None, None, None, None)
    assert list(places(*every)) == [0, 1, 2, 3]
    assert list(places(columns, frozenset({7}), frozenset({1}), None, None)) == [2]
    assert list(places(columns, None, None, 2.0, 4.0)) == [1, 2]
