"""The rig of HTTP: nginx as the target; before it nginx, a bare proxy, the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.rig import _certificate
from sallyport.demo.server import free_port
from tests.support.gateway import Gateway

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
RULES = [
    {
        "name": "bench",
        "effect": "allow",
        "operations": {"effects": ["read", "write"], "resources": {"api": ["*"], "path": ["/**"]}},
    },
    {
        "name": "bench-detect",
        "effect": "mask",
        "subjects": {"groups": ["detected"]},
        "mask": {"detectors": ["email"], "transform": "redact"},
    },
]
TARGET_CONF = """
worker_processes 1; daemon off; pid {folder}/target.pid; error_log {folder}/target.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; types {{ application/json json; }}
  client_body_temp_path {folder}/tb; proxy_temp_path {folder}/tp; fastcgi_temp_path {folder}/tf;
  uwsgi_temp_path {folder}/tu; scgi_temp_path {folder}/ts;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""
PROXY_CONF = """
worker_processes 1; daemon off; pid {folder}/proxy.pid; error_log {folder}/proxy.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/pb; proxy_temp_path {folder}/pp; fastcgi_temp_path {folder}/pf;
  uwsgi_temp_path {folder}/pu; scgi_temp_path {folder}/ps;
  upstream target {{ server 127.0.0.1:{target}; keepalive 128; }}
  server {{
    listen 127.0.0.1:{port}; listen 127.0.0.1:{secure} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    location / {{
      proxy_pass http://target; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
    location /stream {{
      proxy_pass http://127.0.0.1:{streams}; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Way:
    """One way to the target: a URL's beginning, the header that is sent, whose CPU counts."""

    url: str
    pids: tuple[int, ...] = ()
    header: str = ""
    streams: str = ""


class Streams:
    """A target that begins an event stream for whoever asks, and says no more."""

    def __init__(self) -> None:
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=4096)
        )
        self._loop.run_forever()

    @staticmethod
    async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
            )
            await reader.read()
        writer.close()


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[dict[str, Way]]:
    """Build everything in `folder` and take it down; return the ways by name."""
    (folder / "www").mkdir()
    row = {"id": 7, "name": "Ada Byron", "note": "sent on Monday", "mail": "ada@example.com"}
    for name, size in (("1k", 1024), ("1m", 1024 * 1024)):
        rows = [row] * (size // len(json.dumps(row)))
        (folder / "www" / f"{name}.json").write_text(json.dumps(rows))
    certificate, key = _certificate(folder)
    streams = Streams()
    port, proxy, secure, bare, bare_tls = (free_port() for _ in range(5))
    with contextlib.ExitStack() as stack:
        target = _nginx(stack, folder, "target", TARGET_CONF.format(folder=folder, port=port))
        names = {
            "folder": folder, "port": proxy, "secure": secure, "target": port,
            "certificate": certificate, "key": key, "streams": streams.port,
        }  # fmt: skip
        nginx = _nginx(stack, folder, "proxy", PROXY_CONF.format(**names))
        del target
        origin = f"http://127.0.0.1:{port}"
        aiohttp = _python(stack, bare, origin)
        aiohttp_tls = _python(stack, bare_tls, origin, str(certificate), str(key))
        aiohttp_streams_port = free_port()
        far = _python(stack, aiohttp_streams_port, f"http://127.0.0.1:{streams.port}")
        gateway = _gateway(stack, folder, port, streams.port, certificate, key)
        plain = f"http://127.0.0.1:{gateway.port}/t"
        tls = f"https://127.0.0.1:{gateway.tls_port}/t"
        bearer = f"Authorization: Bearer {gateway.agent}"
        hidden = f"Authorization: Bearer {gateway.token('bench', groups=['agents', 'detected'])}"
        serve = (gateway.process.pid,)
        yield {
            "direct": Way(origin),
            "nginx": Way(
                f"http://127.0.0.1:{proxy}", nginx, "", f"http://127.0.0.1:{proxy}/stream"
            ),
            "aiohttp": Way(f"http://127.0.0.1:{bare}", aiohttp),
            "aiohttp streams": Way("", far, "", f"http://127.0.0.1:{aiohttp_streams_port}/"),
            "gateway": Way(f"{plain}/api", serve, bearer, f"{plain}/streams/"),
            "gateway masked": Way(f"{plain}/api", serve, hidden),
            "nginx TLS": Way(f"https://127.0.0.1:{secure}", nginx),
            "aiohttp TLS": Way(f"https://127.0.0.1:{bare_tls}", aiohttp_tls),
            "gateway TLS": Way(f"{tls}/api", serve, bearer),
        }


def _nginx(stack: contextlib.ExitStack, folder: Path, name: str, text: str) -> tuple[int, ...]:
    path = folder / f"{name}.conf"
    path.write_text(text)
    process = subprocess.Popen(
        [NGINX, "-c", str(path), "-p", str(folder), "-e", str(folder / f"{name}.log")]
    )
    stack.callback(_end, process)
    return (process.pid,)


def _python(stack: contextlib.ExitStack, port: int, *words: str) -> tuple[int, ...]:
    process = subprocess.Popen([sys.executable, "-m", "bench.http_proxy", str(port), *words])
    stack.callback(_end, process)
    _wait(port)
    return (process.pid,)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}")


def _gateway(
    stack: contextlib.ExitStack, folder: Path, port: int, streams: int, certificate: Path, key: Path
) -> Any:
    """Start a gateway with two targets and two listeners, one of them with TLS."""
    tls_port = free_port()
    plain = {
        "protocol": "http", "login": "app", "logins": {"app": {"credential": "vault:db"}},
    }  # fmt: skip
    made = Gateway(
        folder / "gateway",
        SimpleNamespace(port=port),  # type: ignore[arg-type]
        rules=RULES,
        guardrails={"enabled": False},
    )
    made.config["listeners"] = [
        {"name": "web", "protocol": "http", "address": f"127.0.0.1:{made.port}"},
        {
            "name": "secure", "protocol": "http", "address": f"127.0.0.1:{tls_port}",
            "tls": {"certificate": f"file:{certificate}", "key": f"file:{key}"},
        },
    ]  # fmt: skip
    made.config["targets"] = [
        {"name": "api", "address": f"127.0.0.1:{port}", **plain},
        {"name": "streams", "address": f"127.0.0.1:{streams}", **plain},
    ]
    made.tls_port = tls_port  # type: ignore[attr-defined]
    stack.enter_context(made)
    return made
