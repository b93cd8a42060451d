"""Workloads with unmodified clients: a CI job's JWT, an exchange, a service account with a key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from sallyport.cli.client import path
from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import Gateway
from tests.support.issuers import Issuer
from tests.support.processes import wait_for
from tests.support.sessions import Background, Listener, at_work, connect
from tests.unit.identity.bodies import BODIES
from tests.unit.identity.clients import (
    JWT,
    assertion,
    client_form,
    exchange_form,
    new_key,
    public_pem,
)

KEY = new_key()
SLEEP = "SELECT pg_sleep(55)"
SLACK = 2.0
"""Seconds that a machine which is busy with other tests may take longer."""
MAIN = "repo:acme/*:ref:refs/heads/main"
ISSUER: dict[str, Any] = {
    "name": "ci",
    "preset": "github-actions",
    "audience": ["sallyport"],
    "leeway": "0s",
    "subjects": [MAIN],
    "groups": [{"when": {"environment": "production"}, "groups": ["agents"]}],
}


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE workloads OWNER app")
    extra = {"issuers": [{**ISSUER, "issuer": issuer.server.url}]}
    folder = tmp_path_factory.mktemp("workloads")
    with Gateway(folder, postgres, database="workloads", extra=extra) as running:
        again = {**running.config["targets"][0], "name": "other"}
        running.config["targets"].append(again)
        running.reload()
        yield running


def ci(issuer: Issuer, seconds: float = 300.0, **claims: Any) -> str:
    """Return what a job's runner would get."""
    return issuer.token(seconds, **{"groups": ..., **BODIES["github-actions"], **claims})


def ask(gateway: Gateway, form: Any) -> httpx2.Response:
    return httpx2.post(f"{gateway.url}/oauth/token", data=form, trust_env=False, timeout=30)


def given(gateway: Gateway, form: Any) -> str:
    answer = ask(gateway, form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def refused(gateway: Gateway, token: str, **options: str) -> str:
    with pytest.raises(psycopg.OperationalError) as why:
        connect(gateway, token, **options)
    return str(why.value)


def nightly(gateway: Gateway, **claims: Any) -> Any:
    endpoint = f"{gateway.url}/oauth/token"
    return client_form(assertion(KEY, "nightly", endpoint, time.time(), **claims))


def exchanges(gateway: Gateway) -> list[dict[str, Any]]:
    """Return what is on record of exchanges, the newest first."""
    found = gateway.admin.get("/audit", action="token-created", limit=100)["audit"]
    return [one for one in found if one["details"].get("via") == "exchange"]


def acted_in(gateway: Gateway) -> list[dict[str, Any]]:
    """Return the open sessions in which somebody acts for another."""
    found = gateway.admin.get("/sessions", state="open", actor="repo:acme/agent:*")["sessions"]
    return list(found)


# --- a job's own JWT


def test_a_jobs_jwt_is_its_password(gateway: Gateway, issuer: Issuer) -> None:
    with connect(gateway, ci(issuer)) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
        (live,) = gateway.admin.get("/sessions", live=True)["sessions"][:1]
    assert live["subject"] == "repo:acme/shop:ref:refs/heads/main"
    assert live["groups"] == ["agents"]


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "repo:acme/shop:ref:refs/heads/try"},
        {"sub": "repo:acme/shop:pull_request"},
        {"sub": "repo:evil/shop:ref:refs/heads/main"},
        {"sub": "repo:acme/x:environment:y:ref:refs/heads/main"},
        {"aud": "api://AzureADTokenExchange"},
    ],
)
def test_another_job_is_not_let_in(gateway: Gateway, issuer: Issuer, claims: Any) -> None:
    assert "authentication failed" in refused(gateway, ci(issuer, **claims))
    assert "invalid_request" in ask(gateway, exchange_form(ci(issuer, **claims))).text


def test_a_job_without_the_environment_reaches_nothing(gateway: Gateway, issuer: Issuer) -> None:
    assert "no access rule" in refused(gateway, ci(issuer, environment="staging"))


def test_an_expiring_jwt_bounds_its_session_unless_there_is_a_time_to_live(
    gateway: Gateway, issuer: Issuer
) -> None:
    settings = gateway.config["issuers"][0]
    try:
        until = time.time() + 4
        bounded = Listener(gateway.dsn(ci(issuer, 4.0)))
        wait_for(bounded.over, "the session ends with its JWT")
        assert until - 0.5 <= time.time() <= until + 3
        settings["session_ttl"] = "8s"
        gateway.reload()
        token, begun = ci(issuer, 2.0), time.time()
        longer = Listener(gateway.dsn(token))
        time.sleep(3)
        assert longer.connection.execute("SELECT 1").fetchone() == (1,)
        assert "authentication failed" in refused(gateway, token), "the JWT opens no other"
        wait_for(longer.over, "the session ends with its time to live")
        assert begun + 7.5 <= time.time() <= begun + 12
        gateway.config["sessions"] = {"max_session": "3s"}
        gateway.config["oauth"] = {"lifetime": "3s"}
        gateway.reload()
        begun = time.time()
        shorter = Listener(gateway.dsn(ci(issuer)))
        wait_for(shorter.over, "the session ends with the longest that there is")
        assert begun + 2.5 <= time.time() <= begun + 7
    finally:
        settings.pop("session_ttl", None)
        gateway.config.pop("sessions", None)
        gateway.config.pop("oauth", None)
        gateway.reload()


