"""Exchanges: how a replay shows HTTP, whose operations are requests that may run side by side.

A request stands in its decision's text: line, fields and body. What went to the target is told by
what differs from that. The response follows as it left: status line, fields, body, messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sallyport.core.event import (
    HTTP_BODY,
    HTTP_MESSAGE,
    HTTP_TRAILERS,
    OperationDecided,
    RequestForwarded,
    ResponseBegun,
    ResultRows,
)
from sallyport.core.visible import counted
from sallyport.recording.lines import LONG, Line, RenderRows, split
from sallyport.recording.visible import visible

ENCODINGS = frozenset({HTTP_BODY, HTTP_MESSAGE, HTTP_TRAILERS})
UNSEEN = "(its body is not looked at)"
"""Stands in a request's text for a body that is too large for it."""
REMEMBERED = 256
"""Operations without an end that are remembered."""

_BINARY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\\x[89a-f][0-9a-f]")
_ESCAPE = re.compile(r"\\x[89a-f][0-9a-f]")
_ARROWS = {"in": "->", "out": "<-"}


class _Exchange:
    """One request that runs. `asked` are the lines of its decision's text."""

    def __init__(self, text: str) -> None:
        head, _, body = text.partition("\n\n")
        self.asked = head.split("\n") if text else []
        self.unseen = not text or body == UNSEEN
        self.types: dict[str, tuple[str, ...]] = {"in": (), "out": ()}
        self.kept: dict[tuple[str, str], bytearray] = {}
        self.hidden: dict[tuple[str, str], int] = {}
        self.messages = 0


class Exchanges:
    """The HTTP operations of one session. `rows` bounds the messages that are shown of one."""

    def __init__(self, render: RenderRows | None, rows: int) -> None:
        self._render = render
        self._rows = rows
        self._running: dict[int, _Exchange] = {}
        self._last = 0
        self._said = ""

    def decided(self, event: OperationDecided) -> str:
        """Take a decision; return the text that is shown of it."""
        self._last = event.operation
        if event.verb == "message":
            self._said = event.text
            return event.text
        if event.decision == "allow":
            self._remember(event.operation, _Exchange(event.text))
        return request_text(event.text)

    def knows(self, operation: int) -> bool:
        """Whether this operation is a request that runs."""
        return operation in self._running

    def lines(self, event: RequestForwarded | ResponseBegun | ResultRows) -> Iterator[Line]:
        """Yield what is shown of `event`; pieces of bodies are kept until they are whole."""
        exchange = self._running.get(event.operation)
        if exchange is None:
            exchange = self._remember(event.operation, _Exchange(""))
        if isinstance(event, ResultRows) and event.encoding != HTTP_MESSAGE:
            self._keep(exchange, event)
            return
        yield from self._named(event.operation, exchange)
        if isinstance(event, ResultRows):
            yield from self._message(exchange, event)
        elif isinstance(event, RequestForwarded):
            yield from _sent(exchange, event)
        else:
            yield from self._bodies(exchange, "in")
            if not event.interim:
                exchange.types["out"] = _types(event.headers)
            status = f"{event.http_version} {event.status} {event.reason}".rstrip()
            yield Line("columns", visible(status))
            for name, value in event.headers:
                yield Line("row", visible(f"{name}: {value}"))

    def ended(self, operation: int) -> Iterator[Line]:
        """Yield what is left of an operation that is over."""
        exchange = self._running.pop(operation, None)
        if exchange is None:
            return
        yield from self._named(operation, exchange)
        yield from self._bodies(exchange, "in")
        yield from self._bodies(exchange, "out")
        more = exchange.messages - self._rows
        if more > 0:
            yield Line("row", f"... {counted(more, 'more message')} recorded")

    # --- inside

    def _remember(self, operation: int, exchange: _Exchange) -> _Exchange:
        self._running[operation] = exchange
        if len(self._running) > REMEMBERED:
            del self._running[next(iter(self._running))]
        return exchange

    def _named(self, operation: int, exchange: _Exchange) -> Iterator[Line]:
        """Say whose the lines are that follow, where another operation's came before."""
        if operation != self._last:
            self._last = operation
            what = f", {exchange.asked[0]}" if exchange.asked else ""
            yield Line("notice", visible(f"of operation {operation}{what}:"))

    def _keep(self, exchange: _Exchange, event: ResultRows) -> None:
        if event.direction == "in" and not exchange.unseen:
            return
        key = (event.direction, event.encoding)
        kept = exchange.kept.setdefault(key, bytearray())
        room = max(0, LONG - len(kept))
        kept += event.data[:room]
        exchange.hidden[key] = exchange.hidden.get(key, 0) + len(event.data[room:])

    def _bodies(self, exchange: _Exchange, direction: str) -> Iterator[Line]:
        for encoding in (HTTP_BODY, HTTP_TRAILERS):
            data = bytes(exchange.kept.pop((direction, encoding), b""))
            if not data:
                continue
            kind = "statement" if direction == "in" else "row"
            types = exchange.types[direction] if encoding == HTTP_BODY else ()
            yield Line(kind, "")
            for text in self._rendered(encoding, data, types):
                yield Line(kind, visible(text.expandtabs(4)))
            hidden = exchange.hidden.pop((direction, encoding), 0)
            if hidden:
                yield Line(kind, f"... {counted(hidden, 'more byte')} of it recorded")

    def _message(self, exchange: _Exchange, event: ResultRows) -> Iterator[Line]:
        if event.direction == "in" and self._said.encode("utf-8", "replace") == event.data:
            return  # its decision stands just before
        exchange.messages += 1
        if exchange.messages <= self._rows:
            arrow = _ARROWS.get(event.direction, "<-")
            for text in self._rendered(event.encoding, event.data[:LONG], ()):
                yield from split("row", f"{arrow} {text}")

    def _rendered(self, encoding: str, data: bytes, types: tuple[str, ...]) -> list[str]:
        """Read bytes as lines. What cannot be read is counted: a replay never stops at it."""
        told = [f"({len(data)} bytes of {encoding})"]
        if self._render is None:
            return told
        try:
            rows = self._render(encoding, data, (), types)
        except Exception:
            return told
        return ["".join(cell or "" for cell in row) for row in rows]


def request_text(text: str) -> str:
    """Return a request's text, in which a binary body is told by its size and type.

    Bytes that are no UTF-8 stand in it as `\\xff`: one that a client wrote so itself counts as one.
    """
    head, blank, body = text.partition("\n\n")
    if not blank or _BINARY.search(body) is None:
        return text
    kind = next((line[13:] for line in head.split("\n") if line.startswith("content-type:")), "")
    kind = kind.partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind.endswith(("json", "xml", "urlencoded")):
        return text
    size = len(_ESCAPE.sub(".", body).encode("utf-8", "replace"))
    return f"{head}\n\n<{counted(size, 'byte')}{' of ' + kind if kind else ''}>"


def _sent(exchange: _Exchange, event: RequestForwarded) -> Iterator[Line]:
    exchange.types["in"] = _types(event.headers)
    line = f"{event.method} {event.url}"
    told = f" as {line}" if line not in exchange.asked[:1] else ""
    yield Line("notice", visible(f"sent to {event.origin}{told}"))
    known = frozenset(exchange.asked)
    for name, value in event.headers:
        field = f"{name}: {value}"
        if field not in known:
            yield Line("notice", visible(f"  {field}"))


def _types(headers: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Return a body's type and coding, as its fields tell them."""
    kind = next((value for name, value in headers if name == "content-type"), "")
    coding = ", ".join(value for name, value in headers if name == "content-encoding")
    return kind, coding
