"""Which names of the protocol a text of SQL may mean."""

from __future__ import annotations

from sallyport.protocols.postgres.exchange import Exchange, Limits
from sallyport.protocols.postgres.gatekeeping import with_names
from sallyport.protocols.postgres.names import Prepared
from sallyport.sql.session import SessionState


def prepared(*names: str) -> Exchange:
    exchange = Exchange(
        session="s",
        clock=lambda: 0.0,
        limits=Limits(),
        state=SessionState.start("db", "app"),
        revision=lambda: "",
        catalogue=lambda: None,
    )
    for name in names:
        exchange.names.put(Prepared(name, f"select '{name}'", (), 0))
    return exchange


def test_a_statement_of_the_protocol_is_known_where_a_text_names_it() -> None:
    exchange = prepared("Some", "other")
    state = with_names(exchange.predicted, 'EXECUTE "Some"', exchange)
    assert state.prepared_text("Some") == "select 'Some'"
    assert state.prepared_text("other") is None
    assert with_names(exchange.predicted, "select 'some'", exchange) is exchange.predicted


def test_names_are_not_looked_for_in_a_long_text() -> None:
    exchange = prepared("some")
    text = "execute some --" + "x" * (1 << 15)
    assert with_names(exchange.predicted, text, exchange) is exchange.predicted


def test_of_many_names_in_one_text_the_longest_are_known() -> None:
    names = [f"n{number}" for number in range(4_000)]
    exchange = prepared("a much longer name", *names)
    text = f'execute "a much longer name" --{" ".join(names)}'
    state = with_names(exchange.predicted, text, exchange)
    assert state.prepared_text("a much longer name") is not None
    assert len(state.prepared) == 50
