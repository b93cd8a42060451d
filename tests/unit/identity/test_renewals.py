"""Browser sessions that are had anew: what comes meanwhile counts, and nobody is brought back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import select

from sallyport.core.subject import Subject
from sallyport.identity.logged_out import Logout
from sallyport.identity.logouts import Logouts
from sallyport.identity.oauth import OAuthSettings
from sallyport.store.control_schema import token_origins
from sallyport.store.database import Database
from tests.support.hostile import Answer, Form, Hostile, answer
from tests.unit.identity.browsers import World

PATIENCE = 20.0
ELSEWHERE = "203.0.113.9"
Act = Callable[[], Awaitable[object]]


@pytest.fixture
async def world(database: Database, hostile: Hostile) -> AsyncIterator[World]:
    """Begins an hour ago, so that the provider's times are never those of the future."""
    world = World(database, hostile)
    world.clock.now -= 3600
    world.claims["iat"] = int(world.clock.now)
    hostile.paths["/revoke"] = lambda _: answer({})
    yield world


async def over(world: World) -> str:
    """Return the cookie of a session whose token is over; what it has anew says little."""
    cookie = await world.sign_in()
    world.clock.now += 901
    world.claims |= {"iat": int(world.clock.now) + 5, "nonce": ...}
    return cookie


async def meanwhile(world: World, cookie: str, act: Act) -> Subject | None:
    """Return whose a session is, when something happens while the provider is asked for it."""
    asked, go = threading.Event(), threading.Event()

    def waiting(form: Form) -> Answer:
        asked.set()
        go.wait(PATIENCE)
        return world.give(form)

    world.hostile.paths["/token"] = waiting
    renewing = asyncio.create_task(world.who(cookie))
    assert await asyncio.to_thread(asked.wait, PATIENCE)
    await act()
    go.set()
    world.hostile.paths["/token"] = world.give
    return await renewing


async def log_out(world: World, subject: str | None, session: str | None) -> int:
    logouts = Logouts(
        world.database, world.identity, world.tokens, world.audited.append, world.clock
    )
    logout = Logout(world.hostile.url, subject, session)
    return await logouts._end(logout, b"j" * 32, world.clock.now)


async def revoke(world: World, what: str) -> int:
    """Revoke by the session's token, by the JWT that it was had for, or by whose it is."""
    async with world.database.read() as connection:
        origin = (await connection.execute(select(token_origins))).one()
    value = {"id": origin.token, "jwt": origin.jwt, "subject": "ann", "all": ""}[what]
    return await world.tokens.revoke("id" if what == "jwt" else what, value, "admin")


@pytest.mark.parametrize("during", [True, False], ids=["during", "before"])
@pytest.mark.parametrize("what", ["id", "jwt", "subject", "all"])
async def test_what_is_revoked_is_not_had_anew(world: World, what: str, during: bool) -> None:
    cookie = await over(world)
    if during:
        assert await meanwhile(world, cookie, lambda: revoke(world, what)) is None
    else:
        assert await revoke(world, what) == 1, "a token that can be had anew counts as live"
    world.clock.now += 60
    assert await world.who(cookie) is None and await world.kept() == 0
    assert not await world.tokens.list(live=True)


@pytest.mark.parametrize("named", [True, False], ids=["sid", "no sid"])
@pytest.mark.parametrize("logout", [("ann", None), ("ann", "s-1"), (None, "s-1")])
async def test_a_logout_meanwhile_is_the_end(
    world: World, logout: tuple[str | None, str | None], named: bool
) -> None:
    cookie = await over(world)
    world.claims["sid"] = "s-1" if named else ...
    assert await meanwhile(world, cookie, lambda: log_out(world, *logout)) is None
    world.clock.now += 60
    assert await world.who(cookie) is None and await world.kept() == 0
    assert not await world.tokens.list(live=True)


async def test_who_signs_out_meanwhile_is_out_here_and_at_the_provider(world: World) -> None:
    cookie = await over(world)
    world.refresh = "refresh-2"
    assert await meanwhile(world, cookie, lambda: world.sign_ins.end(cookie)) is None
    assert await world.who(cookie) is None and not await world.tokens.list(live=True)
    given_up = [form["token"] for form in world.asked("/revoke")]
    assert given_up == ["refresh-1", "refresh-2"], "what was had meanwhile is given up, too"


async def test_a_logout_finds_a_login_whose_new_tokens_do_not_name_it(world: World) -> None:
    cookie = await over(world)
    world.claims["sid"] = ...
    assert await world.who(cookie) is not None
    assert await log_out(world, None, "s-1") == 1
    assert await world.who(cookie) is None and await world.kept() == 0


async def test_what_is_bound_to_an_address_is_not_had_anew_from_another(world: World) -> None:
    world.oauth.settings = OAuthSettings(bind_source=True)
    cookie = await over(world)
    assert await world.sign_ins.authenticate(cookie, ELSEWHERE) is None
    assert len(world.asked()) == 1, "nobody is asked for it"

    async def join() -> None:
        assert await world.sign_ins.authenticate(cookie, ELSEWHERE) is None

    assert await meanwhile(world, cookie, join) is not None
    assert await world.sign_ins.authenticate(cookie, ELSEWHERE) is None
    assert await world.who(cookie) is not None
