"""Paths: one spelling to forward, and every way that a server could read it.

A server may decode `%2F` before it routes, take a backslash for `/`, cut `;parameters` off, merge
`//`, decode `%3F` before it looks for the query, or take what begins with `//` for an address
without its scheme (`new URL(request.url, base)`). So a path has one or more readings, and each is a
resource of its own: an allow must cover all of them, a deny strikes at any (RFC 3986, section
6.2.2).
FAILS CLOSED: a dot segment in any reading, a control byte, bytes that are no UTF-8: refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from sallyport.core.errors import ProtocolViolation

_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_STRAIGHT: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")
"""A path that nobody reads in two ways."""
_DECODINGS: Final = 4
"""How often a path may be encoded over again."""


class Path(NamedTuple):
    """`sent` goes to the target, in ASCII. `readings` are its names, the plainest first."""

    sent: str
    readings: tuple[str, ...]


def read_path(raw: str) -> Path:
    """Return what is sent for a path, and how it may be read. Raises: ProtocolViolation."""
    if _STRAIGHT.fullmatch(raw) is not None:
        return Path(raw, (raw,))
    data = raw.encode("ascii")
    if _BAD_ESCAPE.search(data):
        raise _refused("a `%` in the path begins no escape")
    sent = _ESCAPE.sub(_normal, data)
    first = _named(sent, keep=True)
    readings = [first]
    decoded = sent
    for _ in range(_DECODINGS):
        again = _unescaped(decoded)
        last = again == decoded
        decoded = again
        _check(decoded)
        readings.append(_text(decoded))
        readings += _plainest(_text(decoded))
        if last:
            break
    else:
        raise _refused("the path is encoded too many times over")
    _check(sent)
    return Path(sent.decode("ascii"), tuple(dict.fromkeys(readings)))


def split_target(target: str) -> tuple[str, str | None]:
    """Return path and query of an origin form; None: there is no query."""
    path, mark, query = target.partition("?")
    return path, query if mark else None


def query_pairs(query: str | None) -> list[tuple[str, str]]:
    """Return the names and values of a query, decoded as most servers do."""
    pairs = []
    for part in (query or "").split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((_form(name), _form(value)))
    return pairs


def _form(text: str) -> str:
    data = text.replace("+", " ").encode("latin-1")
    return _unescaped(data).decode("utf-8", "backslashreplace")


def _normal(match: re.Match[bytes]) -> bytes:
    """An escape in its one spelling: none for what needs none, else with upper-case digits."""
    byte = int(match[1], 16)
    return bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte


def _unescaped(data: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), data)


_KEPT: Final = frozenset(b"/\\%;?#")
_QUERY: Final = re.compile(r"[?#]")


def _named(sent: bytes, *, keep: bool) -> str:
    """Return the path as people write it: decoded, but for what means something else decoded."""

    def one(match: re.Match[bytes]) -> bytes:
        byte = int(match[1], 16)
        return match[0] if keep and byte in _KEPT else bytes((byte,))

    return _text(_ESCAPE.sub(one, sent))


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("the path is no UTF-8") from None
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        raise _refused("a control character stands in the path")
    return text


def _plainest(text: str) -> list[str]:
    """Return how the most generous server reads it: parameters cut, slashes one and merged.

    Of what begins like an address (RFC 3986, section 4.2) also without the host.
    """
    straight = _QUERY.split(text.replace("\\", "/"), maxsplit=1)[0]
    segments = [part.split(";", 1)[0] for part in straight.split("/")]
    inner = [part for part in segments if part]
    ending = "/" if len(segments) > 1 and not segments[-1] else ""
    found = ["/" + "/".join(inner) + (ending if inner else "")]
    if straight.startswith("//"):
        found.append("/" + "/".join(inner[1:]) + (ending if inner[1:] else ""))
    return found


def _check(data: bytes) -> None:
    """FAILS CLOSED: nobody knows where a dot segment leads at the target."""
    for segment in re.split(rb"[/\\]", data):
        if segment.split(b";", 1)[0].strip(b" \t") in (b".", b".."):
            raise _refused("the path has a dot segment")


def _refused(text: str) -> ProtocolViolation:
    return ProtocolViolation("client", text, "400")


class Templates:
    """The path templates of one API, such as `/users/{id}`: the most literal one counts."""

    def __init__(self, templates: Iterable[str]) -> None:
        """Raises: ValueError for what is no template."""
        self._by_size: dict[int, list[tuple[str, tuple[re.Pattern[str] | str, ...]]]] = {}
        for template in dict.fromkeys(templates):
            if not template.startswith("/"):
                raise ValueError(f"expected a template such as `/users/{{id}}`, not `{template}`")
            parts = tuple(map(_part, template.split("/")))
            self._by_size.setdefault(len(parts), []).append((template, parts))
        for found in self._by_size.values():
            found.sort(key=lambda one: [not isinstance(part, str) for part in one[1]])

    def find(self, path: str) -> str:
        """Return the template of a path; empty: it has none."""
        segments = path.split("/")
        for template, parts in self._by_size.get(len(segments), ()):
            if all(
                part == segment if isinstance(part, str) else part.fullmatch(segment)
                for part, segment in zip(parts, segments, strict=True)
            ):
                return template
        return ""


_OPEN: Final = re.compile(r"\{[^{}/]*\}")


def _part(segment: str) -> re.Pattern[str] | str:
    """Return what matches a segment: `{id}`, or text with such parts in it (`{id}.json`)."""
    if _OPEN.search(segment) is None:
        return segment
    literal = [re.escape(text) for text in _OPEN.split(segment)]
    return re.compile("[^/]+".join(literal))
