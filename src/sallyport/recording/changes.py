"""Changes: what a batch of events means for the index. No I/O.

This runs for every statement of every session, so it reads no more of an event than the index
keeps: rows of results are only counted in, what decisions have in common (verb, resources, rules:
their shape) is kept once, by number, and all that a batch says of one session's operations goes
into one block (`recording.blocks`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

import msgspec

from sallyport.core.event import (
    Audited,
    FindingsCounted,
    HoldOpened,
    HoldSettled,
    JournalStarted,
    LoginRefused,
    SessionClosed,
    SessionOpened,
)
from sallyport.core.operation import Resource
from sallyport.core.subject import LONGEST_STATED
from sallyport.recording.cutting import GAP
from sallyport.recording.feed import DEAD, ENDED, Batch, Piece
from sallyport.recording.files import FormatError, join_events
from sallyport.recording.findings import Found, note
from sallyport.recording.glance import (
    COUNTED,
    PRODUCT,
    Decided,
    Ended,
    Glance,
    Unread,
    is_product,
)
from sallyport.recording.part import Late, Part, Row, Session, clean, cut
from sallyport.recording.records import CLOSED, OPEN, SEALED
from sallyport.recording.sealed import SealedWriter
from sallyport.recording.who import who_said

LOST = "worker lost"
"""Why a session ended whose worker could not say so."""

REMEMBERED = 4096
"""Shapes whose numbers are remembered; what is forgotten is only kept twice."""

Shape = tuple[str, str, str, bytes, bytes, str]

_resources = msgspec.msgpack.Decoder(tuple[Resource, ...])
_rules = msgspec.msgpack.Decoder(tuple[str, ...])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Numbers:
    """The next free numbers, and which shapes have theirs already.

    INVARIANT: what it remembers is in the store: made anew whenever a batch could not be written.
    """

    def __init__(self, block: int, audit: int, shape: int) -> None:
        self.block = block
        self.audit = audit
        self.shape = shape
        self.shapes: OrderedDict[Shape, int] = OrderedDict()

    def forget(self) -> None:
        """Number every shape anew from here: old rows may be gone."""
        self.shapes.clear()


class Changes:
    """What one batch makes or alters.

    `gather` begins the sealed file of a new session; `aside` are the product's own events, by
    journal; `late` is by session, operation, and whether it speaks of the hold.
    """

    def __init__(
        self,
        live: dict[str, Session],
        numbers: Numbers,
        gather: Callable[[str, float], SealedWriter | None] = lambda _session, _at: None,
    ) -> None:
        self.live = live
        self.numbers = numbers
        self.touched: set[str] = set()
        self.parts: dict[str, Part] = {}
        self.shapes: list[Row] = []
        self.resources: list[Row] = []
        self.late: dict[tuple[str, int, bool], Late] = {}
        self.audit: list[Row] = []
        self.findings: Found = {}
        self.aside: dict[str, list[bytes]] = {}
        self.lost: list[SessionClosed] = []
        self.problems: list[str] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        """What happened, for the measures: what is counted, and which of it."""
        self._gather = gather
        self._worker = ""

    def take(self, batch: Batch, at: float) -> None:
        """Add a batch. `at` is when a session ends whose worker is gone."""
        self._worker = batch.worker
        journal, every = batch.name, batch.events
        parts = self.parts
        end = 0
        for piece in batch.pieces:
            begin, end = end, end + piece.count
            first = every[begin]
            part = parts.get(first.session) or self._part(every[begin:end])
            mixed = part is None
            if part is not None:
                for event in every[begin:end]:
                    kind = type(event)
                    if isinstance(event, Decided):
                        self._decide(part, event, piece, journal)
                    elif isinstance(event, Ended):
                        part.ended.append(event)
                    elif kind in PRODUCT:
                        mixed = True
                    elif kind not in COUNTED:
                        self._seldom(part, event, piece, journal)
            if mixed:
                piece = self._put_aside(batch, piece, begin)
            if part is not None:
                if part.journal and piece.start - part.end <= GAP:
                    part.end = piece.end
                else:
                    part.lies(journal, piece)
                part.events += piece.count
                part.bodies.append(piece.body)
                if part.first is None:
                    part.first = first.at
                part.last = event.at
        self.count()
        if batch.state in (DEAD, ENDED):
            self._close_all(at)

    def count(self) -> None:
        """Bring the rows of all sessions up to date."""
        for part in self.parts.values():
            part.count(self.counts)

    def _put_aside(self, batch: Batch, piece: Piece, begin: int) -> Piece:
        """Take the product's own events out of a piece; return what is left."""
        left: list[bytes] = []
        for number in range(begin, begin + piece.count):
            event, payload = batch.events[number], batch.payloads[number]
            if type(event) in PRODUCT:
                self.aside.setdefault(batch.name, []).append(payload)
                self._product(event)
            else:
                left.append(payload)
        return Piece(len(left), join_events(left), piece.start, piece.end)

    def _part(self, events: list[Glance]) -> Part | None:
        """Begin what is said of these events' session; None if they are of none."""
        name = events[0].session
        if not name or is_product(events):
            return None
        session = self.live.get(name)
        if session is None:
            at = events[0].at
            session = self.live[name] = Session(_new_row(name, at, self._worker), fresh=True)
            session.gathered = self._gather(name, at)
        self.touched.add(name)
        if session.row["state"] == SEALED:
            session.row["state"] = CLOSED
            session.told = True
        part = self.parts[name] = Part(session)
        return part

    def _seldom(self, part: Part, event: Glance, piece: Piece, journal: str) -> None:
        session = part.session
        if isinstance(event, SessionOpened):
            session.row.update(_description(event))
            session.who = who_said(event)
            session.told = True
            self.counts["logins", "taken"] += 1
        elif isinstance(event, HoldOpened):
            part.holds[event.operation] = (cut(event.approval, 64), "")
            self.counts["holds", "opened"] += 1
        elif isinstance(event, HoldSettled):
            part.holds[event.operation] = (cut(event.approval, 64), clean(event.state))
            self.counts["holds", event.state] += 1
        elif isinstance(event, FindingsCounted):
            note(self.findings, event, session.row)
        elif isinstance(event, SessionClosed):
            session.row.update(state=CLOSED, closed=event.at, reason=clean(event.reason))
            session.told = True
        elif isinstance(event, Unread) and event.problem:
            self._wrong(event.problem, piece, journal)

    def _wrong(self, problem: str, piece: Piece, journal: str) -> None:
        self.problems.append(f"event at offset {piece.start} of `{journal}`: {problem}")

    def _product(self, event: Glance) -> None:
        if isinstance(event, JournalStarted):
            if event.reason != "rotated":
                self.count()
                self._close_all(event.at)
        elif isinstance(event, Audited):
            details = msgspec.to_builtins(event.details, str_keys=True)
            self._audit(event, event.actor, event.action, event.object, details)
        elif isinstance(event, LoginRefused):
            details = {"reason": event.reason, "source": event.source, "protocol": event.protocol}
            more = {"issuer": event.issuer, "task": event.task, "purpose": event.purpose}
            details |= {name: text for name, text in more.items() if text}
            self._audit(event, event.subject, "login-refused", event.target, details)
            self.counts["logins", "refused"] += 1

    def _audit(
        self, event: Audited | LoginRefused, actor: str, action: str, about: str, details: object
    ) -> None:
        self.audit.append(
            {
                "id": self.numbers.audit,
                "at": event.at,
                "actor": cut(actor, 256),
                "action": cut(action, 128),
                "object": clean(about),
                "session": cut(event.session, 96),
                "details": details,
                "actors": list(event.actors),
            }
        )
        self.numbers.audit += 1

    def _close_all(self, at: float) -> None:
        """The worker is gone: every session that it left open is over."""
        for name, session in self.live.items():
            if session.row["worker"] == self._worker and session.row["state"] == OPEN:
                session.row.update(state=CLOSED, closed=at, reason=LOST)
                session.told = True
                self.touched.add(name)
                self.lost.append(closing_of(session.row))

    def _decide(self, part: Part, event: Decided, piece: Piece, journal: str) -> None:
        like = part.like
        if (
            like is None
            or event.resources != like.resources
            or event.decision != like.decision
            or event.rules != like.rules
            or event.verb != like.verb
            or event.reason != like.reason
            or event.effect != like.effect
        ):
            try:
                part.shape = self._shape(event)
            except FormatError as error:
                self._wrong(str(error), piece, journal)
                return
            part.like = event
        part.decided.append(event)
        part.shapes.append(part.shape)
        text = event.text
        place = part.texts.get(text)
        if place is None:
            place = part.texts[text] = len(part.texts)
        part.places.append(place)

    def _shape(self, event: Decided) -> int:
        """Return the number of what `event` has in common with others."""
        numbers = self.numbers
        raw, rules = bytes(event.resources), bytes(event.rules)
        key = (event.verb, event.effect, event.decision, raw, rules, event.reason)
        known = numbers.shapes.get(key)
        if known is not None:
            numbers.shapes.move_to_end(key)
            return known
        try:
            resources, names = _resources.decode(raw), _rules.decode(rules)
        except _UNREADABLE as error:
            raise FormatError(str(error)) from None
        shape = numbers.shape
        numbers.shape += 1
        numbers.shapes[key] = shape
        if len(numbers.shapes) > REMEMBERED:
            numbers.shapes.popitem(last=False)
        self.shapes.append(
            {
                "id": shape,
                "verb": cut(event.verb, 64),
                "effect": cut(event.effect, 16),
                "decision": cut(event.decision, 16),
                "rules": list(names),
                "reason": clean(event.reason),
                "resources": list(dict.fromkeys(f"{one.kind}:{one.name}" for one in resources)),
            }
        )
        for kind, name in {(cut(one.kind, 32), cut(one.name, 512)) for one in resources}:
            self.resources.append({"name": name, "id": shape, "kind": kind})
        return shape


def closing_of(row: Row) -> SessionClosed:
    """Return the end of a session whose worker could not write it."""
    return SessionClosed(
        row["id"], row["closed"], LOST, operations=row["operations"], rows=row["rows"]
    )


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
        "task": None,
        "purpose": None,
    } | dict.fromkeys(_TEXTS, "")


def _description(event: SessionOpened) -> Row:
    return {
        "opened": event.at,
        "groups": list(event.groups),
        "actors": list(event.actors),
        "write": event.write,
        "encrypted": event.encrypted,
        "task": cut(event.task, LONGEST_STATED),
        "purpose": cut(event.purpose, LONGEST_STATED),
    } | {name: cut(getattr(event, name), size) for name, size in _TEXTS.items()}


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
