"""The clients of the matrix, each made to take the same asks: programs, libraries, a runtime.

`run` takes all asks in one session (its cookies, its connections) and returns what came. `lacks`
names what a client cannot do at all.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import aiohttp
import httpx2
import pytest
import requests

from tests.e2e.http.conftest import Way

LIMIT = 60


@dataclass
class Ask:
    """One request. `chunked`: its body is sent piece by piece; `follow`: redirects are."""

    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    chunked: bool = False
    follow: bool = False


@dataclass
class Got:
    """What came: the last response's status, headers (names in lower case) and body, decoded."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """What all have in common."""

    name = ""
    lacks: ClassVar[frozenset[str]] = frozenset()
    secure = False
    """It asks by TLS."""
    second = False
    """It asks in HTTP/2, where it can."""

    def run(self, way: Way, asks: list[Ask], folder: Path) -> list[Got]:
        raise NotImplementedError

    def url(self, way: Way, ask: Ask) -> str:
        return (way.secure if self.secure else way.base) + ask.path


def parts(body: bytes) -> Iterator[bytes]:
    """Return a body in pieces."""
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def program(name: str) -> str:
    """Return a program's path; skip the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} (Debian package) is needed")
    return found


def parsed(head: bytes) -> tuple[int, dict[str, str]]:
    """Return status and headers of the last head in a file of heads."""
    blocks = [
        block for block in head.replace(b"\r", b"").decode("latin-1").split("\n\n") if block.strip()
    ]
    line, *lines = [text.strip() for text in blocks[-1].strip().split("\n")]
    pairs = [text.partition(":") for text in lines if ":" in text]
    return int(line.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}


class Curl(Client):
    """curl: all asks in one process, so that connections are used again."""

    name = "curl"
    options: tuple[str, ...] = ("--http1.1",)

    def run(self, way: Way, asks: list[Ask], folder: Path) -> list[Got]:
        words = [program("curl")]
        for number, ask in enumerate(asks):
            words += ["--next"] if number else []
            words += [
                "-sS",
                "--noproxy",
                "*",
                "--cacert",
                str(way.ca),
                "--compressed",
                *self.options,
            ]
            words += ["-o", str(folder / f"body{number}"), "-D", str(folder / f"head{number}")]
            words += ["-b", str(folder / "jar"), "-c", str(folder / "jar")]
            words += [
                word
                for pair in (way.headers | ask.headers).items()
                for word in ("-H", "{}: {}".format(*pair))
            ]
            words += ["-L"] if ask.follow else []
            words += self._body(ask, number, folder)
            words.append(self.url(way, ask))
        done = subprocess.run(words, capture_output=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        found = []
        for number, ask in enumerate(asks):
            status, headers = parsed((folder / f"head{number}").read_bytes())
            body = folder / f"body{number}"
            found.append(
                Got(
                    status,
                    headers,
                    body.read_bytes() if body.exists() and ask.method != "HEAD" else b"",
                )
            )
        return found

    def _body(self, ask: Ask, number: int, folder: Path) -> list[str]:
        if ask.method == "HEAD":
            return ["-I"]
        if ask.body is None:
            return ["-X", ask.method] if ask.method != "GET" else []
        file = folder / f"sent{number}"
        file.write_bytes(ask.body)
        if ask.chunked:
            chunked = ["-H", "Transfer-Encoding: chunked"] if "--http1.1" in self.options else []
            return ["-X", ask.method, "-T", str(file), *chunked]
        return ["-X", ask.method, "--data-binary", f"@{file}"]


class CurlSecond(Curl):
    """curl over TLS, where it asks for HTTP/2 by ALPN."""

    name = "curl-h2"
    options = ("--http2",)
    second = True
    lacks = frozenset({"expect"})
    secure = True


class CurlPrior(Curl):
    """curl that begins in HTTP/2 without asking. Only the gateway understands it."""

    name = "curl-h2c"
    options = ("--http2-prior-knowledge",)
    second = True
    lacks = frozenset({"expect", "direct", "reuse", "redirect"})

    def run(self, way: Way, asks: list[Ask], folder: Path) -> list[Got]:
        """Each in a process of its own: curl 7.88 cannot use such a connection again, nginx's neither."""
        found = []
        for ask in asks:
            found += super().run(way, [ask], folder)
            (folder / "body0").unlink(missing_ok=True)
        return found


class Wget(Client):
    """wget: a process for each ask."""

    name = "wget"
    lacks = frozenset({"chunked", "expect", "reuse", "ranges", "401", "304"})

    def run(self, way: Way, asks: list[Ask], folder: Path) -> list[Got]:
        found, jar = [], folder / "jar"
        for number, ask in enumerate(asks):
            out, sent = folder / f"body{number}", folder / f"sent{number}"
            words = [program("wget"), "-q", "-S", "--no-proxy", "--tries=1", "--content-on-error"]
            words += [
                f"--max-redirect={5 if ask.follow else 0}",
                "-O",
                str(out),
                "--compression=auto",
            ]
            words += [f"--save-cookies={jar}", "--keep-session-cookies", f"--load-cookies={jar}"]
            words += [
                f"--header={name}: {value}" for name, value in (way.headers | ask.headers).items()
            ]
            words += ["--spider"] if ask.method == "HEAD" else [f"--method={ask.method}"]
            if ask.body is not None:
                sent.write_bytes(ask.body)
                words.append(f"--body-file={sent}")
            jar.touch()
            done = subprocess.run(
                [*words, self.url(way, ask)], capture_output=True, timeout=LIMIT, check=False
            )
            assert done.returncode in (0, 6, 8), done.stderr  # 6, 8: the status is an error
            heads = done.stderr.replace(b"  HTTP/", b"\n\n  HTTP/")
            status, headers = parsed(heads)
            found.append(Got(status, headers, out.read_bytes() if out.exists() else b""))
        return found


