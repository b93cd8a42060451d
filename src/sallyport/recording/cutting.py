"""Cutting: the events of one session, or of none, out of the journals that hold everybody's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sallyport.core.event import JournalStarted, RecordedEvent, SessionClosed
from sallyport.recording.encoding import PRODUCT, decode, encode, kind_of, payloads, stamp
from sallyport.recording.files import CHAIN, HEADER, FormatError, Scan, open_regular
from sallyport.recording.places import Places
from sallyport.recording.sealed import (
    Part,
    SealedReader,
    SealedWriter,
    Summary,
    write_sealed,
)
from sallyport.recording.torn import start_of

GAP = 1024 * 1024
"""Bytes of others' events that are rather read over than remembered as a gap."""

Extents = list[list[str | int]]
"""Where a session's events lie: `[journal, start, end]`, in order."""


def extend(extents: Extents, journal: str, start: int, end: int) -> None:
    """Add the frame at `start` to `end` of `journal` to a session's extents."""
    if extents:
        last = extents[-1]
        if last[0] == journal and start - int(last[2]) <= GAP:
            last[2] = max(int(last[2]), end)
            return
    extents.append([journal, start, end])


def extent_payloads(places: Places, session: str, extents: Extents) -> Iterator[bytes]:
    """Yield the encoded events of `session` from the journals.

    Raises: OSError, FormatError where an extent is not whole any more.
    """
    for journal, start, end in extents:
        path, holding = places.journals / str(journal), session.encode("utf-8", "backslashreplace")
        for payload in _stretch(places, path, int(start), int(end), holding):
            if kind_of(payload) not in PRODUCT and stamp(payload).session == session:
                yield payload


def product_payloads(places: Places, path: Path, end: int) -> Iterator[bytes]:
    """Yield the encoded events of journal `path` that belong to no session."""
    for payload in _stretch(places, path, HEADER.size, end):
        if kind_of(payload) in PRODUCT:
            yield payload


def _stretch(
    places: Places, path: Path, start: int, end: int, holding: bytes = b""
) -> Iterator[bytes]:
    """Yield the encoded events from `start` to `end`; of a plain file only frames with `holding`.

    A busy worker's journal is mostly others': what is not wanted costs a look at its length.
    """
    fd = open_regular(path)
    try:
        begin = start_of(fd)
        if begin.header is None:
            return
        chain = begin.chain if start == begin.offset else os.pread(fd, CHAIN, start - CHAIN)
        cipher = begin.header.cipher(places.key)
        scan = Scan(fd, start, chain)
        for frame in scan.frames(end, b"" if begin.header.encrypted else holding):
            yield from payloads(frame, cipher)
        if scan.offset < end:
            raise FormatError(f"journal `{path.name}` is {scan.tail} at offset {scan.offset}")
    finally:
        os.close(fd)


def cut_session(
    places: Places,
    session: str,
    opened: float,
    extents: Extents,
    *,
    before: str = "",
    turn: int = 1,
    closing: SessionClosed | None = None,
) -> tuple[str, Summary, int]:
    """Seal one session; return the file's path from the root, its summary and its size.

    `before` is an earlier sealed file of the session, whose events come first; `closing` stands in
    for the end that a dead worker could not write. A file that is there already is kept: the same
    cut is not made twice, and another one (of a store that was lost) gets the next number.
    Raises: OSError, FormatError.
    """

    def everything() -> Iterable[bytes]:
        if before:
            yield from SealedReader(places.root / before, places.key).payloads()
        yield from extent_payloads(places, session, extents)
        if closing is not None:
            yield encode(closing)

    parts = tuple(Part(str(name), int(start), int(end)) for name, start, end in extents)
    relative = places.session_file(session, opened, turn)
    while (places.root / relative).exists():
        made = _summary_of(places, relative)
        if made is not None and made.parts == parts:
            return relative, made, (places.root / relative).stat().st_size
        turn += 1
        relative = places.session_file(session, opened, turn)
    summary, size = write_sealed(
        places.root / relative, session, everything(), places.sealing_key, parts=parts
    )
    return relative, summary, size


def finish_gathered(
    places: Places,
    session: str,
    opened: float,
    extents: Extents,
    gathered: SealedWriter,
    closing: SessionClosed | None,
) -> tuple[str, Summary, int] | None:
    """Seal a session whose events were gathered as they came; None: it is to be cut after all.

    That is so when there is a file of it already: the same cut may have been made before a crash.
    Raises: OSError.
    """
    relative = places.session_file(session, opened, 1)
    if (places.root / relative).exists():
        gathered.discard()
        return None
    if closing is not None:
        gathered.add_event(encode(closing))
        gathered.span(closing.at, closing.at)
    parts = tuple(Part(str(name), int(start), int(end)) for name, start, end in extents)
    summary, size = gathered.finish(session, places.root / relative, parts=parts)
    return relative, summary, size


def _summary_of(places: Places, relative: str) -> Summary | None:
    """Return the summary of a sealed file, or None if it is not whole."""
    reader = SealedReader(places.root / relative, places.key)
    try:
        for _ in reader.payloads():
            pass
    except FormatError:
        return None
    return reader.summary


def cut_product(
    places: Places, path: Path, end: int, chain: bytes, known: list[bytes] | None = None
) -> tuple[str, Summary]:
    """Seal what journal `path` holds beside sessions, before it is deleted.

    `known` is that, if the whole journal was read already.
    """
    events = list(product_payloads(places, path, end)) if known is None else known
    first: RecordedEvent | None = decode(events[0]) if events else None
    started = isinstance(first, JournalStarted)
    previous = first.previous if isinstance(first, JournalStarted) else b""
    at = first.at if started and first is not None else path.stat().st_mtime
    relative = places.product_file(path.name, at)
    summary, _ = write_sealed(
        places.root / relative,
        path.name,
        events,
        places.sealing_key,
        parts=(Part(path.name, HEADER.size, end),),
        previous=previous,
        chain=chain,
    )
    return relative, summary
