"""A git server for tests: git's own `http-backend` as CGI, behind a server of a few lines."""

from __future__ import annotations

import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.http_peers import Peer

BACKEND = Path("/usr/lib/git-core/git-http-backend")


class GitServer(Peer):
    """Serves the bare repositories in `folder`, for reading and for writing."""

    name = "git"

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._serve(b"")

            def do_POST(self) -> None:
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    self._serve(self.rfile.read(int(self.headers.get("content-length", 0))))
                    return
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                self._serve(body)

            def _serve(self, body: bytes) -> None:
                path, _, query = self.path.partition("?")
                environment = {
                    "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(outer.folder), "GIT_HTTP_EXPORT_ALL": "1",
                    "REMOTE_USER": "somebody", "REQUEST_METHOD": self.command, "PATH_INFO": path, "QUERY_STRING": query,
                    "CONTENT_TYPE": self.headers.get("content-type", ""), "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
                }  # fmt: skip
                done = subprocess.run(
                    [BACKEND], input=body, env=environment, capture_output=True, check=False
                )
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                lines = [line.partition(":")[::2] for line in head.decode().split("\r\n")]
                status = next(
                    (int(value.split()[0]) for name, value in lines if name == "Status"), 200
                )
                self.send_response(status)
                for name, value in lines:
                    if name != "Status":
                        self.send_header(name, value.strip())
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def clear(self) -> None:
        pass
