"""The two-worlds oracle: one session in both worlds must look the same, to the byte.

A session is a list of steps. A step is a text (a simple query), or a mapping:
`sql` with `args`, `types`, `formats` (of parameters), `bin` (results), `statement`, `portal`,
`rows` (of one Execute), `times` (Executes), `describe` (`S`, `P` or none): the extended protocol;
`sql` with `copy`: a simple query that is sent rows; `raw`: messages, each a list.

A case gives its `steps`, or one `sql` that is taken in several `ways` (see `ways.py`).
"""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import Struct

from tests.bypass.postgres import wire
from tests.bypass.postgres.runner import message
from tests.bypass.postgres.wire import Answer, Gone, Wire
from tests.masking.worlds import NAMES, Worlds

Step = str | dict[str, Any]
Seen = tuple[str, object]

_STEP_KEYS: Final = {
    "sql", "args", "types", "formats", "bin", "statement", "portal", "rows", "times", "describe",
    "copy", "raw",
}  # fmt: skip
_TIMES: Final = (
    (re.compile(rb"(Planning|Execution) Time: [\d.]+ ms"), rb"\1 Time: -"),
    (re.compile(rb'"(Planning|Execution) Time": [\d.]+'), rb'"\1 Time": 0'),
    (re.compile(rb"Buffers: [^\n]*"), b"Buffers: -"),
    (re.compile(rb"world_[ab]"), b"world_x"),
)


class Outcome(Struct, frozen=True):
    """What came of one session: what it looked like in either world, and what gave it away."""

    seen: tuple[list[Seen], list[Seen]]
    canaries: list[bytes]
    errors: list[dict[str, str]]

    @property
    def difference(self) -> str:
        """The first message that is not the same in both worlds; empty: there is none."""
        one, other = self.seen
        for number, (left, right) in enumerate(zip(one, other, strict=False)):
            if left != right:
                return f"message {number}:\n  {left!r}\n  {right!r}"
        if len(one) != len(other):
            longer = max(self.seen, key=len)[min(len(one), len(other)) :]
            return f"{len(one)} messages against {len(other)}: {longer[:3]!r}"
        return ""

    @property
    def leak(self) -> str:
        """What tells the worlds apart or shows a secret; empty: nothing does."""
        return self.difference or (f"canaries: {self.canaries}" if self.canaries else "")

    @property
    def refusals(self) -> list[str]:
        """What the gateway itself said no to."""
        return [
            f"{fields.get('M')} ({fields.get('D', '')})" for fields in self.errors if ours(fields)
        ]


def ours(fields: dict[str, str]) -> bool:
    """Whether an error is the gateway's: the server tells its file and routine."""
    return fields.get("R", "") == "" and fields.get("F", "") == ""


