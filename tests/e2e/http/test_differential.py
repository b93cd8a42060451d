"""A differential: the same requests, direct and through the gateway, answered and counted the same.

Compared are status, header fields, body and trailers as the client gets them, and method, target,
header fields, and body as the server counts them; but for the lists below, each with its reason.
"""

from __future__ import annotations

import gzip
import http.client
import json
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.http_app import Counted, bytes_of
from tests.support.http_gateway import CREDENTIAL, HttpGateway
from tests.support.http_peers import NODE, Node, Peer, Uvicorn

COUNT = 400
OWN_ANSWER = {
    "date": "it is another second",
    "connection": "of one leg alone",
    "keep-alive": "of one leg alone",
    "transfer-encoding": "of one leg alone",
}
OWN_REQUEST = {
    "host": "the target's own",
    "connection": "of one leg alone",
    "transfer-encoding": "of one leg alone: a body that was looked at as a whole may go as a whole",
    "content-length": "as that; what was sent is compared itself",
}
METHODS = "GET GET GET POST POST PUT PATCH DELETE HEAD OPTIONS PROPFIND REPORT".split()
PATHS = [
    "/json", "/echo/a", "/echo/a/b/c", "/echo/", "/echo", "/nothing", "/", "/echo/a%20b", "/echo/Zo%C3%AB",
    "/echo/a+b", "/echo/a.b~c-d_e", "/echo/(x)", "/echo/x,y", "/echo/a:b@c", "/echo/$&'!*", "/made", "/etag",
    "/redirect", "/cookie", "/cookies", "/gzip", "/ranges", "/page", "/headers", "/events?count=2",
    "/stream?size=20000", "/big?size=100", "/big?size=0", "/big?size=200000", "/status/200", "/status/204",
    "/status/304", "/status/400", "/status/404", "/status/418", "/status/500", "/status/503", "/echo/" + "x" * 900,
]  # fmt: skip
QUERIES = [
    "",
    "",
    "",
    "?x=1",
    "?x=1&x=2",
    "?x=%20a+b",
    "?",
    "?=",
    "?a=b=c",
    "?q=%C3%A9%26",
    "?a[]=1&b{}=2",
    "?/../x",
]
HEADERS = [
    {}, {}, {"X-One": "1"}, {"X-Empty": ""}, {"X-Long": "v" * 3000}, {"Accept": "application/json, */*;q=0.1"},
    {"If-None-Match": '"v1-of-it"'}, {"Range": "bytes=10-19"}, {"Range": "bytes=99999-"}, {"Cookie": "a=b; c=d"},
    {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}, {"X-Latin": "caf\xe9"}, {"Referer": "http://a/b?c"},
    {"User-Agent": "differential/1.0 (x; y)"}, {"Accept-Language": "de, en;q=0.5"}, {"X-Request-Id": "7"},
    {"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {"Cache-Control": "no-cache"},
    {"DNT": "1", "X-Many": "a, b,, c"}, {"If-Modified-Since": "Mon, 30 Nov 2026 09:00:00 GMT"},
]  # fmt: skip
BODIES: list[tuple[str, bytes]] = [
    ("application/json", b'{"a": [1, 2.50, null, true], "b": {"c": "\\u00e9"}}'),
    (
        "application/json; charset=utf-8",
        json.dumps({"name": "Zo\u00eb"}, ensure_ascii=False).encode(),
    ),
    ("application/json", b"[]"),
    ("application/x-www-form-urlencoded", b"a=1&b=%20x+y&a=2"),
    (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nx\r\n--b--\r\n',
    ),
    ("text/plain", b"some words\n"),
    ("application/octet-stream", bytes(range(256))),
    ("application/octet-stream", bytes_of(300_000)),
    ("application/xml", b"<a b='c'>&amp;</a>"),
    ("", b"no type"),
    ("text/plain", b""),
]


def generated() -> list[dict[str, Any]]:
    """Return the requests, the same each time."""
    rng = random.Random(20261130)
    found = []
    for number in range(COUNT):
        method = rng.choice(METHODS)
        path = rng.choice(PATHS)
        headers = dict(rng.choice(HEADERS)) | dict(rng.choice(HEADERS))
        kind, body, chunked = "", None, False
        if method in ("POST", "PUT", "PATCH", "REPORT") or rng.random() < 0.05:
            kind, body = rng.choice(BODIES)
            chunked = rng.random() < 0.3
            if body and rng.random() < 0.15:
                body, headers["Content-Encoding"] = gzip.compress(body, mtime=0), "gzip"
            if kind:
                headers["Content-Type"] = kind
        if "?" not in path:
            path += rng.choice(QUERIES)
        found.append(
            {
                "number": number,
                "method": method,
                "path": path,
                "headers": headers,
                "body": body,
                "chunked": chunked,
            }
        )
    return found


class Side:
    """One way to a server, on connections that are kept."""

    def __init__(self, base: str, prefix: str, token: str) -> None:
        self.prefix, self.token = prefix, token
        self.connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=60)

    def ask(self, one: dict[str, Any]) -> dict[str, Any]:
        """Return what came, as it is compared."""
        headers = {**one["headers"], "Authorization": f"Bearer {self.token}"}
        body = one["body"]
        if one["chunked"] and body is not None:
            body = iter([body[:3], body[3:]]) if len(body) > 3 else iter([body] if body else [])
        self.connection.request(
            one["method"], self.prefix + one["path"], body, headers, encode_chunked=False
        )
        answer = self.connection.getresponse()
        data = answer.read()
        fields = [(name.lower(), value) for name, value in answer.getheaders()]
        kept = sorted((n, self._plain(n, v)) for n, v in fields if n not in OWN_ANSWER)
        return {"status": answer.status, "reason": answer.reason, "fields": kept, "body": data}

    def _plain(self, name: str, value: str) -> str:
        """What leads back through the gateway says the same without its prefix."""
        if self.prefix and name in ("location", "content-location", "set-cookie"):
            return value.replace(f"Path={self.prefix}/", "Path=/").removeprefix(self.prefix)
        return value


