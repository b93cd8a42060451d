"""WebSocket: whole messages between two legs, against `websockets` itself and raw frames."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.http import websocket
from sallyport.protocols.http.message import Fields
from sallyport.protocols.http.websocket import Message, WebSocketCodec

MASK = b"\x11\x22\x33\x44"
TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
HELLO = Message(False, b"hello")


def frame(
    opcode: int,
    data: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    form: int = 0,
    length: int | None = None,
) -> bytes:
    """One frame, made by hand. `form` 126 or 127: that way of telling the length, fits or not."""
    size = len(data) if length is None else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    form = form or (size if size < 126 else 126 if size < 65536 else 127)
    head = bytes([first, bit | form])
    if form == 126:
        head += struct.pack("!H", size)
    elif form == 127:
        head += struct.pack("!Q", size)
    if not masked:
        return head + data
    return head + MASK + bytes(byte ^ MASK[place % 4] for place, byte in enumerate(data))


def close(code: int, reason: bytes = b"", *, masked: bool = True) -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason, masked=masked)


def frames(data: bytes, *, side: Side) -> list[Frame]:
    """What a peer of the library's own makes of bytes: it is the judge of what we send."""
    peer = Protocol(side)
    peer.receive_data(data)
    assert peer.parser_exc is None or peer.close_rcvd is not None, peer.parser_exc
    return [event for event in peer.events_received() if isinstance(event, Frame)]


def closed_with(data: bytes, *, side: Side = Side.CLIENT) -> int | None:
    """The code of the close frame that ends `data`; 1005: without a code."""
    found = [one for one in frames(data, side=side) if one.opcode is Opcode.CLOSE]
    assert len(found) <= 1
    if not found:
        return None
    return struct.unpack("!H", bytes(found[0].data)[:2])[0] if found[0].data else 1005


# --- messages


def test_messages_cross_in_both_directions_masked_towards_the_target_alone() -> None:
    codec = WebSocketCodec()
    assert codec.receive_client(frame(TEXT, b"hello") + frame(BINARY, b"\xff")) == [
        HELLO,
        Message(True, b"\xff"),
    ]
    assert codec.take_target() == b""  # nothing moves by itself
    assert codec.send_target(HELLO) and codec.send_target(Message(True, b"\xff"))
    sent = codec.take_target()
    assert sent[1] & 0x80 and MASK not in sent
    assert [(one.opcode, one.data) for one in frames(sent, side=Side.SERVER)] == [
        (Opcode.TEXT, b"hello"),
        (Opcode.BINARY, b"\xff"),
    ]
    assert codec.receive_target(frame(TEXT, b"hello", masked=False)) == [HELLO]
    codec.send_client(Message(False, b"h***o"))
    assert codec.take_client() == frame(TEXT, b"h***o", masked=False)
    assert codec.take_client() == b"" and codec.client_open and codec.target_open


@pytest.mark.parametrize("size", [0, 125, 126, 127, 65535, 65536, 200_000])
def test_every_form_of_length_is_read_and_written(size: int) -> None:
    codec, message = WebSocketCodec(), Message(True, b"x" * size)
    assert codec.receive_client(frame(BINARY, message.data)) == [message]
    codec.send_target(message)
    (sent,) = frames(codec.take_target(), side=Side.SERVER)
    assert sent.data == message.data


def test_masks_are_random() -> None:
    codec = WebSocketCodec()
    for _ in range(2):
        codec.receive_client(frame(BINARY, b"12345678"))
        codec.send_target(Message(True, b"12345678"))
    sent = codec.take_target()
    assert sent[:14] != sent[14:]


def test_pings_are_answered_on_their_own_leg_between_fragments() -> None:
    codec = WebSocketCodec()
    data = frame(TEXT, b"hel", fin=False) + frame(PING, b"you?") + frame(PONG, b"no")
    assert codec.receive_client(data) == []
    assert codec.take_client() == frame(PONG, b"you?", masked=False)
    assert codec.take_target() == b""
    assert codec.receive_client(frame(CONT, b"lo")) == [HELLO]
    codec.receive_target(frame(PING, masked=False))
    assert frames(codec.take_target(), side=Side.SERVER)[0].opcode is Opcode.PONG
    assert codec.take_client() == b""


