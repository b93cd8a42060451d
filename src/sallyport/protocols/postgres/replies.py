"""What a server sends: parsers (whole body in, value out) and builders (whole message out).

Every parser demands an exact fit and raises ProtocolViolation("target") otherwise: a rogue server
is as unwelcome as a rogue client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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

AUTH_OK = 0
AUTH_CLEARTEXT = 3
AUTH_MD5 = 5
AUTH_SASL = 10
AUTH_SASL_CONTINUE = 11
AUTH_SASL_FINAL = 12

PARSE_COMPLETE = message(frames.PARSE_COMPLETE)
BIND_COMPLETE = message(frames.BIND_COMPLETE)
CLOSE_COMPLETE = message(frames.CLOSE_COMPLETE)
NO_DATA = message(frames.NO_DATA)
EMPTY_QUERY = message(frames.EMPTY_QUERY)
PORTAL_SUSPENDED = message(frames.PORTAL_SUSPENDED)

FIELD_NAMES = {
    "S": "severity",
    "V": "severity_nonlocalized",
    "C": "code",
    "M": "message",
    "D": "detail",
    "H": "hint",
    "P": "position",
    "p": "internal_position",
    "q": "internal_query",
    "W": "where",
    "s": "schema",
    "t": "table",
    "c": "column",
    "d": "type",
    "n": "constraint",
    "F": "file",
    "L": "line",
    "R": "routine",
}
"""What the field codes of an ErrorResponse stand for."""


class Field(NamedTuple):
    """One column of a result. `table` and `attribute` are 0 where it is computed."""

    name: str
    table: int
    attribute: int
    type: int
    size: int
    modifier: int
    format: int


class Authentication(NamedTuple):
    """An authentication request: its code, and what follows it."""

    code: int
    data: bytes


class KeyData(NamedTuple):
    """What cancels this session: 4 bytes of key before protocol 3.2, up to 256 since."""

    pid: int
    key: bytes


class Notification(NamedTuple):
    """A NotificationResponse."""

    pid: int
    channel: str
    payload: str


class CopyHeader(NamedTuple):
    """A CopyInResponse or CopyOutResponse: overall format, and that of each column."""

    format: int
    formats: tuple[int, ...]


class Negotiation(NamedTuple):
    """A NegotiateProtocolVersion: the newest minor the server knows, options it does not."""

    version: int
    options: tuple[str, ...]


def _reader(body: bytes, what: str) -> Reader:
    return Reader(body, "target", what)


def parse_row_description(body: bytes) -> tuple[Field, ...]:
    """Read a RowDescription."""
    reader = _reader(body, "RowDescription")
    fields = []
    for _ in range(reader.count(19)):
        name = reader.text()
        table, attribute, oid = reader.uint32(), reader.int16(), reader.uint32()
        size, modifier, code = reader.int16(), reader.int32(), reader.int16()
        if code not in (0, 1):
            reader.fail(f"unknown format code `{code}`")
        fields.append(Field(name, table, attribute, oid, size, modifier, code))
    reader.end()
    return tuple(fields)


def parse_parameter_description(body: bytes) -> tuple[int, ...]:
    """Read a ParameterDescription's type oids."""
    reader = _reader(body, "ParameterDescription")
    types = tuple(reader.uint32() for _ in range(reader.count(4)))
    reader.end()
    return types


def parse_data_row(body: bytes) -> tuple[bytes | None, ...]:
    """Read a DataRow's cells."""
    reader = _reader(body, "DataRow")
    cells = tuple(reader.value() for _ in range(reader.count(4)))
    reader.end()
    return cells


def parse_command_complete(body: bytes) -> str:
    """Read a CommandComplete's tag."""
    reader = _reader(body, "CommandComplete")
    tag = reader.text()
    reader.end()
    return tag


def parse_ready(body: bytes) -> str:
    """Read a ReadyForQuery's status: I, T or E."""
    reader = _reader(body, "ReadyForQuery")
    status = chr(reader.int8())
    if status not in ("I", "T", "E"):
        reader.fail(f"unknown status `{status}`")
    reader.end()
    return status


def parse_parameter_status(body: bytes) -> tuple[str, str]:
    """Read a ParameterStatus: name and value."""
    reader = _reader(body, "ParameterStatus")
    name, text = reader.text(), reader.text()
    reader.end()
    return name, text


def parse_key_data(body: bytes, version: int) -> KeyData:
    """Read a BackendKeyData of a dialogue in protocol `version`."""
    reader = _reader(body, "BackendKeyData")
    pid = reader.uint32()
    longest = 256 if version & 0xFFFF >= 2 else 4
    if not 4 <= reader.left <= longest:
        reader.fail(f"a key of {reader.left} bytes")
    return KeyData(pid, reader.take(reader.left))


def parse_negotiation(body: bytes) -> Negotiation:
    """Read a NegotiateProtocolVersion."""
    reader = _reader(body, "NegotiateProtocolVersion")
    version, count = reader.int32(), reader.int32()
    if not 0 <= count <= reader.left:
        reader.fail(f"count `{count}`")
    options = tuple(reader.text() for _ in range(count))
    reader.end()
    return Negotiation(version, options)


def parse_authentication(body: bytes) -> Authentication:
    """Read an authentication request."""
    reader = _reader(body, "Authentication")
    code = reader.int32()
    return Authentication(code, reader.take(reader.left))


