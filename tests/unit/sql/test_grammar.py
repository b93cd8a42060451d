"""Texts that are too long, too deep or no text at all."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sallyport.core.operation import Effect
from sallyport.sql import facts, verbs
from sallyport.sql.grammar import MAX_BYTES, ParseFailed, fingerprint, parse, parse_deeply
from sallyport.sql.statement import Classified
from tests.unit.sql.conftest import Reader


def deeply(work: Callable[[], object]) -> None:
    """Run `work` where the plugin runs it: on a thread with a deep stack."""
    usual = threading.stack_size(512 << 20)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(usual)
    thread.join()


def whole(read: Reader, text: str) -> Classified:
    """Classify as the codec does: prepared elsewhere where that is asked for."""
    found = read.whole(text)
    if found.needs == "parse":
        deeply(lambda: read.classifier.prepare(text))
        found = read.whole(text)
    return found


DEEP = {
    "joins": "select 1 from orders o"
    + "".join(f" join customers c{n} on c{n}.id = o.id" for n in range(200)),
    "concatenation": "select " + " || ".join(["name"] * 500) + " from customers",
    "unions": " union all ".join(["select id from customers"] * 500),
    "values": "insert into orders (customer_id) values " + ", ".join(["(1)"] * 5000),
    "in": f"select id from orders where id in ({', '.join(map(str, range(9000)))})",
    "and": "select id from orders where " + " and ".join(["id = 1"] * 2000),
}  # fmt: skip

HOSTILE = {
    "plus": "select " + "+".join(["1"] * 30_000),
    "minus": "select " + "- " * 8_000 + "1",
    "parentheses": "select " + "(" * 5_000 + "1" + ")" * 5_000,
    "selects": "select " + "(select " * 2_000 + "1" + ")" * 2_000,
    "casts": "select 1" + "::int" * 8_000,
    "subscripts": "select tags" + "[1]" * 8_000 + " from customers",
    "calls": "select " + "abs(" * 3_000 + "1" + ")" * 3_000,
    "not": "select " + "not " * 9_000 + "true",
    "subselects": "select * from " + "(select * from " * 100 + "orders" + ") x" * 100,
    "ctes": "with x as (" * 80 + "select 1" + ") select 1" * 80,
    "case": "select " + "case when true then " * 900 + "1" + " end" * 900,
    "statements": "select 1;" * 3_000,
    "long": "select '" + "x" * MAX_BYTES + "'",
    "where": "delete from orders where " + "(" * 700 + "id = id" + " or id = 3)" * 700,
    "arrays": "select " + "array[" * 900 + "1" + "]" * 900,
    "rows": "select " + "row(" * 900 + "1" + ")" * 900,
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_texts_are_understood(name: str, read: Reader) -> None:
    found = whole(read, DEEP[name])
    assert not found.error
    assert found.statements[0].effect in (Effect.READ, Effect.WRITE)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_end_in_an_answer(name: str, read: Reader) -> None:
    found = whole(read, HOSTILE[name])
    assert found.needs != "parse"
    assert found.statements


def test_a_long_prepared_statement_can_be_executed(read: Reader) -> None:
    text = "prepare p as select id from customers where id in (" + ", ".join(["1"] * 3000) + ")"
    found = whole(read, text)
    assert not found.error
    read.state = read.state.after(found.statements[0])
    assert read.one("execute p").effect is Effect.READ


def test_too_long_is_refused_everywhere(read: Reader) -> None:
    found = whole(read, "select '" + "ü" * (MAX_BYTES // 2) + "'")
    assert found.statements[0].effect is Effect.UNKNOWN
    assert "longer" in found.error


def test_statements_are_cut_by_bytes(read: Reader) -> None:
    first, second, third = read.all("select 'é' ;  -- ü\n select '日本'; commit")
    assert first.text == "select 'é'"
    assert second.text.endswith("select '日本'")
    assert third.text == "commit"


def test_an_empty_text_is_a_statement(read: Reader) -> None:
    for text in ("", " ", ";", " ; ;", "-- nothing", "/* nothing */"):
        statement = read.one(text)
        assert statement.verb == "empty"
        assert statement.effect is Effect.READ


def test_short_texts_alone_are_parsed_on_the_loop() -> None:
    text = "select '" + "x" * 5000 + "'"
    with pytest.raises(ParseFailed) as failed:
        parse(text)
    assert failed.value.too_large
    deeply(lambda: parse_deeply(text))


def test_identifiers_are_cut_as_the_server_cuts_them(read: Reader) -> None:
    assert "x" * 63 in read.one("select * from " + "x" * 80).unresolved


def test_a_fingerprint_forgets_literals_alone() -> None:
    assert fingerprint("select 1 from t where a = 'x'") == fingerprint(
        "select 2 from t where a='y'"
    )
    assert fingerprint("select 1 from t") != fingerprint("select 1 from u")


def _judge(found: Classified) -> None:
    assert found.statements
    for statement in found.statements:
        assert statement.verb in verbs.VERBS
        assert statement.facts <= facts.FACTS.keys()
        assert {resource.kind for resource in statement.resources} <= verbs.KINDS
        assert any(resource.kind == "database" for resource in statement.resources)
        assert not statement.unresolved or statement.effect is Effect.UNKNOWN
        assert statement.effect.rank == max(r.effect.rank for r in statement.resources)


_ANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_WORDS = st.sampled_from(
    """select * from customers c where id = 1 ( ) , ; update set delete insert into values ssn 'x'
    and or not true null :: text as with x returning join on using left orders o group by order
    limit union all $1 c.* count ( * ) create table view temp drop alter begin commit prepare
    execute declare cursor for fetch copy to stdout explain analyze set role search_path touch ( 1 )
    lower email -- /* */ " . [ ] array row case when then end exists in like merge matched do
    grant revoke function index truncate lock show reset discard listen notify call""".split()
)


@_ANY
@given(st.lists(_WORDS, max_size=14))
def test_no_words_break_it(read: Reader, words: list[str]) -> None:
    _judge(whole(read, " ".join(words)))


@_ANY
@given(st.text(max_size=60))
@example("\x00")
@example("select '\ud800'")
def test_no_text_breaks_it(read: Reader, text: str) -> None:
    _judge(whole(read, text))
