"""Withheld: a credential that comes back does not reach the client, however it is cut."""

from __future__ import annotations

import base64
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import TargetUnavailable
from sallyport.protocols.http.content import Content
from sallyport.protocols.http.settings import Inject
from sallyport.protocols.http.withheld import Withholding, forms_of, hide, hide_fields

SECRET = b"s3cr3t-s3cr3t-key"


@given(
    st.lists(st.sampled_from([SECRET, SECRET[:9], SECRET[3:], b"x", b"s3c", b"s"]), max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
)
def test_any_cut_gives_the_same(parts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(parts)
    withholding, out, position = Withholding((SECRET,)), b"", 0
    for size in [*sizes, len(data)]:
        out += withholding.feed(data[position : position + size])
        position += size
    out += withholding.finish()
    assert SECRET not in out
    assert out == hide((SECRET,), data)
    assert len(out) == len(data)


@pytest.mark.parametrize(
    ("inject", "credential", "shown"),
    [
        (Inject(), SECRET + b"\n", SECRET),
        (Inject("basic", user="app"), SECRET, base64.b64encode(b"app:" + SECRET)),
        (Inject("basic"), b"app:" + SECRET, SECRET),
        (Inject("query", name="k"), b"a&b/c=dd", b"a%26b%2Fc%3Ddd"),
        (Inject("header", name="x-key"), SECRET, SECRET),
    ],
)
def test_the_forms_of_a_credential(inject: Inject, credential: bytes, shown: bytes) -> None:
    forms = forms_of(inject, credential)
    assert shown in forms
    assert hide(forms, b"<" + shown + b">") == b"<" + b"*" * len(shown) + b">"


def test_what_stands_everywhere_is_not_looked_for() -> None:
    assert forms_of(Inject(), b"abc") == ()
    assert forms_of(Inject("none"), SECRET) == ()
    assert Withholding(()).feed(b"abc") == b"abc"


def test_fields() -> None:
    same = [(b"a", b"b")]
    assert hide_fields((SECRET,), same) is same
    assert hide_fields((SECRET,), [(b"x", b"k=" + SECRET)]) == [(b"x", b"k=" + b"*" * 17)]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_an_encoded_body_that_shows_it_is_cut_off(size: int) -> None:
    data = gzip.compress(b"a" * 5000 + SECRET + b"b" * 5000)
    content = Content(None, "gzip", (SECRET,))
    with pytest.raises(TargetUnavailable):
        for position in range(0, len(data), size):
            list(content.feed(data[position : position + size]))


def test_an_encoded_body_leaves_as_it_came() -> None:
    data = gzip.compress(b"harmless" * 999)
    content = Content(None, "gzip", (SECRET,))
    assert b"".join(content.feed(data)) + content.finish() == data
