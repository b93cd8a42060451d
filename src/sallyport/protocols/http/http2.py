"""HTTP/2: heads of RFC 9113 as the messages that every version shares, and back (section 8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.http import grammar
from sallyport.protocols.http.http1 import FORBIDDEN_TRAILERS
from sallyport.protocols.http.message import Fields, RequestHead, ResponseHead, get_all

Lines = list[tuple[bytes, bytes]]
"""A field section with its pseudo-header fields."""
VERSION: Final = "HTTP/2"
_CONNECTION: Final = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding upgrade".split()
)


def read_fields(
    lines: Iterable[tuple[bytes, bytes]], side: str
) -> tuple[dict[bytes, bytes], Fields]:
    """Return pseudo-header fields and fields. Raises: ProtocolViolation.

    FAILS CLOSED: what could not be written as a line of HTTP/1.1 is refused here already.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: Fields = []
    for name, value in lines:
        name, value = bytes(name), bytes(value)
        if name.startswith(b":"):
            if fields or name in pseudo:
                raise ProtocolViolation(side, "a pseudo-header field is out of place", "400")
            pseudo[name] = value
            continue
        if grammar.NAME.fullmatch(name) is None or grammar.VALUE.fullmatch(value) is None:
            raise ProtocolViolation(side, "a header field is malformed", "400")
        if name in _CONNECTION or name != name.lower():
            raise ProtocolViolation(side, "a header field has no place in HTTP/2", "400")
        fields.append((name, value.strip(b" \t")))
    if len(fields) > grammar.FIELDS_LIMIT:
        raise ProtocolViolation(side, f"more than {grammar.FIELDS_LIMIT} header fields", "431")
    return pseudo, fields


def read_request(lines: Lines, scheme: str, ended: bool) -> RequestHead:
    """Return a request's head. Raises: ProtocolViolation."""
    pseudo, fields = read_fields(lines, "client")
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if method == b"CONNECT":
        raise ProtocolViolation("client", "CONNECT opens nothing here", "405")
    if set(pseudo) - {b":authority"} != {b":method", b":path", b":scheme"}:
        raise ProtocolViolation("client", "expected :method, :scheme and :path", "400")
    line = b"%s %s HTTP/1.1" % (method, target)
    star = target == b"*" and method == b"OPTIONS"
    if grammar.REQUEST_LINE.fullmatch(line) is None or not (
        star or grammar.ORIGIN_FORM.fullmatch(target)
    ):
        raise ProtocolViolation("client", "the request's target is malformed", "400")
    hosts = [
        *([pseudo[b":authority"]] if b":authority" in pseudo else []),
        *get_all(fields, b"host"),
    ]
    named = {host.lower() for host in hosts}
    if len(named) > 1 or not all(map(grammar.is_authority, named)):
        raise ProtocolViolation("client", "expected one authority", "400")
    length = grammar.content_length(get_all(fields, b"content-length"), "client")
    if ended and length:
        raise ProtocolViolation("client", "Content-Length is not the body's", "400")
    expectation = [value.lower() for value in get_all(fields, b"expect")]
    if expectation not in ([], [b"100-continue"]):
        raise ProtocolViolation("client", "this expectation cannot be met", "417")
    return RequestHead(
        method=method.decode("ascii"),
        scheme=scheme,
        authority=named.pop().decode("ascii") if named else "",
        target=target.decode("ascii"),
        fields=_one_cookie(fields),
        version=VERSION,
        length=0 if ended else length,
        expects=bool(expectation) and not ended,
    )


def _one_cookie(fields: Fields) -> Fields:
    """Join the crumbs of Cookie (section 8.2.3)."""
    crumbs = get_all(fields, b"cookie")
    if len(crumbs) < 2:
        return fields
    return [*(field for field in fields if field[0] != b"cookie"), (b"cookie", b"; ".join(crumbs))]


def read_response(lines: Lines) -> ResponseHead:
    """Return a response's head; `length` is None unless it is told. Raises: ProtocolViolation."""
    pseudo, fields = read_fields(lines, "target")
    status = pseudo.get(b":status", b"")
    if (
        set(pseudo) != {b":status"}
        or len(status) != 3
        or not status.isdigit()
        or not b"100" <= status <= b"599"
    ):
        raise ProtocolViolation("target", "the status is malformed", "502")
    length = grammar.content_length(get_all(fields, b"content-length"), "target")
    return ResponseHead(int(status), "", fields, VERSION, length)


def read_trailers(lines: Lines, side: str) -> Fields:
    """Return trailers. Raises: ProtocolViolation."""
    pseudo, fields = read_fields(lines, side)
    if pseudo or any(name in FORBIDDEN_TRAILERS for name, _ in fields):
        raise ProtocolViolation(side, "a trailer field has no place there", "400")
    return fields


def write_request(head: RequestHead) -> Lines:
    """Return a request's field section."""
    lines = [
        (b":method", head.method.encode("ascii")),
        (b":scheme", head.scheme.encode("ascii")),
        (b":authority", head.authority.encode("ascii")),
        (b":path", head.target.encode("ascii")),
        *head.fields,
    ]
    if head.length:
        lines.append((b"content-length", b"%d" % head.length))
    return lines


def write_response(head: ResponseHead) -> Lines:
    """Return a response's field section."""
    lines = [(b":status", b"%d" % head.status), *head.fields]
    if head.length is not None and head.status >= 200 and head.status != 204:
        lines.append((b"content-length", b"%d" % head.length))
    return lines
