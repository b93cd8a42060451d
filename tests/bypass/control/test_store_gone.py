"""Class 56: the store is gone. Nobody is let in, who is in stays within policy, and it is said."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from sallyport.cli.errors import CommandError
from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import EVERYTHING, Gateway
from tests.support.processes import wait_for
from tests.support.sessions import connect

HELD = {
    "name": "updates-wait",
    "effect": "hold",
    "operations": {"verbs": ["update"]},
    "hold": {"approvers": ["dba"]},
}


def spoil(state: Path) -> None:
    """Overwrite the store where it lies, as a bad disk would (its shared memory is not there)."""
    for path in (state / "sallyport.db", state / "sallyport.db-wal"):
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(b"\xa5" * size)


def is_refused(gateway: Gateway) -> bool:
    try:
        connect(gateway).close()
    except psycopg.OperationalError:
        return True
    return False


def makes_no_token(gateway: Gateway) -> bool:
    try:
        gateway.token("another", groups=["agents"])
    except CommandError:
        return True
    return False


def test_a_spoilt_store_lets_nobody_in_and_holds_nothing_open(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    postgres.psql("create database spoilt owner app")
    postgres.psql("set role app; create table t (n int); insert into t values (1)", "spoilt")
    gateway = Gateway(tmp_path / "gateway", postgres, database="spoilt", rules=[*EVERYTHING, HELD])
    with gateway, connect(gateway) as session:
        session.execute("select 1")
        spoil(gateway.folder / "state")
        wait_for(lambda: is_refused(gateway), "nobody is let in: what was read before is forgotten")
        with pytest.raises(psycopg.Error):
            session.execute("update t set n = 2 where n = 1")
        assert postgres.psql("select n from t", "spoilt").strip() == "1"
        wait_for(lambda: makes_no_token(gateway), "no token is made")
        wait_for(lambda: "journals cannot be followed" in gateway.log(), "it is said")
    for line in gateway.log().splitlines():
        json.loads(line)  # no traceback beside the log
