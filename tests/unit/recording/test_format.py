"""The format: any cut leaves the whole records before it, any flipped bit is found."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from sallyport.core.event import RecordedEvent
from sallyport.recording.encoding import encode
from sallyport.recording.files import (
    BLOCK,
    END,
    EVENT,
    FORMAT,
    NOTHING,
    PACKED,
    SESSION,
    SUMMARY,
    FormatError,
    Header,
    Scan,
    frame,
    join_events,
    safe_name,
    split_events,
)
from sallyport.recording.journal import Journal
from sallyport.recording.places import Places
from sallyport.recording.sealed import SealedReader, Summary, write_sealed
from sallyport.recording.verify import verify
from tests.support.recordings import KEY, T0, decided, read_journal, rows, whole

FAST = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make_journal(folder: Path, key: bytes | None) -> Path:
    """A closed journal with one flush an event."""

    async def write() -> Path:
        journal = Journal(folder, "worker-1", key=key, reserve=0)
        for event in whole("s-1") + whole("s-2"):
            journal.record(event)
            journal.flush()
        await journal.close()
        return journal.path

    return asyncio.run(write())


@pytest.fixture(scope="module", params=[None, KEY], ids=["plain", "encrypted"])
def journal(request: pytest.FixtureRequest) -> tuple[bytes, list[RecordedEvent], bytes | None]:
    folder = Path(tempfile.mkdtemp())
    path = make_journal(folder, request.param)
    raw, found = path.read_bytes(), read_journal(path, request.param)[0]
    shutil.rmtree(folder)
    return raw, found, request.param


@pytest.fixture(scope="module", params=[None, KEY], ids=["plain", "encrypted"])
def sealed(request: pytest.FixtureRequest) -> tuple[bytes, bytes | None]:
    folder = Path(tempfile.mkdtemp())
    events = [encode(one) for one in whole("s-1")] + [
        encode(rows("s-1", data=bytes([n % 251]) * 90_000)) for n in range(30)
    ]
    write_sealed(folder / "s-1.sprec", "s-1", events, request.param)
    raw = (folder / "s-1.sprec").read_bytes()
    shutil.rmtree(folder)
    return raw, request.param


@FAST
@given(data=st.data())
def test_any_cut_of_a_journal_leaves_the_whole_records_before_it(
    journal: tuple[bytes, list[RecordedEvent], bytes | None], data: st.DataObject, tmp_path: Path
) -> None:
    raw, events, key = journal
    size = data.draw(st.integers(0, len(raw)))
    path = tmp_path / "worker-1-00000001.journal"
    path.write_bytes(raw[:size])
    found, tail = read_journal(path, key)
    assert found == events[: len(found)]
    assert tail in ("whole", "torn")
    if tail == "whole":
        path.write_bytes(raw[: size + 1])
        again, _ = read_journal(path, key)
        assert again == found or len(again) == len(found) + 1
    assert verify(path, key).ok == (size == len(raw))


@FAST
@given(data=st.data())
def test_any_flipped_bit_of_a_journal_is_found(
    journal: tuple[bytes, list[RecordedEvent], bytes | None], data: st.DataObject, tmp_path: Path
) -> None:
    raw, events, key = journal
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    changed = bytearray(raw)
    changed[place // 8] ^= 1 << place % 8
    path = tmp_path / "worker-1-00000001.journal"
    path.write_bytes(changed)
    report = verify(path, key)
    assert not report.ok
    assert report.first is not None
    assert not verify(path).ok, "the chain is checked without the key too"
    try:
        found, tail = read_journal(path, key)
    except FormatError:
        return
    assert found == events[: len(found)]
    assert len(found) < len(events)
    assert tail != "whole" or not found


@FAST
@given(data=st.data())
def test_any_flipped_bit_of_a_sealed_session_is_found(
    sealed: tuple[bytes, bytes | None], data: st.DataObject, tmp_path: Path
) -> None:
    raw, key = sealed
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    changed = bytearray(raw)
    changed[place // 8] ^= 1 << place % 8
    path = tmp_path / "s-1.sprec"
    path.write_bytes(changed)
    with pytest.raises(FormatError):
        list(SealedReader(path, key).payloads())
    assert not verify(path, key).ok
    assert not verify(path).ok


@FAST
@given(data=st.data())
def test_any_cut_of_a_sealed_session_is_found(
    sealed: tuple[bytes, bytes | None], data: st.DataObject, tmp_path: Path
) -> None:
    raw, key = sealed
    path = tmp_path / "s-1.sprec"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    assert not verify(path, key).ok
    assert not verify(path).ok


@FAST
@given(raw=st.binary(max_size=300))
def test_garbage_is_never_a_journal(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "worker-1-00000001.journal"
    path.write_bytes(raw)
    assert not verify(path).ok


@FAST
@given(bodies=st.lists(st.binary(max_size=200), max_size=20), sizes=st.lists(st.integers(1, 90)))
def test_a_scan_goes_on_where_a_growing_file_was_left(
    bodies: list[bytes], sizes: list[int], tmp_path: Path
) -> None:
    raw, chain = b"", bytes(32)
    for body in bodies:
        one, chain = frame(EVENT, body, chain)
        raw += one
    path = tmp_path / "growing"
    path.write_bytes(b"")
    with path.open("r+b", buffering=0) as file:
        scan = Scan(file.fileno(), 0, bytes(32))
        found: list[bytes] = []
        for size in [*sizes, len(raw)]:
            part, raw = raw[:size], raw[size:]
            file.seek(0, 2)
            file.write(part)
            found += [one.body for one in scan.frames()]
            assert scan.tail != "broken"
    assert found == bodies
    assert scan.chain == chain


@given(st.lists(st.binary(max_size=50)))
def test_events_joined_come_apart_again(payloads: list[bytes]) -> None:
    assert list(split_events(join_events(payloads))) == payloads


@given(st.binary(max_size=60))
def test_a_list_of_events_is_whole_or_refused(raw: bytes) -> None:
    try:
        found = list(split_events(raw))
    except FormatError:
        return
    assert join_events(found) == raw


@given(st.text(max_size=90))
def test_no_name_leaves_its_folder(name: str) -> None:
    made = safe_name(name)
    assert "/" not in made
    assert made not in ("", ".", "..")
    assert len(made.encode()) <= 100
    assert not made.startswith(".")


def test_a_block_moved_or_left_out_is_found_by_the_key_alone(tmp_path: Path) -> None:
    """The chain is without a key, so an attacker can make it anew; the key's binding he cannot."""
    path = make_journal(tmp_path, KEY)
    raw = path.read_bytes()
    with path.open("rb") as file:
        from sallyport.recording.torn import start_of

        begin = start_of(file.fileno())
        frames = list(Scan(file.fileno(), begin.offset, begin.chain).frames())
    forged, chain = raw[: begin.offset], begin.chain
    for index, one in enumerate(frames):
        if index != 3:
            made, chain = frame(one.kind, one.body, chain)
            forged += made
    path.write_bytes(forged)
    assert verify(path).files[0].problem == ""
    assert "does not open" in verify(path, KEY).files[0].problem