def test_a_reload_that_maps_otherwise_ends_the_session(gateway: Gateway, issuer: Issuer) -> None:
    session = Listener(gateway.dsn(ci(issuer)))
    settings = gateway.config["issuers"][0]
    try:
        settings["subjects"] = ["repo:acme/other:**"]
        gateway.reload()
        wait_for(session.over, "the session is ended")
    finally:
        settings["subjects"] = [MAIN]
        gateway.reload()
    with connect(gateway, ci(issuer)) as again:
        assert again.execute("SELECT 1").fetchone() == (1,)


# --- exchanged


def test_a_jwt_is_exchanged_and_its_token_is_a_password(gateway: Gateway, issuer: Issuer) -> None:
    actor = ci(issuer, sub="repo:acme/agent:ref:refs/heads/main")
    form = exchange_form(ci(issuer), "db", actor_token=actor, actor_token_type=JWT)
    token = given(gateway, form)
    with connect(gateway, token) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
        live = wait_for(lambda: acted_in(gateway), "the session is in the index")[0]
    assert live["subject"] == "repo:acme/shop:ref:refs/heads/main"
    assert live["actors"] == ["repo:acme/agent:ref:refs/heads/main"]
    assert "does not reach target" in refused(gateway, token, target="other")
    headers = {"authorization": f"Bearer {token}"}
    whoami = httpx2.get(f"{gateway.url}/api/v1/whoami", headers=headers, trust_env=False)
    assert whoami.status_code == 401, "a token for targets is none for the API"
    made = wait_for(lambda: exchanges(gateway), "it is on record")[0]
    assert made["actor"] == live["subject"] and made["object"] == live["token"]
    assert made["details"]["actors"] == live["actors"]
    assert made["details"]["origins"][0].startswith(f"{issuer.server.url} jwt-")
    answer = ask(gateway, exchange_form(token)).json()
    assert answer["error"] == "invalid_request", "a token is not exchanged again"


def test_an_exchanged_token_ends_with_the_subjects_revocation(
    gateway: Gateway, issuer: Issuer
) -> None:
    name = "repo:acme/gone:ref:refs/heads/main"
    token = given(gateway, exchange_form(ci(issuer, sub=name)))
    session = Listener(gateway.dsn(token))
    gateway.admin.post("/tokens/revoke", {"subject": name})
    wait_for(session.over, "the session is ended")
    assert "authentication failed" in refused(gateway, token)


# --- service accounts


def test_a_service_account_connects_and_ends_with_its_removal(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    body = {"name": "nightly", "groups": ["agents"], "keys": [public_pem(KEY)]}
    gateway.admin.post("/service-accounts", body)
    form = nightly(gateway)
    token = given(gateway, form)
    assert ask(gateway, form).json()["error"] == "invalid_client", "an assertion is used once"
    with connect(gateway, token) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    idle, busy = Listener(gateway.dsn(token)), Background(gateway.dsn(token), SLEEP)
    at_work(postgres, SLEEP)
    begun = time.monotonic()
    assert gateway.admin.delete(path("service-accounts", "nightly"))["revoked"] == 1
    wait_for(idle.over, "the idle session is ended")
    assert busy.result().error is not None and busy.connection.closed
    assert time.monotonic() - begun < 1.0 + SLACK
    assert idle.codes == ["57P01"]
    assert "authentication failed" in refused(gateway, token)
    assert ask(gateway, nightly(gateway)).json()["error"] == "invalid_client"
    actions = [
        one["action"] for one in gateway.admin.get("/audit", action="service-account-*")["audit"]
    ]
    assert actions == ["service-account-removed", "service-account-created"]


def test_a_used_assertion_stays_used_when_the_gateway_starts_again(gateway: Gateway) -> None:
    body = {"name": "nightly", "groups": ["agents"], "keys": [public_pem(KEY)]}
    gateway.admin.post("/service-accounts", body)
    form = nightly(gateway, exp=int(time.time()) + 250)
    token = given(gateway, form)
    gateway.stop()
    gateway.launch()
    assert ask(gateway, form).json()["error"] == "invalid_client"
    with connect(gateway, token) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
