"""Class 19: the server behind the gateway is not the one that it should be, or lies.

Tampered with is a real server's stream, so that everything but the lie is right. Whatever is said:
what was smuggled reaches no client, the credential reaches no stranger, and the worker lives.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sallyport.cli.client import path
from sallyport.demo.server import EmbeddedPostgres
from tests.bypass.postgres import rogue, wire
from tests.bypass.postgres.rogue import Scripted, Tampering, message, row, with_length
from tests.bypass.postgres.wire import Answer, Gone, Wire
from tests.support.gateway import EVERYTHING, Gateway

SMUGGLED = b"SMUGGLED-VALUE"
PASSWORD = "app-password"
FAR = "0.0.0.0"
"""An address of this host that is not loopback: nothing shows who answers there."""

MASK = {
    "name": "mask",
    "effect": "mask",
    "subjects": {"groups": ["masked"]},
    "mask": {"columns": ["*.*.ssn"], "transform": "redact"},
}


@pytest.fixture(scope="module")
def tampering(postgres: EmbeddedPostgres) -> Iterator[Tampering]:
    with Tampering(postgres.port) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tampering: Tampering, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("drop table if exists people; create table people (id int, name text, ssn text);"
                  "insert into people values (1, 'Ada', 'SMUGGLED-VALUE-1'); grant all on people to app;",
                  "app")  # fmt: skip
    made = Gateway(
        tmp_path_factory.mktemp("rogue"),
        postgres,
        database="app",
        rules=[
            {**EVERYTHING[0], "subjects": {"groups": ["agents", "masked"]}},
            {
                "name": "reads",
                "effect": "allow",
                "subjects": {"groups": ["reader"]},
                "operations": {"effects": ["read"]},
            },
            MASK,
        ],
        guardrails={"enabled": False},
        target={"address": f"127.0.0.1:{tampering.port}"},
    )
    made.config["access"][0]["subjects"] = {"groups": ["agents", "masked", "reader"]}
    with made as running:
        yield running


class Lie:
    """Changes one stream: `at` the messages of a type, `say` replaces them."""

    def __init__(self, at: str, say: Callable[[bytes], bytes]) -> None:
        self.at = at
        self.say = say
        self.told = 0

    def __call__(self, kind: str, body: bytes) -> bytes:
        if kind != self.at:
            return message(kind, body)
        self.told += 1
        return self.say(body)


def instead(kind: str, data: bytes) -> Lie:
    return Lie(kind, lambda body: data)


def before(kind: str, data: bytes) -> Lie:
    return Lie(kind, lambda body: data + message(kind, body))


def after(kind: str, data: bytes) -> Lie:
    return Lie(kind, lambda body: message(kind, body) + data)


COMPLETE = message("C", b"SELECT 1\0")
ERROR = message("E", b"SERROR\0VERROR\0C42P01\0Mno such table\0\0")
LONG = b"x" * 70_000

VIOLATIONS = {
    # --- rows that are none
    "negative-field-count": instead("D", row(SMUGGLED, count=-1)),
    "field-count-of-32767": instead("D", row(SMUGGLED, count=32767)),
    "more-cells-than-described": instead("D", row(b"1", SMUGGLED)),
    "fewer-cells-than-described": instead("D", row()),
    "a-row-without-anything": instead("D", message("D")),
    # --- lengths
    "negative-length": instead("D", with_length("D", -1, SMUGGLED)),
    "length-that-wraps": instead("D", with_length("D", 0x80000000, SMUGGLED)),
    "length-of-three": instead("D", with_length("D", 3, SMUGGLED)),
    "length-of-zero": instead("D", with_length("D", 0, SMUGGLED)),
    "giant-command-tag": instead("C", with_length("C", 0x7FFFFFFF, SMUGGLED)),
    "giant-description": instead("T", with_length("T", 0x7FFFFFF0, SMUGGLED)),
    "giant-error": instead("T", with_length("E", 0x7FFFFFF0, SMUGGLED)),
    # --- out of turn
    "rows-without-a-description": instead("T", b""),
    "rows-after-the-end": after("C", row(SMUGGLED)),
    "second-end": after("C", COMPLETE),
    "rows-when-ready": after("Z", row(SMUGGLED)),
    "an-end-when-ready": after("Z", COMPLETE),
    "a-second-ready": after("Z", message("Z", b"I")),
    "a-ready-in-mid-result": before("D", message("Z", b"I")),
    "a-ready-before-the-result": before("T", message("Z", b"I")),
    "a-ready-of-no-known-state": instead("Z", message("Z", b"Q")),
    "a-ready-without-state": instead("Z", message("Z")),
    "a-ready-with-two-states": instead("Z", message("Z", b"II")),
    "a-description-of-no-columns": instead("T", message("T", b"\0\0")),
    "a-description-with-a-negative-count": instead("T", message("T", b"\xff\xff")),
    "a-description-cut-short": instead("T", message("T", b"\0\1n\0\0\0")),
    "parse-complete": before("T", message("1")),
    "bind-complete": before("T", message("2")),
    "no-data": before("T", message("n")),
    "suspended": instead("C", message("s")),
    "parameter-description": before("T", message("t", b"\0\0")),
    "key-data": before("T", message("K", struct.pack(">ii", 1, 2))),
    "protocol-negotiation": before("T", message("v", struct.pack(">ii", 0x30000, 0))),
    "function-result": before("T", message("V", struct.pack(">i", 3) + b"abc")),
    "a-type-that-does-not-exist": before("T", message("?", SMUGGLED)),
    "a-type-of-the-client": before("T", message("Q", b"drop table people\0")),
    "a-type-of-nul": before("T", message("\0")),
    # --- what would harvest something
    "asks-for-the-password": before("T", message("R", struct.pack(">i", 3))),
    "asks-for-md5": before("T", message("R", struct.pack(">i", 5) + b"salt")),
    "asks-for-scram": before("T", message("R", struct.pack(">i", 10) + b"SCRAM-SHA-256\0\0")),
    "accepts-again": before("T", message("R", struct.pack(">i", 0))),
    "asks-for-copy-data": instead("T", message("G", b"\0\0\0")),
    "starts-a-copy-out": instead("T", message("H", b"\0\0\1\0\0") + message("d", SMUGGLED)),
    "starts-a-copy-both": instead("T", message("W", b"\0\0\0")),
    "copy-data": before("D", message("d", SMUGGLED)),
    # --- texts
    "an-error-without-an-end": instead("T", message("E", b"SERROR\0" + SMUGGLED)),
    "an-error-that-is-not-utf8": instead("T", message("E", b"SERROR\0C42P01\0M\xff\xfe\0\0")),
    "a-notice-without-an-end": before("T", message("N", SMUGGLED)),
    "a-notification-cut-short": before("T", message("A", b"\0\0")),
    "a-parameter-without-a-value": before("T", message("S", b"search_path\0")),
    "another-encoding": before("T", message("S", b"client_encoding\0LATIN1\0")),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_a_server_may_not_say_ends_the_session(
    gateway: Gateway, tampering: Tampering, name: str
) -> None:
    lie = VIOLATIONS[name]
    seen, ended = told(gateway, tampering, lie, wire.query("select id from people"))
    assert lie.told, "the lie was never told"
    assert SMUGGLED not in seen, "what was smuggled reached the client"
    assert ended, f"the session goes on: {seen!r}"
    assert b"drop table" not in seen
    alive(gateway)


CELLS = {
    "cell-length-minus-two": instead("D", message("D", b"\0\1\xff\xff\xff\xfe" + SMUGGLED)),
    "cell-length-of-two-gigabytes": instead("D", message("D", b"\0\1\x7f\xff\xff\xff" + SMUGGLED)),
    "cell-longer-than-its-row": instead("D", message("D", b"\0\1\0\0\0\xff" + SMUGGLED)),
}


@pytest.mark.parametrize("name", CELLS)
def test_cells_that_are_none_never_pass_a_mask(
    gateway: Gateway, tampering: Tampering, name: str
) -> None:
    """Where nothing is masked rows leave as they came; where something is, each cell is read."""
    lie = CELLS[name]
    seen, _ = told(
        gateway, tampering, lie, wire.query("select ssn from people where id > 0"), group="masked"
    )
    assert lie.told
    assert SMUGGLED not in seen
    alive(gateway)


def test_another_string_syntax_makes_every_text_unclear(
    gateway: Gateway, tampering: Tampering
) -> None:
    """What the server reports counts: texts are not read by the old rules any more."""
    lie = before("T", message("S", b"standard_conforming_strings\0off\0"))
    seen, _ = told(gateway, tampering, lie, wire.query("select id from people"), group="reader")
    assert lie.told == 1, "statements were still read as if strings were standard"
    assert b"42501" in seen
    alive(gateway)


EXTENDED = {
    "a-description-inside-execute": before("D", rogue.description(("id", 0, 0))),
    "no-description-where-one-was-asked-for": instead("T", b""),
    "no-data-then-rows": instead("T", message("n")),
    "more-columns-than-the-rows-have": Lie("T", lambda body: rogue.description(("a", 0, 0), ("b", 0, 0))),
    "an-end-without-bind-complete": instead("2", b""),
    "bind-complete-twice": after("2", message("2")),
    "parse-complete-for-close": instead("1", message("3")),
    "a-ready-inside-the-batch": before("2", message("Z", b"I")),
    "rows-before-bind": before("2", row(SMUGGLED)),
    "copy-in-for-execute": instead("D", message("G", b"\0\0\0")),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTENDED)
def test_lies_in_the_extended_protocol_end_the_session(
    gateway: Gateway, tampering: Tampering, name: str
) -> None:
    lie = EXTENDED[name]
    batch = (
        wire.parse("", "select id from people") + wire.bind() + wire.describe("P") + wire.execute()
        + wire.SYNC
    )  # fmt: skip
    seen, ended = told(gateway, tampering, lie, batch)
    assert lie.told
    assert SMUGGLED not in seen
    assert ended, f"the session goes on: {seen!r}"
    alive(gateway)


def test_a_description_swapped_between_describe_and_execute(
    gateway: Gateway, tampering: Tampering
) -> None:
    """Described truly in one batch, executed later without a Describe: masks are still found."""
    with open_wire(gateway, "masked") as session:
        session.send(
            wire.parse("s", "select ssn from people") + wire.describe("S", "s") + wire.SYNC
        )
        session.until_ready()
        for lie in (
            before("D", rogue.description(("ssn", 0, 0))),
            before("2", rogue.description(("ssn", 0, 0))),
        ):
            tampering.arm(lie)
            try:
                session.send(wire.bind("", "s") + wire.execute() + wire.SYNC)
                session.until_ready()
            except Gone:
                pass
            finally:
                tampering.arm(None)
            assert SMUGGLED not in session.seen
    alive(gateway)


def test_a_lie_about_the_transaction_hides_no_statement(
    gateway: Gateway, tampering: Tampering
) -> None:
    """`I` in a transaction would make the gateway keep its rows, `T` outside make it wait."""
    for lie in (instead("Z", message("Z", b"T")), instead("Z", message("Z", b"E"))):
        told(gateway, tampering, lie, wire.query("select id from people"))
        assert lie.told
    lie = instead("Z", message("Z", b"I"))
    with open_wire(gateway) as session:
        tampering.arm(lie)
        try:
            session.send(wire.query("begin"))
            session.until_ready()
            session.send(wire.query("select 1"))
            session.until_ready()
        except Gone:
            pass
        finally:
            tampering.arm(None)
    alive(gateway)


def test_a_storm_of_parameters_and_notices_is_bounded(
    gateway: Gateway, tampering: Tampering
) -> None:
    """Distinct settings by the thousand are carried, and the session's state stays small."""
    storm = b"".join(
        message("S", b"custom.setting%d\0%d\0" % (n, n)) for n in range(20_000)
    ) + b"".join(message("N", b"SNOTICE\0VNOTICE\0C00000\0Mn%d\0\0" % n) for n in range(20_000))
    seen, _ = told(gateway, tampering, before("T", storm), wire.query("select id from people"))
    assert seen
    alive(gateway)


