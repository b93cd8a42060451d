"""Browsers sign in at a real provider, in its pages, and are known to the API by a cookie."""

from __future__ import annotations

import httpx2

from sallyport.cli.client import path
from tests.support.gateway import Gateway
from tests.support.processes import wait_for
from tests.support.provider import Browser, OpenIdProvider

OWN = {"sec-fetch-site": "same-origin"}


def whoami(gateway: Gateway, browser: Browser) -> httpx2.Response:
    return browser.get(f"{gateway.url}/api/v1/whoami", headers=OWN)


def test_in_and_out(gateway: Gateway, provider: OpenIdProvider) -> None:
    with Browser("wendy") as browser:
        page = browser.visit(f"{gateway.url}/login?next=/api/v1/access")
        assert (page.status_code, page.url.path) == (200, "/api/v1/access")
        told = whoami(gateway, browser).json()
        assert (told["name"], told["groups"]) == ("wendy", ["agents"])
        (signed_in,) = wait_for(
            lambda: gateway.admin.get("/audit", action="signed-in", actor="wendy")["audit"],
            "the audit's index has it",
        )
        assert signed_in["details"]["provider"] == "corp"
        out = browser.post(f"{gateway.url}/logout", headers=OWN)
        assert out.status_code == 303
        there = browser.visit(out.headers["location"], logout="yes")
        assert there.url.path == "/logout" and "signed out" in there.text, "and back again"
        assert whoami(gateway, browser).status_code == 401


def test_who_is_logged_in_there_types_nothing(gateway: Gateway) -> None:
    with Browser("walt") as browser:
        browser.visit(f"{gateway.url}/login")
        browser.forget("sallyport-session")
        assert whoami(gateway, browser).status_code == 401
        browser.visit(f"{gateway.url}/login")
        assert whoami(gateway, browser).json()["name"] == "walt"


def test_signing_in_again_leaves_a_session_that_is_renewed(
    gateway: Gateway, provider: OpenIdProvider
) -> None:
    """What ends the session of before must not end the login there, which both came of."""
    gateway.config["oauth"] = {"lifetime": "2s"}
    gateway.reload()
    try:
        with Browser("wyn") as browser:
            for _ in range(2):
                browser.visit(f"{gateway.url}/login")
            first = gateway.admin.get("/tokens", subject="wyn")["tokens"]
            wait_for(
                lambda: (
                    whoami(gateway, browser).status_code == 200
                    and len(gateway.admin.get("/tokens", subject="wyn")["tokens"]) > len(first)
                ),
                "it is renewed",
            )
    finally:
        del gateway.config["oauth"]
        gateway.reload()


def test_a_group_that_was_lost_shows_at_the_next_renewal(
    gateway: Gateway, provider: OpenIdProvider
) -> None:
    provider.set_groups("wilma", ["agents", "dba"])
    gateway.config["oauth"] = {"lifetime": "2s"}
    gateway.reload()
    try:
        with Browser("wilma") as browser:
            browser.visit(f"{gateway.url}/login")
            assert whoami(gateway, browser).json()["groups"] == ["agents", "dba"]
            provider.set_groups("wilma", ["agents"])
            wait_for(
                lambda: whoami(gateway, browser).json()["groups"] == ["agents"], "they are fewer"
            )
            given = gateway.admin.get("/tokens", subject="wilma")["tokens"]
            assert {"sign-in"} == {one["via"] for one in given}
    finally:
        provider.set_groups("wilma", ["agents"])
        del gateway.config["oauth"]
        gateway.reload()


def test_a_logout_at_the_provider_ends_the_browsers_session(
    gateway: Gateway, provider: OpenIdProvider
) -> None:
    with Browser("wanda") as browser:
        browser.visit(f"{gateway.url}/login")
        assert whoami(gateway, browser).status_code == 200
        browser.log_out(provider)
        wait_for(lambda: whoami(gateway, browser).status_code == 401, "it is over")


def test_a_restart_keeps_who_is_signed_in_and_a_revocation_ends_it(gateway: Gateway) -> None:
    with Browser("wes") as browser:
        browser.visit(f"{gateway.url}/login")
        gateway.stop()
        gateway.start()
        assert whoami(gateway, browser).json()["name"] == "wes"
        gateway.admin.post("/tokens/revoke", {"subject": "wes"})
        assert whoami(gateway, browser).status_code == 401


def test_a_browser_decides_what_waits_and_another_site_does_not(
    gateway: Gateway, provider: OpenIdProvider
) -> None:
    provider.set_groups("dee", ["dba"])
    provider.set_groups("eve", ["engineers"])
    try:
        with Browser("dee") as dee, Browser("eve") as eve:
            dee.visit(f"{gateway.url}/login")
            eve.visit(f"{gateway.url}/login")
            wish = {"target": "db", "login": "app", "reason": "ticket 7", "for": 60}
            asked = eve.post(f"{gateway.url}/api/v1/access", json=wish, headers=OWN)
            assert asked.status_code == 201, asked.text
            approve = gateway.url + "/api/v1" + path("access", asked.json()["id"], "approve")
            foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
            assert dee.post(approve, json={}, headers=foreign).status_code == 403
            done = dee.post(approve, json={}, headers=OWN)
            assert (done.status_code, done.json()["state"]) == (200, "approved")
    finally:
        for name in ("dee", "eve"):
            provider.set_groups(name, ["agents"])
