"""What a bare name means can change while its statement waits: it is sent with its schema."""

from __future__ import annotations

import time

import pytest

from tests.bypass.postgres import wire
from tests.masking.worlds import Worlds


@pytest.mark.parametrize("world", [0, 1])  # both, so that they stay alike
def test_a_table_that_is_renamed_meanwhile_uncovers_nothing(worlds: Worlds, world: int) -> None:
    one, other = (worlds.connect(world, direct=False) for _ in range(2))
    admin = worlds.admins[world]
    admin.execute("create schema aa; create table aa.customers (id int, ssn text)")
    admin.execute("grant all on schema aa to app; alter table aa.customers owner to app")
    try:
        one.send(wire.query("set search_path = aa, public"))
        one.until_ready()
        for text in ("begin", "alter table aa.customers rename to x"):
            other.send(wire.query(text))
            assert [a.kind for a in other.until_ready()] == ["C", "Z"]
        one.send(wire.query("select upper(ssn) from customers"))
        time.sleep(0.5)
        other.send(wire.query("commit"))
        other.until_ready()
        answers = one.until_ready()
    finally:
        admin.execute("drop schema aa cascade")
    errors = [a.fields["M"] for a in answers if a.kind == "E"]
    assert errors == ['relation "aa.customers" does not exist']
    assert not [a.cells for a in answers if a.kind == "D"]
