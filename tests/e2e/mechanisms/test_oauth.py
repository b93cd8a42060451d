"""OAUTHBEARER with libpq 18: a bearer token at once, and one that the client had to look for."""

from __future__ import annotations

import pytest

from tests.e2e.mechanisms.conftest import ISSUER, House
from tests.support.oauth_client import handing_out, needs_libpq_18
from tests.support.processes import wait_for

WORDS = {"user": "app", "oauth_issuer": ISSUER, "oauth_client_id": "psycopg"}
DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"

pytestmark = needs_libpq_18


@pytest.mark.parametrize("listener", ["oauth", "oauth-tls"])
def test_a_token_that_the_client_has(house: House, listener: str) -> None:
    """It knows where its tokens come from: one connection, and the gateway is asked nothing."""
    _, secret = house.token()
    words = {**WORDS, "oauth_issuer": DISCOVERY, "oauth_scope": "mine", "require_auth": "oauth"}
    with handing_out(secret) as wallet:
        assert house.ask(listener, **words) == "app"
    assert wallet.asked == [(DISCOVERY, "mine")]


def test_a_client_without_a_token_is_told_where_to_get_one(house: House) -> None:
    _, secret = house.token()
    for at_once in (True, False):
        with handing_out(secret, at_once=at_once) as wallet:
            assert house.ask("oauth-tls", **WORDS) == "app"
        assert wallet.asked[-1] == (DISCOVERY, "openid groups")


def test_a_wrong_token_is_refused(house: House) -> None:
    for token in ("sp_nothing", "eyJhbGciOiJub25lIn0.e30.", "x"):
        with handing_out(token):
            assert "authentication failed" in house.refused("oauth-tls", **WORDS)


def test_the_user_may_ask_for_another_login(house: House) -> None:
    _, secret = house.token()
    with handing_out(secret):
        assert house.ask("oauth", **{**WORDS, "user": "other"}) == "other"


def test_a_jwt_of_an_issuer(house: House) -> None:
    """Groups come from the JWT, and the session ends with it."""
    jwt = house.jwt(sub="erin", groups=["agents"])
    with handing_out(jwt):
        assert house.ask("oauth-tls", **WORDS) == "app"
    (session,) = wait_for(lambda: house.sessions("erin"), "the session is on record")
    assert session["token"].startswith("jwt-") and session["groups"] == ["agents"]
    with handing_out(house.jwt(sub="erin", groups=["agents"], exp=1)):
        assert "authentication failed" in house.refused("oauth-tls", **WORDS)


def test_another_issuer_than_the_gateways_gets_no_token(house: House) -> None:
    """libpq itself compares what the gateway names with what its user trusts."""
    _, secret = house.token()
    words = {**WORDS, "oauth_issuer": "https://rogue.example.com"}
    with handing_out(secret, at_once=False) as wallet:
        assert "issuer" in house.refused("oauth-tls", **words)
    assert all("rogue" in url for url, _ in wallet.asked)


def test_a_password_is_not_taken(house: House) -> None:
    _, secret = house.token()
    words = {"user": "app", "password": secret, "require_auth": "password"}
    assert "server requested SASL" in house.refused("oauth-tls", **words)
