"""A logout at the issuer, as control carries it out: sessions of either kind end."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sallyport.core.messages import EndSession
from sallyport.core.subject import Refused
from sallyport.identity.compact import token_id
from sallyport.identity.logouts import EVENT, LogoutRefused
from tests.unit.control.harness import Gateway, WorkerPeer
from tests.unit.identity.clients import JWT, exchange_form
from tests.unit.identity.issuer import FIRST, IssuerServer

CLIENT = "cli"
HOME = "127.0.0.1"
_NUMBERS = itertools.count(1)


def issuer(server: IssuerServer, **more: Any) -> dict[str, Any]:
    login = {"client_id": CLIENT}
    return {"name": "corp", "issuer": server.url, "audience": ["x"], "login": login, **more}


@pytest.fixture
async def gateway(tmp_path: Path, server: IssuerServer) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path, issuers=[issuer(server)]) as gateway:
        yield gateway


def jwt(gateway: Gateway, server: IssuerServer, **claims: Any) -> str:
    now = gateway.clock.now
    given = {"aud": CLIENT, "exp": now + 300, "iat": now - 1, "groups": ["agents"], **claims}
    return server.token(FIRST, **given)


async def log_out(gateway: Gateway, server: IssuerServer, **claims: Any) -> None:
    jti = f"j-{next(_NUMBERS)}"
    given = {"events": {EVENT: {}}, "jti": jti, "iat": gateway.clock.now, "groups": ...}
    await gateway.control.logouts.take(jwt(gateway, server, **{**given, **claims}), HOME)


async def test_sessions_end_with_the_login_that_they_came_of(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    form = exchange_form(jwt(gateway, server, sid="s1"))
    token = (await gateway.control.oauth.give(form, HOME, encrypted=True)).access_token
    by_token = await worker.session(token)
    by_jwt = await worker.session(jwt(gateway, server, sid="s1"))
    other = await worker.session(jwt(gateway, server, sid="s2"))
    await log_out(gateway, server, sid="s1")
    for access in (by_token, by_jwt):
        await worker.pushed(EndSession, session=access.session)
    assert not gateway.control.registry.is_ending(other.session)
    for shown in (token, jwt(gateway, server, sid="s1")):
        assert isinstance(await worker.login(shown), Refused)


async def test_nobody_comes_in_between_their_login_and_their_session(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    subject = await worker.login(jwt(gateway, server, sid="s1"))
    assert not isinstance(subject, Refused)
    await log_out(gateway, server, sid="s1")
    assert isinstance(await worker.authorize(subject), Refused)
    assert not gateway.control.registry.live()


async def test_a_logout_needs_a_login_that_is_in_force(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    await gateway.reload(issuers=[issuer(server, login=None)])
    with pytest.raises(LogoutRefused):
        await log_out(gateway, server)
    assert isinstance(await worker.login(jwt(gateway, server)), Refused), "its client is unknown"
    await gateway.reload(issuers=[issuer(server)])
    assert not isinstance(await worker.login(jwt(gateway, server)), Refused)


async def give(gateway: Gateway, shown: str) -> str:
    form = exchange_form(shown)
    return (await gateway.control.oauth.give(form, HOME, encrypted=True)).access_token


async def test_a_group_that_is_lost_at_the_issuer_is_lost_with_the_next_login(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    both = jwt(gateway, server, sub="ann", groups=["agents", "dba"])
    before = await worker.session(await give(gateway, both))
    bystander = await worker.session(await give(gateway, jwt(gateway, server, sub="bob")))
    gateway.clock.now += 120
    await give(gateway, jwt(gateway, server, sub="ann", groups=["agents", "dba", "new"]))
    assert not gateway.control.registry.is_ending(before.session), "more is no loss"
    await give(gateway, jwt(gateway, server, sub="ann"))
    await worker.pushed(EndSession, session=before.session)
    assert not gateway.control.registry.is_ending(bystander.session)


async def test_sessions_of_an_earlier_jwt_itself_end_as_well(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    both = await worker.session(jwt(gateway, server, sub="ann", groups=["agents", "dba"]))
    same = await worker.session(jwt(gateway, server, sub="ann"))
    bystander = await worker.session(jwt(gateway, server, sub="bob", groups=["agents", "dba"]))
    gateway.clock.now += 60
    await give(gateway, jwt(gateway, server, sub="ann"))
    await worker.pushed(EndSession, session=both.session)
    for stays in (same, bystander):
        assert not gateway.control.registry.is_ending(stays.session)


async def delegated(gateway: Gateway, server: IssuerServer, **actor: Any) -> str:
    """A token of ann's that a bot acts with."""
    bot = jwt(gateway, server, sub="bot", **actor)
    form = exchange_form(jwt(gateway, server, sub="ann"), actor_token=bot, actor_token_type=JWT)
    return (await gateway.control.oauth.give(form, HOME, encrypted=True)).access_token


