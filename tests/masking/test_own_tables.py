"""What a masked subject put into temporary tables of its own comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.masking.worlds import NAMES, Worlds


@pytest.fixture
def session(worlds: Worlds) -> Iterator[psycopg.Connection[Any]]:
    dsn = worlds.gateway.dsn(worlds.tokens["untold"], target=NAMES[0])
    with psycopg.connect(dsn, autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize("binary", [False, True])
def test_rows_come_back(session: psycopg.Connection[Any], binary: bool) -> None:
    session.execute("create temp table own (i int, s text)")
    session.execute("insert into own values (5, 'mine')")
    assert session.execute("select * from own", binary=binary).fetchall() == [(5, "mine")]
    assert session.execute("update own set i = 6 returning i, s").fetchall() == [(6, "mine")]
    session.execute("create temp view seen as select 42 as k")
    assert session.execute("select k from seen", binary=binary).fetchall() == [(42,)]


def test_beside_what_is_masked(session: psycopg.Connection[Any]) -> None:
    session.execute("create temp table own (i int, s text)")
    session.execute("insert into own values (1, 'mine')")
    joined = "select o.s, c.ssn, c.name from own o join customers c on c.id = o.i"
    assert session.execute(joined).fetchall() == [("mine", "[redacted]", "Ada")]


@pytest.mark.parametrize("binary", [False, True])
def test_system_columns_are_shown_where_nothing_is_masked(
    session: psycopg.Connection[Any], binary: bool
) -> None:
    shown = "select ctid is null, ctid, xmin from {} limit 1"
    [(_, where, since)] = session.execute(shown.format("kinds"), binary=binary).fetchall()
    assert where is not None
    assert since is not None
    hidden = session.execute(shown.format("customers"), binary=binary).fetchall()
    assert hidden == [(False, None, None)]
