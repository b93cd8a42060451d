"""Real faults: kill -9 at random moments, and a kernel that fails, shortens and lies (strace)."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sallyport.core.event import OperationDecided
from sallyport.recording.files import FormatError
from sallyport.recording.torn import end_of, journals, read_seal
from sallyport.recording.verify import verify
from tests.support.recordings import KEY, read_journal

ROOT = Path(__file__).parents[3]
WRITER = Path(__file__).with_name("writer.py")


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def start(folder: Path, count: int, how: str, *before: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, str(WRITER), str(folder), str(count), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def on_record(folder: Path, key: bytes | None = None) -> list[int]:
    """The numbers of all statements that can be read, in order."""
    found: list[int] = []
    for _, _, path in journals(folder):
        events, _ = read_journal(path, key)
        found += [one.operation for one in events if isinstance(one, OperationDecided)]
    return found


def said(output: str, what: str) -> int:
    """How many were said to be `what`."""
    return len(re.findall(rf"^{what} \d+$", output, re.MULTILINE))


def killed_at_random(folder: Path, key: bytes | None, pause: float) -> int:
    """Kill a writer; check that every statement it said was flushed is there. Return how many."""
    process = start(folder, 100_000, "flush", **({"ENCRYPT": "1"} if key else {}))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    flushed = said(output, "flushed")
    found = on_record(folder, key)
    assert found == list(range(len(found)))
    assert len(found) >= flushed, "a flushed record was lost"
    last = journals(folder)[-1][2]
    end_of(last, key)
    report = verify(folder, key)
    assert report.ok, report.first
    return flushed


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_kill_9_loses_nothing_that_was_flushed(tmp_path: Path, key: bytes | None) -> None:
    chance = random.Random(8)
    total = sum(
        killed_at_random(tmp_path / str(turn), key, chance.uniform(0, 0.05)) for turn in range(5)
    )
    assert total > 0


@pytest.mark.long
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_kill_9_two_hundred_times(tmp_path: Path, key: bytes | None) -> None:
    chance = random.Random()
    for turn in range(200):
        folder = tmp_path / str(turn)
        killed_at_random(folder, key, chance.uniform(0, 0.3))
        shutil.rmtree(folder)


def test_a_process_killed_again_and_again_keeps_one_chain(tmp_path: Path) -> None:
    """The same name, restarted after each kill: number and chain go on without a gap."""
    chance = random.Random(4)
    for _ in range(4):
        process = start(tmp_path, 100_000, "flush")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 0.04))
        process.kill()
        process.communicate()
    end_of(journals(tmp_path)[-1][2])
    report = verify(tmp_path)
    assert report.ok, report
    assert [sequence for _, sequence, _ in journals(tmp_path)] == list(
        range(1, len(journals(tmp_path)) + 1)
    )
    assert any(read_seal(path) for _, _, path in journals(tmp_path))


# -------------------------------------------------------------- a faulty kernel

strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def faulty(folder: Path, count: int, how: str, *inject: str, **more: str) -> tuple[int, str]:
    """Run the writer with faults injected into calls on its journals. Return its code and words."""
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=write,fdatasync,fsync"]
    for one in inject:
        trace += ["-e", f"inject={one}"]
    process = start(folder, count, how, *trace, **more)
    output, errors = process.communicate(timeout=60)
    if "ptrace" in errors:
        pytest.skip("tracing is not permitted here")
    return process.returncode, output


FIRST = 3
"""The process's writes: the header, the record that starts the journal, then one a flush."""


@strace
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT"])
def test_a_failing_write_stops_the_worker_and_keeps_what_was_written(
    tmp_path: Path, error: str
) -> None:
    code, output = faulty(tmp_path, 50, "flush", f"write:error={error}:when={FIRST + 14}+")
    assert code == 3
    assert "lost journal cannot be written" in output
    assert said(output, "flushed") == 14
    assert on_record(tmp_path) == list(range(14))
    end_of(journals(tmp_path)[-1][2])
    assert verify(tmp_path).ok


@strace
def test_one_full_disk_is_bridged_by_the_reserve(tmp_path: Path) -> None:
    """The write fails once for want of space; the reserve is given back and nothing is lost."""
    inject = f"write:error=ENOSPC:when={FIRST + 2}"
    code, output = faulty(tmp_path, 20, "flush", inject, RESERVE="65536")
    assert code == 0, output
    assert on_record(tmp_path) == list(range(20))
    assert verify(tmp_path).ok


