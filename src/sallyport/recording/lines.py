"""Lines: what a replay consists of, every character of it made visible."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from sallyport.recording.visible import visible

RenderRows = Callable[[str, bytes, tuple[int, ...], tuple[str, ...]], list[list[str | None]]]
"""`protocols.base.Rendering.render_rows`: encoding, data, formats, types -> cells."""

LONG = 100_000
"""Characters of a statement, and of a body, that are shown."""


class Line(Struct, frozen=True):
    """One line. `kind`: session, statement, allow, deny, hold, columns, row, end, error, notice."""

    kind: str
    text: str


def split(kind: str, text: str) -> Iterator[Line]:
    """Yield one line each, indented after the first, tabs as blanks."""
    shown = visible(text.replace("\r\n", "\n"), lines=True).expandtabs(4)
    for number, part in enumerate(shown.split("\n")):
        yield Line(kind, part if number == 0 else "        " + part)