def test_a_read_only_session_does_not_outlive_its_setting(
    gateway: Gateway, tampering: Tampering
) -> None:
    lie = before("T", message("S", b"default_transaction_read_only\0off\0"))
    seen, ended = told(gateway, tampering, lie, wire.query("select id from people"), group="reader")
    assert lie.told
    assert ended, seen


# --- the login


def target_at(port: int, **more: Any) -> dict[str, Any]:
    return {"address": f"127.0.0.1:{port}", **more}


LOGINS = {
    "cleartext": [message("R", struct.pack(">i", 3))],
    "md5": [message("R", struct.pack(">i", 5) + b"salt")],
    "accepted-at-once": [
        message("R", struct.pack(">i", 0)) + message("S", b"client_encoding\0UTF8\0")
        + message("S", b"standard_conforming_strings\0on\0") + message("Z", b"I"),
    ],
    "scram-then-accepted": [
        message("R", struct.pack(">i", 10) + b"SCRAM-SHA-256\0\0"), message("R", struct.pack(">i", 0)),
    ],
    "scram-then-cleartext": [
        message("R", struct.pack(">i", 10) + b"SCRAM-SHA-256\0\0"), message("R", struct.pack(">i", 3)),
    ],
    "scram-with-another-nonce": [
        message("R", struct.pack(">i", 10) + b"SCRAM-SHA-256\0\0"),
        message("R", struct.pack(">i", 11) + b"r=attacker,s=c2FsdHNhbHRzYWx0c2FsdA==,i=4096"),
    ],
    "scram-of-one-round": [
        message("R", struct.pack(">i", 10) + b"SCRAM-SHA-256\0\0"),
        message("R", struct.pack(">i", 11) + b"r=x,s=c2FsdA==,i=1"),
    ],
    "scram-of-a-billion-rounds": [
        message("R", struct.pack(">i", 10) + b"SCRAM-SHA-256\0\0"),
        message("R", struct.pack(">i", 11) + b"r=x,s=c2FsdA==,i=2147483647"),
    ],
    "another-mechanism": [message("R", struct.pack(">i", 10) + b"PLAIN\0\0")],
    "kerberos": [message("R", struct.pack(">i", 7))],
    "an-error-that-quotes": [
        message("E", b"SFATAL\0VFATAL\0C28P01\0Mno: SMUGGLED-VALUE app-password\0\0"),
    ],
    "nothing-but-noise": [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
}  # fmt: skip


@pytest.mark.parametrize("name", LOGINS)
def test_a_server_that_nothing_identifies_gets_no_credential(gateway: Gateway, name: str) -> None:
    """Off loopback without a checked certificate: SCRAM alone, and the server has to prove it."""
    with Scripted(LOGINS[name], FAR) as server:
        target = gateway.config["targets"][0]
        kept = target["address"], target.get("tls")
        target["address"], target["tls"] = f"{FAR}:{server.port}", {"mode": "disable"}
        try:
            gateway.reload()
            with pytest.raises(Gone) as refused:
                open_wire(gateway)
        finally:
            target["address"] = kept[0]
            del target["tls"]
            gateway.reload()
    assert server.accepted
    assert PASSWORD.encode() not in server.heard
    assert b"md5" not in server.heard
    assert "SMUGGLED" not in str(refused.value)
    assert PASSWORD not in str(refused.value)
    alive(gateway)


def test_the_log_and_the_client_never_hear_what_a_rogue_says_of_the_credential(
    gateway: Gateway,
) -> None:
    """A rogue on loopback is given the password, as configured; it may not echo it anywhere."""
    with Scripted(
        [
            message("R", struct.pack(">i", 3)),
            message("E", b"SFATAL\0VFATAL\0C28P01\0Mbad password app-password\0\0"),
        ]
    ) as server:
        target = gateway.config["targets"][0]
        kept, target["address"] = target["address"], f"127.0.0.1:{server.port}"
        try:
            gateway.reload()
            with pytest.raises(Gone) as refused:
                open_wire(gateway)
            with pytest.raises(Exception) as checked:
                report = gateway.admin.post(path("targets", "db", "check"))
                raise ValueError(str(report))
        finally:
            target["address"] = kept
            gateway.reload()
    assert PASSWORD not in str(refused.value)
    assert PASSWORD not in str(checked.value)
    assert PASSWORD not in gateway.log()


# --- telling


def open_wire(gateway: Gateway, group: str = "agents") -> Wire:
    token = gateway.agent if group == "agents" else gateway.token(f"rogue-{group}", groups=[group])
    return Wire(gateway.port, {"user": "app", "database": "db"}, token)


def told(
    gateway: Gateway, tampering: Tampering, lie: Lie, data: bytes, group: str = "agents"
) -> tuple[bytes, bool]:
    """Return what the client saw of the tampered session, and whether the session ended."""
    with open_wire(gateway, group) as session:
        start = len(session.seen)
        tampering.arm(lie)
        try:
            session.send(data)
            session.until_ready()
            # What came behind the end shows with the next statement at the latest.
            session.send(wire.query("select 2"))
            session.until_ready()
            session.send(wire.query("select 3"))
            session.until_ready()
        except Gone as gone:
            return bytes(session.seen[start:]), "no answer" not in str(gone)
        finally:
            tampering.arm(None)
        return bytes(session.seen[start:]), False


def alive(gateway: Gateway) -> None:
    """The worker serves others as ever."""
    with open_wire(gateway) as session:
        session.send(wire.query("select 1"))
        answers: list[Answer] = session.until_ready()
        assert [answer.kind for answer in answers] == ["T", "D", "C", "Z"]
