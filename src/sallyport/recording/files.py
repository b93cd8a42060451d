"""Frames: the one form in which journals and sealed sessions lie on disk.

A file is a 56-byte header and then frames: u32 length of the body, u8 kind, the body, and a
32-byte SHA-256 over predecessor, length, kind and body. The predecessor of the first frame is the
hash of the header. So any flipped bit breaks the chain at its frame, and a cut leaves every whole
frame before it readable. `docs/recording-format.md` holds the format as others may rely on it.

Encryption at rest is by block: one flush is one frame whose body is AES-256-GCM over the records
in it. The chain covers the stored bytes, so that it can be checked without the key; the block's
additional data is its predecessor's hash, so that without the key none can be moved or left out.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

JOURNAL = b"SPJRNL\r\n"
SESSION = b"SPSESS\r\n"
FORMAT = 2
"""Version of the file format. Readers refuse a greater one. In 1 a sealed file's root was over its
events, not its blocks."""

HEADER = struct.Struct(">8sBB6x8s32s")
"""Magic, version, flags, id of the key (or zeros), random salt."""
HEAD = struct.Struct(">IB")
"""Length of the body, kind of the frame."""
COUNT = struct.Struct(">I")
COUNTER = struct.Struct(">Q")
CHAIN = 32
"""Bytes of a chain hash."""
NOTHING = bytes(CHAIN)
"""Stands where there is no predecessor."""

ENCRYPTED = 1
"""Header flag: frames of kind BLOCK hold what is encrypted."""

EVENT = 1
"""One event, msgpack."""
BLOCK = 2
"""Encrypted: u64 counter, then AES-256-GCM over a kind byte and its body."""
EVENTS = 3
"""Several events, each preceded by its length as u32."""
PACKED = 4
"""The same, compressed by zstd."""
SUMMARY = 5
"""Closes a sealed file's events: msgpack of `sealed.Summary`."""
END = 6
"""Last frame of a sealed file, empty and never encrypted: a cut shows without the key."""

