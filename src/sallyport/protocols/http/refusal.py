"""Refusals: what a client is told, as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec

from sallyport.core.decision import Deny
from sallyport.core.errors import (
    ControlLost,
    MaskingFailed,
    ProtocolViolation,
    RecorderLost,
    TargetUnavailable,
)
from sallyport.core.visible import visible
from sallyport.protocols.http.message import Fields, ResponseHead

REASONS: Final = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 410: "Gone", 417: "Expectation Failed",
    421: "Misdirected Request", 426: "Upgrade Required", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
_PHRASES: Final = {one.value: one.phrase for one in HTTPStatus}


def reason_of(status: int) -> str:
    """Return a status' own reason phrase (RFC 9110, section 15); empty where it has none."""
    return _PHRASES.get(status, "")


class Answer(NamedTuple):
    """A whole response of the gateway's own."""

    head: ResponseHead
    body: bytes
    detail: str = ""


def problem(
    status: int, detail: str, *, rules: tuple[str, ...] = (), hint: str = "", approval: str = ""
) -> Answer:
    """Return a whole response that says why a request was not carried out."""
    told: dict[str, object] = {
        "type": "about:blank",
        "title": REASONS.get(status, "Error"),
        "status": status,
        "detail": visible(detail),
    }
    if rules:
        told["rules"] = rules
    if hint:
        told["hint"] = visible(hint)
    if approval:
        told["approval"] = approval
    body = msgspec.json.encode(told) + b"\n"
    fields: Fields = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"x-sallyport-refused", (rules[0] if rules else "gateway").encode("ascii", "replace")),
    ]
    if status == 429:
        fields.append((b"retry-after", b"60"))
    if status == 426:
        fields += [(b"upgrade", b"TLS/1.2, HTTP/1.1"), (b"connection", b"upgrade")]
    if status == 401:
        fields += [
            (b"www-authenticate", b'Bearer realm="sallyport"'),
            (b"www-authenticate", b'Basic realm="sallyport", charset="UTF-8"'),
        ]
    head = ResponseHead(status, REASONS.get(status, "Error"), fields, length=len(body))
    return Answer(head, body, detail)


IN_CLEAR: Final = problem(426, "TLS is needed here: ask by https", rules=("listener",))
"""What a request in clear is answered with where TLS is demanded."""


def told(error: Exception) -> Answer | None:
    """Return what a client is told of an error; None: nothing that it may know."""
    if isinstance(error, ProtocolViolation):
        if error.side != "client":
            detail = f"the target breaks the protocol: {error.message}"
            return problem(502, detail, rules=("target",))
        code = int(error.code) if error.code.isdigit() else 400
        return problem(code, error.message, rules=("protocol",))
    if isinstance(error, TargetUnavailable):
        return problem(502, error.message, rules=("target",))
    if isinstance(error, TimeoutError):
        return problem(504, "the target does not answer in time", rules=("target",))
    if isinstance(error, MaskingFailed):
        return problem(502, "the response cannot be masked", rules=("masking",))
    if isinstance(error, RecorderLost):
        return problem(503, "the gateway cannot record", rules=("recorder",))
    if isinstance(error, ControlLost):
        return problem(503, "the gateway's control does not answer", rules=("control",))
    return None


def denied(deny: Deny) -> Answer:
    """Return what a refused operation is answered with."""
    status = 429 if "quota" in deny.reason and "used up" in deny.reason else 403
    if deny.rules[:1] == ("control",):
        status = 503
    approval = deny.reason.rpartition("ticket ")[2] if ": ticket " in deny.reason else ""
    return problem(status, deny.reason, rules=deny.rules, hint=deny.hint, approval=approval)
