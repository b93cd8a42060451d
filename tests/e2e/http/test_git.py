"""git over HTTP, direct and through the gateway: clone, push, fetch, by its smart protocol."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_app import bytes_of
from tests.support.http_gateway import HttpGateway
from tests.support.http_git import BACKEND, GitServer

pytestmark = pytest.mark.skipif(not BACKEND.exists(), reason="git (Debian package) is needed")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GitServer, HttpGateway]]:
    server = GitServer(tmp_path_factory.mktemp("repositories"))
    with server, HttpGateway(tmp_path_factory.mktemp("gateway"), {"git": server}) as gateway:
        yield server, gateway


def git(folder: Path, *words: str, header: str = "") -> str:
    """Run git, with nobody's settings."""
    more = ["-c", f"http.extraHeader={header}"] if header else []
    who = ["-c", "user.name=n", "-c", "user.email=n@example.com", "-c", "init.defaultBranch=main"]
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0", "no_proxy": "*",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *who, *more, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("way", ["direct", "through"])
@pytest.mark.parametrize("protocol", ["0", "2"])
def test_a_repository_goes_round(
    served: tuple[GitServer, HttpGateway], way: str, protocol: str, tmp_path: Path
) -> None:
    server, gateway = served
    name = f"{way}-{protocol}.git"
    git(server.folder, "init", "-q", "--bare", name)
    url = f"{server.url if way == 'direct' else gateway.base('git')}/{name}"
    header = f"Authorization: Bearer {gateway.agent}" if way == "through" else ""
    version = ("-c", f"protocol.version={protocol}")
    git(tmp_path, *version, "clone", "-q", url, "one", header=header)
    (tmp_path / "one" / "words").write_text("some words\n")
    (tmp_path / "one" / "large").write_bytes(os.urandom(100_000) + bytes_of(3_000_000))
    git(tmp_path / "one", "add", ".")
    git(tmp_path / "one", "commit", "-q", "-m", "begin")
    git(tmp_path / "one", *version, "push", "-q", "origin", "HEAD:main", header=header)
    git(tmp_path, *version, "clone", "-q", "-b", "main", url, "two", header=header)
    assert (tmp_path / "two" / "large").read_bytes() == (tmp_path / "one" / "large").read_bytes()
    (tmp_path / "one" / "words").write_text("other words\n")
    git(tmp_path / "one", "commit", "-q", "-a", "-m", "go on")
    git(tmp_path / "one", *version, "push", "-q", "origin", "HEAD:main", header=header)
    git(tmp_path / "two", *version, "pull", "-q", header=header)
    assert (tmp_path / "two" / "words").read_text() == "other words\n"
