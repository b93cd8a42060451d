"""Approvals of statements that masks rewrite: what the approver sees is what runs, or nothing does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import EVERYTHING, Gateway

MASK: dict[str, Any] = {
    "name": "hidden",
    "effect": "mask",
    "mask": {"columns": ["public.people.ssn"], "transform": "redact"},
}
HOLD: dict[str, Any] = {
    "name": "waits",
    "effect": "hold",
    "operations": {"resources": {"table": ["public.people"]}},
    "hold": {"approvers": ["dba"], "timeout": "30s"},
}
WHERE = "SELECT id FROM people WHERE ssn > '5' ORDER BY id"


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE held OWNER app")
    postgres.psql(
        "SET ROLE app; CREATE TABLE people (id int PRIMARY KEY, ssn text); CREATE TABLE free (n int);"
        "INSERT INTO people VALUES (1, '111-22'), (2, '999-88')",
        "held",
    )
    folder = tmp_path_factory.mktemp("held")
    rules = [*EVERYTHING, MASK, HOLD]
    with Gateway(folder, postgres, database="held", rules=rules) as running:
        yield running


class Asked:
    """A statement under way: it waits for its approval in a thread of its own."""

    def __init__(self, gateway: Gateway, sql: str, parameters: tuple[str, ...] = ()) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.error = ""
        self._work = (gateway, sql, parameters)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        gateway, sql, parameters = self._work
        try:
            with psycopg.connect(gateway.dsn(), autocommit=True) as session:
                self.rows = session.execute(sql.encode(), parameters or None).fetchall()
        except psycopg.Error as error:
            self.error = str(error)

    def ended(self) -> Asked:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self


@pytest.fixture
def masked_otherwise(gateway: Gateway) -> Iterator[dict[str, Any]]:
    """The mask's terms, to be changed; they come back after the test."""
    rule = next(one for one in gateway.config["policy"]["rules"] if one["name"] == "hidden")
    before = dict(rule["mask"])
    yield rule["mask"]
    rule["mask"] = before
    gateway.reload()


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [(WHERE, ()), ("SELECT id FROM people WHERE ssn > %s ORDER BY id", ("5",))],
)
def test_the_approver_sees_what_the_target_gets(
    gateway: Gateway, sql: str, parameters: tuple[str, ...]
) -> None:
    asked = Asked(gateway, sql, parameters)
    waiting = gateway.wait_pending()
    assert waiting["text"] == sql.replace("%s", "$1")
    assert (
        "ELSE '[redacted]'::pg_catalog.text END AS ssn FROM public.people" in waiting["rewritten"]
    )
    gateway.approve(waiting["id"])
    assert asked.ended().rows == [(1,), (2,)]  # `[redacted]` is greater than 5


def test_what_nothing_rewrites_is_shown_as_it_is(gateway: Gateway) -> None:
    asked = Asked(gateway, "SELECT id, ssn FROM people WHERE id = 2")
    waiting = gateway.wait_pending()
    assert waiting["rewritten"] == ""
    gateway.approve(waiting["id"])
    assert asked.ended().rows == [(2, "[redacted]")]


def test_what_makes_hashes_is_not_shown(gateway: Gateway, masked_otherwise: dict[str, Any]) -> None:
    masked_otherwise["transform"] = "hash"
    gateway.reload()
    asked = Asked(gateway, WHERE)
    waiting = gateway.wait_pending()
    assert "$mask_key" in waiting["rewritten"]
    gateway.approve(waiting["id"])
    assert not asked.ended().error


@pytest.mark.parametrize("sql", [WHERE, "SELECT ssn FROM people"])
def test_other_masks_than_were_shown_let_nothing_through(
    gateway: Gateway, masked_otherwise: dict[str, Any], sql: str
) -> None:
    asked = Asked(gateway, sql)
    waiting = gateway.wait_pending()
    masked_otherwise["transform"] = "null"
    gateway.reload()
    gateway.approve(waiting["id"])
    assert "what is masked changed" in asked.ended().error and not asked.rows


def test_another_policy_with_the_same_masks_does(gateway: Gateway) -> None:
    rule = {"name": "other", "effect": "deny", "operations": {"verbs": ["truncate"]}}
    asked = Asked(gateway, WHERE)
    waiting = gateway.wait_pending()
    gateway.config["policy"]["rules"].append(rule)
    gateway.reload()
    gateway.approve(waiting["id"])
    assert asked.ended().rows == [(1,), (2,)]
    gateway.config["policy"]["rules"].remove(rule)
    gateway.reload()


def test_nobody_is_asked_about_what_cannot_be_carried_out(gateway: Gateway) -> None:
    asked = Asked(gateway, f"{WHERE} FOR UPDATE").ended()
    assert "cannot be locked" in asked.error
    assert gateway.approver.get("/approvals", state="pending")["approvals"] == []


def test_a_ticket_is_for_the_masks_that_were_shown(
    gateway: Gateway, masked_otherwise: dict[str, Any]
) -> None:
    hold = next(one for one in gateway.config["policy"]["rules"] if one["name"] == "waits")
    hold["hold"]["ticket"] = True
    gateway.reload()
    try:
        assert "needs approval: ticket" in Asked(gateway, WHERE).ended().error
        first = gateway.wait_pending()
        assert "[redacted]" in first["rewritten"]
        gateway.approve(first["id"])
        masked_otherwise["transform"] = "null"
        gateway.reload()
        assert "needs approval: ticket" in Asked(gateway, WHERE).ended().error
        second = gateway.wait_pending()
        assert second["id"] != first["id"] and "[redacted]" not in second["rewritten"]
        gateway.deny(second["id"])
        masked_otherwise["transform"] = "redact"
        gateway.reload()
        assert Asked(gateway, WHERE).ended().rows == [(1,), (2,)]
        assert "needs approval: ticket" in Asked(gateway, WHERE).ended().error
        gateway.deny(gateway.wait_pending()["id"])
    finally:
        del hold["hold"]["ticket"]
        gateway.reload()
