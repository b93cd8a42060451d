"""The matrix: each client does each thing, direct and through the gateway, and sees the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.http.clients import CLIENTS, Ask, Client, Got
from tests.e2e.http.conftest import Way
from tests.support.http_app import BIG, ETAG, SAYS, bytes_of
from tests.support.http_gateway import CREDENTIAL

pytestmark = pytest.mark.parametrize("client", [pytest.param(one, id=one.name) for one in CLIENTS])


class Runner:
    """One client, one way."""

    def __init__(self, client: Client, way: Way, folder: Path) -> None:
        self.client, self.way, self.folder = client, way, folder

    def needs(self, feature: str) -> None:
        if feature in self.client.lacks:
            pytest.skip(f"{self.client.name} cannot do this: {feature}")

    def run(self, *asks: Ask) -> list[Got]:
        return self.client.run(self.way, list(asks), self.folder)

    def one(self, path: str, method: str = "GET", **more: Any) -> Got:
        return self.run(Ask(path, method, **more))[0]


@pytest.fixture
def asked(client: Client, way: Way, tmp_path: Path) -> Runner:
    found = Runner(client, way, tmp_path)
    found.needs(way.name)
    return found


def test_json(asked: Runner) -> None:
    got = asked.one("/json")
    assert (got.status, json.loads(got.body)) == (200, SAYS)
    assert got.headers["content-type"] == "application/json"


def test_a_post(asked: Runner) -> None:
    body = json.dumps({"name": "Zo\u00eb"}).encode()
    got = asked.one(
        "/echo/post?x=1", "POST", body=body, headers={"content-type": "application/json"}
    )
    told = json.loads(got.body)
    assert (told["method"], told["target"]) == ("POST", "/echo/post?x=1")
    assert told["digest"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods(asked: Runner, method: str) -> None:
    body = None if method in ("DELETE", "OPTIONS") else b"body"
    assert json.loads(asked.one("/echo/m", method, body=body).body)["method"] == method


def test_a_created_thing(asked: Runner) -> None:
    got = asked.one("/made", "POST", body=b"{}", headers={"content-type": "application/json"})
    prefix = "/t/" + ("secure" if asked.client.secure else "site") if asked.way.token else ""
    assert (got.status, got.headers["location"]) == (201, f"{prefix}/made/7")


def test_a_large_upload(asked: Runner) -> None:
    told = json.loads(asked.one("/echo/up", "POST", body=bytes_of(BIG)).body)
    assert (told["length"], told["digest"]) == (BIG, hashlib.sha256(bytes_of(BIG)).hexdigest())


def test_a_large_download(asked: Runner) -> None:
    got = asked.one("/big")
    assert got.body == bytes_of(BIG)
    assert got.headers["content-length"] == str(BIG)


def test_a_stream(asked: Runner) -> None:
    assert asked.one("/stream?size=300000").body == bytes_of(300_000)


def test_a_chunked_upload(asked: Runner) -> None:
    asked.needs("chunked")
    told = json.loads(asked.one("/echo/c", "POST", body=bytes_of(400_000), chunked=True).body)
    assert told["digest"] == hashlib.sha256(bytes_of(400_000)).hexdigest()


def test_server_sent_events(asked: Runner) -> None:
    got = asked.one("/events?count=4", headers={"accept": "text/event-stream"})
    assert got.headers["content-type"].startswith("text/event-stream")
    assert got.body == b"".join(b"id: %d\ndata: event %d\n\n" % (n, n) for n in range(4))


def test_nothing_new(asked: Runner) -> None:
    asked.needs("304")  # wget reads on until the connection ends
    first, second = asked.run(Ask("/etag"), Ask("/etag", headers={"if-none-match": ETAG.decode()}))
    assert (first.status, first.headers["etag"]) == (200, ETAG.decode())
    assert (second.status, second.headers["etag"], second.body) == (304, ETAG.decode(), b"")


def test_a_redirect(asked: Runner) -> None:
    asked.needs("redirect")
    got = asked.one("/redirect", follow=True)
    assert (got.status, json.loads(got.body)) == (200, SAYS)
    assert asked.one("/redirect").status == 302


def test_cookies(asked: Runner) -> None:
    asked.needs("cookies")
    _, got = asked.run(Ask("/cookie"), Ask("/cookies"))
    assert json.loads(got.body) == ["size=big", "taste=sweet"]


def test_a_head(asked: Runner) -> None:
    first, second = asked.run(Ask("/big", "HEAD"), Ask("/json"))
    assert (first.status, first.headers["content-length"], first.body) == (200, str(BIG), b"")
    assert json.loads(second.body) == SAYS


@pytest.mark.parametrize("status", [204, 400, 401, 404, 409, 422, 429, 500, 503])
def test_statuses(asked: Runner, status: int) -> None:
    asked.needs(str(status))
    got = asked.one(f"/status/{status}")
    assert got.status == status
    assert status == 204 or got.body == b"as asked\n"
    assert "x-sallyport-refused" not in got.headers


def test_gzip(asked: Runner) -> None:
    got = asked.one("/gzip", headers={"accept-encoding": "gzip"})
    assert got.body == b"the same again and again\n" * 500


def test_expect(asked: Runner) -> None:
    asked.needs("expect")
    got = asked.one("/echo/e", "POST", body=bytes_of(9000), headers={"expect": "100-continue"})
    assert json.loads(got.body)["length"] == 9000


def test_ranges(asked: Runner) -> None:
    asked.needs("ranges")
    part, none = asked.run(
        Ask("/ranges", headers={"range": "bytes=100-199"}),
        Ask("/ranges", headers={"range": "bytes=99999-"}),
    )
    assert (part.status, part.body) == (206, bytes_of(10_000)[100:200])
    assert part.headers["content-range"] == "bytes 100-199/10000"
    assert none.status == 416


def test_connections_are_used_again(asked: Runner) -> None:
    asked.needs("reuse")
    got = asked.run(*[Ask(f"/echo/{n}") for n in range(20)])
    assert [json.loads(one.body)["target"] for one in got] == [f"/echo/{n}" for n in range(20)]


def test_the_site_sees_its_credential_alone(asked: Runner) -> None:
    """And nothing of the gateway's token."""
    peer = asked.way.peers["secure" if asked.client.secure else "site"]
    peer.clear()
    asked.one("/json")
    (one,) = peer.counted()
    if asked.way.token:
        assert one.get("authorization") == [f"Bearer {CREDENTIAL}"]
        assert asked.way.token not in str(one.fields)
