"""The contract, for HTTP: the plugin serves by itself, before a target that is h11's."""

from __future__ import annotations

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sallyport.core.decision import Allow, Deny, Mask
from sallyport.core.event import RequestForwarded, ResponseBegun, ResultEnded
from sallyport.core.operation import Operation
from sallyport.protocols.http.plugin import HttpPlugin
from sallyport.testing.contract import chunk_sizes
from sallyport.testing.dialogue import allow
from sallyport.testing.serving import Served, served

SHORT = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
TOKEN = b"Authorization: Bearer token\r\n"
EMAILS = Mask("emails", "redact", detectors=("email",))
BIG = 8 * 1024 * 1024


class H11Target:
    """A target that counts requests as h11 does, and answers each with what it understood."""

    def __init__(self, body: bytes | None = None, chunked: bool = False) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
        self._body = body
        self._chunked = chunked
        self._request: h11.Request | None = None
        self._got = b""

    def receive(self, data: bytes) -> bytes:
        self._connection.receive_data(data)
        out = b""
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Request):
                self._request, self._got = event, b""
            elif isinstance(event, h11.Data):
                self._got += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                out += self._answer()
                if self._connection.our_state is not h11.DONE:
                    return out
                self._connection.start_next_cycle()
            else:
                return out

    def _answer(self) -> bytes:
        assert self._request is not None
        told = b"%s %s %s" % (self._request.method, self._request.target, self._got)
        body = told if self._body is None else self._body
        headers = [("content-type", "text/plain")]
        if not self._chunked:
            headers.append(("content-length", str(len(body))))
        out = self._connection.send(h11.Response(status_code=200, headers=headers, reason="OK"))
        if self._request.method != b"HEAD":
            out += self._connection.send(h11.Data(data=body))
        return out + self._connection.send(h11.EndOfMessage())


def request(line: bytes, body: bytes = b"", *fields: bytes) -> bytes:
    lines = [line + b" HTTP/1.1", b"host: gateway", *fields]
    if body:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n" + TOKEN + b"\r\n" + body


SCENE = (
    request(b"GET /t/api/users/1?x=1")
    + request(b"POST /t/api/users", b'{"name":"ada"}', b"content-type: application/json")
    + request(b"DELETE /t/api/users/1")
    + request(b"HEAD /t/api/users/2")
    + request(b"PUT /t/api/users/3", b"", b"transfer-encoding: chunked", b"expect: 100-continue")
    + b"5\r\nhello\r\n0\r\n\r\n"
    + request(b"GET /t/api/last")
)


def careful(operation: Operation) -> Allow | Deny:
    if operation.verb == "delete":
        return Deny(("no-deletes",), "deletes are refused", "ask")
    return allow(operation)


def responses(data: bytes, *methods: bytes) -> list[tuple[int, bytes]]:
    """Read responses with h11, as the client of these requests."""
    found = []
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    client.receive_data(data)
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        status, body = 0, b""
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif event is h11.NEED_DATA:
                raise AssertionError(f"{len(found)} responses, then {data[-300:]!r}")
        found.append((status, body))
        client.start_next_cycle()
    return found


def told(outcome: Served) -> tuple[object, ...]:
    """All that came of a scene but times and credentials' places."""
    events = [
        (type(event).__name__, getattr(event, "operation", 0), getattr(event, "status", ""))
        for event in outcome.recorded
        if isinstance(event, RequestForwarded | ResponseBegun | ResultEnded)
    ]
    return (
        [(one.id, one.verb, one.text, one.facts, one.digest) for one in outcome.operations],
        outcome.client, outcome.targets, events,
    )  # fmt: skip


async def test_a_scene_plays_to_its_end() -> None:
    outcome = await served(HttpPlugin(), SCENE, H11Target, decide=careful)
    methods = (b"GET", b"POST", b"DELETE", b"HEAD", b"PUT", b"GET")
    found = responses(outcome.client, *methods)
    assert [status for status, _ in found] == [200, 200, 403, 200, 200, 200]
    assert found[0][1] == b"GET /users/1?x=1 "
    assert found[1][1] == b'POST /users {"name":"ada"}'
    assert found[3][1] == b""
    assert found[4][1] == b"PUT /users/3 hello"
    assert b"no-deletes" in found[2][1]
    assert [one.verb for one in outcome.operations] == [
        "get", "post", "delete", "head", "put", "get",
    ]  # fmt: skip
    (target,) = outcome.targets
    assert b"token" not in target
    assert target.count(b"authorization: Bearer credential-of-the-target\r\n") == 5


@SHORT
@given(sizes=chunk_sizes)
async def test_any_chunking_gives_the_same(sizes: list[int]) -> None:
    whole = await served(HttpPlugin(), SCENE, H11Target, decide=careful)
    outcome = await served(HttpPlugin(), SCENE, H11Target, decide=careful, sizes=sizes)
    assert told(outcome) == told(whole)


@SHORT
@given(cut=st.integers(0, len(SCENE)))
async def test_no_byte_of_an_operation_reaches_the_target_undecided(cut: int) -> None:
    def never(operation: Operation) -> Deny:
        return Deny(("never",), "nothing goes", "")

    outcome = await served(HttpPlugin(), SCENE[:cut], H11Target, decide=never)
    assert outcome.targets == []


async def test_after_a_refusal_the_next_request_works() -> None:
    sent = request(b"DELETE /t/api/a", b"x" * 100) + request(b"GET /t/api/b")
    outcome = await served(HttpPlugin(), sent, H11Target, decide=careful)
    found = responses(outcome.client, b"DELETE", b"GET")
    assert [status for status, _ in found] == [403, 200]


async def test_memory_stays_bounded_with_a_stalled_client() -> None:
    outcome = await served(
        HttpPlugin(), request(b"GET /t/api/big"), lambda: H11Target(b"x" * BIG), stalled=True
    )
    assert outcome.most < 2 * 1024 * 1024
    assert len(outcome.client) < 2 * 1024 * 1024


@SHORT
@given(position=st.integers(0, len(SCENE) - 1), garbage=st.binary(min_size=1, max_size=40))
async def test_garbage_ends_in_order(position: int, garbage: bytes) -> None:
    """Nothing raises out of `serve`, and what was decided is all that the target got."""
    sent = SCENE[:position] + garbage + SCENE[position + len(garbage) :]
    outcome = await served(HttpPlugin(), sent, H11Target, decide=careful)
    forwarded = [one for one in outcome.recorded if isinstance(one, RequestForwarded)]
    assert len(forwarded) <= sum(one.verb != "delete" for one in outcome.operations)


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_is_masked_does_not_leave(chunked: bool) -> None:
    body = b"write to ada@example.com, or to " + b"y" * 70_000 + b" grace@example.com"

    def masked(operation: Operation) -> Allow:
        return allow(operation, masks=(EMAILS,))

    outcome = await served(
        HttpPlugin(), request(b"GET /t/api/mail", b"", b"accept-encoding: gzip"),
        lambda: H11Target(body, chunked), decide=masked,
    )  # fmt: skip
    ((status, got),) = responses(outcome.client, b"GET")
    assert status == 200
    assert b"@" not in got
    assert got.startswith(b"write to [redacted:email], or to yyy")
    assert b"@example" not in repr(outcome.recorded).encode()
    assert b"accept-encoding: identity" in outcome.targets[0]