def test_of_many_pings_the_last_is_answered() -> None:
    codec = WebSocketCodec()
    codec.receive_client(b"".join(frame(PING, b"%d" % number) for number in range(5000)))
    assert codec.take_client() == frame(PONG, b"4999", masked=False)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """What a client may send: messages in fragments, pings between them, perhaps a close."""
    out = []
    for _ in range(draw(st.integers(0, 5))):
        binary = draw(st.booleans())
        data = draw(st.binary(max_size=300)) if binary else draw(st.text(max_size=80)).encode()
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        for number, part in enumerate(parts):
            opcode = CONT if number else BINARY if binary else TEXT
            out.append(frame(opcode, part, fin=number == len(parts) - 1))
            if draw(st.booleans()):
                out.append(frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=5))))
    if draw(st.booleans()):
        out.append(close(draw(st.sampled_from([1000, 1001, 1005, 999, 3000, 4999, 5000])), b"bye"))
        out.append(draw(st.binary(max_size=20)))
    return b"".join(out)


def received(data: bytes, sizes: list[int]) -> tuple[list[Message], str, bytes, bool]:
    codec, found, place, turn = WebSocketCodec(), [], 0, 0
    while place < len(data):
        size = sizes[min(turn, len(sizes) - 1)]
        found += codec.receive_client(data[place : place + size])
        place, turn = place + size, turn + 1
    for message in found:
        codec.send_target(message)
    pongs = codec.take_client()
    ends = [one for one in frames(pongs, side=Side.CLIENT) if one.opcode is not Opcode.PONG]
    wrong = codec.failed.code if codec.failed else ""
    return found, wrong, b"".join(one.serialize(mask=False) for one in ends), codec.target_open


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=20)


@given(conversations(), sizes)
def test_every_split_gives_the_same(data: bytes, cut: list[int]) -> None:
    assert received(data, cut) == received(data, [max(1, len(data))]) == received(data, [1])


@given(conversations())
def test_what_comes_out_is_what_the_library_reads(data: bytes) -> None:
    codec, peer = WebSocketCodec(), Protocol(Side.SERVER)
    found = codec.receive_client(data)
    peer.receive_data(data)
    theirs: list[Message] = []
    parts: list[bytes] = []
    kind = Opcode.TEXT
    for event in peer.events_received():
        if not isinstance(event, Frame) or event.opcode not in (0, 1, 2):
            continue
        kind = event.opcode if event.opcode else kind
        parts.append(bytes(event.data))
        if event.fin:
            theirs.append(Message(kind is Opcode.BINARY, b"".join(parts)))
            parts = []
    assert found == theirs
    assert (codec.failed is None) == (peer.parser_exc is None or peer.close_rcvd is not None)
    ours = [one.data for one in frames(codec.take_client(), side=Side.CLIENT) if one.opcode == 8]
    said = [
        one.data
        for one in frames(b"".join(peer.data_to_send()), side=Side.CLIENT)
        if one.opcode == 8
    ]
    assert [one[:2] for one in ours] == [one[:2] for one in said]


@given(st.binary(max_size=400), sizes)
def test_garbage_raises_nothing_and_what_we_take_the_library_takes(
    data: bytes, cut: list[int]
) -> None:
    assert received(data, cut)[:2] == received(data, [max(1, len(data))])[:2]
    codec, peer = WebSocketCodec(), Protocol(Side.SERVER)
    codec.receive_client(data)
    peer.receive_data(data)
    if codec.failed is None:
        assert peer.parser_exc is None or peer.close_rcvd is not None
    if codec.client_open:
        assert peer.state is State.OPEN


# --- attacks


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"", form=126), 1002),
        (frame(CONT, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"), 1002),
        (frame(TEXT, b"x") + frame(CONT, b"y"), 1002),
        *[(frame(opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
        *[(frame(TEXT, b"x", rsv=rsv), 1002) for rsv in (1, 2, 4, 7)],
        (frame(PING, b"x", rsv=4), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONT, b"\xff"), 1007),
        (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONT, b""), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"\xc0\xaf"), 1007),
        (frame(TEXT, b"x" * 125, form=126), 1002),
        (frame(TEXT, b"x", form=127), 1002),
        (frame(TEXT, b"x" * 65535, form=127), 1002),
        (frame(BINARY, form=127, length=1 << 63), 1002),
        (frame(BINARY, form=127, length=(1 << 63) - 1), 1009),
        (frame(BINARY, b"x" * 1001), 1009),
        (frame(BINARY, b"x" * 1000, fin=False) + frame(CONT, b"x"), 1009),
        *[(close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)],
        (frame(CLOSE, b"\x03"), 1002),
        (close(1000, b"\xff"), 1007),
    ],
)
def test_what_breaks_the_protocol_closes_its_leg(data: bytes, code: int) -> None:
    before = frame(TEXT, b"hello")
    codec = WebSocketCodec(1000)
    assert codec.receive_client(before) + codec.receive_client(data)[:0] == [HELLO]
    assert codec.failed is not None
    assert (codec.failed.side, codec.failed.code) == ("client", str(code))
    assert closed_with(codec.take_client()) == code
    assert codec.client_over and not codec.client_open
    assert codec.receive_client(frame(TEXT, b"more")) == []
    codec.send_target(HELLO)
    for _ in range(codec._client.outstanding):
        codec.drop_client()
    assert closed_with(codec.take_target(), side=Side.SERVER) == 1001
    assert not codec.over
    codec.receive_target(close(1001, masked=False))
    assert codec.over


