"""A real provider, a real gateway before a real database, and the command line of a person."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sallyport.supervisor as sallyport_package
from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import Gateway
from tests.support.processes import PATIENCE
from tests.support.provider import CLIENT, WEB_CLIENT, WEB_SECRET, OpenIdProvider

SOURCES = str(Path(sallyport_package.__file__).parents[1])
ON_REQUEST = {
    "name": "on-request",
    "subjects": {"groups": ["engineers"]},
    "logins": ["app"],
    "request": {"approvers": ["dba"], "longest": "8h"},
}


def _interruptible() -> None:
    """What a shell starts in the background ignores SIGINT, and so does all that comes of it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A command that runs; what it says on stderr can be waited for."""

    def __init__(self, words: tuple[str, ...], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sallyport.cli", *words],
            env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_interruptible,
        )  # fmt: skip
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            self._lines.put(line)

    def hear(self, word: str) -> str:
        """Return the first line that holds `word`."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"{word}: never said in {self.said}") from None
            if word in line:
                return line.strip()

    def end(self, code: int = 0) -> str:
        """Wait for its end and return what it printed."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        found = self.process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        assert found == code, out + "".join(self.said)
        assert "Traceback" not in "".join(self.said)
        return out

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)


class Person:
    """Somebody at a terminal of their own, with a home of their own."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url
        home.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": SOURCES,
            "SALLYPORT_URL": url,
            "SALLYPORT_KEYRING": "off",
        }

    @property
    def logins(self) -> Path:
        return self.home / ".local" / "state" / "sallyport" / "logins"

    def kept(self) -> dict[str, Any]:
        """What is kept of the one login."""
        (path,) = self.logins.glob("*.json")
        assert path.stat().st_mode & 0o777 == 0o600
        return dict(json.loads(path.read_text()))

    def start(self, *words: str, **more: str) -> Running:
        return Running(words, {**self.environment, **more})

    def run(self, *words: str, code: int = 0, **more: str) -> str:
        return self.start(*words, **more).end(code)

    def told(self, *words: str, **more: str) -> dict[str, Any]:
        """Return the JSON that a command answers with."""
        return dict(json.loads(self.run(*words, "--json", **more)))

    def refused(self, *words: str, code: int = 1) -> str:
        """Return what a command that fails says."""
        running = self.start(*words)
        running.end(code)
        return "".join(running.said)


@pytest.fixture(scope="module")
def world(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, OpenIdProvider]]:
    folder = tmp_path_factory.mktemp("login")
    gateway = Gateway(folder / "gateway", postgres, database="app")
    provider = OpenIdProvider(folder, f"{gateway.url}/oauth/backchannel-logout", web=gateway.url)
    secret = folder / "client-secret"
    secret.touch(0o600)
    secret.write_text(f"{WEB_SECRET}\n")
    with provider:
        gateway.config["issuers"] = [
            {
                "name": "corp",
                "issuer": provider.url,
                "audience": ["sallyport-programs"],
                "login": {"client_id": CLIENT},
                "web": {"client_id": WEB_CLIENT, "client_secret": f"file:{secret}"},
            }
        ]
        gateway.config["access"].append(ON_REQUEST)
        with gateway:
            yield gateway, provider


@pytest.fixture
def gateway(world: tuple[Gateway, OpenIdProvider]) -> Gateway:
    return world[0]


@pytest.fixture
def provider(world: tuple[Gateway, OpenIdProvider]) -> OpenIdProvider:
    return world[1]


@pytest.fixture
def person(gateway: Gateway, tmp_path: Path) -> Person:
    return Person(tmp_path / "home", gateway.url)
