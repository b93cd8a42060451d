"""Runs one case of the corpus: says its bytes, then looks at what the server counted.

A case is data: `send` bytes (a list: one after the other), `as` whom, and what must come of it:
`want` is `refused` (an error, or the end of the connection; the server counts nothing), `nothing`
(no answer either, while the rest is waited for), or the requests that the server counts, in order,
as `METHOD PATH [BODY'S LENGTH]` (null: one that is refused in between). `then: refused`: what
follows them. `has` and `never`: words that the counted requests hold, or none of them does.
`refusable`: refused is as good; `want: any`: whatever, but `never`. `known`: it fails, for this reason.
"""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import h11
from ruamel.yaml import YAML

from tests.support.http_app import Counted

CASES: Final = Path(__file__).parent / "cases"
_KEYS: Final = {"name", "as", "send", "want", "then", "has", "never", "refusable", "head", "known"}
PATIENCE: Final = 10.0
QUIET: Final = 0.04
"""Seconds in which an answer that nobody wants would come."""


def load(file: Path) -> list[dict[str, Any]]:
    """Return the cases of one file, with the file's defaults in each."""
    document = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    defaults = {name: value for name, value in document.items() if name != "cases"}
    cases = [{"as": "all", **defaults, **case} for case in document["cases"]]
    for case in cases:
        if set(case) - _KEYS or not (
            case["want"] in ("refused", "nothing", "any") or isinstance(case["want"], list)
        ):
            raise ValueError(f"{file.name}: `{case['name']}` is no case")
    return cases


class Answer(NamedTuple):
    """One response that the client got."""

    status: int
    body: bytes
    refused: str


def fill(text: str, *, name: str, port: int, token: str) -> bytes:
    """Return the bytes of a case: every character a byte, words in `<>` filled in."""
    auth = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
    evil = f"GET /t/{name}/echo/evil HTTP/1.1\r\n{auth}\r\n"
    inner = "GET /echo/evil HTTP/1.1\r\nHost: a\r\n\r\n"
    words = {
        "evil-length": str(len(evil)),
        "evil": evil,
        "inner-length": str(len(inner)),
        "inner": inner,
        "t": f"/t/{name}",
        "name": name,
        "auth": auth,
        "bare": f"Authorization: Bearer {token}\r\n",
        "token": token,
        "authority": f"127.0.0.1:{port}",
        "long": "x" * 300,
        "huge": "X-Long: " + "x" * 70_000,
        "many": "".join(f"X-{n}: y\r\n" for n in range(300)),
        "tiny": "1\r\nx\r\n" * 5000,
    }
    return re.sub(r"<([a-z-]+)>", lambda m: words.get(m[1], m[0]), text).encode("latin-1")


def send(
    port: int, parts: list[bytes], methods: list[str], *, patience: float = PATIENCE
) -> tuple[list[Answer], bool]:
    """Say this, and return the answers, one for each method; and whether the gateway closed.

    An answer that is one too many is returned too.
    """
    received, closed, until = b"", False, time.monotonic() + patience
    with socket.create_connection(("127.0.0.1", port), patience) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for number, part in enumerate(parts):
                if number:
                    time.sleep(0.01)
                connection.sendall(part)
        except OSError:
            pass  # it was refused before all of it was said
        while not closed:
            enough = len(answers(received, methods, closed)) >= len(methods)
            left = QUIET if enough else until - time.monotonic()
            if left <= 0:
                break
            connection.settimeout(left)
            try:
                data = connection.recv(65536)
            except TimeoutError:
                break
            except OSError:
                data = b""
            received += data
            closed = not data
    return answers(received, [*methods, "GET"], closed), closed


def answers(received: bytes, methods: list[str], closed: bool) -> list[Answer]:
    """Return the whole responses in what was received, read by h11."""
    found = []
    for method in methods:
        reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        reader.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(received)
        if closed:
            reader.receive_data(b"")
        status, refused, body = 0, "", b""
        try:
            while not isinstance(event := reader.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Response):
                    status = event.status_code
                    refused = dict(event.headers).get(b"x-sallyport-refused", b"").decode()
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(
                    event, h11.ConnectionClosed
                ):
                    return found
        except h11.RemoteProtocolError:
            return found
        found.append(Answer(status, body, refused))
        received = reader.trailing_data[0]
    return found


def expected(case: dict[str, Any]) -> tuple[list[tuple[str, str, int | None]], list[str]]:
    """Return the requests that are to be counted, and the methods of those that are answered."""
    if case["want"] in ("refused", "nothing", "any"):
        return [], ["GET"]
    counted: list[tuple[str, str, int | None]] = []
    methods = []
    for line in case["want"]:
        if line is None:
            methods.append("GET")
            continue
        method, path, *length = line.split(" ")
        counted.append((method, path, int(length[0]) if length and length[0] != "*" else None))
        methods.append(method)
    return counted, methods + (["GET"] if case.get("then") else [])


def told(one: Counted) -> str:
    """Return a counted request as one text, in lower case."""
    lines = [f"{name}: {value}" for name, value in one.fields]
    return "\n".join([f"{one.method} {one.target}", *lines]).lower()
