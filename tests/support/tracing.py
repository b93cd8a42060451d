"""Faults from the kernel: strace, attached to a running process, answers in its place."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec import Struct

from tests.support.processes import wait_for


class Tracer:
    """strace on all threads of `process`, for calls on the file `path`, with faults injected.

    A context manager. `log` is where the calls are written down.
    """

    def __init__(self, process: int, path: Path, log: Path, *inject: str) -> None:
        if shutil.which("strace") is None:
            pytest.skip("strace is not installed")
        self.process = process
        self.log = log
        command = ["strace", "-f", "-p", str(process), "-o", str(log)]
        command += ["-P", _known_as(process, path)]
        command += ["-e", "trace=write,fdatasync,fsync"]
        for one in inject:
            command += ["-e", f"inject={one}"]
        self._strace = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def __enter__(self) -> Tracer:
        wait_for(self._attached, "strace is attached")
        return self

    def __exit__(self, *_: object) -> None:
        if self._strace.poll() is None:
            self._strace.terminate()
        self._strace.communicate()

    def _attached(self) -> bool:
        if self._strace.poll() is not None:
            assert self._strace.stderr is not None
            said = self._strace.stderr.read().decode()
            if "ptrace" in said or "not permitted" in said:
                pytest.skip(f"tracing is not permitted here: {said.strip()}")
            raise AssertionError(said)
        threads = list(Path(f"/proc/{self.process}/task").iterdir())
        return all(map(_traced, threads))


def _traced(thread: Path) -> bool:
    """Whether strace holds `thread`; one that has ended meanwhile needs no holding."""
    try:
        return "TracerPid:\t0" not in (thread / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def _known_as(process: int, path: Path) -> str:
    """Return the name by which `process` opened the file that is at `path` now."""
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        if descriptor.exists() and descriptor.samefile(path):
            return str(descriptor.readlink()).removesuffix(" (deleted)")
    raise AssertionError(f"{process} has not opened {path}")


class Sync(Struct, frozen=True):
    """One sync: the bytes that had been written when it began, and whether the disk did it."""

    covers: int
    true: bool


def syncs(log: Path, size: int) -> list[Sync]:
    """Return the syncs that came back, in order, from a trace that began when `size` were there."""
    found: list[Sync] = []
    begun: dict[str, int] = {}
    for line in log.read_text().splitlines():
        thread, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.startswith(("fdatasync(", "fsync(")):
            begun[thread] = size
        result = re.search(r"\) += (-?\d+)(.*)$", rest)
        if result is None:
            continue
        if rest.startswith("write(") or "write resumed" in rest:
            size += max(0, int(result[1]))
        elif int(result[1]) == 0 and thread in begun:
            found.append(Sync(begun.pop(thread), "INJECTED" not in result[2]))
    return found
