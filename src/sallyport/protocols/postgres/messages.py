"""What a client sends: parsers (whole body in, value out) and builders (whole message out).

Named as in "Message Formats" of the server's documentation. Every parser demands an exact fit and
raises ProtocolViolation("client") otherwise; `wire.Reader` says what that means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sallyport.protocols.postgres import frames
from sallyport.protocols.postgres.wire import (
    Reader,
    formats,
    int16,
    int32,
    message,
    string,
    uint32,
    value,
)

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = 3 << 16 | 2
CANCEL_CODE = 1234 << 16 | 5678
SSL_CODE = 1234 << 16 | 5679
GSSENC_CODE = 1234 << 16 | 5680

SSL_REQUEST = int32(8) + int32(SSL_CODE)
GSSENC_REQUEST = int32(8) + int32(GSSENC_CODE)
SYNC = message(frames.SYNC)
FLUSH = message(frames.FLUSH)
TERMINATE = message(frames.TERMINATE)
COPY_DONE = message(frames.COPY_DONE)

MAXIMUM_KEY = 256
"""Bytes of the longest cancel key that protocol 3.2 allows."""


MAX_NAME: Final = 63
"""Bytes of a name that the server keeps (NAMEDATALEN - 1)."""


class Parse(NamedTuple):
    """A statement to be prepared under `name` ("": the unnamed one)."""

    name: str
    text: str
    types: tuple[int, ...]


class Bind(NamedTuple):
    """Parameters for `statement`, making `portal`."""

    portal: str
    statement: str
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]

    def format_of(self, index: int) -> int:
        """Format of the parameter at `index`: none given is text, one given goes for all."""
        if not self.formats:
            return 0
        return self.formats[index if len(self.formats) > 1 else 0]


class Execute(NamedTuple):
    """Run `portal` up to `rows` rows (0: all)."""

    portal: str
    rows: int


class Named(NamedTuple):
    """Describe or Close of a statement (`kind` is `S`) or a portal (`P`)."""

    kind: str
    name: str


class CancelRequest(NamedTuple):
    """A request to cancel what the session with this process id and key is running."""

    pid: int
    key: bytes


def _name(reader: Reader) -> str:
    """Read the name of a statement or portal.

    FAILS CLOSED: the server keeps 63 bytes of it, in its own encoding, so that longer ones may be
    one and the same. No encoding of a server takes more than 4 bytes a character.
    """
    name = reader.text()
    if len(name) + 3 * sum(char > "\x7f" for char in name) > MAX_NAME:
        reader.fail(f"a name of more than {MAX_NAME} bytes, counting 4 for what is not ASCII")
    return name


def parse_query(body: bytes) -> str:
    """Read a Query's text."""
    reader = Reader(body, "client", "Query")
    text = reader.text()
    reader.end()
    return text


def parse_parse(body: bytes) -> Parse:
    """Read a Parse."""
    reader = Reader(body, "client", "Parse")
    name, text = _name(reader), reader.text()
    types = tuple(reader.uint32() for _ in range(reader.count(4)))
    reader.end()
    return Parse(name, text, types)


def parse_bind(body: bytes) -> Bind:
    """Read a Bind. The counts of formats must be ones that the server would take."""
    reader = Reader(body, "client", "Bind")
    portal, statement = _name(reader), _name(reader)
    codes = reader.formats()
    values = tuple([reader.value() for _ in range(reader.count(4))])
    if len(codes) > 1 and len(codes) != len(values):
        reader.fail(f"{len(codes)} formats for {len(values)} parameters")
    result = reader.formats()
    reader.end()
    return Bind(portal, statement, codes, values, result)


def parse_execute(body: bytes) -> Execute:
    """Read an Execute. A negative row limit means none, as it does to the server."""
    reader = Reader(body, "client", "Execute")
    portal, rows = _name(reader), reader.int32()
    reader.end()
    return Execute(portal, max(rows, 0))


def parse_named(body: bytes, what: str) -> Named:
    """Read a Describe or a Close (`what` says which, for the error)."""
    reader = Reader(body, "client", what)
    kind = chr(reader.int8())
    if kind not in ("S", "P"):
        reader.fail(f"unknown kind `{kind}`")
    name = _name(reader)
    reader.end()
    return Named(kind, name)