def parse_mechanisms(data: bytes) -> tuple[str, ...]:
    """Read the list of an AuthenticationSASL."""
    reader = _reader(data, "AuthenticationSASL")
    names = []
    while name := reader.text():
        names.append(name)
    reader.end()
    return tuple(names)


def parse_fields(body: bytes, what: str = "ErrorResponse") -> dict[str, str]:
    """Read an ErrorResponse or a NoticeResponse: field code -> text (`FIELD_NAMES`).

    Texts that are not UTF-8 are kept with U+FFFD: a server speaks so before it knows the client's
    encoding, and an error must not become a different one for that. A code twice is a violation.
    """
    reader = _reader(body, what)
    fields: dict[str, str] = {}
    while code := reader.int8():
        name = chr(code)
        if name in fields:
            reader.fail(f"field `{name}` twice")
        fields[name] = reader.raw().decode("utf-8", "replace")
    reader.end()
    return fields


def parse_notification(body: bytes) -> Notification:
    """Read a NotificationResponse."""
    reader = _reader(body, "NotificationResponse")
    notification = Notification(reader.uint32(), reader.text(), reader.text())
    reader.end()
    return notification


def parse_copy_header(body: bytes) -> CopyHeader:
    """Read a CopyInResponse or CopyOutResponse."""
    reader = _reader(body, "CopyResponse")
    overall = reader.int8()
    if overall not in (0, 1):
        reader.fail(f"unknown format code `{overall}`")
    codes = reader.formats()
    reader.end()
    return CopyHeader(overall, codes)


def parse_empty(body: bytes, what: str) -> None:
    """Demand the empty body of ParseComplete, BindComplete, NoData and their like."""
    _reader(body, what).end()


def authentication(code: int, data: bytes = b"") -> bytes:
    """Return an authentication request."""
    return message(frames.AUTHENTICATION, int32(code) + data)


def mechanisms(names: Sequence[str]) -> bytes:
    """Return the data of AuthenticationSASL: what is offered, the best first."""
    return b"".join(string(name) for name in names) + b"\0"


def parameter_status(name: str, text: str) -> bytes:
    """Return a ParameterStatus."""
    return message(frames.PARAMETER_STATUS, string(name) + string(text))


def key_data(pid: int, key: bytes) -> bytes:
    """Return a BackendKeyData."""
    return message(frames.BACKEND_KEY_DATA, uint32(pid) + key)


def negotiation(version: int, options: Sequence[str]) -> bytes:
    """Return a NegotiateProtocolVersion."""
    body = int32(version) + int32(len(options)) + b"".join(map(string, options))
    return message(frames.NEGOTIATE_PROTOCOL, body)


def ready(status: str) -> bytes:
    """Return a ReadyForQuery with status I, T or E."""
    return message(frames.READY_FOR_QUERY, status.encode("ascii"))


def row_description(fields: Sequence[Field]) -> bytes:
    """Return a RowDescription."""
    parts = [int16(len(fields))]
    for field in fields:
        parts.append(string(field.name))
        parts.append(uint32(field.table) + int16(field.attribute) + uint32(field.type))
        parts.append(int16(field.size) + int32(field.modifier) + int16(field.format))
    return message(frames.ROW_DESCRIPTION, b"".join(parts))


def parameter_description(types: Sequence[int]) -> bytes:
    """Return a ParameterDescription."""
    body = int16(len(types)) + b"".join(map(uint32, types))
    return message(frames.PARAMETER_DESCRIPTION, body)


def data_row(cells: Sequence[bytes | None]) -> bytes:
    """Return a DataRow."""
    return message(frames.DATA_ROW, int16(len(cells)) + b"".join(map(value, cells)))


def command_complete(tag: str) -> bytes:
    """Return a CommandComplete."""
    return message(frames.COMMAND_COMPLETE, string(tag))


def notification(pid: int, channel: str, payload: str) -> bytes:
    """Return a NotificationResponse."""
    body = uint32(pid) + string(channel) + string(payload)
    return message(frames.NOTIFICATION, body)


def copy_response(type: int, header: CopyHeader) -> bytes:
    """Return a CopyInResponse or CopyOutResponse (`frames.COPY_IN`, `frames.COPY_OUT`)."""
    return message(type, bytes((header.format,)) + formats(header.formats))


def fields_message(type: int, fields: dict[str, str]) -> bytes:
    """Return an ErrorResponse or NoticeResponse; a NUL in a text becomes U+FFFD."""
    body = b"".join(
        code.encode("ascii") + string(text.replace("\0", "\ufffd")) for code, text in fields.items()
    )
    return message(type, body + b"\0")


def error(
    code: str, text: str, *, severity: str = "ERROR", detail: str = "", hint: str = ""
) -> bytes:
    """Return an ErrorResponse of the gateway's own."""
    return fields_message(frames.ERROR_RESPONSE, _own(severity, code, text, detail, hint))


def notice(
    code: str, text: str, *, severity: str = "NOTICE", detail: str = "", hint: str = ""
) -> bytes:
    """Return a NoticeResponse of the gateway's own."""
    return fields_message(frames.NOTICE_RESPONSE, _own(severity, code, text, detail, hint))


def _own(severity: str, code: str, text: str, detail: str, hint: str) -> dict[str, str]:
    """Return the fields of a message of our own, in the order in which the server sends them."""
    fields = {"S": severity, "V": severity, "C": code, "M": text}
    if detail:
        fields["D"] = detail
    if hint:
        fields["H"] = hint
    return fields
