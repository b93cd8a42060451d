"""Changes: what a batch of events means for the index, as rows. No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from sallyport.core.event import (
    Audited,
    HoldOpened,
    HoldSettled,
    JournalEnded,
    JournalStarted,
    LoginRefused,
    OperationDecided,
    RecordedEvent,
    ResultEnded,
    SessionClosed,
    SessionOpened,
)
from sallyport.recording.cutting import PRODUCT, Extents, extend
from sallyport.recording.feed import DEAD, ENDED, Batch, Entry
from sallyport.recording.records import CLOSED, OPEN, SEALED

LOST = "worker lost"
"""Why a session ended whose worker could not say so."""

Row = dict[str, Any]


class Session:
    """One session that is not sealed yet, as its row. `fresh`: the store has no row of it."""

    __slots__ = ("events", "fresh", "row")

    def __init__(self, row: Row, fresh: bool) -> None:
        self.row = row
        self.fresh = fresh

    @property
    def id(self) -> str:
        """The session's id."""
        return str(self.row["id"])

    @property
    def extents(self) -> Extents:
        """Where its events lie."""
        found: Extents = self.row["extents"]
        return found


class Changes:
    """The rows that one batch makes or alters."""

    def __init__(self, live: dict[str, Session], operation: int, audit: int) -> None:
        self.live = live
        self.touched: set[str] = set()
        self.operations: list[Row] = []
        self.resources: list[Row] = []
        self.results: list[Row] = []
        self.holds: list[Row] = []
        self.audit: list[Row] = []
        self.lost: list[SessionClosed] = []
        self.next_operation = operation
        self.next_audit = audit
        self._worker = ""
        self._here: dict[tuple[str, int, bool], Row] = {}

    def take(self, batch: Batch, at: float) -> None:
        """Add a batch. `at` is when a session ends whose worker is gone."""
        self._worker = batch.worker
        for entry in batch.entries:
            self._event(batch.name, entry, at)
        if batch.state in (DEAD, ENDED):
            self._close_all(at)

    def _event(self, journal: str, entry: Entry, at: float) -> None:
        event = entry.event
        if isinstance(event, PRODUCT):
            self._product(event, at)
            return
        if not event.session:
            return
        session = self._session(event)
        row = session.row
        extend(session.extents, journal, entry.start, entry.end)
        row["events"] += 1
        if isinstance(event, OperationDecided):
            self._decided(row, event)
        elif isinstance(event, ResultEnded):
            self._ended(row, event)
        elif isinstance(event, HoldOpened):
            self._held(event, "")
        elif isinstance(event, HoldSettled):
            self._held(event, event.state)
        elif isinstance(event, SessionClosed):
            row.update(state=CLOSED, closed=event.at, reason=_clean(event.reason))

    def _session(self, event: RecordedEvent) -> Session:
        session = self.live.get(event.session)
        if session is None:
            session = Session(_new_row(event, self._worker), fresh=True)
            self.live[event.session] = session
        if isinstance(event, SessionOpened):
            session.row.update(_description(event))
        self.touched.add(event.session)
        if session.row["state"] == SEALED:
            session.row["state"] = CLOSED
        return session

    def _product(self, event: RecordedEvent, at: float) -> None:
        if isinstance(event, JournalStarted):
            if event.reason != "rotated":
                self._close_all(event.at)
        elif isinstance(event, Audited):
            details = msgspec.to_builtins(event.details, str_keys=True)
            self._audit(event, event.actor, event.action, event.object, details)
        elif isinstance(event, LoginRefused):
            details = {"reason": event.reason, "source": event.source, "protocol": event.protocol}
            self._audit(event, event.subject, "login-refused", event.target, details)
        elif isinstance(event, JournalEnded):
            return

    def _audit(
        self, event: RecordedEvent, actor: str, action: str, about: str, details: object
    ) -> None:
        self.audit.append(
            {
                "id": self.next_audit,
                "at": event.at,
                "actor": _cut(actor, 256),
                "action": _cut(action, 128),
                "object": _clean(about),
                "session": _cut(event.session, 96),
                "details": details,
            }
        )
        self.next_audit += 1

    def _close_all(self, at: float) -> None:
        """The worker is gone: every session that it left open is over."""
        for name, session in self.live.items():
            if session.row["worker"] == self._worker and session.row["state"] == OPEN:
                session.row.update(state=CLOSED, closed=at, reason=LOST)
                self.touched.add(name)
                self.lost.append(closing_of(session.row))

    def _decided(self, row: Row, event: OperationDecided) -> None:
        number = self.next_operation
        self.next_operation += 1
        row["operations"] += 1
        row["denied"] += event.decision == "deny"
        row["held"] += event.decision == "hold"
        names = tuple(dict.fromkeys(f"{one.kind}:{one.name}" for one in event.resources))
        decided = {
            "id": number,
            "session": row["id"],
            "operation": event.operation,
            "at": event.at,
            "subject": row["subject"],
            "target": row["target"],
            "protocol": row["protocol"],
            "verb": _cut(event.verb, 64),
            "effect": _cut(event.effect, 16),
            "decision": _cut(event.decision, 16),
            "rules": list(event.rules),
            "reason": _clean(event.reason),
            "text": _clean(event.text),
            "resources": list(names),
            "approval": _cut(event.approval, 64),
            "tag": "",
            "code": "",
            "rows": 0,
            "bytes": 0,
            "elapsed": 0.0,
        }
        self.operations.append(decided)
        self._here[event.session, event.operation, event.decision == "hold"] = decided
        for kind, name in {(_cut(one.kind, 32), _cut(one.name, 512)) for one in event.resources}:
            self.resources.append({"name": name, "id": number, "kind": kind})

    def _ended(self, row: Row, event: ResultEnded) -> None:
        row["rows"] += event.rows
        row["bytes"] += event.bytes
        tag, code = _clean(event.tag), _cut(event.code, 32)
        here = self._here.get((event.session, event.operation, False))
        if here is not None:
            here.update(tag=tag, code=code)
            here["rows"] += event.rows
            here["bytes"] += event.bytes
            here["elapsed"] += event.elapsed
            return
        self.results.append(
            _key(event)
            | {
                "new_tag": tag,
                "new_code": code,
                "more_rows": event.rows,
                "more_bytes": event.bytes,
                "more_elapsed": event.elapsed,
            }
        )

    def _held(self, event: HoldOpened | HoldSettled, tag: str) -> None:
        """Note the approval of a held operation, and how it ended."""
        approval = _cut(event.approval, 64)
        here = self._here.get((event.session, event.operation, True))
        if here is not None:
            here.update(approval=approval, tag=tag)
        else:
            self.holds.append(_key(event) | {"new_approval": approval, "new_tag": tag})


