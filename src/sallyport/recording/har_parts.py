"""Parts of an HTTP Archive (HAR 1.2): fields, cookies, queries and bodies in its terms."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl

from sallyport.core.coding import unpacked

Headers = tuple[tuple[str, str], ...]
Object = dict[str, object]

UNKNOWN = "x-unknown"
"""Stands for the type of a body that has none, as browsers write it."""
UNPACKED = 8 * 1024 * 1024
"""Bytes of a packed body that are shown."""


def first(headers: Headers, name: str) -> str:
    """Return the value of the first field of that name; empty: there is none."""
    return next((value for key, value in headers if key == name), "")


def named(pairs: Iterable[tuple[str, str]]) -> list[Object]:
    """Return pairs as HAR writes them."""
    return [{"name": name, "value": value} for name, value in pairs]


def query(url: str) -> list[Object]:
    """Return the parameters of a path and query, decoded."""
    text = url.partition("?")[2]
    return named(parse_qsl(text, keep_blank_values=True, errors="replace"))


def request_cookies(headers: Headers) -> list[Object]:
    """Return the cookies that a client sent."""
    pairs = [
        part.strip().partition("=")
        for key, value in headers
        if key == "cookie"
        for part in value.split(";")
        if part.strip()
    ]
    return named((name, value) for name, _, value in pairs)


def response_cookies(headers: Headers) -> list[Object]:
    """Return the cookies that a response set."""
    return [_cookie(value) for key, value in headers if key == "set-cookie"]


def _cookie(value: str) -> Object:
    pair, *attributes = value.split(";")
    name, _, given = pair.strip().partition("=")
    cookie: Object = {"name": name, "value": given, "httpOnly": False, "secure": False}
    for attribute in attributes:
        key, _, text = attribute.strip().partition("=")
        match key.lower():
            case "httponly":
                cookie["httpOnly"] = True
            case "secure":
                cookie["secure"] = True
            case "path" | "domain" as known:
                cookie[known] = text
            case "samesite":
                cookie["sameSite"] = text
            case "expires":
                cookie |= _expires(text)
    return cookie


def _expires(text: str) -> Object:
    try:
        return {"expires": parsedate_to_datetime(text).astimezone(UTC).isoformat()}
    except (ValueError, TypeError, IndexError, OverflowError):
        return {}


def post_data(headers: Headers, body: bytes) -> Object:
    """Return a request's body. HAR has no room for bytes here: they are in base64, and say so."""
    kind = first(headers, "content-type") or UNKNOWN
    try:
        return {"mimeType": kind, "text": body.decode("utf-8")}
    except UnicodeDecodeError:
        text = base64.b64encode(body).decode("ascii")
        return {"mimeType": kind, "text": text, "_encoding": "base64", "comment": "base64"}


def content(headers: Headers, body: bytes) -> Object:
    """Return a response's body, unpacked where gzip or deflate packed it."""
    coding = ", ".join(value for key, value in headers if key == "content-encoding")
    plain = unpacked(body, coding, UNPACKED)
    if plain is None:
        plain = body
    made: Object = {"size": len(plain), "mimeType": first(headers, "content-type") or UNKNOWN}
    if coding and plain is not body:
        made["compression"] = len(plain) - len(body)
    try:
        return made | {"text": plain.decode("utf-8")}
    except UnicodeDecodeError:
        return made | {"text": base64.b64encode(plain).decode("ascii"), "encoding": "base64"}


def message(data: bytes, direction: str, at: float) -> Object:
    """Return a WebSocket message as Chrome writes it. What is valid UTF-8 counts as text."""
    kind = "send" if direction == "in" else "receive"
    made: Object = {"type": kind, "time": at if math.isfinite(at) else 0}
    try:
        return made | {"opcode": 1, "data": data.decode("utf-8")}
    except UnicodeDecodeError:
        return made | {"opcode": 2, "data": base64.b64encode(data).decode("ascii")}


def moment(at: float) -> str:
    """Return an instant as ISO 8601; what is none, as the epoch."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00.000+00:00"


def milliseconds(begin: float | None, end: float | None) -> float:
    """Return how long it took, in ms; 0 where that is not known, or a clock went back."""
    if begin is None or end is None or not math.isfinite(end - begin):
        return 0.0
    return round(max(0.0, end - begin) * 1000, 3)
