"""A differential fuzz: any sequence of messages is answered as the server itself answers it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sallyport.core.decision import Allow, Deny, Limit, Mask
from sallyport.core.operation import Operation
from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres import messages, replies
from sallyport.protocols.postgres.classify import Classifier
from tests.unit.protocols.postgres.proxy import Proxy, allow

NAMES = ["", "a", "b"]
TEXTS = [
    "select 1",
    "select x from t order by x",
    "select $1::int",
    "insert into t values (7)",
    "insert into t values (1)",
    "delete from t where x > 5 returning x",
    "select 1/0",
    "select nothing from t",
    "syntax error here",
    "begin",
    "commit",
    "rollback",
    "savepoint s",
    "rollback to savepoint s",
    "set search_path to pg_catalog, public",
    "set local work_mem to '1MB'",
    "show search_path",
    "set nonsense.thing to 1; select 1/0",
    "",
    "-- nothing",
    "select 1; select 2",
    "insert into t values (9); select 1/0",
    "begin; insert into t values (8); commit; select count(*) from t",
    "prepare a as select 2",
    "execute a",
    "deallocate a",
    "deallocate all",
    "discard all",
    "declare b cursor for select x from t order by x",
    "fetch 1 from b",
    "close b",
    "copy t to stdout",
    "copy (select x from t order by x) to stdout (format csv)",
    "copy t from stdin",
    "create temp table made (x int)",
    "drop table made",
    "select repeat('x', 3000) from generate_series(1, 30)",
]
QUERIES = st.sampled_from(TEXTS).map(messages.query)
COPIED = st.sampled_from(
    [
        messages.copy_data(b"11\n"),
        # A row that fails is followed by the end of its COPY: whoever sends another message there,
        # before the failure can be known, breaks the protocol or not depending on who is faster.
        messages.copy_data(b"bad\n") + messages.COPY_DONE,
        messages.COPY_DONE,
        messages.copy_fail("no"),
    ]
)
MESSAGES = st.one_of(
    QUERIES,
    QUERIES,
    COPIED,
    COPIED,
    st.builds(messages.parse, st.sampled_from(NAMES), st.sampled_from(TEXTS)),
    st.builds(
        messages.bind,
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.sampled_from([(), (b"5",), (b"x",)]),
        st.just(()),
        st.sampled_from([(), (0,), (1,)]),
    ),
    st.builds(messages.describe, st.sampled_from("SP"), st.sampled_from(NAMES)),
    st.builds(messages.execute, st.sampled_from(NAMES), st.sampled_from([0, 1, 2])),
    st.builds(messages.execute, st.sampled_from(NAMES)),
    st.builds(messages.close, st.sampled_from("SP"), st.sampled_from(NAMES)),
    st.just(messages.FLUSH),
    st.just(messages.SYNC),
    st.just(messages.SYNC),
)
BATCH = st.tuples(
    st.builds(messages.parse, st.sampled_from(NAMES), st.sampled_from(TEXTS)),
    st.sampled_from(NAMES),
).map(lambda each: each[0] + messages.bind("", each[1]) + messages.execute(""))
SCRIPTS = st.lists(st.one_of(MESSAGES, MESSAGES, BATCH), min_size=1, max_size=14)
SETUP = "drop table if exists t; create table t (x int primary key); insert into t select generate_series(1, 5)"
COPY_ENDS = messages.COPY_DONE + messages.SYNC


@pytest.fixture(scope="module")
def proxy(postgres: EmbeddedPostgres) -> Iterator[Proxy]:
    address = ("127.0.0.1", postgres.port)
    with Proxy(address, "app", "app-password", "app", classifier=Classifier()) as running:
        yield running


def answered(connection: socket.socket, script: bytes) -> list[tuple[object, ...]]:
    """Send everything at once, leave, and read to the end."""
    connection.settimeout(20)
    connection.sendall(script + messages.TERMINATE)
    data = b""
    while True:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            break
        if not more:
            break
        data += more
    return list(shapes(data))


def shapes(data: bytes) -> Iterator[tuple[object, ...]]:
    """What is compared: every message whole, of an error severity, code and message."""
    position = 0
    while position < len(data):
        length = struct.unpack_from(">i", data, position + 1)[0]
        kind, body = data[position : position + 1], data[position + 5 : position + 1 + length]
        position += 1 + length
        if kind in b"EN":
            fields = replies.parse_fields(body)
            yield (kind, fields["S"], fields["C"], fields["M"])
        elif kind == b"T":
            yield (kind, [field._replace(table=0) for field in replies.parse_row_description(body)])
        else:
            yield (kind, body)


def through(proxy: Proxy, script: bytes) -> list[tuple[object, ...]]:
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        connection.sendall(messages.startup({"user": "x", "database": "y"}))
        data = b""
        while not data.endswith(replies.ready("I")):
            data += connection.recv(65536)
        return answered(connection, script)


def direct(proxy: Proxy, script: bytes) -> list[tuple[object, ...]]:
    connection, _ = proxy.dial()
    with connection:
        return answered(connection, script)


def ended(answers: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """A server ends a session with two errors where one would do; so only the first is compared."""
    for index, answer in enumerate(answers):
        if answer[0] == b"E" and answer[2] == "08P01" and "during COPY" in str(answer[3]):
            return [*answers[:index], (b"E", "08P01")]
    return answers


@given(script=SCRIPTS)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_sequence_is_answered_as_by_the_server(proxy: Proxy, script: list[bytes]) -> None:
    raw = b"".join(script) + COPY_ENDS + COPY_ENDS
    proxy.decide = allow
    direct(proxy, messages.query(SETUP))
    expected = direct(proxy, raw)
    direct(proxy, messages.query(SETUP))
    assert ended(through(proxy, raw)) == ended(expected)
    assert not proxy.errors


# --- refusals

REFUSED = "insert into t values (7)"
FAILING = "select 'refused by the gateway'::pg_catalog.int4"
KEPT = [text for text in TEXTS if "deallocate" not in text and "discard" not in text]
SIMPLE = st.sampled_from([*KEPT, REFUSED, REFUSED, REFUSED]).map(messages.query)
FORBIDDEN = messages.bind("", "q", (b"666",))
PREPARED = st.builds(
    lambda name, text: messages.parse(name, text) + messages.bind("", name) + messages.execute(""),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([*KEPT, REFUSED, REFUSED, REFUSED]),
)
BOUND = st.sampled_from([b"5", b"666"]).map(
    lambda value: messages.bind("", "q", (value,)) + messages.execute("")
)
REFUSALS = st.lists(
    st.one_of(SIMPLE, SIMPLE, PREPARED, PREPARED, BOUND, st.just(messages.SYNC), COPIED),
    min_size=1,
    max_size=12,
)


def refusing(operation: Operation) -> Allow | Deny:
    if operation.text == REFUSED or any(each.value == b"666" for each in operation.parameters):
        return Deny(("never",), "it is refused", "")
    return allow(operation)


def as_failing(message: bytes) -> bytes:
    """The same script, where what is refused is a statement that fails by itself."""
    message = message.replace(messages.query(REFUSED), messages.query(FAILING))
    message = message.replace(FORBIDDEN, messages.parse("never", FAILING))
    for name in ("a", "b", "c"):
        refused, failing = messages.parse(name, REFUSED), messages.parse(name, FAILING)
        message = message.replace(refused, failing)
    return message


STARTED = "StartTransactionCommand: unexpected state STARTED"
"""What PostgreSQL itself says (XX000) of a Parse, with no Sync, behind a Query behind an Execute."""


def as_refused(answers: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Put the refusal in the place of what fails by itself, whatever the server's words for it."""
    refusal = (b"E", "ERROR", "42501", "refused by rule `never`")
    own = ("refused by the gateway", STARTED)
    return [refusal if any(word in str(one) for word in own) else one for one in answers]


