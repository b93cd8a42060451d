"""JSON bodies: what is named or found is hidden in any notation, all else is not touched."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sallyport.core.decision import Mask
from sallyport.core.detector import CustomDetector
from sallyport.core.errors import MaskingFailed
from sallyport.masking.documents.bodies import body_masker
from tests.unit.masking.documents.documents import (
    CARD,
    EMAIL,
    JWT,
    KEY,
    by_steps,
    content,
    leaves,
    masker,
    parsed,
    paths,
    run,
)

A40 = "Zq7Kd0vRtW" * 4
BOTH = [content(), paths("$..secret", "$.list[1]")]

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from([EMAIL, CARD, f"to {EMAIL}!", JWT, "a@b", "100%", "a&b", "\\", '"', "\u2028"]),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(int(CARD)), TEXTS,
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
KEYS = st.one_of(st.sampled_from(["secret", "list", "id", EMAIL, "phone", ""]), st.text(max_size=6))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


def written(value: Any, indent: int | None, ascii_only: bool) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()


@given(VALUES, st.sampled_from([None, 0, 2]), st.booleans(), st.data())
def test_any_cut_gives_the_same(
    value: Any, indent: int | None, ascii_only: bool, data: st.DataObject
) -> None:
    body = written(value, indent, ascii_only)
    whole = run(BOTH, body)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    assert run(BOTH, body, cuts=cuts) == whole
    assert run(BOTH, body, cuts=range(len(body))) == whole
    json.loads(whole)


@given(VALUES, st.booleans())
@example({"secret": {"deep": [1, "x", None]}, "n": int(CARD)}, True)
def test_the_structure_stays_and_only_leaves_change(value: Any, ascii_only: bool) -> None:
    masked = parsed(run(BOTH, written(value, None, ascii_only)))

    def compare(old: Any, new: Any, named: bool, path: tuple[object, ...]) -> None:
        if isinstance(old, dict):
            assert isinstance(new, dict)
            if len(old) == len(new):  # two keys may have become one
                for (key, one), (other, two) in zip(old.items(), new.items(), strict=True):
                    assert other == key or "[redacted:" in other
                    compare(one, two, named or key == "secret", (*path, key))
        elif isinstance(old, list):
            assert isinstance(new, list) and len(old) == len(new)
            for index, (one, two) in enumerate(zip(old, new, strict=True)):
                compare(one, two, named or (*path, index) == ("list", 1), (*path, index))
        elif named and old is not None:
            assert new == "[redacted]"
        elif old != new:
            assert isinstance(new, str) and "[redacted:" in new

    compare(value, masked, False, ())
    told = [str(leaf) for leaf in leaves(masked)]
    assert not any(EMAIL in one or CARD in one or JWT in one for one in told)


@given(VALUES, st.sampled_from([None, 1]))
def test_what_has_nothing_to_hide_leaves_byte_for_byte(value: Any, indent: int | None) -> None:
    body = written(value, indent, False)
    assert run([content("iban")], body) == body
    assert run([paths("$['no such name']")], body) == body


NAMES = st.sampled_from(
    [
        "phone",
        "my phone",
        "ssn",
        "aws_secret",
        "password",
        "a",
        "tel 0",
        "x" * 70 + "phone",
        "b:",
        ":7",
        "",
        "p%",
        EMAIL,
    ]
)
NEAR = st.one_of(
    st.sampled_from(
        ["030123456", "078051120", 78051120, 30123456, 4930123456, "+49 30 123456", A40, A40 + "/", ":", ": 030123456",
         "x:", "no", None, True, 1.5, int(CARD), CARD[:8], CARD[8:], "DE89370400440532013000", "DE89 3704 0044 05", "32013000",
         "a@", "b.de", "user:pw@h", "https://u:", "sk-" + A40, [], {}, ["030123456", "030123457"], "-----BEGIN "]
    ),
    st.text("a@.:0 ", max_size=5),
)  # fmt: skip
RECORDS = st.recursive(
    st.dictionaries(NAMES, NEAR, max_size=5),
    lambda inner: st.dictionaries(
        NAMES, st.one_of(NEAR, inner, st.lists(inner, max_size=3)), max_size=4
    ),
    max_leaves=6,
)


@given(
    st.lists(RECORDS, max_size=4),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([(", ", ": "), (",", ":"), (" , ", "  :  ")]),
)
def test_rows_of_members_are_read_as_each_would_be(
    value: Any, indent: int | None, marks: tuple[str, str]
) -> None:
    body = json.dumps(value, indent=indent, separators=marks).encode()
    odd = CustomDetector("odd", patterns=(r'phone": "0301', r'b:": "[0-9]+', "a.{0,3}b", ":[0-9]"))
    everything = Mask("all", "redact", detectors=("all", "odd"), custom=(odd,))
    for masks in (
        [everything],
        [paths("$[*].phone", "$..ssn", "$[1].a")],
        [everything, paths("$..a")],
    ):
        assert run(masks, body) == run(masks, body, cuts=range(len(body)))


ODD = [
    b"",
    b"  \r\n\t ",
    b"\xef\xbb\xbf{}",
    b"\xef\xbb\xbf",
    b'{"a":1}{"a":2}\n[3]"x" 4',
    b"1 2\t3",
    b'"a" "b"',
    b')]}\'\n{"a": 1}',
    b")]}',\r\n[]",
    b'{ "a" : [ ] , "b" : { } }',
    b'[-0, 1.5E+10, 0.1e-5, true, false, null, "\\/\\b\\f\\n\\r\\t\\u00e9"]',
    b'{"":"","\\u0000":"\\u0000"}',
    '"\\ud800 alone, 💧"'.encode(),
    b"1" * 4000,
]


@pytest.mark.parametrize("body", ODD)
def test_odd_documents_leave_as_they_are(body: bytes) -> None:
    assert by_steps(BOTH, body) == body


BROKEN = [
    b"{", b"[", b'"', b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b"[1,", b"tru", b"-", b"1.", b"1e",
    b"[1,]", b'{"a":1,}', b"[,1]", b"{,}", b'{"a" 1}', b'{"a"::1}', b"{1:2}", b"{a:1}", b"[1 2]",
    b"]", b"}", b"[}", b"{]", b"[1}", b'{"a":1]', b",", b":", b"1,2",
    b"NaN", b"[NaN]", b"Infinity", b"[-Infinity]", b"undefined", b"[01]", b"[+1]", b"[.5]", b"[1.]",
    b"[0x10]", b"[1_000]", b"truefalse", b"[truex]", b"[nullnull]", b"['a']", b'["a\nb"]', b'["a\tb"]',
    b'["\\x41"]', b'["\\u00g0"]', b'["\\u004"]', b'["\\', b"/* c */ {}", b"// c\n{}", b'{"a":1 /**/}',
    b"<html>", b"hello", b"a=1&b=2", b'"a""b"', b"1-2", b'1"a"',
    b"\xff\xfe{\0}\0", b"{\0}\0", b'["\xff"]', b'["\xc1\x80"]', b'["\xed\xa0\x80"]', b'["\xe2\x82',
    b")]}'", b")]}' {}", b")]}'x\n{}", b")", b"{}\xef\xbb\xbf{}", b"[" * 600 + b"]" * 600, b'{"a":' * 600,
    b"1" * 5000, b'["' + b"a" * ((1 << 20) + 1) + b'"]',
]  # fmt: skip


@pytest.mark.parametrize("body", BROKEN)
def test_what_is_no_json_fails_closed(body: bytes) -> None:
    for masks in ([content()], [paths("$.a")], BOTH):
        with pytest.raises(MaskingFailed) as caught:
            run(masks, body)
        assert "a JSON body" in str(caught.value)
        with pytest.raises(MaskingFailed):
            run(masks, body, cuts=range(0, len(body), 1 + len(body) // 1000))


@given(st.text('{}[],:"\\ 01-.eEtruefalsn\n', max_size=24))
def test_what_json_loads_refuses_is_refused(text: str) -> None:
    body = text.encode()
    made = masker(BOTH, "application/json")
    try:
        out = made.feed(body) + made.finish()
    except MaskingFailed:
        out = None
    try:
        json.loads(text, parse_constant=_refuse)
    except ValueError:
        return  # several documents, or none: these are fine
    assert out == body


def _refuse(name: str) -> object:
    raise ValueError(name)


@given(st.text('{}[],:"\\ 01-.eE\n', max_size=16))
def test_what_passes_is_documents(text: str) -> None:
    try:
        run(BOTH, text.encode())
    except MaskingFailed:
        return
    decoder = json.JSONDecoder(parse_constant=_refuse)
    rest = text.strip(" \n")
    while rest:
        _, end = decoder.raw_decode(rest)
        rest = rest[end:].strip(" \n")


HIDDEN = [
    f'"{EMAIL}"',
    '"ada\\u0040example.com"',
    '"\\u0061\\u0064\\u0061\\u0040example\\u002ecom"',
    '"ada@example.c\\u006f\\u006D"',
    '"\\ud835\\udcea@example.com"',
    '"x \\ud83d\\udca7 ada@example.com \\ud800"',
    '"\\u0000ada@example.com\\u0000"',
    '"a\\\\u0040b ada\\\\u0040example.com"',
    '"ada%40example.com"',
    '"mailto:%61da%40example%2Ecom"',
    '"&#97;da&#64;example&period;com"',
    '"<a href=\\"x\\">ada&commat;example.com</a>"',
    '"{\\"email\\": \\"ada@example.com\\"}"',
    '"{\\"email\\": \\"ada\\\\u0040example.com\\"}"',
    CARD,
    f"{CARD}.0",
    f"-{CARD}",
    "4.111111111111111e15",
    "4111111111111111e0",
    "0.4111111111111111E16",
    "41111111111111110e-1",
    f'"{CARD}"',
    '"4111 1111 1111 1111"',
    '"4111-1111-1111-1111"',
    '"4111\\u00a01111\\u00a01111\\u00a01111"',
    '"\\u0034111 1111 1111 1111"',
    f'["{JWT}"]',
    f'{{"{EMAIL}": 1}}',
    '{"ada\\u0040example.com": {"a": "x"}}',
    '{"phone": "030123456"}',
    '{"phone": ["x", "030123456"]}',
    '{"phone": 4930123456}',
    f'{{"a": 1, "a": "{EMAIL}", "a": "{EMAIL}"}}',
]
NEEDLES = [
    EMAIL,
    CARD,
    "4111 1111",
    "4111-1111",
    "4111111111111111",
    JWT,
    "030123456",
    "4930123456",
    "example.c",
]


@pytest.mark.parametrize("body", HIDDEN)
def test_what_is_found_is_hidden_in_any_notation(body: str) -> None:
    for wrapped in (body, f'{{"x": [{body}, 1], "y": {body}}}', f"[{body}\n,\t{body} ]"):
        masked = by_steps([content()], wrapped.encode())
        told = json.dumps(json.loads(masked), ensure_ascii=False)
        for needle in NEEDLES:
            assert needle not in told, masked
        assert "[redacted:" in told


@pytest.mark.parametrize("body", HIDDEN)
def test_the_null_transform_leaves_null(body: str) -> None:
    masked = by_steps([content(transform="null")], f'{{"x": {body}}}'.encode())
    told = json.dumps(json.loads(masked))
    assert not any(needle in told for needle in NEEDLES)


def transformed(mask_terms: dict[str, Any], value: str) -> Any:
    transform = mask_terms.pop("transform")
    body = f'{{"a": {value}, "b": 1}}'.encode()
    masked = by_steps([paths("$.a", transform=transform, **mask_terms)], body)
    told = parsed(masked)
    assert told["b"] == 1
    return told["a"]


@pytest.mark.parametrize(
    ("terms", "value", "expected"),
    [
        ({"transform": "redact"}, '"Ada"', "[redacted]"),
        ({"transform": "redact"}, "17", "[redacted]"),
        ({"transform": "redact"}, "true", "[redacted]"),
        ({"transform": "redact"}, "null", None),
        ({"transform": "redact"}, '[1, {"x": "y", "z": null}, []]', ["[redacted]", {"x": "[redacted]", "z": None}, []]),
        ({"transform": "null"}, '{"x": [1, "y"]}', {"x": [None, None]}),
        ({"transform": "partial"}, '"Ada Lovelace"', "Ad*******ace"),
        ({"transform": "partial"}, '"\\u0041da Lovelace"', "Ad*******ace"),
        ({"transform": "partial"}, "4111111111111111", "41**********1111"),
        ({"transform": "partial"}, "true", "[redacted]"),
        ({"transform": "hash"}, "false", "[redacted]"),
        ({"transform": "partial", "keep_start": 1}, '"Ada Lovelace"', "A***"),
        ({"transform": "partial", "keep_end": 4}, '"Ada Lovelace"', "***lace"),
        ({"transform": "partial", "keep_start": 4, "keep_end": 4}, '"Ada"', "***"),
        ({"transform": "constant", "value": 'a "b"\n'}, '"Ada"', 'a "b"\n'),
        ({"transform": "generalise"}, "1234", "[redacted]"),
        ({"transform": "partial"}, '"\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800"', "\ufffd" * 2 + "*" * 18 + "\ufffd" * 4),
    ],
)  # fmt: skip
def test_each_transform(terms: dict[str, Any], value: str, expected: Any) -> None:
    assert transformed(dict(terms), value) == expected


def test_hashes_tell_equality_and_nothing_else() -> None:
    one, two = (transformed({"transform": "hash"}, text) for text in ('"Ada"', '"\\u0041da"'))
    assert one == two and len(one) == 32
    assert transformed({"transform": "hash"}, '"Bob"') != one


def test_a_hash_without_a_key_fails() -> None:
    with pytest.raises(MaskingFailed):
        body_masker((paths("$.a", transform="hash"),), "application/json", "", b"")


def test_the_strongest_mask_counts() -> None:
    masks = [paths("$.a", transform="partial"), paths("$..b", transform="null"), paths("$.a.c")]
    told = parsed(run(masks, b'{"a": {"b": "text of b", "c": "text of c", "d": "text of d"}}'))
    assert told == {"a": {"b": None, "c": "[redacted]", "d": "t****** d"}}


def test_what_is_named_is_not_searched_too() -> None:
    masks = [content(), paths("$.a", transform="partial")]
    assert parsed(run(masks, f'{{"a": "{EMAIL}"}}'.encode())) == {"a": "ad**********com"}


def test_each_document_has_its_own_root() -> None:
    body = b'{"a":1}\n{"a":[{"a":2}]}\n"x"\n{"b":{"a":3}}\n'
    masked = by_steps([paths("$.a")], body, "application/x-ndjson")
    assert masked == b'{"a":"[redacted]"}\n{"a":[{"a":"[redacted]"}]}\n"x"\n{"b":{"a":3}}\n'
    sequence = b'\x1e{"a":\n1}\n\x1e{"a":2}\n'
    assert by_steps([paths("$.a")], sequence, "application/json-seq") == (
        b'\x1e{"a":\n"[redacted]"}\n\x1e{"a":"[redacted]"}\n'
    )


def test_lines_leave_as_they_come() -> None:
    made = masker([content()], "application/x-ndjson")
    made.feed(b'{"a":1}\n')
    assert made.feed(f'{{"b":"{EMAIL}"}}\n'.encode()) == b'{"b":"[redacted:email]"}\n'


def test_everything_is_hidden_from_the_root() -> None:
    body = b'[1, "a", {"b": null, "c": [true]}] "x" 5 '
    masked = by_steps([paths("$")], body)
    assert masked == (
        b'["[redacted]", "[redacted]", {"b": null, "c": ["[redacted]"]}] "[redacted]" "[redacted]" '
    )


def test_a_long_string_waits_whole_and_is_looked_at_once_a_byte() -> None:
    text = ('\\"' * 1000 + "x" * 1000) * 100
    body = f'{{"a": "{text} {EMAIL}", "b": 2}}'.encode()
    masked = run([content()], body, cuts=range(0, len(body), 100))
    told = parsed(masked)
    assert told["b"] == 2 and told["a"].endswith(" [redacted:email]")


def test_deep_but_not_too_deep() -> None:
    body = b'{"a":[' * 250 + f'"{EMAIL}"'.encode() + b"]}" * 250
    assert b"[redacted:email]" in run(BOTH, body)


def test_huge_numbers_are_searched_as_they_stand() -> None:
    for body in (b"1e999999999", b"-1E-999999999", b"1" * 300 + b"e5", b"0." + b"0" * 4000 + b"1"):
        assert run([content()], b"[" + body + b"]") == b"[" + body + b"]"
    assert math.isinf(json.loads(b"1e999999999"))


def test_the_message_of_a_failure_holds_nothing_of_the_body() -> None:
    for body in (f'{{"{EMAIL}" 1}}', f'["{EMAIL}"', f'["{EMAIL}" x]', f'{{"a": {CARD}x}}'):
        with pytest.raises(MaskingFailed) as caught:
            run(BOTH, body.encode())
        assert EMAIL not in str(caught.value) and CARD not in str(caught.value)


def test_a_key_stays_a_key() -> None:
    for transform in ("null", "hash", "partial", "redact"):
        body = f'{{"{EMAIL}": 1, "b\\u0040c.de x": 2}}'.encode()
        told = parsed(run([content("email", transform=transform)], body))
        assert list(told.values()) == [1, 2] and EMAIL not in told
    assert len(KEY) == 32
