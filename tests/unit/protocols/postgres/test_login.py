"""The client's login: what a startup packet may hold, and that a token travels in private alone."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import ProtocolViolation
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.login import MAXIMUM_STARTUP, ClientLogin, State
from sallyport.protocols.postgres.startup import settings_of, split_options

CLEARTEXT = replies.authentication(replies.AUTH_CLEARTEXT)


def login(parameters: dict[str, str] | None = None, **more: str) -> ClientLogin:
    machine = ClientLogin(private=True)
    machine.receive(
        messages.startup({"user": "app", "database": "orders", **(parameters or {}), **more})
    )
    machine.ask(replies.AUTH_CLEARTEXT)
    return machine


def refused(raw: bytes, *, private: bool = True) -> ProtocolViolation:
    machine = ClientLogin(private=private)
    with pytest.raises(ProtocolViolation) as caught:
        machine.receive(raw)
    assert machine.state is State.STARTUP
    assert machine.take() == b""
    return caught.value


def raw_startup(body: bytes, version: int = messages.PROTOCOL_3_0) -> bytes:
    return struct.pack(">II", len(body) + 8, version) + body


def test_a_login_asks_for_the_token_and_returns_it() -> None:
    machine = login(application_name="psql", search_path="shop")
    assert machine.take() == CLEARTEXT
    assert machine.startup is not None
    assert machine.startup.user == "app"
    assert machine.startup.database == "orders"
    assert machine.startup.application == "psql"
    assert machine.startup.settings == {"application_name": "psql", "search_path": "shop"}
    assert machine.answer is None
    machine.receive(messages.password(b"sp_secret"))
    assert machine.state is State.STARTED
    assert machine.answer is not None
    assert machine.answer.reveal() == b"sp_secret\0"
    assert "sp_secret" not in repr(machine.answer)


def test_a_login_byte_by_byte_is_the_same() -> None:
    machine = ClientLogin(private=True)
    stream = messages.startup({"user": "app"})
    for byte in stream:
        assert machine.take() == b""
        machine.receive(bytes((byte,)))
    machine.ask(replies.AUTH_CLEARTEXT)
    assert machine.take() == CLEARTEXT
    for byte in messages.password(b"t"):
        assert machine.state is State.ASKED
        machine.receive(bytes((byte,)))
    assert machine.state is State.STARTED


def test_an_answer_may_come_before_it_is_asked_for() -> None:
    machine = ClientLogin(private=True)
    machine.receive(messages.startup({"user": "app"}))
    machine.receive(messages.password(b"t"))
    machine.ask(replies.AUTH_CLEARTEXT)
    assert machine.state is State.STARTED
    assert machine.answer is not None and machine.answer.reveal() == b"t\0"


def test_what_comes_early_is_bounded() -> None:
    machine = ClientLogin(private=True)
    machine.receive(messages.startup({"user": "app"}))
    machine.receive(b"p" + bytes(frames.TOKEN))
    with pytest.raises(ProtocolViolation, match="before the login is over"):
        machine.receive(b"x")


def test_each_question_has_its_own_answer() -> None:
    machine = login()
    machine.receive(messages.password(b"one"))
    machine.ask(replies.AUTH_SASL_CONTINUE, b"more")
    assert machine.answer is None
    assert machine.take().endswith(b"more")
    machine.receive(messages.sasl_response(b"two"))
    assert machine.answer is not None and machine.answer.reveal() == b"two"
    with pytest.raises(ProtocolViolation, match="before the login is over"):
        machine.receive(messages.sasl_response(b"two"))  # twice


def test_nothing_is_asked_out_of_turn() -> None:
    for machine in (ClientLogin(private=True), login()):
        with pytest.raises(ValueError, match="nothing can be asked"):
            machine.ask(replies.AUTH_CLEARTEXT)


def test_no_token_is_asked_for_where_others_can_listen() -> None:
    refusal = refused(messages.startup({"user": "app"}), private=False)
    assert refusal.code == "28000"
    assert "TLS" in refusal.message


def test_a_cancel_request_is_taken_without_privacy() -> None:
    machine = ClientLogin(private=False)
    machine.receive(messages.cancel_request(7, b"k" * 32))
    assert machine.state is State.CANCEL
    assert machine.cancel == (7, b"k" * 32)


@pytest.mark.parametrize(
    "length", [0, 4, 7, MAXIMUM_STARTUP + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
)
def test_a_startup_length_that_cannot_be_is_refused_at_once(length: int) -> None:
    assert refused(struct.pack(">I", length)).code == "08P01"


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n"]
)
def test_other_protocols_are_refused(first: bytes) -> None:
    assert refused(first).code == "08P01"


@pytest.mark.parametrize("code", [messages.SSL_CODE, messages.GSSENC_CODE])
def test_an_encryption_request_inside_a_login_is_refused(code: int) -> None:
    assert refused(struct.pack(">II", 8, code)).code == "08P01"


@pytest.mark.parametrize("version", [2 << 16, 4 << 16, 0, 0xFFFF0000])
def test_another_major_version_is_refused(version: int) -> None:
    assert refused(raw_startup(b"user\0a\0\0", version)).code == "0A000"


def test_a_newer_minor_version_and_unknown_options_are_negotiated() -> None:
    machine = ClientLogin(private=True)
    body = b"user\0a\0_pq_.grease\0x\0_pq_.other\0\0\0"
    machine.receive(raw_startup(body, 3 << 16 | 9999))
    machine.ask(replies.AUTH_CLEARTEXT)
    assert machine.take() == (
        replies.negotiation(messages.PROTOCOL_3_2, ["_pq_.grease", "_pq_.other"]) + CLEARTEXT
    )
    assert machine.startup is not None
    assert machine.startup.version == messages.PROTOCOL_3_2
    assert machine.startup.settings == {}


@pytest.mark.parametrize("version", [messages.PROTOCOL_3_0, messages.PROTOCOL_3_2])
def test_a_version_that_is_known_is_not_negotiated(version: int) -> None:
    machine = ClientLogin(private=True)
    machine.receive(messages.startup({"user": "a"}, version))
    assert machine.take() == b""
    assert machine.state is State.STARTED
    assert machine.startup is not None
    assert machine.startup.version == version


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"user\0a\0user\0b\0\0", "twice"),
        (b"database\0a\0database\0b\0\0", "twice"),
        (b"user\0a\0DateStyle\0ISO\0datestyle\0German\0\0", "twice"),
        (b"user\0a\0search_path\0" + b"x" * 5000 + b"\0\0", "too long"),
        (b"user\0" + b"a" * 5000 + b"\0\0", "too long"),
        (b"user\0a\0\0trailing", "too many"),
        (b"user\0a\0database", "no end"),
        (b"user\0a", "no end"),
        (b"user\0a\0", "no end"),
        (b"user\0\xff\0\0", "UTF-8"),
        (b"".join(b"a%d\0x\0" % number for number in range(80)) + b"\0", "more than"),
    ],
)
def test_a_malformed_startup_is_refused(body: bytes, words: str) -> None:
    refusal = refused(raw_startup(body))
    assert refusal.code == "08P01"
    assert words in refusal.message


@pytest.mark.parametrize("value", ["true", "on", "1", "yes", "database", "DATABASE", "tr", "2", ""])
def test_replication_is_refused(value: str) -> None:
    refusal = refused(messages.startup({"user": "a", "replication": value}))
    assert refusal.code == "42501"
    assert "replication" in refusal.message


def test_replication_that_is_off_is_no_setting() -> None:
    machine = login(replication="false")
    assert machine.startup is not None
    assert machine.startup.settings == {}


@pytest.mark.parametrize(
    "name",
    [
        "session_authorization",
        "role",
        "session_replication_role",
        "standard_conforming_strings",
        "row_security",
        "local_preload_libraries",
        "session_preload_libraries",
        "log_statement",
        "transaction_read_only",
        "backslash_quote",
        "is_superuser",
        "my.own",
        "ROLE",
        "Session_Authorization",
    ],
)
def test_settings_that_are_not_listed_are_refused_by_both_ways(name: str) -> None:
    for parameters in ({name: "x"}, {"options": f"-c {name}=x"}, {"options": f"--{name}=x"}):
        refusal = refused(messages.startup({"user": "a", **parameters}))
        assert refusal.code == "42501"
        assert name in refusal.message


@pytest.mark.parametrize(
    "options", ["-d 5", "-W", "-P", "-O", "-f s", "-B 10", "x", "-", "--", "-e"]
)
def test_other_switches_of_the_server_are_refused(options: str) -> None:
    assert refused(messages.startup({"user": "a", "options": options})).code == "42501"


@pytest.mark.parametrize("options", ["-c", "-c search_path", "-c =x", "--search_path"])
def test_options_without_a_value_are_refused(options: str) -> None:
    assert refused(messages.startup({"user": "a", "options": options})).code == "42601"


def test_options_are_read_as_the_server_reads_them() -> None:
    text = r"-c search_path=a\ b,\\c --statement-timeout=5s  -cgeqo=off" + "\t--jit=on"
    assert split_options(text) == [
        ("search_path", r"a b,\c"),
        ("statement_timeout", "5s"),
        ("geqo", "off"),
        ("jit", "on"),
    ]


def test_an_escaped_blank_hides_no_second_setting() -> None:
    assert split_options(r"-c search_path=a\ -c\ role=postgres") == [
        ("search_path", "a -c role=postgres")
    ]


def test_a_direct_setting_goes_over_options() -> None:
    settings = settings_of({"options": "-c search_path=a -c geqo=off", "search_path": "b"})
    assert settings == {"search_path": "b", "geqo": "off"}


@pytest.mark.parametrize("encoding", ["UTF8", "utf-8", "'utf8'", "Unicode", "SQL_ASCII"])
def test_utf_8_by_any_name_is_taken_and_left_to_the_gateway(encoding: str) -> None:
    assert settings_of({"client_encoding": encoding}) == {}


@pytest.mark.parametrize("encoding", ["LATIN1", "SJIS", "BIG5", "GBK", "UTF16", "", "utf8x"])
def test_another_encoding_is_refused_clearly(encoding: str) -> None:
    for parameters in (
        {"client_encoding": encoding},
        {"options": f"-c client_encoding={encoding}"},
    ):
        with pytest.raises(ProtocolViolation, match="use UTF8") as caught:
            settings_of(parameters)
        assert caught.value.code == "0A000"


def test_an_applications_name_cannot_bring_control_characters() -> None:
    machine = login(application_name="a\x1b[2Jb\nc" + "é" * 100)
    assert machine.startup is not None
    assert machine.startup.application == "a?[2Jb?c" + "?" * 55


def test_a_refusal_shows_no_control_characters() -> None:
    refusal = refused(messages.startup({"user": "a", "x\x1b[31m": "1"}))
    assert "\x1b" not in refusal.message


@pytest.mark.parametrize("kind", [b"Q", b"X", b"F", b"\0", b"d"])
def test_nothing_but_a_password_comes_before_the_login(kind: bytes) -> None:
    machine = login()
    with pytest.raises(ProtocolViolation, match="expected a password"):
        machine.receive(kind)


@pytest.mark.parametrize("length", [0, 4, 65537, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_password_length_that_cannot_be_is_refused_at_once(length: int) -> None:
    machine = login()
    with pytest.raises(ProtocolViolation, match="password packet"):
        machine.receive(b"p" + struct.pack(">I", length))


def test_statements_stuffed_behind_the_password_are_refused() -> None:
    machine = login()
    with pytest.raises(ProtocolViolation, match="before the login is over"):
        machine.receive(messages.password(b"t") + messages.query("select 1"))
    assert machine.answer is None


def test_statements_stuffed_behind_a_cancel_request_are_refused() -> None:
    machine = ClientLogin(private=True)
    machine.receive(messages.cancel_request(1, b"abcd"))
    with pytest.raises(ProtocolViolation):
        machine.receive(b"x")


@given(st.binary(max_size=200))
def test_garbage_raises_only_violations_of_the_client(garbage: bytes) -> None:
    for raw in (garbage, raw_startup(garbage)):
        machine = ClientLogin(private=True)
        try:
            machine.receive(raw)
        except ProtocolViolation as violation:
            assert violation.side == "client"
        assert machine.answer is None


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
def test_any_options_give_listed_settings_or_a_violation(options: str) -> None:
    try:
        settings = settings_of({"options": options})
    except ProtocolViolation:
        return
    assert set(settings) <= {name for name, _ in split_options(options.lower())}
