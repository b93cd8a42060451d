"""Bodies: read whole, bounded in bytes and time, and strict JSON, before any route sees them.

Every body of this API is one small JSON object, but for the token endpoint's form, so it is
cheaper and safer to read it at the door: a size or depth bomb, a duplicate key that two parsers
would read differently, or a client that sends a byte a minute never reaches a route.
"""

from __future__ import annotations

import asyncio
import json
import re

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from sallyport.web.forms import FORM_PATHS, check_form_type
from sallyport.web.problems import Problem

MAXIMUM_BODY = 64 * 1024
"""Bytes of the largest body, but for those in `LARGE_BODIES`."""

LARGE_BODIES = {"/api/v1/policy/check": 2 * 1024 * 1024}
"""Paths that take more: a whole configuration (1 MiB), escaped as JSON."""

MAXIMUM_DEPTH = 32
"""Levels of nesting in a body."""

BODY_DEADLINE = 15.0
"""Seconds within which a body must have arrived."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


async def read_body(scope: Scope, receive: Receive, one: asyncio.Lock) -> bytes:
    """Return the whole body, b"" where there is none.

    `one` lets one large body at a time be looked through, so that many that arrive together do not
    keep the loop from its other work. Raises: Problem (408, 413, 415 or 400) for one that is late,
    too large, not JSON or not strict.
    """
    headers = Headers(scope=scope)
    declared = headers.get("content-length")
    if declared is None and "transfer-encoding" not in headers:
        return b""
    limit = LARGE_BODIES.get(scope["path"], MAXIMUM_BODY)
    if declared is not None and declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_DEADLINE):
            body = await _collect(receive, limit)
    except TimeoutError:
        raise Problem(408, f"the body did not arrive within {BODY_DEADLINE:.0f} s") from None
    if body and scope["path"] in FORM_PATHS:
        check_form_type(headers.get("content-type", ""))
    elif body:
        _check_type(headers.get("content-type", ""))
        if len(body) > MAXIMUM_BODY:
            async with one:
                check_json(body)
                await asyncio.sleep(0)  # whoever else waits for the loop comes first
        else:
            check_json(body)
    return body


async def _collect(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Problem(408, "the caller has gone")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem(413, f"the body is larger than {limit} bytes")


def _check_type(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "a body must be `application/json`")


def check_json(body: bytes) -> None:
    """Refuse what is not strict JSON: bad UTF-8, NaN, a key twice, too deep, lone surrogates.

    Raises: Problem (400).
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(400, "the body is not UTF-8") from None
    if text.count("[") + text.count("{") > MAXIMUM_DEPTH and _depth(text) > MAXIMUM_DEPTH:
        raise Problem(400, f"the body is nested deeper than {MAXIMUM_DEPTH} levels")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Problem(400, "the body holds half of a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        place = ""
        if isinstance(error, json.JSONDecodeError):
            place = f" (line {error.lineno}, column {error.colno})"
        elif isinstance(error, _NotStrict):
            place = f": {error}"
        raise Problem(400, f"the body is not strict JSON{place}") from None


class _NotStrict(ValueError):
    """JSON that two parsers could read differently."""


def _depth(text: str) -> int:
    """Return the nesting of `text`; strings are cut first, so their brackets do not count."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotStrict("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> object:
    raise _NotStrict(f"{name} is no JSON value")
