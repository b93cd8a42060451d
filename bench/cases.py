"""The cases: each measures one way once; the runner interleaves ways and takes medians."""

from __future__ import annotations

import contextlib
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench.processes import cpu_seconds, resident_bytes, settle
from bench.rig import Rig, Way

IDLE = 500
"""Sessions of the memory case."""

Figures = dict[str, float]


class Spent:
    """CPU seconds of one way, by process: while it was asked, and until it was done with it."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.during = 0.0
        self.total = 0.0


@contextlib.contextmanager
def spending(way: Way) -> Iterator[Spent]:
    """Measure what the way's processes spend inside, and after it until they are idle."""
    settle(way.pids)
    spent, before = Spent(), cpu_seconds(way.pids)
    yield spent
    spent.during = sum(cpu_seconds(way.pids).values()) - sum(before.values())
    settle(way.pids)
    after = cpu_seconds(way.pids)
    spent.parts = {name: used - before.get(name, 0.0) for name, used in after.items()}
    spent.total = sum(spent.parts.values())


def pgbench(
    rig: Rig, way: Way, *, mode: str, clients: int, seconds: int, script: str = ""
) -> Figures:
    """Run `pgbench -S`: queries a second, latency in ms, proxy CPU in us a query, by process.

    `script` is what to run in the place of `-S`.
    """
    what = ["-S"]
    if script:
        file = rig.rows.with_name("script.sql")
        file.write_text(script)
        what = ["-f", str(file)]
    with spending(way) as spent:
        done = subprocess.run(
            [
                rig.pgbench(way), "-n", *what, "-M", mode, "-c", str(clients),
                "-j", "1", "-T", str(seconds), way.dsn,
            ],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    count = max(1, int(_find(r"actually processed: (\d+)", done.stdout)))
    figures = {
        "tps": float(_find(r"tps = ([\d.]+)", done.stdout)),
        "latency_ms": float(_find(r"latency average = ([\d.]+)", done.stdout)),
        "proxy_us": spent.total / count * 1e6,
    }
    if len(spent.parts) > 1:
        figures["during_us"] = spent.during / count * 1e6
        figures |= {f"{name}_us": used / count * 1e6 for name, used in spent.parts.items()}
    return figures


def bulk(rig: Rig, way: Way, *, sql: str) -> Figures:
    """Run one big statement with psql and return its seconds and the proxy's."""
    with spending(way) as spent:
        seconds = _psql(rig, way, sql)
    return {"seconds": seconds, "proxy_s": spent.total}


def _psql(rig: Rig, way: Way, sql: str) -> float:
    start = time.monotonic()
    subprocess.run(
        [rig.server.binaries / "psql", "-X", "-q", "-o", "/dev/null", way.dsn, "-c", sql],
        check=True, capture_output=True,
    )  # fmt: skip
    return time.monotonic() - start


def copy_in(rig: Rig, way: Way) -> Figures:
    """Copy the rig's file into an empty table and return the seconds and the proxy's."""
    target = rig.ways["direct"]
    with psycopg.connect(target.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS copied")
        connection.execute("CREATE UNLOGGED TABLE copied (LIKE wide)")
    with spending(way) as spent:
        seconds = _psql(rig, way, f"\\copy copied FROM '{rig.rows}'")
    return {"seconds": seconds, "proxy_s": spent.total}


def _pipeline(rig: Rig, way: Way) -> None:
    """Send short queries in pipelines of a thousand, for a second."""
    script = rig.rows.with_name("pipeline.sql")
    if not script.exists():
        queries = "SELECT abalance FROM pgbench_accounts WHERE aid = 1;\n" * 1000
        script.write_text(f"\\startpipeline\n{queries}\\endpipeline\n")
    subprocess.run(
        [
            rig.pgbench(way), "-n", "-M", "extended", "-f", str(script), "-c", "1", "-T", "1",
            way.dsn,
        ],
        check=True, capture_output=True,
    )  # fmt: skip


def beside(rig: Rig, way: Way, *, sql: str) -> Figures:
    """Return p50 and p99 in ms of a small query while another session is busy.

    It fetches `sql`, or sends pipelines of short queries where there is none.
    """
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            if sql:
                _psql(rig, way, sql)
            else:
                _pipeline(rig, way)

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


def idle(rig: Rig, way: Way) -> Figures:
    """Return KB of the proxy for each of 500 idle sessions."""
    with psycopg.connect(way.dsn, autocommit=True) as first:
        first.execute("SELECT 1")
    settle(way.pids)
    before = resident_bytes(way.pids)
    connections = [psycopg.connect(way.dsn, autocommit=True) for _ in range(IDLE)]
    for connection in connections:
        connection.execute("SELECT 1")
    settle(way.pids)
    after = resident_bytes(way.pids)
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
