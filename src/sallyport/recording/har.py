"""HAR: an HTTP session as an HTTP Archive (HAR 1.2), which browsers and proxies' tools read.

One entry a request, written as soon as it is over: what is kept meanwhile are the requests that
run, and of their bodies no more than `TOTAL` bytes in all. Requests that were refused are entries
too. What HAR has no words for stands in fields that begin with `_`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

from sallyport.core.event import (
    HTTP_BODY,
    HTTP_MESSAGE,
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
from sallyport.recording import har_parts as parts
from sallyport.recording.exchanges import UNSEEN
from sallyport.recording.har_parts import Headers, Object

BODY = 8 * 1024 * 1024
"""Bytes of one body, and of one request's messages, that are shown."""
TOTAL = 64 * 1024 * 1024
"""Bytes that are kept of all requests that run."""
RUNNING = 512
"""Requests that may run at once; the oldest is then written as one that has no end."""
TEXTS = 64 * 1024 * 1024
"""Characters of their decisions' texts that are kept, likewise."""
MESSAGES = 10_000
"""Messages of one request that are shown."""
PROTOCOL = "http"

_WITHIN = frozenset({"message", "deliver"})
"""Verbs of operations that are part of another request, and so no entries."""


class NoArchive(ValueError):
    """The session is of another protocol."""


class _Entry:
    """One request, as far as it is known."""

    def __init__(self, operation: int, at: float) -> None:
        self.operation = operation
        self.began = at
        self.decided: OperationDecided | None = None
        self.forwarded: RequestForwarded | None = None
        self.begun: ResponseBegun | None = None
        self.ended: ResultEnded | None = None
        self.bodies = {"in": bytearray(), "out": bytearray()}
        self.sent: float | None = None
        """When the last piece of its body went to the target."""
        self.messages: list[Object] = []
        self.size = 0
        self.truncated = False
        self.approval = ""
        self.refused = ""
        """Why nothing of it went to the target."""

    @property
    def socket(self) -> bool:
        """Whether this opened a WebSocket."""
        return self.decided is not None and self.decided.verb == "websocket"

    @property
    def text(self) -> int:
        """How long its decision's text is, in characters."""
        return len(self.decided.text) if self.decided is not None else 0

    @property
    def path(self) -> tuple[str, ...]:
        """What it was asked of: a message's own decision names the same."""
        return _path(self.decided) if self.decided is not None else ()


