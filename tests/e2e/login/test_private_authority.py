"""A provider whose https a private authority vouches for: the gateway tells, and a login believes
it for that provider alone, as long as it lasts. Nothing is set on the person's machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.e2e.login.conftest import Person
from tests.support.authority import Authority
from tests.support.gateway import Gateway
from tests.support.processes import wait_for
from tests.support.provider import CLIENT, Browser, OpenIdProvider


class House(NamedTuple):
    """A gateway, its provider, and the file of who vouches for that."""

    gateway: Gateway
    provider: OpenIdProvider
    ca: Path


@pytest.fixture(scope="module")
def house(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("private")
    authority = Authority("a company")
    ca = folder / "ca.pem"
    ca.write_bytes(b"# the company's own\n" + authority.key + authority.certificate)
    gateway = Gateway(folder / "gateway", postgres, database="app")
    with OpenIdProvider(folder, tls=authority.server().files(folder, "provider")) as provider:
        gateway.config["issuers"] = [
            {
                "name": "corp",
                "issuer": provider.url,
                "audience": ["sallyport-programs"],
                "ca": f"file:{ca}",
                "login": {"client_id": CLIENT},
            }
        ]
        gateway.config["oauth"] = {"lifetime": "11s"}
        with gateway:
            yield House(gateway, provider, ca)


@pytest.fixture
def person(house: House, tmp_path: Path) -> Person:
    return Person(tmp_path / "home", house.gateway.url)


def test_anybody_is_told_the_certificates_and_nothing_else_of_the_file(house: House) -> None:
    found = httpx2.get(f"{house.gateway.url}/oauth/providers", trust_env=False)
    (told,) = found.json()["providers"]
    kept = house.ca.read_text()
    assert kept.endswith(told["ca"]) and told["ca"].startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE KEY" in kept and "PRIVATE KEY" not in found.text


def test_a_login_is_begun_renewed_and_ended(house: House, person: Person) -> None:
    running = person.start("login")
    with Browser("ann", house.ca) as browser:
        browser.visit(running.hear("or open ").split()[2])
    assert running.end().startswith("ann is logged in")
    first = person.kept()
    assert first["ca"].startswith("-----BEGIN CERTIFICATE-----")
    wait_for(lambda: time.time() > first["expires"] - 10, "the token is nearly over")
    assert person.told("whoami")["name"] == "ann"
    second = person.kept()
    assert second["refresh_token"] != first["refresh_token"], "the provider was asked"
    assert second["ca"] == first["ca"]
    assert person.told("logout")["problems"] == [], "revoked at the provider, too"


def test_by_a_browser_on_this_machine(house: House, person: Person) -> None:
    running = person.start("login", "--flow", "code", "--no-browser")
    with Browser("ann", house.ca) as browser:
        browser.visit(running.hear("http"))
    assert running.end().startswith("ann is logged in")


def test_whom_the_gateway_does_not_tell_is_not_believed(house: House, person: Person) -> None:
    (issuer,) = house.gateway.config["issuers"]
    whole = dict(issuer)
    other = house.ca.with_name("other.pem")
    other.write_bytes(Authority("somebody else").certificate)
    try:
        for ca in ({}, {"ca": f"file:{other}"}):
            issuer.clear()
            issuer.update({**whole, "ca": None} | ca)
            house.gateway.reload()
            said = person.refused("login", code=3)
            assert "certificate verify failed" in said and house.provider.url in said
            assert not list(person.logins.glob("*.json"))
        running = person.start("login", SSL_CERT_FILE=str(house.ca))
        running.end(3)
        assert "certificate verify failed" in "".join(running.said), "the told one alone counts"
    finally:
        issuer.clear()
        issuer.update(whole)
        house.gateway.reload()
