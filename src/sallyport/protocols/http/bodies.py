"""Bodies of requests, as conditions read them: JSON and forms, where all parsers agree on them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from sallyport.protocols.http.fields import media_type
from sallyport.protocols.http.message import Fields, get_all
from sallyport.protocols.http.paths import query_pairs

_DEPTH: Final = 64
"""How deep JSON may nest that is looked into."""
FORM: Final = "application/x-www-form-urlencoded"
_PART: Final = re.compile(rb"name\*?\s*=\s*\"? *[._\[]method\b", re.IGNORECASE)
"""A part of multipart that asks for another method."""


class Body(NamedTuple):
    """What is known of a body. `unclear`: why it cannot be looked at; `json`: what conditions read.

    `overrides`: it asks for another method.
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
        return Body("opaque-body", json=_if_json(body), overrides=_opaque_overrides(kind, body))
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        return Body("ambiguous-body", "ambiguous")
    try:
        text = body.decode("utf-8")
        if kind == FORM:
            return _form(text, _if_json(body))
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
        if _depth(value) > _DEPTH:
            raise _Ambiguous
        asks = isinstance(value, dict) and names_method(value)
        return Body("json-body", json=msgspec.json.encode(value), overrides=asks)
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
    read = otherwise or msgspec.json.encode(grouped)
    return Body("form-body", json=read, overrides=asks_method(text))


def names_method(names: Iterable[str]) -> bool:
    """Whether one of these parameters is `_method`, also as PHP reads names (`.method`)."""
    return any(
        name.lstrip(" ").lower().replace(".", "_").replace("[", "_", 1) == "_method"
        for name in names
    )


def asks_method(query: str | None) -> bool:
    """Whether a query or form asks for another method, `;` between its pairs or `&`."""
    return names_method(name for name, _ in query_pairs((query or "").replace(";", "&")))


def _opaque_overrides(kind: str, body: bytes) -> bool:
    """Whether a body that is not looked into asks for another method.

    One of no type is a form to some servers.
    """
    if kind.startswith("multipart/"):
        return _PART.search(body) is not None
    return not kind and asks_method(body.decode("latin-1"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs) or len({key.casefold() for key in made}) != len(pairs):
        raise _Ambiguous  # Go and .NET read `ROLE` into `role`, the last one counts
    return made


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Ambiguous  # JSON has no word for it: conditions would read null
    return value


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