@strace
def test_without_a_reserve_the_same_fault_loses_the_recorder(tmp_path: Path) -> None:
    code, output = faulty(tmp_path, 20, "flush", f"write:error=ENOSPC:when={FIRST + 2}")
    assert code == 3
    assert "lost journal cannot be written" in output
    assert "No space left" in output


@strace
def test_a_write_that_claims_nothing_was_written_is_a_loss(tmp_path: Path) -> None:
    code, output = faulty(tmp_path, 20, "flush", f"write:retval=0:when={FIRST + 2}")
    assert code == 3
    assert "write returned 0" in output
    end_of(journals(tmp_path)[-1][2])
    assert verify(tmp_path).ok


@strace
@pytest.mark.parametrize("when", [1, 2, 5])
def test_a_failing_sync_is_never_taken_for_a_commit(tmp_path: Path, when: int) -> None:
    code, output = faulty(tmp_path, 30, "commit", f"fdatasync:error=EIO:when={when}+")
    assert code == 3
    assert "cannot be made durable" in output
    assert said(output, "committed") == when - 1
    assert len(on_record(tmp_path)) >= said(output, "flushed")


@strace
def test_one_failed_sync_is_final_though_the_next_would_succeed(tmp_path: Path) -> None:
    """After EIO the kernel calls lost pages clean, and the next fdatasync says all is well."""
    code, output = faulty(tmp_path, 30, "commit", "fdatasync:error=EIO:when=3")
    assert code == 3
    assert said(output, "committed") == 2


@strace
def test_a_sync_that_lies_costs_at_most_what_came_after_the_last_true_one(tmp_path: Path) -> None:
    """Syncs from the 6th on do nothing; then power is lost: files are cut to the last true sync.

    What remains is whole and chained, and whoever restarts seals it and goes on.
    """
    log = tmp_path / "log"
    command = ["strace", "-f", "-qq", "-y", "-o", str(log)]
    command += ["-e", "trace=write,fdatasync", "-e", "inject=fdatasync:retval=0:when=6+"]
    folder = tmp_path / "j"
    process = start(folder, 40, "commit", *command)
    output, errors = process.communicate(timeout=60)
    if "ptrace" in errors:
        pytest.skip("tracing is not permitted here")
    assert process.returncode == 0, output
    true_commits = 5
    first = journals(folder)[0][2]
    sizes = _sizes_at_syncs(log)
    assert len(sizes) > true_commits
    os.truncate(first, sizes[true_commits - 1] + 11)
    for _, _, path in journals(folder)[1:]:
        path.unlink()
    found = on_record(folder)
    assert found == list(range(len(found)))
    assert len(found) >= true_commits - 1
    assert len(found) < 40
    again = start(folder, 3, "commit")
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    report = verify(folder)
    assert report.ok, report
    seal = read_seal(first)
    assert seal is not None
    assert seal.size - seal.offset == 11


def _sizes_at_syncs(log: Path) -> list[int]:
    """The first journal's size at each fdatasync, from the log of writes to it."""
    sizes: list[int] = []
    size = 0
    for line in log.read_text().splitlines():
        written = re.search(r" write\(\d+<[^>]*journal[^>]*>.*= (\d+)$", line)
        if written:
            size += int(written[1])
        elif re.search(r" fdatasync\(", line) and "resumed" not in line:
            sizes.append(size)
    return sizes


def test_a_full_file_system_refuses_and_recovers(tmp_path: Path) -> None:
    """A real small file system, full: what is pending ends, the rest is refused, nothing breaks."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        code, output = _fill(mount)
        assert code == 3, output
        assert "No space left" in output
        found = on_record(mount / "j")
        assert found == list(range(len(found)))
        assert len(found) >= said(output, "flushed") > 100
        (mount / "ballast").unlink()
        with contextlib.suppress(FormatError):
            end_of(journals(mount / "j")[-1][2])
        report = verify(mount / "j")
        assert report.ok, report
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def _fill(mount: Path) -> tuple[int, str]:
    (mount / "ballast").write_bytes(bytes(500_000))
    process = start(mount / "j", 1_000_000, "flush", RESERVE="262144")
    output, _ = process.communicate(timeout=60)
    return process.returncode, output
