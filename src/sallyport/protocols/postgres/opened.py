"""Opened: with which masks a session opened what SQL calls by a name.

A cursor reads, and a prepared statement runs, what was sent when it was opened: with masks at the
source, or without any. Where a FETCH or EXECUTE would have to be rewritten it may run as it is, if
what has that name was opened as it would be now.
INVARIANT: what is opened may fail, beside something older under its name that stays. So a name is
good only if all that it may still stand for was opened in one way.
"""

from __future__ import annotations

from typing import Final, final

from sallyport.core.decision import Mask
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Statement

CURSOR: Final = "cursor"
PREPARED: Final = "statement"
_READS: Final = {"fetch": CURSOR, "execute": PREPARED}
_OPENS: Final = {"declare": CURSOR, "prepare": PREPARED}
_NAMES: Final = 4096
"""Names that a session may use for this; with more, none is good."""
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


@final
class Opened:
    """The names of one session. `shows`: the server has a prepared statement with masks in it."""

    def __init__(self) -> None:
        self._terms: dict[tuple[str, str], Terms] = {}
        self._rewritten: set[tuple[str, str]] = set()
        self._forgets = False
        self.shows = False

    def note(
        self, kind: str, name: str, terms: Terms, *, fresh: bool = False, rewritten: bool = False
    ) -> None:
        """Note one thing that is opened. `fresh`: surely nothing else has its name.

        `terms` None: as the client wrote it. `rewritten`: it masks at the source.
        """
        if rewritten and len(self._rewritten) < _NAMES:
            self._rewritten.add((kind, name))
        elif fresh and len(self._rewritten) < _NAMES:
            self._rewritten.discard((kind, name))  # full: nobody knows which are missing
        if terms is None:
            terms = _MIXED
        if len(self._terms) >= _NAMES and (kind, name) not in self._terms:
            self._terms = dict.fromkeys(self._terms, _MIXED)
            return
        known = self._terms.get((kind, name), terms)
        self._terms[kind, name] = terms if fresh or known == terms else _MIXED

    def holds(self, statement: Statement, terms: Terms) -> bool:
        """Whether what a statement reads was opened in this way, and in no other."""
        known = self._terms.get((reads(statement), statement.reads), _MIXED)
        return known is not _MIXED and known == terms

    def may_mask(self, statement: Statement) -> bool:
        """Whether what a statement reads may mask at the source: then results cannot say of what
        column a value is, and no later mask finds it there."""
        full = len(self._rewritten) >= _NAMES
        return full or (reads(statement), statement.reads) in self._rewritten

    def is_fresh(self, kind: str, name: str, state: SessionState, text: str) -> bool:
        """Whether a session in this state, asked nothing else meanwhile, has no such name.

        FAILS CLOSED: a state that may have forgotten names, by their number or size, knows none.
        `text` is the message's that opens it.
        """
        texts = [text for _, text, _ in state.prepared] + [text for _, text, *_ in state.cursors]
        few = len(texts) < _FEW and text.count(";") < _FEW
        self._forgets |= not few or sum(map(len, texts)) + len(text) > _SHORT
        there = state.cursor_text(name) if kind == CURSOR else state.prepared_text(name)
        return there is None and not self._forgets
