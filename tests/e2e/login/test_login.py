"""People log in at a real provider, in its pages, and what becomes of their logins."""

from __future__ import annotations

import time

import httpx2
import pytest

from tests.e2e.login.conftest import Person
from tests.support.gateway import Gateway
from tests.support.processes import wait_for
from tests.support.provider import Browser, OpenIdProvider
from tests.support.sessions import Listener

SLACK = 2.0
"""Seconds that a machine which is busy with other tests may take longer."""


def by_device(person: Person, browser: Browser, *words: str) -> str:
    """Log in with a code that is entered in `browser`."""
    running = person.start("login", *words)
    address = running.hear("or open ").split()[2]
    assert browser.visit(address).status_code == 200
    return running.end()


def by_code(person: Person, browser: Browser, *words: str) -> str:
    """Log in with a browser on this machine."""
    running = person.start("login", "--flow", "code", "--no-browser", *words)
    page = browser.visit(running.hear("http"))
    assert page.status_code == 200 and "You can close this page" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    return running.end()


def test_by_device_code(person: Person, provider: OpenIdProvider) -> None:
    with Browser("ann") as browser:
        said = by_device(person, browser)
    assert said.startswith(f"ann is logged in at {person.url} by corp until ")
    assert "renewed when it is over" in said
    told = person.told("whoami")
    assert (told["name"], told["groups"], told["provider"]) == ("ann", ["agents"], "corp")
    assert (told["login"], told["renewed"], told["kept"]) == (person.url, True, "file")
    assert told["expires"] > time.time() + 200
    kept = person.kept()
    assert kept["token"].startswith("sp_") and kept["refresh_token"]
    assert person.logins.stat().st_mode & 0o777 == 0o700


def test_by_a_browser_on_this_machine(person: Person) -> None:
    with Browser("ann") as browser:
        by_code(person, browser)
    assert person.kept()["nonce"]
    assert person.told("whoami")["name"] == "ann"


def test_auto_falls_back_to_the_browser_where_there_is_no_device_flow(
    person: Person, gateway: Gateway
) -> None:
    settings = gateway.config["issuers"][0]["login"]
    settings["client_id"] = "code-only"
    gateway.reload()
    try:
        assert "refuses" in person.refused("login", "--flow", "device")
        running = person.start("login", "corp", "--no-browser")
        with Browser("ann") as browser:
            browser.visit(running.hear("http"))
        running.end()
        assert person.told("whoami")["provider"] == "corp"
    finally:
        settings["client_id"] = "sallyport"
        gateway.reload()


def test_a_client_whose_secret_is_none_shows_it(
    person: Person, gateway: Gateway, provider: OpenIdProvider
) -> None:
    """As Google has it: whoever logs in is told it, and needs it at each step."""
    settings = gateway.config["issuers"][0]["login"]
    before = dict(settings)
    settings["client_id"] = "with-secret"
    gateway.config["oauth"] = {"lifetime": "11s"}
    gateway.reload()
    try:
        assert "invalid_client" in person.refused("login", "--flow", "device")
        settings["public_secret"] = "told-to-anybody"
        gateway.reload()
        for log_in in (by_device, by_code):
            with Browser("gus") as browser:
                log_in(person, browser)
            first = person.kept()
            assert first["public_secret"] == "told-to-anybody"
            wait_for(lambda end=first["expires"]: time.time() > end - 9, "it is nearly over")
            assert person.told("whoami")["name"] == "gus"
            assert person.kept()["refresh_token"] != first["refresh_token"]
            person.run("logout")
    finally:
        gateway.config["issuers"][0]["login"] = before
        del gateway.config["oauth"]
        gateway.reload()


def test_what_is_refused_in_the_browser_is_told_and_keeps_nothing(person: Person) -> None:
    running = person.start("login", "--flow", "code", "--no-browser")
    with Browser("ann") as browser:
        address = running.hear("http")
        page = browser.visit(address, prompt="nothing")
        abort = str(page.url) + "/abort"
        browser.visit(abort)
    running.end(1)
    assert "access_denied" in "".join(running.said)
    assert not list(person.logins.glob("*.json"))


def test_ctrl_c_ends_the_waiting_and_keeps_nothing(person: Person) -> None:
    for flow, word in (("device", "Waiting"), ("code", "http")):
        running = person.start("login", "--flow", flow, "--no-browser")
        running.hear(word)
        running.interrupt()
        running.end(130)
    assert not list(person.logins.glob("*.json"))


def test_a_token_that_was_given_counts_before_the_login(person: Person, gateway: Gateway) -> None:
    with Browser("ann") as browser:
        by_code(person, browser)
    assert person.told("whoami", SALLYPORT_TOKEN=gateway.agent)["name"] == "agent-one"
    assert person.told("whoami", "--token", gateway.agent)["name"] == "agent-one"
    assert "provider" not in person.told("whoami", "--token", gateway.agent)
    elsewhere = person.start("whoami", "--url", "http://127.0.0.1:1")
    elsewhere.end(2)
    assert "sallyport login" in "".join(elsewhere.said), "a login is for one gateway alone"


