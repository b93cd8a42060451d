"""What the page on identity tells its readers to write, written: only names and places differ."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from sallyport.app.configuration import read_text
from sallyport.config.yaml import read_yaml
from tests.e2e.mechanisms.conftest import House
from tests.support.oauth_client import handing_out, needs_libpq_18

PAGE = (Path(__file__).parents[3] / "docs" / "identity.md").read_text()
MECHANISMS = ("token", "scram", "oauth", "certificate")


def section(mechanism: str) -> str:
    return PAGE.partition(f"### `{mechanism}`\n")[2].partition("\n### ")[0]


def row(mechanism: str, client: str) -> str:
    """The code in a client's row."""
    found = re.search(rf"^\| {client} \| `(.+?)` \|$", section(mechanism), re.MULTILINE)
    assert found is not None, (mechanism, client)
    return found[1]


@pytest.fixture(scope="module")
def files(house: House) -> dict[str, Path]:
    """ann's certificate, made as the page says."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = house.folder / "page"
    folder.mkdir()
    for name, content in (("pem", house.authority.certificate), ("key", house.authority.key)):
        (folder / f"clients.{name}").write_bytes(content)
    lines = [line.strip() for line in section("certificate").splitlines()]
    for line in lines:
        if line.startswith(("openssl ", "printf ")):
            subprocess.run(line, shell=True, cwd=folder, check=True, capture_output=True)
    return {name: folder / name for name in ("ann.crt", "ann.key")}


def here(house: House, text: str, listener: str, files: dict[str, Path] | None = None) -> str:
    """The page's text with this gateway's names."""
    identifier, secret = house.token()
    for name, path in {"ca.pem": house.ca, **(files or {})}.items():
        text = text.replace(name, str(path))
    for written, ours in (
        ("gateway.example.com", "127.0.0.1"),
        ("6432", str(house.ports[listener])),
        ("orders", "db"),
        ("user=ID", f"user={identifier}"),
        ('user="ID"', f'user="{identifier}"'),
        ("sp_...", secret),
    ):
        text = text.replace(written, ours)
    return text


def conninfo(code: str) -> str:
    found = re.search(r'"(.+)"', code)
    assert found is not None
    return found[1]


def who(dsn: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute("select current_user").fetchone()


@pytest.mark.debian
@pytest.mark.parametrize("mechanism", ["token", "scram", "certificate"])
def test_psql(house: House, files: dict[str, Path], mechanism: str) -> None:
    code = here(house, row(mechanism, "psql"), f"{mechanism}-tls", files)
    done = subprocess.run(
        ["/usr/lib/postgresql/15/bin/psql", "-XAtw", "-c", "select current_user", conninfo(code)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("app\n", "")


@pytest.mark.parametrize("mechanism", ["token", "scram", "certificate"])
def test_psycopg(house: House, files: dict[str, Path], mechanism: str) -> None:
    code = here(house, row(mechanism, "psycopg"), f"{mechanism}-tls", files)
    assert who(conninfo(code)) == ("app",)


@needs_libpq_18
@pytest.mark.parametrize("client", ["psql 18", "psycopg"])
def test_oauth(house: House, client: str) -> None:
    _, secret = house.token()
    with handing_out(secret):
        assert who(conninfo(here(house, row("oauth", client), "oauth-tls"))) == ("app",)


@pytest.mark.parametrize("mechanism", ["token", "scram"])
async def test_asyncpg(house: House, mechanism: str) -> None:
    code = here(house, row(mechanism, "asyncpg"), f"{mechanism}-tls")
    connection = await eval(code, {"asyncpg": asyncpg, "ssl": ssl})
    try:
        assert await connection.fetchval("select current_user") == "app"
    finally:
        await connection.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_configuration(house: House, mechanism: str) -> None:
    block = re.search(r"(?:^    .*\n)+", section(mechanism), re.MULTILINE)
    assert block is not None
    text = "".join(line[4:] for line in block[0].splitlines(keepends=True))
    assert read_yaml(text.encode(), "page") is not None
    whole = f"version: 1\nstate: ./state\nvault: {{key: file:./key}}\n{text}"
    config = read_text(whole, house.folder / "sallyport.yaml")
    assert [one.authentication for one in config.listeners] == [mechanism]
