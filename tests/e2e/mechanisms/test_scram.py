"""Tokens that never travel: psql 15, psycopg (libpq 18) and asyncpg log in by SCRAM-SHA-256."""

from __future__ import annotations

import ssl

import asyncpg
import pg8000.native
import pytest

from tests.e2e.mechanisms.conftest import House
from tests.support.processes import wait_for


@pytest.mark.parametrize("listener", ["scram", "scram-tls"])
def test_psycopg(house: House, listener: str) -> None:
    identifier, secret = house.token()
    assert house.ask(listener, user=identifier, password=secret) == "app"


@pytest.mark.debian
@pytest.mark.parametrize("listener", ["scram", "scram-tls"])
def test_psql(house: House, listener: str) -> None:
    identifier, secret = house.token()
    done = house.psql(listener, user=identifier, password=secret)
    assert (done.stdout, done.stderr) == ("app\n", "")


@pytest.mark.parametrize("listener", ["scram", "scram-tls"])
async def test_asyncpg(house: House, listener: str) -> None:
    identifier, secret = house.token()
    context = ssl.create_default_context(cafile=str(house.ca))
    connection = await asyncpg.connect(
        host="127.0.0.1", port=house.ports[listener], database="db", user=identifier,
        password=secret, ssl=context if listener.endswith("tls") else False,
    )  # fmt: skip
    try:
        assert await connection.fetchval("select current_user") == "app"
    finally:
        await connection.close()


@pytest.mark.parametrize("listener", ["scram", "scram-tls"])
def test_pg8000(house: House, listener: str) -> None:
    identifier, secret = house.token()
    context = ssl.create_default_context(cafile=str(house.ca))
    connection = pg8000.native.Connection(
        identifier, "127.0.0.1", "db", house.ports[listener], secret,
        ssl_context=context if listener.endswith("tls") else None, timeout=60,
    )  # fmt: skip
    assert connection.run("select current_user") == [["app"]]
    connection.close()


def test_the_user_can_ask_for_another_login_of_the_target(house: House) -> None:
    identifier, secret = house.token()
    assert house.ask("scram", user=f"{identifier}/other", password=secret) == "other"
    assert house.ask("scram", user=f"{identifier}/", password=secret) == "app"


def test_channel_binding_can_be_demanded_and_left_out(house: House) -> None:
    identifier, secret = house.token()
    for binding in ("require", "prefer", "disable"):
        words = {"user": identifier, "password": secret, "channel_binding": binding}
        assert house.ask("scram-tls", **words) == "app"
    only = {"require_auth": "scram-sha-256", "channel_binding": "require"}
    assert house.ask("scram-tls", user=identifier, password=secret, **only) == "app"


@pytest.mark.debian
def test_psql_can_demand_channel_binding(house: House) -> None:
    identifier, secret = house.token()
    words = {"user": identifier, "password": secret, "channel_binding": "require"}
    assert house.psql("scram-tls", **words).stdout == "app\n"
    assert "channel binding required" in house.psql("scram", **words).stderr


def test_the_session_is_the_tokens_subject(house: House) -> None:
    identifier, secret = house.token("agent-seven")
    house.ask("scram-tls", user=identifier, password=secret)
    (session,) = wait_for(lambda: house.sessions("agent-seven"), "the session is on record")
    assert (session["token"], session["issuer"]) == (identifier, "sallyport")
    assert session["encrypted"] is True


def test_every_failure_is_one_answer_that_says_what_to_do(house: House) -> None:
    identifier, secret = house.token()
    stranger, _ = house.token("agent-two")
    _, elsewhere = house.token("agent-three", sources=["192.0.2.0/24"])
    revoked, gone = house.token("agent-four")
    house.gateway.admin.post("/tokens/revoke", {"id": revoked})
    answers = {
        house.refused("scram", user=user, password=password).partition("FATAL")[2]
        for user, password in (
            (identifier, secret[:-1]),  # a wrong password
            (stranger, secret),  # another token's id
            ("a" * 16, secret),  # an id that nobody has
            ("app", secret),  # no id at all
            (elsewhere.split("_")[1], elsewhere),  # not from here
            (revoked, gone),
            (identifier, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"),  # a JWT
        )
    }
    assert len(answers) == 1
    assert "the 16 characters after `sp_`" in answers.pop()


def test_a_token_in_the_clear_is_not_taken_where_proofs_are(house: House) -> None:
    """A client that insists on a password learns that before it sends one."""
    identifier, secret = house.token()
    words = {"user": identifier, "password": secret, "require_auth": "password"}
    assert "server requested SASL" in house.refused("scram", **words)