def test_another_key_says_so(tmp_path: Path) -> None:
    path = make_journal(tmp_path, KEY)
    assert "another key" in verify(path, bytes(32)).files[0].problem


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = make_journal(tmp_path, None)
    raw = bytearray(path.read_bytes())
    raw[8] = FORMAT + 1
    path.write_bytes(raw)
    assert "newer" in verify(path).files[0].problem


def test_a_compression_bomb_is_refused(tmp_path: Path) -> None:
    header = Header.make(SESSION, None)
    params = zstandard.ZstdCompressionParameters.from_level(19, write_content_size=True)
    compressor = zstandard.ZstdCompressor(compression_params=params).compressobj(size=1 << 29)
    huge = compressor.compress(bytes(1 << 20)) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    one, chain = frame(PACKED, bytes(huge), header.seed)
    two, _ = frame(END, b"", chain)
    path = tmp_path / "bomb.sprec"
    path.write_bytes(header.raw() + one + two)
    with pytest.raises(FormatError, match="says that it holds"):
        list(SealedReader(path, None).payloads())


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_a_sealed_file_of_format_1_is_read_and_checked(tmp_path: Path, key: bytes | None) -> None:
    """There the root was over the events, one after the other."""
    events = [encode(decided("s-1", n, T0 + n)) for n in range(9)]
    root = NOTHING
    for payload in events:
        root = sha256(root + payload).digest()
    good = sealed_in_format_1(tmp_path / "s-1.sprec", events, root, key)
    assert list(SealedReader(good, key).payloads()) == events
    assert verify(good, key).ok
    altered = sealed_in_format_1(tmp_path / "s-1.2.sprec", events[1:] + events[:1], root, key)
    with pytest.raises(FormatError, match="not those that the summary counts"):
        list(SealedReader(altered, key).payloads())


def sealed_in_format_1(path: Path, events: list[bytes], root: bytes, key: bytes | None) -> Path:
    header = structs.replace(Header.make(SESSION, key), version=1)
    cipher, chain = header.cipher(key), header.seed
    summary = Summary("s-1", len(events), T0, T0 + 8, root, T0)
    out = [header.raw()]
    packed = zstandard.ZstdCompressor().compress(join_events(events))
    for kind, body in ((PACKED, packed), (SUMMARY, msgspec.msgpack.encode(summary))):
        if cipher is not None:
            kind, body = BLOCK, cipher.seal(kind, body, chain)
        whole, chain = frame(kind, body, chain)
        out.append(whole)
    path.write_bytes(b"".join([*out, frame(END, b"", chain)[0]]))
    return path


def test_sealed_files_are_much_smaller(tmp_path: Path) -> None:
    payloads = [encode(decided("s-1", n, T0 + n)) for n in range(2000)]
    summary, size = write_sealed(tmp_path / "s.sprec", "s-1", payloads, None)
    assert summary.events == 2000
    assert size * 8 < sum(map(len, payloads))


def test_a_failed_seal_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> object:
        yield encode(decided("s-1"))
        raise FormatError("journal is broken")

    with pytest.raises(FormatError):
        write_sealed(tmp_path / "s.sprec", "s-1", broken(), None)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_file_makes_no_root_in_the_place_of_one_that_is_gone(tmp_path: Path) -> None:
    """A disk that was unmounted leaves its mount point: what is written there is lost to it."""
    payloads = [encode(decided("s-1"))]
    places = Places(tmp_path / "recording")
    path = places.root / places.session_file("s-1", 1_800_000_000.0, 1)
    with pytest.raises(FileNotFoundError):
        write_sealed(path, "s-1", payloads, None)
    assert not places.root.exists()
    places.root.mkdir()
    write_sealed(path, "s-1", payloads, None)
    assert path.is_file()
