"""Frames: any chunking gives the same messages, bulk stays bulk, and lengths are never believed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.frames import Piece, Splitter

ROW = replies.data_row([b"1", None, b"three"])


def drain(splitter: Splitter) -> list[Piece]:
    pieces = []
    while (piece := splitter.next()) is not None:
        pieces.append(piece)
    return pieces


def split(splitter: Splitter, *chunks: bytes) -> list[Piece]:
    pieces = []
    for chunk in chunks:
        splitter.feed(chunk)
        pieces.extend(drain(splitter))
    return pieces


def normal(pieces: list[Piece]) -> list[tuple[int, int, bytes]]:
    """Join runs and parts: (type, messages, bytes), the same for every chunking."""
    merged: list[tuple[int, int, bytes]] = []
    for piece in pieces:
        bulk = piece.type in (frames.DATA_ROW, frames.COPY_DATA)
        if merged and bulk and merged[-1][0] == piece.type:
            kind, count, data = merged[-1]
            merged[-1] = (kind, count + (piece.count if piece.first else 0), data + piece.data)
        else:
            merged.append((piece.type, piece.count, piece.data))
    return merged


def header(kind: str, length: int) -> bytes:
    return struct.pack(">Bi", ord(kind), length)


def test_whole_messages_come_out_as_they_went_in() -> None:
    first, second = messages.query("SELECT 1"), messages.SYNC
    pieces = split(Splitter("client"), first + second)
    assert [(piece.type, piece.data) for piece in pieces] == [
        (frames.QUERY, first),
        (frames.SYNC, second),
    ]
    assert pieces[0].body == b"SELECT 1\0"


def test_rows_side_by_side_are_one_run_and_the_chunk_itself() -> None:
    chunk = ROW * 100
    (piece,) = split(Splitter("target"), chunk)
    assert piece.count == 100
    assert piece.data is chunk


def test_a_run_ends_where_another_type_begins() -> None:
    done = replies.command_complete("SELECT 2")
    pieces = split(Splitter("target"), ROW + ROW + done + ROW)
    assert [(piece.type, piece.count) for piece in pieces] == [
        (frames.DATA_ROW, 2),
        (frames.COMMAND_COMPLETE, 1),
        (frames.DATA_ROW, 1),
    ]


def test_a_row_cut_by_the_chunk_joins_the_next_run() -> None:
    chunk = ROW * 3
    pieces = split(Splitter("target"), chunk[:-4], chunk[-4:] + ROW)
    assert [piece.count for piece in pieces] == [2, 2]
    assert b"".join(piece.data for piece in pieces) == ROW * 4


@given(st.data())
def test_any_chunking_gives_the_same_messages(data: st.DataObject) -> None:
    cells = st.lists(st.none() | st.binary(max_size=20), max_size=4)
    message = st.one_of(
        st.builds(replies.data_row, cells),
        st.builds(messages.copy_data, st.binary(max_size=60)),
        st.just(replies.ready("I")),
        st.builds(replies.parameter_status, st.just("a"), st.text("xyz", max_size=9)),
    )
    stream = b"".join(data.draw(st.lists(message, max_size=12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    over = data.draw(st.sampled_from([7, 16, 40, 1000]))

    def fresh() -> Splitter:
        splitter = Splitter("target")
        splitter.stream(frames.DATA_ROW, over)
        splitter.stream(frames.COPY_DATA, over)
        return splitter

    whole, cut = fresh(), fresh()
    expected = normal(split(whole, stream))
    assert normal(split(cut, *chunks)) == expected
    assert b"".join(piece[2] for piece in expected) == stream
    assert whole.between
    assert cut.between


@given(st.binary(max_size=300), st.sampled_from(["client", "target"]))
def test_garbage_raises_only_a_violation_of_its_side(garbage: bytes, side: str) -> None:
    splitter = Splitter(side)
    try:
        pieces = split(splitter, garbage)
    except ProtocolViolation as violation:
        assert (violation.side, violation.code) == (side, "08P01")
    else:
        assert (
            b"".join(piece.data for piece in pieces) == garbage[: sum(len(p.data) for p in pieces)]
        )


def test_chunks_that_nobody_asks_for_are_kept_in_order() -> None:
    splitter = Splitter("client")
    stream = b"".join(messages.query(f"SELECT {number}") for number in range(50))
    for byte in stream:
        splitter.feed(bytes((byte,)))
    assert splitter.buffered == len(stream)
    assert b"".join(piece.data for piece in drain(splitter)) == stream
    assert splitter.buffered == 0


def test_a_big_cell_is_passed_on_in_parts_without_being_kept() -> None:
    row = replies.data_row([b"x" * (3 * frames.STREAM_OVER)])
    splitter = Splitter("target")
    seen = b""
    for start in range(0, len(row), 65536):
        splitter.feed(row[start : start + 65536])
        for piece in drain(splitter):
            assert not piece.whole
            assert piece.size == len(row)
            assert piece.first == (seen == b"")
            seen += piece.data
            assert piece.last == (len(seen) == len(row))
        assert splitter.buffered == 0
    assert seen == row


def test_a_type_that_is_kept_comes_whole_and_is_refused_over_its_limit() -> None:
    row = replies.data_row([b"x" * (2 * frames.STREAM_OVER)])
    splitter = Splitter("target")
    splitter.keep(frames.DATA_ROW, 4 * frames.STREAM_OVER)
    (piece,) = split(splitter, row[:100], row[100:])
    assert (piece.whole, piece.data) == (True, row)
    splitter.keep(frames.DATA_ROW, 1000)
    with pytest.raises(ProtocolViolation, match="is over 1000"):
        split(splitter, row)


@pytest.mark.parametrize("length", [-1, -(2**31), 0, 3])
@pytest.mark.parametrize(("side", "kind"), [("client", "Q"), ("client", "d"), ("target", "D")])
def test_a_length_that_cannot_be_is_a_violation(side: str, kind: str, length: int) -> None:
    with pytest.raises(ProtocolViolation, match="invalid length"):
        split(Splitter(side), header(kind, length))


@pytest.mark.parametrize(
    ("side", "kind", "length"),
    [
        ("client", "Q", frames.TEXT + 1),
        ("client", "S", frames.SMALL + 1),
        ("client", "p", frames.TOKEN + 1),
        ("client", "B", frames.WHOLE + 1),
        ("client", "d", 2**31 - 1),
        ("target", "T", frames.MEDIUM + 1),
        ("target", "E", frames.TEXT + 1),
        ("target", "D", 2**31 - 1),
    ],
)
def test_a_huge_length_is_refused_before_a_byte_of_it_is_kept(
    side: str, kind: str, length: int
) -> None:
    splitter = Splitter(side)
    with pytest.raises(ProtocolViolation, match="is over"):
        split(splitter, header(kind, length))


def test_a_bad_length_behind_good_rows_is_found_after_them() -> None:
    splitter = Splitter("target")
    splitter.feed(ROW * 2 + header("D", -5) + b"\0\0")
    piece = splitter.next()
    assert piece is not None
    assert piece.count == 2
    with pytest.raises(ProtocolViolation):
        splitter.next()
    with pytest.raises(ProtocolViolation):  # and for good
        splitter.next()


@pytest.mark.parametrize("kind", ["W", "z", "\0", "R", "T"])
def test_a_type_that_this_side_never_sends_is_a_violation(kind: str) -> None:
    with pytest.raises(ProtocolViolation, match="invalid message type"):
        split(Splitter("client"), header(kind, 4))


def test_a_row_of_another_width_than_described_is_a_violation() -> None:
    splitter = Splitter("target")
    splitter.columns = 3
    assert split(splitter, ROW * 2)[0].count == 2
    with pytest.raises(ProtocolViolation, match="columns"):
        split(splitter, ROW + replies.data_row([b"1"]))


def test_a_negative_number_of_columns_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        split(Splitter("target"), header("D", 6) + b"\xff\xff")


def test_a_streamed_row_of_another_width_is_a_violation_too() -> None:
    splitter = Splitter("target")
    splitter.columns = 3
    row = replies.data_row([b"x" * (2 * frames.STREAM_OVER)])
    with pytest.raises(ProtocolViolation, match="columns"):
        split(splitter, row[:6], row[6:100])
