"""HTTP/2 by frames that no library sends: each ends its stream or its connection, and nothing else."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.bypass.http.found import OK, Target, ask
from tests.support.http_gateway import HttpGateway

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 15.0
Fields = list[tuple[str, str]]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Target(tmp_path_factory.mktemp("told")) as peer:
        assert isinstance(peer, Target)
        peer.answers = {"x": OK, "alive": OK}
        yield peer


@pytest.fixture(scope="module")
def gateway(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpGateway]:
    with HttpGateway(tmp_path_factory.mktemp("gateway"), {"told": target}) as running:
        yield running


class Raw:
    """One connection, frame by frame. `ended`: GOAWAY's code, or -1 where it was just closed."""

    def __init__(self, gateway: HttpGateway) -> None:
        self.gateway = gateway
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), 10)
        self.encoder = Encoder()
        self.frames: list[Frame] = []
        self.ended: int | None = None
        self._buffer = b""
        self.send(SettingsFrame(0), before=PREFACE)

    def send(self, *frames: Frame, before: bytes = b"") -> None:
        with contextlib.suppress(OSError):
            self.socket.sendall(before + b"".join(frame.serialize() for frame in frames))

    def fields(self, path: str = "/t/told/x", *more: tuple[str, str]) -> Fields:
        return [
            (":method", "GET"), (":scheme", "http"), (":authority", "gw"), (":path", path),
            ("authorization", f"Bearer {self.gateway.agent}"), *more,
        ]  # fmt: skip

    def headers(self, stream: int, fields: Fields, *flags: str) -> HeadersFrame:
        frame = HeadersFrame(stream, self.encoder.encode(fields))
        frame.flags |= set(flags or ("END_HEADERS", "END_STREAM"))
        return frame

    def read(self, until: Callable[[Raw], bool]) -> bool:
        """Read frames until that is so, or the connection is over; whether it is so."""
        deadline = time.monotonic() + PATIENCE
        self.socket.settimeout(0.2)
        while not until(self) and self.ended is None and time.monotonic() < deadline:
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                self.ended = -1
            self._buffer += data
            while len(self._buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self._buffer[:9]))
                if len(self._buffer) < 9 + length:
                    break
                frame.parse_body(memoryview(self._buffer[9 : 9 + length]))
                self._buffer = self._buffer[9 + length :]
                self.frames.append(frame)
                if isinstance(frame, GoAwayFrame):
                    self.ended = frame.error_code
        return until(self)

    def over(self) -> bool:
        return self.read(lambda raw: raw.ended is not None)

    def answered(self, stream: int) -> bool:
        return self.read(
            lambda raw: any(
                isinstance(f, HeadersFrame) and f.stream_id == stream for f in raw.frames
            )
        )

    def reset(self, stream: int) -> bool:
        return self.read(
            lambda raw: any(
                isinstance(f, RstStreamFrame) and f.stream_id == stream for f in raw.frames
            )
        )


@pytest.fixture
def raw(gateway: HttpGateway, target: Target) -> Iterator[Raw]:
    target.clear()
    one = Raw(gateway)
    yield one
    one.socket.close()
    assert ask(gateway, "GET /t/told/alive").status == 200, "others are served as before"


def test_a_request_frame_by_frame(raw: Raw, target: Target) -> None:
    block = raw.encoder.encode(raw.fields())
    first = HeadersFrame(1, block[:5])
    first.flags.add("END_STREAM")
    rest = [ContinuationFrame(1, bytes([byte])) for byte in block[5:]]
    rest[-1].flags.add("END_HEADERS")
    raw.send(first)
    for frame in rest[:20]:
        raw.send(frame)
    raw.send(*rest[20:])
    if raw.answered(1):
        assert [one.line for one in target.seen] == ["GET /x HTTP/1.1"]
    else:  # so many fragments are refused, too
        assert raw.ended is not None
        assert target.seen == []


@pytest.mark.parametrize(
    "fields",
    [
        [("X-Upper", "a")],
        [("connection", "close")],
        [("transfer-encoding", "chunked")],
        [("te", "gzip")],
        [("x-a", "b\r\nx-evil: 1")],
        [("x-a", "b\x00c")],
        [("x a", "b")],
        [(":path", "/t/told/other")],
        [("x-a", "1"), (":authority", "evil")],
        [("host", "another")],
        [("content-length", "5")],
        [("content-length", "1"), ("content-length", "1")],
    ],
    ids=lambda fields: fields[0][0] + fields[0][1][:8].encode("unicode_escape").decode(),
)
def test_heads_that_are_none(raw: Raw, target: Target, fields: Fields) -> None:
    raw.send(raw.headers(1, raw.fields("/t/told/x", *fields)))
    raw.read(lambda one: one.ended is not None or bool(one.frames[2:]))
    time.sleep(0.2)
    assert [one.line for one in target.seen] == []


