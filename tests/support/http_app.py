"""What the HTTP servers of tests answer: one small site, as a bare ASGI application.

It notes every request as soon as its head is there, and the body's size and digest once that ended:
what a gateway says that it forwarded has to be what stands here.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

BIG = 5 * 1024 * 1024
ETAG = b'"v1-of-it"'
PAGE = b"""<!doctype html><title>a page</title><p id=said>nothing yet</p><script>
fetch(location.origin + location.pathname.replace(/page$/, 'json')).then(r => r.json()).then(j => { document.getElementById('said').textContent = 'it says ' + j.says; });
</script>"""
SAYS = {"says": "hello", "numbers": [1, 2.5, None], "name": "Zo\u00eb"}


def bytes_of(size: int) -> bytes:
    """Return bytes that are the same for everybody, and not the same everywhere."""
    block = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(64))
    return (block * (size // len(block) + 1))[:size]


@dataclass
class Counted:
    """One request that a server counted. `whole`: its body ended; `status`: what it was answered,
    where the server tells."""

    method: str
    target: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    length: int = 0
    digest: str = ""
    whole: bool = False
    status: int = 0

    def get(self, name: str) -> list[str]:
        """Return the values of a field."""
        return [value for key, value in self.fields if key == name]


class App:
    """The application. `counted` are its requests, in the order of their heads."""

    def __init__(self) -> None:
        self.counted: list[Counted] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]]
        one = Counted(scope["method"], target, fields)
        self.counted.append(one)
        answer = Answering(one, scope["path"], send)
        if not await self._read(one, receive):
            return
        await answer.run(
            dict(
                part.partition("=")[::2]
                for part in scope["query_string"].decode("latin-1").split("&")
            )
        )

    async def _read(self, one: Counted, receive: Receive) -> bool:
        hashed = hashlib.sha256()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            data = message.get("body", b"")
            hashed.update(data)
            one.length += len(data)
            if not message.get("more_body"):
                one.digest, one.whole = hashed.hexdigest(), True
                return True


class Answering:
    """Answers one request by its path."""

    def __init__(self, one: Counted, path: str, send: Send) -> None:
        self._one = one
        self._path = path
        self._send = send

    async def run(self, query: dict[str, str]) -> None:
        name = self._path.strip("/").split("/")[0].replace("-", "_")
        made = getattr(self, f"do_{name}", None)
        await (made(query) if made else self.whole(404, b"text/plain", b"nothing here\n"))

    async def whole(
        self, status: int, kind: bytes, body: bytes, more: Headers | None = None
    ) -> None:
        self._one.status = status
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *(more or [])]
        if status in (204, 304):
            headers, body = more or [], b""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send(
            {"type": "http.response.body", "body": b"" if self._one.method == "HEAD" else body}
        )

    async def json(self, value: Any, status: int = 200, more: Headers | None = None) -> None:
        await self.whole(status, b"application/json", json.dumps(value).encode(), more)

    async def pieces(self, kind: bytes, parts: list[bytes]) -> None:
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}
        )
        for part in parts if self._one.method != "HEAD" else []:
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    # --- the pages

    async def do_json(self, _: dict[str, str]) -> None:
        await self.json(SAYS)

    async def do_echo(self, _: dict[str, str]) -> None:
        one = self._one
        await self.json(
            {"method": one.method, "target": one.target, "length": one.length, "digest": one.digest}
        )

    async def do_made(self, _: dict[str, str]) -> None:
        await self.json({"length": self._one.length}, 201, [(b"location", b"/made/7")])

    async def do_big(self, query: dict[str, str]) -> None:
        size = int(query.get("size", BIG))
        await self.whole(200, b"application/octet-stream", bytes_of(size))

    async def do_stream(self, query: dict[str, str]) -> None:
        data = bytes_of(int(query.get("size", 100_000)))
        await self.pieces(
            b"application/octet-stream", [data[n : n + 7000] for n in range(0, len(data), 7000)]
        )

    async def do_events(self, query: dict[str, str]) -> None:
        count = int(query.get("count", 3))
        await self.pieces(
            b"text/event-stream", [b"id: %d\ndata: event %d\n\n" % (n, n) for n in range(count)]
        )

    async def do_etag(self, _: dict[str, str]) -> None:
        known = self._one.get("if-none-match") == [ETAG.decode()]
        await self.whole(304 if known else 200, b"text/plain", b"it is this\n", [(b"etag", ETAG)])

    async def do_redirect(self, _: dict[str, str]) -> None:
        await self.whole(302, b"text/plain", b"over there\n", [(b"location", b"/json")])

    async def do_cookie(self, _: dict[str, str]) -> None:
        await self.json(
            {},
            200,
            [
                (b"set-cookie", b"taste=sweet; Path=/"),
                (b"set-cookie", b"size=big; Path=/; HttpOnly"),
            ],
        )

    async def do_cookies(self, _: dict[str, str]) -> None:
        await self.json(sorted("; ".join(self._one.get("cookie")).split("; ")))

    async def do_gzip(self, _: dict[str, str]) -> None:
        text = b"the same again and again\n" * 500
        if "gzip" not in ",".join(self._one.get("accept-encoding")):
            await self.whole(200, b"text/plain", text)
            return
        more = [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
        await self.whole(200, b"text/plain", gzip.compress(text, mtime=0), more)

    async def do_ranges(self, _: dict[str, str]) -> None:
        data, asked = bytes_of(10_000), self._one.get("range")
        if not asked:
            await self.whole(200, b"application/octet-stream", data, [(b"accept-ranges", b"bytes")])
            return
        first, _, last = asked[0].removeprefix("bytes=").partition("-")
        if not first.isdigit() or int(first) >= len(data):
            await self.whole(416, b"text/plain", b"no\n", [(b"content-range", b"bytes */10000")])
            return
        end = min(int(last) if last else len(data) - 1, len(data) - 1)
        more = [(b"content-range", b"bytes %d-%d/%d" % (int(first), end, len(data)))]
        await self.whole(206, b"application/octet-stream", data[int(first) : end + 1], more)

    async def do_page(self, _: dict[str, str]) -> None:
        await self.whole(200, b"text/html; charset=utf-8", PAGE)

    async def do_status(self, _: dict[str, str]) -> None:
        await self.whole(int(self._path.split("/")[2]), b"text/plain", b"as asked\n")

    async def do_headers(self, _: dict[str, str]) -> None:
        more = [(b"x-many", b"one"), (b"x-many", b"two"), (b"x-empty", b""), (b"x-latin", b"caf\xe9"),
                (b"cache-control", b"max-age=60"), (b"link", b"</json>; rel=next")]  # fmt: skip
        await self.whole(200, b"text/plain", b"", more)
