"""How a session's right ends: revoked, its time over, its JWT expired; also amid a long query."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.support.gateway import Gateway
from tests.support.issuers import Issuer
from tests.support.processes import wait_for
from tests.support.sessions import Background, Listener, at_rest, at_work, connect


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql("CREATE DATABASE endings OWNER app")
    access = {"targets": {"names": ["*"]}, "logins": ["*"]}
    extra = {
        "issuers": [
            {
                "name": "local",
                "issuer": issuer.server.url,
                "audience": ["sallyport"],
                "leeway": "0s",
            }
        ],
        "access": [
            {"name": "short", "subjects": {"groups": ["guests"]}, "max_session": "3s", **access},
            {"name": "all", "subjects": {"groups": ["agents"]}, **access},
        ],
    }
    with Gateway(
        tmp_path_factory.mktemp("endings"), postgres, database="endings", extra=extra
    ) as running:
        yield running


def over_at(session: Listener) -> float:
    """Wait for a session's end; return when that was."""
    wait_for(session.over, "the session is ended")
    return time.time()


@pytest.mark.parametrize("by", ["id", "subject"])
def test_a_revoked_token_ends_its_sessions_amid_a_query(
    gateway: Gateway, postgres: EmbeddedPostgres, by: str
) -> None:
    name = f"revoked-by-{by}"
    body = {"name": name, "subject": name, "groups": ["agents"], "lifetime": 3600}
    made = gateway.admin.post("/tokens", body)
    dsn = gateway.dsn(str(made["secret"]))
    idle, slow = Listener(dsn), Background(dsn, f"SELECT pg_sleep(60), '{name}'")
    other = Listener(gateway.dsn())
    at_work(postgres, name)
    value = made["token"]["id"] if by == "id" else name
    gateway.admin.post("/tokens/revoke", {by: value})
    over_at(idle)
    assert idle.codes == ["57P01"]
    assert "revoked" in str(idle.texts[0])
    assert slow.result().error is not None
    at_rest(postgres, name)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
    assert not other.over(), "somebody else's session was ended too"


def test_max_session_ends_a_session_amid_a_query(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    token = gateway.token("guest", groups=["guests"])
    idle = Listener(gateway.dsn(token))
    slow = Background(gateway.dsn(token), "SELECT pg_sleep(60), 'guest query'")
    at_work(postgres, "guest query")
    over_at(idle)
    assert idle.codes == ["57P01"]
    assert "time is over" in str(idle.texts[0])
    assert slow.result().error is not None
    at_rest(postgres, "guest query")
    assert connect(gateway, token).execute("SELECT 1").fetchone() == (1,)


def test_a_jwt_opens_a_session_that_ends_with_it(gateway: Gateway, issuer: Issuer) -> None:
    token = issuer.token(4)
    expires = time.time() + 4
    session = Listener(gateway.dsn(token))
    found = session.connection.execute("SELECT 1").fetchone()
    assert found == (1,)
    assert over_at(session) >= expires - 1.0
    assert session.codes == ["57P01"]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(gateway.dsn(token))


@pytest.mark.parametrize(
    "claims",
    [{"aud": "another"}, {"groups": ["strangers"]}, {"iss": "https://elsewhere.example"}],
    ids=["audience", "groups", "issuer"],
)
def test_a_jwt_that_is_not_for_us_opens_nothing(
    gateway: Gateway, issuer: Issuer, claims: dict[str, Any]
) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(gateway.dsn(issuer.token(60, **claims)))


def test_a_token_that_expires_ends_its_session(gateway: Gateway) -> None:
    session = Listener(gateway.dsn(gateway.token("brief", groups=["agents"], lifetime=3)))
    over_at(session)
    assert session.codes == ["57P01"]


def test_a_killed_session_is_told_by_whom(gateway: Gateway) -> None:
    session = Listener(gateway.dsn(application_name="to-be-killed"))
    found = wait_for(
        lambda: gateway.admin.get("/sessions", application="to-be-killed")["sessions"], "it shows"
    )
    gateway.admin.post(f"/sessions/{found[0]['id']}/kill", {"reason": "not ours"})
    over_at(session)
    assert "not ours" in str(session.texts[0])
