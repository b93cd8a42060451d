"""Ledger: what is outstanding on the target, in order.

Theory of operation. Every message that the server answers has an `Entry`, in the order sent. The
head entry is what the server is answering now; replies that do not fit it are a violation. An
entry's mode says what becomes of them:

    FORWARD   to the client, as they are or as the mask plan made them
    SKIP      swallowed: the gateway asked (an error still goes to the client, in its place)
    REPLACE   an error is due, and the gateway's own goes to the client instead of it
    MUTE      swallowed with its errors: the client was already told that its batch failed

After an error the server discards everything up to the next Sync; so does `fail`. The gateway's
own replies need no entry: they are given only while nothing is outstanding.
"""

from __future__ import annotations

from collections import deque
from typing import Final, final

from sallyport.core.decision import Deny
from sallyport.protocols.postgres.names import Portal, Prepared, Undo
from sallyport.protocols.postgres.results import Run

QUERY: Final = 0
PARSE: Final = 1
BIND: Final = 2
DESCRIBE_STATEMENT: Final = 3
DESCRIBE_PORTAL: Final = 4
EXECUTE: Final = 5
CLOSE: Final = 6
SYNC: Final = 7

FORWARD: Final = 0
SKIP: Final = 1
REPLACE: Final = 2
MUTE: Final = 3

START: Final = 0
"""Nothing of the current result has come."""
ROWS: Final = 1
"""A RowDescription has come (of a Query), or parameters were described (of a statement)."""
COPYING_OUT: Final = 2
COPIED_OUT: Final = 3
"""The server's CopyDone has come: a CommandComplete is due."""
COPYING_IN: Final = 4
COPIED_IN: Final = 5
"""The client has ended its COPY: the server's word on it is due."""
OVER: Final = 6
"""Of a Query: an error or the last result has come, ReadyForQuery is due."""


@final
class Entry:
    """One message on its way. `unit` counts the batches; `runs` are the operations it carries out.

    `index` is the run that is being answered. `cut` is why its result was ended early. `abort`:
    the client was told of a failure that the server does not know of yet. `sent`: when, of a Parse.
    """

    __slots__ = (
        "abort",
        "cut",
        "index",
        "kind",
        "mode",
        "phase",
        "portal",
        "prepared",
        "reply",
        "rows",
        "runs",
        "sent",
        "undo",
        "unit",
    )

    def __init__(self, kind: int, unit: int, mode: int = FORWARD) -> None:
        self.kind = kind
        self.unit = unit
        self.mode = mode
        self.phase = START
        self.runs: tuple[Run, ...] = ()
        self.index = 0
        self.portal: Portal | None = None
        self.prepared: Prepared | None = None
        self.undo: Undo | None = None
        self.reply = b""
        self.rows = 0
        self.cut: Deny | None = None
        self.abort = False
        self.sent = 0.0

    @property
    def run(self) -> Run | None:
        """The operation that is being answered; of a text that nobody understood, the last."""
        if self.index < len(self.runs):
            return self.runs[self.index]
        return self.runs[-1] if self.runs and not self.runs[-1].counted else None

    @property
    def copies_in(self) -> bool:
        """Whether a COPY FROM STDIN is among what is still to be answered."""
        return any(run.statement.copy == "in" for run in self.runs[self.index :])


@final
class Ledger:
    """The queue of entries."""

    __slots__ = ("_entries", "head")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.head: Entry | None = None
        """What the server is answering."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last_unit(self) -> int:
        """The newest batch with anything outstanding; -1: nothing is."""
        return self._entries[-1].unit if self._entries else -1

    @property
    def first_unit(self) -> int:
        """The oldest batch with anything outstanding."""
        return self.head.unit if self.head is not None else -1

    def push(self, entry: Entry) -> None:
        """A message was sent."""
        self._entries.append(entry)
        if self.head is None:
            self.head = entry

    def pop(self) -> None:
        """The head was answered in full."""
        self._entries.popleft()
        self.head = self._entries[0] if self._entries else None

    def fail(self) -> tuple[list[Entry], bool]:
        """Drop what the server discards after an error: all up to a Sync; whether one is here."""
        dropped: list[Entry] = []
        while self.head is not None and self.head.kind != SYNC:
            dropped.append(self.head)
            self.pop()
        return dropped, self.head is not None

    def mute(self) -> Entry | None:
        """Swallow all answers up to a Sync's, which is returned if it was sent."""
        for entry in self._entries:
            if entry.kind == SYNC:
                return entry
            entry.mode = MUTE
        return None

    def drain(self) -> list[Entry]:
        """Forget everything: the session is over."""
        entries = list(self._entries)
        self._entries.clear()
        self.head = None
        return entries
