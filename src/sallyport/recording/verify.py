"""Verify: whether recordings are still what was written, from the files alone.

A chain of hashes finds every change, cut and gap but one made by who writes the whole file anew:
against that stand the hashes that lie elsewhere (the next journal's first record, the index, an
export), and, where recordings are encrypted, the key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from sallyport.core.event import VERSION, JournalEnded, JournalStarted, RecordedEvent
from sallyport.recording.encoding import decode, payloads
from sallyport.recording.files import (
    NOTHING,
    TORN,
    WHOLE,
    FormatError,
    Scan,
    open_regular,
    safe_name,
)
from sallyport.recording.places import SUFFIX
from sallyport.recording.sealed import SealedReader
from sallyport.recording.torn import parse_name, read_seal, start_of
from sallyport.recording.writer import alive


class Checked(Struct, frozen=True):
    """What was found of one file.

    `problem` is empty where nothing is wrong; `offset` is behind the last record that holds, and
    `broken` the number (from 1) of the first that does not. `note` says what is no fault. `chain`
    is the hash behind the last record, in hex, or a sealed file's root.
    """

    path: str
    kind: str
    records: int
    offset: int
    chain: str
    problem: str = ""
    broken: int | None = None
    note: str = ""


class Report(Struct, frozen=True):
    """What was found of all files, and what is missing between them."""

    files: tuple[Checked, ...]
    gaps: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.gaps and not any(one.problem for one in self.files)

    @property
    def first(self) -> Checked | None:
        """The first file with something wrong."""
        return next((one for one in self.files if one.problem), None)


class _Journal(Struct):
    """What one journal says of its place among others."""

    worker: str
    sequence: int
    previous: bytes | None = None
    chain: bytes = NOTHING


def verify(path: Path, key: bytes | None = None) -> Report:
    """Check a journal, a sealed file, or all of both under a folder.

    Without the key of encrypted files their chains are checked, and their contents are not.
    Raises: OSError when `path` cannot be read at all.
    """
    files: list[Checked] = []
    chains: list[_Journal] = []
    for found in _files(path):
        try:
            if found.name.endswith(SUFFIX):
                files.append(_sealed(found, key, chains))
            else:
                files.append(_journal(found, key, chains))
        except (OSError, FormatError, ValueError) as error:
            kind = "sealed" if found.name.endswith(SUFFIX) else "journal"
            files.append(Checked(str(found), kind, 0, 0, "", str(error), 1))
    return Report(tuple(files), tuple(_gaps(chains)))


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        path.stat()
        yield path
        return
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            if parse_name(name) or (name.endswith(SUFFIX) and not name.startswith(".")):
                yield Path(folder) / name


def _journal(path: Path, key: bytes | None, chains: list[_Journal]) -> Checked:
    named = parse_name(path.name)
    place = _Journal(*(named or ("", 0)))
    chains.append(place)
    fd = open_regular(path)
    try:
        living = alive(fd)
        begin = start_of(fd)
        if begin.header is None:
            return _without_header(path, os.fstat(fd).st_size)
        readable = key is not None or not begin.header.encrypted
        cipher = begin.header.cipher(key) if readable else None
        scan = Scan(fd, begin.offset, begin.chain)
        records, problem = 0, ""
        first: RecordedEvent | None = None
        last: RecordedEvent | None = None
        try:
            for frame in scan.frames():
                place.chain = frame.chain
                if not readable:
                    records += 1
                    continue
                for payload in payloads(frame, cipher):
                    last = decode(payload)
                    first = first or last
                    records += 1
        except FormatError as error:
            problem = f"record {records + 1}: {error}"
        if isinstance(first, JournalStarted):
            place.previous = first.previous
        note = "" if readable else "contents not checked: no key"
        if not problem:
            problem, more = _ending(path, scan, living, last, readable)
            note = "; ".join(one for one in (note, more) if one)
        if not problem and readable:
            problem = _beginning(first, named)
        broken = records + 1 if problem else None
        chain = scan.chain.hex()
        return Checked(str(path), "journal", records, scan.offset, chain, problem, broken, note)
    finally:
        os.close(fd)


def _beginning(first: RecordedEvent | None, named: tuple[str, int] | None) -> str:
    if not isinstance(first, JournalStarted):
        return "first record does not say that a journal was started"
    if first.version > VERSION:
        return f"events have version {first.version}, which is newer than {VERSION}"
    if named is not None and named != (first.worker, first.sequence):
        return f"file is named as another: it was `{first.worker}` number {first.sequence}"
    return ""


def _ending(
    path: Path, scan: Scan, living: bool, last: RecordedEvent | None, readable: bool
) -> tuple[str, str]:
    """Return what is wrong behind the last whole record, and what is only worth saying."""
    seal = read_seal(path)
    if seal is not None:
        if (seal.offset, seal.chain) != (scan.offset, scan.chain.hex()):
            return f"sealed at offset {seal.offset}, but whole up to {scan.offset}", ""
        if seal.problem:
            return seal.problem, ""
        return "", "sealed after a crash"
    if scan.tail not in (WHOLE, TORN) or (scan.tail == TORN and not living):
        return f"{scan.tail} record at offset {scan.offset}", ""
    if living:
        return "", "still being written"
    if readable and not isinstance(last, JournalEnded):
        return "journal has no end and no seal", ""
    return "", ""


def _without_header(path: Path, size: int) -> Checked:
    seal = read_seal(path)
    fine = seal is not None and seal.offset == 0
    problem = "" if fine else "file ends within its header"
    return Checked(str(path), "journal", 0, 0, NOTHING.hex(), problem, None if fine else 1)


def _sealed(path: Path, key: bytes | None, chains: list[_Journal]) -> Checked:
    reader = SealedReader(path, key)
    problem, note = "", ""
    try:
        for payload in reader.payloads():
            decode(payload)
    except FormatError as error:
        problem = str(error)
        if key is None:
            reader = SealedReader(path, key)
            try:
                for _ in reader.payloads(contents=False):
                    pass
                problem, note = "", "contents not checked: no key"
            except FormatError as other:
                problem = str(other)
    summary = reader.summary
    if summary is not None and not problem and not _is_named(path, summary.name):
        problem = f"file is named as another: it holds `{summary.name}`"
    if summary is not None and not problem:
        named = parse_name(summary.name)
        if named is not None:
            chains.append(_Journal(*named, summary.previous or None, summary.chain))
    root = summary.root.hex() if summary is not None else ""
    size = path.stat().st_size
    broken = reader.records + 1 if problem else None
    return Checked(str(path), "sealed", reader.records, size, root, problem, broken, note)


def _is_named(path: Path, name: str) -> bool:
    """Whether a sealed file has the name of what is in it; a later cut is `SESSION.2.sprec`."""
    own = name.removesuffix(".journal") if parse_name(name) else safe_name(name)
    stem = path.name.removesuffix(SUFFIX)
    turn = stem.removeprefix(f"{own}.")
    return stem == own or (turn != stem and turn.isascii() and turn.isdigit())


def _gaps(chains: list[_Journal]) -> Iterator[str]:
    """Yield where a worker's journals do not follow each other."""
    before: _Journal | None = None
    for one in sorted(chains, key=lambda found: (found.worker, found.sequence)):
        if before is not None and before.worker == one.worker:
            if one.sequence == before.sequence:
                continue
            if one.sequence != before.sequence + 1:
                missing = f"{before.sequence + 1} to {one.sequence - 1}"
                yield f"journals of `{one.worker}` are missing: {missing}"
            elif one.previous is not None and one.previous != before.chain:
                number = one.sequence
                yield f"journal {number} of `{one.worker}` does not continue the one before it"
        before = one
