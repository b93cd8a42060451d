"""Replay of HTTP: requests, decisions and responses, in order, whoever runs beside whom."""

from __future__ import annotations

import unicodedata

import pytest
from msgspec import structs

from sallyport.core.event import (
    OperationDecided,
    RecordedEvent,
    RequestForwarded,
    ResponseBegun,
    ResultEnded,
    ResultRows,
    SessionOpened,
)
from sallyport.protocols.http.transcript import render_rows
from sallyport.recording import exchanges
from sallyport.recording.replay import plan
from tests.support.recordings import T0, begun, closed, decided, forwarded, opened

ASKED = (
    "POST /v1/refunds?dry=1\naccept: */*\ncontent-type: application/json\n"
    'authorization: Basic eDp5\n\n{\n  "amount": 5\n}'
)


def began() -> SessionOpened:
    return structs.replace(opened("s-1"), protocol="http")


def asked(operation: int = 1, text: str = ASKED, **more: str) -> OperationDecided:
    return decided("s-1", operation, T0 + operation, text, verb=more.pop("verb", "post"), **more)


def body(
    data: bytes, operation: int = 1, direction: str = "out", encoding: str = "http/body"
) -> ResultRows:
    return ResultRows("s-1", T0 + 2, operation, encoding, data, 0, direction)


def over(operation: int = 1, truncated: bool = False, size: int = 9, **more: str) -> ResultEnded:
    return ResultEnded("s-1", T0 + 3, operation, "201", 0, size, b"", truncated, 0.0125, **more)


def shown(events: list[RecordedEvent], **more: object) -> list[tuple[str, str]]:
    more.setdefault("render", render_rows)
    return [(line.kind, line.text) for _, line in plan([began(), *events], **more)][1:]  # type: ignore[arg-type]


def test_a_request_and_its_response_read_in_order() -> None:
    events = [
        asked(),
        forwarded("s-1"),
        body(b'{\n  "amount": 5\n}', direction="in"),
        structs.replace(begun("s-1"), status=103, reason="Early Hints", headers=(), interim=True),
        begun("s-1"),
        body(b'{"id":\t"r-'),
        body(b'1"}\n'),
        body(b"x-sum: 1\r\n", encoding="http/trailers"),
        over(),
    ]
    assert shown(events) == [
        ("statement", "[00:01.0] POST /v1/refunds?dry=1"),
        ("statement", "        accept: */*"),
        ("statement", "        content-type: application/json"),
        ("statement", "        authorization: Basic eDp5"),
        ("statement", "        "),
        ("statement", "        {"),
        ("statement", '          "amount": 5'),
        ("statement", "        }"),
        ("allow", "allow by agents-read"),
        ("notice", "sent to https://api.internal"),
        ("columns", "HTTP/1.1 103 Early Hints"),
        ("columns", "HTTP/1.1 201 Created"),
        ("row", "content-type: application/json"),
        ("row", "set-cookie: a=b; Path=/; HttpOnly"),
        ("row", ""),
        ("row", '{"id":  "r-1"}'),
        ("row", ""),
        ("row", "x-sum: 1"),
        ("end", "201 (9 bytes, 12.5 ms)"),
    ]


def test_what_the_target_got_otherwise_is_told() -> None:
    sent = structs.replace(
        forwarded("s-1"), url="/v2", headers=(("accept", "*/*"), ("accept-encoding", "identity"))
    )
    assert shown([asked(), sent])[-2:] == [
        ("notice", "sent to https://api.internal as POST /v2"),
        ("notice", "  accept-encoding: identity"),
    ]


def test_a_refused_request_reads_as_it_was_asked() -> None:
    lines = shown([asked(decision="deny", rules=("no-refunds",))])
    assert lines[0] == ("statement", "[00:01.0] POST /v1/refunds?dry=1")
    assert lines[-1] == ("deny", "deny by no-refunds")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "<10 bytes of image/png>"),
        (b"plain", "plain"),
    ],
)
def test_a_binary_body_is_told_by_size_and_type(data: bytes, says: str) -> None:
    text = "PUT /a\ncontent-type: image/png\n\n" + data.decode("utf-8", "backslashreplace")
    assert shown([asked(text=text)])[-2] == ("statement", "        " + says)
    answered = structs.replace(begun("s-1"), headers=(("content-type", "image/png"),))
    lines = shown([asked(text="GET /a"), answered, body(data), over()])
    assert lines[-2] == ("row", says)


