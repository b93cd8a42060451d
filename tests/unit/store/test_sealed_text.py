"""Texts in the store: sealed under a key, bound to their column, and never half opened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.store.sealed_text import MARK, UNREADABLE, SealedText

KEY = bytes(range(32))


@given(st.text())
def test_what_was_sealed_opens_again_and_shows_nothing(text: str) -> None:
    sealed = SealedText(KEY, "texts")
    stored = sealed.seal(text)
    assert sealed.open(stored) == text
    assert stored.startswith(MARK)
    assert len(text) < 4 or text not in stored
    assert stored != sealed.seal(text), "equal texts must not look equal"


def test_a_lone_surrogate_survives() -> None:
    sealed = SealedText(KEY, "texts")
    assert sealed.open(sealed.seal("a\udc80b")) == "a\udc80b"


def test_without_a_key_texts_are_stored_as_they_are() -> None:
    plain = SealedText(None, "texts")
    assert plain.seal("SELECT 1") == "SELECT 1"
    assert SealedText(KEY, "texts").open("SELECT 1") == "SELECT 1"


@pytest.mark.parametrize(
    "reader", [SealedText(None, "texts"), SealedText(bytes(32), "texts"), SealedText(KEY, "other")]
)
def test_who_has_not_the_key_reads_nothing(reader: SealedText) -> None:
    stored = SealedText(KEY, "texts").seal("SELECT 1")
    assert reader.open(stored) == UNREADABLE


@pytest.mark.parametrize("stored", [MARK, MARK + "?", MARK + "AAAA", MARK + "A" * 64])
def test_what_was_altered_is_unreadable(stored: str) -> None:
    assert SealedText(KEY, "texts").open(stored) == UNREADABLE
