"""Messages and replies: what is built reads back, and nothing that does not fit exactly is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.postgres import frames, messages, replies

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
OIDS = st.integers(0, 2**32 - 1)
INT16 = st.integers(-(2**15), 2**15 - 1)
VALUES = st.lists(st.none() | st.binary(max_size=30), max_size=5)

PARSERS: list[tuple[str, Callable[[bytes], object], bytes]] = [
    ("client", messages.parse_query, messages.query("select 1")),
    ("client", messages.parse_parse, messages.parse("s", "select $1", [23])),
    ("client", messages.parse_bind, messages.bind("p", "s", [b"1", None], [0, 1], [1])),
    ("client", messages.parse_execute, messages.execute("p", 5)),
    ("client", lambda body: messages.parse_named(body, "Close"), messages.close("S", "s")),
    ("client", messages.parse_copy_fail, messages.copy_fail("why")),
    ("client", messages.parse_password, messages.password(b"token")),
    (
        "target",
        replies.parse_row_description,
        replies.row_description([replies.Field("a", 1, 2, 23, 4, -1, 0)]),
    ),
    ("target", replies.parse_parameter_description, replies.parameter_description([23])),
    ("target", replies.parse_data_row, replies.data_row([b"1", None])),
    ("target", replies.parse_command_complete, replies.command_complete("SELECT 1")),
    ("target", replies.parse_ready, replies.ready("T")),
    ("target", replies.parse_parameter_status, replies.parameter_status("a", "b")),
    (
        "target",
        lambda body: replies.parse_key_data(body, messages.PROTOCOL_3_0),
        replies.key_data(1, b"1234"),
    ),
    ("target", replies.parse_negotiation, replies.negotiation(messages.PROTOCOL_3_0, ["_pq_.x"])),
    ("target", replies.parse_fields, replies.error("42501", "no", detail="d", hint="h")),
    ("target", replies.parse_notification, replies.notification(1, "c", "p")),
    (
        "target",
        replies.parse_copy_header,
        replies.copy_response(frames.COPY_OUT, replies.CopyHeader(0, (0, 0))),
    ),
]


@pytest.mark.parametrize(("side", "read", "built"), PARSERS)
def test_a_byte_less_or_more_is_a_violation_of_its_side(
    side: str, read: Callable[[bytes], object], built: bytes
) -> None:
    body = built[5:]
    read(body)
    for broken in (body[:-1], body + b"\0"):
        with pytest.raises(ProtocolViolation) as caught:
            read(broken)
        assert (caught.value.side, caught.value.code) == (side, "08P01")


@given(st.binary(max_size=60), st.sampled_from(PARSERS))
def test_garbage_raises_only_violations(
    garbage: bytes, case: tuple[str, Callable[[bytes], object], bytes]
) -> None:
    try:
        case[1](garbage)
    except ProtocolViolation as violation:
        assert violation.side == case[0]


@given(NAMES, NAMES, st.lists(OIDS, max_size=5))
def test_parse_reads_back(name: str, text: str, types: list[int]) -> None:
    built = messages.parse(name, text, types)
    assert messages.parse_parse(built[5:]) == (name, text, tuple(types))


@given(NAMES, NAMES, VALUES, st.lists(st.sampled_from([0, 1]), max_size=1))
def test_bind_reads_back(
    portal: str, name: str, values: list[bytes | None], codes: list[int]
) -> None:
    built = messages.bind(portal, name, values, codes, codes)
    read = messages.parse_bind(built[5:])
    assert read == (portal, name, tuple(codes), tuple(values), tuple(codes))
    assert [read.format_of(index) for index in range(len(values))] == (codes or [0]) * len(values)


@given(
    st.lists(
        st.builds(
            replies.Field,
            NAMES,
            OIDS,
            INT16,
            OIDS,
            INT16,
            st.integers(-(2**31), 2**31 - 1),
            st.sampled_from([0, 1]),
        ),
        max_size=4,
    )
)
def test_row_description_reads_back(fields: list[replies.Field]) -> None:
    assert replies.parse_row_description(replies.row_description(fields)[5:]) == tuple(fields)


@given(VALUES)
def test_data_row_reads_back(cells: list[bytes | None]) -> None:
    assert replies.parse_data_row(replies.data_row(cells)[5:]) == tuple(cells)


@pytest.mark.parametrize(
    "body",
    [
        b"p\0s\0" + b"\xff\xff",  # a negative count of formats
        b"p\0s\0" + b"\0\0" + b"\xff\xff",  # of values
        b"p\0s\0" + b"\0\0" + b"\x7f\xff",  # more values than bytes
        b"p\0s\0" + b"\0\0\0\1" + b"\xff\xff\xff\xfe" + b"\0\0",  # a length of -2
        b"p\0s\0" + b"\0\1\0\2" + b"\0\0\0\0",  # format 2
        b"p\0s\0" + b"\0\2\0\0\0\0" + b"\0\1\0\0\0\0" + b"\0\0",  # two formats, one value
    ],
)
def test_a_bind_whose_counts_lie_is_a_violation(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        messages.parse_bind(body)


@pytest.mark.parametrize("count", [b"\xff\xff", b"\x80\0", b"\x7f\xff"])
def test_a_server_whose_counts_lie_is_a_violation(count: bytes) -> None:
    for read in (
        replies.parse_row_description,
        replies.parse_parameter_description,
        replies.parse_data_row,
        lambda body: replies.parse_copy_header(b"\0" + body),
    ):
        with pytest.raises(ProtocolViolation) as caught:
            read(count + b"\0\0\0\1\0")
        assert caught.value.side == "target"


def test_a_text_that_is_not_utf_8_is_a_violation() -> None:
    for read in (messages.parse_query, messages.parse_copy_fail):
        with pytest.raises(ProtocolViolation, match="UTF-8"):
            read(b"select '\xff'\0")


def test_a_nul_inside_a_query_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="too many"):
        messages.parse_query(b"select 1\0; drop table t\0")


def test_a_nul_cannot_be_built_into_a_string() -> None:
    for build in (messages.query, replies.command_complete):
        with pytest.raises(ValueError, match="NUL"):
            build("select 1\0; drop table t")


def test_an_error_with_a_field_twice_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="twice"):
        replies.parse_fields(b"CA\0CB\0\0")


def test_a_cancel_key_has_its_bounds() -> None:
    assert messages.parse_cancel(b"\0\0\0\1" + b"k" * 256).key == b"k" * 256
    for size in (0, 3, 257):
        with pytest.raises(ProtocolViolation):
            messages.parse_cancel(b"\0\0\0\1" + b"k" * size)
