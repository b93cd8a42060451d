"""Each detector finds its own, whole and alone, and leaves the harmless be."""

from __future__ import annotations

import pytest

from sallyport.masking.detectors import BUILTIN, GROUPS, NAMES, expand
from sallyport.masking.expressions import Prefilter, broadened, compile_pattern, prefilter
from sallyport.masking.finders import PatternDetector
from tests.unit.masking.samples import HARMLESS, IN_CONTEXT, SAMPLES

ALL = [(name, sample) for name, samples in SAMPLES.items() for sample in samples]


def found(name: str, text: str, *, hinted: bool = False) -> list[str]:
    raw = text.encode()
    return [raw[start:end].decode() for start, end in BUILTIN[name].find(raw, hinted)]


def test_every_detector_has_a_sample() -> None:
    assert set(SAMPLES) | set(IN_CONTEXT) == set(BUILTIN)


@pytest.mark.parametrize(("name", "sample"), ALL)
def test_a_sample_alone_is_found_whole(name: str, sample: str) -> None:
    assert found(name, sample) == [sample]


@pytest.mark.parametrize(("name", "sample"), ALL)
@pytest.mark.parametrize(
    ("before", "after"),
    [("see ", " there"), ("(", ")"), ("é:", "\uff0c"), ("'", "'"), ("x\n", "\ny")],
)
def test_a_sample_in_a_sentence_is_found_whole(
    name: str, sample: str, before: str, after: str
) -> None:
    got = found(name, before + sample + after)
    if name == "private-key" and not sample.startswith("AGE") and "END" not in sample:
        after = after.strip()
        assert got == [(before + sample + after)[len(before) :]] or got[0].startswith(sample)
    else:
        assert got == [sample]


@pytest.mark.parametrize(
    ("name", "text", "secret"),
    [(name, text, secret) for name, cases in IN_CONTEXT.items() for text, secret in cases],
)
def test_a_sample_that_needs_its_context(name: str, text: str, secret: str) -> None:
    assert found(name, text) == [secret]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_one_is_left(text: str) -> None:
    strict = set(BUILTIN) - {"bsn", "pesel", "phone"}
    assert {name: found(name, text) for name in strict if found(name, text)} == {}


def test_two_cards_in_one_run_are_both_found() -> None:
    assert found("card", "4111111111111111 5500000000000004") == [
        "4111111111111111",
        "5500000000000004",
    ]
    assert found("card", "4111111111111111,5500000000000004") == [
        "4111111111111111",
        "5500000000000004",
    ]


def test_numbers_around_a_card_do_not_hide_it() -> None:
    assert found("card", "1 4111 1111 1111 1111 12/27 123") == ["4111 1111 1111 1111"]
    assert found("card", "2024-01-02 4111-1111-1111-1111-99") == ["4111-1111-1111-1111"]


def test_a_hint_widens_what_is_found() -> None:
    assert found("ssn", "123456789") == []
    assert found("ssn", "123456789", hinted=True) == ["123456789"]
    assert found("phone", "0301234567") == []
    assert found("phone", "0301234567", hinted=True) == ["0301234567"]


def test_a_token_inside_an_escaped_text_is_found() -> None:
    token = SAMPLES["github-token"][0]
    assert found("github-token", "line\\n" + token) == [token]
    assert found("github-token", "x" + token) == []


def test_groups_stand_for_detectors() -> None:
    assert {detector.name for detector in expand(("all",))} == set(BUILTIN)
    assert set(GROUPS) | set(BUILTIN) == NAMES
    assert [detector.name for detector in expand(("email", "pii", "email"))].count("email") == 1


def test_an_unknown_detector_is_an_error() -> None:
    with pytest.raises(ValueError, match="`emails`"):
        expand(("card", "emails"))


@pytest.mark.parametrize(
    "pattern", [r"\bsecret", "^secret", "secret$", "a*", r"x\B", r"\Ax", r"x\z", "", "(?:a|b)?"]
)
def test_a_pattern_that_the_prefilter_cannot_use_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        PatternDetector("mine", (pattern,))


@pytest.mark.parametrize("pattern", ["[$^]x", r"\$x", "[]^]y", "(emp-[0-9]{6})"])
def test_a_pattern_of_ones_own(pattern: str) -> None:
    assert PatternDetector("mine", (pattern,)).name == "mine"


def test_ones_own_detector_finds_and_checks() -> None:
    mine = PatternDetector(
        "employee", (r"(EMP-[0-9]{6})",), check=lambda data: data.endswith(b"7"), right="digit"
    )
    assert mine.find(b"EMP-123456 EMP-123457 EMP-1234577", False) == [(11, 21)]


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_no_core_matches_a_zero_byte(name: str) -> None:
    """A length byte of a cell shorter than 16 MiB ends every match, on either side."""
    detector = BUILTIN[name]
    for sample in (*SAMPLES.get(name, ()), *(text for text, _ in IN_CONTEXT.get(name, ()))):
        raw = sample.encode()
        for cut in range(1, len(raw)):
            spans = prefilter(detector.core).spans(raw[:cut] + b"\0\0\0\x10" + raw[cut:])
            assert all(not start < cut + 1 < end for start, end in spans)


@pytest.mark.parametrize(("name", "sample"), ALL)
def test_length_bytes_around_a_cell_hide_nothing(name: str, sample: str) -> None:
    raw = sample.encode()
    whole = prefilter(tuple(core for each in expand(("all",)) for core in each.core))
    for byte in (0, 32, 45, 48, 57, 64, 65, 122, 0xC3, 0xE2, 0xF0, 0xFF):
        for tail in (b"\0\0\0" + bytes([byte]), b"D" + bytes([byte, byte]), b""):
            chunk = b"\0\0\0" + bytes([byte]) + raw + tail
            assert prefilter(BUILTIN[name].core).hits(chunk)
            assert any(start < 4 + len(raw) and end > 4 for start, end in whole.spans(chunk))


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_a_broadened_core_matches_whatever_the_core_does(name: str) -> None:
    for core in BUILTIN[name].core:
        wide, narrow = compile_pattern(broadened(core)), compile_pattern(core)
        for sample in (*SAMPLES.get(name, ()), *(text for text, _ in IN_CONTEXT.get(name, ()))):
            raw = sample.encode()
            assert (narrow.search(raw) is None) or (wide.search(raw) is not None)


@pytest.mark.parametrize(
    ("core", "wide"),
    [
        ("a1[2-7]x{3}", "a[0-9][0-92-7]x{3}"),
        (r"\x{A0}\p{Nd}{13}\x41\d", r"\x{A0}\p{Nd}{13}\x41\d"),
        (r"[\x{10}-\x{12}]7", r"[\x{10}-\x{12}][0-9]"),
        ("[^1-3]4", "[^1-3][0-9]"),
        ("[0-9a-f]{2,4}", "[0-9a-f]{2,4}"),
        ("[]1]", "[]1]"),
    ],
)
def test_a_broadened_core_treats_digits_alike(core: str, wide: str) -> None:
    assert broadened(core) == wide
    compile_pattern(wide)


def test_an_automaton_that_did_not_run_is_an_error() -> None:
    """RE2's Set says "nothing" when it is out of memory; that must never pass for clean."""
    small = Prefilter(("a",))

    class Empty:
        def Match(self, text: bytes) -> None:  # noqa: N802
            return None

    small._set = Empty()
    with pytest.raises(MemoryError):
        small.which(b"text")