def test_the_target_must_not_mask_and_the_client_is_told_without_words_of_its_own() -> None:
    codec = WebSocketCodec()
    assert codec.receive_target(frame(TEXT, b"x")) == []
    assert codec.failed is not None and codec.failed.side == "target"
    assert closed_with(codec.take_target(), side=Side.SERVER) == 1002
    assert closed_with(codec.take_client()) == 1011


def test_a_huge_length_is_refused_before_its_payload_is_here() -> None:
    codec = WebSocketCodec()
    codec.receive_client(frame(BINARY, form=127, length=1 << 40)[:10])
    assert closed_with(codec.take_client()) == 1009


def test_fragments_count_together_and_pings_between_them_do_not() -> None:
    codec = WebSocketCodec(10)
    codec.receive_client(frame(BINARY, b"x" * 6, fin=False) + frame(PING, b"x" * 100))
    assert codec.receive_client(frame(CONT, b"x" * 4)) == [Message(True, b"x" * 10)]
    codec.receive_client(frame(BINARY, b"x" * 6, fin=False) + frame(CONT, b"x" * 5, fin=False))
    assert codec.failed is not None and codec.failed.code == "1009"


def test_what_was_whole_before_the_violation_still_goes_on() -> None:
    codec = WebSocketCodec()
    assert codec.receive_client(frame(TEXT, b"hello") + frame(3)) == [HELLO]
    assert codec.take_target() == b""
    codec.send_target(HELLO)
    assert [one.opcode for one in frames(codec.take_target(), side=Side.SERVER)] == [1, 8]


# --- closing


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 1011, 3000, 4999])
def test_a_close_is_answered_and_passed_on_with_its_code(code: int) -> None:
    codec = WebSocketCodec()
    codec.receive_client(close(code, b"bye") + frame(TEXT, b"after") + b"\xff\xff")
    assert codec.take_client() == close(code, b"bye", masked=False)
    assert closed_with(codec.take_target(), side=Side.SERVER) == code
    assert codec.failed is None and codec.client_over and not codec.over
    assert not codec.send_client(HELLO) and codec.take_client() == b""
    codec.receive_target(frame(TEXT, b"late", masked=False) + close(code, masked=False))
    assert codec.over and codec.take_target() == b"" == codec.take_client()


def test_a_close_without_a_code_stays_without() -> None:
    codec = WebSocketCodec()
    codec.receive_target(frame(CLOSE, masked=False))
    assert codec.take_client() == frame(CLOSE, masked=False)
    assert closed_with(codec.take_target(), side=Side.SERVER) == 1005


def test_a_close_waits_for_the_messages_before_it() -> None:
    codec = WebSocketCodec()
    data = frame(TEXT, b"hello") + frame(TEXT, b"refused") + close(1000)
    assert len(codec.receive_client(data)) == 2
    assert closed_with(codec.take_client()) == 1000
    assert codec.send_target(HELLO)
    assert [one.opcode for one in frames(codec.take_target(), side=Side.SERVER)] == [1]
    codec.drop_client()
    assert closed_with(codec.take_target(), side=Side.SERVER) == 1000


@pytest.mark.parametrize(("code", "sent"), [(1005, 1005), (1006, 1011), (999, 1011), (4000, 4000)])
def test_our_own_close_has_a_code_that_may_be_sent(code: int, sent: int) -> None:
    codec = WebSocketCodec()
    codec.close_client(code, "why")
    codec.close_client(1000, "twice is once")
    assert closed_with(codec.take_client()) == sent
    codec.close_target(code)
    assert closed_with(codec.take_target(), side=Side.SERVER) == sent
    assert not codec.client_open and not codec.over


def test_a_reason_is_cut_between_characters() -> None:
    codec = WebSocketCodec()
    codec.close_client(1008, "x" + "€" * 60 + "\ud800")
    (sent,) = frames(codec.take_client(), side=Side.CLIENT)
    reason = bytes(sent.data)[2:]
    assert len(reason) == 121 and reason.decode() == "x" + "€" * 40
    codec.close_target(1008, "\ud800")
    assert frames(codec.take_target(), side=Side.SERVER)[0].data[2:] == b"?"


