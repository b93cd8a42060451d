"""A listener that takes OAuth: psql itself logs its user in, at a real provider.

It takes a psql whose libpq is 18 and has its module libpq-oauth: that of Debian's packages for
PostgreSQL 18, or the one that PSQL_WITH_OAUTH names. Without one, `test_connect.py` still shows
that libpq 18 is given the settings, by a program that hands the token over itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.demo.server import EmbeddedPostgres, free_port
from tests.e2e.login.conftest import Person
from tests.support.gateway import Gateway
from tests.support.processes import wait_for
from tests.support.provider import CLIENT, Browser, OpenIdProvider

PSQL = os.environ.get("PSQL_WITH_OAUTH", "/usr/lib/postgresql/18/bin/psql")
MODULES = [*Path("/usr/lib").glob("*/libpq-oauth-18.so")]

pytestmark = pytest.mark.skipif(
    "PSQL_WITH_OAUTH" not in os.environ and not (Path(PSQL).exists() and MODULES),
    reason="there is no psql with libpq-oauth",
)


@pytest.fixture
def house(postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[tuple[Gateway, OpenIdProvider]]:
    gateway = Gateway(tmp_path / "gateway", postgres, database="app")
    with OpenIdProvider(tmp_path, audience="sallyport-programs") as provider:
        gateway.config["issuers"] = [
            {
                "name": "corp",
                "issuer": provider.url,
                "audience": ["sallyport-programs"],
                "login": {"client_id": CLIENT},
            }
        ]
        gateway.config["listeners"].append(
            {
                "name": "bearer",
                "protocol": "postgres",
                "address": f"127.0.0.1:{free_port()}",
                "authentication": "oauth",
                "oauth": {"issuer": "corp", "scope": "openid groups"},
            }
        )
        with gateway:
            yield gateway, provider


def test_psql_logs_its_user_in_by_itself(
    house: tuple[Gateway, OpenIdProvider], tmp_path: Path
) -> None:
    gateway, _ = house
    person = Person(tmp_path / "home", gateway.url)
    person.environment["SALLYPORT_TOKEN"] = gateway.agent
    running = person.start(
        "connect", "db", "--listener", "bearer", "--", PSQL, "-XAtwc", "select current_user",
        PGOAUTHDEBUG="UNSAFE",  # the provider is on loopback, without https
    )  # fmt: skip
    said = running.hear("and enter the code")
    found = re.search(r"Visit (\S+) and enter the code: (\S+)", said)
    assert found is not None, said
    with Browser("erin") as browser:
        page = browser.visit(found[1], user_code=found[2])
        assert page.status_code == 200, page.text
    assert running.end().strip() == "app"
    (session,) = wait_for(
        lambda: gateway.admin.get("/sessions", subject="erin")["sessions"], "it is on record"
    )
    assert session["token"].startswith("jwt-") and session["groups"] == ["agents"]
