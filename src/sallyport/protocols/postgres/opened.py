"""Opened: with which masks a session opened what SQL calls by a name.

A cursor reads, and a prepared statement runs, what was sent when it was opened: with masks at the
source, or without any. Where a FETCH or EXECUTE would have to be rewritten it may run as it is, if
what has that name was opened as it would be now.
INVARIANT: what is opened may fail, beside something older under its name that stays. So a name is
good only if all that it may still stand for was opened in one way.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final

from sallyport.core.decision import Mask
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Statement

CURSOR: Final = "cursor"
PREPARED: Final = "statement"
_READS: Final = {"fetch": CURSOR, "execute": PREPARED}
_OPENS: Final = {"declare": CURSOR, "prepare": PREPARED}
_NAMES: Final = 4096
"""Names that are kept; one for which there was no room is good for nothing until it is free."""
_MANY: Final = _NAMES // 2
_FEW: Final = 250
_SHORT: Final = 1 << 20
"""As many names, and characters, as a session's state surely keeps twice."""
_MIXED: Final = object()

Terms = object
"""How a thing was opened. Of a cursor: the masks on columns, since it has read what it read. Of a
prepared statement: the text that was sent, since its names are looked up when it runs."""


def opens(statement: Statement) -> str:
    """Return the kind of thing that a statement opens under a name; empty: none."""
    return _OPENS.get(statement.verb, "") if statement.change is not None else ""


def reads(statement: Statement) -> str:
    """Return the kind of thing that a statement reads by a name; empty: none."""
    return _READS.get(statement.verb, "")


def of_cursor(masks: tuple[Mask, ...]) -> Terms:
    """Return the terms of a cursor under these masks."""
    return tuple(mask for mask in masks if mask.columns)


class _Name(NamedTuple):
    """What a name may stand for. `rewritten`: something of it masks at the source."""

    terms: Terms
    rewritten: bool


_UNKNOWN: Final = _Name(_MIXED, rewritten=False)
_DOUBTFUL: Final = _Name(_MIXED, rewritten=True)


@final
class Opened:
    """The names of one session. `hashed`: rules under which something was opened whose text has
    what makes the hashes in it, so that what shows such texts tells it whatever is masked by now.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], _Name] = {}
        self._absent = _UNKNOWN
        self._forgets = False
        self.hashed: tuple[str, ...] = ()

    def note(
        self, kind: str, name: str, terms: Terms, *, fresh: bool = False, rewritten: bool = False
    ) -> None:
        """Note one thing that is opened. `fresh`: surely nothing else has its name.

        `terms` None: as the client wrote it. `rewritten`: it masks at the source.
        """
        key = (kind, name)
        before = self._names.get(key)
        if before is None and len(self._names) >= _NAMES:
            self._absent = _DOUBTFUL
            return
        if before is None and self._absent is _DOUBTFUL:
            before = _DOUBTFUL
        new = _Name(_MIXED if terms is None else terms, rewritten)
        if before is not None and not fresh:
            same = new.terms if new.terms == before.terms else _MIXED
            new = _Name(same, rewritten or before.rewritten)
        self._names[key] = new

    def holds(self, statement: Statement, terms: Terms) -> bool:
        """Whether what a statement reads was opened in this way, and in no other."""
        known = self._read(statement).terms
        return known is not _MIXED and known == terms

    def may_mask(self, statement: Statement) -> bool:
        """Whether what a statement reads may mask at the source: then results cannot say of what
        column a value is, and no later mask finds it there."""
        return self._read(statement).rewritten

    def _read(self, statement: Statement) -> _Name:
        return self._names.get((reads(statement), statement.reads), self._absent)

    def knows(self, state: SessionState, text: str) -> bool:
        """Whether a state has all names of a session that was asked nothing else meanwhile.

        FAILS CLOSED: by their number or size it may have forgotten some. `text` is the message's
        that opens one more.
        """
        opened = [one for _, one, _ in state.prepared] + [one for _, one, *_ in state.cursors]
        few = len(opened) < _FEW and text.count(";") < _FEW
        self._forgets |= not few or sum(map(len, opened)) + len(text) > _SHORT
        return not self._forgets

    def keep(self, live: frozenset[tuple[str, str]]) -> None:
        """Forget the names that stand for nothing, where they are many: these are all that do."""
        if len(self._names) >= _MANY:
            self._names = {key: one for key, one in self._names.items() if key in live}
