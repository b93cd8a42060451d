"""Detectors of an operator's own: what they find, and what they leave alone."""

from __future__ import annotations

import itertools
import json

import pytest

from sallyport.core.decision import Mask, revision_of
from sallyport.core.detector import CustomDetector
from sallyport.core.errors import MaskingFailed
from sallyport.masking.custom import made
from sallyport.masking.finders import CONTEXT
from sallyport.masking.plan import Column, mask_text, plan, text_masker
from sallyport.masking.stream import CONTEXT as KEPT
from sallyport.masking.stream import StreamMasker
from sallyport.masking.words import FORMED, form_of, spellings

KEY = b"0123456789abcdef"
STAFF = CustomDetector("staff", ("EMP-[0-9]{6}",), left="word", right="word")
BADGE = CustomDetector("badge", ("[0-9]{5}",), context=("badge", "personnel"), left="digit")
WORDS = "Bluebird\nNight jar\nStraße\nCafé\nC++\n東京\n\u039f\u03b4\u03cc\u03c2\nX9"
NAMES = CustomDetector("names", words=WORDS, ignore_case=True, left="word", right="word")


def mask(*detectors: CustomDetector, transform: str = "redact") -> Mask:
    names = tuple(detector.name for detector in detectors)
    return Mask("rule", transform, detectors=names, custom=detectors)


def hidden(text: str, *detectors: CustomDetector) -> str:
    return mask_text(text, (mask(*detectors),), KEY).replace("[redacted:", "[")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("EMP-123456", "[staff]"),
        ("of EMP-123456, EMP-654321.", "of [staff], [staff]."),
        ("XEMP-123456 EMP-1234567 EMP-123456a", None),
        ("emp-123456", None),
        (r"{\"a\": \"\nEMP-123456\"}", r"{\"a\": \"\n[staff]\"}"),
    ],
)
def test_a_pattern(text: str, after: str | None) -> None:
    assert hidden(text, STAFF) == (text if after is None else after)


def test_a_group_of_a_pattern_is_no_part_of_its_own() -> None:
    either = CustomDetector("either", ("(EMP|TMP)-[0-9]{3}",))
    assert hidden("TMP-123", either) == "[either]"


@pytest.mark.parametrize("text", ["9", "a9", "9a", "a 9 b"])
def test_a_match_may_be_as_short_as_a_character(text: str) -> None:
    one = CustomDetector("one", ("9",))
    assert hidden(text, one) == text.replace("9", "[one]")
    content = text_masker((mask(one),), KEY)
    assert content is not None
    texts = [text.encode()] * 5
    assert content.content.mask_many(texts) == [text.replace("9", "[redacted:one]").encode()] * 5


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("badge 12345, 54321", "badge [badge], [badge]"),
        ("Personnel no. 12345", "Personnel no. [badge]"),
        ("12345 badge", None),
        ("badge\n12345", None),
        ("badge\x0012345", None),
        ("badge" + " " * (CONTEXT - 5) + "12345", "badge" + " " * (CONTEXT - 5) + "[badge]"),
        ("badge" + " " * (CONTEXT - 4) + "12345", None),
    ],
)
def test_a_word_that_has_to_stand_before(text: str, after: str | None) -> None:
    assert hidden(text, BADGE) == (text if after is None else after)


def test_a_stream_keeps_as_much_as_a_word_before_may_take() -> None:
    assert CONTEXT <= KEPT
    masker = text_masker((mask(BADGE),), KEY)
    assert masker is not None
    stream = StreamMasker(masker)
    text = b"x" * 70_000 + b" badge no " + b"12345 \n12345\n"
    out = b"".join(stream.feed(text[at : at + 999]) for at in range(0, len(text), 999))
    assert (out + stream.finish()).endswith(b" badge no [redacted:badge] \n12345\n")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("bluebird, BLUEBIRD", "[names], [names]"),
        ("bluebirds xbluebird bluebird2 2bluebird", None),
        ("project_bluebird_v2", "project_[names]_v2"),
        ("ébluebird bluebirdé bluebird\u0436", None),
        ("«bluebird»", "«[names]»"),
        ("NIGHT JAR night  jar", "[names] night  jar"),
        ("strasse STRASSE straße STRAẞE", "[names] [names] [names] [names]"),
        ("caf\u00e9 cafe\u0301 CAF\u00c9 CAFE\u0301 cafe", "[names] [names] [names] [names] cafe"),
        ("c++17, C++", "[names]17, [names]"),
        ("東京都に", "[names]都に"),
        (
            "\u03bf\u03b4\u03bf\u03c3 \u039f\u0394\u038c\u03a3 \u039f\u0394\u039f\u03a3",
            "\u03bf\u03b4\u03bf\u03c3 [names] \u039f\u0394\u039f\u03a3",
        ),
        ("x9", "[names]"),
        ("blue\u017f \u212aX9", "blue\u017f \u212aX9"),
    ],
)
def test_words(text: str, after: str | None) -> None:
    assert hidden(text, NAMES) == (text if after is None else after)


def test_the_longest_word_counts_and_a_shorter_one_where_that_does_not_fit() -> None:
    words = CustomDetector("w", words="Blue\nBlue Sky", left="word", right="word")
    assert hidden("Blue Sky, Blue Skylark, Blue", words) == "[w], [w] Skylark, [w]"
    assert hidden("blue", words) == "blue"


