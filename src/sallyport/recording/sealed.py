"""Sealed files: one finished session, compressed, chained, and closed by a summary.

The form is the journal's (`recording.files`): blocks of events, compressed by zstd and perhaps
encrypted, then one frame with counts and `root`, the hash over all events in order. A file comes
into place whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import zstandard

from sallyport.recording.encoding import stamp, unwrap
from sallyport.recording.files import (
    BLOCK,
    END,
    HEADER,
    MAXIMUM_FRAME,
    NOTHING,
    PACKED,
    SESSION,
    SUMMARY,
    WHOLE,
    FormatError,
    Header,
    Scan,
    frame,
    join_events,
    make_folder,
    open_regular,
    read_header,
    split_events,
    sync_folder,
)

BLOCK_BYTES = 1024 * 1024
"""Bytes of events that are compressed together."""
LEVEL = 3


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


class _Packer:
    """Writes frames one after the other to a file that has not its name yet."""

    def __init__(self, fd: int, key: bytes | None) -> None:
        self._fd = fd
        header = Header.make(SESSION, key)
        self._cipher = header.cipher(key)
        self._chain = header.seed
        self._put(header.raw())

    def add(self, kind: int, body: bytes) -> None:
        """Append a frame, encrypted where there is a key."""
        if self._cipher is not None:
            kind, body = BLOCK, self._cipher.seal(kind, body, self._chain)
        whole, self._chain = frame(kind, body, self._chain)
        self._put(whole)

    def end(self) -> None:
        """Append the last frame."""
        self._put(frame(END, b"", self._chain)[0])

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def write_sealed(
    path: Path,
    name: str,
    payloads: Iterable[bytes],
    key: bytes | None,
    *,
    parts: tuple[Part, ...] = (),
    previous: bytes = b"",
    chain: bytes = b"",
) -> tuple[Summary, int]:
    """Put `payloads` into a sealed file at `path`; return its summary and size. Raises: OSError."""
    make_folder(path.parent)
    hidden = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(hidden, flags, 0o600)
    try:
        packer = _Packer(fd, key)
        tally = _Tally(packer)
        for payload in payloads:
            tally.add(payload)
        tally.flush()
        summary = Summary(
            name,
            tally.events,
            tally.first,
            tally.last,
            tally.root,
            time.time(),
            parts,
            previous,
            chain,
        )
        packer.add(SUMMARY, msgspec.msgpack.encode(summary))
        packer.end()
        os.fsync(fd)
        size = os.fstat(fd).st_size
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    hidden.replace(path)
    sync_folder(path.parent)
    return summary, size


class _Tally:
    """Gathers events into blocks and counts them."""

    def __init__(self, packer: _Packer) -> None:
        self._packer = packer
        self._block: list[bytes] = []
        self._bytes = 0
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.events = 0
        self.first = 0.0
        self.last = 0.0
        self.root = NOTHING

    def add(self, payload: bytes) -> None:
        at = stamp(payload).at
        self.first = at if not self.events else self.first
        self.last = at
        self.events += 1
        self.root = hashlib.sha256(self.root + payload).digest()
        self._block.append(payload)
        self._bytes += len(payload)
        if self._bytes >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._block:
            body = join_events(self._block)
            self._packer.add(PACKED, self._compressor.compress(body))
            self._block, self._bytes = [], 0


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
            root, ended = NOTHING, False
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
                for payload in _unpack(kind, body, found.start):
                    root = hashlib.sha256(root + payload).digest()
                    self.records += 1
                    yield payload
            if scan.tail != WHOLE:
                raise FormatError(f"file is {scan.tail} at offset {scan.offset}")
            if not ended:
                raise FormatError("file has no end: it was cut off")
            if contents:
                self._check(root)
        finally:
            os.close(fd)

    def _check(self, root: bytes) -> None:
        if self.summary is None:
            raise FormatError("file has no summary")
        if self.summary.events != self.records or self.summary.root != root:
            raise FormatError("events are not those that the summary counts")


def _summary(body: bytes) -> Summary:
    try:
        return msgspec.msgpack.decode(body, type=Summary)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"summary cannot be read: {error}") from None


def _unpack(kind: int, body: bytes, start: int) -> Iterator[bytes]:
    if kind != PACKED:
        raise FormatError(f"frame of kind {kind} at {start} does not belong in a sealed file")
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= MAXIMUM_FRAME:
            raise FormatError(f"block at {start} says that it holds {size} bytes")
        plain = zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
    except zstandard.ZstdError as error:
        raise FormatError(f"block at {start} cannot be unpacked: {error}") from None
    return split_events(plain)
