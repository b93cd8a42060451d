"""Tokens that are had anew: the same rights, another secret, and the old one at its end."""

from __future__ import annotations

import asyncio

import pytest

from sallyport.core.event import Audited
from sallyport.identity.revocations import Revocation
from sallyport.identity.rotation import Rotation
from sallyport.identity.token_records import Given
from sallyport.identity.tokens import BREAK_GLASS, TokenService
from sallyport.store.database import Database
from tests.support.clock import Clock

HERE = "192.0.2.1"


async def test_the_new_one_is_the_old_one_but_for_its_secret(
    database: Database, clock: Clock
) -> None:
    audited: list[Audited] = []
    ended: list[Revocation] = []
    tokens = TokenService(database, audited.append, clock)
    tokens.listen(ended.append)
    old, secret = await tokens.create(
        "report", "bot", ("agents",), ("auditor",), 500.0, "olga", ("shop",), ("192.0.2.0/24",)
    )
    clock.now += 100
    new, fresh = await Rotation(tokens, audited.append, clock).rotate(old.id, "root")
    assert fresh != secret and new.id != old.id
    assert (new.subject, new.groups, new.roles) == (old.subject, old.groups, old.roles)
    assert (new.targets, new.sources, new.name) == (old.targets, old.sources, old.name)
    assert (new.expires - clock.now, new.owner) == (500.0, "root")
    assert await tokens.check(secret, HERE) is None
    assert await tokens.check(fresh, HERE) is not None
    assert [one.value for one in ended] == [old.id]
    told = [(one.actor, one.action, one.object) for one in audited[1:]]
    assert told == [("root", "token-rotated", old.id), ("root", "token-created", new.id)]


async def test_with_grace_both_count_for_a_while(database: Database, clock: Clock) -> None:
    tokens = TokenService(database, lambda _: None, clock)
    rotation = Rotation(tokens, lambda _: None, clock)
    old, secret = await tokens.create("a", "bot", lifetime=1000.0)
    _, fresh = await rotation.rotate(old.id, "root", 60.0, 10.0)
    assert await tokens.check(secret, HERE) is not None
    clock.now += 10
    assert await tokens.check(secret, HERE) is None
    assert await tokens.check(fresh, HERE) is not None
    clock.now += 50
    assert await tokens.check(fresh, HERE) is None
    short, last = await tokens.create("a", "bot", lifetime=5.0)
    await rotation.rotate(short.id, "root", 60.0, 600.0)
    clock.now += 5
    assert await tokens.check(last, HERE) is None, "grace prolongs nothing"


async def test_what_is_not_rotated(database: Database, clock: Clock) -> None:
    tokens = TokenService(database, lambda _: None, clock)
    rotation = Rotation(tokens, lambda _: None, clock)
    one, _ = await tokens.create("a", "bot", lifetime=10.0)
    given, _ = await tokens.create("b", "ann", lifetime=10.0, given=Given("exchange"))
    glass, _ = await tokens.create("c", "eve", lifetime=10.0, given=Given(BREAK_GLASS))
    for identifier, grace, said in (
        ("nothing", 0.0, "no such token"),
        (given.id, 0.0, "exchange"),
        (one.id, -1.0, "longer at most"),
        (one.id, 1e9, "longer at most"),
    ):
        with pytest.raises(ValueError, match=said):
            await rotation.rotate(identifier, "root", None, grace)
    anew, _ = await rotation.rotate(glass.id, "root")
    assert anew.via == BREAK_GLASS, "its use stays an alarm"
    outcomes = await asyncio.gather(
        *(rotation.rotate(one.id, "root") for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(each, ValueError) for each in outcomes) == 4, "one in its place"
    with pytest.raises(ValueError, match="is over"):
        await rotation.rotate(one.id, "root")
