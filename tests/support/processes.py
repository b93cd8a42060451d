"""The processes of a running gateway, and patience: what tests of its life and death share."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support.gateway import Gateway

PATIENCE = 60.0
"""Seconds that anything may take on a slow machine before it counts as hanging."""

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found | None], what: str, seconds: float = PATIENCE) -> Found:
    """Return what `look` finds as soon as that is true; fail naming `what` when it never is."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"in {seconds:.0f} s never came true: {what}")
        time.sleep(0.02)


def part(gateway: Gateway, name: str) -> int | None:
    """Return the process id of `control` or `worker`, None while there is none."""
    if gateway.process is None:
        raise AssertionError("the gateway does not run")
    top = gateway.process.pid
    for child in Path(f"/proc/{top}/task/{top}/children").read_text().split():
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"sallyport.app" in words and name.encode() in words:
            return int(child)
    return None


def running(gateway: Gateway, name: str) -> int:
    """Return the process id of a part that is there."""
    return wait_for(lambda: part(gateway, name), f"{name} runs")


def kill(gateway: Gateway, name: str) -> int:
    """`kill -9` one part; return its process id, which is nobody's now."""
    process = running(gateway, name)
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: part(gateway, name) != process, f"{name} {process} is gone")
    return process


def unique_memory(process: int) -> int:
    """Return the bytes that are this process's alone (USS)."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    private = [line.split() for line in rollup.splitlines() if line.startswith("Private_")]
    return sum(int(words[1]) for words in private) * 1024
