"""Class 56: the disk of the recording is full, or the folder is gone or read-only."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.support.evidence import recorded
from tests.support.gateway import Gateway
from tests.support.processes import wait_for
from tests.support.sessions import connect, connect_soon

DATABASE = "full_disk"
SIZE = 160
"""MiB of the disk; 16 are kept free for decisions, and journals take room ahead of need."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk of our own."""
    folder = tmp_path_factory.mktemp("disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if os.geteuid() != 0 or done.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture(scope="module")
def gateway(postgres: EmbeddedPostgres, disk: Path) -> Iterator[Gateway]:
    postgres.psql(f"create database {DATABASE} owner app")
    postgres.psql("set role app; create table t (n int)", DATABASE)
    with Gateway(
        disk / "gateway", postgres, database=DATABASE, extra={"recording": {"reserve": "16MiB"}}
    ) as running:
        yield running


def test_a_full_disk_refuses_what_is_new_and_finishes_what_runs(
    gateway: Gateway, disk: Path, postgres: EmbeddedPostgres
) -> None:
    ballast = disk / "ballast"
    with connect(gateway) as session, connect(gateway) as busy:
        session.execute("insert into t values (1)")
        busy.autocommit = False
        busy.execute("insert into t values (2)")
        with ballast.open("wb") as file:
            free = os.statvfs(disk)
            size = free.f_bavail * free.f_frsize - (8 << 20)
            file.write(b"\0" * size)

        def refused() -> psycopg.Error | None:
            try:
                session.execute("insert into t values (3)")
            except psycopg.Error as error:
                return error
            return None

        error = wait_for(refused, "new operations are refused")
        assert error.sqlstate == "42501", error
        assert "record" in str(error).lower() or "disk" in str(error).lower(), error
        told = gateway.admin.get("/status")
        assert not told["ready"] and "disk is full" in told["checks"]["journal"]
        before = int(postgres.psql("select count(*) from t where n = 3", DATABASE))
        with pytest.raises(psycopg.Error):
            session.execute("insert into t values (3)")
        assert int(postgres.psql("select count(*) from t where n = 3", DATABASE)) == before
        # What is under way may still be ended, one way or the other.
        try:
            busy.commit()
        except psycopg.Error as ended:
            assert ended.sqlstate, ended
        ballast.unlink()
        wait_for(lambda: refused() is None or None, "there is room again, so it goes on")
    with connect_soon(gateway) as again:
        assert again.execute("select 1").fetchone() == (1,)


def test_a_folder_that_is_gone_refuses_until_it_is_back(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    folder = gateway.folder / "state" / "recording"
    away = folder.with_name("recording.away")
    postgres.psql("truncate t", DATABASE)
    with connect_soon(gateway) as session:
        folder.rename(away)
        try:
            with contextlib.suppress(psycopg.Error):
                for _ in range(20):
                    session.execute("insert into t values (4)")
                    time.sleep(0.1)
                pytest.fail("it ran for two seconds with nowhere to put its record")
            told = gateway.admin.get("/status")
            assert "cannot be reached" in told["checks"]["journal"] and not told["ready"]
        finally:
            away.rename(folder)
    with connect_soon(gateway) as again:
        again.execute("insert into t values (5)")
    rows = int(postgres.psql("select count(*) from t where n = 4", DATABASE))
    kept = [one for one in recorded(gateway.folder / "state") if "values (4)" in str(one)]
    assert len(kept) >= rows


def test_a_disk_without_any_room_loses_no_record(
    gateway: Gateway, disk: Path, postgres: EmbeddedPostgres
) -> None:
    """Not a byte is left, not even for decisions: nothing runs unrecorded, and it comes back."""
    ballast = disk / "ballast"
    postgres.psql("truncate t", DATABASE)
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 65536):
            continue
    try:
        for number in range(20):
            try:
                with connect(gateway) as session:
                    session.execute("insert into t values (%s)", [number])
            except psycopg.Error:
                continue
    finally:
        ballast.unlink()
    with connect_soon(gateway) as again:
        wait_for(lambda: answers(again), "it serves again")
    texts = [getattr(event, "parameters", ()) for event in recorded(gateway.folder / "state")]
    known = {one.value for parameters in texts for one in parameters}
    for line in postgres.psql("select n from t", DATABASE).split():
        found = line.encode() in known or int(line).to_bytes(2, "big") in known
        assert found, f"row {line} is on no record"


def answers(session: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        return session.execute("select 1").fetchone() == (1,)
    except psycopg.Error:
        return False