def test_a_body_that_was_not_in_the_text_is_shown_as_it_was_sent() -> None:
    text = f"PUT /a\ncontent-type: text/plain\n\n{exchanges.UNSEEN}"
    sent = structs.replace(forwarded("s-1"), headers=(("content-type", "text/plain"),))
    data = b"x" * exchanges.LONG + b"yy"
    lines = shown([asked(text=text), sent, body(data, direction="in"), begun("s-1"), over()])
    assert ("statement", "x" * exchanges.LONG) in lines
    assert ("statement", "... 2 more bytes of it recorded") in lines
    assert lines.index(("statement", "x" * exchanges.LONG)) < lines.index(
        ("columns", "HTTP/1.1 201 Created")
    )


def test_operations_side_by_side_are_told_apart() -> None:
    lines = shown(
        [
            asked(1, "GET /a"),
            asked(2, "GET /b"),
            structs.replace(begun("s-1"), headers=()),
            structs.replace(begun("s-1", 2), headers=()),
            body(b"for b", 2),
            over(2),
            body(b"for a", 1),
            over(1, truncated=True),
        ]
    )
    assert lines[4:] == [
        ("notice", "of operation 1, GET /a:"),
        ("columns", "HTTP/1.1 201 Created"),
        ("notice", "of operation 2, GET /b:"),
        ("columns", "HTTP/1.1 201 Created"),
        ("row", ""),
        ("row", "for b"),
        ("end", "201 (9 bytes, 12.5 ms)"),
        ("notice", "of operation 1, GET /a:"),
        ("row", ""),
        ("row", "for a"),
        ("row", "... what was not kept of it was counted and hashed"),
        ("end", "201 (9 bytes, 12.5 ms)"),
    ]


def test_messages_stand_between_their_decisions() -> None:
    lines = shown(
        [
            asked(1, "GET /chat", verb="websocket"),
            asked(2, "hello", verb="message"),
            body(b"hello", 1, "in", "http/message"),
            body(b"hi\nthere", 1, "out", "http/message"),
            body(b"\x00\xff", 1, "in", "http/message"),
            body(b"late", 1, "out", "http/message"),
            over(1),
        ],
        rows=2,
    )
    assert [text for _, text in lines] == [
        "[00:01.0] GET /chat",
        "allow by agents-read",
        "[00:02.0] hello",
        "allow by agents-read",
        "of operation 1, GET /chat:",
        "<- hi",
        "        there",
        "-> <2 bytes>",
        "... 1 more message recorded",
        "201 (9 bytes, 12.5 ms)",
    ]


def test_without_a_renderer_bodies_are_counted() -> None:
    assert shown([asked(), body(b"abc"), over()], render=None)[-2] == (
        "row",
        "(3 bytes of http/body)",
    )


def test_operations_without_an_end_are_not_remembered_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchanges, "REMEMBERED", 2)
    events: list[RecordedEvent] = [asked(number, "GET /a") for number in (1, 2, 3)]
    lines = shown([*events, begun("s-1", 1)])
    assert ("notice", "of operation 1:") in lines


@pytest.mark.parametrize("hostile", ["\x1b]0;owned\x07", "a\rb", "abc\u202edcba", "\x9b31m"])
def test_no_recorded_byte_acts(hostile: str) -> None:
    field = (("content-type", "text/plain"), (hostile, hostile))
    events: list[RecordedEvent] = [
        asked(text=f"GET /{hostile}\n{hostile}: {hostile}\n\n{hostile}"),
        RequestForwarded("s-1", T0, 1, hostile, hostile, hostile, field, hostile),
        ResponseBegun("s-1", T0, 1, 200, hostile, hostile, field),
        body(hostile.encode()),
        body(hostile.encode(), encoding="http/trailers"),
        body(hostile.encode(), encoding="http/message"),
        over(),
        closed("s-1"),
    ]
    for _, text in shown(events):
        assert not [c for c in text if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"]
