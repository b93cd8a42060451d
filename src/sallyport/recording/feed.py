"""Feed: what is new in the journals, read in a thread, in the order in which it was written.

Each worker's files are read one after the other. A file ends with `JournalEnded`, or because
nobody holds its lock any more: then its writer died and the file is sealed as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from sallyport.core.event import JournalEnded
from sallyport.recording.encoding import decode, kind_of, payloads, stamp
from sallyport.recording.files import (
    BROKEN,
    NOTHING,
    FormatError,
    Frame,
    KeyMissing,
    Scan,
    open_regular,
)
from sallyport.recording.places import Places
from sallyport.recording.torn import end_of, journals, start_of
from sallyport.recording.writer import alive

BATCH_BYTES = 4 * 1024 * 1024
"""Bytes of one journal that one batch takes at most, but for a single longer frame."""
BATCH_EVENTS = 4000

OPEN = "open"
ENDED = "ended"
"""Closed in good order: its sessions are over."""
ROTATED = "rotated"
"""Closed in good order: its sessions go on in the next file."""
DEAD = "dead"
"""Its writer died: its sessions are over."""


class Entry(Struct, frozen=True, gc=False):
    """One encoded event, what every event says of itself, and the frame that holds it."""

    kind: bytes
    session: str
    at: float
    payload: bytes
    start: int
    end: int


class Batch(Struct, frozen=True):
    """What is new in one journal, and how the journal stands behind it."""

    name: str
    worker: str
    sequence: int
    entries: list[Entry]
    offset: int
    chain: bytes
    state: str
    problem: str = ""


class Place(Struct, frozen=True):
    """How far a journal was read."""

    offset: int
    chain: bytes
    state: str
    problem: str = ""


class _Reader:
    """One journal that is being read."""

    def __init__(self, path: Path, place: Place | None, key: bytes | None) -> None:
        self.path = path
        self.fd = open_regular(path)
        self.state = OPEN
        try:
            begin = start_of(self.fd)
            self._cipher = begin.header.cipher(key) if begin.header is not None else None
        except FormatError:
            os.close(self.fd)
            raise
        if place is None or place.offset < begin.offset:
            place = Place(begin.offset, begin.chain, OPEN)
        self.scan = Scan(self.fd, place.offset, place.chain)

    def close(self) -> None:
        os.close(self.fd)

    def read(self) -> tuple[list[Entry], str]:
        """Return new events, and what is wrong with what follows them, if anything."""
        living = alive(self.fd)
        if os.fstat(self.fd).st_size < self.scan.offset:
            self.state = OPEN if living else DEAD
            return [], f"file is shorter than the {self.scan.offset} bytes that were read of it"
        entries, problem, exhausted = self._take()
        if entries and entries[-1].kind == b"journal-ended":
            last = decode(entries[-1].payload)
            rotated = isinstance(last, JournalEnded) and last.reason == "rotated"
            self.state = ROTATED if rotated else ENDED
        elif exhausted and not living:
            self.state = DEAD
        return entries, problem

    def _take(self) -> tuple[list[Entry], str, bool]:
        entries: list[Entry] = []
        began = self.scan.offset
        for frame in self.scan.frames():
            try:
                found = [_entry(payload, frame) for payload in payloads(frame, self._cipher)]
            except FormatError as error:
                self.scan = Scan(self.fd, frame.start, frame.before)
                return entries, f"record at offset {frame.start}: {error}", True
            entries += found
            if self.scan.offset - began >= BATCH_BYTES or len(entries) >= BATCH_EVENTS:
                return entries, "", False
        broken = self.scan.tail == BROKEN
        return entries, f"broken record at offset {self.scan.offset}" if broken else "", True


def _entry(payload: bytes, frame: Frame) -> Entry:
    known = stamp(payload)
    return Entry(kind_of(payload), known.session, known.at, payload, frame.start, frame.end)


class Feed:
    """Reads all journals of a folder from where they were left. Blocking: run it in a thread."""

    def __init__(self, places: Places, known: dict[str, Place]) -> None:
        self._places = places
        self._known = dict(known)
        self._readers: dict[str, _Reader] = {}
        self._problems: dict[str, str] = {}

    def close(self) -> None:
        """Close every file."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def poll(self) -> list[Batch]:
        """Return one batch of each journal that has something new, or nothing."""
        batches: list[Batch] = []
        workers: dict[str, list[tuple[int, Path]]] = {}
        for worker, sequence, path in journals(self._places.journals):
            workers.setdefault(worker, []).append((sequence, path))
        for worker, files in workers.items():
            batch = self._next(worker, files)
            if batch is not None:
                batches.append(batch)
        return batches

    def _next(self, worker: str, files: list[tuple[int, Path]]) -> Batch | None:
        for sequence, path in files:
            place = self._known.get(path.name)
            if place is None or place.state == OPEN:
                return self._read(worker, sequence, path, place)
        sequence, path = files[-1]
        place = self._known[path.name]
        if place.state == ROTATED and self._abandoned(worker, path, sequence):
            return self._batch(worker, sequence, path, [], place.offset, place.chain, DEAD, "")
        return None

    def _abandoned(self, worker: str, path: Path, sequence: int) -> bool:
        """Whether the writer died between the end of this file and the next one's beginning."""
        fd = open_regular(path)
        try:
            if alive(fd):
                return False
        finally:
            os.close(fd)
        return all(
            found[:2] <= (worker, sequence) or found[0] != worker
            for found in journals(self._places.journals)
        )

    def _read(self, worker: str, sequence: int, path: Path, place: Place | None) -> Batch | None:
        offset, chain = (place.offset, place.chain) if place is not None else (0, NOTHING)
        state, entries = OPEN, list[Entry]()
        try:
            reader = self._readers.get(path.name)
            if reader is None:
                reader = self._readers[path.name] = _Reader(path, place, self._places.key)
            entries, problem = reader.read()
            offset, chain, state = reader.scan.offset, reader.scan.chain, reader.state
            if state == DEAD:
                problem = self._seal(path) or problem
        except KeyMissing as error:
            problem = str(error)
        except FormatError as error:
            state, problem = DEAD, str(error)
        except OSError as error:
            problem = f"journal cannot be read: {error}"
        if not entries and state == OPEN and problem == self._problems.get(path.name, ""):
            return None
        if state != OPEN and path.name in self._readers:
            self._readers.pop(path.name).close()
        self._problems[path.name] = problem
        return self._batch(worker, sequence, path, entries, offset, chain, state, problem)

    def _seal(self, path: Path) -> str:
        """Seal a journal whose writer died; return what stood in the way."""
        try:
            end_of(path, self._places.key)
        except (OSError, FormatError, ValueError) as error:
            return f"journal cannot be sealed: {error}"
        return ""

    def _batch(
        self,
        worker: str,
        sequence: int,
        path: Path,
        entries: list[Entry],
        offset: int,
        chain: bytes,
        state: str,
        problem: str,
    ) -> Batch:
        self._known[path.name] = Place(offset, chain, state, problem)
        return Batch(path.name, worker, sequence, entries, offset, chain, state, problem)
