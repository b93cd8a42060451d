"""Export: events as JSON Lines, in a form that others may rely on (docs/recording-format.md).

One object a line, ASCII alone: no recorded byte reaches a terminal as itself. Texts are texts;
digests and other hashes are hex; all other bytes are `{"text": ...}` where they are UTF-8, else
`{"base64": ...}`.
"""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime

import msgspec

from sallyport.core.event import RecordedEvent
from sallyport.recording.who import Who

SCHEMA = 1
"""Version of the lines; fields may be added without a new one."""

_HEX = frozenset({"digest", "fingerprint", "previous"})


def export_line(event: RecordedEvent, who: Who | None) -> str:
    """Return one event as one line of JSON, without its newline."""
    return json.dumps(export_event(event, who), ensure_ascii=True, separators=(",", ":"))


def export_event(event: RecordedEvent, who: Who | None) -> dict[str, object]:
    """Return one event as JSON's own types: what `export_line` writes, and the API shows.

    `who` is whose it is. What an event says of that itself counts, and then stands alone.
    """
    line: dict[str, object] = {
        "v": SCHEMA,
        "type": event.__struct_config__.tag,
        "session": event.session,
        "at": event.at if math.isfinite(event.at) else None,
        "time": _time(event.at),
    }
    known = dict.fromkeys(Who.__struct_fields__) if who is None else export_who(who)
    own = [name for name in event.__struct_fields__ if name not in line]
    return line | known | {name: _plain(getattr(event, name), name) for name in own}


def export_who(who: Who) -> dict[str, object]:
    """Return whose an event is as JSON's own types."""
    return {name: _plain(getattr(who, name), name) for name in who.__struct_fields__}


def _time(at: float) -> str | None:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError, OSError):
        return None


def _plain(value: object, name: str) -> object:
    if isinstance(value, bytes):
        return value.hex() if name in _HEX else _bytes(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, dict):
        return {str(key): _plain(item, "") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    if isinstance(value, msgspec.Struct):
        return {field: _plain(getattr(value, field), field) for field in value.__struct_fields__}
    return str(value)


def _bytes(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}
