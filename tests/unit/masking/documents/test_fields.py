"""Header fields: what is named, what is found, and what comes out can stand in a header."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.masking.documents.fields import mask_fields
from sallyport.masking.documents.names import problem_of_cookie, problem_of_header
from tests.unit.masking.documents.documents import CARD, EMAIL, JWT, KEY, content, paths


def one(masks: list[Mask], name: str, value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    ((got, masked),) = mask_fields(tuple(masks), [(name.encode(), raw)], KEY)
    assert got == name.encode()
    return masked


def headers(*names: str, transform: str = "redact", **terms: object) -> Mask:
    return Mask("h", transform, headers=names, **terms)  # type: ignore[arg-type]


def cookies(*names: str, transform: str = "redact", **terms: object) -> Mask:
    return Mask("c", transform, cookies=names, **terms)  # type: ignore[arg-type]


def test_without_a_say_the_fields_are_the_same() -> None:
    fields = [(b"x-user", EMAIL.encode())]
    assert mask_fields((), fields, KEY) is fields
    assert (
        mask_fields((paths("$.a"), Mask("m", "redact", columns=("a.b.c",))), fields, KEY) is fields
    )


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (headers("x-user"), b"[redacted]"),
        (headers("X-User"), b"[redacted]"),
        (headers("x-*"), b"[redacted]"),
        (headers("*"), b"[redacted]"),
        (headers("{x-user,x-id}"), b"[redacted]"),
        (headers("x-users", "y-*"), b"Ada Lovelace"),
        (headers("x-user", transform="null"), b""),
        (headers("x-user", transform="partial"), b"Ad*******ace"),
        (headers("x-user", transform="partial", keep_start=1), b"A***"),
        (headers("x-user", transform="constant", value="some\r\nbody\u00e9 "), b"some??body?"),
        (headers("x-user", transform="generalise"), b"[redacted]"),
    ],
)
def test_a_named_field(mask: Mask, expected: bytes) -> None:
    assert one([mask], "x-user", "Ada Lovelace") == expected


def test_hashes_are_equal_where_values_are() -> None:
    hashes = {one([headers("x-a", transform="hash")], "x-a", value) for value in ("a", "a", "b")}
    assert len(hashes) == 2 and all(len(value) == 32 for value in hashes)


@pytest.mark.parametrize(
    "name",
    ["content-length", "content-type", "transfer-encoding", "content-encoding", "connection"],
)
def test_framing_is_never_masked(name: str) -> None:
    assert one([headers("*"), content("all")], name, CARD) == CARD.encode()


@pytest.mark.parametrize("name", ["date", "etag", "last-modified", "age"])
def test_validators_are_not_searched_but_can_be_named(name: str) -> None:
    assert one([content()], name, CARD) == CARD.encode()
    assert one([headers(name)], name, CARD) == b"[redacted]"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sid=abc; Path=/; HttpOnly", b"sid=[redacted]; Path=/; HttpOnly"),
        ("sid = abc ;Secure", b"sid =[redacted];Secure"),
        ('sid="abc"', b"sid=[redacted]"),
        ("sid=", b"sid=[redacted]"),
        ("sid=a=b; Max-Age=1", b"sid=[redacted]; Max-Age=1"),
        ("other=sid=abc", b"other=sid=abc"),
        ("SID=abc", b"SID=abc"),
        ("sid", b"sid"),
        ("x-sid=abc", b"x-sid=abc"),
    ],
)
def test_a_named_cookie(given: str, expected: bytes) -> None:
    assert one([cookies("sid")], "set-cookie", given) == expected


def test_cookies_by_glob_and_transform() -> None:
    assert one([cookies("s*")], "set-cookie", "sid=abc") == b"sid=[redacted]"
    assert (
        one([cookies("sid", transform="null")], "set-cookie", "sid=abc; Path=/") == b"sid=; Path=/"
    )
    masked = one(
        [cookies("sid", transform="constant", value='a b;c,"\\\u00e9')], "set-cookie", "sid=x"
    )
    assert masked == b"sid=a-b-c---?"
    assert one([cookies("sid")], "x-other", "sid=abc") == b"sid=abc"
    assert one([headers("*")], "set-cookie", "sid=abc") == b"sid=abc"


def test_detectors_look_at_every_value() -> None:
    assert one([content()], "x-user", f"<{EMAIL}>") == b"<[redacted:email]>"
    assert one([content()], "set-cookie", f"t={JWT}; Path=/") == b"t=[redacted:jwt]; Path=/"
    assert one([content()], "x-phone", "030123456") == b"[redacted:phone]"
    assert one([content()], "x-user", "ada%40example.com") == b"[redacted:email]"
    assert one([content()], "content-disposition", "attachment; filename=ada%40example%2Ecom") == (
        b"attachment; filename=[redacted:email]"
    )
    assert one([content(transform="null")], "x-user", f"<{EMAIL}>") == b"<[redacted:email]>"
    assert one([content()], "x-user", b"caf\xe9 \xff") == b"caf\xe9 \xff"


@pytest.mark.parametrize(
    "value",
    [
        EMAIL,
        "ada%40example.com",
        "%61da%40example%2ecom",
        "4111+1111+1111+1111",
        "4111%201111%201111%201111",
        CARD,
    ],
)
def test_addresses_stay_addresses(value: str) -> None:
    for name in ("location", "content-location"):
        masked = one([content()], name, f"https://h.example/p?a=1&m={value}&b=2#f").decode()
        parts = urlsplit(masked)
        assert (parts.netloc, parts.path, parts.fragment) == ("h.example", "/p", "f")
        assert parse_qs(parts.query) == {"a": ["1"], "m": ["REDACTED"], "b": ["2"]}


MASKS = (content(), headers("x-named", transform="partial"), cookies("sid", transform="partial"))


@given(
    st.sampled_from(["x-a", "x-named", "location", "set-cookie"]),
    st.text(max_size=30),
    st.sampled_from(["", EMAIL, "%0d%0aada%40example.com", "&#13;ada&#64;example.com"]),
)
def test_what_is_masked_can_stand_in_a_header(name: str, text: str, secret: str) -> None:
    raw = (text + secret).encode("utf-8", "replace")
    masked = one(list(MASKS), name, raw)
    if masked != raw and name != "set-cookie":
        assert all(0x20 <= byte < 0x7F for byte in masked)
    assert EMAIL.encode() not in masked


def test_a_mask_that_cannot_be_carried_out_fails_closed() -> None:
    for mask in (content("nothing"), headers("x-a", transform="blur"), headers("{x")):
        with pytest.raises(MaskingFailed):
            mask_fields((mask,), [(b"x-a", b"1")], KEY)


def test_which_names_can_be_named() -> None:
    assert problem_of_header("x-*") is None and problem_of_cookie("__Host-sid") is None
    assert "cannot be masked" in str(problem_of_header("Content-Type"))
    assert "`cookies`" in str(problem_of_header("Set-Cookie"))
    assert "expected the name of a header" in str(problem_of_header("x y"))
    assert "expected the name of a cookie" in str(problem_of_cookie("a=b"))
    assert problem_of_header("") is not None
