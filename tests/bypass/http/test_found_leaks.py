"""What came out: the target's credential, and masked values, in places that nobody looked at."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from sallyport.cli.client import path
from tests.bypass.http.found import Seen, Target, ask
from tests.support.gateway import EVERYTHING
from tests.support.http_gateway import CREDENTIAL, HttpGateway

MASK = {
    "name": "addresses",
    "effect": "mask",
    "mask": {"detectors": ["email"]},
    "operations": {"resources": {"path": ["/masked"]}},
}
NAMED = {
    "name": "named",
    "effect": "mask",
    "mask": {"json": ["$..email"]},
    "operations": {"resources": {"path": ["/named"]}},
}
AWKWARD = "a credential/with+all=of&it"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Target(tmp_path_factory.mktemp("told")) as peer:
        assert isinstance(peer, Target)
        yield peer


@pytest.fixture(scope="module")
def gateway(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpGateway]:
    with HttpGateway(
        tmp_path_factory.mktemp("gateway"),
        {"told": target},
        rules=[*EVERYTHING, MASK, NAMED],
        settings={"inject": {"as": "query", "name": "api_key"}},
    ) as running:
        yield running


def _redirect(seen: Seen) -> bytes:
    """Answer as frameworks do that add a slash: with the query as it came."""
    query = seen.line.split(" ")[1].partition("?")[2].encode()
    return (
        b"HTTP/1.1 307 try /slash/?%s\r\nLocation: /slash/?%s\r\nX-Asked: %s\r\n"
        b"Content-Length: 0\r\n\r\n" % (query, query, query)
    )


@pytest.mark.parametrize("credential", [CREDENTIAL, AWKWARD])
def test_a_redirect_does_not_tell_the_credential(
    gateway: HttpGateway, target: Target, credential: str
) -> None:
    target.answers["slash"] = _redirect
    gateway.admin.put(path("credentials", "web"), {"value": credential})
    token = gateway.token("agent-redirected", groups=["agents"])
    answer = ask(gateway, "GET /t/told/slash?page=2", token=token)
    assert answer.status == 307
    assert "location: /t/told/slash/?page=2" in answer.text
    assert credential not in answer.text
    assert quote(credential, safe="") not in answer.text
    assert quote(credential, safe="") in target.seen[-1].line


def test_a_masked_value_does_not_leave_in_the_reason_phrase(
    gateway: HttpGateway, target: Target
) -> None:
    target.answers["masked"] = (
        b"HTTP/1.1 404 no customer anna.smith@example.com\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 2\r\n\r\nno"
    )
    answer = ask(gateway, "GET /t/told/masked")
    assert answer.text.startswith("HTTP/1.1 404 Not Found\r\n")
    assert "anna.smith" not in answer.text


@pytest.mark.parametrize(
    "kind", ["text/event-stream", "application/x-www-form-urlencoded", "text/html"]
)
def test_json_is_looked_at_as_json_whatever_type_it_was_asked_for_as(
    gateway: HttpGateway, target: Target, kind: str
) -> None:
    """A client chooses the type at some servers (`?response-content-type=`)."""
    body = b'{\n "email": "anna.smith@example.com"\n}\n'
    target.answers["named"] = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    answer = ask(gateway, "GET /t/told/named")
    assert answer.status == 200
    assert '"[redacted]"' in answer.text
    assert "anna.smith" not in answer.text


def test_a_wide_text_is_seen_also_behind_its_first_characters(
    gateway: HttpGateway, target: Target
) -> None:
    body = "\u4f60\u597d, anna.smith@example.com\n".encode("utf-16-le")
    target.answers["masked"] = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )
    answer = ask(gateway, "GET /t/told/masked")
    assert "anna.smith" not in answer.text.replace("\0", "")
