"""CPU time and memory of whole process trees."""

from __future__ import annotations

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU seconds, user and system, that these trees have used so far."""
    total = 0.0
    for pid in pids:
        for process in tree(pid):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


def resident_bytes(pids: list[int]) -> int:
    """Return the unique resident bytes of these trees."""
    total = 0
    for pid in pids:
        for process in tree(pid):
            try:
                total += process.memory_full_info().uss
            except psutil.NoSuchProcess:
                continue
    return total
