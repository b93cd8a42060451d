"""A worker that cannot begin says why in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import pathlib, socket, sys
from sallyport.app.configuration import Source
from sallyport.app.worker import run_worker
path = pathlib.Path(sys.argv[1])
sys.exit(run_worker(Source(path, path), "worker-0", {"clients": socket.socket()}))
"""


@pytest.mark.parametrize(
    ("mode", "reason"), [(0o644, "may be read by others"), (None, "cannot be read")]
)
def test_a_certificate_that_cannot_be_read(tmp_path: Path, mode: int | None, reason: str) -> None:
    pem = tmp_path / "listener.pem"
    if mode is not None:
        pem.write_text("not looked at")
        pem.chmod(mode)
    listener = {
        "name": "clients",
        "protocol": "postgres",
        "address": "127.0.0.1:1",
        "tls": {"certificate": f"file:{pem}", "key": f"file:{pem}"},
    }
    config = {
        "version": 1,
        "state": str(tmp_path / "state"),
        "listeners": [listener],
        "vault": {"key": f"file:{tmp_path}/key", "generate": True},
        "targets": [],
    }
    path = tmp_path / "sallyport.yaml"
    path.write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert f"listener `clients`: file `{pem}` {reason}" in said
    assert "Traceback" not in said
