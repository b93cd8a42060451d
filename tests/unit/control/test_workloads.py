"""What control makes of issuers and tokens that it gives: over a reload, over time, in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import func, select

from sallyport.control.state import oauth_settings
from sallyport.core.errors import ConfigError
from sallyport.core.messages import EndSession
from sallyport.core.subject import Refused
from sallyport.identity.oauth import OAuthRefused
from sallyport.store.control_schema import assertions
from tests.unit.control.harness import Gateway, WorkerPeer, config_of
from tests.unit.identity.clients import (
    assertion,
    client_form,
    exchange_form,
    new_key,
    public_pem,
)
from tests.unit.identity.issuer import FIRST, IssuerServer

KEY = new_key()
HOME = "127.0.0.1"


@pytest.fixture
async def gateway(tmp_path: Path, server: IssuerServer) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path, issuers=[issuer(server)]) as gateway:
        yield gateway


def issuer(server: IssuerServer, **more: Any) -> dict[str, Any]:
    rules = [{"when": {"groups": "dba"}, "groups": ["agents"]}]
    return {
        "name": "corp",
        "preset": "okta",
        "issuer": server.url,
        "audience": ["sallyport"],
        "groups": rules,
        **more,
    }


def jwt(gateway: Gateway, server: IssuerServer, seconds: float = 300.0, **claims: Any) -> str:
    now = gateway.clock.now
    return server.token(FIRST, exp=now + seconds, iat=now - 1, **claims)


async def exchanged(gateway: Gateway, shown: str, *targets: str) -> str:
    form = exchange_form(shown, *targets)
    return (await gateway.control.oauth.give(form, HOME, encrypted=True)).access_token


async def test_sessions_follow_what_a_reload_makes_of_their_claims(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    kept = await worker.session(jwt(gateway, server))
    again = [{"when": {"groups": "{dba,root}"}, "groups": ["agents"]}]
    await gateway.reload(issuers=[issuer(server, groups=again, session_ttl="5m")])
    assert not gateway.control.registry.is_ending(kept.session)
    changes: tuple[dict[str, Any], ...] = (
        {"subjects": ["bob"]},
        {"groups": [{"when": {"groups": "root"}, "groups": ["agents"]}]},
        {"groups": [*again, {"when": {"groups": "dba"}, "groups": ["more"]}]},
    )
    for number, changed in enumerate(changes):
        await gateway.reload(issuers=[issuer(server)])
        access = await worker.session(jwt(gateway, server, sub=f"ann-{number}"))
        await gateway.reload(issuers=[issuer(server, **changed)])
        assert gateway.control.registry.is_ending(access.session), changed


async def test_what_was_exchanged_ends_with_its_issuer(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    token = await exchanged(gateway, jwt(gateway, server))
    by_hand = await worker.session(await gateway.token())
    access = await worker.session(token)
    await gateway.reload(issuers=[issuer(server)])
    assert not gateway.control.registry.is_ending(access.session)
    await gateway.reload()
    await worker.pushed(EndSession, session=access.session)
    assert not gateway.control.registry.is_ending(by_hand.session)
    assert isinstance(await worker.login(token), Refused)
    await gateway.reload(issuers=[issuer(server)])
    assert isinstance(await worker.login(token), Refused), "what is revoked stays so"


@pytest.mark.parametrize(
    ("ttl", "ends"), [(None, 300.0), ("1m", 60.0), ("30m", 1800.0), ("9h", 3600.0)]
)
async def test_a_five_minute_token_opens_a_session_of(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer, ttl: str | None, ends: float
) -> None:
    """Never longer than the access rule's hour, whatever the issuer's settings say."""
    more = {} if ttl is None else {"session_ttl": ttl}
    await gateway.reload(issuers=[issuer(server, **more)], sessions={"max_session": "8h"})
    access = await worker.session(jwt(gateway, server))
    assert access.ends == gateway.clock.now + ends
    gateway.clock.now += 301
    assert isinstance(await worker.login(jwt(gateway, server, -31)), Refused)


async def test_no_time_to_live_is_above_the_longest_session(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    with structlog.testing.capture_logs() as logs:
        await gateway.reload(
            issuers=[issuer(server, session_ttl="9h")], sessions={"max_session": "20m"}
        )
    assert any("session_ttl" in line.get("about", "") for line in logs)
    subject = await worker.login(jwt(gateway, server))
    assert not isinstance(subject, Refused)
    assert subject.expires == gateway.clock.now + 1200


async def test_a_service_accounts_session_ends_with_the_account(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    control, now = gateway.control, gateway.clock.now
    await control.accounts.create("nightly", ["agents"], [public_pem(KEY)], "olga")
    endpoint = control.oauth.settings.endpoint
    assert endpoint == "http://127.0.0.1:8642/oauth/token"
    form = client_form(assertion(KEY, "nightly", endpoint, now))
    given = await control.oauth.give(form, HOME, encrypted=True)
    access = await worker.session(given.access_token)
    assert access.ends == now + 900
    await control.accounts.remove("nightly", "olga")
    await worker.pushed(EndSession, session=access.session)
    with pytest.raises(OAuthRefused):
        await control.oauth.give(form, HOME, encrypted=True)
    gateway.clock.now += 400
    await control._assertions.prune()
    async with control.database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(assertions)) == 0


def test_the_endpoint_is_what_the_configuration_says_and_no_caller(tmp_path: Path) -> None:
    tls = {"certificate": "file:c", "key": "file:k"}
    for api, oauth, expected in (
        ({"address": "127.0.0.1:1"}, {}, "http://127.0.0.1:1/oauth/token"),
        ({"address": "10.0.0.1:1", "tls": tls}, {}, "https://10.0.0.1:1/oauth/token"),
        ({"address": "[::1]:1"}, {}, "http://[::1]:1/oauth/token"),
        ({"address": "./api.sock"}, {}, ""),
        ({"address": "./api.sock"}, {"endpoint": "https://g/oauth/token"}, "https://g/oauth/token"),
    ):
        config = config_of(tmp_path, api=api, oauth=oauth)
        assert oauth_settings(config).endpoint == expected


async def test_an_authority_that_cannot_be_read_is_told(
    gateway: Gateway, server: IssuerServer, tmp_path: Path
) -> None:
    for text in (None, "", "no PEM"):
        file = tmp_path / "ca.pem"
        if text is not None:
            file.write_text(text)
        with pytest.raises(ConfigError, match=r"issuer `corp`.*ca|`ca` is not"):
            await gateway.reload(issuers=[issuer(server, ca=f"file:{file}")])
