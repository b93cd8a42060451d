"""Globs match what they say, nothing else, and never slowly."""

import pytest

from sallyport.core.globs import Glob, Globs


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("public.customers.ssn", "public.customers.ssn", True),
        ("public.customers.ssn", "public.customers.SSN", False),
        ("public.customers.ssn", "public.customersXssn", False),
        ("*.*.email", "public.staff.email", True),
        ("*.*.email", "public.staff.email2", False),
        ("public.customers.{ssn,card}", "public.customers.card", True),
        ("public.customers.{ssn,card}", "public.customers.ssncard", False),
        ("a{b,c{d,e}}f", "acef", True),
        ("a{b,}c", "ac", True),
        ("p?", "pé", True),
        ("p?", "p", False),
        ("*", "", True),
        ("*", "two\nlines", True),
        ("a[bc]", "a[bc]", True),
        ("a[bc]", "ab", False),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        (r"a\\b", "a\\b", True),
        (r"a\b", "ab", True),
        (r"\{a\,b\}", "{a,b}", True),
        ("a\\\n", "a\n", True),
        ("a|b", "a", False),
        ("a,b", "a,b", True),
        ("é*", "été", True),
        ("é?", "été", False),
        ("$(x)^+", "$(x)^+", True),
    ],
)
def test_glob(pattern: str, text: str, matches: bool) -> None:
    assert Glob(pattern).matches(text) is matches


@pytest.mark.parametrize("pattern", ["{a", "a}", "a\\", "{" * 20 + "}" * 20, "a" * 2000])
def test_bad_glob_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        Glob(pattern)


def test_no_pattern_matches_nothing() -> None:
    assert not Globs(()).matches("")
    assert not Globs(()).matches("a")


def test_many_stars_stay_linear() -> None:
    assert not Glob("*a" * 400 + "b").matches("a" * 5000)


def test_several_globs_match_if_any_does() -> None:
    globs = Globs(("x", "y*", "{z}"))
    assert [globs.matches(t) for t in ("x", "xx", "yes", "z", "w")] == [
        True,
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/x:ref:refs/heads/main", True),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/x:environment:y:ref:refs/heads/main", False),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/x/y:ref:refs/heads/main", False),
        ("repo:acme/*:**", "repo:acme/x:ref:refs/heads/main", True),
        ("repo:acme/**", "repo:acme-evil/x:ref:refs/heads/main", False),
        ("repo:acme/x:ref:refs/heads/*", "repo:acme/x:ref:refs/heads/a/b", False),
        ("a?b", "a:b", False),
        ("a?b", "a-b", True),
        ("{a/*,b/**}", "b/c/d", True),
        ("{a/*,b/**}", "a/c/d", False),
        ("a***b", "a/:/b", True),
        ("*", "", True),
        ("*", "two\nlines", True),
    ],
)
def test_with_separators_a_star_stays_within_one_part(
    pattern: str, text: str, matches: bool
) -> None:
    assert Globs([pattern], ":/").matches(text) is matches
