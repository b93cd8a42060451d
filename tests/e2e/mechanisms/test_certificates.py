"""TLS client certificates with psql 15, psycopg and asyncpg: no secret is asked for."""

from __future__ import annotations

import ssl
import time

import asyncpg
import psycopg
import pytest

from tests.e2e.mechanisms.conftest import House
from tests.support.authority import SERVER, Issued
from tests.support.processes import wait_for
from tests.support.sessions import Listener

LISTENER = "certificate-tls"


def shown(house: House, issued: Issued, name: str) -> dict[str, str]:
    """The words that make libpq show a certificate."""
    certificate, key = issued.files(house.folder, name)
    return {"user": "app", "sslcert": str(certificate), "sslkey": str(key)}


def test_psycopg(house: House) -> None:
    words = shown(house, house.authority.client("ada", units=["agents"]), "ada")
    assert house.ask(LISTENER, **words) == "app"
    (session,) = wait_for(lambda: house.sessions("ada"), "the session is on record")
    assert (session["issuer"], session["groups"]) == ("certificate", ["agents"])
    assert session["token"].startswith("crt-")
    assert house.ask(LISTENER, **{**words, "user": "other"}) == "other"


@pytest.mark.debian
def test_psql(house: House) -> None:
    uri = "spiffe://example.org/agents/report"
    issued = house.authority.client("ignored", uris=[uri], units=["agents"])
    done = house.psql(LISTENER, **shown(house, issued, "spiffe"))
    assert (done.stdout, done.stderr) == ("app\n", "")
    wait_for(lambda: house.sessions(uri), "the session is its URI's")


async def test_asyncpg(house: House) -> None:
    issued = house.authority.client(mails=["bob@example.org"], units=["agents"])
    files = issued.files(house.folder, "bob")
    context = ssl.create_default_context(cafile=str(house.ca))
    context.load_cert_chain(*files)
    connection = await asyncpg.connect(
        host="127.0.0.1", port=house.ports[LISTENER], database="db", user="app", ssl=context
    )
    try:
        assert await connection.fetchval("select current_user") == "app"
    finally:
        await connection.close()


def test_a_client_without_one_is_told_what_is_missing(house: House) -> None:
    _, secret = house.token()
    told = house.refused(LISTENER, user="app", password=secret)
    assert "sslcert and sslkey" in told


def test_another_authoritys_certificate_fails_the_handshake(house: House) -> None:
    words = shown(house, house.stranger.client("ann", units=["agents"]), "stranger")
    house.refused(LISTENER, **words)
    told = "unable to get local issuer certificate"
    wait_for(lambda: told in house.gateway.log(), "the log says why")


def test_certificates_that_name_nobody_are_refused(house: House) -> None:
    units = ["agents"]
    flawed = {
        "no-purpose": house.authority.client("ann", units=units, usage=None),
        "two-names": house.authority.client(("ann", "bob"), units=units),
        "no-name": house.authority.client(units=units),
        "odd-spiffe": house.authority.client("ann", units=units, uris=["spiffe://Example.org"]),
    }
    for name, issued in flawed.items():
        told = house.refused(LISTENER, **shown(house, issued, name))
        assert "authentication failed" in told and "clientAuth" in told, (name, told)
    server = house.authority.client("ann", units=units, usage=(SERVER,))
    house.refused(LISTENER, **shown(house, server, "server-only"))
    deadline = time.monotonic() + 20
    while "purpose" not in house.gateway.log():
        assert time.monotonic() < deadline, house.gateway.log()[-2000:]
        time.sleep(0.05)


def test_an_expired_certificate_is_refused(house: House) -> None:
    words = shown(house, house.authority.client("ann", units=["agents"], ends=-60), "expired")
    house.refused(LISTENER, **words)
    wait_for(lambda: "certificate has expired" in house.gateway.log(), "the log says why")


def test_a_session_ends_with_its_certificate(house: House) -> None:
    issued = house.authority.client("short", units=["agents"], ends=4)
    words = shown(house, issued, "short")
    session = Listener(house.dsn(LISTENER, **words))
    assert not session.over()
    wait_for(session.over, "the session is over")
    assert "time is over" in "".join(text or "" for text in session.texts)
    session.connection.close()


def test_a_revoked_certificate_ends_its_sessions_and_opens_none(house: House) -> None:
    words = shown(house, house.authority.client("carl", units=["agents"]), "carl")
    session = Listener(house.dsn(LISTENER, **words))
    (row,) = wait_for(lambda: house.sessions("carl"), "the session is on record")
    house.gateway.admin.post("/tokens/revoke", {"id": row["token"]})
    wait_for(session.over, "the session is over")
    session.connection.close()
    assert "authentication failed" in house.refused(LISTENER, **words)


def test_a_certificate_is_nothing_on_other_listeners(house: House) -> None:
    words = shown(house, house.authority.client("ann", units=["agents"]), "elsewhere")
    assert "authentication failed" in house.refused("token-tls", **words, password="sp_x")


@pytest.mark.parametrize("listener", ["token", "token-tls"])
def test_the_token_itself_is_taken_as_ever(house: House, listener: str) -> None:
    _, secret = house.token()
    assert house.ask(listener, user="app", password=secret) == "app"
    done = house.psql(listener, user="app", password=secret)
    assert (done.stdout, done.stderr) == ("app\n", "")


def test_a_statement_can_be_cancelled_without_a_certificate(house: House) -> None:
    """libpq's cancel request comes on a connection of its own."""
    words = shown(house, house.authority.client("dan", units=["agents"]), "dan")
    with psycopg.connect(house.dsn(LISTENER, **words), autocommit=True) as connection:
        connection.execute("select 1")
        connection.cancel_safe(timeout=10)
