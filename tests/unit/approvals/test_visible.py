"""What an approver reads hides, reorders and redraws nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.visible import person, shows, visible


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET a = 1 -- \u202e gnihton",
        "SELECT 'a\u2066b\u2069'",
        "SELECT 1;\x1b[2K\x1b[1A",
        "DROP\u200bTABLE",
        "a\rb",
        "a\x00b",
        "a\x85b",
        "a\u2028b",
        "a\u3164b",
        "a\ufe0fb",
        "a\u00adb",
        "a\U000e0041b",
        "a\ud800b",
        "a\u00a0b",
        "\ufeffa",
        "\x7f",
    ],
)
def test_what_would_not_be_seen_is_spelled_out(text: str) -> None:
    hidden = [c for c in text if not c.isprintable() or c in "\u3164\ufe0f"]
    shown = visible(text)
    assert hidden
    for character in hidden:
        assert character not in shown
        assert f"<U+{ord(character):04X}>" in shown
    assert not shows(text)


def test_lines_tabs_and_the_letters_of_the_world_stay() -> None:
    text = "SELECT\n\t'grüße', '你好', 'שלום', '👍'"
    assert visible(text) == text


@given(st.text())
def test_nothing_invisible_is_left(text: str) -> None:
    left = {unicodedata.category(c) for c in visible(text) if c not in "\n\t "}
    assert not left & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
    assert visible(visible(text)) == visible(text)


@given(st.text(alphabet=st.characters(max_codepoint=126, min_codepoint=32)))
def test_plain_text_is_left_alone(text: str) -> None:
    assert visible(text) == text


def test_two_spellings_of_one_person_are_one_person() -> None:
    assert person("Dana") == person("dana") == person("\uff24\uff21\uff2e\uff21") == person("dana ")
    assert person("dana-one") == person("dana\u2010one") == person("dana\u2212one")
    assert person("dana") != person("dan")
