"""The journal: order, grouping, rotation, quotas, loss."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from sallyport.core.errors import RecorderLost
from sallyport.core.event import (
    Audited,
    JournalEnded,
    JournalStarted,
    OperationDecided,
    RecordedEvent,
)
from sallyport.recording import torn
from sallyport.recording.encoding import decode, payloads
from sallyport.recording.files import Scan
from sallyport.recording.journal import Journal
from sallyport.recording.torn import end_of, journals, read_seal, sidecar, start_of
from tests.support.recordings import KEY, T0, closed, decided, opened, read_journal, rows

pytestmark = pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])


def open_journal(folder: Path, key: bytes | None, **more: object) -> Journal:
    return Journal(folder, "worker-1", key=key, **{"reserve": 0, **more})  # type: ignore[arg-type]


async def test_events_come_back_in_order(tmp_path: Path, key: bytes | None) -> None:
    journal = open_journal(tmp_path, key)
    events: list[RecordedEvent] = [opened("s-1"), decided("s-1"), rows("s-1"), closed("s-1")]
    for event in events:
        journal.record(event)
    await journal.commit()
    await journal.close()
    found, tail = read_journal(journal.path, key)
    assert tail == "whole"
    assert isinstance(found[0], JournalStarted)
    assert (found[0].worker, found[0].sequence, found[0].previous) == ("worker-1", 1, bytes(32))
    assert found[1:-1] == events
    assert isinstance(found[-1], JournalEnded)


async def test_nothing_is_written_before_flush_and_all_of_it_by_one_write(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, key)
    before = journal.path.stat().st_size
    for number in range(50):
        journal.record(decided("s-1", number))
    assert journal.path.stat().st_size == before
    writes: list[int] = []
    real = os.write

    def counted(fd: int, data: bytes) -> int:
        writes.append(real(fd, data))
        return writes[-1]

    monkeypatch.setattr(os, "write", counted)
    journal.flush()
    assert len(writes) == 1
    assert len(read_journal(journal.path, key)[0]) == 51
    await journal.close()


async def test_files_are_for_their_owner_alone(tmp_path: Path, key: bytes | None) -> None:
    folder = tmp_path / "a" / "journals"
    journal = Journal(folder, "worker-1", key=key, reserve=4096)
    journal.record(opened("s-1"))
    await journal.commit()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 2
    await journal.close()


async def test_encryption_leaves_nothing_readable(tmp_path: Path, key: bytes | None) -> None:
    journal = open_journal(tmp_path, key)
    journal.record(decided("s-1", text="SELECT 'needle-in-the-haystack'"))
    await journal.close()
    assert (b"needle-in" in journal.path.read_bytes()) == (key is None)


async def test_many_waiters_share_few_syncs(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, key)
    syncs = 0
    real = os.fdatasync

    def counted(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        real(fd)

    monkeypatch.setattr(os, "fdatasync", counted)

    async def waiter(number: int) -> None:
        journal.record(decided(f"s-{number}"))
        await journal.commit()

    await asyncio.gather(*[waiter(number) for number in range(64)])
    assert 1 <= syncs <= 2
    await journal.close()


async def test_a_commit_covers_what_was_written_while_another_ran(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INVARIANT: a sync that began before a record was written says nothing about that record."""
    journal = open_journal(tmp_path, key)
    await journal.commit()
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    sizes: list[int] = []
    real = os.fdatasync

    def slow(fd: int) -> None:
        sizes.append(os.fstat(fd).st_size)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    journal.record(decided("s-1"))
    first = asyncio.create_task(journal.commit())
    while not sizes:
        await asyncio.sleep(0.001)
    journal.record(decided("s-2"))
    second = asyncio.create_task(journal.commit())
    third = asyncio.create_task(journal.commit())
    await asyncio.sleep(0.01)
    assert len(sizes) == 1
    gate.set()
    await asyncio.gather(first, second, third)
    assert len(sizes) == 2
    assert sizes[1] == journal.path.stat().st_size
    await journal.close()


