"""Running PostgreSQL's own programs through a gateway or past it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.gateway import Gateway

DEBIAN = Path("/usr/lib/postgresql/15/bin")
LIMIT = 90
"""Seconds that a program may take before the test gives it up for hanging."""


def through(gateway: Gateway, database: str, **more: str) -> dict[str, str]:
    """The environment that points libpq at a gateway."""
    return {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(gateway.port),
        "PGUSER": "app",
        "PGPASSWORD": gateway.agent,
        "PGDATABASE": f"db/{database}",
        **more,
    }


def past(gateway: Gateway, database: str) -> dict[str, str]:
    """The environment that points libpq at the server behind a gateway."""
    return {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(gateway.server.port),
        "PGUSER": "app",
        "PGPASSWORD": "app-password",
        "PGDATABASE": database,
    }


def run(
    program: Path, *arguments: str, environment: dict[str, str], text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it printed; the caller looks at its code."""
    return subprocess.run(
        [program, *arguments],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PSQLRC": "/dev/null", **environment},
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def output(
    program: Path, *arguments: str, environment: dict[str, str], text: str | None = None
) -> str:
    """Run a program that must succeed without a word of complaint, and return its output."""
    done = run(program, *arguments, environment=environment, text=text)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
    return done.stdout
