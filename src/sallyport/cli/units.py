"""Durations and instants as people write them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from sallyport.cli.errors import USAGE, CommandError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d|w)")


def seconds(text: str) -> int:
    """Return the seconds of `90s`, `15m`, `8h`, `30d` or `2w`. Raises: CommandError."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise CommandError(
            f"`{text}` is not a duration", hint="write it as 90s, 15m, 8h, 30d or 2w", code=USAGE
        )
    return int(match[1]) * _UNITS[match[2]]


def moment(text: str | None) -> float | None:
    """Return the epoch seconds of `2h` (ago) or of an ISO time (UTC unless it says otherwise)."""
    if text is None:
        return None
    if _DURATION.fullmatch(text.strip().lower()):
        return time.time() - seconds(text)
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        raise CommandError(
            f"`{text}` is not a time",
            hint="write 2h (ago), 2026-01-31 or 2026-01-31T12:00:00Z",
            code=USAGE,
        ) from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