def counted(peer: Peer) -> list[dict[str, Any]]:
    """Return what a server counted, as it is compared."""

    def plain(one: Counted) -> dict[str, Any]:
        fields = sorted(field for field in one.fields if field[0] not in OWN_REQUEST)
        return {
            "method": one.method,
            "target": one.target,
            "fields": fields,
            "length": one.length,
            "digest": one.digest,
            "whole": one.whole,
        }

    until = time.monotonic() + 5
    seen = peer.counted()
    while not all(one.whole for one in seen) and time.monotonic() < until:
        time.sleep(0.005)
        seen = peer.counted()
    found = [plain(one) for one in seen]
    peer.clear()
    return found


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[HttpGateway, dict[str, Peer]]]:
    folder = tmp_path_factory.mktemp("differential")
    with ExitStack() as stack:
        peers: dict[str, Peer] = {
            "httptools": Uvicorn(folder / "httptools"),
            "h11": Uvicorn(folder / "h11", reader="h11"),
        }
        if NODE is not None:
            peers["node"] = Node(folder / "node")
        for peer in peers.values():
            stack.enter_context(peer)
        yield stack.enter_context(HttpGateway(folder / "gateway", peers)), peers


@pytest.mark.parametrize("server", ["httptools", "h11", "node"])
def test_every_request_is_answered_and_counted_the_same(
    servers: tuple[HttpGateway, dict[str, Peer]], server: str
) -> None:
    gateway, peers = servers
    if server not in peers:
        pytest.skip("node (Debian package nodejs) is needed")
    peer = peers[server]
    direct = Side(peer.url, "", CREDENTIAL)
    through = Side(f"http://127.0.0.1:{gateway.port}", f"/t/{server}", gateway.agent)
    different = []
    for one in generated():
        answers, counts = [], []
        for side in (direct, through):
            peer.clear()
            answers.append(side.ask(one))
            counts.append(counted(peer))
        assert len(counts[0]) == 1, one
        if answers[0] != answers[1] or counts[0] != counts[1]:
            told = {name: value for name, value in one.items() if name != "body"}
            different.append(
                f"{told}\n{difference(*answers)}\n{[difference(*pair) for pair in zip(*counts, strict=False)]}"
            )
    assert not different, f"{len(different)} of {COUNT} differ\n" + "\n".join(different[:12])


def difference(one: dict[str, Any], two: dict[str, Any]) -> str:
    """Return what differs, in short."""
    return "; ".join(
        f"{name}: {str(one[name])[:300]} | {str(two[name])[:300]}"
        for name in one
        if one[name] != two[name]
    )