@pytest.mark.parametrize(
    "fields",
    [
        [(":method", "GET"), (":scheme", "http"), (":authority", "gw")],
        [(":method", "GET"), (":path", "/t/told/x"), (":authority", "gw")],
        [(":method", "CONNECT"), (":authority", "told:80")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/t/told/x y"), (":authority", "gw")],
        [(":method", "GET"), (":scheme", "http"), (":path", "http://evil/"), (":authority", "gw")],
        [(":method", "G T"), (":scheme", "http"), (":path", "/t/told/x"), (":authority", "gw")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/t/told/x"), (":authority", "u@gw")],
        [(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "gw")],
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
         (":path", "/t/told/x"), (":authority", "gw")],
    ],
)  # fmt: skip
def test_pseudo_header_fields_that_name_no_request(
    raw: Raw, target: Target, fields: Fields
) -> None:
    token = ("authorization", f"Bearer {raw.gateway.agent}")
    raw.send(raw.headers(1, [*fields, token]))
    raw.read(lambda one: one.ended is not None or bool(one.frames[2:]))
    time.sleep(0.2)
    assert target.seen == []


def test_a_body_of_another_length_than_was_told(raw: Raw, target: Target) -> None:
    fields = raw.fields("/t/told/x", ("content-length", "4"))
    fields[0] = (":method", "POST")
    data = DataFrame(1, b"12345678")
    data.flags.add("END_STREAM")
    raw.send(raw.headers(1, fields, "END_HEADERS"), data)
    raw.read(lambda one: one.ended is not None or bool(one.frames[3:]))
    time.sleep(0.2)
    assert target.seen == []


def test_resets_in_a_flood_cost_the_connection(raw: Raw, target: Target) -> None:
    for number in range(2000):
        stream = 2 * number + 1
        raw.send(raw.headers(stream, raw.fields()), RstStreamFrame(stream, 8))
        if number % 50 == 49 and raw.read(lambda one: one.ended is not None or True) and raw.ended:
            break
    assert raw.over()
    assert raw.ended in (11, 1, -1)
    time.sleep(0.3)
    assert len(target.seen) < 1000


@pytest.mark.parametrize("kind", ["ping", "settings", "priority", "empty", "window"])
def test_frames_that_serve_nothing_cost_the_connection(raw: Raw, kind: str) -> None:
    made: dict[str, Callable[[], Frame]] = {
        "ping": lambda: PingFrame(0, b"12345678"),
        "settings": lambda: SettingsFrame(0, {3: 100}),
        "priority": lambda: PriorityFrame(1, depends_on=0, stream_weight=1),
        "empty": lambda: DataFrame(1, b""),
        "window": lambda: WindowUpdateFrame(0, window_increment=1),
    }
    if kind == "empty":
        fields = raw.fields()
        fields[0] = (":method", "POST")
        raw.send(raw.headers(1, fields, "END_HEADERS"))
    for _ in range(200):
        raw.send(*(made[kind]() for _ in range(100)))
        raw.read(lambda one: True)
        if raw.ended is not None:
            break
    assert raw.over()


def test_a_head_without_end(raw: Raw, target: Target) -> None:
    raw.send(raw.headers(1, raw.fields(), "END_STREAM"))
    for number in range(500):
        raw.send(ContinuationFrame(1, raw.encoder.encode([(f"x-{number}", "y" * 200)])))
    assert raw.over()
    assert target.seen == []


def test_a_small_head_that_grows_large(raw: Raw, target: Target) -> None:
    """One field of 4 KB in the table, named again and again, a byte each."""
    fields = raw.fields("/t/told/x", ("x-bomb", "y" * 3900))
    block = raw.encoder.encode(fields)
    frame = HeadersFrame(1, block + raw.encoder.encode([("x-bomb", "y" * 3900)] * 5000))
    frame.flags |= {"END_HEADERS", "END_STREAM"}
    raw.send(frame)
    raw.read(lambda one: one.ended is not None or bool(one.frames[3:]))
    time.sleep(0.2)
    assert target.seen == []


@pytest.mark.parametrize(
    "frame",
    [
        DataFrame(1, b"x"),
        WindowUpdateFrame(0, window_increment=2**31 - 1),
        RstStreamFrame(99, 0),
        ContinuationFrame(1, b""),
        HeadersFrame(2, b""),
        SettingsFrame(0, {4: 2**31}),
        SettingsFrame(0, {5: 1}),
    ],
    ids=lambda frame: f"{type(frame).__name__}-{frame.stream_id}",
)
def test_frames_out_of_place(raw: Raw, frame: Frame) -> None:
    if isinstance(frame, HeadersFrame):
        frame.flags.add("END_HEADERS")
    raw.send(frame)
    assert raw.over()
    assert raw.ended != 0


def test_a_window_that_stays_shut_holds_up_nobody_else(
    gateway: HttpGateway, target: Target
) -> None:
    target.clear()
    target.answers["big"] = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9000000\r\n\r\n"
        + b"x" * 9_000_000
    )
    raw = Raw(gateway)
    raw.send(SettingsFrame(0, {4: 0}))
    raw.send(*(raw.headers(2 * n + 1, raw.fields("/t/told/big")) for n in range(20)))
    assert all(raw.answered(2 * n + 1) for n in range(20))
    assert not [frame for frame in raw.frames if isinstance(frame, DataFrame)]
    assert ask(gateway, "GET /t/told/alive").status == 200
    raw.send(SettingsFrame(0, {4: 1000}))
    assert raw.read(lambda one: sum(isinstance(f, DataFrame) for f in one.frames) >= 20)
    raw.socket.close()
    assert ask(gateway, "GET /t/told/alive").status == 200
