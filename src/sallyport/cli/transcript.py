"""Transcripts: recorded events as lines for people, live (`tail`) and afterwards (`replay`).

Events arrive in the exported form (docs/recording-format.md). Whatever was recorded is made
visible before it is printed.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from sallyport.cli.errors import CommandError
from sallyport.cli.output import Output, note
from sallyport.core.errors import ConfigError
from sallyport.core.event import RecordedEvent, SessionOpened
from sallyport.core.visible import acting, counted, quoted, visible

if TYPE_CHECKING:
    from sallyport.recording.replay import RenderRows

_STYLES = {"allow": "green", "deny": "bold red", "hold": "yellow"}
_KINDS = {
    "session": "bold",
    "statement": "bold cyan",
    "allow": "green",
    "deny": "bold red",
    "hold": "yellow",
    "columns": "underline",
    "end": "dim",
    "error": "red",
    "notice": "dim",
}
_HEX = frozenset({"digest", "fingerprint", "previous"})
_BYTES = frozenset({"value", "data"})
_STATED = ("task", "purpose")
_OWN = frozenset({"session-opened", "login-refused", "audited"})
"""Events whose own words say who it was."""


def one_line(item: Mapping[str, Any]) -> Text | None:
    """Return one event of a tail as one line, or None where it says nothing to a person."""
    describe = _LINES.get(str(item.get("type")))
    if describe is None:
        return None
    at = item.get("at")
    clock = time.strftime("%H:%M:%S", time.gmtime(at)) if isinstance(at, int | float) else "-"
    words, style = describe(item)
    line = Text(f"{clock} {visible(str(item.get('session') or '-'))} ")
    if item.get("subject") and item.get("type") not in _OWN:
        line.append(f"{_one(_acting(item) + _said(item))}: ")
    return line.append(_one(words), style)


def _one(words: str) -> str:
    """Return words as they stand in one line."""
    return " ".join(visible(words).split())


def _acting(item: Mapping[str, Any], name: str = "subject") -> str:
    return acting(str(item.get(name)), [str(one) for one in item.get("actors") or ()])


def _said(item: Mapping[str, Any]) -> str:
    """Return the task that a client says, in quotes: it is the client's word alone."""
    return f" for {quoted(str(item['task']))}" if item.get("task") else ""


def _opened(item: Mapping[str, Any]) -> tuple[str, str]:
    who = f"{_acting(item)} -> {item.get('target')}/{item.get('database')}"
    said = [str(item.get("application") or "-")]
    said += [f"{name}: {quoted(str(item[name]))}" for name in _STATED if item.get(name)]
    return f"opened {who} from {item.get('source')} ({', '.join(said)})", "bold"


def _refused(item: Mapping[str, Any]) -> tuple[str, str]:
    who = _acting(item) if item.get("subject") else "somebody"
    return f"refused {who} from {item.get('source')}{_said(item)}: {item.get('reason')}", "red"


def _decided(item: Mapping[str, Any]) -> tuple[str, str]:
    decision = str(item.get("decision"))
    rules = ", ".join(map(str, item.get("rules") or ())) or "-"
    return f"{decision} [{rules}] {item.get('text')}", _STYLES.get(decision, "")


def _ended(item: Mapping[str, Any]) -> tuple[str, str]:
    if item.get("code"):
        return f"error {item.get('code')}: {item.get('message')}", "red"
    rows, size = item.get("rows"), item.get("bytes")
    amount = f" ({size} bytes)" if size else ""
    if rows:
        amount = f" ({counted(rows, 'row')}, {size} bytes)"
    return f"{item.get('tag')}{amount}", "dim"


def _found(item: Mapping[str, Any]) -> tuple[str, str]:
    counts = (
        f"{one.get('hits')} {one.get('detector')} in {one.get('column') or 'a computed value'}"
        for one in item.get("found") or ()
    )
    return f"hidden by detectors: {', '.join(counts)}", "dim"


def _audited(item: Mapping[str, Any]) -> tuple[str, str]:
    return f"{_acting(item, 'actor')} {item.get('action')} {item.get('object')}", "cyan"


_LINES: dict[str, Any] = {
    "session-opened": _opened,
    "operation-decided": _decided,
    "result-ended": _ended,
    "audited": _audited,
    "findings-counted": _found,
    "login-refused": _refused,
    "hold-opened": lambda i: (
        f"waits for {', '.join(map(str, i.get('approvers') or ()))}: {i.get('approval')}",
        "yellow",
    ),
    "hold-settled": lambda i: (f"{i.get('approval')} is {i.get('state')}", "yellow"),
    "noticed": lambda i: (f"{i.get('severity')}: {i.get('message')}", "dim"),
    "session-closed": lambda i: (f"closed: {i.get('reason')}", "bold"),
    "dropped": lambda i: (f"... {i.get('count')} events were dropped: too slow", "bold yellow"),
    "ended": lambda i: (f"the stream ended: {i.get('reason')}", "bold red"),
}


def recorded(lines: Iterable[Mapping[str, Any]]) -> Iterator[RecordedEvent]:
    """Turn exported lines into events. Raises: CommandError for what is no event."""
    for line in lines:
        if line.get("type") == "ended":
            raise CommandError(f"the stream ended: {line.get('reason')}")
        try:
            yield msgspec.convert(_raw(dict(line)), RecordedEvent)
        except (msgspec.ValidationError, ValueError, TypeError):
            kind = line.get("type")
            raise CommandError(
                f"the API sent an event (`{kind}`) that this version cannot read",
                hint="is the CLI older than the gateway?",
            ) from None


def _raw(value: Any, name: str = "") -> Any:
    """Undo what export does to bytes."""
    if isinstance(value, dict):
        if name in _BYTES and value.keys() == {"text"}:
            return str(value["text"]).encode("utf-8")
        if name in _BYTES and value.keys() == {"base64"}:
            return base64.b64decode(value["base64"])
        return {key: _raw(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_raw(each, name) for each in value]
    if name in _HEX and isinstance(value, str):
        return bytes.fromhex(value)
    return value


def play(output: Output, lines: Iterable[Mapping[str, Any]], speed: float) -> None:
    """Print a session's statements, decisions and results, with its own pauses if `speed` > 0."""
    from sallyport.recording.replay import Player

    player: Player | None = None
    for event in recorded(lines):
        if player is None:
            protocol = event.protocol if isinstance(event, SessionOpened) else ""
            player = Player(_renderer(protocol), speed=speed)
        for delay, line in player.play(event):
            if delay > 0:
                time.sleep(delay)
            output.safe_line(Text(visible(line.text), _KINDS.get(line.kind, "")))
    if player is None:
        note("nothing is recorded of this session")


def _renderer(protocol: str) -> RenderRows | None:
    """Return what makes text of the protocol's rows; without it rows are counted."""
    from sallyport.protocols.registry import rendering

    try:
        found = rendering(protocol)
    except ConfigError:
        found = None
    if found is None:
        note(f"rows of protocol `{protocol}` cannot be read here, so they are counted")
        return None
    return found.render_rows
