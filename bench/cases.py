"""The cases: each measures one way once; the runner interleaves ways and takes medians."""

from __future__ import annotations

import re
import statistics
import subprocess
import threading
import time
from pathlib import Path

import psycopg

from bench.processes import cpu_seconds, resident_bytes
from bench.rig import Rig, Way

IDLE = 500
"""Sessions of the memory case."""


def pgbench(rig: Rig, way: Way, *, mode: str, clients: int, seconds: int) -> dict[str, float]:
    """Run `pgbench -S` and return queries a second, latency in ms, and proxy CPU in us a query."""
    before = cpu_seconds(list(way.pids))
    done = subprocess.run(
        [
            rig.server.binaries / "pgbench", "-n", "-S", "-M", mode, "-c", str(clients),
            "-j", "1", "-T", str(seconds), way.dsn,
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    used = cpu_seconds(list(way.pids)) - before
    transactions = int(_find(r"actually processed: (\d+)", done.stdout))
    return {
        "tps": float(_find(r"tps = ([\d.]+)", done.stdout)),
        "latency_ms": float(_find(r"latency average = ([\d.]+)", done.stdout)),
        "proxy_us": used / max(1, transactions) * 1e6,
    }


def bulk(rig: Rig, way: Way, *, sql: str) -> dict[str, float]:
    """Run one big statement with psql and return its seconds and the proxy's."""
    before, start = cpu_seconds(list(way.pids)), time.monotonic()
    subprocess.run(
        [rig.server.binaries / "psql", "-X", "-q", "-o", "/dev/null", way.dsn, "-c", sql],
        check=True, capture_output=True,
    )  # fmt: skip
    return {
        "seconds": time.monotonic() - start,
        "proxy_s": cpu_seconds(list(way.pids)) - before,
    }


def beside(rig: Rig, way: Way, *, sql: str) -> dict[str, float]:
    """Return p50 and p99 in ms of a small query while another session fetches a bulk result."""
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            bulk(rig, way, sql=sql)

    thread = threading.Thread(target=load)
    times: list[float] = []
    with psycopg.connect(way.dsn, autocommit=True) as connection:
        connection.execute("SELECT 1")
        thread.start()
        time.sleep(0.5)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            start = time.monotonic()
            connection.execute("SELECT abalance FROM pgbench_accounts WHERE aid = 1").fetchone()
            times.append((time.monotonic() - start) * 1e3)
        stop.set()
        thread.join()
    times.sort()
    return {"p50_ms": statistics.median(times), "p99_ms": times[int(len(times) * 0.99)]}


def idle(rig: Rig, way: Way) -> dict[str, float]:
    """Return KB of the proxy for each of 500 idle sessions."""
    before = resident_bytes(list(way.pids))
    connections = [psycopg.connect(way.dsn, autocommit=True) for _ in range(IDLE)]
    for connection in connections:
        connection.execute("SELECT 1")
    after = resident_bytes(list(way.pids))
    for connection in connections:
        connection.close()
    return {"kb_a_session": (after - before) / IDLE / 1024}


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"no `{pattern}` in what pgbench printed:\n{text}")
    return found.group(1)


def folder_for_results() -> Path:
    """Return where results are written."""
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    return folder