def parse_copy_fail(body: bytes) -> str:
    """Read a CopyFail's reason."""
    reader = Reader(body, "client", "CopyFail")
    text = reader.text()
    reader.end()
    return text


def parse_password(body: bytes) -> bytes:
    """Read a PasswordMessage's password (bytes: it is never decoded before it is checked)."""
    reader = Reader(body, "client", "PasswordMessage")
    raw = reader.raw()
    reader.end()
    return raw


def parse_sasl_initial(body: bytes) -> tuple[str, bytes]:
    """Read a SASLInitialResponse: mechanism and response. Every mechanism here begins with one."""
    reader = Reader(body, "client", "SASLInitialResponse")
    mechanism = reader.text()
    response = reader.value()
    reader.end()
    if response is None:
        reader.fail("a mechanism without its first response")
    return mechanism, response


def parse_empty(body: bytes, what: str) -> None:
    """Demand the empty body of Sync, Flush, Terminate or CopyDone."""
    Reader(body, "client", what).end()


def parse_cancel(body: bytes) -> CancelRequest:
    """Read a CancelRequest after its code. Before 3.2 a key has 4 bytes, since then 4 to 256."""
    reader = Reader(body, "client", "CancelRequest")
    pid = reader.uint32()
    if not 4 <= reader.left <= MAXIMUM_KEY:
        reader.fail(f"a key of {reader.left} bytes")
    return CancelRequest(pid, reader.take(reader.left))


def startup(parameters: dict[str, str], version: int = PROTOCOL_3_0) -> bytes:
    """Return a StartupMessage."""
    body = b"".join(string(key) + string(text) for key, text in parameters.items())
    return int32(len(body) + 9) + int32(version) + body + b"\0"


def cancel_request(pid: int, key: bytes) -> bytes:
    """Return a CancelRequest."""
    return int32(len(key) + 12) + int32(CANCEL_CODE) + uint32(pid) + key


def query(text: str) -> bytes:
    """Return a Query."""
    return message(frames.QUERY, string(text))


def parse(name: str, text: str, types: Sequence[int] = ()) -> bytes:
    """Return a Parse."""
    body = string(name) + string(text) + int16(len(types)) + b"".join(map(uint32, types))
    return message(frames.PARSE, body)


def bind(
    portal: str,
    statement: str,
    values: Sequence[bytes | None] = (),
    codes: Sequence[int] = (),
    result_codes: Sequence[int] = (),
) -> bytes:
    """Return a Bind."""
    parts = [string(portal), string(statement), formats(codes), int16(len(values))]
    parts.extend(map(value, values))
    parts.append(formats(result_codes))
    return message(frames.BIND, b"".join(parts))


def describe(kind: str, name: str) -> bytes:
    """Return a Describe of a statement (`S`) or a portal (`P`)."""
    return message(frames.DESCRIBE, kind.encode("ascii") + string(name))


def close(kind: str, name: str) -> bytes:
    """Return a Close of a statement (`S`) or a portal (`P`)."""
    return message(frames.CLOSE, kind.encode("ascii") + string(name))


def execute(portal: str, rows: int = 0) -> bytes:
    """Return an Execute."""
    return message(frames.EXECUTE, string(portal) + int32(rows))


def copy_data(data: bytes) -> bytes:
    """Return a CopyData, which both sides send."""
    return message(frames.COPY_DATA, data)


def copy_fail(reason: str) -> bytes:
    """Return a CopyFail."""
    return message(frames.COPY_FAIL, string(reason))


def password(raw: bytes) -> bytes:
    """Return a PasswordMessage. Raises: ValueError when the password has a NUL."""
    if 0 in raw:
        raise ValueError("a NUL cannot stand inside a password")
    return message(frames.PASSWORD, raw + b"\0")


def sasl_initial(mechanism: str, response: bytes) -> bytes:
    """Return a SASLInitialResponse."""
    return message(frames.PASSWORD, string(mechanism) + value(response))


def sasl_response(response: bytes) -> bytes:
    """Return a SASLResponse."""
    return message(frames.PASSWORD, response)
