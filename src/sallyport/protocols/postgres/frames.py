"""Frames of PostgreSQL's protocol: message types, limits, and the `Splitter` that cuts chunks.

Theory of operation. After login every message is a type byte, a length (int32, counting itself)
and a body ("Message Formats" in the server's documentation). A `Splitter` takes chunks as they
arrive and gives `Piece`s when asked, so its owner can change its mind between two of them (stop,
stream a type, expect another number of columns). A piece is one of

- a whole message (`first` and `last`, `count` 1);
- a run: `count` whole messages of one bulk type (DataRow, CopyData) that lay side by side, as
  one bytes object that can be forwarded as it is; one DataRow alone is a run of 1;
- a part of a message too big to hold, of a type that is streamed: `first` on the part that
  begins with the header, `last` on the one that ends the message.

What a message costs in memory is bounded by its type's limit before any of its body is kept, and
nothing is copied more than twice however finely it arrives. No socket, no clock.

`messages` holds parsers and builders of what the client sends, `replies` of what the server does.
"""

from __future__ import annotations

import struct
from typing import Final, NoReturn, final

from sallyport.core.errors import ProtocolViolation

# what a client sends
QUERY: Final = 0x51  # Q
PARSE: Final = 0x50  # P
BIND: Final = 0x42  # B
DESCRIBE: Final = 0x44  # D
EXECUTE: Final = 0x45  # E
CLOSE: Final = 0x43  # C
FLUSH: Final = 0x48  # H
SYNC: Final = 0x53  # S
TERMINATE: Final = 0x58  # X
FUNCTION_CALL: Final = 0x46  # F
PASSWORD: Final = 0x70  # p

# what both send
COPY_DATA: Final = 0x64  # d
COPY_DONE: Final = 0x63  # c
COPY_FAIL: Final = 0x66  # f, the client alone

# what a server sends
AUTHENTICATION: Final = 0x52  # R
BACKEND_KEY_DATA: Final = 0x4B  # K
PARAMETER_STATUS: Final = 0x53  # S
READY_FOR_QUERY: Final = 0x5A  # Z
NEGOTIATE_PROTOCOL: Final = 0x76  # v
ROW_DESCRIPTION: Final = 0x54  # T
PARAMETER_DESCRIPTION: Final = 0x74  # t
DATA_ROW: Final = 0x44  # D
COMMAND_COMPLETE: Final = 0x43  # C
EMPTY_QUERY: Final = 0x49  # I
ERROR_RESPONSE: Final = 0x45  # E
NOTICE_RESPONSE: Final = 0x4E  # N
NOTIFICATION: Final = 0x41  # A
NO_DATA: Final = 0x6E  # n
PARSE_COMPLETE: Final = 0x31  # 1
BIND_COMPLETE: Final = 0x32  # 2
CLOSE_COMPLETE: Final = 0x33  # 3
PORTAL_SUSPENDED: Final = 0x73  # s
FUNCTION_RESULT: Final = 0x56  # V
COPY_IN: Final = 0x47  # G
COPY_OUT: Final = 0x48  # H
COPY_BOTH: Final = 0x57  # W

SMALL: Final = 10_000
"""Bytes of a message that only names things (the server's own limit)."""
MEDIUM: Final = 1024 * 1024
"""Bytes of a row description, a COPY header, a parameter list."""
TEXT: Final = 16 * 1024 * 1024
"""Bytes of a statement, an error or a notice that can be read; the codec refuses earlier."""
WHOLE: Final = 64 * 1024 * 1024
"""Bytes of a bulk message (Bind, DataRow, CopyData) that is kept whole."""
LARGE: Final = 0x3FFFFFFF
"""Bytes of a bulk message that is streamed: what the server can build at all."""
STREAM_OVER: Final = 1024 * 1024
"""Bytes from which a DataRow or CopyData is passed on in parts by default."""
TOKEN: Final = 65_536
"""Bytes of a PasswordMessage: a token, a SASL response (the server's own limit)."""

_CLIENT_LIMITS: Final[dict[int, int]] = {
    QUERY: TEXT,
    PARSE: TEXT,
    BIND: WHOLE,
    DESCRIBE: SMALL,
    EXECUTE: SMALL,
    CLOSE: SMALL,
    FLUSH: SMALL,
    SYNC: SMALL,
    TERMINATE: SMALL,
    FUNCTION_CALL: TEXT,
    PASSWORD: TOKEN,
    COPY_DATA: WHOLE,
    COPY_DONE: SMALL,
    COPY_FAIL: SMALL,
}
_SERVER_LIMITS: Final[dict[int, int]] = {
    AUTHENTICATION: TOKEN,
    BACKEND_KEY_DATA: SMALL,
    PARAMETER_STATUS: TOKEN,
    READY_FOR_QUERY: SMALL,
    NEGOTIATE_PROTOCOL: SMALL,
    ROW_DESCRIPTION: MEDIUM,
    PARAMETER_DESCRIPTION: MEDIUM,
    DATA_ROW: WHOLE,
    COMMAND_COMPLETE: SMALL,
    EMPTY_QUERY: SMALL,
    ERROR_RESPONSE: TEXT,
    NOTICE_RESPONSE: TEXT,
    NOTIFICATION: TOKEN,
    NO_DATA: SMALL,
    PARSE_COMPLETE: SMALL,
    BIND_COMPLETE: SMALL,
    CLOSE_COMPLETE: SMALL,
    PORTAL_SUSPENDED: SMALL,
    FUNCTION_RESULT: WHOLE,
    COPY_IN: MEDIUM,
    COPY_OUT: MEDIUM,
    COPY_BOTH: MEDIUM,
    COPY_DATA: WHOLE,
    COPY_DONE: SMALL,
}

