"""`Below` against the globs that it speaks of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.globs import Globs
from sallyport.policy.overlap import ANY, ONE, Below, expand

patterns = st.text(alphabet="ab.*?{},\\", min_size=1, max_size=10)
names = st.text(alphabet="ab.,", max_size=6)


def simple(tokens: list[object]) -> str:
    words = {ANY: "*", ONE: "?"}
    return "".join(words.get(t, f"\\{t}") for t in tokens)


@given(patterns, names)
def test_expansion_means_what_the_glob_means(pattern: str, name: str) -> None:
    try:
        globs = Globs((pattern,))
    except ValueError:
        with pytest.raises(ValueError, match="glob"):
            expand(pattern)
        return
    alternatives = [simple(tokens) for tokens in expand(pattern)]
    assert globs.matches(name) == Globs(alternatives).matches(name)


@given(patterns, names, st.text(alphabet="ab.", min_size=1, max_size=4))
def test_what_matches_lies_below_its_beginning(pattern: str, prefix: str, rest: str) -> None:
    try:
        globs = Globs((pattern,))
    except ValueError:
        return
    if globs.matches(prefix + rest):
        assert Below((pattern,)).may_match(prefix)


@pytest.mark.parametrize(
    ("glob", "prefix", "below"),
    [
        ("public.customers.ssn", "public.customers.", True),
        ("public.customers.ssn", "public.orders.", False),
        ("public.customers.{ssn,card}", "public.customers.", True),
        ("*.*.email", "public.orders.", True),
        ("*email", "public.orders.", True),
        ("public.*", "audit.orders.", False),
        ("public.customers.", "public.customers.", False),
        ("publi?.*.x", "public.a.", True),
    ],
)
def test_below(glob: str, prefix: str, below: bool) -> None:
    assert Below((glob,)).may_match(prefix) is below


@pytest.mark.parametrize(
    "glob", ["", "a" * 2000, "{a", "a}", "a\\", "{" * 20 + "}" * 20, "{a,b}" * 9]
)
def test_a_glob_that_cannot_be_told_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="glob"):
        expand(glob)