class Requests(Client):
    """requests."""

    name = "requests"
    lacks = frozenset({"expect"})

    def run(self, way: Way, asks: list[Ask], folder: Path) -> list[Got]:
        found = []
        with requests.Session() as session:
            session.trust_env = False
            for ask in asks:
                data = parts(ask.body) if ask.chunked and ask.body is not None else ask.body
                answer = session.request(
                    ask.method, self.url(way, ask), headers=way.headers | ask.headers, data=data,
                    allow_redirects=ask.follow, timeout=LIMIT,
                )  # fmt: skip
                headers = {name.lower(): value for name, value in answer.headers.items()}
                found.append(Got(answer.status_code, headers, answer.content))
        return found


class Httpx(Client):
    """httpx2."""

    name = "httpx2"
    lacks = frozenset({"expect"})

    def run(self, way: Way, asks: list[Ask], folder: Path) -> list[Got]:
        found = []
        context = ssl.create_default_context(cafile=str(way.ca))
        with httpx2.Client(
            trust_env=False, http2=self.second, verify=context, timeout=LIMIT
        ) as session:
            for ask in asks:
                content = parts(ask.body) if ask.chunked and ask.body is not None else ask.body
                answer = session.request(
                    ask.method, self.url(way, ask), headers=way.headers | ask.headers, content=content,
                    follow_redirects=ask.follow,
                )  # fmt: skip
                found.append(Got(answer.status_code, dict(answer.headers), answer.content))
        return found


class HttpxSecond(Httpx):
    """httpx2 over TLS, with HTTP/2."""

    name = "httpx2-h2"
    second = secure = True


class Aiohttp(Client):
    """aiohttp."""

    name = "aiohttp"

    def run(self, way: Way, asks: list[Ask], folder: Path) -> list[Got]:
        return asyncio.run(self._run(way, asks))

    async def _run(self, way: Way, asks: list[Ask]) -> list[Got]:
        found = []
        jar = aiohttp.CookieJar(unsafe=True)  # of an address
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            for ask in asks:
                expect = "expect" in ask.headers
                headers = {name: value for name, value in ask.headers.items() if name != "expect"}
                data: AsyncIterator[bytes] | io.BytesIO | None = None
                if ask.body is not None:
                    data = self._parts(ask.body) if ask.chunked else io.BytesIO(ask.body)
                async with session.request(
                    ask.method, self.url(way, ask), headers=way.headers | headers, data=data,
                    allow_redirects=ask.follow, expect100=expect,
                ) as answer:  # fmt: skip
                    told = {name.lower(): value for name, value in answer.headers.items()}
                    found.append(Got(answer.status, told, await answer.read()))
        return found

    @staticmethod
    async def _parts(body: bytes) -> AsyncIterator[bytes]:
        for part in parts(body):
            yield part


SCRIPT = r"""
const asks = JSON.parse(require('fs').readFileSync(0));
async function* pieces(body) { for (let n = 0; n < body.length; n += 50000) yield body.subarray(n, n + 50000); }
(async () => {
  const found = [];
  for (const ask of asks) {
    const body = ask.body === null ? undefined : Buffer.from(ask.body, 'base64');
    const more = ask.chunked ? { body: ReadableStream.from(pieces(body)), duplex: 'half' } : { body };
    const answer = await fetch(ask.url, { method: ask.method, headers: ask.headers, redirect: ask.follow ? 'follow' : 'manual', ...more });
    const data = Buffer.from(await answer.arrayBuffer());
    found.push([answer.status, Object.fromEntries(answer.headers), data.toString('base64')]);
  }
  process.stdout.write(JSON.stringify(found));
})().catch((error) => { console.error(error); process.exit(1); });
"""


class Node(Client):
    """node's fetch."""

    name = "node"
    lacks = frozenset({"cookies", "expect"})

    def run(self, way: Way, asks: list[Ask], folder: Path) -> list[Got]:
        told = [
            {
                "url": self.url(way, ask),
                "method": ask.method,
                "headers": way.headers | ask.headers,
                "body": None if ask.body is None else base64.b64encode(ask.body).decode(),
                "chunked": ask.chunked,
                "follow": ask.follow,
            }
            for ask in asks
        ]
        done = subprocess.run(
            [program("node"), "-e", SCRIPT],
            input=json.dumps(told).encode(), capture_output=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [
            Got(status, headers, base64.b64decode(body))
            for status, headers, body in json.loads(done.stdout)
        ]


CLIENTS: list[Client] = [
    Curl(), CurlSecond(), CurlPrior(), Wget(), Requests(), Httpx(), HttpxSecond(), Aiohttp(), Node(),
]  # fmt: skip
