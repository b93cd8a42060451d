"""Changes: what a batch of events means for the index, as rows. No I/O.

This runs for every statement of every session, so it reads no more of an event than the index
keeps: rows of results are only counted in, and what decisions have in common (verb, resources,
rules: their shape) and their texts are kept once, by number.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec

from sallyport.core.event import (
    Audited,
    HoldOpened,
    HoldSettled,
    JournalStarted,
    LoginRefused,
    ResultEnded,
    SessionClosed,
    SessionOpened,
)
from sallyport.core.operation import Resource
from sallyport.recording.cutting import Extents, extend
from sallyport.recording.encoding import PRODUCT, decode
from sallyport.recording.feed import DEAD, ENDED, Batch, Entry
from sallyport.recording.files import FormatError
from sallyport.recording.records import CLOSED, OPEN, SEALED

LOST = "worker lost"
"""Why a session ended whose worker could not say so."""

REMEMBERED = 4096
"""Shapes and texts whose numbers are remembered; what is forgotten is only kept twice."""
REMEMBERED_TEXT = 4096
"""Characters of the longest text that is remembered."""

Row = dict[str, Any]


class Decided(msgspec.Struct, gc=False, tag="operation-decided"):
    """What the index keeps of an `OperationDecided`; `resources` and `rules` as they came."""

    session: str
    at: float
    operation: int
    verb: str
    effect: str
    resources: msgspec.Raw
    text: str
    decision: str
    rules: msgspec.Raw
    reason: str = ""
    approval: str = ""


_decided = msgspec.msgpack.Decoder(Decided)
_resources = msgspec.msgpack.Decoder(tuple[Resource, ...])
_rules = msgspec.msgpack.Decoder(tuple[str, ...])


class Session:
    """One session that is not sealed yet, as its row. `fresh`: the store has no row of it."""

    __slots__ = ("fresh", "row")

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


class Numbers:
    """The next free numbers, and which shapes and texts have theirs already.

    INVARIANT: what it remembers is in the store: made anew whenever a batch could not be written.
    """

    def __init__(self, operation: int, audit: int, shape: int, text: int) -> None:
        self.operation = operation
        self.audit = audit
        self.shape = shape
        self.text = text
        self.shapes: OrderedDict[tuple[object, ...], int] = OrderedDict()
        self.texts: OrderedDict[str, int] = OrderedDict()

    def forget(self) -> None:
        """Number every shape and text anew from here: old rows may be gone."""
        self.shapes.clear()
        self.texts.clear()


class Changes:
    """The rows that one batch makes or alters; operations and texts in the order of columns."""

    def __init__(self, live: dict[str, Session], numbers: Numbers) -> None:
        self.live = live
        self.numbers = numbers
        self.touched: set[str] = set()
        self.operations: list[list[Any]] = []
        self.shapes: list[Row] = []
        self.resources: list[Row] = []
        self.texts: list[tuple[Any, ...]] = []
        self.results: list[Row] = []
        self.holds: list[Row] = []
        self.audit: list[Row] = []
        self.lost: list[SessionClosed] = []
        self.problems: list[str] = []
        self._worker = ""
        self._here: dict[tuple[str, int, bool], list[Any]] = {}

    def take(self, batch: Batch, at: float) -> None:
        """Add a batch. `at` is when a session ends whose worker is gone."""
        self._worker = batch.worker
        for entry in batch.entries:
            try:
                self._event(batch.name, entry)
            except FormatError as error:
                self.problems.append(f"event at offset {entry.start} of `{batch.name}`: {error}")
        if batch.state in (DEAD, ENDED):
            self._close_all(at)

    def _event(self, journal: str, entry: Entry) -> None:
        kind = entry.kind
        if kind in PRODUCT:
            self._product(entry)
            return
        if not entry.session:
            return
        session = self._session(entry)
        row = session.row
        extend(row["extents"], journal, entry.start, entry.end)
        row["events"] += 1
        if kind == b"operation-decided":
            self._decide(row, entry.payload)
        elif kind in _READ:
            self._read(session, entry.payload)

    def _session(self, entry: Entry) -> Session:
        name = entry.session
        session = self.live.get(name)
        if session is None:
            session = self.live[name] = Session(_new_row(name, entry.at, self._worker), fresh=True)
        self.touched.add(name)
        if session.row["state"] == SEALED:
            session.row["state"] = CLOSED
        return session

    def _read(self, session: Session, payload: bytes) -> None:
        event = decode(payload)
        if isinstance(event, ResultEnded):
            self._ended(session.row, event)
        elif isinstance(event, SessionOpened):
            session.row.update(_description(event))
        elif isinstance(event, HoldOpened):
            self._held(event, "")
        elif isinstance(event, HoldSettled):
            self._held(event, event.state)
        elif isinstance(event, SessionClosed):
            session.row.update(state=CLOSED, closed=event.at, reason=_clean(event.reason))

    def _product(self, entry: Entry) -> None:
        event = decode(entry.payload)
        if isinstance(event, JournalStarted):
            if event.reason != "rotated":
                self._close_all(event.at)
        elif isinstance(event, Audited):
            details = msgspec.to_builtins(event.details, str_keys=True)
            self._audit(entry, event.actor, event.action, event.object, details)
        elif isinstance(event, LoginRefused):
            details = {"reason": event.reason, "source": event.source, "protocol": event.protocol}
            self._audit(entry, event.subject, "login-refused", event.target, details)

    def _audit(self, entry: Entry, actor: str, action: str, about: str, details: object) -> None:
        self.audit.append(
            {
                "id": self.numbers.audit,
                "at": entry.at,
                "actor": _cut(actor, 256),
                "action": _cut(action, 128),
                "object": _clean(about),
                "session": _cut(entry.session, 96),
                "details": details,
            }
        )
        self.numbers.audit += 1

    def _close_all(self, at: float) -> None:
        """The worker is gone: every session that it left open is over."""
        for name, session in self.live.items():
            if session.row["worker"] == self._worker and session.row["state"] == OPEN:
                session.row.update(state=CLOSED, closed=at, reason=LOST)
                self.touched.add(name)
                self.lost.append(closing_of(session.row))

    def _decide(self, row: Row, payload: bytes) -> None:
        try:
            event = _decided.decode(payload)
            shape = self._shape(event)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(str(error)) from None
        decision = event.decision
        row["operations"] += 1
        if decision == "deny":
            row["denied"] += 1
        elif decision == "hold":
            row["held"] += 1
        made = [
            self.numbers.operation,
            row["id"],
            event.operation,
            event.at,
            shape,
            self._text(event.text),
            _cut(event.approval, 64),
            "",
            "",
            0,
            0,
            0.0,
        ]
        self.numbers.operation += 1
        self.operations.append(made)
        self._here[event.session, event.operation, decision == "hold"] = made

    def _shape(self, event: Decided) -> int:
        """Return the number of what `event` has in common with others."""
        numbers = self.numbers
        raw, rules = bytes(event.resources), bytes(event.rules)
        key = (event.verb, event.effect, event.decision, raw, rules, event.reason)
        known = numbers.shapes.get(key)
        if known is not None:
            numbers.shapes.move_to_end(key)
            return known
        resources = _resources.decode(raw)
        names = _rules.decode(rules)
        shape = numbers.shape
        numbers.shape += 1
        _remember(numbers.shapes, key, shape)
        self.shapes.append(
            {
                "id": shape,
                "verb": _cut(event.verb, 64),
                "effect": _cut(event.effect, 16),
                "decision": _cut(event.decision, 16),
                "rules": list(names),
                "reason": _clean(event.reason),
                "resources": list(dict.fromkeys(f"{one.kind}:{one.name}" for one in resources)),
            }
        )
        for kind, name in {(_cut(one.kind, 32), _cut(one.name, 512)) for one in resources}:
            self.resources.append({"name": name, "id": shape, "kind": kind})
        return shape

    def _text(self, text: str) -> int:
        numbers = self.numbers
        known = numbers.texts.get(text)
        if known is not None:
            numbers.texts.move_to_end(text)
            return known
        number = numbers.text
        numbers.text += 1
        if len(text) <= REMEMBERED_TEXT:
            _remember(numbers.texts, text, number)
        self.texts.append((number, _clean(text)))
        return number

    def _ended(self, row: Row, event: ResultEnded) -> None:
        row["rows"] += event.rows
        row["bytes"] += event.bytes
        tag, code = _clean(event.tag), _cut(event.code, 32)
        here = self._here.get((event.session, event.operation, False))
        if here is not None:
            here[_TAG:] = (
                tag,
                code,
                here[_TAG + 2] + event.rows,
                here[_TAG + 3] + event.bytes,
                here[_TAG + 4] + event.elapsed,
            )
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
            here[_TAG - 1 : _TAG + 1] = (approval, tag)
        else:
            self.holds.append(_key(event) | {"new_approval": approval, "new_tag": tag})


_TAG = 7
"""Where `tag` stands among an operation's columns; code, rows, bytes and elapsed follow it."""

_READ = frozenset(
    {b"session-opened", b"session-closed", b"result-ended", b"hold-opened", b"hold-settled"}
)
"""Events of a session, beside decisions, of which the index keeps something."""


def closing_of(row: Row) -> SessionClosed:
    """Return the end of a session whose worker could not write it."""
    return SessionClosed(
        row["id"], row["closed"], LOST, operations=row["operations"], rows=row["rows"]
    )


def _remember(known: OrderedDict[Any, int], key: object, number: int) -> None:
    known[key] = number
    if len(known) > REMEMBERED:
        known.popitem(last=False)


def _key(event: HoldOpened | HoldSettled | ResultEnded) -> Row:
    return {"of_session": event.session, "of_operation": event.operation}


def _new_row(name: str, at: float, worker: str) -> Row:
    """Return a session's first row: until its opening is seen, nothing more is known of it."""
    return {
        "id": name,
        "state": OPEN,
        "opened": at,
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
    return _clean(text)[:size] if text else ""