def test_a_token_that_is_over_is_had_anew_and_a_lost_group_shows(
    person: Person, gateway: Gateway, provider: OpenIdProvider
) -> None:
    gateway.config["oauth"] = {"lifetime": "11s"}
    gateway.reload()
    try:
        with Browser("rose") as browser:
            by_code(person, browser)
        first = person.kept()
        wait_for(lambda: time.time() > first["expires"] - 10, "the token is nearly over")
        many = [person.start("whoami", "--json") for _ in range(4)]
        for one in many:
            one.end()
        second = person.kept()
        assert second["token"] != first["token"]
        assert second["refresh_token"] != first["refresh_token"], "it rotates, and is kept"
        provider.set_groups("rose", [])
        wait_for(lambda: time.time() > second["expires"] - 10, "the token is nearly over")
        assert person.told("whoami")["groups"] == []
        assert "neither reach" in person.refused("connect", "db")
    finally:
        gateway.config.pop("oauth")
        gateway.reload()


def test_a_login_that_the_provider_ended_is_forgotten(
    person: Person, gateway: Gateway, provider: OpenIdProvider
) -> None:
    gateway.config["oauth"] = {"lifetime": "1s"}
    gateway.reload()
    try:
        with Browser("ann") as browser:
            by_code(person, browser)
        form = {"token": person.kept()["refresh_token"], "client_id": "sallyport"}
        httpx2.post(f"{provider.url}/token/revocation", data=form, trust_env=False)
        said = person.refused("whoami")
        assert "your login as ann is over" in said and "sallyport login" in said
        assert not list(person.logins.glob("*.json"))
    finally:
        gateway.config.pop("oauth")
        gateway.reload()


def test_keys_that_rotate_are_followed(person: Person, provider: OpenIdProvider) -> None:
    with Browser("ann") as browser:
        by_code(person, browser)
        provider.rotate()
        time.sleep(10.5)  # the gateway asks for keys at most once in ten seconds
        by_code(person, browser)
    assert person.told("whoami")["name"] == "ann"


def test_logging_out_revokes_both_tokens_and_ends_sessions(
    person: Person, gateway: Gateway, provider: OpenIdProvider
) -> None:
    with Browser("ann") as browser:
        by_code(person, browser)
    kept = person.kept()
    session = Listener(gateway.dsn(kept["token"]))
    assert person.told("logout") == {"url": person.url, "name": "ann", "problems": []}
    begun = time.monotonic()
    wait_for(session.over, "the session is ended")
    assert time.monotonic() - begun < 1.0 + SLACK
    assert not list(person.logins.glob("*.json"))
    headers = {"authorization": f"Bearer {kept['token']}"}
    answer = httpx2.get(f"{gateway.url}/api/v1/whoami", headers=headers, trust_env=False)
    assert answer.status_code == 401
    form = {
        "grant_type": "refresh_token",
        "refresh_token": kept["refresh_token"],
        "client_id": "sallyport",
    }
    again = httpx2.post(f"{provider.url}/token", data=form, trust_env=False)
    assert again.json()["error"] == "invalid_grant"
    assert "nobody is logged in" in person.refused("logout")
    assert "no token" in person.refused("whoami", code=2)


def test_logging_out_everywhere(person: Person) -> None:
    with Browser("ann") as browser:
        by_code(person, browser)
        by_code(person, browser, "--url", person.url.replace("127.0.0.1", "localhost"))
    assert len(list(person.logins.glob("*.json"))) == 2
    person.run("logout", "--all")
    assert not list(person.logins.glob("*.json"))
    assert "nobody is logged in anywhere" in person.run("logout", "--all")


@pytest.mark.parametrize("flow", ["device", "code"])
def test_a_logout_at_the_provider_ends_all_within_a_second(
    person: Person, gateway: Gateway, provider: OpenIdProvider, flow: str
) -> None:
    other = Person(person.home / "other", person.url)
    with Browser("ann") as browser, Browser("ann") as elsewhere:
        (by_device if flow == "device" else by_code)(person, browser)
        by_code(other, elsewhere)
        session = Listener(gateway.dsn(person.kept()["token"]))
        kept = Listener(gateway.dsn(other.kept()["token"]))
        browser.log_out(provider)
        begun = time.monotonic()
        wait_for(session.over, "the session is ended")
        assert time.monotonic() - begun < 1.0 + SLACK
        assert "not told" not in provider.log(), "the gateway has said that it is done"
    assert "log in with `sallyport login`" in person.refused("whoami")
    assert not kept.over(), "another login of the same person stays"
    assert other.told("whoami")["name"] == "ann"
    found = wait_for(
        lambda: gateway.admin.get("/audit", action="logged-out")["audit"], "it is on record"
    )
    assert found[0]["object"] == provider.url and found[0]["details"]["sub"] == "ann"
