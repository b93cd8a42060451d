"""HTTP: direct, nginx, a bare aiohttp proxy and the gateway, by `wrk`; ratios of one run."""

from __future__ import annotations

import argparse
import functools
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from bench.__main__ import report, run, write
from bench.cases import Figures, spending
from bench.http_rig import NGINX, Way, rig
from bench.processes import resident_bytes, settle

STREAMS = 1000


def load(_: object, way: Way, *, path: str, clients: int, seconds: int) -> Figures:
    """Run wrk: requests a second, latency in ms, MB/s, proxy CPU in us a request."""
    header = ["-H", way.header] if way.header else []
    with spending(way) as spent:  # type: ignore[arg-type]
        done = subprocess.run(
            [
                "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", *header,
                f"{way.url}{path}",
            ],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
    if "Non-2xx" in done:
        raise RuntimeError(f"{way.url}{path} was refused:\n{done}")
    count = int(_find(r"(\d+) requests in", done))
    figures = {
        "rps": float(_find(r"Requests/sec:\s+([\d.]+)", done)),
        "p50_ms": _milliseconds(_find(r"\n\s+50%\s+([\d.]+[a-z]+)", done)),
        "p99_ms": _milliseconds(_find(r"\n\s+99%\s+([\d.]+[a-z]+)", done)),
        "proxy_us": spent.total / max(1, count) * 1e6,
    }
    if len(spent.parts) > 1:
        figures |= {f"{name}_us": used / count * 1e6 for name, used in spent.parts.items()}
    return figures


def held_open(_: object, way: Way) -> Figures:
    """Open 1,000 event streams, and return the KB that each takes."""
    url = urlsplit(way.streams)
    head = f"GET {url.path} HTTP/1.1\r\nhost: {url.netloc}\r\n{way.header}\r\n\r\n"
    request = head.replace("\r\n\r\n\r\n", "\r\n\r\n").encode()
    first = _stream(url.port or 80, request)
    settle(way.pids)
    before = resident_bytes(way.pids)
    started = time.monotonic()
    opened = [_stream(url.port or 80, request) for _ in range(STREAMS)]
    took = time.monotonic() - started
    settle(way.pids)
    after = resident_bytes(way.pids)
    for sock in [first, *opened]:
        sock.close()
    return {"kb_a_stream": (after - before) / STREAMS / 1024, "open_ms": took / STREAMS * 1e3}


def _stream(port: int, request: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 30)
    sock.sendall(request)
    got = b""
    while b"data: 1" not in got:
        more = sock.recv(4096)
        if not more:
            raise RuntimeError(f"the stream ended: {got!r}")
        got += more
    return sock


def _milliseconds(text: str) -> float:
    number = float(re.sub(r"[a-z]+", "", text))
    return number * {"us": 1e-3, "ms": 1.0, "s": 1e3}[re.sub(r"[\d.]+", "", text)]


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"no `{pattern}` in what wrk printed:\n{text}")
    return found.group(1)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.http")
    parser.add_argument("--quick", action="store_true", help="short runs, one of each")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    given, _ = parser.parse_known_args()
    if shutil.which("wrk") is None or not Path(NGINX).exists():
        print("not measured: HTTP needs nginx and wrk (apt-get install nginx-light wrk)")
        return
    seconds, repeat = (2, 1) if given.quick else (5, 3)
    every = ("direct", "nginx", "aiohttp", "gateway", "gateway masked")
    secure = ("nginx TLS", "aiohttp TLS", "gateway TLS")
    cases = [
        (
            f"HTTP: {name} bodies, {clients} clients{tls}",
            ways,
            repeat,
            functools.partial(load, path=path, clients=clients, seconds=seconds),
        )
        for name, path in (("1 KB", "/1k.json"), ("1 MB", "/1m.json"))
        for clients in (1, 8, 64)
        for tls, ways in (("", every), (", TLS", secure))
    ]
    results = {}
    console = Console()
    with tempfile.TemporaryDirectory(prefix="sallyport-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with rig(folder) as built:
            wrapped = type("Ways", (), {"ways": built})()
            streams = ("nginx", "aiohttp streams", "gateway")
            plan = [*cases, (f"HTTP: {STREAMS} streams held open", streams, 1, held_open)]
            for case, ways, times, measure in plan:
                if given.only not in case:
                    continue
                console.print(f"[dim]{case} ...[/dim]")
                results[case] = run(wrapped, ways, times, measure)  # type: ignore[arg-type]
                report(console, {case: results[case]})
    write(results)


if __name__ == "__main__":
    main()
