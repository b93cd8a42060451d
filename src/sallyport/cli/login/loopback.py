"""The loopback redirect (RFC 8252, 7.3): hears the one answer that a browser brings.

On 127.0.0.1 and a port of the system's choice. The first request to the path is the answer, good or
bad, and the last one that is heard; whatever else knocks (an icon, another program) changes
nothing. The page says nothing about how the login went: that is told in the terminal.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

PATH: Final = "/callback"
MAXIMUM_QUERY: Final = 8192
SLOWEST: Final = 5.0
"""Seconds that one connection may take to say what it wants."""

_PAGE: Final = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Sallyport</title>
<p>Sallyport has its answer. You can close this page and go back to the terminal.</p></html>
"""
_HEADERS: Final = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "connection": "close",
}


class Loopback:
    """A place on this machine that a browser is sent back to."""

    def __init__(self) -> None:
        self._answers: queue.Queue[str] = queue.Queue(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.authority = f"127.0.0.1:{self._server.server_address[1]}"
        self.uri = f"http://{self.authority}{PATH}"

    def take(self, query: str) -> bool:
        """Take the answer; False: there was one already."""
        try:
            self._answers.put_nowait(query)
        except queue.Full:
            return False
        return True

    def wait(self, seconds: float) -> str | None:
        """Return the query that the browser came with, or None after `seconds`."""
        try:
            return self._answers.get(timeout=seconds)
        except queue.Empty:
            return None

    @contextlib.contextmanager
    def listening(self) -> Iterator[Loopback]:
        """Listen while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def _handler(place: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One connection of a browser."""

        timeout = SLOWEST

        def do_GET(self) -> None:
            """Answer with the page, once and for the right path and `Host` alone."""
            parts = urlsplit(self.path)
            if self.headers.get_all("host") != [place.authority]:
                self._answer(400)  # another name for this machine: DNS rebinding
            elif parts.path != PATH or len(parts.query) > MAXIMUM_QUERY:
                self._answer(404)
            else:
                self._answer(200 if place.take(parts.query) else 410)

        def _answer(self, status: int) -> None:
            body = _PAGE if status == 200 else b""
            self.send_response_only(status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a request holds a code."""

    return Handler
