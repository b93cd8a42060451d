"""HAR: every request as an entry of HAR 1.2, out of a real recording, in bounded memory."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from sallyport.core.event import (
    HoldOpened,
    HoldSettled,
    OperationDecided,
    RecordedEvent,
    RequestForwarded,
    ResponseBegun,
    ResultEnded,
    ResultRows,
    SessionOpened,
)
from sallyport.core.operation import Effect, Resource
from sallyport.recording import har
from sallyport.recording.har import HarWriter, NoArchive, archive
from sallyport.recording.journal import Journal
from tests.support.recordings import (
    KEY,
    T0,
    begun,
    closed,
    decided,
    forwarded,
    opened,
    read_journal,
    whole,
)

ASKED = 'POST /v1/refunds?dry=1\ncontent-type: application/json\ncookie: a=1; b=x=y\n\n{"n": 5}'

FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "log": {"version": str, "creator": dict, "entries": list},
    "creator": {"name": str, "version": str},
    "entry": {
        "startedDateTime": str, "time": (int, float), "request": dict, "response": dict,
        "cache": dict, "timings": dict,
    },
    "request": {
        "method": str, "url": str, "httpVersion": str, "cookies": list, "headers": list,
        "queryString": list, "headersSize": int, "bodySize": int,
    },
    "response": {
        "status": int, "statusText": str, "httpVersion": str, "cookies": list, "headers": list,
        "content": dict, "redirectURL": str, "headersSize": int, "bodySize": int,
    },
    "content": {"size": int, "mimeType": str},
    "postData": {"mimeType": str, "text": str},
    "timings": {"send": (int, float), "wait": (int, float), "receive": (int, float)},
    "pair": {"name": str, "value": str},
}  # fmt: skip
"""What HAR 1.2 requires, and of which type."""


def check(kind: str, value: Any) -> None:
    for name, of in FIELDS[kind].items():
        assert isinstance(value[name], of) and not isinstance(value[name], bool), (kind, name)
    known = {"comment", "cache", *FIELDS[kind]}
    more = {
        "entry": {"serverIPAddress", "connection", "pageref"},
        "log": {"pages", "browser"},
        "request": {"postData"},
        "content": {"text", "encoding", "compression"},
        "timings": {"blocked", "dns", "connect", "ssl"},
        "postData": {"params"},
    }
    assert {name for name in value if name[0] != "_"} <= known | more.get(kind, set()), kind


def read(text: str) -> list[dict[str, Any]]:
    """Check an archive against the specification; return its entries."""
    assert text.isascii() and "\x7f" not in text
    log = json.loads(text)["log"]
    check("log", log)
    check("creator", log["creator"])
    assert log["version"] == "1.2"
    for entry in log["entries"]:
        check("entry", entry)
        for part in ("request", "response", "timings"):
            check(part, entry[part])
        check("content", entry["response"]["content"])
        if "postData" in entry["request"]:
            check("postData", entry["request"]["postData"])
        for part in ("request", "response"):
            for field in entry[part]["headers"] + entry[part]["cookies"]:
                assert {name: type(field[name]) for name in FIELDS["pair"]} == FIELDS["pair"]
        for field in entry["request"]["queryString"]:
            check("pair", field)
        assert datetime.fromisoformat(entry["startedDateTime"]).tzinfo is not None
        timed = [value for value in entry["timings"].values() if value != -1]
        assert entry["time"] == pytest.approx(sum(timed)) and min(timed) >= 0
        assert "://" in entry["request"]["url"] and "serverIPAddress" not in entry
    found: list[dict[str, Any]] = log["entries"]
    return found


def entries(events: Iterable[RecordedEvent]) -> list[dict[str, Any]]:
    return read("".join(archive(events)))


def began() -> SessionOpened:
    return structs.replace(opened("s-1"), protocol="http")


def asked(operation: int = 1, text: str = ASKED, **more: Any) -> OperationDecided:
    more.setdefault("verb", "post")
    return decided("s-1", operation, more.pop("at", T0 + operation), text, **more)


def body(
    data: bytes,
    operation: int = 1,
    direction: str = "out",
    encoding: str = "http/body",
    at: float = T0 + 1.2,
) -> ResultRows:
    return ResultRows("s-1", at, operation, encoding, data, 0, direction)


def over(operation: int = 1, size: int = 9, truncated: bool = False, **more: str) -> ResultEnded:
    return ResultEnded(
        "s-1", T0 + 1.5, operation, "201", 0, size, b"", truncated, 0.4, **more
    )  # fmt: skip


def one_request() -> list[RecordedEvent]:
    return [
        began(),
        asked(),
        forwarded("s-1", at=T0 + 1.05),
        body(b'{"n": 5}', direction="in", at=T0 + 1.1),
        begun("s-1", at=T0 + 1.2),
        body(b'{"id":'),
        body(b"1}\n"),
        over(),
        closed("s-1"),
    ]


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
async def test_a_request_is_an_entry_of_a_real_recording(tmp_path: Path, key: bytes | None) -> None:
    journal = Journal(tmp_path, "worker-1", key=key, reserve=0)
    for event in one_request():
        journal.record(event)
    await journal.close("done")
    (path,) = tmp_path.glob("*.journal")
    events, _ = read_journal(path, key)
    assert len(events) == len(one_request()) + 2
    (entry,) = entries(events)
    assert entry["startedDateTime"] == "2026-09-21T14:13:21.000+00:00"
    assert entry["request"] == {
        "method": "POST",
        "url": "https://api.internal/v1/refunds?dry=1",
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [
            {"name": "accept", "value": "*/*"},
            {"name": "content-type", "value": "application/json"},
        ],
        "queryString": [{"name": "dry", "value": "1"}],
        "headersSize": -1,
        "bodySize": 8,
        "postData": {"mimeType": "application/json", "text": '{"n": 5}'},
    }
    assert entry["response"] == {
        "status": 201,
        "statusText": "Created",
        "httpVersion": "HTTP/1.1",
        "cookies": [
            {"name": "a", "value": "b", "httpOnly": True, "secure": False, "path": "/"},
        ],
        "headers": [
            {"name": "content-type", "value": "application/json"},
            {"name": "set-cookie", "value": "a=b; Path=/; HttpOnly"},
        ],
        "content": {"size": 9, "mimeType": "application/json", "text": '{"id":1}\n'},
        "redirectURL": "",
        "headersSize": -1,
        "bodySize": 9,
    }
    assert entry["timings"] == pytest.approx(
        {"blocked": 50, "send": 50, "wait": 100, "receive": 300}
    )
    assert entry["time"] == 500
    assert entry["_sallyport"] == {
        "operation": 1,
        "decision": "allow",
        "rules": ["agents-read"],
        "approval": "",
        "truncated": False,
    }


def test_the_archive_says_whose_it_is() -> None:
    log = json.loads("".join(archive(one_request())))["log"]
    assert log["creator"]["name"] == "Sallyport" and log["creator"]["version"]
    assert log["_sallyport"] == {
        "session": "s-1", "subject": "agent-1", "actors": [], "task": "", "target": "shop",
    }  # fmt: skip
    assert entries([]) == entries([began(), closed("s-1")]) == []


def test_a_refused_request_is_an_entry_with_the_gateways_refusal() -> None:
    deny = structs.replace(asked(decision="deny", rules=("no-refunds",)), reason="not today")
    (entry,) = entries([began(), deny])
    assert (entry["request"]["method"], entry["request"]["url"]) == (
        "POST",
        "http://shop/v1/refunds?dry=1",
    )
    assert entry["request"]["cookies"] == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": "x=y"},
    ]
    assert entry["request"]["postData"] == {"mimeType": "application/json", "text": '{"n": 5}'}
    assert (entry["response"]["status"], entry["time"]) == (403, 0)
    assert entry["comment"] == "refused by no-refunds: not today"
    assert entry["_sallyport"]["decision"] == "deny"
    first, second = entries([*one_request()[:-1], structs.replace(deny, operation=2)])
    assert second["request"]["url"].startswith("https://api.internal/")
    assert first["_sallyport"]["operation"] == 1


@pytest.mark.parametrize(
    ("after", "status", "comment"),
    [
        ([HoldSettled("s-1", T0 + 9, 1, "apr-1", "denied", ("dana",), "no")], 403,
         "refused: its hold is denied by dana: no"),
        ([HoldSettled("s-1", T0 + 9, 1, "apr-1", "expired", ())], 403,
         "refused: its hold is expired"),
        ([], 0, "its end is not on record"),
    ],
)  # fmt: skip
def test_what_became_of_a_hold(after: list[RecordedEvent], status: int, comment: str) -> None:
    hold = asked(decision="hold", rules=("refunds-wait",))
    waits = HoldOpened("s-1", T0 + 1, 1, "apr-1", ("dba",), 1, 300, False)
    (entry,) = entries([began(), hold, waits, *after, closed("s-1")])
    assert (entry["response"]["status"], entry["comment"]) == (status, comment)
    assert entry["_sallyport"]["approval"] == "apr-1"


def test_a_ticket_is_a_refusal_and_an_approval_is_time_that_it_waited() -> None:
    hold = asked(decision="hold", rules=("refunds-wait",))
    (entry,) = entries([began(), hold, HoldOpened("s-1", T0, 1, "apr-1", (), 1, 0, True)])
    assert entry["response"]["status"] == 403
    yes = structs.replace(asked(at=T0 + 61), approval="apr-1")
    late = [
        structs.replace(event, at=event.at + 60)
        for event in one_request()
        if isinstance(event, RequestForwarded | ResponseBegun | ResultEnded)
    ]
    (entry,) = entries([began(), hold, yes, *late])
    assert entry["response"]["status"] == 201 and "comment" not in entry
    assert entry["timings"]["blocked"] == pytest.approx(60_050)
    assert entry["_sallyport"]["approval"] == "apr-1"
    assert entry["_sallyport"]["decision"] == "allow"


def test_bytes_are_in_base64_and_packed_bodies_are_unpacked() -> None:
    png = b"\x89PNG\xff"
    image = (("content-type", "image/png"), ("location", "/next"))
    packed = (("content-type", "text/plain"), ("content-encoding", "gzip"))
    strange = (("content-encoding", "br"),)
    data = gzip.compress(b"hello" * 100)
    found = entries(
        [
            began(),
            asked(1), forwarded("s-1", 1), body(png, 1, "in"),
            structs.replace(begun("s-1", 1), headers=image), body(png, 1), over(1, len(png)),
            asked(2), forwarded("s-1", 2),
            structs.replace(begun("s-1", 2), headers=packed), body(data, 2), over(2, len(data)),
            asked(3), forwarded("s-1", 3),
            structs.replace(begun("s-1", 3), headers=strange), body(b"\xff", 3), over(3, 1),
        ]
    )  # fmt: skip
    contents = [one["response"]["content"] for one in found]
    text = base64.b64encode(png).decode()
    assert contents[0] == {
        "size": 5, "mimeType": "image/png", "text": text, "encoding": "base64",
    }  # fmt: skip
    assert found[0]["response"]["redirectURL"] == "/next"
    sent = found[0]["request"]["postData"]
    assert (sent["text"], sent["_encoding"]) == (text, "base64")
    assert (contents[1]["text"], contents[1]["size"]) == ("hello" * 100, 500)
    assert contents[1]["compression"] == 500 - len(data)
    assert found[1]["response"]["bodySize"] == len(data)
    assert (contents[2]["encoding"], contents[2]["mimeType"]) == ("base64", "x-unknown")


def test_messages_are_in_their_sockets_entry() -> None:
    def at(path: str) -> dict[str, Any]:
        return {"resources": (Resource("path", path, Effect.READ),)}

    opening = structs.replace(asked(1, "GET /chat", verb="websocket"), **at("/chat"))
    other = structs.replace(asked(2, "GET /news", verb="websocket"), **at("/news"))
    refused = structs.replace(
        asked(4, "drop", verb="message", decision="deny", rules=("no-drops",)), **at("/chat")
    )
    own = structs.replace(asked(5, "hey", verb="message"), **at("/chat"))
    found = entries(
        [
            began(),
            opening, forwarded("s-1"), structs.replace(begun("s-1"), status=101, interim=True),
            other, forwarded("s-1", 2),
            structs.replace(asked(3, "hi", verb="message"), **at("/chat")),
            body(b"hi", 1, "in", "http/message", T0 + 3),
            body(b"\xff", 1, "out", "http/message", T0 + 4),
            refused,
            own, body(b"hey", 5, "in", "http/message", T0 + 6),
            asked(6, "deliver", verb="deliver", decision="deny"),
            over(1), over(2),
        ]
    )  # fmt: skip
    assert [one["_resourceType"] for one in found] == ["websocket"] * 2
    entry = found[0]
    assert entry["request"]["url"].startswith("wss://api.internal/")
    assert entry["response"]["status"] == 101
    assert entry["_webSocketMessages"] == [
        {"type": "send", "time": T0 + 3, "opcode": 1, "data": "hi"},
        {"type": "receive", "time": T0 + 4, "opcode": 2, "data": "/w=="},
        {
            "type": "send", "time": T0 + 4, "opcode": 1, "data": "drop",
            "_sallyport": {
                "operation": 4, "decision": "deny", "rules": ["no-drops"], "approval": "",
            },
        },
        {"type": "send", "time": T0 + 6, "opcode": 1, "data": "hey"},
    ]  # fmt: skip
    assert found[1]["_webSocketMessages"] == []


def test_requests_side_by_side_do_not_mix_and_early_hints_are_no_response() -> None:
    hints = structs.replace(begun("s-1", 1), status=103, interim=True)
    found = entries(
        [
            began(),
            asked(1), asked(2), forwarded("s-1", 1), forwarded("s-1", 2), hints,
            begun("s-1", 2), body(b"two", 2), begun("s-1", 1), body(b"one", 1),
            body(b"x: y\r\n", 1, encoding="http/trailers"), over(2), over(1),
        ]
    )  # fmt: skip
    told = [(one["_sallyport"]["operation"], one["response"]["content"]["text"]) for one in found]
    assert told == [(2, "two"), (1, "one")]
    assert found[1]["response"]["status"] == 201


def test_what_broke_off_says_so() -> None:
    (entry,) = entries(
        [began(), asked(), forwarded("s-1"), over(code="unfinished", message="target has gone")]
    )
    assert (entry["response"]["status"], entry["comment"]) == (0, "target has gone")
    assert entry["_sallyport"]["code"] == "unfinished"
    (entry,) = entries([began(), asked(), forwarded("s-1"), begun("s-1"), body(b"half")])
    assert entry["comment"] == "its end is not on record"
    assert entry["response"]["content"]["text"] == "half"
    (entry,) = entries([*one_request()[:-2], over(truncated=True)])
    assert entry["_sallyport"]["truncated"] is True


def test_memory_is_bounded_and_entries_come_as_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(har, "BODY", 100)
    monkeypatch.setattr(har, "TOTAL", 250)
    monkeypatch.setattr(har, "RUNNING", 3)
    writer = HarWriter()
    out = writer.take(began())
    for number in range(1, 4):
        writer.take(asked(number))
        writer.take(begun("s-1", number))
        for _ in range(40):
            writer.take(body(b"12345", number))
    assert writer._kept == 250
    done = writer.take(over(2))
    assert done.count("startedDateTime") == 1 and writer._kept == 150
    out += done
    for number in range(4, 20):
        out += writer.take(asked(number))
    assert len(writer._running) == 3
    out += writer.end()
    assert writer._kept == 0
    found = {one["_sallyport"]["operation"]: one for one in read(out)}
    assert sorted(found) == list(range(1, 20))
    assert [found[number]["response"]["content"]["size"] for number in (1, 2, 3)] == [100, 100, 50]
    assert all(found[number]["_sallyport"]["truncated"] for number in (1, 2, 3))


def test_texts_are_bounded_too_and_what_was_let_go_comes_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(har, "TEXTS", 3 * len(ASKED))
    events = [asked(number) for number in range(1, 6)]
    late = [
        forwarded("s-1", 5),
        begun("s-1", 1),
        body(b"late", 1),
        over(1),
        begun("s-1", 5),
        over(5),
    ]
    found = entries([began(), *events, asked(5), *late])
    told = [(one["_sallyport"]["operation"], one["response"]["status"]) for one in found]
    assert told == [(1, 0), (2, 0), (5, 201), (3, 0), (4, 0)]


@pytest.mark.parametrize(
    "hostile", ["\x1b]0;x\x07", "\ud800", "\x7f", "\u2028", '"},{"', "%ff=%zz&a", "\n\n", ""]
)
def test_hostile_text_makes_no_other_archive(hostile: str) -> None:
    field = ((hostile, hostile), ("set-cookie", hostile), ("cookie", hostile))
    events: list[RecordedEvent] = [
        began(),
        asked(1, hostile),
        RequestForwarded(
            "s-1", float("nan"), 1, hostile, "/?" + hostile, hostile, field, "http://a"
        ),
        ResponseBegun("s-1", float("inf"), 1, 200, hostile, hostile, field),
        body(hostile.encode("utf-8", "replace")),
        over(code=hostile, message=hostile),
        asked(2, hostile, decision="deny", rules=(hostile,), at=float("nan")),
    ]
    assert len(entries(events)) == 2


def test_cookies_have_their_attributes() -> None:
    fields = (
        ("set-cookie", "a=b; Domain=x.org; Secure; SameSite=Lax; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        ("set-cookie", "c; Expires=never"),
    )  # fmt: skip
    (entry,) = entries([began(), asked(), structs.replace(begun("s-1"), headers=fields), over()])
    assert entry["response"]["cookies"] == [
        {
            "name": "a", "value": "b", "httpOnly": False, "secure": True, "domain": "x.org",
            "sameSite": "Lax", "expires": "2026-10-21T07:28:00+00:00",
        },
        {"name": "c", "value": "", "httpOnly": False, "secure": False},
    ]  # fmt: skip


def test_a_session_of_another_protocol_has_no_archive() -> None:
    with pytest.raises(NoArchive, match="`postgres`"):
        list(archive(whole("s-1")))
