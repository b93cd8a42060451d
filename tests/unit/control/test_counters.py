"""Quotas: counted by subject and target, over everything that an agent could reset."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.control.counters import SLOTS, Counters, Key
from sallyport.control.rate import MAXIMUM_SOURCES, RateLimit
from sallyport.core.messages import Lease, Leased, SessionEnded
from tests.unit.control.harness import Clock, Gateway
from tests.unit.store.template import fresh

ROWS = Key("agent-1", "shop", "rows_per_hour")
STATEMENTS = Key("agent-1", "shop", "statements_per_minute")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counters(clock: Clock) -> Counters:
    return Counters(clock)


def test_a_quota_is_given_until_it_is_used_up(counters: Counters) -> None:
    assert counters.lease("w1", ROWS, 100, 60) == 60
    assert counters.lease("w2", ROWS, 100, 60) == 40
    assert counters.lease("w1", ROWS, 100, 1) == 0
    assert counters.lease("w1", Key("agent-2", "shop", "rows_per_hour"), 100, 60) == 60
    assert counters.lease("w1", Key("agent-1", "billing", "rows_per_hour"), 100, 60) == 60


def test_it_comes_back_with_the_window_and_not_before(counters: Counters, clock: Clock) -> None:
    assert counters.lease("w1", STATEMENTS, 60, 60) == 60
    clock.now += 59.9
    assert counters.lease("w1", STATEMENTS, 60, 1) == 0
    assert 0.25 <= counters.retry(STATEMENTS) <= 60 / SLOTS + 0.2
    clock.now += 60 / SLOTS + 0.2
    assert counters.lease("w1", STATEMENTS, 60, 60) == 60


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(-5, 50)), max_size=40),
    st.integers(0, 60),
)
def test_no_window_ever_holds_more_than_the_amount(
    steps: list[tuple[float, int]], amount: int
) -> None:
    clock = Clock()
    counters, given_at = Counters(clock), []
    for wait, wanted in steps:
        clock.now += wait
        given_at.append((clock.now, counters.lease("w1", STATEMENTS, amount, wanted)))
    for now, _ in given_at:
        assert sum(given for at, given in given_at if now - 60 < at <= now) <= amount


def test_only_what_was_leased_can_be_given_back(counters: Counters) -> None:
    counters.lease("w1", ROWS, 100, 60)
    counters.lease("w2", ROWS, 100, 40)
    counters.give_back("w1", ROWS, 10**9)
    assert counters.used(ROWS) == 40
    counters.give_back("w1", ROWS, 1)
    counters.give_back("w3", ROWS, 40)
    counters.give_back("w2", ROWS, -40)
    assert counters.used(ROWS) == 40


def test_a_dead_workers_lease_stays_counted(counters: Counters) -> None:
    counters.lease("w1", ROWS, 100, 60)
    counters.worker_gone("w1")
    counters.give_back("w1", ROWS, 60)
    assert counters.used(ROWS) == 60


def test_what_is_no_quota_gets_nothing(counters: Counters) -> None:
    for name in ("sessions", "pending_holds", "everything", ""):
        assert counters.lease("w1", Key("agent-1", "shop", name), 100, 1) == 0


async def test_counts_survive_a_restart_and_pass_with_their_window(
    tmp_path: Path, counters: Counters, clock: Clock
) -> None:
    database = await fresh(tmp_path)
    counters.lease("w1", ROWS, 100, 60)
    counters.lease("w1", STATEMENTS, 100, 7)
    await counters.save(database)
    clock.now += 600
    counters.lease("w1", ROWS, 100, 5)
    counters.prune()
    await counters.save(database)
    restarted = Counters(clock)
    await restarted.load(database)
    assert restarted.used(ROWS) == 65
    assert restarted.used(STATEMENTS) == 0
    clock.now += 3600 + 3600 / SLOTS
    restarted.prune()
    await restarted.save(database)
    empty = Counters(clock)
    await empty.load(database)
    assert empty.used(ROWS) == 0
    await database.close()


def test_a_clock_that_goes_back_frees_nothing(counters: Counters, clock: Clock) -> None:
    counters.lease("w1", ROWS, 100, 100)
    clock.now -= 86_400
    assert counters.lease("w1", ROWS, 100, 1) == 0


def test_rate_limits_are_by_source_and_bounded() -> None:
    limit = RateLimit(1.0, 2.0)
    assert [limit.take("a", 0.0) for _ in range(4)] == [True, True, False, False]
    assert limit.take("b", 0.0)
    assert limit.take("a", 1.0)
    for number in range(MAXIMUM_SOURCES * 2):
        limit.take(str(number), 1.0)
    assert len(limit._buckets) <= MAXIMUM_SOURCES


# --- over the socket


async def test_reconnecting_resets_nothing(tmp_path: Path) -> None:
    async with Gateway(tmp_path) as gateway:
        worker = await gateway.worker()
        lease = Lease("", "agent-1", "shop", {"statements_per_minute": 50, "rows_per_hour": 10})
        assert await worker.ask(lease) == Leased(
            {"statements_per_minute": 0, "rows_per_hour": 0}, 1.0
        )
        access = await worker.session(await gateway.token())
        given = await worker.ask(lease)
        assert isinstance(given, Leased)
        assert given.gives == {"statements_per_minute": 50, "rows_per_hour": 10}
        await worker.ask(SessionEnded(access.session, "closed"))
        other = await gateway.worker("w2", 2)
        await other.session(await gateway.token())
        given = await other.ask(lease)
        assert isinstance(given, Leased)
        assert given.gives == {"statements_per_minute": 10, "rows_per_hour": 10}
        given = await other.ask(lease)
        assert isinstance(given, Leased)
        assert given.gives["statements_per_minute"] == 0 and given.retry > 0
    async with Gateway(tmp_path) as gateway:
        worker = await gateway.worker()
        await worker.session(await gateway.token())
        given = await worker.ask(lease)
        assert isinstance(given, Leased) and given.gives["statements_per_minute"] == 0


async def test_without_a_quota_what_is_wanted_is_given(tmp_path: Path) -> None:
    async with Gateway(tmp_path, policy={"guardrails": {"enabled": False}}) as gateway:
        worker = await gateway.worker()
        await worker.session(await gateway.token())
        lease = Lease("", "agent-1", "shop", {"rows_per_hour": 500, "made_up": 5})
        assert await worker.ask(lease) == Leased({"rows_per_hour": 500, "made_up": 0}, 1.0)