MAXIMUM_FRAME = 256 * 1024 * 1024
"""Bytes of the largest body that is written or believed."""
CHUNK = 1024 * 1024
"""Bytes that one read of a file asks for."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}\Z")


class FormatError(Exception):
    """A file that is not what it should be: another kind, a newer version, altered."""


class KeyMissing(FormatError):
    """A file that may be fine, and whose key this is not."""


def safe_name(name: str) -> str:
    """Return `name` if it may name a file, else a hash of it: no name escapes its folder."""
    if _NAME.match(name):
        return name
    return "x" + sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def frame(kind: int, body: bytes, chain: bytes) -> tuple[bytes, bytes]:
    """Return a whole frame and its chain hash."""
    framed = HEAD.pack(len(body), kind) + body
    digest = sha256(chain + framed).digest()
    return framed + digest, digest


def make_folder(folder: Path) -> None:
    """Make `folder` and what leads to it, for the owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_below(folder: Path, levels: int) -> None:
    """Make `folder` and those that lead to it, `levels` of them, below one that is there.

    FAILS CLOSED: where that is gone, as when a disk was unmounted, nothing takes its place. Raises:
    OSError.
    """
    for each in (*reversed(folder.parents[: levels - 1]), folder):
        each.mkdir(mode=0o700, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(path: Path, data: bytes) -> None:
    """Put a small file in place at once and durably: it is there whole, or not at all."""
    made = path.with_name(f".{path.name}.{os.getpid()}.new")
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    made.replace(path)
    sync_folder(path.parent)


class Cipher:
    """Encryption of one file's blocks, under a key that is derived for that file alone.

    INVARIANT: a counter is used once: files are never opened again for writing, and each has its
    own random salt, hence its own key.
    """

    __slots__ = ("_gcm", "counter")

    def __init__(self, key: bytes, salt: bytes) -> None:
        derived = HKDF(hashes.SHA256(), 32, salt, b"sallyport recording file").derive(key)
        self._gcm = AESGCM(derived)
        self.counter = 0

    def seal(self, kind: int, body: bytes, chain: bytes) -> bytes:
        """Return the body of a BLOCK that holds a frame of `kind`, bound to its predecessor."""
        counter = COUNTER.pack(self.counter)
        self.counter += 1
        plain = bytes((kind,)) + body
        return counter + self._gcm.encrypt(b"\0\0\0\0" + counter, plain, chain)

    def open(self, body: bytes, chain: bytes) -> tuple[int, bytes]:
        """Return kind and body of what a BLOCK holds. Raises: FormatError."""
        if len(body) < COUNTER.size:
            raise FormatError("encrypted block without a counter")
        nonce = b"\0\0\0\0" + body[: COUNTER.size]
        try:
            plain = self._gcm.decrypt(nonce, body[COUNTER.size :], chain)
        except InvalidTag:
            raise FormatError("encrypted block does not open: altered, or another key") from None
        if not plain:
            raise FormatError("encrypted block is empty")
        return plain[0], plain[1:]


def key_id(key: bytes) -> bytes:
    """Return 8 bytes that tell one key from another and nothing else about it."""
    return sha256(b"sallyport recording key id" + key).digest()[:8]


class Header(Struct, frozen=True):
    """The first bytes of a file."""

    magic: bytes
    flags: int
    key: bytes
    salt: bytes
    version: int = FORMAT

    @classmethod
    def make(cls, magic: bytes, key: bytes | None) -> Header:
        """Return a new file's header. Raises: ValueError for a key that has not 32 bytes."""
        if key is None:
            return cls(magic, 0, bytes(8), os.urandom(32))
        if len(key) != 32:
            raise ValueError(f"recording key has {len(key)} bytes, not 32")
        return cls(magic, ENCRYPTED, key_id(key), os.urandom(32))

    def raw(self) -> bytes:
        """Return the header as it lies on disk."""
        return HEADER.pack(self.magic, self.version, self.flags, self.key, self.salt)

    @property
    def encrypted(self) -> bool:
        """Whether its frames cannot be read without the key."""
        return bool(self.flags & ENCRYPTED)

    @property
    def seed(self) -> bytes:
        """The chain's start: the predecessor of the first frame."""
        return sha256(self.raw()).digest()

    def cipher(self, key: bytes | None) -> Cipher | None:
        """Return what opens this file, or None if it is plain. Raises: FormatError."""
        if not self.encrypted:
            return None
        if key is None:
            raise KeyMissing("recording is encrypted and no key was given")
        if key_id(key) != self.key:
            raise KeyMissing("recording is encrypted under another key")
        return Cipher(key, self.salt)


def read_header(raw: bytes, magic: bytes) -> Header:
    """Read a header. Raises: FormatError."""
    if len(raw) < HEADER.size:
        raise FormatError("file ends within its header")
    found, version, flags, key, salt = HEADER.unpack(raw[: HEADER.size])
    if found != magic:
        raise FormatError("file is of another kind")
    if version > FORMAT:
        raise FormatError(f"file has format {version}, which is newer than {FORMAT}")
    header = Header(found, flags, key, salt, version)
    if header.raw() != raw[: HEADER.size] or flags & ~ENCRYPTED or not version:
        raise FormatError("header holds what this version does not know")
    return header


_read_head = HEAD.unpack_from


class Frame(Struct, frozen=True, gc=False):
    """One whole frame whose chain holds. It lies at `start` to `end` of its file."""

    start: int
    end: int
    kind: int
    body: bytes
    before: bytes
    chain: bytes


WHOLE = "whole"
TORN = "torn"
BROKEN = "broken"


class Scan:
    """Walks a file's frames from a place on; it can go on when the file has grown.

    `offset` and `chain` are behind the last whole frame. `tail` says what lies there: nothing
    (whole), an unfinished frame (torn), or one that is not what was written (broken).
    """

    def __init__(self, fd: int, offset: int, chain: bytes) -> None:
        self._fd = fd
        self.offset = offset
        self.chain = chain
        self.tail = WHOLE

    def frames(self, until: int | None = None, holding: bytes = b"") -> Iterator[Frame]:
        """Yield whole frames in order, up to offset `until`, or as far as they go.

        Those without the bytes `holding` are passed over, unchecked: the chain is only what they
        say. That of a frame which is yielded holds, over what its predecessor says.
        """
        while some := self.some(until, holding):
            yield from some

    def some(self, until: int | None = None, holding: bytes = b"") -> list[Frame]:
        """Return the next frames, as many as one read brings; none where there are no more.

        `offset` and `chain` are behind them all.
        """
        found: list[Frame] = []
        asked = CHUNK
        while not found and (until is None or self.offset < until):
            buffer = os.pread(self._fd, asked, self.offset)
            began, missing = self.offset, self._walk(buffer, until, holding, found)
            if self.tail == BROKEN:
                return found
            if self.offset == began:
                if len(buffer) < asked:
                    self.tail = TORN if buffer else WHOLE
                    return found
                asked = missing
        self.tail = WHOLE
        return found

    def _walk(self, buffer: bytes, until: int | None, holding: bytes, found: list[Frame]) -> int:
        """Go over the whole frames in `buffer`; return the bytes that the next one needs.

        This runs for all that was ever recorded: every step of it counts.
        """
        offset, chain, place, size = self.offset, self.chain, 0, len(buffer)
        stop = size if until is None else until - offset
        self.tail = WHOLE
        need = HEAD.size
        while place < stop and place + HEAD.size <= size:
            length, kind = _read_head(buffer, place)
            if length > MAXIMUM_FRAME or not EVENT <= kind <= END:
                self.tail = BROKEN
                break
            end = place + HEAD.size + length
            after = end + CHAIN
            if after > size:
                need = after - place
                break
            says = buffer[end:after]
            if not holding or buffer.find(holding, place, end) >= 0:
                # The predecessor's chain lies right before the frame, but for the first one here.
                framed = buffer[place - CHAIN : end] if place else chain + buffer[:end]
                if sha256(framed).digest() != says:
                    self.tail = BROKEN
                    break
                body = buffer[place + HEAD.size : end]
                found.append(Frame(offset + place, offset + after, kind, body, chain, says))
            place, chain = after, says
        self.offset, self.chain = offset + place, chain
        return need


def split_events(body: bytes) -> list[bytes]:
    """Return the payloads of an EVENTS body. Raises: FormatError."""
    found: list[bytes] = []
    place, size = 0, len(body)
    while place < size:
        start = place + 4
        place = start + int.from_bytes(body[place:start], "big")
        if start > size:
            raise FormatError("list of events ends within a length")
        if place > size:
            raise FormatError("list of events ends within an event")
        found.append(body[start:place])
    return found


def join_events(payloads: Sequence[bytes]) -> bytes:
    """Return `payloads` as the body of EVENTS."""
    parts: list[bytes] = []
    for payload in payloads:
        parts.append(COUNT.pack(len(payload)))
        parts.append(payload)
    return b"".join(parts)


def open_regular(path: Path) -> int:
    """Open an existing regular file for reading. Raises: OSError, FormatError for anything else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FormatError(f"`{path}` is a symbolic link") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FormatError(f"`{path}` is not a file")
    return fd
