"""Strict YAML: a tree of plain values that knows the line of each of them.

Built from the parser's events with the core schema of YAML 1.2, so that nothing is constructed
that is not text, a number, a truth value, null, a list or a mapping. Refused: duplicate keys,
tags, merge keys, several documents, keys that are not scalars. Bounded: size, depth, and how
many values the aliases may unfold to (the "billion laughs").
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from ruamel.yaml.reader import ReaderError

from sallyport.core.errors import ConfigError

MAXIMUM_BYTES: Final = 1024 * 1024
MAXIMUM_DEPTH: Final = 24
MAXIMUM_VALUES: Final = 100_000

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]
Key = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]{1,18}|0x[0-9a-fA-F]{1,15}|0o[0-7]{1,18}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_WORDS: Final[dict[str, Value]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclasses.dataclass(frozen=True)
class Tree:
    """A file's values; `lines` holds the 1-based line of each by its path of keys and indices."""

    file: str
    value: Value
    lines: dict[Key, int]

    def line(self, path: Key) -> int:
        """Return the line of `path`, or of what is nearest above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(raw: bytes, file: str) -> Tree:
    """Return the one document in `raw`. Raises: ConfigError with the line of what is wrong."""
    if len(raw) > MAXIMUM_BYTES:
        raise ConfigError(f"expected at most {MAXIMUM_BYTES} bytes, not {len(raw)}", file)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("expected UTF-8", file, line) from None
    try:
        return _Builder(file, YAML(typ="safe", pure=True).parse(text)).build()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise ConfigError(f"not YAML: {error.problem or error.context}", file, line) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"not YAML: {error.reason}", file, line) from None
    except (YAMLError, RecursionError, ValueError, KeyError, IndexError) as error:
        raise ConfigError(f"not YAML: {type(error).__name__}", file) from error


class _Builder:
    """Turns a stream of events into a tree."""

    def __init__(self, file: str, events: Iterator[Event]) -> None:
        self.file = file
        self.events = events
        self.lines: dict[Key, int] = {}
        self.anchors: dict[str, tuple[Value, int]] = {}
        self.count = 0

    def build(self) -> Tree:
        """Read the whole stream."""
        value: Value = {}
        documents = 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.error("expected one document", event)
                value = self.value(next(self.events), (), 0)
            elif not isinstance(event, StreamStartEvent | StreamEndEvent) and documents == 0:
                raise self.error("not YAML", event)
        return Tree(self.file, value, self.lines)

    def error(self, message: str, event: Event) -> ConfigError:
        """Return a ConfigError at `event`."""
        line: int = event.start_mark.line + 1
        return ConfigError(message, self.file, line)

    def spend(self, values: int, event: Event) -> None:
        """Count values, those that an alias repeats too. Raises: ConfigError past the limit."""
        self.count += values
        if self.count > MAXIMUM_VALUES:
            raise self.error(f"expected at most {MAXIMUM_VALUES} values, aliases unfolded", event)

    def value(self, event: Event, path: Key, depth: int) -> Value:
        """Read the value that begins with `event`."""
        if depth > MAXIMUM_DEPTH:
            raise self.error(f"expected at most {MAXIMUM_DEPTH} levels", event)
        self.lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, AliasEvent):
            known = self.anchors.get(event.anchor)
            if known is None:
                raise self.error(f"unknown anchor `{event.anchor}`", event)
            self.spend(known[1], event)
            return known[0]
        before = self.count
        self.spend(1, event)
        if str(getattr(event, "ctag", None) or "!") != "!":
            raise self.error("expected a plain value, not a tag", event)
        value: Value
        if isinstance(event, MappingStartEvent):
            value = self.mapping(path, depth)
        elif isinstance(event, SequenceStartEvent):
            value = self.sequence(path, depth)
        elif isinstance(event, ScalarEvent):
            value = _scalar(event, self.text(event))
        else:
            raise self.error("not YAML", event)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, self.count - before)
        return value

    def text(self, event: ScalarEvent) -> str:
        """Return a scalar's text. As in JSON, two escapes may be one character, none is half."""
        text = str(event.value)
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise self.error("expected text, not half a character", event) from None

    def sequence(self, path: Key, depth: int) -> list[Value]:
        """Read the items up to the sequence's end."""
        items: list[Value] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self.value(event, (*path, len(items)), depth + 1))
        return items

    def mapping(self, path: Key, depth: int) -> dict[str, Value]:
        """Read the pairs up to the mapping's end."""
        pairs: dict[str, Value] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise self.error("expected a plain key", event)
            key = self.text(event)
            if key == "<<":
                raise self.error("merge keys `<<` are not taken", event)
            if key in pairs:
                first = self.lines[(*path, key)]
                raise self.error(f"duplicate key `{key}`, first on line {first}", event)
            self.lines[(*path, key)] = event.start_mark.line + 1
            pairs[key] = self.value(next(self.events), (*path, key), depth + 1)
        return pairs


def _scalar(event: ScalarEvent, text: str) -> Value:
    if event.style is not None and event.style != "":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text.startswith("0") and text[1:2] in ("x", "o") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