def closing_of(row: Row) -> SessionClosed:
    """Return the end of a session whose worker could not write it."""
    return SessionClosed(
        row["id"], row["closed"], LOST, operations=row["operations"], rows=row["rows"]
    )


def _key(event: HoldOpened | HoldSettled | ResultEnded) -> Row:
    return {"of_session": event.session, "of_operation": event.operation}


def _new_row(event: RecordedEvent, worker: str) -> Row:
    """Return a session's first row: until its opening is seen, nothing more is known of it."""
    return {
        "id": event.session,
        "state": OPEN,
        "opened": event.at,
        "closed": None,
        "reason": "",
        "worker": worker,
        "events": 0,
        "operations": 0,
        "denied": 0,
        "held": 0,
        "rows": 0,
        "bytes": 0,
        "size": 0,
        "root": "",
        "legal_hold": False,
        "path": "",
        "extents": [],
        "groups": [],
        "actors": [],
        "write": False,
        "encrypted": False,
    } | dict.fromkeys(_TEXTS, "")


def _description(event: SessionOpened) -> Row:
    return {
        "opened": event.at,
        "groups": list(event.groups),
        "actors": list(event.actors),
        "write": event.write,
        "encrypted": event.encrypted,
    } | {name: _cut(getattr(event, name), size) for name, size in _TEXTS.items()}


_TEXTS = {
    "subject": 256,
    "issuer": 256,
    "token": 128,
    "source": 128,
    "application": 256,
    "protocol": 32,
    "target": 128,
    "database": 256,
    "login": 256,
}


def _clean(text: str) -> str:
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _cut(text: str, size: int) -> str:
    return _clean(text)[:size]
