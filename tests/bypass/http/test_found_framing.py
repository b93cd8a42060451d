"""Where a message ends: bytes that one side took for a message's own, and the other for the next."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from collections.abc import Iterator

import pytest

from tests.bypass.http.found import OK, Second, Target, ask, wait
from tests.support.gateway import EVERYTHING
from tests.support.http_gateway import HttpGateway

MASK = {
    "name": "addresses",
    "effect": "mask",
    "mask": {"detectors": ["email"]},
    "unless": {"operations": {"resources": {"path": ["/free"]}}},
}
PERSON = b"anna.smith@example.com"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Target(tmp_path_factory.mktemp("told")) as peer:
        assert isinstance(peer, Target)
        yield peer


@pytest.fixture(scope="module")
def gateway(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with HttpGateway(
        folder, {"told": target}, rules=[*EVERYTHING, MASK], settings={"inspect": "16KiB"}
    ) as running:
        yield running


def test_trailers_do_not_end_a_body_that_is_too_short(gateway: HttpGateway, target: Target) -> None:
    """A target that answers early would take the next request for the rest of this one's body."""
    target.clear()
    target.answers["early"], target.hasty = OK, {"early"}
    with Second(gateway) as client:
        client.request(1, "POST", "/t/told/early", ("content-length", "60000"))
        client.data(1, b"x" * 30_000, last=False)
        client.h2.send_headers(1, [("x-end", "1")], end_stream=True)
        client.flush()
        client.until(lambda: client.status(1) > 0)
        client.request(3, "GET", "/t/told/next")
        client.flush()
        assert client.until(lambda: client.status(3) > 0)
    assert client.status(3) == 200
    first, second = target.seen
    assert second.line == "GET /next HTTP/1.1"
    assert first.connection != second.connection


def test_what_comes_after_a_response_is_no_answer_to_the_next_request(
    gateway: HttpGateway, target: Target
) -> None:
    """A body behind the response to HEAD would be the next response, under that request's masks."""
    target.clear()
    target.answers["head"] = b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n"
    target.later["head"] = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\n" + PERSON
    )
    assert ask(gateway, "HEAD /t/told/head").status == 200
    assert wait(lambda: len(target.seen) == 1)
    time.sleep(0.5)
    answer = ask(gateway, "GET /t/told/free")
    assert answer.status == 200
    assert PERSON.decode() not in answer.text
    first, second = target.seen
    assert first.connection != second.connection


def test_streams_that_are_reset_at_once_end_their_connection(gateway: HttpGateway) -> None:
    """A request that is whole before it is reset was not served for all that."""
    with Second(gateway) as client:
        with contextlib.suppress(OSError):
            for number in range(2000):
                client.request(2 * number + 1, "GET", "/t/told/reset")
                client.h2.reset_stream(2 * number + 1, 8)
                if number % 100 == 99:
                    client.flush()
        assert client.until(lambda: client.sent_away)


def test_a_body_that_is_slow_to_mask_holds_up_nobody_else(
    gateway: HttpGateway, target: Target
) -> None:
    """A few kilobytes in gzip are millions of lines, each of which is looked at."""
    body = gzip.compress(b"\n" * (2 << 20))
    target.answers["lines"] = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    lengths: list[int] = []
    slow = threading.Thread(
        target=lambda: lengths.append(len(ask(gateway, "GET /t/told/lines").text))
    )
    slow.start()
    others = 0
    while slow.is_alive() and others < 6:
        assert ask(gateway, "GET /t/told/free").status == 200
        others += 1
    slow.join(120)
    assert lengths[0] > 2 << 20
    assert others >= 3
