"""Three readers of HTTP/1.1, asked the same: the gateway's own, llhttp (node, uvicorn), and h11.

Each returns the messages that it found in some bytes, and whether it took offence. What they have
to agree about is where a message ends and what it asks: a request that one reads as one and
another as two is how requests are smuggled.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import h11
import httptools

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.http.http1 import Data, End, Reader
from sallyport.protocols.http.message import RequestHead, ResponseHead

Lines = tuple[tuple[bytes, bytes], ...]


class Message(NamedTuple):
    """`first` is method and target, or the status; `whole`: its end was there."""

    first: tuple[str, ...]
    fields: Lines
    body: bytes
    trailers: Lines
    whole: bool


class Found(NamedTuple):
    """`refused` says why no more was read; empty: more would have been."""

    messages: tuple[Message, ...]
    refused: str


def lines(fields: Iterable[tuple[bytes, bytes]]) -> Lines:
    """Return field lines as all three can tell them: h11 writes a coding's name in lower case."""
    told = [(name.lower(), value.strip(b" \t")) for name, value in fields]
    return tuple(
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in told
    )


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Return `data` in pieces, cut at these places."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


# --- the gateway's


class Ours:
    """Takes the gateway's reader through some bytes, and notes its events in order."""

    def __init__(self, side: str, methods: Iterable[str] = ()) -> None:
        self.reader = Reader(side)
        self.side = side
        self.methods = list(methods)
        self.heads: list[RequestHead | ResponseHead] = []
        self.events: list[Any] = []
        self.refused = ""
        self.seen = b""
        self.ends = [0]
        if self.methods:
            self.reader.expect(self.methods.pop(0))

    def feed(self, data: bytes, *, last: bool = False) -> None:
        if self.refused:
            return
        self.seen += data
        self.reader.feed(data)
        if last:
            self.reader.eof()
        try:
            while (event := self.reader.next()) is not None:
                self._note(event)
                if isinstance(event, End):
                    self.ends.append(len(self.seen) - self.reader.buffered)
                if isinstance(event, End) and not self._again():
                    return
        except ProtocolViolation as violation:
            self.refused = str(violation)

    @property
    def blank(self) -> bool:
        """Whether an empty line stands where a message begins."""
        return any(self.seen.startswith(b"\r\n", end) for end in self.ends)

    def _again(self) -> bool:
        if self.side == "client":
            self.reader.proceed()
            return True
        if not self.methods:
            return False
        self.reader.expect(self.methods.pop(0))
        return True

    def _note(self, event: Any) -> None:
        if isinstance(event, Data):
            assert event.data, "an empty piece says nothing, and may be taken for the last"
            if isinstance(self.events[-1], Data):
                event = Data(self.events.pop().data + event.data)
        elif not isinstance(event, End):
            self.heads.append(event)
        self.events.append(event)

    def found(self) -> Found:
        messages: list[Message] = []
        for event in self.events:
            if isinstance(event, RequestHead):
                first: tuple[str, ...] = (event.method, event.target)
            elif isinstance(event, ResponseHead):
                first = (str(event.status),)
            elif isinstance(event, Data):
                messages[-1] = messages[-1]._replace(body=event.data)
                continue
            else:
                messages[-1] = messages[-1]._replace(trailers=lines(event.trailers), whole=True)
                continue
            messages.append(Message(first, lines(event.fields), b"", (), False))
        return Found(tuple(messages), self.refused)


def ours(
    data: bytes, side: str = "client", cuts: Iterable[int] = (), methods: Iterable[str] = (),
    *, ended: bool = True,
) -> Found:  # fmt: skip
    """What the gateway's reader makes of it."""
    run = Ours(side, methods)
    parts = pieces(data, cuts)
    for number, part in enumerate(parts):
        run.feed(part, last=ended and number == len(parts) - 1)
    return run.found()


# --- llhttp


class _Listener:
    def __init__(self) -> None:
        self.done: list[Message] = []
        self.begun = False
        self.parser: Any = None
        self.on_message_begin()
        self.begun = False

    def on_message_begin(self) -> None:
        self.begun = True
        self.url, self.body, self.headed = b"", b"", False
        self.fields: list[tuple[bytes, bytes]] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.first: tuple[str, ...] = ()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        (self.trailers if self.headed else self.fields).append((name, value))

    def on_headers_complete(self) -> None:
        self.headed = True
        if isinstance(self.parser, httptools.HttpRequestParser):
            self.first = (self.parser.get_method().decode(), self.url.decode("latin-1"))
        else:
            self.first = (str(self.parser.get_status_code()),)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done.append(self._message(True))
        self.begun = False

    def _message(self, whole: bool) -> Message:
        return Message(self.first, lines(self.fields), self.body, lines(self.trailers), whole)

    def found(self, refused: str) -> Found:
        partial = (self._message(False),) if self.begun and self.headed else ()
        return Found((*self.done, *partial), refused)


def llhttp(data: bytes, side: str = "client") -> Found:
    """What llhttp makes of it. A request that upgrades is its last."""
    listener = _Listener()
    make = httptools.HttpRequestParser if side == "client" else httptools.HttpResponseParser
    listener.parser = make(listener)
    try:
        listener.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return listener.found("upgrade")
    except httptools.HttpParserError as error:
        return listener.found(f"{type(error).__name__}: {error}")
    return listener.found("")


# --- h11


def h11_requests(data: bytes) -> Found:
    """What h11 makes of requests: each is read by a connection of its own."""
    messages: list[Message] = []
    while data:
        data = data.removeprefix(b"\r\n")  # section 2.2 of RFC 9112, of which h11 knows nothing
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(data)
        message, refused = _h11_message(connection)
        if message is not None:
            messages.append(message)
        if refused or message is None or not message.whole:
            return Found(tuple(messages), refused)
        data = connection.trailing_data[0]
    return Found(tuple(messages), "")


def h11_response(data: bytes, method: str = "GET") -> Found:
    """What h11 makes of one response to a request of this method, and what precedes it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    messages: list[Message] = []
    while True:
        message, refused = _h11_message(connection)
        if message is not None:
            messages.append(message)
        if refused or message is None or not message.first[0].startswith("1"):
            return Found(tuple(messages), refused)


def _h11_message(connection: h11.Connection) -> tuple[Message | None, str]:
    message: Message | None = None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                first = (event.method.decode(), event.target.decode("latin-1"))
                message = Message(first, lines(event.headers), b"", (), False)
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                message = Message((str(event.status_code),), lines(event.headers), b"", (), False)
                if isinstance(event, h11.InformationalResponse):
                    return message, ""
            elif isinstance(event, h11.Data) and message is not None:
                message = message._replace(body=message.body + bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and message is not None:
                return message._replace(trailers=lines(event.headers), whole=True), ""
            else:
                return message, ""
    except h11.RemoteProtocolError as error:
        return message, str(error)