async def test_an_actors_logout_ends_what_it_acts_with(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    ends = await worker.session(await delegated(gateway, server, sid="b1"))
    stays = await worker.session(await delegated(gateway, server, sid="b2"))
    own = await worker.session(jwt(gateway, server, sub="ann"))
    await log_out(gateway, server, sub="bot", sid="b1")
    await worker.pushed(EndSession, session=ends.session)
    for one in (stays, own):
        assert not gateway.control.registry.is_ending(one.session)


@pytest.mark.parametrize("what", ["subject", "id"])
async def test_who_is_revoked_acts_for_nobody(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer, what: str
) -> None:
    token, acting = await delegated(gateway, server), jwt(gateway, server, sub="bot")
    by_token = await worker.session(token)
    by_jwt = await worker.session(jwt(gateway, server, sub="ann", act={"sub": "bot"}))
    own = await worker.session(jwt(gateway, server, sub="ann"))
    gateway.clock.now += 1
    value = "bot" if what == "subject" else token_id(acting)
    await gateway.control.tokens.revoke(what, value, "root")
    await worker.pushed(EndSession, session=by_token.session)
    assert isinstance(await worker.login(token), Refused)
    assert not gateway.control.registry.is_ending(own.session)
    if what == "subject":
        await worker.pushed(EndSession, session=by_jwt.session)
        shown = jwt(gateway, server, sub="ann", act={"sub": "bot"}, iat=gateway.clock.now - 2)
        assert isinstance(await worker.login(shown), Refused)
    fresh = jwt(gateway, server, sub="ann", iat=gateway.clock.now - 2)
    assert not isinstance(await worker.login(fresh), Refused)


async def test_an_actor_whose_issuer_is_trusted_no_more_acts_for_nobody(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    token = await delegated(gateway, server)
    await gateway.reload(issuers=[])
    assert isinstance(await worker.login(token), Refused)


async def test_who_shows_an_old_login_takes_nothing_back(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    old = jwt(gateway, server, sub="ann")
    gateway.clock.now += 120
    both = jwt(gateway, server, sub="ann", groups=["agents", "dba"])
    session = await worker.session(await give(gateway, both))
    await give(gateway, old)
    assert not gateway.control.registry.is_ending(session.session)


async def test_a_workload_takes_nothing_from_another_of_its_name(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    """Two jobs of one repository have one `sub`, and groups by other claims."""
    one = jwt(gateway, server, aud="x", sub="repo:a", groups=["agents", "deploy"])
    session = await worker.session(await give(gateway, one))
    gateway.clock.now += 120
    await give(gateway, jwt(gateway, server, aud="x", sub="repo:a"))
    assert not gateway.control.registry.is_ending(session.session)


async def test_what_somebody_reaches_is_what_their_rules_give(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer
) -> None:
    ann = await worker.login(jwt(gateway, server))
    bob = await worker.login(jwt(gateway, server, groups=["others"]))
    assert not isinstance(ann, Refused) and not isinstance(bob, Refused)
    found = gateway.control.reach(ann, HOME, None)
    assert [(one.target.name, one.login, one.given) for one in found] == [
        ("shop", "app", True),
        ("shop", "lost", True),
    ]
    (one, _) = gateway.control.reach(ann, HOME, "shop/shop_eu")
    assert (one.target.database, one.default, one.write) == ("shop_eu", True, True)
    assert gateway.control.reach(ann, HOME, "shop/other") == []
    assert gateway.control.reach(ann, "192.0.2.1", None) == [], "not from there"
    assert gateway.control.reach(bob, HOME, None) == []
