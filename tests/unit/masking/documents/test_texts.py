"""Texts, forms and types: any cut gives the same, no notation hides a value, what is not known is
told."""

from __future__ import annotations

import html
from urllib.parse import quote, quote_plus, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.masking.documents.bodies import body_masker, searches
from sallyport.masking.documents.notation import undone
from tests.unit.masking.documents.documents import (
    CARD,
    EMAIL,
    JWT,
    KEY,
    by_steps,
    content,
    masker,
    paths,
    run,
)

TEXTS = [
    "text/plain", "text/html", "text/css", "text/csv", "text/markdown", "application/xml", "text/xml",
    "application/atom+xml", "image/svg+xml", "application/javascript", "text/javascript",
    "application/yaml", "application/openapi+yaml", "application/graphql", "application/xhtml+xml",
]  # fmt: skip
JSONS = [
    "application/json", "application/problem+json", "application/vnd.api+json", "text/json",
    "application/x-ndjson", "application/jsonl", "application/json-seq", "application/geo+json-seq",
]  # fmt: skip
OPAQUE = [
    "", "image/png", "application/octet-stream", "application/pdf", "application/zip", "video/mp4",
    "multipart/form-data", "multipart/mixed", "multipart/byteranges", "ambiguous/ambiguous", "text",
    "text/", "/json", "application/grpc", "application/x-protobuf", "application/msgpack", "font/woff2",
    "application/", "*/*", "json", "application/json+x",
]  # fmt: skip


@pytest.mark.parametrize("kind", OPAQUE)
def test_what_cannot_be_looked_into_is_told(kind: str) -> None:
    for masks in ((content(),), (paths("$.a"),)):
        assert body_masker(masks, kind, "", KEY) is None


@pytest.mark.parametrize("kind", [*TEXTS, *JSONS, "text/event-stream"])
@pytest.mark.parametrize("charset", ["utf-16", "utf-7", "gb18030", "shift_jis", "iso-2022-jp", "x"])
def test_other_charsets_cannot_be_looked_into(kind: str, charset: str) -> None:
    assert body_masker((content(),), kind, charset, KEY) is None


def test_which_masks_have_a_say() -> None:
    assert searches((content(),)) and searches((paths("$.a"),))
    assert not searches(())
    assert not searches((Mask("m", "redact", columns=("a.b.c",)),))
    assert not searches((Mask("m", "redact", headers=("x-a",), cookies=("b",)),))


@pytest.mark.parametrize("kind", JSONS)
def test_all_kinds_of_json_are_json(kind: str) -> None:
    assert run([paths("$.a")], b'{"a":1}', kind) == b'{"a":"[redacted]"}'


@pytest.mark.parametrize("kind", TEXTS)
def test_all_kinds_of_text_are_searched(kind: str) -> None:
    body = f"a line\nwith {EMAIL} and {CARD};\r\nand no more".encode()
    masked = by_steps([content()], body, kind)
    assert EMAIL.encode() not in masked and CARD.encode() not in masked
    assert masked.startswith(b"a line\nwith ") and masked.endswith(b";\r\nand no more")
    assert by_steps([content("iban")], body, kind) == body
    assert run([paths("$..a")], body, kind) == body


@pytest.mark.parametrize("kind", ["application/xml", "application/yaml", "image/svg+xml"])
def test_a_mask_is_a_word_where_brackets_mean_something(kind: str) -> None:
    assert run([content()], f"mail: {EMAIL}\n".encode(), kind) == b"mail: REDACTED\n"


def entities(text: str) -> str:
    return "".join(f"&#{ord(char)};" for char in text)


def wide_entities(text: str) -> str:
    return "".join(f"&#x000{ord(char):X};" for char in text)


def escapes(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


def short_escapes(text: str) -> str:
    return "".join(f"\\x{ord(char):02X}" for char in text)


def percent(text: str) -> str:
    return "".join(f"%{ord(char):02x}" for char in text)


NOTATIONS = [str, entities, wide_entities, escapes, short_escapes, percent, html.escape, quote]


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("secret", [EMAIL, CARD, JWT])
def test_no_notation_hides_a_value(notation, secret) -> None:  # type: ignore[no-untyped-def]
    for part in (
        notation(secret),
        notation(secret[:5]) + secret[5:],
        secret[:-3] + notation(secret[-3:]),
    ):
        for kind in ("text/html", "application/xml", "text/javascript", "text/plain"):
            masked = by_steps([content()], f"<p>a {part} b</p>\n<i>".encode(), kind)
            assert secret not in html.unescape(undone(masked).decode())
            assert masked.startswith(b"<p>a ") and masked.endswith(b" b</p>\n<i>")


@pytest.mark.parametrize(
    "text",
    ["ada&commat;example.com", "ada&#64;example.com", "ada&#64example&period;com", "ada&#064;example&#46;com",
     "4111&nbsp;1111&nbsp;1111&nbsp;1111", "4111&#160;1111&ensp;1111&nbsp1111", "4111&hyphen;1111-1111-1111"],
)  # fmt: skip
def test_named_references_hide_nothing(text: str) -> None:
    masked = by_steps([content()], f"<td>{text}</td>".encode(), "text/html")
    assert masked in (b"<td>[redacted:email]</td>", b"<td>[redacted:card]</td>")


@given(
    st.lists(
        st.sampled_from(
            ["a ", "\n", "&amp;", "&#6", "%4", "%C3%A9", "\\u00", "é", EMAIL, entities(EMAIL), "\r"]
        ),
        max_size=12,
    ),
    st.data(),
)
def test_any_cut_of_a_text_gives_the_same(parts: list[str], data: st.DataObject) -> None:
    body = "".join(parts).encode()
    whole = run([content()], body, "text/html")
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=5))
    assert run([content()], body, "text/html", cuts) == whole
    assert run([content()], body, "text/html", range(len(body))) == whole
    assert EMAIL not in html.unescape(whole.decode())


