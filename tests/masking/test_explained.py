"""`explain` tells what the database would get, and never what makes the hashes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.masking.worlds import Worlds


def explained(worlds: Worlds, statement: str) -> tuple[str, list[dict[str, Any]]]:
    body = {
        "subject": "somebody", "groups": ["masked"], "target": "world_a", "statement": statement
    }  # fmt: skip
    found = worlds.gateway.admin.post("/policy/explain", body)
    return found["text"], found["detail"]["operations"]


def test_the_rewriting_is_told(worlds: Worlds) -> None:
    text, (operation,) = explained(worlds, "select upper(card_number) from payments")
    assert operation["rewritten"].startswith("SELECT upper(card_number) FROM (SELECT id, ")
    assert "$mask_key" in operation["rewritten"]
    assert f"rewrite   {operation['rewritten']}" in text
    assert operation["refused"] is None


def test_so_is_that_of_a_write(worlds: Worlds) -> None:
    text = "update payments set amount = 1 where id = 1 returning upper(card_number)"
    _, (operation,) = explained(worlds, text)
    assert operation["rewritten"].startswith("UPDATE public.payments SET amount = 1 WHERE id = 1")
    assert "ELSE '[redacted]'" in operation["rewritten"] and operation["refused"] is None
    _, (operation,) = explained(worlds, f"{text}, (select card_number)")
    assert operation["rewritten"] == "" and "subselect" in operation["refused"]["reason"]
    _, (operation,) = explained(worlds, text.replace("id = 1", "card_number > '5'"))
    assert operation["rewritten"] == ""
    assert "more of the write than its RETURNING list" in operation["refused"]["reason"]


def test_a_write_beside_has_nothing_that_makes_hashes(worlds: Worlds) -> None:
    text = "select upper(card_number) from payments; delete from scratch where id = 1"
    _, (read, _) = explained(worlds, text)
    assert "ELSE '[redacted]'" in read["rewritten"] and read["refused"] is None


def test_statements_are_read_in_their_order(worlds: Worlds) -> None:
    text = "set search_path = nowhere; select id from public.customers order by ssn"
    _, (first, second) = explained(worlds, text)
    assert first["rewritten"] == "" and "public.customers" in second["rewritten"]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("select id from customers order by ssn for update", "locked"),
        ("select upper(card_number), current_query() from payments", "makes the hashes"),
    ],
)
def test_what_could_not_be_followed_is_told(worlds: Worlds, statement: str, reason: str) -> None:
    text, (operation,) = explained(worlds, statement)
    assert operation["rewritten"] == ""
    assert reason in operation["refused"]["reason"]
    assert f"refused   {operation['refused']['reason']}" in text


def test_what_is_only_shown_goes_as_it_is(worlds: Worlds) -> None:
    _, (operation,) = explained(worlds, "select ssn from customers")
    assert operation["rewritten"] == "" and operation["refused"] is None


def test_a_view_that_cannot_be_taken_apart_says_what_to_read(worlds: Worlds) -> None:
    rows = "as select id, name from public.customers where salary > 5000"
    for admin in worlds.admins:
        admin.execute(f"create view public.walled with (security_barrier) {rows}")
        admin.execute("grant select on public.walled to app")
    try:
        _, (operation,) = explained(worlds, "select name from walled order by id")
    finally:
        for admin in worlds.admins:
            admin.execute("drop view public.walled")
    assert "security barrier" in operation["refused"]["reason"]
    assert operation["refused"]["hint"] == "read the tables that it is made of"
