"""Logout tokens: what each one ends, and everything for which nothing is ended."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sallyport.core.errors import RecorderLost
from sallyport.core.event import Audited
from sallyport.core.subject import Subject
from sallyport.identity import backoff
from sallyport.identity.assertions import ClientAssertions
from sallyport.identity.backoff import Backoff
from sallyport.identity.logged_out import KEPT, Logout, came_of
from sallyport.identity.logouts import EVENT, LogoutRefused, Logouts
from sallyport.identity.oauth import OAuthRefused, OAuthSettings, TokenEndpoint
from sallyport.identity.oidc import Issuers, IssuerSettings
from sallyport.identity.revocations import Revocation
from sallyport.identity.service import IdentityService
from sallyport.identity.tokens import TokenService
from sallyport.store.database import Database
from tests.unit.identity.clients import exchange_form
from tests.unit.identity.issuer import NOW, IssuerServer, rsa
from tests.unit.store.template import fresh

FIRST, STRANGER = rsa("first"), rsa("first")
CLIENT = "sallyport-cli"
HOME = "127.0.0.1"
_NUMBERS = itertools.count(1)


class World:
    """An issuer where people log in, and all that knows of it."""

    def __init__(self, server: IssuerServer, database: Database) -> None:
        self.server, self.database, self.now = server, database, NOW
        self.lost = False
        self.audited: list[Audited] = []
        self.ended: list[Revocation] = []
        self.told: list[Logout] = []
        self.tokens = TokenService(database, self.audit, self.clock)
        self.tokens.listen(self.ended.append)
        self.use(CLIENT)

    def use(self, *clients: str) -> None:
        settings = IssuerSettings("corp", self.server.url, ("sallyport",), clients=clients)
        issuers = Issuers([settings], self.database, self.clock)
        self.identity = IdentityService(self.tokens, issuers, {}, Backoff())
        self.logouts = Logouts(self.database, self.identity, self.tokens, self.audit, self.clock)
        self.logouts.listen(self.told.append)
        self.endpoint = TokenEndpoint(
            self.database, self.identity, self.tokens,
            ClientAssertions(self.database, self.clock), OAuthSettings("e"), self.clock,
        )  # fmt: skip

    def clock(self) -> float:
        return self.now

    def audit(self, event: Audited) -> None:
        if self.lost:
            raise RecorderLost("no space left")
        self.audited.append(event)

    def id_token(self, **claims: Any) -> str:
        return self.server.token(FIRST, **{"aud": CLIENT, "iat": self.now - 1, **claims})

    async def exchanged(self, **claims: Any) -> str:
        """The secret of a token that was had for an ID token."""
        form = exchange_form(self.id_token(**claims))
        return (await self.endpoint.give(form, HOME, encrypted=True)).access_token

    async def lives(self, secret: str) -> bool:
        return await self.tokens.check(secret, HOME) is not None

    def logout_token(self, key: Any = FIRST, header: Any = None, **claims: Any) -> str:
        given = {
            "aud": CLIENT,
            "sub": "ann",
            "groups": ...,
            "iat": self.now,
            "exp": self.now + 120,
            "jti": f"j-{next(_NUMBERS)}",
            "events": {EVENT: {}},
        }
        head = {"typ": "logout+jwt", **(header or {})}
        return self.server.token(key, header=head, **{**given, **claims})

    async def log_out(self, **claims: Any) -> int:
        return await self.logouts.take(self.logout_token(**claims), HOME)

    async def refused(self, token: str) -> None:
        """Check that nothing at all comes of `token`."""
        before = len(self.audited)
        with pytest.raises(LogoutRefused) as why:
            await self.logouts.take(token, HOME)
        assert str(why.value) == "the logout token is not valid", "one same answer"
        assert len(self.audited) == before and not self.told


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(backoff, "FIRST_DELAY", 0.0)
    database = await fresh(tmp_path)
    server = IssuerServer()
    server.keys = [FIRST]
    await server.start()
    yield World(server, database)
    await server.stop()
    await database.close()


# --- what it ends


async def test_an_id_token_for_the_client_is_taken(world: World) -> None:
    assert await world.lives(await world.exchanged())
    world.use("another-client")
    assert await world.identity.issuers.check(world.id_token()) is None


async def test_a_subjects_logout_ends_all_that_was_exchanged(world: World) -> None:
    mine = [await world.exchanged(), await world.exchanged(sid="s1")]
    other = await world.exchanged(sub="bob")
    assert await world.log_out() == 2
    assert [await world.lives(one) for one in mine] == [False, False]
    assert await world.lives(other)
    assert {one.kind for one in world.ended} == {"id"} and len(world.ended) == 2
    assert world.told == [Logout(world.server.url, "ann", None)]
    record = world.audited[-1]
    assert (record.action, record.object) == ("logged-out", world.server.url)
    assert record.details == {"sub": "ann", "sid": None, "count": 2}


@pytest.mark.parametrize("subject", ["ann", ...])
async def test_a_logins_logout_ends_just_that_one(world: World, subject: Any) -> None:
    one, two = await world.exchanged(sid="s1"), await world.exchanged(sid="s2")
    assert await world.log_out(sid="s1", sub=subject) == 1
    assert not await world.lives(one) and await world.lives(two)


async def test_a_token_that_names_no_login_ends_with_any_of_its_subject(world: World) -> None:
    unnamed, other = await world.exchanged(), await world.exchanged(sub="bob")
    assert await world.log_out(sid="s1") == 1
    assert not await world.lives(unnamed) and await world.lives(other)


async def test_a_jwt_of_before_lets_nobody_in_again(world: World) -> None:
    before = world.id_token()
    named = world.id_token(sid="s1")
    undated = world.id_token(iat=...)
    await world.log_out()
    for token in (before, named, undated):
        assert await world.identity.issuers.check(token) is None
        with pytest.raises(OAuthRefused):
            await world.endpoint.give(exchange_form(token), HOME, encrypted=True)
    world.now += 10
    assert await world.identity.issuers.check(world.id_token(sid="s2")) is not None


async def test_an_issuer_whose_clock_is_ahead_is_no_way_round(world: World) -> None:
    ahead = world.id_token(iat=NOW + 20)
    assert await world.identity.issuers.check(ahead) is not None
    await world.log_out(iat=NOW + 21)
    assert await world.identity.issuers.check(ahead) is None


async def test_what_is_left_of_an_ended_login_gives_no_new_token(world: World) -> None:
    await world.log_out(sid="s1")
    world.now += 3600
    later = world.id_token(sid="s1", iat=world.now, exp=world.now + 60)
    assert await world.identity.issuers.check(later) is None
    fresh = world.id_token(sid="s2", iat=world.now, exp=world.now + 60)
    assert await world.identity.issuers.check(fresh) is not None


async def test_a_session_with_the_jwt_itself_is_ended_and_opens_no_more(world: World) -> None:
    subject = await world.identity.issuers.check(world.id_token(sid="s1"))
    assert isinstance(subject, Subject)
    assert await world.identity.still_valid(subject, "shop", HOME) is None
    await world.log_out(sid="s1")
    assert came_of(subject, world.told[0])
    refused = await world.identity.still_valid(subject, "shop", HOME)
    assert refused is not None and refused.hint == "log in again"


async def test_a_subject_by_another_name_is_found_by_its_sub(world: World) -> None:
    settings = IssuerSettings(
        "corp", world.server.url, ("x",), clients=(CLIENT,), subject_claim="email"
    )
    world.identity.issuers = Issuers([settings], world.database, world.clock)
    secret = await world.exchanged(email="ann@example.com", email_verified=True)
    assert await world.log_out() == 1 and not await world.lives(secret)


async def test_a_remembered_logout_is_forgotten_when_it_is_long_over(world: World) -> None:
    token = world.logout_token()
    await world.logouts.take(token, HOME)
    await world.logouts.prune()
    assert await world.identity.issuers.check(world.id_token(iat=NOW - 1)) is None
    world.now += KEPT + 1
    await world.logouts.prune()
    aged = world.id_token(iat=NOW - 1, exp=world.now + 60)
    assert await world.identity.issuers.check(aged) is not None


# --- what it does not


ODD: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "sallyport"},
    "several audiences, none said to be it": {"aud": [CLIENT, "other"]},
    "no audience": {"aud": ...},
    "a nonce": {"nonce": "n"},
    "an empty nonce": {"nonce": None},
    "no events": {"events": ...},
    "events as a list": {"events": [EVENT]},
    "another event": {"events": {"http://example.com/event": {}}},
    "an event that is no object": {"events": {EVENT: True}},
    "neither sub nor sid": {"sub": ...},
    "a sub that is a number": {"sub": 7},
    "an empty sub": {"sub": ""},
    "a sid that is a list": {"sid": ["s1"]},
    "a sid without end": {"sid": "s" * 300},
    "no jti": {"jti": ...},
    "a jti that is a number": {"jti": 7},
    "no iat": {"iat": ...},
    "an iat that is text": {"iat": str(NOW)},
    "made long ago": {"iat": NOW - 3600},
    "made in the future": {"iat": NOW + 3600},
    "no exp": {"exp": ...},
    "expired": {"exp": NOW - 60},
    "another issuer": {"iss": "https://evil.example"},
}


@pytest.mark.parametrize("claims", ODD.values(), ids=ODD)
async def test_an_odd_logout_token_ends_nothing(world: World, claims: dict[str, Any]) -> None:
    secret = await world.exchanged(sid="s1")
    await world.refused(world.logout_token(**claims))
    assert await world.lives(secret)


async def test_a_logout_token_that_others_made_ends_nothing(world: World) -> None:
    secret = await world.exchanged()
    await world.refused(world.logout_token(STRANGER))
    await world.refused("a.b.c")
    await world.refused(world.id_token())
    good = world.logout_token()
    await world.refused(good[:-4] + "AAAA")
    await world.refused(good.rpartition(".")[0] + ".")
    await world.refused(world.logout_token(header={"typ": "secevent+jwt"}))
    assert await world.lives(secret)


async def test_a_logout_token_counts_once(world: World) -> None:
    token = world.logout_token()
    await world.logouts.take(token, HOME)
    secret = await world.exchanged(iat=NOW + 1)
    world.told.clear()
    await world.refused(token)
    assert await world.lives(secret)


async def test_an_issuer_where_nobody_logs_in_ends_nothing(world: World) -> None:
    world.use()
    await world.refused(world.logout_token(aud="sallyport"))
    await world.refused(world.logout_token(aud=""))


async def test_a_logout_token_lets_nobody_in(world: World) -> None:
    for typ in ("JWT", "logout+jwt", ...):
        token = world.logout_token(header={"typ": typ}, groups=["dba"])
        assert await world.identity.issuers.check(token) is None
        with pytest.raises(OAuthRefused):
            await world.endpoint.give(exchange_form(token), HOME, encrypted=True)


async def test_what_cannot_be_recorded_is_not_done(world: World) -> None:
    secret = await world.exchanged()
    world.lost = True
    token = world.logout_token()
    with pytest.raises(RecorderLost):
        await world.logouts.take(token, HOME)
    assert await world.lives(secret) and not world.told
    world.lost = False
    assert await world.logouts.take(token, HOME) == 1, "it was not used up"
