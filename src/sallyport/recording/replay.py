"""Replay: a recording as lines with the time between them, for a terminal or a page.

All recorded text is made visible first (`recording.visible`): a replay cannot play escapes. How a
line looks is the caller's choice, by its `kind`; how rows are read is the protocol's, by `render`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from sallyport.core.event import (
    Audited,
    FindingsCounted,
    HoldOpened,
    HoldSettled,
    LoginRefused,
    Noticed,
    OperationDecided,
    OperationReleased,
    RecordedEvent,
    RequestForwarded,
    ResponseBegun,
    ResultDescribed,
    ResultEnded,
    ResultRows,
    SessionClosed,
    SessionOpened,
)
from sallyport.core.operation import Parameter
from sallyport.core.visible import acting, counted, quoted
from sallyport.recording.exchanges import ENCODINGS, Exchanges
from sallyport.recording.lines import LONG, Line, RenderRows, split
from sallyport.recording.visible import visible

__all__ = ["Line", "Player", "RenderRows", "plan"]

CELL = 120
"""Characters of a cell that are shown."""
ROWS = 50
"""Rows of a result that are shown."""


class Player:
    """Turns events into lines, one session at a time. `rows` bounds what is shown of a result."""

    def __init__(
        self,
        render: RenderRows | None = None,
        *,
        speed: float = 1.0,
        idle: float = 2.0,
        rows: int = ROWS,
    ) -> None:
        """`speed` 2 is twice as fast, 0 is without waiting; `idle` caps a wait, in seconds."""
        if speed < 0 or idle < 0:
            raise ValueError("speed and idle are not negative")
        self._render = render
        self._speed = speed
        self._idle = idle
        self._rows = rows
        self._before: float | None = None
        self._started = 0.0
        self._described: dict[int, ResultDescribed] = {}
        self._shown: dict[int, int] = {}
        self._exchanges = Exchanges(render, rows)
        self._http = False

    def play(self, event: RecordedEvent) -> Iterator[tuple[float, Line]]:
        """Yield each line of `event`, with the seconds to wait before it."""
        delay = self._delay(event.at)
        for line in self._lines(event):
            yield delay, line
            delay = 0.0

    def _delay(self, at: float) -> float:
        before, self._before = self._before, at
        if before is None:
            self._started = at
            return 0.0
        if self._speed == 0 or not at > before:
            return 0.0
        return min((at - before) / self._speed, self._idle)

    def _lines(self, event: RecordedEvent) -> Iterator[Line]:
        if isinstance(event, OperationDecided):
            yield from self._decided(event)
        elif isinstance(event, (RequestForwarded, ResponseBegun)):
            self._http = True
            yield from self._exchanges.lines(event)
        elif isinstance(event, ResultDescribed):
            self._described[event.operation] = event
            yield Line("columns", " | ".join(visible(name) for name in event.columns))
        elif isinstance(event, ResultRows):
            yield from self._result(event)
        elif isinstance(event, ResultEnded):
            yield from self._ended(event)
        elif isinstance(event, FindingsCounted):
            yield Line("notice", visible(_found(event)))
        elif isinstance(event, (SessionOpened, SessionClosed, LoginRefused, Audited)):
            if isinstance(event, SessionOpened):
                self._http = event.protocol == "http"
            yield Line("session", _session(event))
        elif isinstance(event, (HoldOpened, HoldSettled)):
            yield Line("hold", _hold(event))
        elif isinstance(event, OperationReleased):
            yield from split("notice", f"sent as: {event.rewritten[:LONG]}")
        elif isinstance(event, Noticed):
            text = f"{event.severity} {event.code}: {event.message}"
            yield from split("notice", text)

    def _decided(self, event: OperationDecided) -> Iterator[Line]:
        offset = max(0.0, event.at - self._started)
        minutes, seconds = divmod(offset, 60)
        text = self._exchanges.decided(event) if self._http else event.text
        shown = text[:LONG]
        yield from split("statement", f"[{int(minutes):02d}:{seconds:04.1f}] {shown}")
        if len(text) > LONG:
            yield Line("statement", f"... {len(text) - LONG} more characters")
        for parameter in event.parameters:
            yield Line("statement", f"  {_parameter(parameter)}")
        if event.rewritten is not None:
            yield from split("statement", f"  sent as: {event.rewritten[:LONG]}")
        kind = event.decision if event.decision in ("allow", "deny", "hold") else "deny"
        rules = ", ".join(event.rules) or "no rule"
        reason = f": {event.reason}" if event.reason else ""
        shows = event.masks if kind == "allow" else ()  # what does not run shows nothing to mask
        masks = f"; masked by {', '.join(shows)}" if shows else ""
        yield Line(kind, visible(f"{event.decision} by {rules}{reason}{masks}"))

    def _result(self, event: ResultRows) -> Iterator[Line]:
        if event.encoding in ENCODINGS:
            yield from self._exchanges.lines(event)
            return
        shown = self._shown.get(event.operation, 0)
        self._shown[event.operation] = shown + event.rows
        room = max(0, self._rows - shown)
        if not room:
            return
        described = self._described.get(event.operation)
        cells = self._cells(event, described)
        if cells is None:
            yield Line("row", f"({event.rows} rows, {len(event.data)} bytes of {event.encoding})")
            return
        for row in cells[:room]:
            yield Line("row", " | ".join(_cell(cell) for cell in row))

    def _cells(
        self, event: ResultRows, described: ResultDescribed | None
    ) -> list[list[str | None]] | None:
        """Read the rows. What cannot be read is counted: a replay never stops at a row."""
        if self._render is None:
            return None
        formats = described.formats if described is not None else ()
        types = described.types if described is not None else ()
        try:
            return self._render(event.encoding, event.data, formats, types)
        except Exception:
            return None

    def _ended(self, event: ResultEnded) -> Iterator[Line]:
        self._described.pop(event.operation, None)
        bodies = self._exchanges.knows(event.operation)
        yield from self._exchanges.ended(event.operation)
        hidden = self._shown.pop(event.operation, 0) - self._rows
        if hidden > 0:
            yield Line("row", f"... {hidden} more rows were recorded")
        if event.truncated:
            what = "what was not kept of it was" if bodies else "rows that were not kept were"
            yield Line("row", f"... {what} counted and hashed")
        if event.code:
            yield from split("error", f"error {event.code}: {event.message}")
            return
        yield Line("end", visible(f"{event.tag} ({_amount(event)}{event.elapsed * 1000:.1f} ms)"))


def plan(
    events: Iterable[RecordedEvent],
    *,
    render: RenderRows | None = None,
    speed: float = 1.0,
    idle: float = 2.0,
    rows: int = ROWS,
) -> Iterator[tuple[float, Line]]:
    """Yield every line of a recording, each with the seconds to wait before it."""
    player = Player(render, speed=speed, idle=idle, rows=rows)
    for event in events:
        yield from player.play(event)


def _found(event: FindingsCounted) -> str:
    """Return what was found, in words, not made visible yet."""
    return "hidden by detectors: " + ", ".join(
        f"{one.hits} {one.detector} in {one.column or 'a computed value'}" for one in event.found
    )


def _amount(event: ResultEnded) -> str:
    """Return what a result brought, as the beginning of a list; nothing where it brought none."""
    if not event.rows:
        return f"{event.bytes} bytes, " if event.bytes else ""
    return f"{counted(event.rows, 'row')}, {event.bytes} bytes, "


def _cell(cell: str | None) -> str:
    if cell is None:
        return "NULL"
    shown = visible(cell[: CELL + 1])
    return shown if len(cell) <= CELL else shown[:CELL] + "..."


def _parameter(parameter: Parameter) -> str:
    name = visible(parameter.name)
    if parameter.value is None:
        return f"{name} = NULL"
    if parameter.binary:
        more = "..." if len(parameter.value) > 32 else ""
        return f"{name} = \\x{parameter.value[:32].hex()}{more}"
    return f"{name} = '{_cell(parameter.value.decode('utf-8', 'backslashreplace'))}'"


def _session(event: SessionOpened | SessionClosed | LoginRefused | Audited) -> str:
    when = _when(event.at)
    if isinstance(event, SessionOpened):
        groups = f" ({', '.join(event.groups)})" if event.groups else ""
        country = f" ({event.country})" if event.country else ""
        who = acting(f"{event.subject}{groups}", event.actors)
        said = (("task", event.task), ("purpose", event.purpose))
        text = (
            f"{when} {who} at {event.target}/{event.database} as {event.login}, "
            f"from {event.source}{country} with {event.application or 'an unnamed program'}"
        )
        text += "".join(f", {name} {quoted(words)}" for name, words in said if words)
    elif isinstance(event, SessionClosed):
        text = f"{when} closed: {event.reason}; {counted(event.operations, 'operation')}, "
        text += counted(event.rows, "row")
    elif isinstance(event, LoginRefused):
        who = acting(event.subject or "nobody known", event.actors)
        text = f"{when} {who} refused at {event.target}: {event.reason}"
    else:
        text = f"{when} {acting(event.actor, event.actors)}: {event.action} {event.object}"
    return visible(text)


def _hold(event: HoldOpened | HoldSettled) -> str:
    if isinstance(event, HoldOpened):
        who = ", ".join(event.approvers)
        form = "a ticket" if event.ticket else f"{event.timeout:g} s"
        text = f"waits for {event.people} of {who} ({event.approval}, {form})"
    else:
        by = f" by {', '.join(event.by)}" if event.by else ""
        text = f"{event.state}{by} ({event.approval}){': ' + event.reason if event.reason else ''}"
    return visible(text)


def _when(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return "at an unknown time"