class HarWriter:
    """Makes the text of an archive of events that come in order. All of it is ASCII."""

    def __init__(self) -> None:
        self._running: dict[int, _Entry] = {}
        self._within: dict[int, int] = {}
        self._kept = 0
        self._texts = 0
        self._origin = ""
        self._opened: SessionOpened | None = None
        self._begun = False
        self._first = True

    def take(self, event: RecordedEvent) -> str:
        """Return what is due after `event`, whole entries alone. Raises: NoArchive."""
        if isinstance(event, SessionOpened):
            if event.protocol != PROTOCOL:
                raise NoArchive(f"a session of `{event.protocol}` has no requests to archive")
            self._opened = event
            return self._head()
        out = ""
        if isinstance(event, OperationDecided):
            out += self._decided(event)
        elif isinstance(event, (HoldOpened, HoldSettled)):
            self._held(event)
        elif isinstance(event, RequestForwarded):
            entry = self._entry(event.operation, event.at)
            entry.forwarded = event
            self._origin = event.origin
        elif isinstance(event, ResponseBegun):
            running = self._running.get(event.operation)
            if running is not None and (not event.interim or event.status == 101):
                running.begun = event
        elif isinstance(event, ResultRows):
            self._rows(event)
        elif isinstance(event, ResultEnded) and event.operation in self._running:
            entry = self._running.pop(event.operation)
            entry.ended = event
            out += self._write(entry)
        while len(self._running) > RUNNING or self._texts > TEXTS:
            out += self._write(self._running.pop(next(iter(self._running))))
        return out

    def end(self) -> str:
        """Return the rest: requests without an end, and the archive's own end."""
        out = ""
        while self._running:
            out += self._write(self._running.pop(next(iter(self._running))))
        return self._head() + out + "\n]}}\n"

    # --- inside

    def _head(self) -> str:
        if self._begun:
            return ""
        self._begun = True
        log: Object = {"version": "1.2", "creator": {"name": "Sallyport", "version": _version()}}
        opened = self._opened
        if opened is not None:
            log["_sallyport"] = {
                "session": opened.session,
                "subject": opened.subject,
                "actors": list(opened.actors),
                "task": opened.task,
                "target": opened.target,
            }
        return f'{{"log":{_json(log)[:-1]},"entries":['

    def _entry(self, operation: int, at: float) -> _Entry:
        found = self._running.get(operation)
        if found is None:
            found = self._running[operation] = _Entry(operation, at)
        return found

    def _decided(self, event: OperationDecided) -> str:
        if event.verb in _WITHIN:
            self._decided_within(event)
            return ""
        entry = self._entry(event.operation, event.at)
        self._texts += len(event.text) - entry.text
        entry.decided = event
        entry.approval = event.approval or entry.approval
        entry.refused = _why(event) if event.decision == "deny" else ""
        if not entry.refused:
            return ""
        del self._running[event.operation]
        return self._write(entry)

    def _held(self, event: HoldOpened | HoldSettled) -> None:
        """Note what became of a hold; a decision may follow, or not."""
        entry = self._running.get(event.operation)
        if entry is None:
            return
        entry.approval = event.approval
        if isinstance(event, HoldOpened):
            entry.refused = "refused until it is approved" if event.ticket else ""
        elif event.state != "approved":
            by = f" by {', '.join(event.by)}" if event.by else ""
            reason = f": {event.reason}" if event.reason else ""
            entry.refused = f"refused: its hold is {event.state}{by}{reason}"

    def _decided_within(self, event: OperationDecided) -> None:
        """Find the socket that a message is of; one that is refused is told there."""
        sockets = [one for one in self._running.values() if one.socket]
        of = [one for one in sockets if one.path == _path(event)] or sockets
        if event.verb != "message" or not of:
            return
        self._within[event.operation] = of[-1].operation
        if len(self._within) > RUNNING:
            del self._within[next(iter(self._within))]
        if event.decision == "deny":
            text = event.text.encode("utf-8", "replace")
            self._message(of[-1], text, "in", event.at, _judged(event))

    def _rows(self, event: ResultRows) -> None:
        if event.encoding not in (HTTP_BODY, HTTP_MESSAGE):
            return
        entry = self._running.get(self._within.get(event.operation, event.operation))
        if entry is None:
            return
        if event.encoding == HTTP_MESSAGE:
            self._message(entry, event.data, event.direction, event.at)
        elif event.direction in entry.bodies:
            if event.direction == "in":
                entry.sent = event.at
            body = entry.bodies[event.direction]
            body += event.data[: self._room(entry, len(event.data), len(body))]

    def _message(
        self,
        entry: _Entry,
        data: bytes,
        direction: str,
        at: float,
        refused: Object | None = None,
    ) -> None:
        room = min(BODY - entry.size, TOTAL - self._kept)
        if len(entry.messages) >= MESSAGES or room < len(data):
            entry.truncated = True
            return
        entry.size += len(data)
        self._kept += len(data)
        made = parts.message(data, direction, at)
        if refused is not None:
            made["_sallyport"] = refused
        entry.messages.append(made)

    def _room(self, entry: _Entry, wanted: int, used: int) -> int:
        """Return how many of `wanted` bytes may be kept, and count them."""
        room = max(0, min(wanted, BODY - used, TOTAL - self._kept))
        entry.truncated = entry.truncated or room < wanted
        self._kept += room
        return room

    def _write(self, entry: _Entry) -> str:
        self._kept -= sum(map(len, entry.bodies.values())) + entry.size
        self._texts -= entry.text
        origin = self._origin
        if not origin and self._opened is not None:
            origin = f"http://{self._opened.target}"
        text = _json(_archived(entry, origin or "http://unknown"))
        before, self._first = ("\n" if self._first else ",\n"), False
        return self._head() + before + text


def archive(events: Iterable[RecordedEvent]) -> Iterator[str]:
    """Yield the text of an archive, piece by piece. Raises: NoArchive."""
    writer = HarWriter()
    for event in events:
        if piece := writer.take(event):
            yield piece
    yield writer.end()


def _archived(entry: _Entry, origin: str) -> Object:
    """Return the whole entry."""
    ended, timings = entry.ended, _timings(entry)
    told = _judged(entry.decided) | {"operation": entry.operation, "approval": entry.approval}
    told["truncated"] = entry.truncated or (ended is not None and ended.truncated)
    made: Object = {
        "startedDateTime": parts.moment(entry.began),
        "time": round(sum(timings.values()), 3),
        "request": _request(entry, origin),
        "response": _refusal(entry.refused) if entry.refused else _response(entry),
        "cache": {},
        "timings": timings,
        "_sallyport": told,
    }
    if entry.refused:
        made["comment"] = entry.refused
    elif ended is None:
        made["comment"] = "its end is not on record"
    elif ended.code:
        told["code"] = ended.code
        made["comment"] = ended.message
    if entry.socket:
        made["_resourceType"] = "websocket"
        made["_webSocketMessages"] = entry.messages
    return made


