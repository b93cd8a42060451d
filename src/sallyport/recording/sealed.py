"""Sealed files: one finished session, compressed, chained, and closed by a summary.

The form is the journal's (`recording.files`): blocks of events, compressed by zstd and perhaps
encrypted, then one frame with counts and `root`, the hash over all blocks in order, compressed and
in the clear. A file comes into place whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from sallyport.recording.encoding import stamp, unwrap
from sallyport.recording.files import (
    BLOCK,
    COUNT,
    END,
    HEADER,
    MAXIMUM_FRAME,
    NOTHING,
    PACKED,
    SESSION,
    SUMMARY,
    WHOLE,
    Cipher,
    FormatError,
    Header,
    Scan,
    frame,
    make_below,
    open_regular,
    read_header,
    split_events,
    sync_folder,
)
from sallyport.recording.places import LEVELS

BLOCK_BYTES = 1024 * 1024
"""Bytes of events that are compressed together."""
LEVEL = 1


class Part(msgspec.Struct, frozen=True):
    """Where events came from: a journal, and the offsets between which they lay."""

    journal: str
    start: int
    end: int


class Summary(msgspec.Struct, frozen=True):
    """The last frame. `name` is the session's id, or the journal's whose remains these are.

    `first` and `last` are epoch seconds; `previous` and `chain` are those of a journal.
    """

    name: str
    events: int
    first: float
    last: float
    root: bytes
    made: float
    parts: tuple[Part, ...] = ()
    previous: bytes = b""
    chain: bytes = b""


class SealedWriter:
    """A sealed file in the making, under a name that nobody looks for until it is whole.

    Memory holds what was added since the last `spill`; between two the file is not held open.
    Adding is for the loop; what takes its time (`spill`, `finish`) is for a thread, which then has
    the writer to itself.
    """

    def __init__(self, path: Path, key: bytes | None) -> None:
        self.events = 0
        self.pending = 0
        self._path = path
        self._hidden = path.with_name(f".{path.name}.new")
        self._key = key
        self._fd = -1
        self._begun = False
        self._bodies: list[bytes] = []
        self._root = hashlib.sha256()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._chain = NOTHING
        self._cipher: Cipher | None = None
        self._first: float | None = None
        self._last = 0.0

    def add(self, bodies: list[bytes], events: int) -> None:
        """Take what are bodies of EVENTS already."""
        self._bodies += bodies
        self.pending += sum(map(len, bodies))
        self.events += events

    def add_event(self, payload: bytes) -> None:
        """Take one event."""
        self.add([COUNT.pack(len(payload)) + payload], 1)

    def span(self, first: float, last: float) -> None:
        """Note when the first and the last of the events that were added happened."""
        if self._first is None:
            self._first = first
        self._last = last

    def spill(self) -> None:
        """Put what was added into the file as one block. Raises: OSError."""
        self._open()
        try:
            self._block()
        finally:
            self._close()

    def finish(self, name: str, path: Path | None = None, **more: Any) -> tuple[Summary, int]:
        """Close the file by its summary and give it its name. Raises: OSError."""
        final = path or self._path
        try:
            self._open()
            self._block()
            root = self._root.digest()
            summary = Summary(
                name, self.events, self._first or 0.0, self._last, root, time.time(), **more
            )
            self._frame(SUMMARY, msgspec.msgpack.encode(summary))
            self._put(frame(END, b"", self._chain)[0])
            os.fsync(self._fd)
            size = os.fstat(self._fd).st_size
            make_below(final.parent, LEVELS)
            self._hidden.replace(final)
        except BaseException:
            self.discard()
            raise
        self._close()
        sync_folder(final.parent)
        return summary, size

    def discard(self) -> None:
        """Leave nothing behind."""
        self._bodies, self.pending = [], 0
        self._close()
        if self._begun:
            self._hidden.unlink(missing_ok=True)

    def _open(self) -> None:
        """Open the file, and begin it the first time."""
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        if self._begun:
            self._fd = os.open(self._hidden, flags | os.O_APPEND)
            return
        make_below(self._path.parent, LEVELS)
        self._fd = os.open(self._hidden, flags | os.O_CREAT | os.O_TRUNC, 0o600)
        self._begun = True
        header = Header.make(SESSION, self._key)
        self._cipher = header.cipher(self._key)
        self._chain = header.seed
        self._put(header.raw())

    def _block(self) -> None:
        bodies, self._bodies, self.pending = self._bodies, [], 0
        if bodies:
            packed = self._compressor.compress(b"".join(bodies))
            self._root.update(packed)
            self._frame(PACKED, packed)

    def _frame(self, kind: int, body: bytes) -> None:
        """Append a frame, encrypted where there is a key."""
        if self._cipher is not None:
            kind, body = BLOCK, self._cipher.seal(kind, body, self._chain)
        whole, self._chain = frame(kind, body, self._chain)
        self._put(whole)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def write_sealed(
    path: Path,
    name: str,
    payloads: Iterable[bytes],
    key: bytes | None,
    **more: Any,
) -> tuple[Summary, int]:
    """Put `payloads` into a sealed file at `path`; return its summary and size. Raises: OSError.

    `more` are further fields of the summary.
    """
    writer = SealedWriter(path, key)
    try:
        last = b""
        for last in payloads:
            if not writer.events:
                at = stamp(last).at
                writer.span(at, at)
            writer.add_event(last)
            if writer.pending >= BLOCK_BYTES:
                writer.spill()
        if last:
            at = stamp(last).at
            writer.span(at, at)
        return writer.finish(name, **more)
    except BaseException:
        writer.discard()
        raise


class SealedReader:
    """Reads a sealed file from its beginning, checking as it goes.

    `summary` is there once `payloads` has come to its end.
    """

    def __init__(self, path: Path, key: bytes | None) -> None:
        self._path = path
        self._key = key
        self.summary: Summary | None = None
        self.records = 0
        self.frames = 0

    def payloads(self, contents: bool = True) -> Iterator[bytes]:
        """Yield the encoded events. Without `contents` check only the chain: that needs no key.

        Raises: OSError; FormatError at the first thing that is not as it was sealed.
        """
        fd = open_regular(self._path)
        try:
            header = read_header(os.pread(fd, HEADER.size, 0), SESSION)
            cipher = header.cipher(self._key) if contents else None
            scan = Scan(fd, HEADER.size, header.seed)
            root, ended = _Root(header.version), False
            for found in scan.frames():
                if ended:
                    raise FormatError(f"frame at {found.start} follows the end")
                self.frames += 1
                ended = found.kind == END
                if ended or not contents:
                    continue
                if self.summary is not None:
                    raise FormatError(f"frame at {found.start} follows the summary")
                kind, body = unwrap(found, cipher)
                if kind == SUMMARY:
                    self.summary = _summary(body)
                    continue
                events = split_events(_unpack(kind, body, found.start))
                root.add(body, events)
                for payload in events:
                    self.records += 1
                    yield payload
            if scan.tail != WHOLE:
                raise FormatError(f"file is {scan.tail} at offset {scan.offset}")
            if not ended:
                raise FormatError("file has no end: it was cut off")
            if contents:
                self._check(root.digest())
        finally:
            os.close(fd)

    def _check(self, root: bytes) -> None:
        if self.summary is None:
            raise FormatError("file has no summary")
        if self.summary.events != self.records or self.summary.root != root:
            raise FormatError("events are not those that the summary counts")


class _Root:
    """The hash over all that a file holds: its blocks, or each event by itself in format 1."""

    def __init__(self, version: int) -> None:
        self._by_event = version == 1
        self._events = NOTHING
        self._blocks = hashlib.sha256()

    def add(self, body: bytes, events: list[bytes]) -> None:
        """Take a block, packed and as events."""
        self._blocks.update(body)
        for payload in events if self._by_event else ():
            self._events = hashlib.sha256(self._events + payload).digest()

    def digest(self) -> bytes:
        """Return the hash over all that was taken."""
        return self._events if self._by_event else self._blocks.digest()


def _summary(body: bytes) -> Summary:
    try:
        return msgspec.msgpack.decode(body, type=Summary)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"summary cannot be read: {error}") from None


def _unpack(kind: int, body: bytes, start: int) -> bytes:
    if kind != PACKED:
        raise FormatError(f"frame of kind {kind} at {start} does not belong in a sealed file")
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= MAXIMUM_FRAME:
            raise FormatError(f"block at {start} says that it holds {size} bytes")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
    except zstandard.ZstdError as error:
        raise FormatError(f"block at {start} cannot be unpacked: {error}") from None
