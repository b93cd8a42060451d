"""Paths: one spelling that is sent, and every way that a server could read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.http.paths import Templates, query_pairs, read_path, split_target


@pytest.mark.parametrize(
    ("raw", "sent", "readings"),
    [
        ("/", "/", {"/"}),
        ("/users/1", "/users/1", {"/users/1"}),
        ("/users/", "/users/", {"/users/"}),
        ("/a.b-c_d~e/1.json", "/a.b-c_d~e/1.json", {"/a.b-c_d~e/1.json"}),
        ("/%61bc", "/abc", {"/abc"}),
        ("/a%2fb", "/a%2Fb", {"/a%2fb", "/a%2Fb", "/a/b"}),
        ("/a%252fb", "/a%252fb", {"/a%252fb", "/a%2fb", "/a/b"}),
        ("/a;v=1/b", "/a;v=1/b", {"/a;v=1/b", "/a/b"}),
        ("//admin", "//admin", {"//admin", "/admin", "/"}),
        ("/a//b", "/a//b", {"/a//b", "/a/b"}),
        ("/a%5Cb", "/a%5Cb", {"/a%5Cb", "/a\\b", "/a/b"}),
        ("/a\\b", "/a\\b", {"/a\\b", "/a/b"}),
        ("/caf%C3%A9", "/caf%C3%A9", {"/café"}),
        ("/a%20b", "/a%20b", {"/a b"}),
        ("/a+b", "/a+b", {"/a+b"}),
    ],
)
def test_what_is_sent_and_how_it_may_be_read(raw: str, sent: str, readings: set[str]) -> None:
    path = read_path(raw)
    assert path.sent == sent
    assert readings - {"/a%2fb", "/a%252fb", "/a%2Fb"} <= set(path.readings)
    assert set(path.readings) <= readings | {raw}


@pytest.mark.parametrize(
    "raw",
    [
        "/..", "/a/../b", "/a/..", "/./a", "/a/.", "/%2e%2e/a", "/%2E./a", "/a/.%2e",
        "/%252e%252e/a", "/a/..;/b", "/a/..%2fb", "/a/..%5cb", "/a\\..\\b", "/a/%2e%2e%2fb",
        "/a%00b", "/a%0d%0ab", "/a%", "/a%2", "/a%zz", "/%c0%ae%c0%ae/", "/%ff", "/a%7f",
        "/a%25252525252e", "/..%20/a",
    ],
)  # fmt: skip
def test_what_nobody_could_be_sure_of_is_refused(raw: str) -> None:
    with pytest.raises(ProtocolViolation):
        read_path(raw)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=40))
def test_no_reading_has_a_dot_segment_or_a_control(tail: str) -> None:
    try:
        path = read_path(f"/{tail}".replace("?", "").replace("#", ""))
    except ProtocolViolation:
        return
    assert path.readings
    for reading in path.readings:
        assert not {".", ".."} & set(reading.replace("\\", "/").split("/"))
        assert reading.isprintable()


@given(st.text(st.sampled_from("/%;.\\abAB25eEfFcC"), max_size=24))
def test_reading_what_is_sent_again_changes_nothing(tail: str) -> None:
    try:
        path = read_path(f"/{tail}")
    except ProtocolViolation:
        return
    assert read_path(path.sent).sent == path.sent
    assert set(read_path(path.sent).readings) <= set(path.readings)


def test_queries() -> None:
    assert split_target("/a?b?c") == ("/a", "b?c")
    assert split_target("/a") == ("/a", None)
    assert split_target("/a?") == ("/a", "")
    assert query_pairs("a=1&b=%41+c&d&=e&&a=2") == [
        ("a", "1"), ("b", "A c"), ("d", ""), ("", "e"), ("a", "2"),
    ]  # fmt: skip
    assert query_pairs("a=%ff") == [("a", "\\xff")]
    assert query_pairs(None) == []


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/users/1", "/users/{id}"),
        ("/users/me", "/users/me"),
        ("/users/1/orders/2", "/users/{id}/orders/{order}"),
        ("/files/a.json", "/files/{name}.json"),
        ("/files/.json", ""),
        ("/users/", ""),
        ("/users", ""),
        ("/users/1/", ""),
        ("/other/1", ""),
    ],
)
def test_the_most_literal_template_counts(path: str, template: str) -> None:
    templates = Templates(
        ("/users/{id}", "/users/me", "/users/{id}/orders/{order}", "/files/{name}.json")
    )
    assert templates.find(path) == template


def test_what_is_no_template() -> None:
    with pytest.raises(ValueError, match="expected a template"):
        Templates(("users/{id}",))