async def test_a_cancelled_waiter_leaves_the_others_waiting(
    tmp_path: Path, key: bytes | None
) -> None:
    journal = open_journal(tmp_path, key)
    journal.record(decided("s-1"))
    tasks = [asyncio.create_task(journal.commit()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[1:]) == [None, None]
    await journal.close()


async def test_rotation_chains_the_files(tmp_path: Path, key: bytes | None) -> None:
    journal = open_journal(tmp_path, key, file_bytes=4096)
    for number in range(60):
        journal.record(decided("s-1", number, text="x" * 300))
        journal.flush()
    await journal.close()
    found = [read_journal(path, key)[0] for _, _, path in journals(tmp_path)]
    assert len(found) > 3
    decisions = [one for file in found for one in file if isinstance(one, OperationDecided)]
    assert [one.operation for one in decisions] == list(range(60))
    reasons = [file[0].reason for file in found]  # type: ignore[union-attr]
    assert reasons == ["started"] + ["rotated"] * (len(found) - 1)
    for index, (_, _, path) in enumerate(journals(tmp_path)[:-1]):
        assert found[index + 1][0].previous == end_of(path, key)  # type: ignore[union-attr]
        assert not sidecar(path).exists()


async def test_commit_after_rotation_syncs_the_file_before_too(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, key, file_bytes=1024)
    await journal.commit()
    synced: set[int] = set()
    real = os.fdatasync

    def noted(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", noted)
    for number in range(3):
        journal.record(decided("s-1", number, text="x" * 2000))
        journal.flush()
    await journal.commit()
    assert synced == {path.stat().st_ino for _, _, path in journals(tmp_path)}
    await journal.close()


async def test_the_next_process_links_on_to_a_clean_end(tmp_path: Path, key: bytes | None) -> None:
    first = open_journal(tmp_path, key)
    await first.close()
    second = open_journal(tmp_path, key)
    await second.close()
    started = read_journal(second.path, key)[0][0]
    assert isinstance(started, JournalStarted)
    assert started.sequence == 2
    assert started.previous != bytes(32)
    assert read_seal(first.path) is None


async def test_the_next_process_seals_what_a_crash_left(tmp_path: Path, key: bytes | None) -> None:
    first = open_journal(tmp_path, key)
    first.record(decided("s-1"))
    first.flush()
    size = first.path.stat().st_size
    first.abandon()
    with first.path.open("ab") as file:
        file.write(b"\0\0\1\0\1torn")
    second = open_journal(tmp_path, key)
    seal = read_seal(first.path)
    assert seal is not None
    assert (seal.offset, seal.size, seal.problem) == (size, size + 9, "")
    assert first.path.stat().st_size == size + 9
    started = read_journal(second.path, key)[0][0]
    assert started.previous.hex() == seal.chain  # type: ignore[union-attr]
    await second.close()


async def test_an_empty_predecessor_is_sealed_too(tmp_path: Path, key: bytes | None) -> None:
    (tmp_path / "worker-1-00000007.journal").write_bytes(b"")
    journal = open_journal(tmp_path, key)
    started = read_journal(journal.path, key)[0][0]
    assert (started.sequence, started.previous) == (8, bytes(32))  # type: ignore[union-attr]
    await journal.close()


async def test_two_processes_never_share_a_name(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torn, "PATIENCE", 0.05)
    journal = open_journal(tmp_path, key)
    with pytest.raises(RecorderLost, match="written by another process"):
        open_journal(tmp_path, key)
    await journal.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_child_of_the_process_cannot_write(tmp_path: Path, key: bytes | None) -> None:
    journal = open_journal(tmp_path, key)
    journal.record(decided("s-1"))
    child = os.fork()
    if child == 0:
        try:
            journal.flush()
        except RecorderLost:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    journal.flush()
    assert len(read_journal(journal.path, key)[0]) == 2
    await journal.close()


async def test_a_failed_write_keeps_whole_records_and_loses_the_recorder(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []
    journal = open_journal(tmp_path, key, on_lost=lost.append)
    real = os.write
    calls = 0

    def failing(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return real(fd, data[: len(data) * 2 // 3])
        raise OSError(errno.EIO, "Input/output error")

    for number in range(9):
        journal.record(decided(f"s-{number}", number))  # each session's records are a frame
    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(RecorderLost, match="Input/output"):
        journal.flush()
    monkeypatch.undo()
    assert lost == ["journal cannot be written: [Errno 5] Input/output error"]
    assert "lost" in (journal.refusal("agent-1") or "")
    for call in (journal.flush, lambda: journal.record(closed("s-1"))):
        with pytest.raises(RecorderLost):
            call()
    with pytest.raises(RecorderLost):
        await journal.commit()
    found, tail = read_journal(journal.path, key)
    assert tail == "whole"
    assert len(found) == 1 + 6
    journal.abandon()


async def test_short_writes_are_completed(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, key)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:37]))
    for number in range(5):
        journal.record(decided("s-1", number))
    journal.flush()
    monkeypatch.undo()
    assert len(read_journal(journal.path, key)[0]) == 6
    await journal.close()


async def test_a_failed_sync_loses_the_recorder_for_every_waiter(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, key)

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", failing)

    async def waiter(number: int) -> None:
        journal.record(decided(f"s-{number}"))
        await journal.commit()

    results = await asyncio.gather(*[waiter(n) for n in range(8)], return_exceptions=True)
    assert all(isinstance(result, RecorderLost) for result in results)
    monkeypatch.undo()
    with pytest.raises(RecorderLost):
        await journal.commit()
    journal.abandon()


async def test_a_full_disk_gives_the_reserve_to_what_is_pending(
    tmp_path: Path, key: bytes | None
) -> None:
    """The file-size limit stands in for a disk: the reserve cannot help, so the recorder is lost."""
    journal = open_journal(tmp_path, key)
    journal.record(decided("s-1", text="x" * 100_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(RecorderLost):
            journal.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert read_journal(journal.path, key)[1] == "whole"
    journal.abandon()


async def test_enospc_once_is_survived_by_the_reserve_and_refuses_new_operations(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    journal = open_journal(tmp_path, key, reserve=65536, clock=lambda: now[0])
    assert journal.refusal("agent-1") is None
    reserve = tmp_path / ".worker-1.reserve"
    assert reserve.stat().st_blocks * 512 >= 65536
    real = os.write
    calls = 0

    def full_once(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "write", full_once)
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    journal.record(decided("s-1"))
    journal.flush()
    assert not reserve.exists()
    assert "disk is full" in (journal.refusal("agent-1") or "")
    journal.record(closed("s-1"))
    await journal.commit()
    monkeypatch.undo()
    now[0] += 1
    assert journal.refusal("agent-1") is None
    assert reserve.exists()
    assert len(read_journal(journal.path, key)[0]) == 3
    await journal.close()


async def test_unknown_free_space_is_no_space(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, key, reserve=4096)

    def failing(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "statvfs", failing)
    assert "cannot be reached" in (journal.refusal("agent-1") or "")
    journal.abandon()


async def test_one_subject_cannot_fill_the_disk_for_all(tmp_path: Path, key: bytes | None) -> None:
    now = [100.0]
    journal = open_journal(tmp_path, key, subject_bytes_per_hour=10_000, clock=lambda: now[0])
    journal.record(opened("s-1", subject="greedy"))
    journal.record(opened("s-2", subject="modest"))
    journal.record(rows("s-1", data=b"x" * 20_000))
    journal.flush()
    assert "quota" in (journal.refusal("greedy") or "")
    assert journal.refusal("modest") is None
    journal.record(closed("s-1"))
    journal.record(opened("s-3", subject="greedy"))
    journal.flush()
    assert "quota" in (journal.refusal("greedy") or ""), "reconnecting resets nothing"
    now[0] += 3601
    assert journal.refusal("greedy") is None
    await journal.close()


async def test_full_until_a_sync_has_caught_up(tmp_path: Path, key: bytes | None) -> None:
    journal = open_journal(tmp_path, key, unsynced=100_000)
    await journal.commit()
    assert not journal.full
    journal.record(rows("s-1", data=b"x" * 120_000))
    assert journal.full
    await journal.commit()
    assert not journal.full
    await journal.close()


async def test_full_clears_itself_though_nobody_commits(tmp_path: Path, key: bytes | None) -> None:
    journal = open_journal(tmp_path, key, unsynced=100_000)
    journal.record(rows("s-1", data=b"x" * 120_000))
    journal.flush()
    async with asyncio.timeout(10):
        while journal.full:
            await asyncio.sleep(0.005)
    await journal.close()


async def test_rows_are_written_before_they_pile_up(tmp_path: Path, key: bytes | None) -> None:
    journal = open_journal(tmp_path, key)
    for _ in range(5):
        journal.record(rows("s-1", data=b"x" * 300_000))
    assert journal.path.stat().st_size > 1_000_000
    await journal.close()


@pytest.mark.parametrize(
    "details",
    [
        {"a": "\ud800"},
        {"a": 1 << 70},
        {"a": {1, 2}},
        {"a": object},
        {"\udfff": [1, {"b": "\udc80"}]},
    ],
)
async def test_no_input_makes_an_event_that_cannot_be_recorded(
    tmp_path: Path, key: bytes | None, details: dict[str, object]
) -> None:
    journal = open_journal(tmp_path, key)
    journal.record(Audited("", T0, "admin", "x", "y\ud800", details))
    journal.record(decided("s-1", text="SELECT '\ud8ff'"))
    await journal.close()
    found = read_journal(journal.path, key)[0]
    assert isinstance(found[1], Audited)
    assert found[1].object == "y\\ud800"
    assert found[2].text == "SELECT '\\ud8ff'"  # type: ignore[union-attr]


async def test_a_folder_that_cannot_be_written_is_a_lost_recorder(
    tmp_path: Path, key: bytes | None
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RecorderLost, match="no journal can be begun"):
        Journal(tmp_path / "file" / "journals", "worker-1", key=key)


async def test_a_symlink_in_the_folder_is_not_followed(tmp_path: Path, key: bytes | None) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    folder = tmp_path / "journals"
    folder.mkdir()
    (folder / ".worker-1-00000001.journal.new").symlink_to(elsewhere)
    (folder / ".worker-1.reserve").symlink_to(elsewhere)
    journal = Journal(folder, "worker-1", key=key, reserve=4096)
    await journal.close()
    assert elsewhere.read_bytes() == b"precious"


async def test_closing_twice_and_recording_after_it(tmp_path: Path, key: bytes | None) -> None:
    journal = open_journal(tmp_path, key)
    await journal.close()
    await journal.close()
    with pytest.raises(RecorderLost):
        journal.record(closed("s-1"))
    assert journal.refusal("agent-1") == "the recorder is closed"


async def test_an_audit_is_in_the_file_when_the_call_returns(
    tmp_path: Path, key: bytes | None
) -> None:
    journal = open_journal(tmp_path, key)
    event = Audited("", T0, "root", "token.create", "tok-1", {"n": 1})
    journal.audit(event)
    assert read_journal(journal.path, key)[0][-1] == event
    await journal.close()


async def test_a_flush_is_one_frame_for_each_session(tmp_path: Path, key: bytes | None) -> None:
    journal = open_journal(tmp_path, key)
    for number in range(6):
        journal.record(decided(f"s-{number % 2}", number, at=float(number)))
    journal.flush()
    fd = os.open(journal.path, os.O_RDONLY)
    begin = start_of(fd)
    assert begin.header is not None
    cipher = begin.header.cipher(key)
    frames = [
        [(event.session, event.at) for event in map(decode, payloads(found, cipher))]
        for found in list(Scan(fd, begin.offset, begin.chain).frames())[1:]
    ]
    os.close(fd)
    assert frames == [[("s-0", n) for n in (0, 2, 4)], [("s-1", n) for n in (1, 3, 5)]]
    await journal.close()


async def test_the_end_is_the_last_record_whatever_came_with_it(
    tmp_path: Path, key: bytes | None
) -> None:
    journal = open_journal(tmp_path, key)
    journal.record(Audited("", 1.0, "dana", "looked", "x"))
    journal.record(decided("s-1", 1))
    await journal.close()
    kinds = [type(event).__name__ for event in read_journal(journal.path, key)[0]]
    assert kinds == ["JournalStarted", "Audited", "OperationDecided", "JournalEnded"]