def _request(entry: _Entry, origin: str) -> Object:
    method, url, headers, body = _asked(entry.decided)
    sent, http_version = entry.forwarded, "HTTP/1.1"
    if sent is not None:
        method, url, headers, origin = sent.method, sent.url, sent.headers, sent.origin
        http_version = sent.http_version
        body = bytes(entry.bodies["in"]) or body
    if entry.socket and origin.startswith("http"):
        origin = "ws" + origin[4:]
    made: Object = {
        "method": method,
        "url": origin + url,
        "httpVersion": http_version,
        "cookies": parts.request_cookies(headers),
        "headers": parts.named(headers),
        "queryString": parts.query(url),
        "headersSize": -1,
        "bodySize": -1 if entry.truncated or body is None else len(body),
    }
    if body:
        made["postData"] = parts.post_data(headers, body)
    return made


def _asked(decided: OperationDecided | None) -> tuple[str, str, Headers, bytes | None]:
    """Read a request's text: method, target, fields, and body; None: the body is not in it."""
    if decided is None:
        return "", "", (), None
    head, _, body = decided.text.partition("\n\n")
    first, *lines = head.split("\n")
    method, _, url = first.partition(" ")
    fields = (line.partition(": ") for line in lines)
    headers = tuple((name, value) for name, _, value in fields)
    return method, url, headers, None if body == UNSEEN else body.encode("utf-8", "replace")


def _response(entry: _Entry) -> Object:
    begun, ended, body = entry.begun, entry.ended, bytes(entry.bodies["out"])
    if begun is None:
        return _made(0, "", "", (), body, 0)
    size = ended.bytes if ended is not None and not entry.socket else -1
    return _made(begun.status, begun.reason, begun.http_version, begun.headers, body, size)


def _refusal(why: str) -> Object:
    """Return the gateway's answer to what it refused; its own body is not on record."""
    headers = (("content-type", "application/problem+json"),)
    made = _made(403, "Forbidden", "HTTP/1.1", headers, b"", -1)
    return made | {"comment": why}


def _made(
    status: int, reason: str, http_version: str, headers: Headers, body: bytes, size: int
) -> Object:
    return {
        "status": status,
        "statusText": reason,
        "httpVersion": http_version,
        "cookies": parts.response_cookies(headers),
        "headers": parts.named(headers),
        "content": parts.content(headers, body),
        "redirectURL": parts.first(headers, "location"),
        "headersSize": -1,
        "bodySize": size,
    }


def _timings(entry: _Entry) -> dict[str, float]:
    """Return where the time went, in ms; `blocked`: until it went to the target."""
    forwarded = entry.forwarded.at if entry.forwarded is not None else None
    begun = entry.begun.at if entry.begun is not None else None
    ended = entry.ended.at if entry.ended is not None else None
    sent = forwarded
    if entry.sent is not None and (begun is None or entry.sent <= begun):
        sent = entry.sent
    return {
        "blocked": parts.milliseconds(entry.began, forwarded),
        "send": parts.milliseconds(forwarded, sent),
        "wait": parts.milliseconds(sent, begun if begun is not None else ended),
        "receive": parts.milliseconds(begun, ended),
    }


def _judged(decided: OperationDecided | None) -> Object:
    """Return how an operation was decided."""
    if decided is None:
        return {"operation": 0, "decision": "", "rules": [], "approval": ""}
    return {
        "operation": decided.operation,
        "decision": decided.decision,
        "rules": list(decided.rules),
        "approval": decided.approval,
    }


def _why(decided: OperationDecided) -> str:
    reason = f": {decided.reason}" if decided.reason else ""
    return f"refused by {', '.join(decided.rules) or 'no rule'}{reason}"


def _path(decided: OperationDecided) -> tuple[str, ...]:
    return tuple(one.name for one in decided.resources if one.kind == "path")


def _version() -> str:
    try:
        return version("sallyport")
    except PackageNotFoundError:
        return ""


def _json(value: object) -> str:
    """Return JSON in ASCII without DEL: nothing in it can draw on a terminal."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f")