def test_a_refusal_tells_the_client_alone_why() -> None:
    codec = WebSocketCodec()
    codec.receive_client(frame(TEXT, b"drop it") * 3)
    codec.refused(1008, "denied by no-drops")
    assert codec.take_client() == close(1008, b"denied by no-drops", masked=False)
    (sent,) = frames(codec.take_target(), side=Side.SERVER)
    assert sent.data == struct.pack("!H", 1001)
    assert not codec.send_target(HELLO) and codec.take_target() == b""
    assert codec.receive_client(frame(TEXT, b"more")) == []
    codec.receive_client(close(1008))
    codec.receive_target(close(1001, masked=False))
    assert codec.over


def test_the_end_of_a_stream_is_passed_on_behind_what_was_read() -> None:
    codec = WebSocketCodec()
    codec.receive_client(frame(TEXT, b"hello") + frame(TEXT, b"cut off")[:5])
    codec.eof_client()
    codec.eof_client()
    assert codec.client_over and codec.take_target() == b""
    codec.send_target(HELLO)
    assert [one.opcode for one in frames(codec.take_target(), side=Side.SERVER)] == [1, 8]
    codec.eof_target()
    assert codec.over and codec.take_client() == b""
    codec = WebSocketCodec()
    codec.eof_target()
    assert closed_with(codec.take_client()) == 1011 and not codec.target_open


# --- handshake

KEY = base64.b64encode(b"0123456789abcdef")


def asked(**more: bytes | None) -> Fields:
    fields: dict[bytes, bytes | None] = {
        b"connection": b"Upgrade",
        b"upgrade": b"websocket",
        b"sec-websocket-version": b"13",
        b"sec-websocket-key": KEY,
    }
    fields |= {b"sec-websocket-" + name.encode(): value for name, value in more.items()}
    return [(name, value) for name, value in fields.items() if value is not None]


def test_the_accept_is_the_specifications_own_example() -> None:
    assert websocket.accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "fields",
    [
        asked(version=b"8"),
        asked(version=b"13, 8"),
        asked(version=None),
        [*asked(), (b"sec-websocket-version", b"13")],
        asked(key=None),
        asked(key=b"c2hvcnQ="),
        asked(key=base64.b64encode(b"x" * 17)),
        asked(key=b"*" * 22 + b"=="),
        [*asked(), (b"sec-websocket-key", KEY)],
        asked(protocol=b"chat,,v2"),
        asked(protocol=b"ch at"),
    ],
)
def test_another_handshake_is_refused(fields: Fields) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        websocket.check_request(fields)
    assert (caught.value.side, caught.value.code) == ("client", "400")


def test_the_target_is_asked_anew() -> None:
    fields = [
        *asked(extensions=b"permessage-deflate", protocol=b"chat, V2", accept=b"x"),
        (b"origin", b"https://a"),
    ]
    websocket.check_request(fields)
    made, key = websocket.target_fields(fields)
    websocket.check_request(made)
    assert dict(made) == {
        b"sec-websocket-protocol": b"chat, V2",
        b"origin": b"https://a",
        b"connection": b"Upgrade",
        b"upgrade": b"websocket",
        b"sec-websocket-version": b"13",
        b"sec-websocket-key": key,
    }
    assert key != KEY and websocket.target_fields(fields)[1] != key
    assert websocket.offered(fields) == (b"chat", b"V2")


def answer(key: bytes, **more: bytes) -> Fields:
    given: dict[bytes, bytes] = {
        b"connection": b"keep-alive, Upgrade",
        b"upgrade": b"WebSocket",
        b"sec-websocket-accept": websocket.accept_key(key),
    }
    given |= {name.replace("_", "-").encode(): value for name, value in more.items()}
    return list(given.items())


def test_a_right_answer_is_taken_and_made_anew_for_the_client() -> None:
    assert websocket.check_response(answer(KEY), KEY, ()) is None
    fields = [*answer(KEY, sec_websocket_protocol=b"V2"), (b"x-served-by", b"a")]
    assert websocket.check_response(fields, KEY, (b"chat", b"V2")) == b"V2"
    other = base64.b64encode(b"x" * 16)
    assert websocket.client_fields(fields, other) == [
        (b"sec-websocket-protocol", b"V2"),
        (b"x-served-by", b"a"),
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-accept", websocket.accept_key(other)),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        answer(b"other"),
        [*answer(KEY), (b"sec-websocket-accept", websocket.accept_key(KEY))],
        answer(KEY, sec_websocket_extensions=b"permessage-deflate"),
        answer(KEY, sec_websocket_protocol=b"v2"),
        answer(KEY, sec_websocket_protocol=b"chat, V2"),
        answer(KEY, upgrade=b"h2c"),
        answer(KEY, connection=b"close"),
    ],
)
def test_a_wrong_answer_is_refused(fields: Fields) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        websocket.check_response(fields, KEY, (b"chat", b"V2"))
    assert (caught.value.side, caught.value.code) == ("target", "502")