class Oracle:
    """Takes sessions through the gateway (or `direct`ly) to both worlds."""

    def __init__(self, worlds: Worlds, *, direct: bool = False, subject: str = "masked") -> None:
        self._worlds = worlds
        self._subject = subject
        self._direct = direct
        self._wires: list[Wire | None] = [None, None]
        self._tokens: list[dict[bytes, bytes]] = [{}, {}]
        self._fresh: tuple[dict[int, int], dict[int, int]] = ({}, {})
        if not direct:
            self._learn_tokens()

    def _learn_tokens(self) -> None:
        """Hash tokens are each world's own: what stands for the same cell gets the same name."""
        for number in range(2):
            session = self._wire(number)
            session.send(wire.query("select id, card_number from payments order by id"))
            rows = [a.cells for a in session.until_ready() if a.kind == "D"]
            known: dict[bytes, bytes] = {}
            for id_, token in rows:
                if token is not None and id_ is not None:
                    known.setdefault(token, b"T%031d" % int(id_))
            self._tokens[number] = known

    def _wire(self, number: int) -> Wire:
        found = self._wires[number]
        if found is None:
            found = self._worlds.connect(number, direct=self._direct, subject=self._subject)
            self._wires[number] = found
        return found

    def run(self, steps: list[Step], startup: dict[str, str] | None = None) -> Outcome:
        """Take one session to both worlds; afterwards its connection is as new."""
        self._fresh = ({}, {})
        wires: list[Wire | None] = list(self._wires)
        seen: tuple[list[Seen], list[Seen]] = ([], [])
        answers: tuple[list[Answer], list[Answer]] = ([], [])
        begun: list[int] = [0, 0]
        for number in range(2):
            if startup:
                wires[number] = self._open(number, startup, answers[number])
            else:
                reused = self._wire(number)
                begun[number] = len(reused.seen)
                wires[number] = reused
        for step in steps:
            self._step(wires, step, answers)
        canaries: set[bytes] = set()
        sent = b"".join(sent_of(step) for step in steps)
        for number, session in enumerate(wires):
            seen[number].extend(self._normal(number, answer) for answer in answers[number])
            if session is not None:
                raw = bytes(session.seen[begun[number] :])
                canaries |= set(self._worlds.canaries[number].found(raw, sent))
                self._settle(number, session, fresh=bool(startup))
        errors = [answer.fields for answer in answers[0] if answer.kind == "E"]
        return Outcome(seen, sorted(canaries), errors)

    def _open(self, number: int, startup: dict[str, str], answers: list[Answer]) -> Wire | None:
        try:
            session = self._worlds.connect(
                number, direct=self._direct, subject=self._subject, **startup
            )
        except Gone as gone:
            answers.append(Answer("E", b"M" + wire.text(f"no session: {gone}")))
            return None
        answers.extend(a for a in session.greeting if a.kind not in "KR")
        return session

    def _step(
        self, wires: list[Wire | None], step: Step, answers: tuple[list[Answer], list[Answer]]
    ) -> None:
        """Send to both, then read from both."""
        data, ready = bytes_of(step)
        for number, session in enumerate(wires):
            if session is not None:
                try:
                    session.send(data)
                except Gone:
                    self._lose(wires, number, answers)
        for number, session in enumerate(wires):
            if session is None:
                continue
            try:
                answers[number].extend(_answers(session, step, ready))
            except Gone as gone:
                answers[number].extend(gone.args[1] if len(gone.args) > 1 else [])
                self._lose(wires, number, answers)

    def _lose(
        self, wires: list[Wire | None], number: int, answers: tuple[list[Answer], list[Answer]]
    ) -> None:
        answers[number].append(Answer("gone", b""))
        lost = wires[number]
        if lost is not None:
            lost.close()
            if self._wires[number] is lost:
                self._wires[number] = None
        wires[number] = None

    def _settle(self, number: int, session: Wire, *, fresh: bool) -> None:
        """Leave nothing behind in the session, or leave the session."""
        if not fresh:
            try:
                session.send(wire.SYNC + wire.query("rollback") + wire.query("discard all"))
                rest = session.until_ready(3)
                if not any(answer.kind == "E" for answer in rest):
                    session.seen.clear()
                    return
            except Gone:
                pass
            self._wires[number] = None
        session.close()

    def _normal(self, number: int, answer: Answer) -> Seen:
        body = answer.body
        if answer.kind == "A":
            body = body[4:]
        if answer.kind == "T":
            return "T", self._described(number, body)
        if answer.kind == "D":
            return "D", [self._cell(number, cell) for cell in answer.cells]
        if answer.kind == "d":
            return "d", self._cell(number, body)
        for pattern, plain in _TIMES:
            body = pattern.sub(plain, body)
        return answer.kind, body

    def _described(self, number: int, body: bytes) -> bytes:
        """Return a RowDescription without the oids of what this session made itself."""
        made, position = bytearray(body), 2
        for _ in range(int.from_bytes(body[:2])):
            position = body.index(b"\0", position) + 1
            for start in (position, position + 6):
                oid = int.from_bytes(body[start : start + 4])
                if oid > self._worlds.last_oid:
                    known = self._fresh[number]
                    place = known.setdefault(oid, len(known))
                    made[start : start + 4] = (self._worlds.last_oid + 1 + place).to_bytes(4)
            position += 18
        return bytes(made)

    def _cell(self, number: int, cell: bytes | None) -> bytes | None:
        if cell is None:
            return None
        for token, name in self._tokens[number].items():
            cell = cell.replace(token, name)
        for pattern, plain in _TIMES:
            cell = pattern.sub(plain, cell)
        return cell

    def close(self) -> None:
        """Leave both worlds."""
        for session in self._wires:
            if session is not None:
                session.close()


def _answers(session: Wire, step: Step, ready: int) -> list[Answer]:
    raw = isinstance(step, dict) and "raw" in step
    answers = session.until_ready(ready, copy=not raw) if ready else session.quiet()
    if answers and answers[-1].kind == "G" and isinstance(step, dict) and not raw:
        rows = str(step.get("copy", "")).encode()
        extended = b"" if "copy" in step else wire.SYNC
        session.send((wire.message("d", rows) if rows else b"") + wire.COPY_DONE + extended)
        answers += session.until_ready(ready, copy=False)
    elif answers and answers[-1].kind == "G":
        session.send(wire.COPY_DONE)
        answers += session.until_ready(ready, copy=False)
    return answers


def sent_of(step: Step) -> bytes:
    """Return what a step says, to tell an echo from a leak."""
    return str(step).encode()


def bytes_of(step: Step) -> tuple[bytes, int]:
    """Return the messages of a step, and how many ReadyForQuery answer them."""
    if isinstance(step, str):
        return wire.query(step), 1
    unknown = set(step) - _STEP_KEYS
    if unknown:
        raise ValueError(f"unknown keys in a step: {unknown}")
    if "raw" in step:
        parts = [[part] if isinstance(part, str) else list(part) for part in step["raw"]]
        data = b"".join(message(*part) for part in parts)
        return data, sum(part[0] in ("sync", "query", "function") for part in parts)
    if "copy" in step:
        return wire.query(step["sql"]), 1
    return _extended(step), 1


def _extended(step: dict[str, Any]) -> bytes:
    name, portal = step.get("statement", ""), step.get("portal", "")
    values = [_value(argument) for argument in step.get("args", [])]
    results = [1] if step.get("bin") else []
    parts = [wire.parse(name, step["sql"], step.get("types", []))]
    if step.get("describe") == "S":
        parts.append(wire.describe("S", name))
    parts.append(wire.bind(portal, name, values, results, step.get("formats", [])))
    if step.get("describe", "P") == "P":
        parts.append(wire.describe("P", portal))
    parts += [wire.execute(portal, step.get("rows", 0))] * step.get("times", 1)
    return b"".join([*parts, wire.SYNC])


def _value(argument: Any) -> bytes | None:
    if argument is None:
        return None
    if isinstance(argument, dict):
        return bytes.fromhex(argument["hex"])
    return str(argument).encode()


__all__ = ["NAMES", "Oracle", "Outcome", "Step"]