_HEADER = struct.Struct(">Bi")
_ROW = struct.Struct(">Bih")


@final
class Piece:
    """What a `Splitter` gives: a whole message, a run of bulk messages, or a part of a big one.

    `data` are bytes as they arrived, headers included. `size` is that of the whole message (of
    the whole run) with its headers, also on a part.
    """

    __slots__ = ("count", "data", "first", "last", "size", "type")

    def __init__(
        self, type: int, data: bytes, count: int, size: int, first: bool = True, last: bool = True
    ) -> None:
        self.type = type
        self.data = data
        self.count = count
        self.size = size
        self.first = first
        self.last = last

    @property
    def body(self) -> bytes:
        """The body of a whole message (a run of 1 is one): `data` without the header."""
        return self.data[5:]

    @property
    def whole(self) -> bool:
        """Whether this is no part."""
        return self.first and self.last

    def __repr__(self) -> str:
        ends = ("" if self.first else "...") + "%s" + ("" if self.last else "...")
        return f"Piece({chr(self.type)!r}, {ends % self.count}, {len(self.data)} of {self.size})"


@final
class Splitter:
    """Cuts the bytes of one leg into pieces.

    `side` is `client` or `target`: whose bytes these are, and who is blamed. `columns`, where
    not -1, is what every DataRow must carry. After a violation every later call raises it again.
    """

    __slots__ = (
        "_buffer",
        "_failed",
        "_halted",
        "_limits",
        "_need",
        "_position",
        "_remaining",
        "_rows",
        "_size",
        "_small",
        "_stream",
        "_tail",
        "_type",
        "columns",
        "side",
    )

    def __init__(self, side: str) -> None:
        self.side = side
        self.columns = -1
        server = side != "client"
        self._rows = DATA_ROW if server else -1
        self._limits = dict(_SERVER_LIMITS if server else _CLIENT_LIMITS)
        bulk = (COPY_DATA, self._rows)
        self._small = {kind: most for kind, most in self._limits.items() if kind not in bulk}
        self._halted = False
        self._stream: dict[int, int] = {}
        self.stream(COPY_DATA, STREAM_OVER)
        if server:
            self.stream(DATA_ROW, STREAM_OVER)
        self._buffer = b""
        self._position = 0
        self._tail = bytearray()
        self._need = 0
        self._remaining = 0
        self._size = 0
        self._type = 0
        self._failed: ProtocolViolation | None = None

    def stream(self, type: int, over: int) -> None:
        """From the next message on, pass `type` on in parts where it has more than `over` bytes."""
        self._stream[type] = over
        self._limits[type] = LARGE
        self._small.pop(type, None)

    def keep(self, type: int, limit: int = WHOLE) -> None:
        """From the next message on, give `type` whole, and refuse it over `limit` bytes."""
        self._stream.pop(type, None)
        self._limits[type] = limit
        if type not in (COPY_DATA, self._rows):
            self._small[type] = limit

    @property
    def buffered(self) -> int:
        """Bytes taken that no piece has given back yet."""
        return len(self._buffer) - self._position + len(self._tail)

    @property
    def between(self) -> bool:
        """Whether the stream stands between two messages, with nothing buffered."""
        return self._remaining == 0 and self.buffered == 0

    def feed(self, data: bytes) -> None:
        """Take a chunk. It costs nothing until `next` is asked."""
        if self._position >= len(self._buffer) and not self._tail:
            self._buffer = data
            self._position = 0
            self._need = 0
        elif self._need and self.buffered + len(data) >= self._need:
            self._join(data)
        else:
            self._tail += data

    def _join(self, data: bytes) -> None:
        """Make one buffer of what is left, what came since, and `data`."""
        self._buffer = b"".join((memoryview(self._buffer)[self._position :], self._tail, data))
        self._position = 0
        self._tail = bytearray()
        self._need = 0

    def next(self) -> Piece | None:
        """Return the next piece, or None where more bytes are needed.

        Raises: ProtocolViolation for a type that this side never sends and for a length that is
        negative, too small, or over the type's limit.
        """
        buffer, start = self._buffer, self._position
        size = len(buffer)
        if size - start >= 5 and not self._halted:
            kind, length = _HEADER.unpack_from(buffer, start)
            end: int = start + length + 1
            if 4 <= length <= self._small.get(kind, -1) and end <= size:
                self._position = end
                whole = buffer if end - start == size else buffer[start:end]
                return Piece(kind, whole, 1, length + 1)
        return self._next()

    def _next(self) -> Piece | None:
        """Return the next piece where it is not just a small message that is here whole."""
        if self._failed is not None:
            raise self._failed
        if self._remaining:
            if self._position >= len(self._buffer):
                if not self._tail:
                    return None
                self._join(b"")
            return self._part()
        available = len(self._buffer) - self._position
        if available < 5:
            if available + len(self._tail) < 5:
                self._need = 5
                return None
            self._join(b"")
            available = len(self._buffer)
        kind, length = _HEADER.unpack_from(self._buffer, self._position)
        self._check(kind, length)
        total = length + 1
        if available < total:
            over = self._stream.get(kind, -1)
            if 0 <= over < total and available >= 7:
                return self._begin(kind, total)
            need = total if not 0 <= over < total else 7
            if available + len(self._tail) < need:
                self._need = need
                return None
            self._join(b"")
            if need == 7:
                return self._begin(kind, total)
        if kind == self._rows:
            return self._run_of_rows()
        if kind == COPY_DATA:
            return self._run_of_copy()
        start = self._position
        self._position = start + total
        if start == 0 and total == len(self._buffer):
            return Piece(kind, self._buffer, 1, total)
        return Piece(kind, self._buffer[start : start + total], 1, total)

    def _check(self, type: int, length: int) -> None:
        """Hold a header against this side's types and limits."""
        limit = self._limits.get(type)
        if limit is None:
            self._fail(f"invalid message type `{type}`")
        elif length < 4 or (type == self._rows and length < 6):
            self._fail(f"invalid length `{length}` of a message of type `{chr(type)}`")
        elif length > limit:
            self._fail(f"message of type `{chr(type)}` with {length} bytes is over {limit}")

    def _fail(self, message: str) -> NoReturn:
        """Move to the failed state for good."""
        self._halted = True
        self._failed = ProtocolViolation(self.side, message)
        raise self._failed

    def _begin(self, type: int, total: int) -> Piece:
        """Give the first part of a streamed message: all that is here of it."""
        if type == self._rows:
            self._check_columns(_ROW.unpack_from(self._buffer, self._position)[2])
        self._type = type
        self._size = total
        self._remaining = total
        self._halted = True
        return self._part()

    def _part(self) -> Piece:
        """Give what the buffer holds of the streamed message."""
        start = self._position
        end = min(start + self._remaining, len(self._buffer))
        first = self._remaining == self._size
        self._remaining -= end - start
        self._halted = self._remaining > 0
        self._position = end
        data = self._buffer[start:end]
        return Piece(self._type, data, 1, self._size, first, self._remaining == 0)

    def _check_columns(self, count: int) -> None:
        """Hold a DataRow's number of columns against what was described."""
        if count < 0 or (self.columns >= 0 and count != self.columns):
            self._fail(f"row of `{count}` columns where {self.columns} were described")

    def _run_of_rows(self) -> Piece:
        """Give the whole DataRows that stand here side by side; the first is known to be whole."""
        buffer = self._buffer
        size = len(buffer)
        columns = self.columns if self.columns >= 0 else -2  # -1 is a count that a peer may send
        limit = self._limits[DATA_ROW]
        unpack = _ROW.unpack_from
        start = position = self._position
        count = 0
        while size - position >= 7:
            kind, length, cells = unpack(buffer, position)
            if kind != DATA_ROW or length < 6 or length > limit:
                break  # the next call looks at it
            end = position + length + 1
            if end > size:
                break
            if cells != columns:
                self._check_columns(cells)
            position = end
            count += 1
        return self._run(DATA_ROW, start, position, count)

    def _run_of_copy(self) -> Piece:
        """Give the whole CopyData that stand here side by side; the first is known to be whole."""
        buffer = self._buffer
        size = len(buffer)
        limit = self._limits[COPY_DATA]
        unpack = _HEADER.unpack_from
        start = position = self._position
        count = 0
        while size - position >= 5:
            kind, length = unpack(buffer, position)
            if kind != COPY_DATA or length < 4 or length > limit:
                break
            end = position + length + 1
            if end > size:
                break
            position = end
            count += 1
        return self._run(COPY_DATA, start, position, count)

    def _run(self, type: int, start: int, end: int, count: int) -> Piece:
        """Give `count` messages without copying where they are all there is."""
        self._position = end
        if start == 0 and end == len(self._buffer):
            return Piece(type, self._buffer, count, end)
        return Piece(type, self._buffer[start:end], count, end - start)