@given(
    st.binary(max_size=80).filter(
        lambda body: b"\0" not in body and body[:2] not in (b"\xff\xfe", b"\xfe\xff")
    )
)
def test_bytes_without_anything_to_hide_are_not_touched(body: bytes) -> None:
    assert run([content("iban", "private-key")], body, "text/plain", range(0, len(body), 3)) == body
    assert run([content("iban")], body, "text/plain", [len(body) // 2], "windows-1252") == body


@pytest.mark.parametrize("position", range(65_500, 65_560, 7))
def test_a_value_at_the_edge_of_a_window_is_found(position: int) -> None:
    for notation in (str, entities):
        line = ("<b>x</b> " * 8000)[:position] + " " + notation(EMAIL) + " <b>" * 3000
        masked = run([content()], line.encode(), "text/html", range(0, len(line), 5000))
        assert masked.count(b"[redacted:email]") == 1
        assert len(masked) == len(line) - len(notation(EMAIL)) + len("[redacted:email]")


def test_a_key_block_over_many_lines_is_hidden() -> None:
    body = "a\n-----BEGIN " + "PRIVATE KEY-----\nMIIE\nabcd\n-----END " + "PRIVATE KEY-----\nb\n"
    assert (
        by_steps([content("private-key")], body.encode(), "text/plain")
        == b"a\n[redacted:private-key]\nb\n"
    )


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "utf-16-le", "utf-32"])
def test_wide_characters_fail_closed(codec: str) -> None:
    for kind in ("text/html", "application/xml", "application/json"):
        with pytest.raises(MaskingFailed):
            run([content()], f'"{EMAIL}"'.encode(codec), kind, [1, 2, 3])


def test_western_charsets_stay_what_they_are() -> None:
    body = (
        f"caf\u00e9 \u20ac {EMAIL} 4111\u20131111\u20131111\u20131111 \u2122".encode("cp1252")
        + b"\x81\x8d\n"
    )
    for charset in ("iso-8859-1", "windows-1252"):
        masked = by_steps([content()], body, "text/plain", charset)
        assert (
            masked
            == "caf\u00e9 \u20ac [redacted:email] [redacted:card] \u2122".encode("cp1252")
            + b"\x81\x8d\n"
        )
    assert (
        by_steps([content()], '{"é": 1}'.encode("latin-1"), charset="iso-8859-1") == b'{"\xe9": 1}'
    )


@pytest.mark.parametrize(
    "body", ['{"a": 1}', ' \n [ {"a": 1}]', '\ufeff{"a":1}', '["x", {"a":1}]', '{}\n{"a":1}']
)
def test_json_by_the_name_of_a_text_is_json_where_values_are_named(body: str) -> None:
    for kind in ("text/plain", "text/html", "text/javascript"):
        masked = by_steps([paths("$..a")], body.encode(), kind)
        assert masked == body.replace("1", '"[redacted]"').encode()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "  ",
        "{",
        "[",
        "[2026-01-01] started",
        "{{ a }}",
        "a {",
        "(function(){})()",
        "[section]\na=1",
    ],
)
def test_a_text_that_is_none_stays_a_text(body: str) -> None:
    assert by_steps([paths("$..a"), content()], body.encode(), "text/plain") == body.encode()


def test_what_begins_like_json_and_is_none_fails_closed() -> None:
    for body in (b'{"a": 1', b'{"a": b}', b" " * 20_000 + b"x"):
        with pytest.raises(MaskingFailed):
            run([paths("$..a")], body, "text/plain")
    assert run([content()], b'{"a": b}', "text/plain") == b'{"a": b}'


FORM = "application/x-www-form-urlencoded"


@given(
    st.lists(
        st.tuples(
            st.text(max_size=5), st.sampled_from(["x", "é &=+", EMAIL, CARD, "4111 1111 1111 1111"])
        ),
        max_size=4,
    ),
    st.data(),
)
def test_forms_are_masked_pair_by_pair(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    body = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs).encode()
    whole = run([content()], body, FORM)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=5))
    assert run([content()], body, FORM, cuts) == whole
    assert whole.count(b"&") == body.count(b"&") and whole.count(b"=") == body.count(b"=")
    told = unquote_plus(whole.decode())
    assert EMAIL not in told and CARD not in told and "4111" not in told


def test_forms_keep_what_is_not_masked() -> None:
    body = f"a=1&b=&=c&&d&e=%7e+x&m={percent(EMAIL)}&phone=030123456".encode()
    masked = by_steps([content()], body, FORM)
    assert masked == b"a=1&b=&=c&&d&e=%7e+x&m=%5Bredacted%3Aemail%5D&phone=%5Bredacted%3Aphone%5D"
    assert run([paths("$..m")], body, FORM) == body
    with pytest.raises(MaskingFailed):
        run([content()], b"a=" + b"x" * (1 << 20), FORM, [7, 70_000])


def test_a_partial_mask_never_leaves_half_an_escape() -> None:
    for notation in NOTATIONS:
        made = masker([content(transform="partial")], "text/html")
        masked = made.feed(f"<p>{notation(EMAIL)}</p>\n".encode()).decode()
        assert html.unescape(masked) == masked and "example" not in undone(masked.encode()).decode()
