"""What differs between two configurations, as it goes on record when one takes the other's place.

A configuration holds references to secrets and no secret, so its values may be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

MOST: Final = 100
"""Changes that are told one by one; the rest is counted."""
LONGEST: Final = 200
"""Characters of a value that are told."""

Change = dict[str, str | None]
"""`path`, with the value `before` and `after`; None: it was not there."""


def difference(before: BaseModel, after: BaseModel) -> list[Change]:
    """Return what changed, in the order of the file. Entries of lists go by their `name`."""
    one, other = before.model_dump(mode="json"), after.model_dump(mode="json")
    changes = list(_changes("", one, other))
    if len(changes) > MOST:
        rest = len(changes) - MOST
        changes[MOST:] = [{"path": f"and {rest} more", "before": None, "after": None}]
    return changes


def _changes(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    one, other = _entries(before), _entries(after)
    if one is None or other is None:
        yield {"path": path, "before": _told(before), "after": _told(after)}
        return
    if list(one) != list(other) and sorted(one) == sorted(other) and not isinstance(before, dict):
        yield {"path": path, "before": ", ".join(one), "after": ", ".join(other)}  # their order
    for name in dict.fromkeys((*one, *other)):
        below = f"{path}[{name}]" if not isinstance(before, Mapping) else f"{path}.{name}"
        below = below.removeprefix(".")
        if name not in one or name not in other:
            yield {"path": below, "before": _told(one.get(name)), "after": _told(other.get(name))}
        else:
            yield from _changes(below, one[name], other[name])


def _entries(value: Any) -> dict[str, Any] | None:
    """Return what a value has in it by name; None: it is one to itself."""
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    names = [one.get("name") if isinstance(one, Mapping) else None for one in value]
    if not names or None in names or len(set(names)) != len(names):
        return {} if not names else None
    return dict(zip(map(str, names), value, strict=True))


def _said(value: Any) -> Any:
    """Return a value without what is empty in it."""
    if isinstance(value, Mapping):
        return {key: _said(one) for key, one in value.items() if one not in (None, [], {}, "")}
    return value


def _told(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(_said(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
