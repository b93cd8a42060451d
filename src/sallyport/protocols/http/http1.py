"""HTTP/1.1: a reader of one leg, and what writes heads and bodies anew (RFC 9112).

Theory of operation. `feed` takes bytes, `next` gives events: a head, pieces of its body, its end;
None: more bytes are needed. Where one message ends and the next begins follows from one rule alone
(section 6.3): chunked, a single Content-Length, or, for responses, the end of the stream. Whatever
would let two readers disagree about that is a ProtocolViolation, after which the reader is of no
use. Nothing that was read is forwarded as bytes: the writers make every line anew.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, NamedTuple, final

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.http import grammar
from sallyport.protocols.http.message import (
    NO_BODY,
    Fields,
    RequestHead,
    ResponseHead,
    get,
    get_all,
    listed,
)

FORBIDDEN_TRAILERS: Final = frozenset(
    b"authorization connection content-encoding content-length content-range content-type cookie"
    b" host keep-alive proxy-authorization set-cookie te trailer transfer-encoding upgrade"
    b" www-authenticate".split()
)
"""Fields that frame, route or authenticate a message: they are none after its body."""
_PIECE: Final = 64 * 1024


class Data(NamedTuple):
    """A piece of a body."""

    data: bytes


class End(NamedTuple):
    """The end of a message, with its trailers."""

    trailers: Fields


class _Section(NamedTuple):
    """A header section, and what of it frames and routes the message."""

    lines: bytes
    fields: Fields
    options: list[bytes]
    hosts: list[bytes]
    codings: list[bytes]
    length: int | None
    upgrade: bytes
    expectation: list[bytes]


class _State(enum.Enum):
    HEAD = enum.auto()
    LENGTH = enum.auto()
    CHUNK = enum.auto()
    CHUNK_DATA = enum.auto()
    CHUNK_END = enum.auto()
    TRAILERS = enum.auto()
    STREAM = enum.auto()
    DONE = enum.auto()
    BROKEN = enum.auto()


@final
class Reader:
    """Reads what one peer sends. `side`: `client` reads requests, `target` responses.

    A target's reader has to be told each request's method (`expect`): the response to HEAD has no
    body. A client's reader stops at the end of each request until `proceed`.
    """

    __slots__ = (
        "_blank", "_buffer", "_ended", "_left", "_method", "_searched", "_section", "_side",
        "_state", "scheme",
    )  # fmt: skip

    def __init__(self, side: str, scheme: str = "http") -> None:
        self._side = side
        self.scheme = scheme
        self._buffer = b""
        self._searched = 0
        self._state = _State.HEAD
        self._left = 0
        self._method = ""
        self._ended = False
        self._section: _Section | None = None
        self._blank = side != "client"

    @property
    def untouched(self) -> bool:
        """Whether nothing of a next message has come."""
        return self._state in (_State.HEAD, _State.DONE) and not self._buffer

    @property
    def buffered(self) -> int:
        """Bytes that wait to be read."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        self._buffer = self._buffer + data if self._buffer else data

    def eof(self) -> None:
        """The peer sends no more."""
        self._ended = True

    def rest(self) -> bytes:
        """Return what is left after a protocol changed; the reader is of no use from now."""
        rest, self._buffer, self._state = self._buffer, b"", _State.BROKEN
        return rest

    def expect(self, method: str) -> None:
        """The next response answers a request of this method."""
        self._method = method
        self._state = _State.HEAD

    def proceed(self) -> None:
        """Read the next request."""
        if self._state is _State.DONE:
            self._state = _State.HEAD

    def next(self) -> RequestHead | ResponseHead | Data | End | None:
        """Return the next event. Raises: ProtocolViolation, with the status that fits (`code`)."""
        state = self._state
        try:
            if state is _State.HEAD:
                return self._head()
            if state is _State.LENGTH:
                return self._length()
            if state in (_State.CHUNK, _State.CHUNK_DATA, _State.CHUNK_END):
                return self._chunks()
            if state is _State.TRAILERS:
                return self._trailers()
            if state is _State.STREAM:
                return self._stream()
        except ProtocolViolation:
            self._state = _State.BROKEN
            raise
        return None

    # --- inside

    def _violation(self, text: str, code: str = "400") -> ProtocolViolation:
        return ProtocolViolation(self._side, text, code)

    def _cut_head(self) -> bytes | None:
        """Return a whole head, without the empty line; None: more is needed."""
        buffer = self._buffer
        if buffer and not self._blank:  # section 2.2: one empty line may come before a request
            if buffer == b"\r" and not self._ended:
                return None
            if buffer.startswith(b"\r\n"):
                buffer = self._buffer = buffer[2:]
            self._blank = True
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            if len(buffer) > grammar.HEAD_LIMIT:
                raise self._violation("the head is too large", "431")
            if self._ended and buffer:
                raise self._violation("the head is cut off")
            self._searched = len(buffer)
            return None
        if end > grammar.HEAD_LIMIT:
            raise self._violation("the head is too large", "431")
        self._searched = 0
        self._blank = self._side != "client"
        self._buffer = buffer[end + 4 :]
        return buffer[: end + 2]

    def _head(self) -> RequestHead | ResponseHead | None:
        head = self._cut_head()
        if head is None:
            return None
        line, _, lines = head.partition(b"\r\n")
        section = self._section
        if section is None or section.lines != lines:  # most messages of a connection share theirs
            section = self._section = self._read_section(lines)
        if self._side == "client":
            return self._request(line, section)
        return self._response(line, section)

    def _read_section(self, lines: bytes) -> _Section:
        fields = grammar.parse_fields(lines, self._side)
        return _Section(
            lines,
            fields,
            listed(fields, b"connection"),
            get_all(fields, b"host"),
            [coding.lower() for coding in get_all(fields, b"transfer-encoding")],
            grammar.content_length(get_all(fields, b"content-length"), self._side),
            (get(fields, b"upgrade") or b"").lower(),
            [value.lower() for value in get_all(fields, b"expect")],
        )

    def _request(self, line: bytes, section: _Section) -> RequestHead:
        match = grammar.REQUEST_LINE.fullmatch(line)
        if match is None:
            raise self._violation("the request line is malformed")
        method, raw, minor = match[1].decode("ascii"), match[2], match[3]
        modern = minor == b"1"
        length = self._request_framing(section, modern)
        authority, target = self._target(method, raw, section.hosts, modern)
        options, expectation = section.options, section.expectation
        upgrade = section.upgrade if modern and b"upgrade" in options else b""
        if expectation not in ([], [b"100-continue"]):
            raise self._violation("this expectation cannot be met", "417")
        return RequestHead(
            method=method,
            scheme=self.scheme,
            authority=authority,
            target=target,
            fields=section.fields,
            version="HTTP/1.1" if modern else "HTTP/1.0",
            length=length,
            expects=bool(expectation) and modern and length != 0,
            upgrade=upgrade.decode("latin-1"),
            keep=(b"close" not in options) if modern else (b"keep-alive" in options),
        )

    def _target(self, method: str, raw: bytes, hosts: list[bytes], modern: bool) -> tuple[str, str]:
        """Return authority and origin form (section 3.2). FAILS CLOSED: Host and it must agree."""
        if len(hosts) > 1 or (modern and not hosts):
            raise self._violation("expected one Host")
        host = hosts[0].lower() if hosts else b""
        if (modern or host) and not grammar.is_authority(host):
            raise self._violation("Host is malformed")
        if method == "CONNECT":
            raise self._violation("CONNECT opens nothing here", "405")
        lowered = raw[:8].lower()
        for scheme in (b"http://", b"https://"):
            if lowered.startswith(scheme):
                authority, slash, rest = raw[len(scheme) :].partition(b"/")
                if not slash:
                    authority, mark, query = authority.partition(b"?")
                    rest = mark + query
                if authority.lower() != host:
                    raise self._violation("the request's target is of another host than Host")
                raw = b"/" + rest
                break
        if raw != b"*" and grammar.ORIGIN_FORM.fullmatch(raw) is None:
            raise self._violation("the request's target is malformed")
        if raw == b"*" and method != "OPTIONS":
            raise self._violation("the request's target is malformed")
        return host.decode("ascii"), raw.decode("ascii")

    def _request_framing(self, section: _Section, modern: bool) -> int | None:
        length = section.length
        if section.codings:
            if length is not None or not modern:
                raise self._violation("Transfer-Encoding has no place here")
            if section.codings != [b"chunked"]:
                raise self._violation("only `chunked` is known as a transfer coding", "501")
            self._state = _State.CHUNK
            return None
        self._left = length or 0
        self._state = _State.LENGTH
        return self._left

    def _response(self, line: bytes, section: _Section) -> ResponseHead:
        match = grammar.STATUS_LINE.fullmatch(line)
        if match is None:
            raise self._violation("the status line is malformed", "502")
        status, modern = int(match[2]), match[1] == b"1"
        options = section.options
        keep = (b"close" not in options) if modern else (b"keep-alive" in options)
        head = ResponseHead(
            status, (match[3] or b"").decode("latin-1"), section.fields,
            f"HTTP/1.{match[1].decode()}", 0, keep,
        )  # fmt: skip
        codings, length = section.codings, section.length
        if codings and (length is not None or not modern):
            raise self._violation("Transfer-Encoding has no place here", "502")
        if codings not in ([], [b"chunked"]):
            raise self._violation("only `chunked` is known as a transfer coding", "502")
        if status < 200:
            if codings or length:
                raise self._violation("an interim response has a body", "502")
            if status == 101:
                self._state = _State.DONE
            return head
        if self._method == "HEAD" or status in NO_BODY:
            head.length = length
            self._left = 0
            self._state = _State.LENGTH
        elif codings:
            head.length = None
            self._state = _State.CHUNK
        elif length is not None:
            head.length = self._left = length
            self._state = _State.LENGTH
        else:
            head.length, head.keep = None, False
            self._state = _State.STREAM
        return head

    def _length(self) -> Data | End | None:
        if self._left == 0:
            return self._finish([])
        if not self._buffer:
            if self._ended:
                raise self._violation("the body is cut off")
            return None
        data = self._buffer
        if len(data) > self._left:
            data, self._buffer = data[: self._left], data[self._left :]
        else:
            self._buffer = b""
        self._left -= len(data)
        return Data(data)

    def _chunks(self) -> Data | End | None:
        """Return the data of all chunks that are here as one piece (section 7.1)."""
        pieces: list[bytes] = []
        size = position = 0
        buffer = self._buffer
        while size < _PIECE:
            if self._state is _State.CHUNK:
                end = buffer.find(b"\r\n", position, position + 300)
                if end < 0:
                    if len(buffer) - position >= 300:
                        raise self._violation("a chunk's size line is too long")
                    break
                match = grammar.CHUNK_LINE.fullmatch(buffer, position, end)
                if match is None:
                    raise self._violation("a chunk's size line is malformed")
                position, self._left = end + 2, int(match[1], 16)
                self._state = _State.CHUNK_DATA if self._left else _State.TRAILERS
                if not self._left:
                    break
            elif self._state is _State.CHUNK_DATA:
                piece = buffer[position : position + self._left]
                if not piece:
                    break
                pieces.append(piece)
                size, position = size + len(piece), position + len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = _State.CHUNK_END
            else:
                ending = buffer[position : position + 2]
                if ending != b"\r\n"[: len(ending)]:
                    raise self._violation("a chunk is longer than its size")
                if len(ending) < 2:
                    break
                position += 2
                self._state = _State.CHUNK
        self._buffer = buffer[position:]
        if pieces:
            return Data(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._state is _State.TRAILERS:
            return self._trailers()
        if self._ended:
            raise self._violation("the body is cut off")
        return None

    def _trailers(self) -> End | None:
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            self._buffer = buffer[2:]
            return self._finish([])
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0 and len(buffer) <= grammar.HEAD_LIMIT:
            if self._ended:
                raise self._violation("the trailers are cut off")
            self._searched = len(buffer)
            return None
        self._searched = 0
        if not 0 <= end <= grammar.HEAD_LIMIT:
            raise self._violation("the trailers are too large", "431")
        fields = grammar.parse_fields(buffer[: end + 2], self._side)
        if any(name in FORBIDDEN_TRAILERS for name, _ in fields):
            raise self._violation("a trailer field has no place there")
        self._buffer = buffer[end + 4 :]
        return self._finish(fields)

    def _stream(self) -> Data | End | None:
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return Data(data)
        return self._finish([]) if self._ended else None

    def _finish(self, trailers: Fields) -> End:
        self._state = _State.DONE
        return End(trailers)


def write_request(head: RequestHead) -> bytes:
    """Return a request's head. INVARIANT: Host comes first, and the framing is ours alone."""
    lines = [f"{head.method} {head.target} HTTP/1.1\r\nhost: {head.authority}\r\n".encode("ascii")]
    lines += _lines(head.fields)
    if head.length is None:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif head.length or head.method in ("POST", "PUT", "PATCH"):
        lines.append(b"content-length: %d\r\n" % head.length)
    lines.append(b"\r\n")
    return b"".join(lines)


def write_response(head: ResponseHead, *, chunked: bool, close: bool) -> bytes:
    """Return a response's head. `head.length` is told unless None; `chunked`: the body will be."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (head.status, head.reason.encode("latin-1"))]
    lines += _lines(head.fields)
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif head.length is not None and head.status >= 200 and head.status != 204:
        lines.append(b"content-length: %d\r\n" % head.length)
    if close:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def chunk(data: bytes) -> bytes:
    """Return one chunk; of no data: none, since an empty one would be the last."""
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Fields) -> bytes:
    """Return the end of a chunked body."""
    return b"0\r\n" + b"".join(_lines(trailers)) + b"\r\n"


def _lines(fields: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Return field lines. FAILS CLOSED: what would be more than one line is a ValueError."""
    lines = []
    for name, value in fields:
        if grammar.NAME.fullmatch(name) is None or grammar.VALUE.fullmatch(value) is None:
            raise ValueError("a header line that was made here is malformed")
        lines.append(b"%s: %s\r\n" % (name, value))
    return lines