@given(script=REFUSALS)
@example(
    script=[
        messages.bind("", "q", (b"5",)) + messages.execute(""),
        messages.query("select 1"),
        messages.SYNC,
        FORBIDDEN + messages.execute(""),
    ]
)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_refusal_is_to_a_transaction_what_an_error_is(proxy: Proxy, script: list[bytes]) -> None:
    """Answers, transaction states and what is in the table: as if it had failed on its own."""
    start = messages.parse("q", "select $1::int") + messages.SYNC
    ends = COPY_ENDS + messages.query("rollback") + messages.query("select x from t order by x")
    raw = start + b"".join(script) + COPY_ENDS + ends
    proxy.decide = allow
    direct(proxy, messages.query(SETUP))
    expected = as_refused(direct(proxy, as_failing(raw)))
    direct(proxy, messages.query(SETUP))
    proxy.decide = refusing
    proxy.prechecks = True
    assert ended(as_refused(through(proxy, raw))) == ended(expected)
    assert not proxy.errors


# --- limits


def limited(operation: Operation) -> Allow | Deny:
    return allow(operation, limits=(Limit("few", rows=1),))


@given(script=SCRIPTS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_limits_leave_every_batch_with_its_end(proxy: Proxy, script: list[bytes]) -> None:
    """However results are cut, each Query and Sync has its ReadyForQuery, and nothing hangs."""
    raw = b"".join(script) + COPY_ENDS + COPY_ENDS + messages.query("rollback")
    proxy.decide = limited
    direct(proxy, messages.query(SETUP))
    answers = through(proxy, raw)
    assert answers[-1][0] in (b"Z", b"E")
    rows = 0
    for answer in answers:
        rows = rows + 1 if answer[0] in b"Dd" else 0
        assert rows <= 1
    assert not proxy.errors


# --- masks

SECRET = "ada@example.com"
# Where an error is of the statement's own text alone (a bad literal, told at Parse, before anything
# was decided to be masked) it repeats what the client wrote; these fail with a row in hand.
TELLING = [
    f"select '{SECRET}'::text",
    f"select 1, array['{SECRET}']",
    f"select ('{SECRET}' || x)::int from t",
    f"select '{SECRET}'::text; select ('{SECRET}' || x)::int from t",
    f"select '{SECRET}'::text from generate_series(1, 20)",
    f"select jsonb_build_object('mail', '{SECRET}')",
    f"declare b cursor for select '{SECRET}'::text",
    "fetch 1 from b",
    f"prepare a as select '{SECRET}'::text",
    "execute a",
    f"copy (select 1, '{SECRET}') to stdout",
    f"copy (select 1, '{SECRET}') to stdout (format csv)",
    f"copy (select 1, '{SECRET}') to stdout (format binary)",
    f"insert into t values (50) returning '{SECRET}'::text",
    f"do 'begin raise notice $$%$$, $${SECRET}$$; end'",
    f"notify channel, '{SECRET}'",
    "listen channel",
    "begin",
    "rollback",
    "savepoint s",
]
TOLD = st.sampled_from(TELLING).map(messages.query)
NAMED = st.sampled_from(NAMES)
FORMATS = st.sampled_from([(), (0,), (1,), (0, 1)])
TELLING_BATCHES = st.lists(
    st.one_of(
        TOLD,
        TOLD,
        st.builds(messages.parse, NAMED, st.sampled_from(TELLING)),
        st.builds(messages.bind, NAMED, NAMED, st.just(()), st.just(()), FORMATS),
        st.builds(messages.describe, st.sampled_from("SP"), NAMED),
        st.builds(messages.execute, NAMED, st.sampled_from([0, 0, 1])),
        st.just(messages.SYNC),
        st.builds(
            lambda name, text, codes: (
                messages.parse(name, text)
                + messages.bind("", name, (), (), codes)
                + messages.execute("")
            ),
            NAMED,
            st.sampled_from(TELLING),
            FORMATS,
        ),
    ),
    min_size=1,
    max_size=10,
)


def masked(operation: Operation) -> Allow | Deny:
    return allow(operation, masks=(Mask("mail", "redact", detectors=("email",)),))


@given(script=TELLING_BATCHES)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_sequence_shows_what_is_masked(proxy: Proxy, script: list[bytes]) -> None:
    proxy.decide = masked
    proxy.recorded.clear()
    direct(proxy, messages.query(SETUP))
    answers = through(proxy, b"".join(script) + messages.SYNC)
    assert answers
    shown = repr(answers) + repr(proxy.recorded)
    assert "ada@" not in shown
    assert b"ada@".hex() not in shown
    assert not proxy.errors
