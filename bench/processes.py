"""CPU time and memory of the processes that make up one way to the database."""

from __future__ import annotations

import time

import psutil

QUIET = 0.02
"""Share of a core below which processes count as done with what they were given."""

PATIENCE = 60.0
"""Seconds that they may take for it."""


def parts(pid: int) -> dict[str, psutil.Process]:
    """Return a process and all below it, each by what it does in a gateway."""
    root = psutil.Process(pid)
    found = {"main": root}
    for child in root.children(recursive=True):
        words = child.cmdline()
        known = next((name for name in ("control", "worker") if name in words), "other")
        found[f"{known}-{child.pid}" if known in found else known] = child
    return found


def cpu_seconds(pids: tuple[int, ...]) -> dict[str, float]:
    """Return the CPU seconds, user and system, that each part has used so far.

    `worker-io` are the threads of a worker beside its loop: the journal's syncs above all.
    """
    used: dict[str, float] = {}
    for pid in pids:
        for name, process in parts(pid).items():
            try:
                times = process.cpu_times()
                threads = process.threads() if name == "worker" else []
            except psutil.NoSuchProcess:
                continue
            aside = sum(t.user_time + t.system_time for t in threads if t.id != process.pid)
            used[name] = used.get(name, 0.0) + times.user + times.system - aside
            if aside:
                used["worker-io"] = used.get("worker-io", 0.0) + aside
    return used


def settle(pids: tuple[int, ...]) -> None:
    """Wait until these processes are idle: what they do late belongs to what made them do it."""
    deadline = time.monotonic() + PATIENCE
    quiet = 0
    while pids and quiet < 3 and time.monotonic() < deadline:
        before = sum(cpu_seconds(pids).values())
        time.sleep(0.25)
        quiet = quiet + 1 if sum(cpu_seconds(pids).values()) - before <= QUIET * 0.25 + 0.01 else 0


def resident_bytes(pids: tuple[int, ...]) -> int:
    """Return the unique resident bytes of these processes."""
    total = 0
    for pid in pids:
        for process in parts(pid).values():
            try:
                total += process.memory_full_info().uss
            except psutil.NoSuchProcess:
                continue
    return total
