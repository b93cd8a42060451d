"""Content codings: any cut gives the same bytes, growth is bounded, what is broken fails closed."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import MaskingFailed
from sallyport.protocols.http.codings import PIECE, decoders


def _raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def _zstd(data: bytes, **terms: object) -> bytes:
    return bytes(zstandard.ZstdCompressor(**terms).compress(data))


def _members(data: bytes) -> bytes:
    return b"".join(gzip.compress(data[at : at + 7]) for at in range(0, len(data), 7))


def _unknown_size(data: bytes) -> bytes:
    packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    out = b"".join(
        packer.compress(data[at : at + 11]) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for at in range(0, len(data), 11)
    )
    return out + packer.flush()


def _frames(data: bytes) -> bytes:
    half = len(data) // 2
    skipped = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"aside"
    return _zstd(data[:half]) + skipped + _zstd(data[half:], write_checksum=True)


CODINGS = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("gzip", _members),
    ("deflate", zlib.compress),
    ("deflate", _raw),
    ("br", brotli.compress),
    ("zstd", _zstd),
    ("ZSTD", _frames),
    ("zstd", _unknown_size),
    ("identity, gzip", gzip.compress),
    ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    ("br,zstd,deflate", lambda data: zlib.compress(_zstd(brotli.compress(data)))),
]
IDS = [f"{name}-{number}" for number, (name, _) in enumerate(CODINGS)]


def decoded(coding: str, data: bytes, step: int = 0) -> bytes:
    decoder = decoders(coding)
    assert decoder is not None
    pieces = []
    for at in range(0, len(data), step or len(data) or 1):
        pieces += decoder.feed(data[at : at + (step or len(data))])
    decoder.finish()
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize(("coding", "encode"), CODINGS, ids=IDS)
@pytest.mark.parametrize("step", [0, 1, 2, 3, 1000])
def test_any_cut_gives_what_was_encoded(coding, encode, step) -> None:  # type: ignore[no-untyped-def]
    data = b"".join(b"%d, " % (number * number) for number in range(200))
    assert decoded(coding, encode(data), step) == data


@pytest.mark.parametrize(("coding", "encode"), CODINGS, ids=IDS)
def test_nothing_encoded_is_nothing(coding, encode) -> None:  # type: ignore[no-untyped-def]
    assert decoded(coding, b"") == b""
    if encode is not _members:
        assert decoded(coding, encode(b"")) == b""


@pytest.mark.parametrize(("coding", "encode"), CODINGS, ids=IDS)
def test_what_is_cut_off_fails(coding, encode) -> None:  # type: ignore[no-untyped-def]
    data = encode(b"some text, and some more of it " * 3)
    whole = decoded(coding, data)
    for end in range(1, len(data)):
        try:
            part = decoded(coding, data[:end])
        except MaskingFailed:
            continue
        # Members and frames may end here, and nobody can tell that there were more.
        assert encode in (_members, _frames) and whole.startswith(part)


@pytest.mark.parametrize(("coding", "encode"), CODINGS, ids=IDS)
@pytest.mark.parametrize("more", [b"x", b"\0", b"{}", b"garbage behind it"])
def test_what_follows_fails(coding, encode, more) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MaskingFailed):
        decoded(coding, encode(b"some text") + more)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, br", "br, gzip"])
@pytest.mark.parametrize("data", [b'{"a": 1}', b"plain text that is no coding", b"\xff" * 40])
def test_what_is_no_such_coding_fails(coding: str, data: bytes) -> None:
    with pytest.raises(MaskingFailed):
        decoded(coding, data)


@pytest.mark.parametrize(("coding", "encode"), CODINGS, ids=IDS)
def test_a_flipped_bit_fails_or_changes_nothing_else(coding, encode) -> None:  # type: ignore[no-untyped-def]
    data = encode(b"some text that is long enough to be worth it, some text")
    for place in range(len(data)):
        broken = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        with contextlib.suppress(MaskingFailed):
            decoded(coding, broken, 7)


@given(st.binary(max_size=60), st.sampled_from(["gzip", "deflate", "br", "zstd"]))
def test_any_bytes_decode_or_fail(data: bytes, coding: str) -> None:
    for step in (0, 1):
        with contextlib.suppress(MaskingFailed):
            decoded(coding, data, step)


@pytest.mark.parametrize(
    "coding", ["compress", "gzip, unknown", "gzip,gzip,gzip,gzip", "*", "gzip;q=1", "g zip"]
)
def test_what_is_not_known_is_told(coding: str) -> None:
    assert decoders(coding) is None


@pytest.mark.parametrize("coding", ["", "identity", "identity, identity"])
def test_identity_changes_nothing(coding: str) -> None:
    assert decoded(coding, b"x" * 200_000) == b"x" * 200_000


def _rle(blocks: int) -> bytes:
    """A zstd frame of blocks of one byte, 128 KiB each: 32,000 times as large decoded."""
    block = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"a"
    last = (0 << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * blocks + last


BOMBS = [
    ("gzip", lambda: gzip.compress(bytes(200 << 20), 9), 200 << 20),
    ("gzip, gzip", lambda: gzip.compress(gzip.compress(bytes(200 << 20), 9), 9), 200 << 20),
    ("br", lambda: brotli.compress(bytes(200 << 20), quality=5), 200 << 20),
    ("zstd", lambda: _rle(1600), 200 << 20),
]


@pytest.mark.parametrize(("coding", "made", "size"), BOMBS, ids=[bomb[0] for bomb in BOMBS])
def test_a_bomb_takes_no_memory(coding, made, size) -> None:  # type: ignore[no-untyped-def]
    data = made()
    decoder = decoders(coding)
    assert decoder is not None
    tracemalloc.start()
    try:
        total = 0
        for piece in decoder.feed(data):
            assert len(piece) <= PIECE
            total += len(piece)
        decoder.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == size
    assert peak < 4 << 20


def test_a_window_that_is_too_large_fails() -> None:
    terms = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    packer = zstandard.ZstdCompressor(compression_params=terms).compressobj()
    data = packer.compress(b"text " * 100) + packer.flush()
    with pytest.raises(MaskingFailed):
        decoded("zstd", data)