@pytest.mark.parametrize(("left", "right"), [("nothing", "nothing"), ("digit", "digit")])
def test_what_may_stand_next_to_a_word(left: str, right: str) -> None:
    words = CustomDetector("w", words="K2", left=left, right=right)  # type: ignore[arg-type]
    assert hidden("aK2b", words) == "a[w]b"
    assert hidden("aK23", words) == ("a[w]3" if left == "nothing" else "aK23")


def cell(type_: str, raw: bytes, *detectors: CustomDetector, binary: bool, name: str) -> bytes:
    made_plan = plan((mask(*detectors),), [Column(name, None, type_, binary)], KEY)
    column = made_plan.cells[0] if made_plan is not None else None
    return raw if column is None else column.mask(raw) or b""


HINTED = CustomDetector("staff", ("[0-9]{4,6}",), hint="(^|_)emp_?id")


@pytest.mark.parametrize(("raw", "binary"), [(b"1234", False), (b"\0\0\x04\xd2", True)])
def test_numbers_are_looked_at_where_the_column_or_the_detector_says_so(
    raw: bytes, binary: bool
) -> None:
    gone = b"\0\0\0\0" if binary else b"0"
    assert cell("int4", raw, HINTED, binary=binary, name="Emp_ID") == gone
    assert cell("int4", raw, HINTED, binary=binary, name="temp_id") == raw
    numbers = CustomDetector("n", ("[0-9]{4}",), numbers=True)
    assert cell("int4", raw, numbers, binary=binary, name="any") == gone
    assert cell("int4", raw, BADGE, binary=binary, name="badge") == raw  # five digits


def test_a_number_of_a_document_is_looked_at_however_short_it_is() -> None:
    raw = json.dumps({"badge": 12345, "other": 54321}).encode()
    after = json.loads(cell("json", raw, BADGE, binary=False, name="doc"))
    assert after == {"badge": 0, "other": 54321}
    written = b'{"badge": 1.2345e4}'
    made_plan = plan((mask(BADGE),), [Column("doc", None, "json", False)], KEY)
    assert made_plan is not None and made_plan.locator is not None
    assert made_plan.locator.spans(written)
    assert cell("json", written, BADGE, binary=False, name="doc") == b'{"badge": 0}'


@pytest.mark.parametrize(
    ("checksum", "right", "wrong"),
    [
        ("luhn", "4111-1111-1111-1111", "4111-1111-1111-1112"),
        ("card", "4111-1111-1111-1111", "0000-0000-0000-0000"),
        ("mod97", "777", "778"),
        ("iban", "DE89370400440532013000", "DE89370400440532013001"),
    ],
)
def test_checksums(checksum: str, right: str, wrong: str) -> None:
    each = CustomDetector("sum", ("[0-9A-Z-]{3,}",), checksum=checksum, left="word", right="word")  # type: ignore[arg-type]
    assert hidden(right, each) == "[sum]"
    assert hidden(wrong, each) == wrong
    assert hidden("---", each) == "---"


def test_a_mask_carries_the_definition_so_that_a_change_of_it_is_a_change() -> None:
    before, after = mask(STAFF), mask(CustomDetector("staff", ("TMP-[0-9]{6}",)))
    assert revision_of((before,)) != revision_of((after,))
    assert mask_text("EMP-123456 TMP-123456", (before,), KEY) == "[redacted:staff] TMP-123456"
    assert mask_text("EMP-123456 TMP-123456", (after,), KEY) == "EMP-123456 [redacted:staff]"
    both = mask_text("EMP-123456 TMP-123456", (before, after), KEY)
    assert both == "[redacted:staff] [redacted:staff]"


@pytest.mark.parametrize(
    "bad",
    [
        CustomDetector("email", ("x",)),
        CustomDetector("all", ("x",)),
        CustomDetector("x", ("^x",)),
        CustomDetector("x", ("x*",)),
        CustomDetector("x", words="a\n\nb"),
        CustomDetector("x"),
    ],
)
def test_what_cannot_be_carried_out_lets_nothing_pass(bad: CustomDetector) -> None:
    with pytest.raises(MaskingFailed):
        mask_text("text", (mask(bad),), KEY)
    with pytest.raises(MaskingFailed):
        plan((mask(bad),), [Column("c", None, "text", False)], KEY)


def test_a_name_without_a_definition_lets_nothing_pass() -> None:
    with pytest.raises(MaskingFailed, match="no detector is called `staff`"):
        mask_text("text", (Mask("rule", "redact", detectors=("staff",)),), KEY)


def test_ten_thousand_words_are_found_each() -> None:
    words = [f"Project {chr(0x41E + n % 60)}{n:05}" for n in range(10_000)]
    detector = made(CustomDetector("many", words="\n".join(words), left="word", right="word"))
    data = ", ".join(words).encode()
    assert [data[a:b].decode() for a, b in detector.find(data, False)] == words


@pytest.mark.parametrize("word", ["f" * 200, "s" * 99, "\u00df" * 60, "e\u0301" * 60])
def test_a_long_row_of_one_letter_is_a_word_like_any_other(word: str) -> None:
    words = CustomDetector("w", words=word, ignore_case=True, left="word", right="word")
    for text in (word, word.upper(), word.replace("ff", "\ufb00")):
        assert hidden(f"a {text} b", words) == "a [w] b"


@pytest.mark.parametrize("fold", [False, True])
def test_where_characters_are_that_have_another_form(fold: bool) -> None:
    everything = spellings(range(0x110000), fold)
    assert spellings(itertools.chain(*FORMED), fold) == everything
    pieces = {char for form in everything for char in form}
    assert all(form_of(char, fold) == char for char in pieces)
