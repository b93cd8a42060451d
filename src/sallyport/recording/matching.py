"""Matching: whether one event is what a filter asks for. The index answers the same in SQL."""

from __future__ import annotations

import re

from msgspec import Struct

from sallyport.core.event import OperationDecided, RecordedEvent
from sallyport.recording.records import Filter
from sallyport.recording.who import Who


class Facts(Struct, frozen=True, gc=False):
    """What is known of the session that an event belongs to; empty for the product's own."""

    session: str = ""
    protocol: str = ""
    application: str = ""
    who: Who | None = None


def like(glob: str) -> str:
    r"""Return `glob` as the pattern of a LIKE with `\` as its escape."""
    return re.sub(r"\*+", "%", literal(glob))


def literal(text: str) -> str:
    r"""Return `text` as a pattern of LIKE (escape `\`) that means just itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def matches_glob(value: str, wanted: str | None) -> bool:
    """Match without a regular expression: the pieces between the stars in order, each leftmost."""
    if wanted is None:
        return True
    if "*" not in wanted:
        return value == wanted
    first, *middle, last = re.split(r"\*+", wanted)
    if not value.startswith(first) or not value.endswith(last):
        return False
    place, end = len(first), len(value) - len(last)
    for piece in middle:
        found = value.find(piece, place, max(end, 0))
        if found < 0:
            return False
        place = found + len(piece)
    return place <= end


def _matches_who(who: Who | None, wanted: Filter) -> bool:
    subject, target = (who.subject, who.target) if who is not None else ("", "")
    if wanted.own is not None and subject != wanted.own:
        return False
    if not (matches_glob(subject, wanted.subject) and matches_glob(target, wanted.target)):
        return False
    if wanted.actor is None and wanted.task is None:
        return True
    if who is None:
        return False
    acts = wanted.actor is None or any(matches_glob(one, wanted.actor) for one in who.actors)
    return acts and (
        wanted.task is None or (who.task is not None and matches_glob(who.task, wanted.task))
    )


class Matcher:
    """One filter, made ready for many events.

    What speaks of operations (verb, effect, table, decision, rule, text) lets only decisions pass.
    """

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._text = wanted.text.casefold() if wanted.text is not None else None
        of_operations = (wanted.verb, wanted.effect, wanted.table, wanted.decision, wanted.rule)
        self._decisions = wanted.text is not None or any(x is not None for x in of_operations)

    def matches(self, event: RecordedEvent, facts: Facts) -> bool:
        """Whether the filter asks for `event`."""
        wanted = self._wanted
        if wanted.session is not None and facts.session != wanted.session:
            return False
        if not _matches_who(facts.who, wanted):
            return False
        if wanted.since is not None and event.at < wanted.since:
            return False
        if wanted.until is not None and event.at >= wanted.until:
            return False
        if not (
            matches_glob(facts.protocol, wanted.protocol)
            and matches_glob(facts.application, wanted.application)
        ):
            return False
        if not self._decisions:
            return True
        return isinstance(event, OperationDecided) and self._decision(event)

    def _decision(self, event: OperationDecided) -> bool:
        wanted = self._wanted
        return (
            wanted.verb in (None, event.verb)
            and wanted.effect in (None, event.effect)
            and wanted.decision in (None, event.decision)
            and (wanted.rule is None or wanted.rule in event.rules)
            and (self._text is None or self._text in event.text.casefold())
            and (
                wanted.table is None
                or any(matches_glob(one.name, wanted.table) for one in event.resources)
            )
        )
