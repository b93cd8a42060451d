"""Who: whose an event is, for whom and for what, so that one line can be read by itself.

The stream says it once, when a session opens: rows and results would be fat with it. Whatever
shows an event to somebody gives it its session's `Who`: the live stream by what the follower knows
of the session, a recording by its own first event.

INVARIANT: nothing is guessed. Where a session's opening is not known, there is no `Who`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from sallyport.core.event import LoginRefused, RecordedEvent, SessionOpened


class Who(Struct, frozen=True, gc=False):
    """Who asks, who acts for them (the nearest first), what for, and where.

    `task` and `purpose` are what the client says; None: not known, empty: it says nothing.
    """

    subject: str
    issuer: str
    actors: tuple[str, ...]
    task: str | None
    purpose: str | None
    target: str


class Attributed(Struct, frozen=True, gc=False):
    """An event, and whose it is; None: of no session, or of one whose opening is not known."""

    event: RecordedEvent
    who: Who | None


def who_said(event: SessionOpened | LoginRefused) -> Who:
    """Return what an event says itself."""
    return Who(event.subject, event.issuer, event.actors, event.task, event.purpose, event.target)


def who_in(row: Mapping[Any, Any]) -> Who | None:
    """Return what the index knows of a session; None: its opening was not seen."""
    if not row["target"]:
        return None
    return Who(
        row["subject"], row["issuer"], tuple(row["actors"]), row["task"], row["purpose"],
        row["target"],
    )  # fmt: skip
