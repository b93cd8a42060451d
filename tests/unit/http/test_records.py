"""What a request leaves on record: heads, bodies up to the limit, its end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count

from sallyport.core.event import (
    RecordedEvent,
    RequestForwarded,
    ResponseBegun,
    ResultEnded,
    ResultRows,
)
from sallyport.protocols.http.message import RequestHead, ResponseHead
from sallyport.protocols.http.records import MESSAGE, Account

HEAD = RequestHead("POST", "https", "shop", "/a?mail=ann@x.org", [], "HTTP/1.1", 5)


def account(
    limit: int = 100, conceal: Callable[[str], str] | None = None
) -> tuple[Account, list[RecordedEvent]]:
    made: list[RecordedEvent] = []
    clock = count(1000)
    return Account(made.append, lambda: float(next(clock)), "s-1", 7, limit, conceal), made


def test_heads_are_recorded_as_text_each_byte_a_character() -> None:
    told, made = account()
    told.forwarded(HEAD, [(b"accept", b"\xe9")], "/a?mail=ann@x.org", "https://api.internal")
    told.begun(ResponseHead(103, "Early Hints", []), interim=True)
    told.begun(ResponseHead(201, "Created", [(b"etag", b'"1"')], "HTTP/1.1"))
    assert made == [
        RequestForwarded(
            "s-1", 1001.0, 7, "POST", "/a?mail=ann@x.org", "HTTP/1.1", (("accept", "é"),),
            "https://api.internal",
        ),
        ResponseBegun("s-1", 1002.0, 7, 103, "Early Hints", "HTTP/1.1", (), True),
        ResponseBegun("s-1", 1003.0, 7, 201, "Created", "HTTP/1.1", (("etag", '"1"'),)),
    ]  # fmt: skip


def test_bodies_are_kept_up_to_the_limit_and_hashed_whole() -> None:
    told, made = account(5)
    told.sent(b"request")
    told.returned(b"resp")
    told.returned(b"onse")
    told.trailers([(b"x-sum", b"1")])
    told.ended("200")
    told.ended("twice is once")
    kept = [(one.direction, one.data) for one in made if isinstance(one, ResultRows)]
    assert kept == [("in", b"reque"), ("out", b"resp"), ("out", b"o")]
    end = made[-1]
    assert isinstance(end, ResultEnded) and len(made) == 4
    assert (end.tag, end.bytes, end.truncated) == ("200", 8, True)
    assert end.digest == hashlib.sha256(b"response").digest()


def test_messages_are_kept_whole_or_not_at_all_in_both_directions() -> None:
    told, made = account(5)
    for data in (b"hello", b"x"):
        told.sent(data, MESSAGE)
    told.returned(b"more than five", MESSAGE)
    told.ended("101")
    (row,) = [one for one in made if isinstance(one, ResultRows)]
    assert (row.direction, row.data, row.rows, row.encoding) == ("in", b"hello", 1, MESSAGE)
    assert told.truncated and told.rows == 1


def test_what_masks_hide_in_texts_is_hidden_here_too() -> None:
    told, made = account(100, lambda text: text.replace("ann@x.org", "***"))
    fields = [(b"x-of", b"ann@x.org"), (b"accept", b"*/*")]
    told.forwarded(HEAD, fields, "/a?mail=ann@x.org", "https://a")
    told.sent(b"ann@")
    told.sent(b"x.org")
    told.returned(b"masked already")
    (sent, row) = made
    assert isinstance(sent, RequestForwarded) and isinstance(row, ResultRows)
    assert sent.url == "/a?mail=***"
    assert sent.headers == (("x-of", "***"), ("accept", "*/*"))
    assert row.data == b"masked already" and told.truncated
