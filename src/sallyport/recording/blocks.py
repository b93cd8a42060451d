"""Blocks: what the index keeps of one session's operations, some time's worth together.

A statement is no row of its own: a busy session makes thousands a second, and a row with its
indexes costs more than the statement. What one look at the journals finds of one session becomes
one row: its operations column by column, packed, and beside them the distinct texts. By session,
times and shapes the store finds the blocks that may matter; what is in them is read when somebody
searches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import zstandard
from msgspec import Struct

from sallyport.recording.files import MAXIMUM_FRAME, FormatError

PLAIN = b"\0"
PACKED = b"\1"
"""First byte of what is packed: the rest is msgpack, or that compressed by zstd."""
SMALL = 300
"""Bytes up to which compression saves nothing worth its time."""
LEVEL = 1
PLACES = 24
"""Bits of an operation's number that say its place in its block."""


class Columns(Struct, array_like=True, gc=False):
    """One session's decisions. `texts` are places among the block's texts."""

    operations: list[int] = []
    at: list[float] = []
    shapes: list[int] = []
    texts: list[int] = []
    approvals: list[str] = []
    tags: list[str] = []
    codes: list[str] = []
    rows: list[int] = []
    bytes: list[int] = []
    elapsed: list[float] = []


_encoder = msgspec.msgpack.Encoder()
_columns = msgspec.msgpack.Decoder(Columns)
_texts = msgspec.msgpack.Decoder(list[str])


def pack(value: Columns | list[str]) -> bytes:
    """Return `value` as it lies in the store."""
    raw = _encoder.encode(value)
    if len(raw) <= SMALL:
        return PLAIN + raw
    return PACKED + zstandard.ZstdCompressor(level=LEVEL).compress(raw)


def unpack_columns(stored: bytes) -> Columns:
    """Read columns. Raises: FormatError."""
    found: Columns = _read(_columns.decode, stored)
    return found


def unpack_texts(stored: bytes) -> list[str]:
    """Read texts. Raises: FormatError."""
    found: list[str] = _read(_texts.decode, stored)
    return found


def _read(decode: Callable[[bytes], Any], stored: bytes) -> Any:
    raw = stored[1:]
    try:
        if stored[:1] == PACKED:
            size = zstandard.frame_content_size(raw)
            if not 0 <= size <= MAXIMUM_FRAME:
                raise FormatError(f"block of the index says that it holds {size} bytes")
            raw = zstandard.ZstdDecompressor().decompress(raw, max_output_size=size)
        return decode(raw)
    except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"block of the index cannot be read: {error}") from None


def places(
    columns: Columns,
    shapes: frozenset[int] | None,
    texts: frozenset[int] | None,
    since: float | None,
    until: float | None,
) -> Iterator[int]:
    """Yield the places of what is asked for. What is None does not matter."""
    for place, at in enumerate(columns.at):
        if (
            (shapes is None or columns.shapes[place] in shapes)
            and (texts is None or columns.texts[place] in texts)
            and (since is None or at >= since)
            and (until is None or at < until)
        ):
            yield place
