"""Feed: what is new in the journals, read in a thread, in the order in which it was written.

Each worker's files are read one after the other. A file ends with `JournalEnded`, or because
nobody holds its lock any more: then its writer died and the file is sealed as it is.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from msgspec import Struct

from sallyport.core.event import JournalEnded
from sallyport.recording.encoding import listed
from sallyport.recording.files import (
    BROKEN,
    NOTHING,
    FormatError,
    Frame,
    KeyMissing,
    Scan,
    open_regular,
)
from sallyport.recording.glance import Glance, glance, glance_all
from sallyport.recording.places import Places
from sallyport.recording.torn import end_of, journals, start_of
from sallyport.recording.writer import alive

BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of one journal that one batch takes at most, but for a single longer frame."""
BATCH_EVENTS = 16000

OPEN = "open"
ENDED = "ended"
"""Closed in good order: its sessions are over."""
ROTATED = "rotated"
"""Closed in good order: its sessions go on in the next file."""
DEAD = "dead"
"""Its writer died: its sessions are over."""


class Piece(Struct, frozen=True, gc=False):
    """One frame of a journal: `count` events of one session, or of none, as a sealed file lists
    them."""

    count: int
    body: bytes
    start: int
    end: int


class Batch(Struct, frozen=True):
    """What is new in one journal, and how the journal stands behind it. `more`: it was not all.

    `payloads` are the events of all pieces, one after the other, and `events` what was read of
    them: lists for each piece would be what the garbage collector is busy with.
    """

    name: str
    worker: str
    sequence: int
    pieces: list[Piece]
    payloads: list[bytes]
    events: list[Glance]
    offset: int
    chain: bytes
    state: str
    problem: str = ""
    more: bool = False


class Place(Struct, frozen=True):
    """How far a journal was read."""

    offset: int
    chain: bytes
    state: str
    problem: str = ""


class _Found:
    """What one read of a journal brings."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.payloads: list[bytes] = []
        self.events: list[Glance] = []
        self.problem = ""
        self.more = False

    def glance(self) -> FormatError | None:
        """Read all events at once; one after the other only where that fails, as far as it goes."""
        every = glance_all(self.payloads)
        if every is not None:
            self.events = every
            return None
        for number, piece in enumerate(self.pieces):
            begin = len(self.events)
            try:
                self.events += [glance(one) for one in self.payloads[begin : begin + piece.count]]
            except FormatError as error:
                del self.pieces[number:], self.payloads[begin:]
                return error
        return None


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

    def read(self) -> _Found:
        """Return what is new, what is wrong with what follows it, and whether there is more."""
        living = alive(self.fd)
        if os.fstat(self.fd).st_size < self.scan.offset:
            self.state = OPEN if living else DEAD
            found = _Found()
            found.problem = (
                f"file is shorter than the {self.scan.offset} bytes that were read of it"
            )
            return found
        found = self._take()
        last = found.events[-1] if found.events else None
        if isinstance(last, JournalEnded):
            self.state = ROTATED if last.reason == "rotated" else ENDED
        elif not found.more and not living:
            self.state = DEAD
        return found

    def _take(self) -> _Found:
        began, found, frames = self.scan.offset, _Found(), list[Frame]()
        error: FormatError | None = None
        while error is None and (some := self.scan.some()):
            frames += some
            error = self._split(some, found)
            size = self.scan.offset - began
            if size >= BATCH_BYTES or len(found.payloads) >= BATCH_EVENTS:
                found.more = True
                break
        else:
            if self.scan.tail == BROKEN:
                found.problem = f"broken record at offset {self.scan.offset}"
        error = found.glance() or error
        if error is not None:
            stop = frames[len(found.pieces)]
            self.scan = Scan(self.fd, stop.start, stop.before)
            found.problem, found.more = f"record at offset {stop.start}: {error}", False
        return found

    def _split(self, frames: list[Frame], found: _Found) -> FormatError | None:
        """Add the frames' events; stop at the first frame that is none of ours."""
        for frame in frames:
            try:
                payloads, body = listed(frame, self._cipher)
            except FormatError as error:
                return error
            found.payloads += payloads
            found.pieces.append(Piece(len(payloads), body, frame.start, frame.end))
        return None


class Feed:
    """Reads all journals of a folder from where they were left. Blocking: run it in a thread."""

    def __init__(self, places: Places, known: dict[str, Place]) -> None:
        self._places = places
        self._known = dict(known)
        self._readers: dict[str, _Reader] = {}
        self._problems: dict[str, str] = {}
        self._folder = 0

    def close(self) -> None:
        """Close every file."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def stirs(self) -> bool:
        """Whether a journal grew or came since the last `poll`: a few system calls, no thread.

        That a writer died shows in `poll` alone.
        """
        try:
            if self._folder != self._places.journals.stat().st_mtime_ns:
                return True
            return any(
                os.fstat(one.fd).st_size != one.scan.offset for one in self._readers.values()
            )
        except OSError:
            return True

    def poll(self) -> list[Batch]:
        """Return one batch of each journal that has something new, or nothing."""
        with contextlib.suppress(OSError):
            self._folder = self._places.journals.stat().st_mtime_ns
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
            self._known[path.name] = Place(place.offset, place.chain, DEAD)
            return Batch(path.name, worker, sequence, [], [], [], place.offset, place.chain, DEAD)
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
        state, found = OPEN, _Found()
        try:
            reader = self._readers.get(path.name)
            if reader is None:
                reader = self._readers[path.name] = _Reader(path, place, self._places.key)
            found = reader.read()
            problem = found.problem
            offset, chain, state = reader.scan.offset, reader.scan.chain, reader.state
            if state == DEAD:
                problem = self._seal(path) or problem
        except KeyMissing as error:
            problem = str(error)
        except FormatError as error:
            state, problem = DEAD, str(error)
        except OSError as error:
            problem = f"journal cannot be read: {error}"
        if not found.pieces and state == OPEN and problem == self._problems.get(path.name, ""):
            return None
        if state != OPEN and path.name in self._readers:
            self._readers.pop(path.name).close()
        self._problems[path.name] = problem
        self._known[path.name] = Place(offset, chain, state, problem)
        return Batch(
            path.name, worker, sequence, found.pieces, found.payloads, found.events, offset, chain,
            state, problem, found.more,
        )  # fmt: skip

    def _seal(self, path: Path) -> str:
        """Seal a journal whose writer died; return what stood in the way."""
        try:
            end_of(path, self._places.key)
        except (OSError, FormatError, ValueError) as error:
            return f"journal cannot be sealed: {error}"
        return ""
