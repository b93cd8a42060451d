"""Real HTTP servers for tests, each of which tells exactly what requests it counted.

uvicorn (with httptools and with h11), node, nginx, and `Scripted`, which answers with the bytes
that a test wants. All listen on loopback, with TLS where they are given a certificate.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn

from sallyport.demo.server import free_port
from tests.support.http_app import App, Counted
from tests.support.processes import PATIENCE

Files = tuple[Path, Path]
"""A certificate and its key."""
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
NODE = shutil.which("node")
HERE = Path(__file__).parent


class Peer:
    """A server in `folder`. Use as a context manager."""

    name = ""

    def __init__(self, folder: Path, tls: Files | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.tls = tls
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def counted(self) -> list[Counted]:
        """Return the requests since `clear`."""
        raise NotImplementedError

    def clear(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Peer:
        self.start()
        reached(self.port, self.name)
        self.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def reached(port: int, name: str) -> None:
    """Wait until somebody listens there."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < until, f"{name} does not start"
            time.sleep(0.03)


class Uvicorn(Peer):
    """The site of `http_app`, served by uvicorn with one of its two readers."""

    def __init__(
        self, folder: Path, tls: Files | None = None, *, reader: Literal["httptools", "h11"] = "httptools"
    ) -> None:  # fmt: skip
        super().__init__(folder, tls)
        self.name = f"uvicorn-{reader}"
        self.app = App()
        files = {"ssl_certfile": str(tls[0]), "ssl_keyfile": str(tls[1])} if tls else {}
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.app, host="127.0.0.1", port=self.port, http=reader, ws="none", lifespan="off",
                log_level="critical", access_log=False, timeout_graceful_shutdown=1, **files,
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    def counted(self) -> list[Counted]:
        return list(self.app.counted)

    def clear(self) -> None:
        self.app.counted.clear()


class _Process(Peer):
    """A server that is a program."""

    def __init__(self, folder: Path, tls: Files | None = None) -> None:
        super().__init__(folder, tls)
        self._process: subprocess.Popen[bytes] | None = None

    def _run(self, *words: str) -> None:
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Node(_Process):
    """node's own server: says what it was asked."""

    name = "node"

    def start(self) -> None:
        if NODE is None:
            pytest.skip("node (Debian package nodejs) is needed")
        self._admin = free_port()
        settings = {
            "port": self.port,
            "admin": self._admin,
            "tls": [str(p) for p in self.tls or ()] or None,
        }
        self._run(NODE, str(HERE / "http_node.js"), json.dumps(settings))
        reached(self._admin, self.name)

    def counted(self) -> list[Counted]:
        told = json.loads(self._tell("GET"))
        return [Counted(**{**one, "fields": [tuple(f) for f in one["fields"]]}) for one in told]

    def clear(self) -> None:
        self._tell("DELETE")

    def _tell(self, method: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._admin, timeout=PATIENCE)
        connection.request(method, "/")
        told = connection.getresponse().read()
        connection.close()
        return told


class Nginx(_Process):
    """nginx: its access log is what it counted, what it refused itself too (`status` 400)."""

    name = "nginx"

    def start(self) -> None:
        if NGINX is None:
            pytest.skip("nginx (Debian package) is needed")
        folder, secured = self.folder, ""
        listen = f"127.0.0.1:{self.port}"
        if self.tls:
            listen += " ssl http2"
            secured = f"ssl_certificate {self.tls[0]}; ssl_certificate_key {self.tls[1]};"
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"""daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
            events {{ worker_connections 256; }}
            http {{
              {paths}
              log_format told escape=json '{{"method":"$request_method","target":"$request_uri",'
                '"host":"$http_host","line":"$request","length":"$content_length","status":$status}}';
              access_log {folder}/access.log told;
              merge_slashes off; client_max_body_size 64m;
              server {{
                listen {listen}; {secured}
                location / {{ default_type text/plain; return 200 "$request_method $request_uri\\n"; }}
              }}
            }}"""
        )
        self._run(
            NGINX,
            "-p",
            str(folder),
            "-c",
            str(folder / "nginx.conf"),
            "-e",
            str(folder / "error.log"),
        )

    def counted(self) -> list[Counted]:
        log = self.folder / "access.log"
        found = []
        for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
            told = json.loads(line)
            one = Counted(
                told["method"], told["target"], [("host", told["host"])], status=told["status"]
            )
            one.length = (
                int(told["length"] or 0) if told["length"].isdigit() or not told["length"] else -1
            )
            one.whole = one.status < 400
            found.append(one)
        return found[self._before :]

    def clear(self) -> None:
        self._before = 0
        self._before = len(self.counted())

    _before = 0


Step = bytes | float | str
"""Bytes to send, seconds to wait, or `close`, `reset`, `once` (nothing if it is the connection's
second request)."""


class Scripted(Peer):
    """Answers the path `/NAME` with the steps of that name; what it got is kept as bytes."""

    name = "scripted"

    def __init__(self, folder: Path, tls: Files | None = None) -> None:
        super().__init__(folder, tls)
        self.scripts: dict[str, list[Step]] = {}
        self.requests: list[tuple[int, bytes]] = []
        self._connections = 0
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    outer._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, connection: socket.socket) -> None:
        self._connections += 1
        number, buffer = self._connections, b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    size = int(line.partition(b":")[2])
                    while len(buffer) < size:
                        buffer += connection.recv(65536)
                    buffer = buffer[size:]
            self.requests.append((number, head))
            name = head.split(b" ")[1].decode().split("?")[0].strip("/")
            if not self._answer(connection, self.scripts.get(name, PLAIN)):
                return

    def _answer(self, connection: socket.socket, steps: list[Step]) -> bool:
        for step in steps:
            if isinstance(step, bytes):
                connection.sendall(step)
            elif isinstance(step, float | int):
                time.sleep(step)
            elif step == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
                return False
            else:
                connection.shutdown(socket.SHUT_RDWR)
                return False
        return True

    def counted(self) -> list[Counted]:
        found = []
        for _, head in list(self.requests):
            line, *lines = head.decode("latin-1").split("\r\n")
            method, target = line.split(" ")[:2]
            fields = [
                (name.lower(), value.strip())
                for name, _, value in (one.partition(":") for one in lines)
            ]
            found.append(Counted(method, target, fields, whole=True))
        return found

    def clear(self) -> None:
        self.requests.clear()


PLAIN: list[Step] = [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nplain\n"]
