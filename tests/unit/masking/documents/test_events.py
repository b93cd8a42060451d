"""Server-sent events: any line ends, any cut; an event leaves with its blank line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import MaskingFailed
from tests.unit.masking.documents.documents import (
    CARD,
    EMAIL,
    by_steps,
    content,
    masker,
    paths,
    run,
)

KIND = "text/event-stream"
ENDS = ["\n", "\r", "\r\n"]


def data_of(stream: bytes) -> list[str]:
    """Return the data of each event, as the HTML standard has it read."""
    text = stream.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    out: list[str] = []
    lines: list[str] = []
    for line in text.split("\n"):
        if not line:
            if lines:
                out.append("\n".join(lines))
            lines = []
        name, _, value = line.partition(":")
        if name == "data":
            lines.append(value.removeprefix(" "))
    return out


@pytest.mark.parametrize("end", ENDS)
def test_events_are_masked_one_by_one(end: str) -> None:
    lines = [
        "\ufeff: hello", "event: message", f'data: {{"email": "{EMAIL}",', 'data: "n": 1}', "id: 7", "",
        f"data:mail {EMAIL}", "", "", "data", "", f"id: {EMAIL}", f": {EMAIL}", f"{EMAIL}: x", "retry: 5",
        "", "data: [DONE]", "", "dat: x", "data: x", "data: y",
    ]  # fmt: skip
    body = end.join(lines).encode()
    masked = by_steps([content(), paths("$.n")], body, KIND)
    assert EMAIL.encode() not in masked
    first, *rest = data_of(masked + (end * 2).encode())
    assert json.loads(first) == {"email": "[redacted:email]", "n": "[redacted]"}
    assert rest == ["mail [redacted:email]", "", "[DONE]", "x\ny"]
    kept = [line for line in lines if EMAIL not in line and 'data: "' not in line]
    for line in kept:
        assert line.encode() in masked
    assert masked.count(b"\r") == body.count(b"\r") and masked.count(b"\n") == body.count(b"\n")


@given(
    st.lists(st.sampled_from(["data: a", f"data: {EMAIL}", 'data: {"a":', "data: 1}", "data:", "id: 1", "", "", ":"]), max_size=12),
    st.lists(st.sampled_from(ENDS), min_size=12, max_size=12),
    st.data(),
)  # fmt: skip
def test_any_cut_and_any_line_ends_give_the_same(
    lines: list[str], ends: list[str], data: st.DataObject
) -> None:
    body = "".join(line + end for line, end in zip(lines, ends, strict=False)).encode()
    whole = run([content()], body, KIND)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=5))
    assert run([content()], body, KIND, cuts) == whole
    assert run([content()], body, KIND, range(len(body))) == whole
    expected = [one.replace(EMAIL, "[redacted:email]") for one in data_of(body)]
    assert data_of(whole) == expected
    if EMAIL.encode() not in body:
        assert whole == body


@pytest.mark.parametrize("end", ENDS)
def test_an_event_leaves_as_soon_as_its_blank_line_has_come(end: str) -> None:
    made = masker([content()], KIND)
    event = f"data: 1{end}{end}".encode()
    for _ in range(3):
        out = b"".join(made.feed(bytes((byte,))) for byte in event)
        # Of CRLF the return sends it off; its line feed comes along or later.
        assert (
            out.removeprefix(b"\n") + b"\n" * (not out.endswith(b"\n") and end == "\r\n") == event
        )


def test_data_that_is_no_document_is_text() -> None:
    for text in ("4111 1111 1111 1111", f'"a" {EMAIL}', f"[info] {EMAIL}", f"{{x}} {EMAIL}", EMAIL):
        masked = by_steps([content()], f"data: {text}\n\n".encode(), KIND)
        assert b"[redacted:" in masked and EMAIL.encode() not in masked and b"4111" not in masked


def test_a_number_is_a_document() -> None:
    assert run([content()], f"data: {CARD}\n\n".encode(), KIND) == b'data: "[redacted:card]"\n\n'
    assert run([paths("$")], b"data: 17\n\n", KIND) == b'data: "[redacted]"\n\n'


@pytest.mark.parametrize("text", ['{"a": 1', "[1,", "{a: 1}", '{"a": 1} {"a": 2}', "[1] x"])
def test_what_begins_like_json_and_is_none_fails_closed_where_values_are_named(text: str) -> None:
    body = f"data: {text}\n\n".encode()
    assert run([content()], body, KIND) == body
    with pytest.raises(MaskingFailed):
        run([paths("$.a")], body, KIND)


def test_an_event_is_bounded() -> None:
    for body in (b"data: " + b"x" * (1 << 20), b"data: x\n" * (1 << 17) + b"data: x\n" * 10):
        with pytest.raises(MaskingFailed):
            run([content()], body, KIND, range(0, len(body), 65_536))
    run([content()], b"data: x\n\n" * (1 << 17), KIND)
