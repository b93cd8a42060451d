"""How a journal ends: in good order, or cut off by a crash and then sealed.

Nothing is ever written to the file of a process that died. What holds of it is put into a sidecar
beside it, `NAME.sealed`: the offset and the chain hash behind the last whole record. Whatever lies
after that was never acknowledged to anybody.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import msgspec

from sallyport.core.event import JournalEnded
from sallyport.recording.encoding import decode, payloads
from sallyport.recording.files import (
    BROKEN,
    HEADER,
    JOURNAL,
    NOTHING,
    WHOLE,
    FormatError,
    Frame,
    Header,
    Scan,
    open_regular,
    read_header,
    write_whole,
)
from sallyport.recording.writer import alive

PATIENCE = 2.0
"""Seconds to wait for a writer to be gone: a killed one may be going just now."""

_FILE = re.compile(r"(?P<worker>[A-Za-z0-9][A-Za-z0-9_.-]*)-(?P<sequence>[0-9]{8})\.journal\Z")


class Sealed(msgspec.Struct, frozen=True):
    """The sidecar of a journal whose process died. `chain` is in hex."""

    offset: int
    chain: str
    size: int
    at: float
    problem: str = ""


def journal_name(worker: str, sequence: int) -> str:
    """Return the file name of a worker's journal number `sequence`."""
    return f"{worker}-{sequence:08d}.journal"


def parse_name(name: str) -> tuple[str, int] | None:
    """Return worker and sequence of a journal's file name, or None for another file."""
    found = _FILE.match(name)
    return (found["worker"], int(found["sequence"])) if found else None


def journals(folder: Path) -> list[tuple[str, int, Path]]:
    """Return worker, sequence and path of the journals in `folder`, in order."""
    found: list[tuple[str, int, Path]] = []
    try:
        names = [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        return []
    for name in names:
        parsed = parse_name(name)
        if parsed is not None:
            found.append((*parsed, folder / name))
    return sorted(found)


def sidecar(path: Path) -> Path:
    """Return where the seal of journal `path` lies."""
    return path.with_name(path.name + ".sealed")


def read_seal(path: Path) -> Sealed | None:
    """Return the seal of journal `path`, or None. Raises: FormatError for one that is no seal."""
    try:
        raw = sidecar(path).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(raw, type=Sealed)
    except msgspec.DecodeError as error:
        raise FormatError(f"`{sidecar(path).name}` is no seal: {error}") from None


class Start(msgspec.Struct, frozen=True):
    """An opened journal: its header, and where its first frame begins. None: torn before that."""

    header: Header | None
    offset: int
    chain: bytes


def start_of(fd: int) -> Start:
    """Read the start of journal `fd`. Raises: FormatError for another file."""
    raw = os.pread(fd, HEADER.size, 0)
    if len(raw) < HEADER.size:
        return Start(None, 0, NOTHING)
    header = read_header(raw, JOURNAL)
    return Start(header, HEADER.size, header.seed)


def end_of(path: Path, key: bytes | None = None) -> bytes:
    """Return the chain hash behind the last whole record of `path`; seal it if a crash cut it off.

    Raises: BlockingIOError if its writer lives; OSError, FormatError.
    """
    seal = read_seal(path)
    if seal is not None:
        return bytes.fromhex(seal.chain)
    fd = open_regular(path)
    try:
        _await_death(fd, path)
        start = start_of(fd)
        if start.header is None:
            return _seal(path, fd, 0, NOTHING, "torn within its header")
        scan = Scan(fd, start.offset, start.chain)
        last = None
        for found in scan.frames():
            last = found
        if scan.tail == WHOLE and last is not None and _is_end(start.header, last, key):
            return scan.chain
        chain = scan.chain if last is not None else NOTHING
        problem = "broken record" if scan.tail == BROKEN else ""
        return _seal(path, fd, scan.offset, chain, problem)
    finally:
        os.close(fd)


def _await_death(fd: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while alive(fd):
        if time.monotonic() >= deadline:
            raise BlockingIOError(f"journal `{path.name}` is written by another process")
        time.sleep(0.02)


def _is_end(header: Header, frame: Frame, key: bytes | None) -> bool:
    """Whether `frame` is the last one of a journal that was closed in good order."""
    try:
        *_, last = payloads(frame, header.cipher(key))
        return isinstance(decode(last), JournalEnded)
    except (FormatError, ValueError):
        return False


def _seal(path: Path, fd: int, offset: int, chain: bytes, problem: str) -> bytes:
    seal = Sealed(offset, chain.hex(), os.fstat(fd).st_size, time.time(), problem)
    write_whole(sidecar(path), msgspec.json.encode(seal))
    return chain
