"""The tour's psql: one that was refused and is gone says what it said, and breaks nothing."""

from __future__ import annotations

import os
from pathlib import Path

from sallyport.demo.tour import PsqlSession


def test_a_psql_that_ended_before_it_was_asked_is_read_to_its_end(tmp_path: Path) -> None:
    program = tmp_path / "psql"
    program.write_text("#!/bin/sh\necho 'given on request'\n")
    program.chmod(0o755)
    place = {"host": "h", "port": 1, "user": "u", "database": "d", "password": "p"}
    session = PsqlSession(place, tmp_path)
    os.waitid(os.P_PID, session._process.pid, os.WEXITED | os.WNOWAIT)
    assert list(session.run("SELECT 1;")) == ["given on request", "(psql ended)"]
    session.close()
