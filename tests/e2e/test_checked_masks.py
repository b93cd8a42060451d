"""A target with `masks: {checked: true}` opens once its masks were checked, and not before."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import sallyport.supervisor as sallyport_package
from sallyport.demo.server import EmbeddedPostgres
from tests.e2e.test_command_line import sallyport
from tests.support.gateway import EVERYTHING, Gateway

SOURCES = Path(sallyport_package.__file__).parents[1]
MASK: dict[str, Any] = {
    "name": "hidden",
    "effect": "mask",
    "mask": {"columns": ["public.people.ssn"], "transform": "redact"},
}


@pytest.fixture
def gateway(postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[Gateway]:
    postgres.psql("DROP DATABASE IF EXISTS checked")
    postgres.psql("CREATE DATABASE checked OWNER app")
    postgres.psql(
        "SET ROLE app; CREATE TABLE people (id int PRIMARY KEY, ssn text);"
        "INSERT INTO people SELECT n, '219-09-' || 1000 + n FROM generate_series(1, 50) n;"
        "CREATE TABLE copied (what text); CREATE TABLE free (n int)",
        "checked",
    )
    target = {"masks": {"checked": True}}
    with Gateway(
        tmp_path, postgres, database="checked", rules=[*EVERYTHING, MASK], target=target,
        sources=SOURCES,
    ) as running:  # fmt: skip
        yield running


def check(gateway: Gateway, code: int, *words: str) -> dict[str, Any]:
    environment = {"SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token}
    done = sallyport(
        "masks", "check", "db", "--json", *words, **environment, PYTHONPATH=str(SOURCES)
    )
    assert done.returncode == code, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def refusal(gateway: Gateway) -> str:
    try:
        with psycopg.connect(gateway.dsn()) as session:
            assert session.execute("SELECT ssn FROM people WHERE id = 1").fetchone() == (
                "[redacted]",
            )
            return ""
    except psycopg.OperationalError as error:
        return str(error)


def test_nothing_is_opened_before_its_masks_were_checked(gateway: Gateway) -> None:
    said = refusal(gateway)
    assert "have not been checked" in said and "sallyport masks check db" in said
    assert check(gateway, 0)["passed"] is True
    assert refusal(gateway) == ""


def test_a_check_that_finds_something_opens_nothing(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    postgres.psql("INSERT INTO copied SELECT ssn FROM people", "checked")
    assert check(gateway, 1)["passed"] is False
    assert check(gateway, 0, "--waive", "public.copied.*")["passed"] is False
    assert "have not been checked" in refusal(gateway)
    gateway.config["targets"][0]["masks"]["waive"] = ["public.copied.what"]
    gateway.reload()
    answer = check(gateway, 0)
    assert (answer["found"], answer["passed"]) == ([], True)
    assert refusal(gateway) == ""


def test_other_masks_have_to_be_checked_anew_and_other_rules_do_not(gateway: Gateway) -> None:
    check(gateway, 0)
    rules = gateway.config["policy"]["rules"]
    rules.append({"name": "no", "effect": "deny", "operations": {"verbs": ["truncate"]}})
    gateway.reload()
    assert refusal(gateway) == ""
    rules.append({**MASK, "name": "more", "mask": {"columns": ["*.free.n"], "transform": "null"}})
    gateway.reload()
    assert "have not been checked" in refusal(gateway)
    rules.pop()
    gateway.reload()
    assert refusal(gateway) == ""


def test_a_passed_check_outlives_a_restart(gateway: Gateway) -> None:
    check(gateway, 0)
    gateway.stop()
    gateway.start()
    assert refusal(gateway) == ""


def test_a_part_of_a_check_is_no_check(gateway: Gateway) -> None:
    assert gateway.admin.post("/targets/db/masks", {"after": 2**31})["passed"] is False
    assert "have not been checked" in refusal(gateway)


def test_a_later_check_that_finds_something_closes(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    assert check(gateway, 0)["passed"] is True
    postgres.psql("SET ROLE app; CREATE TABLE late AS SELECT ssn AS what FROM people", "checked")
    assert check(gateway, 1)["passed"] is False
    assert "have not been checked" in refusal(gateway)
    gateway.stop()
    gateway.start()
    assert "have not been checked" in refusal(gateway)
    postgres.psql("DROP TABLE late", "checked")
    assert check(gateway, 0)["passed"] is True
    assert refusal(gateway) == ""


def test_what_is_waived_no_more_has_to_be_checked(gateway: Gateway) -> None:
    masks = gateway.config["targets"][0]["masks"]
    check(gateway, 0)
    masks["waive"] = ["public.other.*"]
    gateway.reload()
    assert "have not been checked" in refusal(gateway)
    check(gateway, 0)
    assert refusal(gateway) == ""
    masks["waive"] = ["public.another.*"]
    gateway.reload()
    assert "have not been checked" in refusal(gateway)


def test_labels_that_change_the_masks_ask_for_a_check_and_end_sessions(gateway: Gateway) -> None:
    live = {"labels": {"stage": "live"}}
    mask = {"columns": ["*.free.n"], "transform": "null"}
    rule = {**MASK, "name": "live", "targets": live, "mask": mask}
    gateway.config["policy"]["rules"].append(rule)
    gateway.config["targets"].append({**gateway.config["targets"][0], "name": "other", **live})
    gateway.reload()
    check(gateway, 0)
    with psycopg.connect(gateway.dsn(), autocommit=True) as session:
        session.execute("SELECT n FROM free")
        gateway.config["targets"][0].update(live)
        gateway.reload()
        assert "have not been checked" in refusal(gateway)
        with pytest.raises(psycopg.OperationalError, match="labels have changed"):
            for _ in range(100):
                session.execute("SELECT n FROM free")
                time.sleep(0.05)
    assert check(gateway, 0)["passed"] is True
    assert refusal(gateway) == ""


def test_the_hint_names_the_database_that_has_to_be_checked(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    postgres.psql("DROP DATABASE IF EXISTS checked_two")
    postgres.psql("CREATE DATABASE checked_two OWNER app")
    gateway.config["targets"][0]["databases"] = ["checked_*"]
    gateway.reload()
    with pytest.raises(psycopg.OperationalError, match="--database checked_two"):
        psycopg.connect(gateway.dsn(target="db/checked_two"))
