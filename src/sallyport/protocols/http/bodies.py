"""Bodies of requests, as conditions read them: JSON and forms, where all parsers agree on them."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import msgspec

from sallyport.protocols.http.fields import media_type
from sallyport.protocols.http.message import Fields, get_all
from sallyport.protocols.http.paths import query_pairs

_DEPTH: Final = 64
"""How deep JSON may nest that is looked into."""
FORM: Final = "application/x-www-form-urlencoded"


class Body(NamedTuple):
    """What is known of a body. `unclear`: why it cannot be looked at; `json`: what conditions read.

    `overrides`: a form asks for another method.
    """

    fact: str
    unclear: str = ""
    json: bytes = b""
    overrides: bool = False


class _Ambiguous(Exception):
    """Two parsers would read it differently."""


def read_body(fields: Fields, body: bytes | None) -> Body:
    """Return what is known of a request's body. None: it is too large to be looked at."""
    if body is None:
        return Body("large-body", "large")
    if not body:
        return Body("no-body")
    kind, charset = media_type(fields)
    coded = [value.lower() for value in get_all(fields, b"content-encoding")]
    structured = kind == "application/json" or kind.endswith("+json") or kind == FORM
    if coded not in ([], [b"identity"]) or kind == "ambiguous/ambiguous":
        return Body("ambiguous-body", "encoded" if coded else "ambiguous")
    if not structured:
        return Body("opaque-body", json=_if_json(body))
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        return Body("ambiguous-body", "ambiguous")
    try:
        text = body.decode("utf-8")
        if kind == FORM:
            return _form(text, _if_json(body))
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
        if _depth(value) > _DEPTH:
            raise _Ambiguous
        return Body("json-body", json=msgspec.json.encode(value))
    except (_Ambiguous, ValueError, RecursionError, msgspec.MsgspecError):
        return Body("ambiguous-body", "ambiguous")


def _if_json(body: bytes) -> bytes:
    """Return a body of another type as JSON, where it is some: many servers do not ask the type."""
    if body.lstrip()[:1] not in (b"{", b"["):
        return b""
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant
        )
        return msgspec.json.encode(value) if _depth(value) <= _DEPTH else b""
    except (_Ambiguous, ValueError, RecursionError, msgspec.MsgspecError):
        return b""


def _form(text: str, otherwise: bytes) -> Body:
    """`otherwise` is what a server may read that takes it for JSON."""
    pairs = query_pairs(text)
    grouped: dict[str, list[str]] = {}
    for key, value in pairs:
        grouped.setdefault(key, []).append(value)
    overrides = any(key.lower() == "_method" for key, _ in pairs)
    read = otherwise or msgspec.json.encode(grouped)
    return Body("form-body", json=read, overrides=overrides)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Ambiguous
    return made


def _constant(name: str) -> object:
    raise _Ambiguous


def _depth(value: object) -> int:
    """Return how deep a value nests, up to one more than is allowed."""
    level, depth = [value], 0
    while level and depth <= _DEPTH:
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        if not inner:
            break
        level, depth = inner, depth + 1
    return depth
