"""The bounded cache."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sallyport.policy.cache import Bounded


def test_the_least_recently_used_goes_first() -> None:
    cache: Bounded[str, int] = Bounded(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache.clear()
    assert (len(cache), cache.get("a")) == (0, None)


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_it_never_holds_more_and_never_lies(keys: list[int], maximum: int) -> None:
    cache: Bounded[int, int] = Bounded(maximum)
    for key in keys:
        cache.put(key, key * 2)
        assert len(cache) <= maximum
        assert cache.get(key) == key * 2
    assert all(cache.get(key) in (None, key * 2) for key in range(10))
