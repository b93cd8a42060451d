"""A running API, and the command line as a user runs it: a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.web.harness import Api, running_api

SOURCE = Path(__file__).parents[3] / "src"
START = "from sallyport.cli import main; main()"


@dataclass
class Ran:
    """What one run left."""

    code: int
    out: str
    err: str


@dataclass
class Terminal:
    """Runs the command line."""

    environment: dict[str, str] = field(default_factory=dict)

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """Start `sallyport ARGUMENTS`."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            START,
            *arguments,
            env={**kept, "PYTHONPATH": str(SOURCE), **self.environment, **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def interrupt(self, process: asyncio.subprocess.Process) -> int:
        """Press Ctrl-C and return the exit code."""
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 30)
        return process.returncode or 0

    async def run(self, *arguments: str, stdin: bytes = b"", **environment: str) -> Ran:
        """Run `sallyport ARGUMENTS` to its end."""
        process = await self.start(*arguments, **environment)
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
        ran = Ran(process.returncode or 0, out.decode(), err.decode())
        assert "Traceback" not in ran.out + ran.err, ran.err
        return ran


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """A running API."""
    async with running_api(tmp_path) as running:
        yield running


@pytest.fixture
async def admin(api: Api) -> Terminal:
    """The command line of an administrator."""
    token = await api.as_role("admin")
    return Terminal({"SALLYPORT_URL": api.url, "SALLYPORT_TOKEN": token})


@pytest.fixture
def nobody() -> Terminal:
    """The command line without a token and without an API."""
    return Terminal()
