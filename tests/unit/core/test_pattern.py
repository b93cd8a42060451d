"""Patterns that operators write: what is taken, how it is written anew, and what is refused."""

from __future__ import annotations

import pytest

from sallyport.core.pattern import MAX_LENGTH, MAX_SIZE, write
from sallyport.masking.expressions import broadened, check_core, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "found", "not_found"),
    [
        ("EMP-[0-9]{6}", "EMP-123456", "EMP-12345"),
        (r"\d{2,3}?x", "12x", "1x"),
        (r"a.c", "aéc", "a\nc"),
        (r"a.c", "a-c", "a\0c"),
        (r"a[^b]c", "axc", "a\nc"),
        (r"a[^b\n]c", "axc", "abc"),
        (r"a\sc", "a\tc", "a\nc"),
        (r"a\Dc", "axc", "a\0c"),
        (r"a\Sc", "axc", "a\0c"),
        (r"a\Wc", "a-c", "a\nc"),
        (r"a[x\W]c", "a-c", "a\nc"),
        (r"a\PLc", "a-c", "a\0c"),
        (r"a[\x00-\x1f]c", "a\tc", "a\nc"),
        (r"a[[:cntrl:]]c", "a\tc", "a\0c"),
        (r"a[[:^digit:]]c", "axc", "a\nc"),
        (r"(?i)emp|staff", "STAFF", "star"),
        (r"(?i:e)mp", "Emp", "EMP"),
        (r"(?i)a(?-i)b", "Ab", "AB"),
        (r"(?P<who>x)y", "xy", "x"),
        (r"(?<who>x)y", "xy", "x"),
        (r"\x{e9}\xe9", "éé", "é"),
        (r"[]x]", "]", "["),
        (r"[\d.-]+,", "1.2-3,", ","),
        (r"\p{Greek}\p{Lu}", "\u03b1A", "aa"),
        ("[a-z]+@b", "abc@b", "@b"),
        ("x(?:a+|b)*", "xaab", "a"),
        ("x(?:ab)*", "xabab", "a"),
        ("(?:(xa+)b*)c", "xabc", "xc"),
        ("x(a*)?", "xaa", "a"),
        (r"\[\]\{\}\(\)\.\*\+\?\^\$\|\\\/\-", r"[]{}().*+?^$|\/-", "[]"),
    ],
)
def test_what_is_taken(pattern: str, found: str, not_found: str) -> None:
    written = write(pattern)
    check_core(written.text)
    expression = compile_pattern(written.text)
    assert expression.groups == 0
    assert expression.fullmatch(found.encode()) is not None
    assert expression.search(not_found.encode()) is None
    assert compile_pattern(broadened(written.text)).search(found.encode()) is not None


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "expected a pattern"),
        ("a" * (MAX_LENGTH + 1), f"{MAX_LENGTH} characters at most"),
        ("^a", "looks around"),
        ("a$", "looks around"),
        (r"\ba", "looks around"),
        (r"a\B", "looks around"),
        (r"\Aa", "looks around"),
        (r"a\z", "looks around"),
        ("(?=a)b", "nothing else"),
        ("(?!a)b", "nothing else"),
        ("(?<=a)b", "no look behind"),
        ("(?<!a)b", "no look behind"),
        ("(?s)a.b", "nothing else"),
        ("(?m:a)", "nothing else"),
        ("(?U)a+", "nothing else"),
        ("(?P=a)", "nothing else"),
        (r"\Qa\E", "not taken"),
        (r"\C", "not taken"),
        (r"\101", "not taken"),
        (r"(a)\1", "not taken"),
        (r"\0", "not taken"),
        ("a\\", "not taken"),
        (r"\y", "no escape"),
        (r"[\b]", "no escape"),
        (r"[a-\d]", "no escape"),
        (r"\_", "no escape"),
        (r"a\nb", "line end or a NUL"),
        ("a\nb", "line end or a NUL"),
        (r"a\x00", "line end or a NUL"),
        ("a\0", "line end or a NUL"),
        (r"[\n]", "line end or a NUL"),
        (r"[a\x{0}]", "line end or a NUL"),
        (r"\x{D800}", "surrogate"),
        (r"\x{110000}", "no character of Unicode"),
        (r"\x4", "hexadecimal"),
        (r"\x{}", "hexadecimal"),
        (r"\p{Cc}", "general category"),
        (r"\pC", "general category"),
        (r"\p{Any}", "general category"),
        (r"\p{Nonsense}", "general category"),
        (r"[[:nonsense:]]", "no class is called"),
        ("[z-a]", "ends before it begins"),
        ("[a", "not closed"),
        ("[]", "not closed"),
        ("[a-", "not closed"),
        ("(a", "not closed"),
        ("a)", "closes nothing"),
        ("*a", "repeats nothing"),
        ("a|+", "repeats nothing"),
        ("(?i)*", "repeats nothing"),
        ("a**", "repeated"),
        ("a{2}{3}", "repeated"),
        ("a{", "begins a count"),
        ("a{,3}", "begins a count"),
        ("a{x}", "begins a count"),
        ("a{3,2}", "lower count first"),
        ("a{0}", "more than 0 times"),
        ("a{1001}", "more than 1000 times"),
        ("(a{100}){11}", "more than 1000 times"),
        ("a*", "empty text"),
        ("a?|b", "empty text"),
        ("(?:)", "empty text"),
        (r"\pL{100}", "too large"),
        ("a{129}", "128 characters long"),
        ("(?:a|b{50}){3}", "128 characters long"),
        ("x(.*y)?", "give them one"),
        ("x|x.*y", "give them one"),
        ("x(?:a+b)*", "give them one"),
        ("(?:a+b){2}", "give them one"),
        ("(?:a+){2}", "give them one"),
        ("(?:ab)+c", "give them one"),
        ("(?:a+|b)c", "give them one"),
        ("(?:xa+)?c", "give them one"),
        ("(?:a{2,}|b)c", "give them one"),
        ("((a*)b*)*c", "give them one"),
        ("(" * 60 + "a" + ")" * 60, "nest too deep"),
    ],
)
def test_what_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        write(pattern)


def test_anchors_stand_in_patterns_of_names_alone() -> None:
    expression = compile_pattern(write(r"(^|_)emp(loyee)?_?id$", anchors=True).text)
    assert expression.search(b"the_employee_id") is not None
    assert expression.search(b"tempid") is None
    with pytest.raises(ValueError, match="empty text"):
        write("^", anchors=True)


def test_a_pattern_is_about_as_large_as_it_is_said_to_be() -> None:
    for pattern in (r"\pL", r"(?i)\p{Lu}", r"[^\PL]", "[0-9A-Z]{100}", "(?i:key)[^x]{0,99}", "é+"):
        written = write(pattern)
        assert compile_pattern(written.text).programsize <= written.size + 20 <= MAX_SIZE
