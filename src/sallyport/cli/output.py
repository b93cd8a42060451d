"""Output: tables and lines for people, JSON for programs; errors and notes go to stderr.

INVARIANT: what was recorded or typed by somebody else passes `visible` before it reaches a
terminal, and never Rich's markup: a recorded byte cannot redraw the screen.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sallyport.core.visible import visible

_INSET = "    "

MAXIMUM_CELL = 400
"""Characters of one table cell; `show` prints the whole."""

WIDTH = 160
"""Columns of a table that does not go to a terminal."""

_STYLES = {
    "allow": "green",
    "approved": "green",
    "ok": "green",
    "deny": "red",
    "denied": "red",
    "failed": "red",
    "expired": "red",
    "hold": "yellow",
    "pending": "yellow",
    "cancelled": "dim",
}


class Output:
    """Prints in the form that was asked for."""

    def __init__(self, *, as_json: bool, stream: TextIO | None = None) -> None:
        self.as_json = as_json
        self._stream = stream if stream is not None else sys.stdout
        terminal = self._stream.isatty()
        self.colour = terminal and not os.environ.get("NO_COLOR") and not as_json
        self._console = Console(
            file=self._stream,
            force_terminal=terminal,
            no_color=not self.colour,
            color_system="auto" if self.colour else None,
            highlight=False,
            markup=False,
            emoji=False,
            width=None if terminal else WIDTH,
            legacy_windows=False,
        )

    def json(self, value: object, *, line: bool = False) -> None:
        """Print `value` as JSON, on one line if `line`. Pure ASCII: nothing in it can draw."""
        text = json.dumps(value, indent=None if line else 2, ensure_ascii=True)
        self._stream.write(text.replace("\x7f", "\\u007f") + "\n")
        if line:
            self._stream.flush()

    def raw(self, text: str) -> None:
        """Print a text as it is, which is ASCII alone and safe by itself."""
        self._stream.write(text)
        self._stream.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """Print one text, made visible. Its further lines are set in: none can pose as another."""
        shown = _set_in(text)
        self._console.print(Text(shown, style=style), soft_wrap=True)

    def block(self, text: str) -> None:
        """Print a text of several lines that all are the gateway's own, made visible."""
        self._console.print(Text(visible(text)), soft_wrap=True)

    def safe_line(self, text: Text) -> None:
        """Print a text that was made visible already."""
        self._console.print(text, soft_wrap=True)
        self._stream.flush()

    def done(self, value: Mapping[str, Any], sentence: str) -> None:
        """Say that something was done."""
        if self.as_json:
            self.json(value)
        else:
            self.line(sentence)

    def table(
        self, items: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str
    ) -> None:
        """Print `items` as a table of `columns` (heading -> key), or as JSON lines."""
        if self.as_json:
            for item in items:
                self.json(item, line=True)
            return
        if not items:
            note(empty)
            return
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for heading in columns:
            table.add_column(heading, overflow="fold")
        for item in items:
            table.add_row(*(_cell(key, item.get(key)) for key in columns.values()))
        self._console.print(table)

    def record(self, value: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> None:
        """Print one object, a field a line (all fields, or those in `labels`: label -> key)."""
        if self.as_json:
            self.json(value)
            return
        fields = labels if labels is not None else {key: key for key in value}
        width = max((len(label) for label in fields), default=0)
        for label, key in fields.items():
            text = plain(key, value.get(key))
            if "\n" in text:
                self.line(f"{label}:")
                for each in text.splitlines():
                    self.line(f"{_INSET}{each}")
            else:
                shown = Text(f"{visible(label):<{width}}  ", style="bold")
                shown.append(visible(text), _STYLES.get(text, ""))
                self._console.print(shown, soft_wrap=True)

    def flush(self) -> None:
        """Write out what is buffered."""
        self._stream.flush()


def _cell(key: str, value: object) -> Text:
    text = visible(plain(key, value)).replace("\n", " ").replace("\t", " ")
    if len(text) > MAXIMUM_CELL:
        text = text[:MAXIMUM_CELL] + "..."
    return Text(text, style=_STYLES.get(text, ""))


_TIMES = frozenset(
    {"at", "begins", "closed", "created", "ends", "expires", "opened", "revoked", "updated", "used"}
    | {"settled", "spent", "started", "since", "deadline", "first", "last"}
)


def plain(key: str, value: object) -> str:
    """Return a value as a person reads it; a number under a name of time is an instant (UTC)."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and key in _TIMES:
        return instant(float(value))
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={plain(str(name), each)}" for name, each in value.items()) or "-"
    if isinstance(value, Iterable):
        return ", ".join(plain("", each) for each in value) or "-"
    return str(value)


def instant(at: float) -> str:
    """Return an instant as `2026-01-31 12:00:00Z`."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return str(at)


def note(text: str) -> None:
    """Say something that is not the result, on stderr. Its further lines are set in."""
    sys.stderr.write(f"{_set_in(text)}\n")


def fail(message: str, hint: str = "") -> None:
    """Say on stderr what went wrong and what to do next. Further lines are set in."""
    sys.stderr.write(f"error: {_set_in(message)}\n")
    if hint:
        sys.stderr.write(f"  hint: {_set_in(hint)}\n")


def _set_in(text: str) -> str:
    """Return a text made visible, no line of which can pose as one of the command's own."""
    return visible(text).replace("\n", f"\n{_INSET}")
