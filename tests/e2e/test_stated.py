"""Task and purpose, as a real client says them: recorded, in conditions, on approvals."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import EVERYTHING, Gateway

RULES = [
    *EVERYTHING,
    {
        "name": "writes-have-a-task",
        "effect": "deny",
        "when": "op.effect == 'write' && context.task == ''",
        "hint": "say which: PGOPTIONS='-c sallyport.task=...'",
    },
    {
        "name": "writes-wait",
        "effect": "hold",
        "operations": {"verbs": ["update"]},
        "hold": {"approvers": ["dba"], "ticket": True},
    },
]


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE stated OWNER app")
    postgres.psql("SET ROLE app; CREATE TABLE t (id int)", "stated")
    stated = {"stated": {"applications": ["[a-z]+;(?P<task>[A-Z0-9-]+)"]}}
    folder = tmp_path_factory.mktemp("stated")
    with Gateway(folder, postgres, database="stated", rules=RULES, extra=stated) as running:
        yield running


@pytest.mark.parametrize(
    ("options", "task"),
    [
        ({"options": "-c sallyport.task=JIRA-7 -c sallyport.purpose=mend"}, "JIRA-7"),
        ({"application_name": "bot;JIRA-8"}, "JIRA-8"),
    ],
)
def test_who_approves_reads_it(gateway: Gateway, options: dict[str, str], task: str) -> None:
    with (
        psycopg.connect(gateway.dsn(**options), autocommit=True) as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="approval"),
    ):
        session.execute(f"UPDATE t SET id = {len(task)} + {task[-1]} WHERE id = 1".encode())
    waiting = gateway.wait_pending()
    assert waiting["task"] == task
    assert waiting["purpose"] == ("mend" if "options" in options else "")


def test_it_gives_no_right_and_can_be_demanded(gateway: Gateway) -> None:
    with (
        psycopg.connect(gateway.dsn(), autocommit=True) as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="writes-have-a-task"),
    ):
        session.execute("UPDATE t SET id = 1 WHERE id = 1")


def test_the_target_never_hears_it(gateway: Gateway) -> None:
    said = gateway.dsn(options="-c sallyport.task=JIRA-7")
    with psycopg.connect(said, autocommit=True) as session:
        shown = session.execute("SELECT current_setting('sallyport.task', true)").fetchone()
        assert shown == (None,)
