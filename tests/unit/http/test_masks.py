"""What a request's masks make of its response."""

from __future__ import annotations

import pytest

from sallyport.core.decision import Mask
from sallyport.protocols.http.masks import Masks

KEY = b"0123456789abcdef"
EMAILS = Mask("emails", "redact", detectors=("email",))


def typed(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", value.encode()) for value in values]


def test_without_masks_nothing_is_done() -> None:
    fields = typed("application/json")
    for masks in ((), (Mask("m", "redact", columns=("a.b.c",)),)):
        made = Masks(masks, KEY)
        assert not made.bodies
        assert made.fields(fields) is fields


def test_a_body_is_looked_into_by_its_type() -> None:
    made = Masks((EMAILS,), KEY)
    assert made.bodies
    masker = made.body(200, typed("application/json; charset=utf-8"))
    assert masker is not None
    assert (
        masker.feed(b'{"a": "ada@example.com"}') + masker.finish() == b'{"a": "[redacted:email]"}'
    )
    assert made.fields([(b"x-a", b"ada@example.com")]) == [(b"x-a", b"[redacted:email]")]


@pytest.mark.parametrize(
    ("status", "types"),
    [
        (206, ["application/json"]),
        (206, ["multipart/byteranges; boundary=x"]),
        (200, []),
        (200, ["multipart/mixed; boundary=x"]),
        (200, ["application/json", "text/plain"]),
        (200, ["application/json; charset=utf-16"]),
        (200, ["image/png"]),
        (200, [""]),
    ],
)
def test_what_cannot_be_looked_into_is_none(status: int, types: list[str]) -> None:
    assert Masks((EMAILS,), KEY).body(status, typed(*types)) is None


def test_names_of_fields_and_cookies_have_no_say_in_bodies() -> None:
    made = Masks((Mask("m", "redact", headers=("x-a",), cookies=("sid",)),), KEY)
    assert not made.bodies
    assert made.fields([(b"x-a", b"1"), (b"set-cookie", b"sid=1")]) == [
        (b"x-a", b"[redacted]"),
        (b"set-cookie", b"sid=[redacted]"),
    ]
