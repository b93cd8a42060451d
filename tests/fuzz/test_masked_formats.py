"""A value masked in text and the same value masked in binary are one value to the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import pq

from sallyport.core.decision import Mask
from sallyport.demo.server import EmbeddedPostgres
from sallyport.masking.plan import Column, plan
from tests.unit.masking.samples import IN_CONTEXT, SAMPLES

KEY = b"0123456789abcdef" * 2
SECRETS = [sample for samples in SAMPLES.values() for sample in samples]
SECRETS += [text for cases in IN_CONTEXT.values() for text, _ in cases]
CLEAN = st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])
TEXT = st.lists(st.one_of(st.sampled_from(SECRETS), st.text(CLEAN, max_size=6)), max_size=4).map(
    " ".join
)
NUMBER = st.one_of(
    st.integers(-(2**62), 2**62),
    st.sampled_from([4111111111111111, 378282246310005, 44051401359, 85073003328, 255081416802538]),
)
DOCUMENT = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
VALUES = st.one_of(
    st.tuples(st.just("text"), TEXT),
    st.tuples(st.just("bytea"), TEXT.map(str.encode)),
    st.tuples(st.just("int8"), NUMBER),
    st.tuples(st.just("numeric"), NUMBER.map(str) | NUMBER.map(lambda n: f"{n}.50")),
    st.tuples(st.just("date"), st.dates()),
    st.tuples(st.just("timestamp"), st.datetimes()),
    st.tuples(st.just("timestamptz"), st.datetimes(timezones=st.just(UTC))),
    st.tuples(st.just("uuid"), st.uuids()),
    st.tuples(st.just("float8"), st.floats(allow_nan=False)),
    st.tuples(st.just("float4"), st.floats(width=32)),
    st.tuples(st.just("jsonb"), DOCUMENT.map(json.dumps)),
    st.tuples(st.just("json"), DOCUMENT.map(json.dumps)),
    st.tuples(st.just("text[]"), st.lists(st.one_of(st.none(), TEXT), max_size=4)),
    st.tuples(st.just("int8[]"), st.lists(st.one_of(st.none(), NUMBER), max_size=4)),
    st.tuples(st.just("jsonb[]"), st.lists(DOCUMENT.map(json.dumps), max_size=3)),
)


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.uri(), autocommit=True) as connection:
        yield connection


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(VALUES, st.sampled_from(["redact", "hash", "partial", "null"]), st.booleans())
def test_both_formats_are_masked_alike(
    server: psycopg.Connection, typed: tuple[str, object], transform: str, whole: bool
) -> None:
    kind, value = typed
    masks = (Mask("m", transform, ("*",) if whole else (), () if whole else ("all",)),)
    outcomes = []
    for binary in (False, True):
        cursor = server.cursor(binary=binary)
        cursor.execute(f"SELECT %s::{kind}", (value,))
        assert cursor.pgresult is not None
        oid, raw = cursor.pgresult.ftype(0), cursor.pgresult.get_value(0, 0)
        assert raw is not None
        origins = frozenset({("s", "t", "c")}) if whole else None
        made = plan(masks, [Column("c", origins, str(oid), binary)], KEY)
        cell = made.cells[0] if made is not None else None
        assert cell is not None or not whole
        masked = raw if cell is None else cell.mask(raw)
        result = server.pgconn.exec_params(
            f"SELECT $1::{kind}::text".encode(),
            [masked],
            param_types=[oid],
            param_formats=[int(binary)],
        )
        assert result.status == pq.ExecStatus.TUPLES_OK, (kind, masked, result.error_message)
        outcomes.append(result.get_value(0, 0))
    assert outcomes[0] == outcomes[1]
