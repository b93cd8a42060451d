"""What a client wrote can forge no line of the log, and draws nothing on a terminal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

RUN = """
import logging, sys
import structlog
from sallyport.app.log import configure
from sallyport.config.models import LoggingSettings
configure(LoggingSettings(format=sys.argv[1]), "worker-0")
text = "no\\n2026-01-01 [info ] forged \\x1b[2J\\u202e"
log = structlog.get_logger("ours")
log.error(text, why=text)
try:
    raise ValueError(text)
except ValueError:
    log.exception("failed")
    logging.getLogger("library").exception("said %s", text)
logging.getLogger("library").warning(text)
"""


def said(form: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", RUN, form], capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stderr
    return done.stderr


def test_every_event_is_one_object_on_one_line() -> None:
    events = [json.loads(line) for line in said("json").splitlines()]
    assert len(events) == 4
    assert all(event["process"] == "worker-0" and event["level"] for event in events)
    assert sum("exception" in event for event in events) == 2


@pytest.mark.parametrize("forged", ["2026-01-01", "\u202e"])
def test_further_lines_are_set_in(forged: str) -> None:
    assert not any(line.startswith(forged) for line in said("text").splitlines())
    assert "\u202e" not in said("text")
